/* Records come in the order of their kinds: the ledger's own, environments, members, sessions, events. Nothing is noted as changed while
 * they are read, for all of it is written already. What was being made is read once all is known that was. */

#include "daemon/recovery.h"

#include "daemon/broker.h"
#include "daemon/creation.h"
#include "daemon/describing.h"
#include "daemon/host/control.h"
#include "daemon/host/memory.h"
#include "daemon/host/store.h"
#include "daemon/leftovers.h"
#include "daemon/lifecycle.h"
#include "daemon/log.h"
#include "daemon/missing.h"
#include "daemon/reclaim.h"
#include "daemon/records.h"
#include "daemon/resuming.h"
#include "proto/util.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

/* Which members had a part to play, in the order of their environments. */
struct parts {
        uint64_t environment, initializer, recoverer;
};

struct recovery {
        struct broker *broker;
        bool believed;         /* the ledger is of this boot */
        struct process **dead; /* each with a reference */
        struct parts *parts;
        size_t n_dead, n_parts, next_part;
        unsigned environments, regions, lost, missing, members, died;
};

/* Room for one more behind the first `n` of an array. */
static bool grow(void *array, size_t n, size_t size)
{
        void *grown = realloc(*(void **)array, (n + 1) * size);

        if (grown)
                *(void **)array = grown;
        return grown;
}

/* --- processes --------------------------------------------------------------------------------------------------- */

static int add_process(struct recovery *recovery, const struct process_record *record, struct process **ret)
{
        struct broker *broker = recovery->broker;
        struct process *process = calloc(1, sizeof(*process));
        int r = 0;

        if (!process || !grow(&recovery->dead, recovery->n_dead, sizeof(struct process *))) {
                free(process);
                return -ENOMEM;
        }
        process->id = record->id;
        process->pid = record->pid;
        process->uid = record->uid;
        memcpy(process->command, record->command, sizeof(process->command));
        LIST_INIT(&process->peers);
        LIST_INIT(&process->created);
        process->pidfd = identity_find(record->pid, record->id);
        if (process->pidfd >= 0)
                r = deaths_add(&broker->deaths, process);
        if (r < 0) {
                close_fd(process->pidfd);
                free(process);
                return r;
        }
        process->alive = process->pidfd >= 0;
        registry_add_process(&broker->registry, process);
        if (!process->alive)
                recovery->dead[recovery->n_dead++] = broker_retain_process(process);
        *ret = process;
        return 0;
}

static int find_process(struct recovery *recovery, const struct process_record *record, struct process **ret)
{
        *ret = registry_find_process(&recovery->broker->registry, record->id);
        return *ret ? 0 : add_process(recovery, record, ret);
}

/* --- environments ------------------------------------------------------------------------------------------------ */

static void find_memory(struct recovery *recovery, struct environment_record *record)
{
        struct broker *broker = recovery->broker;
        struct environment *environment = record->environment;
        struct region *region;
        bool is_anothers = describing_is_anothers(broker, environment);
        size_t i = 0;

        TAILQ_FOREACH(region, &environment->regions, in_environment) {
                const struct memory_trace *trace = &record->traces[i++];

                recovery->regions++;
                if (region->backing == BACKING_PRIVATE ||
                    (!is_anothers &&
                     memory_find(trace, environment->directory, keeping_take(broker, region), &region->memory) == 0))
                        continue;
                keeping_drop(broker, region); /* it was something else */
                if (memory_expect(trace, &region->memory) == 0) {
                        recovery->missing++;
                        continue;
                }
                recovery->lost++;
                log_line_of(LOG_LEVEL_WARNING, LOG_FIELDS(.environment = environment->name, .region = region->name),
                            "lost region %s of environment %s: its %lld bytes are not to be found again", region->name,
                            environment->name, (long long)region->size);
        }
}

