#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/queue.h>

struct bag;
struct kept;
struct notify;

/* Descriptors that outlive us in the store of the service manager, many to one entry of it. */
struct bags {
        struct notify *notify;     /* borrowed */
        struct bag *open;          /* where more goes in; NULL: none */
        struct bag *open_for_next; /* likewise, for the one after us alone */
        uint64_t last;
        struct found *found; /* what was in the bags of the one before us, in the order of their names */
        size_t n_found;
        LIST_HEAD(, bag) bags;
};

/* Takes the bags that were passed. -errno. */
int bags_init(struct bags *bags, struct notify *notify);
/* What is kept stays so. */
void bags_deinit(struct bags *bags);

/* The descriptor is kept, under a name of at most BAG_NAME_MAX characters, and as soon as this returns whatever becomes of
 * us. It stays open, and the caller's, until it is dropped. `alone`: its file is to go in the moment it is dropped; others
 * may be kept for a while, when nothing is in them any more. -errno as of notify_keep(). */
enum { BAG_NAME_MAX = 15 };
int bags_keep(struct bags *bags, const char *name, int fd, bool alone, struct kept **ret);
/* The same for the one after us alone, which takes and drops it before it does anything: it cannot be dropped by us. */
int bags_hand_on(struct bags *bags, const char *name, int fd);
/* Returns NULL, and takes it. */
struct kept *bags_drop(struct bags *bags, struct kept *kept);
/* What the one before us had kept under the name, and is the caller's now. It is kept still, and the descriptor stays open
 * until that is dropped. -1: nothing. */
int bags_take(struct bags *bags, const char *name, struct kept **ret);
/* All that is of use was taken; the rest is dropped. */
void bags_settle(struct bags *bags);
