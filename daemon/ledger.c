/* One batch a turn, written before the first word of it goes out: before answers are sent, before control pages are written,
 * and before anything is taken from the world. The keys of the records:
 *
 *   A 0 0                    the ledger itself
 *   E environment 0          an environment with its regions
 *   I environment place      what is being made for a region (leftovers.c)
 *   M environment member     a member and its grants
 *   S number 0               a session that the broker after us goes on with; between two brokers alone
 *   V sequence 0             an event
 *
 * What they hold is in records.c, and of sessions in sessions.c. */

#include "daemon/ledger.h"

#include "daemon/broker.h"
#include "daemon/host/boot.h"
#include "daemon/host/store.h"
#include "daemon/leftovers.h"
#include "daemon/log.h"
#include "daemon/records.h"
#include "proto/util.h"

#include <errno.h>
#include <string.h>

int ledger_open(struct broker *broker, const char *directory)
{
        struct ledger *ledger = &broker->ledger;
        const char *operation;
        int r;

        boot_read_id(ledger->boot);
        r = store_open(directory, &ledger->store, &operation);
        if (r < 0)
                log_error("cannot open the ledger in %s: %s: %s", directory, operation, strerror(-r));
        broker->registry.changes.disabled = r < 0;
        return r;
}

void ledger_wipe(struct broker *broker)
{
        if (broker->ledger.store)
                store_wipe(broker->ledger.store);
}

void ledger_close(struct broker *broker)
{
        broker->ledger.store = store_close(broker->ledger.store);
}

/* --- writing ----------------------------------------------------------------------------------------------------- */

static int put(struct store *store, uint8_t kind, uint64_t first, uint64_t second, struct record *record)
{
        const struct store_key key = { kind, first, second };
        int r = record->failed ? -ENOMEM : store_put(store, &key, record->bytes, record->n);

        record->n = 0;
        record->failed = false;
        return r;
}

static int put_objects(struct broker *broker, struct record *record)
{
        struct change *change;
        int r = 0;

        TAILQ_FOREACH(change, &broker->registry.changes.touched, link) {
                const struct tombstone *name = change->tombstone;

                if (name->kind == CHANGE_ENVIRONMENT)
                        environment_record_put(record, container_of(change, struct environment, change));
                else
                        member_record_put(record, container_of(change, struct member, change));
                r = put(broker->ledger.store, (uint8_t)name->kind, name->first, name->second, record);
                if (r < 0)
                        break;
        }
        return r;
}

static int delete_gone(struct broker *broker)
{
        struct tombstone *gone;
        int r = 0;

        STAILQ_FOREACH(gone, &broker->registry.changes.gone, link) {
                const struct store_key key = { (uint8_t)gone->kind, gone->first, gone->second };

                r = store_delete(broker->ledger.store, &key);
                if (r < 0)
                        break;
        }
        return r;
}

static int put_event(struct broker *broker, uint64_t sequence, struct record *record)
{
        const struct event *event = history_find(&broker->history, sequence);
        struct store_key old = { .kind = LEDGER_EVENT };
        int r = 0;

        if (event) {
                event_record_put(record, event);
                r = put(broker->ledger.store, LEDGER_EVENT, sequence, 0, record);
        }
        if (r == 0 && sequence > broker->history.size) {
                old.first = sequence - broker->history.size;
                r = store_delete(broker->ledger.store, &old);
        }
        return r;
}

static int put_events(struct broker *broker, struct record *record)
{
        uint64_t first = broker->ledger.last_event + 1, oldest = history_first(&broker->history);
        int r = 0;

        for (uint64_t i = first < oldest ? oldest : first; i <= broker->history.last && r == 0; i++)
                r = put_event(broker, i, record);
        return r;
}

static int put_ledger(struct broker *broker, struct record *record)
{
        const struct ledger_record ledger = {
                .boot = broker->ledger.boot,
                .ipc_namespace = broker->ipc_namespace,
                .instance = broker->registry.instance,
                .last_id = broker->registry.last_id,
                .last_member = broker->registry.changes.last_member,
                .last_event = broker->history.last,
                .next_key = broker->next_key,
        };

        ledger_record_put(record, &ledger);
        return put(broker->ledger.store, LEDGER_ITSELF, 0, 0, record);
}

