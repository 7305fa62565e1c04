/* Calls that cannot be answered yet. A parked call keeps nothing but its parameters: when there is hope it is asked again
 * from its beginning, so that everything is looked at afresh and no half-done step has to be remembered. */

#include "daemon/waiting.h"

#include "daemon/lifecycle.h"
#include "proto/util.h"

static void unpark(struct broker *broker, struct waiter *waiter)
{
        TAILQ_REMOVE(waiter->queue, waiter, in_queue);
        waiter->queue = NULL;
        agenda_cancel(&broker->agenda, &waiter->deadline);
        if (waiter->environment)
                waiter->account->waiting--;
        waiter->environment = NULL;
}

static void wake(struct broker *broker, struct waiter *waiter)
{
        unpark(broker, waiter);
        waiter->woken = true;
        TAILQ_INSERT_TAIL(&broker->woken, waiter, in_queue);
}

static void on_deadline(struct agenda_item *item, void *data)
{
        wake(data, container_of(item, struct waiter, deadline));
}

int waiting_park(struct broker *broker, struct request *request, struct environment *environment, bool creates,
                 bool removes)
{
        struct waiter *waiter = &request->waiter;
        struct account *account = request->peer->account;
        const struct limits limits = account_limits(account, &broker->settings.limits);
        int r;

        if (request->until >= 0 && request->until <= broker->now)
                return 0;
        r = quota_check("waitingCallsPerUser", account->waiting, 1, limits.waiting_per_user, &request->refusal);
        if (r != 0)
                return r;

        waiter->environment = environment;
        waiter->environment_id = environment->id;
        waiter->account = account;
        waiter->creates = creates;
        waiter->removes = removes;
        waiter->deadline.on_due = on_deadline;
        if (request->until >= 0)
                agenda_set(&broker->agenda, &waiter->deadline, request->until);
        account->waiting++;
        waiter->queue = &environment->waiters;
        TAILQ_INSERT_TAIL(waiter->queue, waiter, in_queue);
        return refuse(&request->refusal, REFUSED_WAIT);
}

int waiting_park_watch(struct broker *broker, struct request *request)
{
        request->waiter.queue = &broker->watchers;
        TAILQ_INSERT_TAIL(&broker->watchers, &request->waiter, in_queue);
        return refuse(&request->refusal, REFUSED_WAIT);
}

void waiting_wake_watchers(struct broker *broker)
{
        struct waiter *waiter;

        while ((waiter = TAILQ_FIRST(&broker->watchers)))
                wake(broker, waiter);
}

static void wake_those(struct broker *broker, struct environment *environment, bool creates, bool removes)
{
        struct waiter *waiter, *next;

        for (waiter = TAILQ_FIRST(&environment->waiters); waiter; waiter = next) {
                next = TAILQ_NEXT(waiter, in_queue);
                if (waiter->creates == creates && waiter->removes == removes)
                        wake(broker, waiter);
        }
}

void waiting_wake_removers(struct broker *broker, struct environment *environment)
{
        wake_those(broker, environment, false, true);
}

static void wake_openers(struct broker *broker, struct environment *environment)
{
        wake_those(broker, environment, true, false);
        wake_those(broker, environment, false, false);
}

void waiting_wake_all(struct broker *broker, struct environment *environment)
{
        waiting_wake_removers(broker, environment);
        wake_openers(broker, environment);
}

void waiting_end_drain(struct broker *broker, struct environment *environment)
{
        struct waiter *waiter;

        if (!environment->draining)
                return;
        TAILQ_FOREACH(waiter, &environment->waiters, in_queue)
                if (waiter->removes)
                        return;
        lifecycle_set_draining(broker, environment, false);
        wake_openers(broker, environment);
}

struct waiter *broker_next_woken(struct broker *broker)
{
        struct waiter *waiter = TAILQ_FIRST(&broker->woken);

        if (!waiter)
                return NULL;
        TAILQ_REMOVE(&broker->woken, waiter, in_queue);
        waiter->woken = false;
        return waiter;
}

/* The one that it was parked at last; NULL where that is gone. */
static struct environment *find_left(struct broker *broker, const struct waiter *waiter)
{
        struct environment *environment = registry_after(&broker->registry, waiter->environment_id - 1);

        return environment && environment->id == waiter->environment_id ? environment : NULL;
}

void broker_unpark(struct broker *broker, struct waiter *waiter)
{
        struct environment *environment = waiter->environment;

        if (waiter->woken) {
                TAILQ_REMOVE(&broker->woken, waiter, in_queue);
                waiter->woken = false;
                if (waiter->removes)
                        environment = find_left(broker, waiter);
        } else if (waiter->queue) {
                unpark(broker, waiter);
        } else {
                return;
        }
        if (environment)
                waiting_end_drain(broker, environment);
}
