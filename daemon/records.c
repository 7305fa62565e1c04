/* Layouts, version 2. N is a number, S a signed one, T a text, O a number that may be missing (host/record):
 *
 *   ledger       N version  T boot  N ipc-namespace  N instance  N last-id  N last-member  N last-event  S next-key
 *   process      N id (the inode of its pidfd)  S pid  N uid  T command
 *   departed     S pid (0: nobody)  N uid  T command  N access  S since
 *   trace        N unnamed  N device  N inode  T path  S shm-id  S creator  S changed
 *   id           N id  N instance  N number (as given by an earlier broker; 0 0: ours)
 *   region       id  T name  T type  N number  S size  N backing  S shm-key  N privately-held  departed
 *                N has-memory  [trace]
 *   environment  N version  id  T name  T home  N device  N inode  S born (of the home)  T schema  N state  N named
 *                N generation  N deaths  N uid  N gid  N mode  N backing  N lifetime  S linger  N reserve  N lock
 *                N huge-pages  N hugetlb  N recovery  N key-given  S next-key  S created  process (its creator)
 *                N initializer  N recoverer  departed (the culprit)  N died-again  N last-number  T directory
 *                N own-directory  N described-by  T rule  N regions-reclaimed  S bytes-reclaimed  N regions  region...
 *   member       N version  process  S session  N gid  N access  S since  N grants  { N region  N access  S since }...
 *   event        N version  N sequence  S realtime  N kind  T environment  N environment-id  T region  N uid  N gid  N mode
 *                N by-process  S pid  N uid  T command  N written  T...  O exit-status  O signal  T reason  O bytes
 *
 * Words of the contract are written as their place in it, from 1. */

#include "daemon/records.h"

#include "proto/util.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

enum { VERSION = 2, LIST_MAX = 1000 * 1000 };

/* A number of things that follow, each of at least one byte. */
static size_t take_count(struct reading *reading)
{
        uint64_t n = record_take(reading);

        if (n > LIST_MAX || n > reading->n)
                reading->fault = true;
        return reading->fault ? 0 : (size_t)n;
}

static bool is_version(struct reading *reading)
{
        return record_take(reading) == VERSION;
}

static void take_command(struct reading *reading, char ret[COMMAND_MAX_BYTES + 1])
{
        owned(freep) char *command = record_take_text(reading);

        snprintf(ret, COMMAND_MAX_BYTES + 1, "%.*s", COMMAND_MAX_BYTES, command ? command : "?");
}

/* --- the ledger -------------------------------------------------------------------------------------------------- */

void ledger_record_put(struct record *record, const struct ledger_record *ledger)
{
        record_put(record, VERSION);
        record_put_text(record, ledger->boot);
        record_put(record, ledger->ipc_namespace);
        record_put(record, ledger->instance);
        record_put(record, ledger->last_id);
        record_put(record, ledger->last_member);
        record_put(record, ledger->last_event);
        record_put_signed(record, ledger->next_key);
}

int ledger_record_take(struct reading *reading, struct ledger_record *ret)
{
        *ret = (struct ledger_record){};
        if (!is_version(reading))
                return -EBADMSG;
        ret->boot = record_take_text(reading);
        ret->ipc_namespace = record_take(reading);
        ret->instance = record_take(reading);
        ret->last_id = record_take(reading);
        ret->last_member = record_take(reading);
        ret->last_event = record_take(reading);
        ret->next_key = (int32_t)record_take_signed(reading);
        if (ret->boot && record_is_read(reading))
                return 0;
        ledger_record_clear(ret);
        return -EBADMSG;
}

void ledger_record_clear(struct ledger_record *ledger)
{
        free(ledger->boot);
        ledger->boot = NULL;
}

/* --- processes --------------------------------------------------------------------------------------------------- */

static void put_process(struct record *record, const struct process *process)
{
        record_put(record, process->id);
        record_put_signed(record, process->pid);
        record_put(record, process->uid);
        record_put_text(record, process->command);
}

static void take_process(struct reading *reading, struct process_record *ret)
{
        ret->id = record_take(reading);
        ret->pid = (pid_t)record_take_signed(reading);
        ret->uid = (uid_t)record_take(reading);
        take_command(reading, ret->command);
}

static void put_departed(struct record *record, const struct departed *departed)
{
        record_put_signed(record, departed->pid);
        record_put(record, departed->uid);
        record_put_text(record, departed->command);
        record_put(record, departed->access);
        record_put_signed(record, departed->since_usec);
}