static int find_control(struct broker *broker, struct environment *environment)
{
        owned(freep) char *path = NULL;
        const char *operation;
        int r, error;

        r = creation_control_path(broker, environment, &path);
        if (r < 0)
                return r;
        environment->control = path ? control_find(path) : NULL;
        if (!environment->control) {
                if (path)
                        unlink(path); /* half made, by one who was killed in that */
                environment->control = control_new(path, &operation, &error);
        }
        return environment->control ? 0 : -error;
}

static int note_parts(struct recovery *recovery, const struct environment_record *record)
{
        if (!grow(&recovery->parts, recovery->n_parts, sizeof(struct parts)))
                return -ENOMEM;
        recovery->parts[recovery->n_parts++] = (struct parts){ record->environment->id, record->initializer,
                                                               record->recoverer };
        return 0;
}

/* From here on it is the registry's. */
static void settle_in(struct broker *broker, struct environment_record *record, struct process *creator)
{
        struct environment *environment = record->environment;

        environment->creator = broker_retain_process(creator);
        if (environment->named)
                registry_add(&broker->registry, environment);
        else
                registry_add_nameless(&broker->registry, environment);
        environment->change.written = true;
        record->environment = NULL;
}

static int add_environment(struct recovery *recovery, struct reading *reading)
{
        owned(environment_record_clear) struct environment_record record = {};
        struct broker *broker = recovery->broker;
        struct environment *environment;
        struct process *creator;
        int r;

        r = environment_record_take(reading, &record);
        if (r == 0)
                r = find_process(recovery, &record.creator, &creator);
        if (r == 0)
                r = note_parts(recovery, &record);
        if (r < 0)
                return r;
        environment = record.environment;
        environment->account = registry_account(&broker->registry, environment->uid);
        if (!environment->account)
                return -ENOMEM;
        if (environment->directory_path)
                environment->directory = open(environment->directory_path,
                                              O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        r = find_control(broker, environment);
        if (r < 0)
                return r;
        find_memory(recovery, &record);
        settle_in(broker, &record, creator);
        recovery->environments++;
        return 0;
}

/* --- members ----------------------------------------------------------------------------------------------------- */

static struct region *find_region(const struct environment *environment, uint64_t id)
{
        struct region *region;

        TAILQ_FOREACH(region, &environment->regions, in_environment)
                if (region->id == id)
                        return region;
        return NULL;
}

/* One that was deleted while it was held is by itself in a retired environment. */
static struct region *find_exiled(struct broker *broker, uint64_t region_id)
{
        struct environment *environment;
        struct region *region = NULL;
        uint64_t id = 0;

        while (!region && (environment = registry_after(&broker->registry, id))) {
                id = environment->id;
                if (environment->state == STATE_RETIRED)
                        region = find_region(environment, region_id);
        }
        return region;
}

static int add_grants(struct broker *broker, struct member *member, const struct member_record *record)
{
        for (size_t i = record->n_grants; i-- > 0;) { /* the last first, as they came */
                const struct grant_record *grant = &record->grants[i];
                struct region *region = find_region(member->environment, grant->region);
                struct attachment *attachment;
                bool held;

                if (!region)
                        region = find_exiled(broker, grant->region);
                if (!region)
                        continue;
                attachment = attachment_new(member, region, grant->access, grant->since_usec);
                if (!attachment)
                        return -ENOMEM;
                held = region->privately_held;
                attachment_join(attachment);
                region->privately_held = held; /* as it was written, with its environment */
                broker->registry.n_attachments++;
        }
        return 0;
}

static void give_part(struct recovery *recovery, struct member *member, uint64_t number)
{
        struct environment *environment = member->environment;
        const struct parts *part;

        while (recovery->next_part < recovery->n_parts &&
               recovery->parts[recovery->next_part].environment < environment->id)
                recovery->next_part++;
        part = &recovery->parts[recovery->next_part];
        if (recovery->next_part == recovery->n_parts || part->environment != environment->id)
                return;
        if (part->initializer == number)
                environment->initializer = member;
        if (part->recoverer == number)
                environment->recoverer = member;
}

static int add_member(struct recovery *recovery, const struct store_key *key, struct reading *reading)
{
        owned(member_record_clear) struct member_record record = {};
        struct broker *broker = recovery->broker;
        struct environment *environment = registry_after(&broker->registry, key->first - 1);
        struct process *process;
        struct member *member;
        struct peer *peer;
        int r;

        r = member_record_take(reading, &record);
        if (r < 0 || !environment || environment->id != key->first)
                return r;
        r = find_process(recovery, &record.process, &process);
        if (r < 0)
                return r;
        peer = resuming_peer(process);
        member = peer ? member_new(peer, environment, record.access, record.since_usec) : NULL;
        if (!member)
                return -ENOMEM;
        peer->gid = record.gid;
        member->session = record.session;
        member_join(member);
        member->change.tombstone->second = key->second;
        member->change.written = true;
        give_part(recovery, member, key->second);
        recovery->members++;
        return add_grants(broker, member, &record);
}

/* --- reading ----------------------------------------------------------------------------------------------------- */

/* A ledger of another boot speaks of memory that is gone; one of another namespace of ids that mean something else. */
static int believe(struct recovery *recovery, struct reading *reading)
{
        struct broker *broker = recovery->broker;
        struct ledger_record record;
        int r = ledger_record_take(reading, &record);

        if (r < 0)
                return r;
        recovery->believed = strcmp(record.boot, broker->ledger.boot) == 0 &&
                             record.ipc_namespace == broker->ipc_namespace;
        if (recovery->believed) {
                broker->registry.instance = record.instance;
                broker->registry.last_id = record.last_id;
                broker->registry.changes.last_member = record.last_member;
                broker->history.last = record.last_event;
                broker->next_key = record.next_key;
        }
        ledger_record_clear(&record);
        return recovery->believed ? 0 : 1;
}

static int add_event(struct broker *broker, struct reading *reading)
{
        struct event *event;
        int r = event_record_take(reading, &event);

        if (r == 0)
                history_put_back(&broker->history, event);
        return r;
}

static int on_record(void *data, const struct store_key *key, const void *bytes, size_t n)
{
        struct reading reading = { .bytes = bytes, .n = n };
        struct recovery *recovery = data;

        switch (key->kind) {
        case LEDGER_ITSELF:
                return believe(recovery, &reading);
        case LEDGER_ENVIRONMENT:
                return add_environment(recovery, &reading);
        case LEDGER_INTENT: /* once all is known that was made */
                return 0;
        case LEDGER_MEMBER:
                return add_member(recovery, key, &reading);
        case LEDGER_SESSION:
                return sessions_read(recovery->broker, key->first, &reading);
        case LEDGER_EVENT:
                return add_event(recovery->broker, &reading);
        default:
                return -EBADMSG;
        }
}

/* --- what follows ------------------------------------------------------------------------------------------------ */

static bool has_lost(const struct environment *environment)
{
        const struct region *region;

        TAILQ_FOREACH(region, &environment->regions, in_environment)
                if (!region->memory && region->backing != BACKING_PRIVATE)
                        return true;
        return false;
}

/* It was retired, and perhaps before its names, its keys and its reference could be taken away. */
static void finish_retiring(struct broker *broker, struct environment *environment)
{
        struct region *region;

        describing_void(environment);
        leftovers_clear_reference(broker, environment);
        TAILQ_FOREACH(region, &environment->regions, in_environment)
                lifecycle_unname_region(broker, region);
        describing_remove(broker, environment);
        reclaim_consider(broker, environment);
}

/* Who had a part is gone, and nothing of it is left: as if it had left just now. */
static void judge(struct broker *broker, struct environment *environment)
{
        if (environment->state == STATE_RETIRED)
                finish_retiring(broker, environment);
        else if (has_lost(environment) || missing_is_for_good(environment))
                lifecycle_retire(broker, environment, MISSING_RULE);
        else if (environment->lifetime == LIFETIME_CREATOR && !environment->creator->alive)
                lifecycle_retire(broker, environment, "creator, its creator is gone");
        else {
                missing_tell(environment);
                reclaim_consider(broker, environment);
        }
}

static int undo(void *data, const struct store_key *key, const void *bytes, size_t n)
{
        struct reading reading = { .bytes = bytes, .n = n };
        struct recovery *recovery = data;

        if (key->kind != LEDGER_INTENT)
                return 0;
        leftovers_undo(recovery->broker, &reading);
        return changes_take_away(&recovery->broker->registry.changes, CHANGE_INTENT, key->first, key->second);
}

/* Each of our references is in our hands before anything follows that could take it away. */
static void take_references(struct broker *broker)
{
        struct environment *environment;
        uint64_t id = 0;

        while ((environment = registry_after(&broker->registry, id))) {
                id = environment->id;
                if (environment->named)
                        creation_renew_reference(broker, environment);
        }
}

static void bury_dead(struct recovery *recovery)
{
        for (size_t i = 0; i < recovery->n_dead; i++) {
                struct process *process = recovery->dead[i];

                if (process->resumed)
                        recovery->died++;
                resuming_end(recovery->broker, process);
        }
        recovery->broker->counters.deaths += recovery->died;
}

static int go_on(struct recovery *recovery)
{
        struct broker *broker = recovery->broker;
        struct environment *environment;
        uint64_t id = 0;
        int r = store_read(broker->ledger.store, undo, recovery);

        if (r < 0)
                return r;
        take_references(broker);
        bury_dead(recovery);
        while ((environment = registry_after(&broker->registry, id))) {
                id = environment->id;
                describing_resume(broker, environment);
                lifecycle_show(broker, environment);
                judge(broker, environment);
        }
        leftovers_clear(broker);
        ledger_begin(broker);
        if (recovery->environments > 0)
                log_notice(
                        "resumed %u environments, %u regions (%u lost, %u missing) and %u members; %u processes died "
                        "meanwhile",
                        recovery->environments, recovery->regions, recovery->lost, recovery->missing, recovery->members,
                        recovery->died);
        return 0;
}

int recovery_load(struct broker *broker, struct recovery **ret)
{
        struct recovery *recovery = calloc(1, sizeof(*recovery));
        int r;

        if (!recovery)
                return -ENOMEM;
        recovery->broker = broker;
        broker->registry.changes.disabled = true;
        r = store_read(broker->ledger.store, on_record, recovery);
        broker->registry.changes.disabled = false;
        broker->ledger.last_event = broker->history.last;
        *ret = recovery;
        return r;
}

int recovery_go_on(struct recovery *recovery)
{
        int r = go_on(recovery);

        recovery_drop(recovery);
        return r;
}

void recovery_drop(struct recovery *recovery)
{
        if (!recovery)
                return;
        for (size_t i = 0; i < recovery->n_dead; i++)
                broker_release_process(recovery->broker, recovery->dead[i]);
        free(recovery->dead);
        free(recovery->parts);
        free(recovery);
}

int recovery_run(struct broker *broker)
{
        struct recovery *recovery = NULL;
        int r = recovery_load(broker, &recovery);

        if (r > 0) {
                log_notice("the ledger is of another boot, or of another IPC namespace, and is begun anew");
                r = store_wipe(broker->ledger.store);
        }
        if (r == 0 && broker->settings.take_up)
                broker->settings.take_up(broker->settings.take_up_data);
        if (r == 0)
                r = recovery_go_on(take_ptr(recovery));
        if (r < 0)
                log_error("cannot go on with the ledger: %s", strerror(-r));
        recovery_drop(recovery);
        return r;
}
