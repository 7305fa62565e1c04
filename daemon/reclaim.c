/* A region is freed in this order: a rule is met; no live attachment; the proof of no holder; then name, key, file and
 * bookkeeping go. In doubt it stays, and is looked at again when the kernel tells of a close.
 *
 * A named environment goes as a whole or stays as a whole, since it can still be joined. A retired one cannot, and its
 * regions go one by one, each with its own last holder.
 *
 * inotify tells of a close a moment before the kernel takes it off its counts, and on a busy machine the one that closes
 * can be held up in that moment for seconds. So an event is followed by a few looks, each after twice the time, until the
 * counts have had every chance to follow. System V has no event at all: there the looks go on, ever more slowly. Time is
 * never the proof, only the occasion to ask for it. */

#include "daemon/reclaim.h"

#include "daemon/creation.h"
#include "daemon/describing.h"
#include "daemon/events.h"
#include "daemon/host/memory.h"
#include "daemon/log.h"
#include "daemon/waiting.h"
#include "proto/util.h"

#include <inttypes.h>

enum {
        LOOK_FIRST_USEC = 1000,
        LOOK_AFTER_EVENT_USEC = 65536 * 1000, /* the longest wait between looks where events are to be had */
        LOOK_SYSV_USEC = 5 * 1000 * 1000,     /* and where they are not */
        LARGE_BYTES = 256 * 1024,             /* freeing more takes longer than handing it to another thread */
};

static void unwatch(struct broker *broker, struct region *region)
{
        if (region->watch < 0)
                return;
        watch_remove(&broker->watch, region->watch);
        registry_unwatch(&broker->registry, region);
}

static bool is_held(struct region *region)
{
        if (region->memory)
                region->is_held = memory_is_held(region->memory);
        else
                region->is_held = region->privately_held && region->environment->creator->alive;
        return region->is_held;
}

bool reclaim_is_proven(struct broker *broker, struct region *region)
{
        int wd;

        if (region->n_attachments > 0)
                return false;
        if (!is_held(region))
                return true;
        if (!region->memory || memory_fd(region->memory) < 0 || region->watch >= 0)
                return false;
        wd = watch_add(&broker->watch, memory_fd(region->memory));
        if (wd < 0)
                return false;
        registry_watch(&broker->registry, region, wd);
        return !is_held(region); /* the last close may have slipped in before the watch */
}

bool reclaim_is_all_proven(struct broker *broker, struct environment *environment)
{
        struct region *region;
        bool proven = true;

        /* all are asked, so that all in doubt are watched */
        TAILQ_FOREACH(region, &environment->regions, in_environment)
                proven &= reclaim_is_proven(broker, region);
        return proven;
}

/* Takes a region, which somebody else gives the memory of back, off the books. */
static void forget_region(struct broker *broker, struct region *region)
{
        unwatch(broker, region);
        registry_remove_region(&broker->registry, region);
        region_free(region);
}

int64_t reclaim_region(struct broker *broker, struct region *region)
{
        struct environment *environment = region->environment;
        int64_t size = region->size;
        struct memory *memory;

        log_line_of(LOG_LEVEL_DEBUG, LOG_FIELDS(.environment = environment->name, .region = region->name),
                    "reclaimed region %s of %s: %" PRId64 " bytes", region->name, environment->name, size);
        unwatch(broker, region);
        registry_remove_region(&broker->registry, region);
        if (environment->state != STATE_RETIRED) /* else it is written down already that all of it goes */
                ledger_intend(broker, environment, region);
        keeping_drop(broker, region);
        memory = take_ptr(region->memory);
        region_free(region);
        broker->counters.reclaimed_regions++;
        broker->counters.reclaimed_bytes += size;
        if (memory)
                memory_unname(memory);
        if (memory && size > LARGE_BYTES && broker->settings.give_back)
                broker->settings.give_back(broker->settings.give_back_data, memory);
        else
                memory_release(memory);
        return size;
}

static void forget_environment(struct broker *broker, struct environment *environment)
{
        agenda_cancel(&broker->agenda, &environment->next_look);
        waiting_wake_all(broker, environment);
        registry_remove(&broker->registry, environment);
        creation_undo(broker, environment);
}

/* Written down before the first of it goes. */
static void condemn(struct broker *broker, struct environment *environment, const char *rule)
{
        if (environment->state == STATE_RETIRED)
                return;
        registry_unname(&broker->registry, environment);
        environment->state = STATE_RETIRED;
        environment->rule = rule;
        ledger_commit(broker);
        describing_void(environment);
}

int64_t reclaim_environment(struct broker *broker, struct environment *environment, const char *rule)
{
        int64_t bytes;

        condemn(broker, environment, rule);
        while (!TAILQ_EMPTY(&environment->regions)) {
                environment->regions_reclaimed++;
                environment->bytes_reclaimed += reclaim_region(broker, TAILQ_FIRST(&environment->regions));
        }
        log_line_of(LOG_LEVEL_INFO, LOG_FIELDS(.environment = environment->name, .rule = rule),
                    "reclaimed environment %s: %u regions, %" PRId64 " bytes; rule: %s", environment->name,
                    environment->regions_reclaimed, environment->bytes_reclaimed, rule);
        broker->counters.reclaimed++;
        events_note(broker, EVENT_KIND_RECLAIMED, environment, NULL, NULL, rule, environment->bytes_reclaimed);
        bytes = environment->bytes_reclaimed;
        forget_environment(broker, environment);
        return bytes;
}

