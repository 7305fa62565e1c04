/* inotify through /proc/self/fd, which reaches memory files that have no name, too. */

#include "daemon/host/watch.h"

#include "proto/util.h"

#include <errno.h>
#include <stdio.h>
#include <sys/inotify.h>

enum { BUFFER_SIZE = 4096 };

int watch_init(struct watch *watch)
{
        *watch = (struct watch){ .fd = inotify_init1(IN_CLOEXEC | IN_NONBLOCK) };
        if (watch->fd < 0)
                return -errno;
        watch->buffer = malloc(BUFFER_SIZE); /* aligned for struct inotify_event, as malloc is for anything */
        if (!watch->buffer) {
                watch_deinit(watch);
                return -ENOMEM;
        }
        return 0;
}

void watch_deinit(struct watch *watch)
{
        watch->fd = close_fd(watch->fd);
        free(watch->buffer);
        watch->buffer = NULL;
}

int watch_add(struct watch *watch, int fd)
{
        char path[64];
        int wd;

        snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
        wd = inotify_add_watch(watch->fd, path, IN_CLOSE);
        return wd < 0 ? -errno : wd;
}

void watch_remove(struct watch *watch, int wd)
{
        inotify_rm_watch(watch->fd, wd);
}

int watch_next(struct watch *watch)
{
        const struct inotify_event *event;
        ssize_t n;

        if (watch->next >= watch->n) {
                n = read(watch->fd, watch->buffer, BUFFER_SIZE);
                watch->next = 0;
                watch->n = n > 0 ? (unsigned)n : 0;
                if (watch->n == 0)
                        return WATCH_NONE;
        }
        event = (const void *)(watch->buffer + watch->next);
        watch->next += (unsigned)sizeof(*event) + event->len;
        return event->mask & IN_Q_OVERFLOW ? WATCH_LOST : event->wd;
}
