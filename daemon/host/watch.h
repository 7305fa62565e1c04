#pragma once

/* News of closes: inotify on memory that is in doubt. It tells that a description of the file went, with its last
 * descriptor and mapping; whether that was the last holder is for memory_is_held() to prove. */
struct watch {
        int fd;
        char *buffer; /* events read and not handed out yet */
        unsigned n, next;
};

enum { WATCH_LOST = -1, WATCH_NONE = -2 };

int watch_init(struct watch *watch); /* -errno */
void watch_deinit(struct watch *watch);

/* Watches the file behind a descriptor: its watch, or -errno (ENOSPC: /proc/sys/fs/inotify/max_user_watches). */
int watch_add(struct watch *watch, int fd);
void watch_remove(struct watch *watch, int wd);

/* The watch of a file that somebody closed; WATCH_LOST where news were lost and all have to be looked at; WATCH_NONE. */
int watch_next(struct watch *watch);
