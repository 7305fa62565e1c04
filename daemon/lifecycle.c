/* initializing -> ready -> retired | gone. The control page shows each step before anybody is answered. */

#include "daemon/lifecycle.h"

#include "daemon/describing.h"
#include "daemon/events.h"
#include "daemon/host/control.h"
#include "daemon/host/memory.h"
#include "daemon/host/reference.h"
#include "daemon/log.h"
#include "daemon/missing.h"
#include "daemon/reclaim.h"
#include "daemon/waiting.h"

void lifecycle_show(struct broker *broker, struct environment *environment)
{
        change_touch(&environment->change);
        ledger_commit(broker);
        control_show(environment->control, environment->state, environment->generation, environment->deaths,
                     environment->draining ? CONTROL_DRAINING : 0);
}

void lifecycle_set_ready(struct broker *broker, struct environment *environment, const struct process *process)
{
        enum event_kind kind = environment->state == STATE_RECOVERING ? EVENT_KIND_RECOVERED : EVENT_KIND_READY;

        environment->state = STATE_READY;
        environment->generation++;
        environment->initializer = environment->recoverer = NULL;
        lifecycle_show(broker, environment);
        if (kind == EVENT_KIND_RECOVERED)
                log_line_of(LOG_LEVEL_INFO,
                            LOG_FIELDS(.environment = environment->name, .pid = process->pid, .uid = &process->uid),
                            "recovered environment %s: generation %llu, by %s (pid %d)", environment->name,
                            (unsigned long long)environment->generation, process->command, (int)process->pid);
        events_note(broker, kind, environment, NULL, process, NULL, -1);
        waiting_wake_all(broker, environment);
}

void lifecycle_set_recovering(struct broker *broker, struct member *recoverer)
{
        struct environment *environment = recoverer->environment;

        environment->state = STATE_RECOVERING;
        environment->recoverer = recoverer;
        environment->died_again = false;
        lifecycle_show(broker, environment);
        events_note(broker, EVENT_KIND_RECOVERING, environment, NULL, recoverer->peer->process, NULL, -1);
}

static void set_dirty(struct broker *broker, struct environment *environment, const char *reason)
{
        environment->state = STATE_DIRTY;
        lifecycle_show(broker, environment);
        log_line_of(LOG_LEVEL_INFO, LOG_FIELDS(.environment = environment->name, .pid = environment->culprit.pid),
                    "dirty environment %s: %s (pid %d) died while attached for writing", environment->name,
                    environment->culprit.command, (int)environment->culprit.pid);
        events_note(broker, EVENT_KIND_DIRTY, environment, NULL, NULL, reason, -1);
        waiting_wake_all(broker, environment);
}

bool lifecycle_is_open_to(const struct environment *environment, const struct member *member)
{
        return environment->state == STATE_READY ||
               (member && (environment->initializer == member || environment->recoverer == member));
}

int lifecycle_refuse(struct request *request, struct environment *environment)
{
        request->refusal.environment = environment;
        return refuse(&request->refusal, environment->state == STATE_DIRTY ? REFUSED_RECOVERY : REFUSED_NOT_READY);
}

void lifecycle_set_draining(struct broker *broker, struct environment *environment, bool draining)
{
        environment->draining = draining;
        lifecycle_show(broker, environment);
}

void lifecycle_unname_region(struct broker *broker, struct region *region)
{
        if (!region->memory)
                return;
        if (region->n_attachments > 0)
                memory_keep(region->memory);
        keeping_keep(broker, region); /* without a name nothing else leads there */
        memory_unname(region->memory);
        change_touch(&region->environment->change);
}

void lifecycle_retire(struct broker *broker, struct environment *environment, const char *rule)
{
        struct region *region;

        log_line_of(LOG_LEVEL_INFO, LOG_FIELDS(.environment = environment->name, .rule = rule),
                    "retired environment %s: %s", environment->name, rule);
        registry_unname(&broker->registry, environment);
        environment->state = STATE_RETIRED;
        environment->rule = rule;
        environment->initializer = environment->recoverer = NULL;
        lifecycle_show(broker, environment);
        describing_void(environment);
        environment->reference = reference_remove(environment->reference);
        events_note(broker, EVENT_KIND_RETIRED, environment, NULL, NULL, rule, environment->bytes);
        TAILQ_FOREACH(region, &environment->regions, in_environment)
                lifecycle_unname_region(broker, region);
        describing_remove(broker, environment);
        broker->counters.retired++;
        waiting_wake_all(broker, environment);
        reclaim_consider(broker, environment);
}

void lifecycle_let_go(struct broker *broker, struct attachment *attachment, bool said_so)
{
        struct region *region = attachment->region;

        attachment_leave(attachment);
        broker->registry.n_attachments--;
        describing_leave(broker, region->environment);
        if (said_so)
                region->privately_held = false;          /* noted as changed by the leave */
        if (region->environment->state == STATE_RETIRED) /* there each goes with its own last holder */
                reclaim_consider(broker, region->environment);
}

/* What the death of a writer means: its writes may be half done. */
static void note_torn(struct broker *broker, struct environment *environment)
{
        if (environment->state == STATE_READY) {
                set_dirty(broker, environment, "a process died while attached for writing");
                return;
        }
        if (environment->state == STATE_RECOVERING)
                environment->died_again = true;
        lifecycle_show(broker, environment);
}

static void note_leave(struct broker *broker, const struct member *member, bool died)
{
        if (died)
                events_note_death(broker, member);
        else
                events_note(broker, EVENT_KIND_DETACHED, member->environment, NULL, member->peer->process, NULL, -1);
}

void lifecycle_leave(struct broker *broker, struct member *member, bool died)
{
        struct environment *environment = member->environment;
        bool was_initializer = environment->initializer == member && environment->state == STATE_INITIALIZING;
        bool was_recoverer = environment->recoverer == member && environment->state == STATE_RECOVERING;
        bool torn = died && environment->recovery && member_writes(member);

        note_leave(broker, member, died);
        if (torn)
                departed_note(&environment->culprit, member, ACCESS_WRITE, member->since_usec);
        while (!LIST_EMPTY(&member->attachments))
                lifecycle_let_go(broker, LIST_FIRST(&member->attachments), false);
        member_leave(member);
        environment->deaths += died;
        /* it is written down together with what follows from it */
        if (was_initializer) {
                lifecycle_retire(broker, environment, "its initializer left before it was ready");
                return;
        }
        if (environment->state != STATE_RETIRED && missing_is_for_good(environment)) {
                lifecycle_retire(broker, environment, MISSING_RULE);
                return;
        }
        if (was_recoverer)
                set_dirty(broker, environment, "its recoverer left before it was ready");
        else if (torn)
                note_torn(broker, environment);
        else if (died)
                lifecycle_show(broker, environment);
        if (environment->n_members == 0)
                waiting_wake_removers(broker, environment);
        if (was_recoverer && environment->n_members == 0)
                reclaim_look_later(broker, environment); /* those who waited to repair it have their turn first */
        else
                reclaim_consider(broker, environment);
}
