#include "tests/support/child.h"

#include "proto/util.h"
#include "tests/support/check.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/pidfd.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>

static bool is_child;

static void close_as_exec_would(int except)
{
        DIR *fds = opendir("/proc/self/fd");
        const struct dirent *entry;

        ck_assert_ptr_nonnull(fds);
        while ((entry = readdir(fds))) {
                int fd = atoi(entry->d_name);

                if (fd > 2 && fd != except && fd != dirfd(fds) && fcntl(fd, F_GETFD) & FD_CLOEXEC)
                        close(fd);
        }
        closedir(fds);
}

static _Noreturn void run_and_end(child_run *run, int channel, const void *data)
{
        is_child = true;
        run(channel, data);
        _exit(EXIT_SUCCESS); /* what is to be done at exit is the test's to do */
}

static int make_channel(struct child *child)
{
        int ends[2];

        ck_assert_int_eq(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends), 0);
        child->channel = ends[0];
        return ends[1];
}

static void begin(struct child *child, child_run *run, const void *data, bool keeps)
{
        int channel = make_channel(child);
        pid_t test = getpid();

        child->pid = fork();
        ck_assert_int_ge(child->pid, 0);
        if (child->pid == 0) {
                prctl(PR_SET_PDEATHSIG, SIGKILL);
                if (getppid() != test && getppid() != 0) /* 0: the first of a pid namespace sees none outside */
                        _exit(EXIT_FAILURE);
                close(child->channel);
                if (!keeps)
                        close_as_exec_would(channel);
                run_and_end(run, channel, data);
        }
        close(channel);
}

void child_start(struct child *child, child_run *run, const void *data)
{
        begin(child, run, data, false);
}

void child_fork(struct child *child, child_run *run, const void *data)
{
        begin(child, run, data, true);
}

int child_channel(struct child *child)
{
        ck_assert_int_eq(prctl(PR_SET_CHILD_SUBREAPER, 1), 0);
        return make_channel(child);
}

pid_t child_leave_behind(int channel, child_run *run, const void *data)
{
        pid_t pid = fork();

        ck_assert_int_ge(pid, 0);
        if (pid == 0)
                run_and_end(run, channel, data);
        return pid;
}

void child_tell(int channel, int64_t number)
{
        ck_assert_int_eq(send(channel, &number, sizeof(number), MSG_NOSIGNAL), sizeof(number));
}

static bool receive(int channel, int64_t *ret)
{
        ssize_t n = recv(channel, ret, sizeof(*ret), 0);

        return n == sizeof(*ret);
}

int64_t child_hear(int channel)
{
        int64_t number;

        if (!is_child)
                ck_assert_msg(check_wait(channel, POLLIN), "a child says nothing");
        if (!receive(channel, &number)) {
                ck_assert_msg(is_child, "a child has ended, and was to say something");
                _exit(EXIT_SUCCESS);
        }
        return number;
}

bool child_listen(const struct child *child, int64_t *ret)
{
        ck_assert_msg(check_wait(child->channel, POLLIN), "a child says nothing");
        return receive(child->channel, ret);
}

static int wait_for(struct child *child)
{
        int status;

        child->channel = close_fd(child->channel);
        ck_assert_int_eq(waitpid(child->pid, &status, 0), child->pid);
        child->pid = 0;
        return status;
}

void child_end(struct child *child)
{
        owned(closep) int pidfd = pidfd_open(child->pid, 0);
        int status;

        ck_assert_int_ge(pidfd, 0);
        shutdown(child->channel, SHUT_WR);
        ck_assert_msg(check_wait(pidfd, POLLIN), "a child does not end");
        status = wait_for(child);
        ck_assert_msg(WIFEXITED(status) && WEXITSTATUS(status) == 0, "a child ended with status %#x", status);
}

void child_kill(struct child *child)
{
        kill(child->pid, SIGKILL);
        wait_for(child);
}
