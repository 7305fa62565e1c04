/* Started by fork and exec, followed by a pidfd and by a pipe on its standard error. Its guardian is a process that does
 * nothing but wait for the end of the test's, by pidfd too; both are sessions of their own, so that a runner which kills
 * the process group of a test that hangs leaves them their time to clean up. */

#include "tests/support/daemon.h"

#include "proto/util.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/pidfd.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>

enum { PIPE_SIZE = 1 << 20, OPTIONS_MAX = 32 };

/* --- complaints -------------------------------------------------------------------------------------------------- */

__attribute__((format(printf, 2, 3))) static bool complain(const struct daemon *daemon, const char *format, ...)
{
        va_list args;

        fputs("tests/support/daemon: ", stderr);
        va_start(args, format);
        vfprintf(stderr, format, args);
        va_end(args);
        fprintf(stderr, "\n--- log of the broker in %s:\n%s---\n", daemon->directory, daemon->log ? daemon->log : "");
        return false;
}

/* --- its log ----------------------------------------------------------------------------------------------------- */

static int64_t now_msec(void)
{
        struct timespec now;

        clock_gettime(CLOCK_MONOTONIC, &now);
        return now.tv_sec * INT64_C(1000) + now.tv_nsec / 1000000;
}

static int msec_until(int64_t deadline)
{
        int64_t left = deadline - now_msec();

        return left > 0 ? (int)left : 0;
}

static bool keep(struct daemon *daemon, const char *bytes, size_t n)
{
        char *log = realloc(daemon->log, daemon->n_log + n + 1);

        if (!log)
                return complain(daemon, "no memory for the log");
        memcpy(log + daemon->n_log, bytes, n);
        daemon->log = log;
        daemon->n_log += n;
        log[daemon->n_log] = '\0';
        return true;
}

/* Takes what is there now; false at the end of the log. */
static bool read_log(struct daemon *daemon)
{
        char bytes[4096];
        ssize_t n;

        while ((n = read(daemon->log_fd, bytes, sizeof(bytes))) > 0)
                if (!keep(daemon, bytes, (size_t)n))
                        return false;
        return n < 0 && (errno == EAGAIN || errno == EINTR);
}

static bool find_line(const struct daemon *daemon, const char *text)
{
        const char *found = daemon->log ? strstr(daemon->log, text) : NULL;

        return found && strchr(found, '\n'); /* as long as its end has not come it is no line */
}

bool daemon_has_line(struct daemon *daemon, const char *text)
{
        if (daemon->pid)
                read_log(daemon);
        return find_line(daemon, text);
}

bool daemon_wait_for_line(struct daemon *daemon, const char *text)
{
        struct pollfd log = { .fd = daemon->log_fd, .events = POLLIN };
        int64_t deadline = now_msec() + DAEMON_WAIT_MSEC;

        while (!daemon_has_line(daemon, text)) {
                if (!daemon->pid || (poll(&log, 1, msec_until(deadline)) == 0))
                        return complain(daemon, "no line has '%s'", text);
                if (!read_log(daemon) && !find_line(daemon, text))
                        return complain(daemon, "it ended without a line that has '%s'", text);
        }
        return true;
}

void daemon_forget_log(struct daemon *daemon)
{
        if (daemon->pid)
                read_log(daemon);
        free(take_ptr(daemon->log));
        daemon->n_log = 0;
}

/* --- its directory ----------------------------------------------------------------------------------------------- */

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *place)
{
        (void)st;
        (void)type;
        (void)place;
        return remove(path);
}

static void remove_directory(const char *path)
{
        nftw(path, remove_one, 16, FTW_DEPTH | FTW_PHYS | FTW_MOUNT);
}

static bool make_directory(struct daemon *daemon)
{
        const char *parent = getenv("TMPDIR");
        int n;

        if (!parent || parent[0] != '/')
                parent = "/tmp";
        n = snprintf(daemon->directory, sizeof(daemon->directory), "%s/region-broker-test.XXXXXX", parent);
        if (n >= (int)sizeof(daemon->directory) || !mkdtemp(daemon->directory)) {
                complain(daemon, "cannot make a directory in %s", parent);
                daemon->directory[0] = '\0';
                return false;
        }
        snprintf(daemon->socket, sizeof(daemon->socket), "%s/socket", daemon->directory);
        return true;
}

/* --- its guardian ------------------------------------------------------------------------------------------------ */

static void close_all_but(int one, int other)
{
        int lower = one < other ? one : other, higher = one < other ? other : one;

        if (lower > 3)
                close_range(3, (unsigned)lower - 1, 0);
        if (higher > lower + 1)
                close_range((unsigned)lower + 1, (unsigned)higher - 1, 0);
        close_range((unsigned)higher + 1, UINT_MAX, 0);
}

/* Memory of the broker's that the test has mapped already would be held by the copy. */
static void unmap_shared(void)
{
        FILE *maps = fopen("/proc/self/maps", "re");
        unsigned long from, to;
        char line[4096], shared;

        while (maps && fgets(line, sizeof(line), maps))
                if (sscanf(line, "%lx-%lx %*3c%c", &from, &to, &shared) == 3 && shared == 's')
                        munmap((void *)from, to - from);
        if (maps)
                fclose(maps);
}

/* SIGINT first: a broker that stops in order leaves nothing of its own behind, whatever the test has made it hold. */
static _Noreturn void guard(const char *directory, int test, int broker)
{
        struct pollfd gone = { .fd = test, .events = POLLIN };

        setsid();
        prctl(PR_SET_NAME, "test-guardian");
        close_all_but(test, broker);
        unmap_shared();
        while (poll(&gone, 1, -1) < 0 && errno == EINTR)
                ;
        gone.fd = broker;
        pidfd_send_signal(broker, SIGINT, NULL, 0);
        if (poll(&gone, 1, DAEMON_WAIT_MSEC) <= 0)
                pidfd_send_signal(broker, SIGKILL, NULL, 0);
        poll(&gone, 1, DAEMON_WAIT_MSEC);
        remove_directory(directory);
        _exit(EXIT_SUCCESS);
}