/* The segments of the latest set of keys are in their environment's record by now, or were given up. */
static int delete_intents(struct broker *broker)
{
        struct ledger *ledger = &broker->ledger;
        int r = 0;

        for (unsigned i = 0; i < ledger->n_intents && r == 0; i++) {
                const struct store_key key = { LEDGER_INTENT, ledger->intends_for, i };

                r = store_delete(ledger->store, &key);
        }
        return r;
}

static int put_intent(struct broker *broker, const struct environment *environment, const struct region *region,
                      struct record *record, unsigned *n)
{
        if (!leftovers_note(record, environment, region))
                return 0;
        return put(broker->ledger.store, LEDGER_INTENT, environment->id, (*n)++, record);
}

/* What is to be made, for which environment. */
struct intention {
        const struct environment *environment;
        const struct region *added;
};

static int put_intents(struct broker *broker, const struct intention *intention, struct record *record, unsigned *ret_n)
{
        const struct region *region;
        int r;

        if (intention->added)
                return put_intent(broker, intention->environment, intention->added, record, ret_n);
        r = put_intent(broker, intention->environment, NULL, record, ret_n);
        if (r < 0)
                return r;
        TAILQ_FOREACH(region, &intention->environment->regions, in_environment) {
                r = put_intent(broker, intention->environment, region, record, ret_n);
                if (r < 0)
                        break;
        }
        return r;
}

static int put_all(struct broker *broker, const struct intention *intention, struct record *record, unsigned *ret_n)
{
        int r = store_begin(broker->ledger.store);

        if (r == 0)
                r = delete_gone(broker);
        if (r == 0)
                r = put_objects(broker, record);
        if (r == 0)
                r = put_events(broker, record);
        if (r == 0)
                r = delete_intents(broker);
        if (r == 0 && intention)
                r = put_intents(broker, intention, record, ret_n);
        return r == 0 ? put_ledger(broker, record) : r;
}

static void write_all(struct broker *broker, const struct intention *intention)
{
        struct ledger *ledger = &broker->ledger;
        owned(record_clear) struct record record = {};
        unsigned n_intents = 0;
        int r = put_all(broker, intention, &record, &n_intents);

        if (r == 0)
                r = store_commit(ledger->store);
        else
                store_abort(ledger->store);
        if (r < 0 && ledger->failure == 0)
                log_error("cannot write the ledger: %s; nothing new is made until it can be written again",
                          strerror(-r));
        else if (r == 0 && ledger->failure < 0)
                log_notice("the ledger can be written again");
        ledger->failure = r;
        if (r < 0)
                return;
        changes_settle(&broker->registry.changes);
        ledger->last_event = broker->history.last;
        ledger->n_intents = n_intents;
        ledger->intends_for = intention ? intention->environment->id : 0;
}

void ledger_begin(struct broker *broker)
{
        write_all(broker, NULL);
}

static bool has_changes(const struct broker *broker)
{
        const struct ledger *ledger = &broker->ledger;

        return !changes_is_empty(&broker->registry.changes) || ledger->n_intents > 0 ||
               ledger->last_event != broker->history.last;
}

void ledger_commit(struct broker *broker)
{
        if (broker->ledger.store && has_changes(broker))
                write_all(broker, NULL);
}

void ledger_intend(struct broker *broker, const struct environment *environment, const struct region *added)
{
        const struct intention intention = { environment, added };

        if (broker->ledger.store)
                write_all(broker, &intention);
}

int ledger_check(struct broker *broker, struct refusal *refusal)
{
        if (broker->ledger.store && broker->ledger.failure < 0)
                write_all(broker, NULL);
        if (!broker->ledger.store || broker->ledger.failure == 0)
                return 0;
        refusal->operation = "mdb_txn_commit";
        refusal->error = -broker->ledger.failure;
        return refuse(refusal, REFUSED_RESOURCE);
}
