/* The turn is a lock on the setting itself, which all test runs on the machine share. A guardian puts the setting back,
 * as that of a broker does (daemon.c): it is a session of its own and waits for the end of the test by pidfd. */

#include "tests/support/pool.h"

#include "proto/util.h"
#include "tests/support/check.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <sys/file.h>
#include <sys/ipc.h>
#include <sys/pidfd.h>
#include <sys/prctl.h>
#include <sys/shm.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define SETTING "/proc/sys/vm/nr_hugepages"

static int lock = -1;
static int64_t before = -1; /* what the setting was; -1: it is that still */
static pid_t guardian;

/* The number behind that word; without one, the first there is. 0 where there is none. */
static int64_t read_number(const char *path, const char *word)
{
        FILE *file = fopen(path, "re");
        int64_t number = 0;
        char line[128];

        while (file && fgets(line, sizeof(line), file)) {
                if (strncmp(line, word, strlen(word)) != 0)
                        continue;
                number = strtoll(line + strlen(word), NULL, 10);
                break;
        }
        if (file)
                fclose(file);
        return number;
}

static void write_setting(int64_t pages)
{
        owned(closep) int fd = open(SETTING, O_WRONLY | O_CLOEXEC);

        if (fd >= 0)
                dprintf(fd, "%" PRId64, pages);
}

static int64_t read_setting(void)
{
        return read_number(SETTING, "");
}

int64_t pool_free(void)
{
        return read_number("/proc/meminfo", "HugePages_Free:") - read_number("/proc/meminfo", "HugePages_Rsvd:");
}

int64_t pool_page_size(void)
{
        return read_number("/proc/meminfo", "Hugepagesize:") * 1024;
}

bool pool_is_open_ended(void)
{
        return read_number("/proc/sys/vm/nr_overcommit_hugepages", "") > 0;
}

bool pool_has_segments(void)
{
        int id = shmget(IPC_PRIVATE, (size_t)pool_page_size(), IPC_CREAT | SHM_HUGETLB | 0600);

        if (id >= 0)
                shmctl(id, IPC_RMID, NULL);
        return id >= 0 || errno != EPERM;
}

void pool_wait_for_free(int64_t wanted)
{
        time_t deadline = time(NULL) + CHECK_WAIT_MSEC / 1000;
        int64_t found;

        while ((found = pool_free()) != wanted) {
                ck_assert_msg(time(NULL) < deadline, "%" PRId64 " huge pages are free, and not %" PRId64, found,
                              wanted);
                poll(NULL, 0, 5);
        }
}

/* What is still in use leaves the pool when it is given back. */
static void put_back(void)
{
        if (before >= 0)
                write_setting(before);
        before = -1;
}

static _Noreturn void guard(int test)
{
        struct pollfd gone = { .fd = test, .events = POLLIN };

        setsid();
        prctl(PR_SET_NAME, "pool-guardian");
        while (poll(&gone, 1, -1) < 0 && errno == EINTR)
                ;
        put_back();
        _exit(EXIT_SUCCESS);
}

static bool start_guardian(void)
{
        owned(closep) int test = pidfd_open(getpid(), 0);

        fflush(NULL);
        guardian = test >= 0 ? fork() : -1;
        if (guardian == 0)
                guard(test);
        if (guardian > 0)
                setpgid(guardian, 0);
        return guardian > 0;
}

/* Pages that are in use and leave the pool afterwards are the first to fill what is added, so that it may take more. */
static int64_t add(int64_t wanted)
{
        int64_t free;

        before = read_setting();
        if (!start_guardian())
                before = -1;
        for (int i = 0; before >= 0 && i < 3 && (free = pool_free()) < wanted; i++)
                write_setting(read_setting() + wanted - free);
        return pool_free();
}

bool pool_take(int64_t pages)
{
        int64_t free = 0;

        lock = open(SETTING, O_RDONLY | O_CLOEXEC);
        if (lock >= 0) {
                flock(lock, LOCK_EX);
                free = pool_free();
        }
        if (lock >= 0 && free < pages && geteuid() == 0)
                free = add(pages);
        if (lock >= 0 && free >= pages)
                return true;
        fprintf(stderr, "not tried: the pool has %" PRId64 " of the %" PRId64 " huge pages that are needed%s\n", free,
                pages, geteuid() == 0 ? ", and the machine has no more to give" : "; root could add them");
        return false;
}

void pool_leave(void)
{
        put_back();
        if (guardian > 0) {
                kill(guardian, SIGKILL);
                waitpid(guardian, NULL, 0);
                guardian = 0;
        }
        lock = close_fd(lock);
}