void reclaim_abandon(struct broker *broker, struct environment *environment)
{
        struct region *region;

        if (broker->keeps)
                creation_let_be(broker, environment);
        describing_forget(broker, environment);
        while ((region = TAILQ_FIRST(&environment->regions))) {
                struct memory *memory;

                if (!broker->keeps)
                        keeping_drop(broker, region);
                memory = take_ptr(region->memory);
                if (memory && (region->backing != BACKING_FILE || environment->lifetime != LIFETIME_PERSISTENT))
                        memory_unname(memory);
                memory_forget(memory);
                forget_region(broker, region);
        }
        forget_environment(broker, environment);
}

static void on_look(struct agenda_item *item, void *data)
{
        struct environment *environment = container_of(item, struct environment, next_look);

        if (environment->n_members == 0)
                waiting_wake_removers(data, environment);
        reclaim_consider(data, environment);
}

static void look_at(struct broker *broker, struct environment *environment, int64_t when)
{
        environment->next_look.on_due = on_look;
        agenda_set(&broker->agenda, &environment->next_look, when);
}

/* Some held region will make no event. */
static bool needs_looks(const struct environment *environment)
{
        const struct region *region;

        TAILQ_FOREACH(region, &environment->regions, in_environment)
                if (region->memory && region->is_held && region->n_attachments == 0 && region->watch < 0)
                        return true;
        return false;
}

void reclaim_look_later(struct broker *broker, struct environment *environment)
{
        int64_t longest = needs_looks(environment) ? LOOK_SYSV_USEC : LOOK_AFTER_EVENT_USEC;
        int64_t interval = environment->look_interval * 2;

        if (interval == 0)
                interval = LOOK_FIRST_USEC;
        if (interval > longest) {
                if (longest == LOOK_AFTER_EVENT_USEC)
                        return; /* the next event brings the next look */
                interval = longest;
        }
        environment->look_interval = interval;
        look_at(broker, environment, broker->now + interval);
}

static void doubt(struct broker *broker, struct environment *environment)
{
        if (!environment->in_doubt && environment->backing != BACKING_PRIVATE)
                log_line_of(
                        LOG_LEVEL_INFO, LOG_FIELDS(.environment = environment->name, .rule = environment->rule),
                        "environment %s is due, but still held by a process that never asked for it; it goes with it",
                        environment->name);
        environment->in_doubt = true;
        reclaim_look_later(broker, environment);
}

/* Each region that is proven free goes; the environment goes with its last region and its last member. */
static void reclaim_retired(struct broker *broker, struct environment *environment)
{
        struct region *region, *next;
        bool in_doubt = false;

        for (region = TAILQ_FIRST(&environment->regions); region; region = next) {
                next = TAILQ_NEXT(region, in_environment);
                if (reclaim_is_proven(broker, region)) {
                        environment->regions_reclaimed++;
                        environment->bytes_reclaimed += reclaim_region(broker, region);
                } else {
                        in_doubt |= region->n_attachments == 0;
                }
        }
        if (TAILQ_EMPTY(&environment->regions) && environment->n_members == 0)
                reclaim_environment(broker, environment, environment->rule);
        else if (in_doubt)
                doubt(broker, environment);
}

bool reclaim_is_lost(const struct environment *environment)
{
        const struct region *region;

        if (environment->lifetime != LIFETIME_PERSISTENT || TAILQ_EMPTY(&environment->regions))
                return false;
        TAILQ_FOREACH(region, &environment->regions, in_environment)
                if (!region->memory || !memory_is_lost(region->memory))
                        return false;
        return true;
}

/* The rule by which it goes now; NULL while it stays. */
static const char *due_rule(struct broker *broker, struct environment *environment)
{
        if (environment->n_members > 0 || environment->state == STATE_INITIALIZING)
                return NULL;
        if (environment->backing == BACKING_PRIVATE && !environment->creator->alive)
                return "private, its process is dead";
        if (reclaim_is_lost(environment))
                return "persistent, but its memory was removed";
        if (environment->lifetime != LIFETIME_ATTACHED)
                return NULL;
        if (environment->linger_usec == 0)
                return "attached, nobody holds it any more";
        if (environment->linger_until == 0)
                environment->linger_until = broker->now + environment->linger_usec;
        if (environment->linger_until > broker->now) {
                look_at(broker, environment, environment->linger_until);
                return NULL;
        }
        return "attached, nobody held it and it has lingered";
}

void reclaim_consider(struct broker *broker, struct environment *environment)
{
        const char *rule;

        if (broker->stopping)
                return; /* what is left is abandoned at once, at the end */
        if (environment->state == STATE_RETIRED) {
                reclaim_retired(broker, environment);
                return;
        }
        rule = due_rule(broker, environment);
        if (!rule)
                return;
        if (reclaim_is_all_proven(broker, environment))
                reclaim_environment(broker, environment, rule);
        else
                doubt(broker, environment);
}

void reclaim_call_off(struct broker *broker, struct environment *environment)
{
        struct region *region;

        environment->linger_until = 0;
        environment->look_interval = 0;
        environment->in_doubt = false;
        agenda_cancel(&broker->agenda, &environment->next_look);
        TAILQ_FOREACH(region, &environment->regions, in_environment)
                unwatch(broker, region);
}

void reclaim_look_again(struct broker *broker, struct region *region)
{
        struct environment *environment = region->environment;

        environment->look_interval = 0;
        if (environment->n_members == 0)
                waiting_wake_removers(broker, environment);
        reclaim_consider(broker, environment);
}
