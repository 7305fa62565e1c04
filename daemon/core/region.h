#pragma once

#include "daemon/core/limits.h"
#include "daemon/core/tree.h"
#include "proto/terms.h"

#include <sys/queue.h>
#include <sys/types.h>

struct attachment;
struct environment;
struct kept;
struct memory;

/* An id as a broker before this one gave it, which what it was given to keeps. Zero: ours, of the number that it has here. */
struct given_id {
        uint64_t instance, number;
};

/* Of the machine's memory: it is neither on a disk nor the client's own. */
static inline bool backing_is_memory(enum backing backing)
{
        return backing == BACKING_MEMFD || backing == BACKING_SYSV || backing == BACKING_POSIX;
}

/* Who was the last to leave a region. While something still holds it that the broker granted it to nobody, this is
 * where the trace begins. */
struct departed {
        pid_t pid; /* 0: nobody yet */
        uid_t uid;
        char command[COMMAND_MAX_BYTES + 1];
        enum access access;
        int64_t since_usec;
};

/* One region: a run of bytes, where they live, and who was granted them. */
struct region {
        uint64_t id; /* never used again */
        struct given_id given;
        struct environment *environment;
        char *name;
        char *type;
        unsigned number;
        int64_t size;
        enum backing backing;
        int32_t shm_key;       /* for sysv */
        struct memory *memory; /* owned; NULL for private */
        bool privately_held;   /* private: its process has not said that it let go */
        int watch;             /* for news of the last close; -1 while not in doubt */
        bool is_held;          /* by somebody, when the kernel was last asked */
        struct kept *kept;     /* by somebody else for us, over our own end; NULL: it is not */

        unsigned n_attachments;
        LIST_HEAD(, attachment) attachments;
        struct departed departed;
        TAILQ_ENTRY(region) in_environment;
        RB_ENTRY(region) by_watch;
};

/* NULL when memory runs out. Strings are copied; `memory` is not set yet. */
struct region *region_new(const struct spec *spec, enum backing backing);
/* The memory must be gone, and nobody attached. Takes NULL. */
struct region *region_free(struct region *region);
