/* The service itself: its beginning and end, sessions, deaths, and the passing of time. The verbs are in opening.c,
 * regions.c and removal.c. */

#include "daemon/broker.h"

#include "daemon/creation.h"
#include "daemon/describing.h"
#include "daemon/host/memory.h"
#include "daemon/lifecycle.h"
#include "daemon/places.h"
#include "daemon/reclaim.h"
#include "daemon/recovery.h"
#include "daemon/resuming.h"
#include "proto/util.h"

#include <errno.h>
#include <string.h>
#include <sys/random.h>

/* --- beginning and end ------------------------------------------------------------------------------------------- */

static int init(struct broker *broker)
{
        int r;

        r = deaths_init(&broker->deaths);
        if (r == 0)
                r = watch_init(&broker->watch);
        if (r == 0)
                r = history_init(&broker->history, (size_t)broker->settings.limits.history_events);
        if (r == 0 && broker->settings.runtime_directory)
                r = ledger_open(broker, broker->settings.runtime_directory);
        return r;
}

int broker_init(struct broker *broker, const struct broker_settings *settings)
{
        uint64_t instance;
        int r;

        if (getrandom(&instance, sizeof(instance), 0) != sizeof(instance))
                return -errno;
        memset(broker, 0, sizeof(*broker));
        broker->settings = *settings;
        broker->ipc_namespace = identity_ipc_namespace();
        broker->huge_page_size = memory_huge_page_size();
        broker->next_key = creation_first_key(instance);
        TAILQ_INIT(&broker->woken);
        TAILQ_INIT(&broker->watchers);
        TAILQ_INIT(&broker->sessions_before);
        registry_init(&broker->registry, instance);
        broker->watch.fd = broker->deaths.fd = -1;
        r = init(broker);
        if (r < 0)
                broker_deinit(broker);
        else
                broker->registry.changes.disabled = !broker->ledger.store;
        return r;
}

void broker_configure(struct broker *broker, const struct limits *limits, const struct rules *rules,
                      const struct settings *told)
{
        broker->settings.limits = *limits;
        broker->told = told;
        registry_set_rules(&broker->registry, rules);
}

int broker_recover(struct broker *broker)
{
        int r = broker->ledger.store ? recovery_run(broker) : 0;

        if (r == 0)
                places_look_at_all(broker);
        return r;
}

void broker_stop(struct broker *broker, bool keep)
{
        describing_settle(broker);
        broker->stopping = true;
        broker->keeps = keep && broker->ledger.store;
        if (!broker->keeps)
                return;
        ledger_commit(broker);
        ledger_close(broker);
        broker->registry.changes.disabled = true;
}

void broker_commit(struct broker *broker)
{
        ledger_commit(broker);
}

/* The processes that never came back to what is kept for them. */
static void forget_resumed(struct broker *broker, const struct environment *environment)
{
        struct member *member;

        while ((member = TAILQ_FIRST(&environment->members)))
                resuming_forget(broker, member->peer->process);
}

void broker_deinit(struct broker *broker)
{
        struct environment *environment;

        while ((environment = registry_after(&broker->registry, 0))) {
                forget_resumed(broker, environment);
                reclaim_abandon(broker, environment);
        }
        session_records_clear(&broker->sessions_before);
        ledger_wipe(broker); /* another broker is to have nothing to do with what we gave up */
        ledger_close(broker);
        registry_deinit(&broker->registry);
        history_deinit(&broker->history);
        watch_deinit(&broker->watch);
        deaths_deinit(&broker->deaths);
}

/* --- time and events --------------------------------------------------------------------------------------------- */

void broker_set_time(struct broker *broker, int64_t monotonic, int64_t realtime)
{
        broker->now = monotonic;
        broker->realtime = realtime;
        if (broker->started_usec == 0)
                broker->started_usec = realtime;
}

int64_t broker_next_due(const struct broker *broker)
{
        return agenda_next(&broker->agenda);
}

