#pragma once

#include <stdbool.h>

struct broker;
struct kept;
struct region;

/* Somebody who keeps descriptors for us over our own end (systemd's store), so that memory without a name is not lost with
 * us. Zero-initialised there is none. */
struct keeper {
        /* A copy of it, which stays open until it is dropped; `alone`: its file has to go in that moment. -errno; -ENOSPC
         * where no more is taken. */
        int (*keep)(void *data, const char *name, int fd, bool alone, struct kept **ret);
        void (*drop)(void *data, struct kept *kept);
        /* What was kept for the broker before us, which is ours then and kept still; or -1. */
        int (*take)(void *data, const char *name, struct kept **ret);
        void *data;
};

/* The region's memory can be reached by its descriptor alone, or will be in a moment: from now on it is kept. Harmless for
 * System V memory. Where it cannot be, that is said in the log, and it does not outlive us. */
void keeping_keep(struct broker *broker, struct region *region);
/* It goes. */
void keeping_drop(struct broker *broker, struct region *region);
/* What was kept of it; -1: nothing. */
int keeping_take(struct broker *broker, struct region *region);