static void take_departed(struct reading *reading, struct departed *ret)
{
        ret->pid = (pid_t)record_take_signed(reading);
        ret->uid = (uid_t)record_take(reading);
        take_command(reading, ret->command);
        ret->access = (enum access)record_take(reading);
        ret->since_usec = record_take_signed(reading);
}

/* --- regions ----------------------------------------------------------------------------------------------------- */

static void put_trace(struct record *record, const struct memory *memory)
{
        struct memory_trace trace;

        memory_trace(memory, &trace);
        record_put(record, trace.unnamed);
        record_put(record, trace.device);
        record_put(record, trace.inode);
        record_put_text(record, trace.path);
        record_put_signed(record, trace.shm_id);
        record_put_signed(record, trace.creator);
        record_put_signed(record, trace.changed);
}

static void take_trace(struct reading *reading, const struct region *region, struct memory_trace *ret)
{
        *ret = (struct memory_trace){ .backing = region->backing, .size = region->size, .shm_key = region->shm_key };
        ret->unnamed = record_take(reading);
        ret->device = record_take(reading);
        ret->inode = record_take(reading);
        ret->path = record_take_text(reading);
        ret->shm_id = (int)record_take_signed(reading);
        ret->creator = (pid_t)record_take_signed(reading);
        ret->changed = record_take_signed(reading);
}

static void put_id(struct record *record, uint64_t id, const struct given_id *given)
{
        record_put(record, id);
        record_put(record, given->instance);
        record_put(record, given->number);
}

static uint64_t take_id(struct reading *reading, struct given_id *ret_given)
{
        uint64_t id = record_take(reading);

        ret_given->instance = record_take(reading);
        ret_given->number = record_take(reading);
        return id;
}

static void put_region(struct record *record, const struct region *region)
{
        put_id(record, region->id, &region->given);
        record_put_text(record, region->name);
        record_put_text(record, region->type);
        record_put(record, region->number);
        record_put_signed(record, region->size);
        record_put(record, region->backing);
        record_put_signed(record, region->shm_key);
        record_put(record, region->privately_held);
        put_departed(record, &region->departed);
        record_put(record, region->memory != NULL);
        if (region->memory)
                put_trace(record, region->memory);
}

static int take_region(struct reading *reading, struct environment *environment, struct memory_trace *ret_trace)
{
        struct given_id given;
        uint64_t id = take_id(reading, &given);
        owned(freep) char *name = record_take_text(reading);
        owned(freep) char *type = record_take_text(reading);
        unsigned number = (unsigned)record_take(reading);
        const struct spec spec = { .name = name, .type = type, .size = record_take_signed(reading) };
        enum backing backing = (enum backing)record_take(reading);
        struct region *region;

        if (reading->fault || !name || !type || backing < BACKING_FILE || backing > BACKING_PRIVATE)
                return -EBADMSG;
        region = region_new(&spec, backing);
        if (!region)
                return -ENOMEM;
        environment_add_region(environment, region);
        region->id = id;
        region->given = given;
        region->number = number;
        region->shm_key = (int32_t)record_take_signed(reading);
        region->privately_held = record_take(reading);
        take_departed(reading, &region->departed);
        if (record_take(reading))
                take_trace(reading, region, ret_trace);
        return reading->fault ? -EBADMSG : 0;
}

/* --- environments ------------------------------------------------------------------------------------------------ */

static uint64_t number_of(const struct member *member)
{
        return member ? member->change.tombstone->second : 0;
}

static void put_wishes(struct record *record, const struct environment *environment)
{
        record_put(record, environment->backing);
        record_put(record, environment->lifetime);
        record_put_signed(record, environment->linger_usec);
        record_put(record, environment->reserve);
        record_put(record, environment->lock);
        record_put(record, environment->huge_pages);
        record_put(record, environment->hugetlb);
        record_put(record, environment->recovery);
        record_put(record, environment->key_given);
        record_put_signed(record, environment->next_key);
}

static void take_wishes(struct reading *reading, struct environment *environment)
{
        environment->backing = (enum backing)record_take(reading);
        environment->lifetime = (enum lifetime)record_take(reading);
        environment->linger_usec = record_take_signed(reading);
        environment->reserve = record_take(reading);
        environment->lock = record_take(reading);
        environment->huge_pages = record_take(reading);
        environment->hugetlb = record_take(reading);
        environment->recovery = record_take(reading);
        environment->key_given = record_take(reading);
        environment->next_key = record_take_signed(reading);
}