void broker_run_due(struct broker *broker)
{
        agenda_run(&broker->agenda, broker->now, broker);
}

/* News were lost: every watched region is looked at. The list is walked by watch, since looking may free regions. */
static void look_at_all(struct broker *broker)
{
        struct environment *environment;
        uint64_t id = 0;

        while ((environment = registry_after(&broker->registry, id))) {
                id = environment->id;
                if (!environment->in_doubt)
                        continue;
                environment->look_interval = 0;
                reclaim_consider(broker, environment);
        }
}

void broker_run_watch(struct broker *broker)
{
        struct region *region;
        int wd;

        while ((wd = watch_next(&broker->watch)) != WATCH_NONE) {
                if (wd == WATCH_LOST) {
                        look_at_all(broker);
                        continue;
                }
                region = registry_find_watched(&broker->registry, wd);
                if (region)
                        reclaim_look_again(broker, region);
        }
}

/* --- processes and sessions -------------------------------------------------------------------------------------- */

struct process *broker_retain_process(struct process *process)
{
        process->references++;
        return process;
}

static void free_process(struct broker *broker, struct process *process)
{
        registry_remove_process(&broker->registry, process);
        if (process->alive)
                deaths_remove(&broker->deaths, process);
        close_fd(process->pidfd);
        free(process);
}

void broker_release_process(struct broker *broker, struct process *process)
{
        if (process && --process->references == 0)
                free_process(broker, process);
}

/* From here on its death will be told. Takes the pidfd over. */
static int follow(struct broker *broker, struct process *process, struct identity *identity)
{
        int r;

        process->pidfd = identity->pidfd;
        r = deaths_add(&broker->deaths, process);
        if (r < 0) {
                process->pidfd = -1;
                return r;
        }
        identity->pidfd = -1;
        process->alive = true;
        return 0;
}

/* The process of an identity, known already or new, with a reference for the caller. Takes the pidfd over where it is
 * new. */
static int find_or_add_process(struct broker *broker, struct identity *identity, struct process **ret)
{
        struct process *process = registry_find_process(&broker->registry, identity->id);
        int r;

        if (process && !process->alive)
                return -ESRCH; /* it called before it died; its death was dealt with, and will not be told again */
        if (process) {
                /* it may have executed another program since; of one that has just died nothing is told */
                if (strcmp(identity->command, "?") != 0)
                        memcpy(process->command, identity->command, sizeof(process->command));
                *ret = broker_retain_process(process);
                return 0;
        }
        process = calloc(1, sizeof(*process));
        if (!process)
                return -ENOMEM;
        process->id = identity->id;
        process->pid = identity->pid;
        process->uid = identity->uid;
        memcpy(process->command, identity->command, sizeof(process->command));
        r = follow(broker, process, identity);
        if (r < 0) {
                free(process);
                return r;
        }
        LIST_INIT(&process->peers);
        LIST_INIT(&process->created);
        registry_add_process(&broker->registry, process);
        *ret = broker_retain_process(process);
        return 0;
}

int broker_find_self(struct broker *broker, struct process **ret)
{
        struct identity identity;
        int r = identity_of_self(&identity);

        if (r < 0)
                return r;
        r = find_or_add_process(broker, &identity, ret);
        identity_deinit(&identity);
        return r;
}

static int check_sessions(struct broker *broker, const struct account *account, struct refusal *refusal)
{
        const struct limits limits = account_limits(account, &broker->settings.limits);
        int r = quota_check("sessions", broker->registry.n_sessions, 1, limits.sessions, refusal);

        if (r == 0)
                r = quota_check("sessionsPerUser", account->sessions, 1, limits.sessions_per_user, refusal);
        if (r != 0)
                broker->counters.sessions_refused++;
        return r;
}

