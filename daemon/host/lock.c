/* A file with the number of the process that has it locked. The lock is the kernel's; the number is only for people. */

#include "daemon/host/lock.h"

#include "proto/util.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/file.h>

static pid_t read_holder(int fd)
{
        char text[32] = "";

        if (pread(fd, text, sizeof(text) - 1, 0) < 0)
                return 0;
        return (pid_t)strtol(text, NULL, 10);
}

int lock_take(const char *directory, pid_t *ret_holder)
{
        owned(freep) char *path = NULL;
        owned(closep) int fd = -1;

        if (asprintf(&path, "%s/lock", directory) < 0) {
                path = NULL;
                return -ENOMEM;
        }
        fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
        if (fd < 0)
                return -errno;
        if (flock(fd, LOCK_EX | LOCK_NB) < 0) {
                if (errno != EWOULDBLOCK)
                        return -errno;
                *ret_holder = read_holder(fd);
                return -EBUSY;
        }
        if (ftruncate(fd, 0) < 0 || dprintf(fd, "%d\n", (int)getpid()) < 0)
                return -errno;
        return take_fd(fd);
}