void environment_record_put(struct record *record, const struct environment *environment)
{
        const struct region *region;

        record_put(record, VERSION);
        put_id(record, environment->id, &environment->given);
        record_put_text(record, environment->name);
        record_put_text(record, environment->home);
        record_put(record, environment->home_id.device);
        record_put(record, environment->home_id.inode);
        record_put_signed(record, environment->home_id.born_nsec);
        record_put_text(record, environment->schema);
        record_put(record, environment->state);
        record_put(record, environment->named);
        record_put(record, environment->generation);
        record_put(record, environment->deaths);
        record_put(record, environment->uid);
        record_put(record, environment->gid);
        record_put(record, environment->mode);
        put_wishes(record, environment);
        record_put_signed(record, environment->created_usec);
        put_process(record, environment->creator);
        record_put(record, number_of(environment->initializer));
        record_put(record, number_of(environment->recoverer));
        put_departed(record, &environment->culprit);
        record_put(record, environment->died_again);
        record_put(record, environment->last_number);
        record_put_text(record, environment->directory_path);
        record_put(record, environment->own_directory);
        record_put(record, environment->described_by);
        record_put_text(record, environment->rule);
        record_put(record, environment->regions_reclaimed);
        record_put_signed(record, environment->bytes_reclaimed);
        record_put(record, environment->n_regions);
        TAILQ_FOREACH(region, &environment->regions, in_environment)
                put_region(record, region);
}

/* Its head: what comes before the regions. */
static int take_head(struct reading *reading, struct environment_record *ret)
{
        struct given_id given;
        uint64_t id = take_id(reading, &given);
        owned(freep) char *name = record_take_text(reading);
        struct environment *environment;

        if (reading->fault || !name)
                return -EBADMSG;
        environment = environment_new(name, &(struct definition){}, BACKING_MEMFD);
        if (!environment)
                return -ENOMEM;
        ret->environment = environment;
        environment->id = id;
        environment->given = given;
        environment->home = record_take_text(reading);
        environment->home_id.device = record_take(reading);
        environment->home_id.inode = record_take(reading);
        environment->home_id.born_nsec = record_take_signed(reading);
        environment->schema = record_take_text(reading);
        environment->state = (enum state)record_take(reading);
        environment->named = record_take(reading);
        environment->generation = record_take(reading);
        environment->deaths = record_take(reading);
        environment->uid = (uid_t)record_take(reading);
        environment->gid = (gid_t)record_take(reading);
        environment->mode = (mode_t)record_take(reading);
        take_wishes(reading, environment);
        environment->created_usec = record_take_signed(reading);
        take_process(reading, &ret->creator);
        ret->initializer = record_take(reading);
        ret->recoverer = record_take(reading);
        take_departed(reading, &environment->culprit);
        environment->died_again = record_take(reading);
        environment->last_number = (unsigned)record_take(reading);
        environment->directory_path = record_take_text(reading);
        environment->own_directory = record_take(reading);
        environment->described_by = record_take(reading);
        environment->rule = environment->rule_text = record_take_text(reading);
        environment->regions_reclaimed = (unsigned)record_take(reading);
        environment->bytes_reclaimed = record_take_signed(reading);
        return reading->fault ? -EBADMSG : 0;
}

static int take_regions(struct reading *reading, struct environment_record *ret)
{
        unsigned last_number = ret->environment->last_number;
        size_t n = take_count(reading);
        int r = 0;

        ret->traces = calloc(n + 1, sizeof(*ret->traces));
        if (!ret->traces)
                return -ENOMEM;
        ret->n_traces = n;
        for (size_t i = 0; i < n && r == 0; i++)
                r = take_region(reading, ret->environment, &ret->traces[i]);
        ret->environment->last_number = last_number;
        return r;
}

int environment_record_take(struct reading *reading, struct environment_record *ret)
{
        int r;

        *ret = (struct environment_record){};
        r = is_version(reading) ? take_head(reading, ret) : -EBADMSG;
        if (r == 0)
                r = take_regions(reading, ret);
        if (r == 0 && !record_is_read(reading))
                r = -EBADMSG;
        if (r < 0)
                environment_record_clear(ret);
        return r;
}

static void free_unsettled(struct environment *environment)
{
        struct region *region;

        if (!environment)
                return;
        while ((region = TAILQ_FIRST(&environment->regions))) {
                environment_remove_region(environment, region);
                region_free(region);
        }
        environment->directory = close_fd(environment->directory);
        environment_free(environment);
}

