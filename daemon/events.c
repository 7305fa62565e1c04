/* Each event is noted in the turn in which it happens, and before its cause is answered. */

#include "daemon/events.h"

#include "daemon/core/policy.h"
#include "daemon/waiting.h"

static void publish(struct broker *broker, struct event *event)
{
        history_add(&broker->history, event);
        waiting_wake_watchers(broker);
}

void events_note(struct broker *broker, enum event_kind kind, const struct environment *environment, const char *region,
                 const struct process *process, const char *reason, int64_t bytes)
{
        struct event *event = event_new(kind, environment, region, process, reason, broker->realtime);

        if (event && bytes >= 0)
                event->bytes = (struct opt_int){ true, bytes };
        publish(broker, event);
}

void events_note_death(struct broker *broker, const struct member *member)
{
        const struct process *process = member->peer->process;
        const struct attachment *attachment;
        struct event *event;

        event = event_new(EVENT_KIND_DIED, member->environment, NULL, process, NULL, broker->realtime);
        if (event) {
                event->exit_status = process->exit_status;
                event->signal = process->signal;
                LIST_FOREACH(attachment, &member->attachments, in_member)
                        if (attachment->access == ACCESS_WRITE)
                                event_add_written(event, attachment->region->name);
        }
        publish(broker, event);
}

bool events_may_see(const struct peer *peer, const struct event *event)
{
        return peer->uid == event->uid || policy_mode_allows(peer, event->uid, event->gid, event->mode, WANT_READ);
}
