/* Whether a descriptor may truncate its file is decided by Landlock when it is opened, by what the opening thread may, and
 * goes with it to other processes. So there is a thread that gave up the right to truncate anything, and opens what is to
 * be granted. It alone gave it up: the others make files of a size, and a thread in a domain of Landlock could not look at
 * the namespaces of processes outside of it. */

#include "daemon/host/opener.h"

#include "daemon/host/reopen.h"
#include "proto/util.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/landlock.h>
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#ifndef LANDLOCK_ACCESS_FS_TRUNCATE
#define LANDLOCK_ACCESS_FS_TRUNCATE (UINT64_C(1) << 14)
#endif
enum { TRUNCATE_SINCE = 3 }; /* the version of Landlock's interface */

static struct opener {
        pid_t pid; /* of the process whose thread it is; 0: there is none yet */
        sem_t asked, answered;
        int fd, result; /* whose turn it is has them */
} opener;

/* --- its thread -------------------------------------------------------------------------------------------------- */

static int give_up_truncating(void)
{
        const struct landlock_ruleset_attr none = { .handled_access_fs = LANDLOCK_ACCESS_FS_TRUNCATE };
        owned(closep) int rules = (int)syscall(SYS_landlock_create_ruleset, &none, sizeof(none.handled_access_fs), 0);

        if (rules < 0 || prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 ||
            syscall(SYS_landlock_restrict_self, rules, 0) < 0)
                return -errno;
        return 0;
}

static void wait_for(sem_t *semaphore)
{
        while (sem_wait(semaphore) < 0) /* EINTR */
                ;
}

/* Its first answer says whether it can do its work. */
static void *run(void *unused)
{
        int r = give_up_truncating();

        (void)unused;
        opener.result = r;
        sem_post(&opener.answered);
        while (r == 0) {
                wait_for(&opener.asked);
                opener.result = reopen(opener.fd, O_RDWR);
                sem_post(&opener.answered);
        }
        return NULL;
}

/* --- its caller -------------------------------------------------------------------------------------------------- */

/* Signals are for the loop. */
static int start_thread(void)
{
        sigset_t all, before;
        pthread_t thread;
        int r;

        sigfillset(&all);
        pthread_sigmask(SIG_SETMASK, &all, &before);
        r = pthread_create(&thread, NULL, run, NULL);
        pthread_sigmask(SIG_SETMASK, &before, NULL);
        if (r == 0)
                pthread_detach(thread);
        return -r;
}

/* After fork(2) the thread is not there. */
static int start(void)
{
        int r;

        if (opener.pid == getpid())
                return 0;
        sem_init(&opener.asked, 0, 0);
        sem_init(&opener.answered, 0, 0);
        r = start_thread();
        if (r < 0)
                return r;
        wait_for(&opener.answered);
        if (opener.result == 0)
                opener.pid = getpid();
        return opener.result;
}

static bool is_supported(void)
{
        return syscall(SYS_landlock_create_ruleset, NULL, 0, LANDLOCK_CREATE_RULESET_VERSION) >= TRUNCATE_SINCE;
}

int opener_open(int fd)
{
        int r;

        if (!is_supported())
                return reopen(fd, O_RDWR);
        r = start();
        if (r < 0)
                return r;
        opener.fd = fd;
        sem_post(&opener.asked);
        wait_for(&opener.answered);
        return opener.result;
}