void environment_record_clear(struct environment_record *record)
{
        for (size_t i = 0; i < record->n_traces; i++)
                free(record->traces[i].path);
        free(record->traces);
        free_unsettled(record->environment);
        *record = (struct environment_record){};
}

/* --- members ----------------------------------------------------------------------------------------------------- */

void member_record_put(struct record *record, const struct member *member)
{
        const struct attachment *attachment;
        uint64_t n = 0;

        LIST_FOREACH(attachment, &member->attachments, in_member)
                n++;
        record_put(record, VERSION);
        put_process(record, member->peer->process);
        record_put_signed(record, member->session);
        record_put(record, member->peer->gid);
        record_put(record, member->access);
        record_put_signed(record, member->since_usec);
        record_put(record, n);
        LIST_FOREACH(attachment, &member->attachments, in_member) {
                record_put(record, attachment->region->id);
                record_put(record, attachment->access);
                record_put_signed(record, attachment->since_usec);
        }
}

int member_record_take(struct reading *reading, struct member_record *ret)
{
        *ret = (struct member_record){};
        if (!is_version(reading))
                return -EBADMSG;
        take_process(reading, &ret->process);
        ret->session = record_take_signed(reading);
        ret->gid = (gid_t)record_take(reading);
        ret->access = (enum access)record_take(reading);
        ret->since_usec = record_take_signed(reading);
        ret->n_grants = take_count(reading);
        ret->grants = calloc(ret->n_grants + 1, sizeof(*ret->grants));
        if (!ret->grants)
                return -ENOMEM;
        for (size_t i = 0; i < ret->n_grants; i++) {
                ret->grants[i].region = record_take(reading);
                ret->grants[i].access = (enum access)record_take(reading);
                ret->grants[i].since_usec = record_take_signed(reading);
        }
        if (record_is_read(reading))
                return 0;
        member_record_clear(ret);
        return -EBADMSG;
}

void member_record_clear(struct member_record *member)
{
        free(member->grants);
        member->grants = NULL;
}

/* --- events ------------------------------------------------------------------------------------------------------ */

void event_record_put(struct record *record, const struct event *event)
{
        record_put(record, VERSION);
        record_put(record, event->sequence);
        record_put_signed(record, event->realtime_usec);
        record_put(record, event->kind);
        record_put_text(record, event->environment);
        record_put(record, event->environment_id);
        record_put_text(record, event->region);
        record_put(record, event->uid);
        record_put(record, event->gid);
        record_put(record, event->mode);
        record_put(record, event->by_process);
        record_put_signed(record, event->process_pid);
        record_put(record, event->process_uid);
        record_put_text(record, event->command);
        record_put(record, event->n_written);
        for (size_t i = 0; i < event->n_written; i++)
                record_put_text(record, event->written[i]);
        record_put_opt(record, &event->exit_status);
        record_put_opt(record, &event->signal);
        record_put_text(record, event->reason);
        record_put_opt(record, &event->bytes);
}

static void take_event(struct reading *reading, struct event *event)
{
        size_t n;

        event->sequence = record_take(reading);
        event->realtime_usec = record_take_signed(reading);
        event->kind = (enum event_kind)record_take(reading);
        event->environment = record_take_text(reading);
        event->environment_id = record_take(reading);
        event->region = record_take_text(reading);
        event->uid = (uid_t)record_take(reading);
        event->gid = (gid_t)record_take(reading);
        event->mode = (mode_t)record_take(reading);
        event->by_process = record_take(reading);
        event->process_pid = (pid_t)record_take_signed(reading);
        event->process_uid = (uid_t)record_take(reading);
        take_command(reading, event->command);
        n = take_count(reading);
        for (size_t i = 0; i < n; i++) {
                owned(freep) char *written = record_take_text(reading);

                if (written)
                        event_add_written(event, written);
        }
        record_take_opt(reading, &event->exit_status);
        record_take_opt(reading, &event->signal);
        event->reason = record_take_text(reading);
        record_take_opt(reading, &event->bytes);
}

int event_record_take(struct reading *reading, struct event **ret)
{
        struct event *event = calloc(1, sizeof(*event));

        if (!event)
                return -ENOMEM;
        if (is_version(reading))
                take_event(reading, event);
        if (event->environment && record_is_read(reading)) {
                *ret = event;
                return 0;
        }
        event_free(event);
        return -EBADMSG;
}
