#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The service manager (systemd): what it is told of us, what it passes to us, and the descriptors that it keeps for us over
 * our own end. Where there is none, all of it is nothing. */

enum passed_kind {
        PASSED_OTHER,     /* none of those below */
        PASSED_BAG,       /* one of ours (bag.h) */
        PASSED_LISTENING, /* a Unix stream socket that listens */
        PASSED_CONNECTED, /* one that is connected */
};

struct passed {
        int fd; /* owned; -1 once it was taken */
        char *name;
        enum passed_kind kind;
};

struct notify {
        bool is_heard;
        int64_t watchdog_usec; /* 0: nobody watches */
        struct passed *passed;
        size_t n_passed;
        size_t n_kept, n_kept_max; /* descriptors in the store, and how many it takes */
        size_t kept_bytes;         /* of their names, and of all that was passed to us */
};

/* Takes what was passed, which nobody does a second time. Before any thread. -errno. */
int notify_init(struct notify *notify);
/* Closes what nobody took. */
void notify_deinit(struct notify *notify);

void notify_ready(const struct notify *notify);
/* The configuration is being read anew; notify_ready() says when that is done. */
void notify_reloading(const struct notify *notify);
void notify_stopping(const struct notify *notify);
/* One line for people. */
void notify_status(const struct notify *notify, const char *line);
/* We are well; more often than watchdog_usec. */
void notify_alive(const struct notify *notify);

/* A copy of the descriptor goes into the store under a name of at most NOTIFY_NAME_MAX characters, none of which is a colon,
 * and which nothing else has. It is there for the one after us as soon as this returns. -EOPNOTSUPP: there is no manager;
 * -ENOSPC: the store takes no more; -errno. */
enum { NOTIFY_NAME_MAX = 31 };
int notify_keep(struct notify *notify, const char *name, int fd);
void notify_drop(struct notify *notify, const char *name);
/* Closes what was kept, and takes it out of the store. Calls `each` (may be NULL) with the names of what is not ours. */
void notify_drop_rest(struct notify *notify, void (*each)(const char *name));
