/* The peer of a socket: SO_PEERCRED, SO_PEERGROUPS, SO_PEERPIDFD. Nothing that the peer says of itself is believed. */

#include "daemon/host/identity.h"

#include "proto/util.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/vfs.h>

#ifndef SO_PEERPIDFD
#define SO_PEERPIDFD 77 /* Linux 6.5 */
#endif

#ifndef PID_FS_MAGIC
#define PID_FS_MAGIC 0x50494446 /* Linux 6.9 */
#endif

enum { PID_BITS = 22 }; /* what the kernel has at most */

static bool has_event(int fd, short event)
{
        struct pollfd pollfd = { .fd = fd, .events = event };

        return poll(&pollfd, 1, 0) > 0 && pollfd.revents & event;
}

/* The older way. The number may have gone to another process since the peer connected, but then the peer is dead and,
 * unless a child of it has the socket, hung up. */
static int open_by_number(pid_t pid, int socket)
{
        owned(closep) int fd = (int)syscall(SYS_pidfd_open, pid, 0);

        if (fd < 0)
                return -errno;
        return has_event(socket, POLLHUP) ? -ESRCH : take_fd(fd);
}

static int read_groups(int socket, struct identity *identity)
{
        gid_t some[64];
        socklen_t size = sizeof(some);
        gid_t *groups = some;
        owned(freep) gid_t *many = NULL;

        if (getsockopt(socket, SOL_SOCKET, SO_PEERGROUPS, some, &size) < 0) {
                if (errno != ERANGE)
                        return -errno;
                groups = many = malloc(size);
                if (!many)
                        return -ENOMEM;
                if (getsockopt(socket, SOL_SOCKET, SO_PEERGROUPS, many, &size) < 0)
                        return -errno;
        }
        identity->n_groups = size / sizeof(gid_t);
        if (identity->n_groups == 0)
                return 0;
        if (many) {
                identity->groups = take_ptr(many);
                return 0;
        }
        identity->groups = malloc(size);
        if (!identity->groups)
                return -ENOMEM;
        memcpy(identity->groups, groups, size);
        return 0;
}

/* As long as the process lives its number is nobody else's. */
static void read_command(struct identity *identity)
{
        char path[64], comm[64];
        owned(closep) int fd = -1;
        ssize_t n = 0;

        snprintf(path, sizeof(path), "/proc/%d/comm", (int)identity->pid);
        fd = open(path, O_RDONLY | O_CLOEXEC);
        if (fd >= 0)
                n = read(fd, comm, sizeof(comm) - 1);
        comm[n > 0 ? n : 0] = '\0';
        comm[strcspn(comm, "\n")] = '\0';
        if (!comm[0] || has_event(identity->pidfd, POLLIN))
                strcpy(comm, "?");
        snprintf(identity->command, sizeof(identity->command), "%.*s", COMMAND_MAX_BYTES, comm);
}

/* When the process was started, in clock ticks since boot. */
static int read_start(pid_t pid, uint64_t *ret_ticks)
{
        char path[64], stat[1024], *after;
        owned(closep) int fd = -1;
        ssize_t n;

        snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
        fd = open(path, O_RDONLY | O_CLOEXEC);
        if (fd < 0)
                return errno == ENOENT ? -ESRCH : -errno;
        n = read(fd, stat, sizeof(stat) - 1);
        if (n < 0)
                return -errno;
        stat[n] = '\0';
        after = strrchr(stat, ')'); /* the command in parentheses may hold anything */
        if (!after ||
            sscanf(after + 1, " %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %*u %*u %*d %*d %*d %*d %*d %*d %" SCNu64,
                   ret_ticks) != 1)
                return -EBADMSG;
        return 0;
}

/* Since Linux 6.9 each process has an inode of its own in the filesystem of pidfds. Before, all pidfds had one and the
 * same, and the moment of its start tells one process from another of its number. */
static int read_id(struct identity *identity)
{
        struct statfs fs;
        struct stat st;
        uint64_t ticks;
        int r;

        if (fstatfs(identity->pidfd, &fs) < 0 || fstat(identity->pidfd, &st) < 0)
                return -errno;
        if (fs.f_type == PID_FS_MAGIC) {
                identity->id = st.st_ino;
                return 0;
        }
        r = read_start(identity->pid, &ticks);
        if (r < 0)
                return r;
        identity->id = ticks << PID_BITS | (uint64_t)identity->pid;
        return has_event(identity->pidfd, POLLIN) ? -ESRCH : 0; /* dead: what was read may be another's */
}

static int read_pidfd(int socket, struct identity *identity)
{
        socklen_t size = sizeof(identity->pidfd);

        if (getsockopt(socket, SOL_SOCKET, SO_PEERPIDFD, &identity->pidfd, &size) < 0) {
                identity->pidfd = -1;
                if (errno != ENOPROTOOPT)
                        return -errno;
                identity->pidfd = open_by_number(identity->pid, socket);
                if (identity->pidfd < 0)
                        return identity->pidfd;
        }
        fcntl(identity->pidfd, F_SETFD, FD_CLOEXEC);
        return read_id(identity);
}

int identity_read(int socket, struct identity *ret, const char **ret_operation)
{
        struct identity identity = { .pidfd = -1 };
        struct ucred credentials;
        socklen_t size = sizeof(credentials);
        int r;

        *ret_operation = "getsockopt SO_PEERCRED";
        if (getsockopt(socket, SOL_SOCKET, SO_PEERCRED, &credentials, &size) < 0)
                return -errno;
        identity.pid = credentials.pid;
        identity.uid = credentials.uid;
        identity.gid = credentials.gid;
        *ret_operation = "getsockopt SO_PEERGROUPS";
        r = read_groups(socket, &identity);
        if (r == 0) {
                *ret_operation = "getsockopt SO_PEERPIDFD";
                r = read_pidfd(socket, &identity);
        }
        if (r < 0) {
                identity_deinit(&identity);
                return r;
        }
        read_command(&identity);
        *ret = identity;
        return 0;
}

int identity_of_self(struct identity *ret)
{
        struct identity identity = { .pid = getpid(), .uid = geteuid(), .gid = getegid() };
        int r;

        identity.pidfd = (int)syscall(SYS_pidfd_open, identity.pid, 0);
        if (identity.pidfd < 0)
                return -errno;
        r = read_id(&identity);
        if (r < 0) {
                identity_deinit(&identity);
                return r;
        }
        read_command(&identity);
        *ret = identity;
        return 0;
}

int identity_find(pid_t pid, uint64_t id)
{
        struct identity identity = { .pid = pid };
        owned(closep) int fd = (int)syscall(SYS_pidfd_open, pid, 0);

        identity.pidfd = fd;
        if (fd < 0)
                return -errno;
        if (read_id(&identity) < 0 || identity.id != id || has_event(fd, POLLIN))
                return -ESRCH;
        return take_fd(fd);
}

void identity_deinit(struct identity *identity)
{
        identity->pidfd = close_fd(identity->pidfd);
        free(identity->groups);
        identity->groups = NULL;
}

uint64_t identity_ipc_namespace(void)
{
        struct stat st;

        return stat("/proc/self/ns/ipc", &st) == 0 ? st.st_ino : 0;
}

bool identity_shares_ipc(pid_t pid)
{
        char path[64];
        struct stat st;
        uint64_t own = identity_ipc_namespace();

        snprintf(path, sizeof(path), "/proc/%d/ns/ipc", (int)pid);
        return own == 0 || stat(path, &st) < 0 || st.st_ino == own;
}
