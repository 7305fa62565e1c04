#include "daemon/core/change.h"

#include "proto/util.h"

#include <errno.h>

void changes_init(struct changes *changes)
{
        *changes = (struct changes){};
        TAILQ_INIT(&changes->touched);
        STAILQ_INIT(&changes->gone);
}

static void free_gone(struct changes *changes)
{
        struct tombstone *tombstone;

        while ((tombstone = STAILQ_FIRST(&changes->gone))) {
                STAILQ_REMOVE_HEAD(&changes->gone, link);
                free(tombstone);
        }
}

void changes_deinit(struct changes *changes)
{
        free_gone(changes);
}

bool changes_is_empty(const struct changes *changes)
{
        return TAILQ_EMPTY(&changes->touched) && STAILQ_EMPTY(&changes->gone);
}

int change_init(struct change *change, enum change_kind kind)
{
        change->tombstone = calloc(1, sizeof(*change->tombstone));
        if (!change->tombstone)
                return -ENOMEM;
        change->tombstone->kind = kind;
        return 0;
}

void change_follow(struct change *change, struct changes *changes, uint64_t first, uint64_t second)
{
        bool numbers_itself = change->tombstone->kind == CHANGE_MEMBER && second == 0;

        change->changes = changes;
        change->tombstone->first = first;
        change->tombstone->second = numbers_itself ? ++changes->last_member : second;
        change_touch(change);
}

void change_touch(struct change *change)
{
        struct changes *changes = change->changes;

        if (!changes || changes->disabled || change->touched)
                return;
        change->touched = true;
        TAILQ_INSERT_TAIL(&changes->touched, change, link);
}

void change_end(struct change *change)
{
        if (change->touched)
                TAILQ_REMOVE(&change->changes->touched, change, link);
        change->touched = false;
        if (change->written)
                STAILQ_INSERT_TAIL(&change->changes->gone, change->tombstone, link);
        else
                free(change->tombstone);
        *change = (struct change){};
}

int changes_take_away(struct changes *changes, enum change_kind kind, uint64_t first, uint64_t second)
{
        struct tombstone *gone = calloc(1, sizeof(*gone));

        if (!gone)
                return -ENOMEM;
        *gone = (struct tombstone){ .kind = kind, .first = first, .second = second };
        STAILQ_INSERT_TAIL(&changes->gone, gone, link);
        return 0;
}

void changes_settle(struct changes *changes)
{
        struct change *change;

        while ((change = TAILQ_FIRST(&changes->touched))) {
                TAILQ_REMOVE(&changes->touched, change, link);
                change->touched = false;
                change->written = true;
        }
        free_gone(changes);
}