/* `refusal`: NULL where it was there before, and no limit keeps it out. */
static int connect_peer(struct broker *broker, struct identity *identity, uint64_t connection, struct peer *peer,
                        struct refusal *refusal)
{
        struct account *account = registry_account(&broker->registry, identity->uid);
        const struct peer known = { .gid = identity->gid, .groups = identity->groups, .n_groups = identity->n_groups };
        struct process *process;
        int r = 0;

        if (!account)
                return -ENOMEM;
        registry_apply_rules(&broker->registry, account, &known);
        if (refusal)
                r = check_sessions(broker, account, refusal);
        if (r == 0)
                r = find_or_add_process(broker, identity, &process);
        if (r != 0) {
                registry_release_account(&broker->registry, account);
                return r;
        }
        *peer = (struct peer){
                .connection = connection,
                .process = process,
                .uid = identity->uid,
                .gid = identity->gid,
                .groups = take_ptr(identity->groups),
                .n_groups = identity->n_groups,
                .account = account,
        };
        LIST_INIT(&peer->members);
        LIST_INSERT_HEAD(&process->peers, peer, in_process);
        account->sessions++;
        broker->registry.n_sessions++;
        broker->counters.sessions++;
        return 0;
}

int broker_connect(struct broker *broker, struct identity *identity, uint64_t connection, struct peer *peer,
                   struct refusal *refusal)
{
        int r = connect_peer(broker, identity, connection, peer, refusal);

        identity_deinit(identity);
        return r;
}

/* Who was found dead by its number is followed by its socket, which still has what it said before it died. */
static int follow_again(struct broker *broker, struct identity *identity)
{
        struct process *process = registry_find_process(&broker->registry, identity->id);

        return process && process->pidfd < 0 ? follow(broker, process, identity) : 0;
}

static int reconnect(struct broker *broker, struct identity *identity, uint64_t connection, struct peer *peer,
                     const struct session_record *record)
{
        int r;

        if (identity->id != record->process_id || identity->uid != record->uid)
                return -ESTALE;
        r = follow_again(broker, identity);
        return r == 0 ? connect_peer(broker, identity, connection, peer, NULL) : r;
}

int broker_reconnect(struct broker *broker, struct identity *identity, uint64_t connection, struct peer *peer,
                     const struct session_record *record)
{
        int r = reconnect(broker, identity, connection, peer, record);

        identity_deinit(identity);
        return r;
}

void broker_rejoin(struct peer *peer, const struct session_record *record)
{
        for (size_t i = 0; i < record->n_members; i++)
                resuming_join_numbered(peer, record->members[i].environment, record->members[i].number);
}

void broker_disconnect(struct broker *broker, struct peer *peer, bool died)
{
        struct account *account = peer->account;

        while (!LIST_EMPTY(&peer->members))
                if (broker->keeps)
                        member_leave(
                                LIST_FIRST(&peer->members)); /* as far as we go: it is written down that it stays */
                else
                        lifecycle_leave(broker, LIST_FIRST(&peer->members), died);
        LIST_REMOVE(peer, in_process);
        broker_release_process(broker, peer->process);
        free(peer->groups);
        account->sessions--;
        broker->registry.n_sessions--;
        registry_release_account(&broker->registry, account);
}

struct process *broker_next_death(struct broker *broker)
{
        struct process *process = deaths_next(&broker->deaths);

        if (!process)
                return NULL;
        process->alive = false;
        deaths_read_exit(process);
        broker->counters.deaths++;
        return broker_retain_process(process); /* until it is buried */
}

void broker_bury(struct broker *broker, struct process *process)
{
        struct environment *environment, *next;

        resuming_end(broker, process);
        process->pidfd = close_fd(process->pidfd);
        for (environment = LIST_FIRST(&process->created); environment; environment = next) {
                next = LIST_NEXT(environment, in_process);
                if (environment->state != STATE_RETIRED && environment->lifetime == LIFETIME_CREATOR)
                        lifecycle_retire(broker, environment, "creator, its creator is gone");
                else
                        reclaim_consider(broker, environment);
        }
        broker_release_process(broker, process);
}
