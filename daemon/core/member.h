#pragma once

#include "daemon/core/change.h"
#include "proto/terms.h"

#include <stdlib.h>
#include <sys/queue.h>

struct environment;
struct departed;
struct peer;
struct region;

/* One session in one environment, and the regions it was granted there. */
struct member {
        struct change change;
        struct peer *peer;
        int64_t session; /* the peer's, also where that keeps it for a session which the broker before had */
        struct environment *environment;
        enum access access;
        int64_t since_usec; /* since 1970 */
        LIST_HEAD(, attachment) attachments;
        LIST_ENTRY(member) in_peer;
        TAILQ_ENTRY(member) in_environment;
};

/* One region granted to one session. */
struct attachment {
        struct region *region;
        struct member *member;
        enum access access;
        int64_t since_usec;
        bool unclaimed; /* who resumed did not name it: it was granted, and the answer was lost */
        LIST_ENTRY(attachment) in_region;
        LIST_ENTRY(attachment) in_member;
};

/* NULL when memory runs out. Neither is part of anything yet. */
struct member *member_new(struct peer *peer, struct environment *environment, enum access access, int64_t realtime);
struct attachment *attachment_new(struct member *member, struct region *region, enum access access, int64_t realtime);

/* Frees one that is not part of anything yet. Takes NULL. */
struct member *member_free(struct member *member);
/* Make it true; cannot fail. */
void member_join(struct member *member);
void attachment_join(struct attachment *attachment);

/* The session's membership or attachment; NULL where it has none. */
struct member *member_find(const struct peer *peer, const struct environment *environment);
struct attachment *attachment_find(const struct member *member, const struct region *region);
/* By the region's name among what the member has: one that was deleted under it is found here alone. */
struct attachment *attachment_find_named(const struct member *member, const char *name);

/* Who it is, for when it is gone. */
void departed_note(struct departed *departed, const struct member *member, enum access access, int64_t since_usec);
/* It has a region attached for writing. */
bool member_writes(const struct member *member);

/* Leaves the region, remembering there who left, and frees. Takes NULL. */
struct attachment *attachment_leave(struct attachment *attachment);
/* Leaves all regions and the environment, and frees. */
struct member *member_leave(struct member *member);

static inline void member_freep(struct member **member)
{
        member_free(*member);
}
