/* A pidfd becomes readable when its process has died and all its memory and descriptors are gone, before anybody has
 * waited for it. */

#include "daemon/host/deaths.h"

#include "daemon/core/peer.h"
#include "proto/util.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/wait.h>

int deaths_init(struct deaths *deaths)
{
        deaths->fd = epoll_create1(EPOLL_CLOEXEC);
        return deaths->fd < 0 ? -errno : 0;
}

void deaths_deinit(struct deaths *deaths)
{
        deaths->fd = close_fd(deaths->fd);
}

int deaths_add(struct deaths *deaths, struct process *process)
{
        struct epoll_event event = { .events = EPOLLIN, .data.ptr = process };

        return epoll_ctl(deaths->fd, EPOLL_CTL_ADD, process->pidfd, &event) < 0 ? -errno : 0;
}

void deaths_remove(struct deaths *deaths, struct process *process)
{
        epoll_ctl(deaths->fd, EPOLL_CTL_DEL, process->pidfd, NULL);
}

struct process *deaths_next(struct deaths *deaths)
{
        struct epoll_event event;
        struct process *process;

        /* one at a time: what is done about one death may remove another process */
        if (epoll_wait(deaths->fd, &event, 1, 0) != 1)
                return NULL;
        process = event.data.ptr;
        deaths_remove(deaths, process);
        return process;
}

/* --- whether it is coming ---------------------------------------------------------------------------------------- */

enum { EXITING = 4 }; /* PF_EXITING, set before a thread gives up anything */

static bool is_dead(const struct process *process)
{
        struct pollfd pollfd = { .fd = process->pidfd, .events = POLLIN };

        return poll(&pollfd, 1, 0) > 0;
}

/* A thread that has gone altogether counts as exiting. */
static int is_exiting(int tasks, const char *thread)
{
        char path[64], stat[1024];
        owned(closep) int fd = -1;
        const char *after;
        unsigned flags;
        ssize_t n;

        snprintf(path, sizeof(path), "%.16s/stat", thread);
        fd = openat(tasks, path, O_RDONLY | O_CLOEXEC);
        if (fd < 0)
                return errno == ENOENT ? 1 : -errno;
        n = read(fd, stat, sizeof(stat) - 1);
        if (n < 0)
                return errno == ESRCH ? 1 : -errno;
        stat[n] = '\0';
        after = strrchr(stat, ')'); /* the command in parentheses may hold anything */
        if (!after || sscanf(after + 1, " %*c %*d %*d %*d %*d %*d %u", &flags) != 1)
                return -EBADMSG;
        return (flags & EXITING) != 0;
}

static void closedirp(DIR **directory)
{
        if (*directory)
                closedir(*directory);
}

static int are_all_exiting(const struct process *process)
{
        owned(closedirp) DIR *tasks = NULL;
        const struct dirent *entry;
        char path[64];
        int r = 1;

        snprintf(path, sizeof(path), "/proc/%d/task", (int)process->pid);
        tasks = opendir(path);
        if (!tasks)
                return -errno;
        while (r == 1 && (entry = readdir(tasks)))
                if (entry->d_name[0] != '.')
                        r = is_exiting(dirfd(tasks), entry->d_name);
        return r;
}

int deaths_is_near(const struct process *process)
{
        int r = are_all_exiting(process);

        return is_dead(process) ? 1 : r; /* asked last: as long as it is not dead the number is its own */
}

/* --- how it ended ------------------------------------------------------------------------------------------------ */

/* Linux 6.13 and later; the headers may be older. */
struct pidfd_info_v1 {
        uint64_t mask, cgroup_id;
        uint32_t pid, tgid, ppid, ids[8];
        int32_t exit_code;
};
_Static_assert(sizeof(struct pidfd_info_v1) == 64, "the size is part of the request's number");

#define GET_INFO _IOWR(0xFF, 11, struct pidfd_info_v1)
enum { INFO_EXIT = 1 << 3 };

/* Told once somebody has waited for the process. */
static bool read_from_pidfd(const struct process *process, int *ret_code)
{
        struct pidfd_info_v1 info = { .mask = INFO_EXIT };

        if (ioctl(process->pidfd, GET_INFO, &info) < 0 || !(info.mask & INFO_EXIT))
                return false;
        *ret_code = info.exit_code;
        return true;
}

/* Told until then, in the last field, to those who might trace it; others read 0 there. */
static bool read_from_proc(const struct process *process, int *ret_code)
{
        char path[64], stat[1024];
        const char *last;
        FILE *file;
        size_t n;

        if (geteuid() != 0 && geteuid() != process->uid)
                return false;
        snprintf(path, sizeof(path), "/proc/%d/stat", (int)process->pid);
        file = fopen(path, "re");
        if (!file)
                return false;
        n = fread(stat, 1, sizeof(stat) - 1, file);
        fclose(file);
        stat[n] = '\0';
        last = strrchr(stat, ')');
        if (!last || strncmp(last, ") Z", 3) != 0)
                return false;
        last = strrchr(last, ' ');
        *ret_code = (int)strtol(last, NULL, 10);
        return true;
}

void deaths_read_exit(struct process *process)
{
        int code;

        if (!read_from_pidfd(process, &code) && !read_from_proc(process, &code) && !read_from_pidfd(process, &code))
                return;
        if (WIFSIGNALED(code))
                process->signal = (struct opt_int){ true, WTERMSIG(code) };
        else
                process->exit_status = (struct opt_int){ true, WEXITSTATUS(code) };
}