static void end_guardian(struct daemon *daemon)
{
        if (daemon->guardian == 0)
                return;
        kill(daemon->guardian, SIGKILL);
        waitpid(daemon->guardian, NULL, 0);
        daemon->guardian = 0;
}

static bool start_guardian(struct daemon *daemon)
{
        owned(closep) int test = pidfd_open(getpid(), 0);

        end_guardian(daemon); /* it knew an earlier broker */
        fflush(NULL);
        if (test >= 0)
                daemon->guardian = fork();
        if (test < 0 || daemon->guardian < 0) {
                daemon->guardian = 0;
                return complain(daemon, "cannot start a guardian: %s", strerror(errno));
        }
        if (daemon->guardian == 0)
                guard(daemon->directory, test, daemon->pidfd);
        /* it leaves the test's group by itself too, but the test may fail, and its group be ended, before that */
        setpgid(daemon->guardian, 0);
        return true;
}

/* --- its beginning ----------------------------------------------------------------------------------------------- */

static _Noreturn void run(const struct daemon *daemon, const char *program, const char *const *options, int log)
{
        const char *arguments[OPTIONS_MAX] = {
                program,           "--no-config",       "--user",          "--runtime-directory",
                daemon->directory, "--state-directory", daemon->directory, "--listen",
                daemon->socket,
        };
        size_t n = 9;

        while (options && *options && n < OPTIONS_MAX - 1)
                arguments[n++] = *options++;
        setsid();
        unsetenv("JOURNAL_STREAM");
        close_range(3, UINT_MAX, CLOSE_RANGE_CLOEXEC); /* a test's runner may have left some open */
        if (dup2(log, STDERR_FILENO) >= 0)
                execv(program, (char *const *)(uintptr_t)arguments);
        _exit(127);
}

static bool spawn(struct daemon *daemon, const char *const *options)
{
        const char *program = getenv("REGION_BROKER");
        int log[2];

        if (!program || program[0] != '/')
                return complain(daemon, "REGION_BROKER does not name the program by an absolute path");
        if (pipe2(log, O_CLOEXEC) < 0)
                return complain(daemon, "no pipe: %s", strerror(errno));
        fcntl(log[0], F_SETFL, O_NONBLOCK);
        fcntl(log[0], F_SETPIPE_SZ, PIPE_SIZE); /* the usual size does as well */
        fflush(NULL);
        daemon->pid = fork();
        if (daemon->pid == 0)
                run(daemon, program, options, log[1]);
        close(log[1]);
        if (daemon->pid < 0) {
                daemon->pid = 0;
                close(log[0]);
                return complain(daemon, "no process: %s", strerror(errno));
        }
        daemon->log_fd = log[0];
        daemon->pidfd = pidfd_open(daemon->pid, 0);
        return true;
}

bool daemon_start(struct daemon *daemon, const char *const *options)
{
        if (!daemon->directory[0] && !make_directory(daemon))
                return false;
        daemon_forget_log(daemon);
        if (!spawn(daemon, options))
                return false;
        if (start_guardian(daemon) && daemon_wait_for_line(daemon, "listening on "))
                return true;
        daemon_kill(daemon);
        return false;
}

/* --- its end ----------------------------------------------------------------------------------------------------- */

/* Reads on meanwhile, for it may have much to say; false when it has not ended in time. */
static bool wait_for_end(struct daemon *daemon)
{
        struct pollfd fds[] = {
                { .fd = daemon->pidfd, .events = POLLIN },
                { .fd = daemon->log_fd, .events = POLLIN },
        };
        int64_t deadline = now_msec() + DAEMON_WAIT_MSEC;

        while (!(fds[0].revents & POLLIN)) {
                if (poll(fds, array_size(fds), msec_until(deadline)) == 0)
                        return false;
                if (fds[1].revents && !read_log(daemon))
                        fds[1].fd = -1;
        }
        return true;
}

static int reap(struct daemon *daemon)
{
        int status = 0;

        waitpid(daemon->pid, &status, 0);
        read_log(daemon);
        daemon->pid = 0;
        daemon->pidfd = close_fd(daemon->pidfd);
        daemon->log_fd = close_fd(daemon->log_fd);
        return status;
}

bool daemon_stop(struct daemon *daemon)
{
        int status;

        if (daemon->pid == 0)
                return complain(daemon, "it does not run");
        kill(daemon->pid, SIGINT);
        if (!wait_for_end(daemon)) {
                daemon_kill(daemon);
                return complain(daemon, "it did not stop in time");
        }
        status = reap(daemon);
        if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
                return true;
        return complain(daemon, "it ended by %s %d", WIFEXITED(status) ? "exit code" : "signal",
                        WIFEXITED(status) ? WEXITSTATUS(status) : WTERMSIG(status));
}

void daemon_kill(struct daemon *daemon)
{
        if (daemon->pid == 0)
                return;
        kill(daemon->pid, SIGKILL);
        reap(daemon);
}

void daemon_deinit(struct daemon *daemon)
{
        if (!daemon->directory[0])
                return;
        if (daemon->pid)
                daemon_stop(daemon); /* in order, so that nothing of its own is left behind */
        end_guardian(daemon);
        remove_directory(daemon->directory);
        free(daemon->log);
        *daemon = (struct daemon){};
}
