#pragma once

#include <stdint.h>

struct broker;
struct region;

/* Somebody who keeps descriptors for us over our own end (systemd's store), so that memory without a name is not lost with
 * us. Zero-initialised there is none. */
struct keeper {
        void (*keep)(void *data, const char *name, int fd); /* a copy of it */
        void (*drop)(void *data, const char *name);
        int (*take)(void *data,
                    const char *name); /* what was kept for the broker before us, which is ours then; or -1 */
        void *data;
};

/* The region's memory can be reached by its descriptor alone: from now on it is kept. Harmless for all others. */
void keeping_keep(struct broker *broker, const struct region *region);
/* It goes. */
void keeping_drop(struct broker *broker, const struct region *region);
/* What was kept of it; -1: nothing. */
int keeping_take(struct broker *broker, const struct region *region);
