#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>

/* What has changed since it was last written down. Each object that is kept embeds a change, and notes there that it has
 * changed; whoever writes goes through the list. Nothing here can fail once an object is there, so that what happens by
 * itself (a death) is noted whatever memory is left. */

enum change_kind { CHANGE_ENVIRONMENT = 'E', CHANGE_INTENT = 'I', CHANGE_MEMBER = 'M', CHANGE_SESSION = 'S' };

struct changes;

/* What tells a record from others: the object's kind, and its number; for a member that of its environment, then its own. */
struct tombstone {
        enum change_kind kind;
        uint64_t first, second;
        STAILQ_ENTRY(tombstone) link;
};

struct change {
        struct changes *changes;     /* where it is noted; NULL while the object is not kept */
        struct tombstone *tombstone; /* owned */
        bool touched;
        bool written; /* a record of it exists */
        TAILQ_ENTRY(change) link;
};

struct changes {
        bool disabled; /* nobody writes */
        uint64_t last_member;
        TAILQ_HEAD(, change) touched;
        STAILQ_HEAD(, tombstone) gone; /* records to take away */
};

void changes_init(struct changes *changes);
void changes_deinit(struct changes *changes);
bool changes_is_empty(const struct changes *changes);

/* Before the object can be kept: -ENOMEM. */
int change_init(struct change *change, enum change_kind kind);
/* From now on the object is kept, under these numbers; a member's own is given to it where `second` is 0. It counts as
 * changed. */
void change_follow(struct change *change, struct changes *changes, uint64_t first, uint64_t second);
void change_touch(struct change *change);
/* The object goes. Harmless on one that was zeroed. */
void change_end(struct change *change);
/* A record that no object stands behind is to be taken away: -ENOMEM. */
int changes_take_away(struct changes *changes, enum change_kind kind, uint64_t first, uint64_t second);
/* All touched ones are written, and the gone ones taken away. */
void changes_settle(struct changes *changes);
