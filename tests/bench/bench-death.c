/* From SIGKILL until the region of the one that died is freed, with so many others attached; and the death of all of those
 * at once, while one that lives goes on asking.
 *
 * usage: bench-death BROKER-SOCKET CLIENTS SAMPLES */

#include "tests/bench/samples.h"
#include "tests/bench/wire.h"

#include <errno.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

enum { REGION_BYTES = 64 * 1024, STARTED_AT_ONCE = 256 };

static const char *broker;
static struct wire_reply reply;

/* --- children ---------------------------------------------------------------------------------------------------- */

static void map(int fd)
{
        char *memory = mmap(NULL, REGION_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

        if (memory == MAP_FAILED)
                die("mmap: %m");
        *(volatile char *)memory = 1;
}

/* One that is attached to the region that the crowd shares. */
static void join_crowd(int number)
{
        static char call[256];
        int peer = wire_connect(broker);

        (void)number;
        wire_ask(peer, call,
                 wire_write(call, sizeof(call),
                            "{'method':'org.regionbroker.Open','parameters':{'environment':'crowd'}}"),
                 &reply);
        if (reply.n_fds != 2)
                die("crowd: %s", reply.text);
        map(reply.fds[1]);
        wire_close_fds(&reply);
}

/* One that has an environment for itself. */
static void have_own(int number)
{
        static char call[512];
        int peer = wire_connect(broker);

        wire_ask(
                peer, call,
                wire_write(call, sizeof(call),
                           "{'method':'org.regionbroker.Open','parameters':{'environment':'victim%d','create':'always',"
                           "'definition':{'regions':[{'name':'r','size':%d}]}}}",
                           number, REGION_BYTES),
                &reply);
        if (reply.n_fds != 2)
                die("victim: %s", reply.text);
        map(reply.fds[1]);
        wire_close_fds(&reply);
        wire_call(peer, &reply, "{'method':'org.regionbroker.Ready','parameters':{'environment':'victim%d'}}", number);
}

/* One that the broker does not know. */
static void have_unknown(int number)
{
        int fd = memfd_create("victim", MFD_CLOEXEC);

        (void)number;
        if (fd < 0 || ftruncate(fd, REGION_BYTES) < 0)
                die("memfd: %m");
        map(fd);
}

/* Its process says by closing the pipe that it is there, and then waits to be killed. */
static pid_t begin(void (*become)(int number), int number, int pipe_end, pid_t group)
{
        pid_t pid = fork();

        if (pid < 0)
                die("fork: %m");
        if (pid > 0) {
                if (group >= 0)
                        setpgid(pid, group);
                return pid;
        }
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        become(number);
        close(pipe_end);
        for (;;)
                pause();
}

/* Waits until all that have the other end closed it. */
static void await(int fd)
{
        char byte;

        while (read(fd, &byte, 1) < 0)
                if (errno != EINTR)
                        die("read: %m");
        close(fd);
}

static pid_t begin_one(void (*become)(int number), int number)
{
        int ends[2];
        pid_t pid;

        if (pipe(ends) < 0)
                die("pipe: %m");
        pid = begin(become, number, ends[1], -1);
        close(ends[1]);
        await(ends[0]);
        return pid;
}

/* A process group of so many. */
static pid_t begin_many(void (*become)(int number), int n)
{
        pid_t group = 0;

        for (int i = 0; i < n;) {
                int ends[2];

                if (pipe(ends) < 0)
                        die("pipe: %m");
                for (int last = i + STARTED_AT_ONCE; i < n && i < last; i++) {
                        pid_t pid = begin(become, i, ends[1], group);

                        group = group ? group : pid;
                }
                close(ends[1]);
                await(ends[0]);
        }
        return group;
}

/* --- one death --------------------------------------------------------------------------------------------------- */

static int watch;

static int64_t die_known(void *data)
{
        int *number = data;
        char wanted[32];
        int64_t before;
        pid_t pid = begin_one(have_own, ++*number);

        snprintf(wanted, sizeof(wanted), "\"victim%d\"", *number);
        before = begin_nsec();
        kill(pid, SIGKILL);
        do
                wire_take(watch, &reply);
        while (!strstr(reply.text, "\"kind\":\"reclaimed\"") || !strstr(reply.text, wanted));
        before = since_nsec(before);
        waitpid(pid, NULL, 0);
        return before;
}

static int64_t die_unknown(void *data)
{
        pid_t pid = begin_one(have_unknown, 0);
        int pidfd = (int)syscall(SYS_pidfd_open, pid, 0), epoll = epoll_create1(EPOLL_CLOEXEC);
        struct epoll_event event = { .events = EPOLLIN };
        int64_t before;

        (void)data;
        epoll_ctl(epoll, EPOLL_CTL_ADD, pidfd, &event);
        before = begin_nsec();
        kill(pid, SIGKILL);
        while (epoll_wait(epoll, &event, 1, -1) != 1)
                ;
        before = since_nsec(before);
        waitpid(pid, NULL, 0);
        close(pidfd);
        close(epoll);
        return before;
}

static void run_deaths(unsigned samples)
{
        static int number;
        char call[128];

        watch = wire_connect(broker);
        wire_ask(watch, call, wire_write(call, sizeof(call), "{'method':'org.regionbroker.Watch','more':true}"),
                 &reply);
        race(
                (struct contender[]){
                        { .key = "death", .run = die_known, .data = &number },
                        { .key = "death.pidfd", .run = die_unknown },
                },
                2, (samples + 9) / 10, 10);
        close(watch);
}

/* --- all of them ------------------------------------------------------------------------------------------------- */

static void reap(int n)
{
        for (int i = 0; i < n; i++)
                if (waitpid(-1, NULL, 0) < 0)
                        die("waitpid: %m");
}

static void kill_unknown(int n)
{
        pid_t group = begin_many(have_unknown, n);
        int64_t before = begin_nsec();

        kill(-group, SIGKILL);
        reap(n);
        tell("mass_death.kernel", (double)(since_nsec(before)));
}

/* The living one attaches and detaches, and asks for numbers, and times each. */
static void kill_known(int peer, pid_t group, int n, long long sessions)
{
        int64_t *waits = calloc(1000000, sizeof(*waits)), before, start = begin_nsec();
        size_t n_waits = 0;
        long long left;

        kill(-group, SIGKILL);
        do {
                before = begin_nsec();
                wire_call(peer, &reply,
                          "{'method':'org.regionbroker.Attach','parameters':{'environment':'living','region':'r'}}");
                waits[n_waits++] = since_nsec(before);
                before = begin_nsec();
                wire_call(peer, &reply,
                          "{'method':'org.regionbroker.Detach','parameters':{'environment':'living','region':'r'}}");
                waits[n_waits++] = since_nsec(before);
                before = begin_nsec();
                wire_call(peer, &reply, "{'method':'org.regionbroker.GetStatistics'}");
                waits[n_waits++] = since_nsec(before);
                left = wire_number(&reply, "sessions");
        } while (left > sessions && n_waits < 999997);
        tell("mass_death", (double)(since_nsec(start)));
        tell_samples("mass_death.wait", waits, n_waits);
        tell("mass_death.wait.max", (double)waits[n_waits - 1]);
        free(waits);
        reap(n);
}

static void make(int peer, const char *name)
{
        wire_call(peer, &reply,
                  "{'method':'org.regionbroker.Open','parameters':{'environment':'%s','create':'always',"
                  "'definition':{'regions':[{'name':'r','size':%d}]}}}",
                  name, REGION_BYTES);
        wire_call(peer, &reply, "{'method':'org.regionbroker.Ready','parameters':{'environment':'%s'}}", name);
}

int main(int argc, char **argv)
{
        long long sessions;
        pid_t group;
        int n, peer;

        if (argc != 4)
                die("usage: bench-death BROKER-SOCKET CLIENTS SAMPLES");
        broker = argv[1];
        n = atoi(argv[2]);
        peer = wire_connect(broker);
        make(peer, "crowd");
        make(peer, "living");
        wire_call(peer, &reply,
                  "{'method':'org.regionbroker.Detach','parameters':{'environment':'living','region':'r'}}");
        wire_call(peer, &reply, "{'method':'org.regionbroker.GetStatistics'}");
        sessions = wire_number(&reply, "sessions");
        kill_unknown(n);
        group = begin_many(join_crowd, n);
        run_deaths((unsigned)atoi(argv[3]));
        kill_known(peer, group, n, sessions);
        return 0;
}
