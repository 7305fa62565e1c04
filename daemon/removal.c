/* Remove: at once where nobody holds it; else Busy, or waiting for the holders to leave, or by force. */

#include "daemon/core/policy.h"
#include "daemon/events.h"
#include "daemon/lifecycle.h"
#include "daemon/log.h"
#include "daemon/reclaim.h"
#include "daemon/waiting.h"

static int refuse_busy(struct request *request, struct environment *environment)
{
        request->refusal.environment = environment;
        return refuse(&request->refusal, REFUSED_BUSY);
}

/* Keeps openers out and waits for the members to leave; refused where no time is left for that. */
static int drain(struct broker *broker, struct request *request, struct environment *environment)
{
        int r = waiting_park(broker, request, environment, false, true);

        if (r != REFUSED_WAIT) {
                waiting_end_drain(broker, environment);
                return r == 0 ? refuse_busy(request, environment) : r;
        }
        request->awaited_id = environment->id;
        request->awaited_bytes = environment->bytes;
        if (!environment->draining)
                lifecycle_set_draining(broker, environment, true);
        if (environment->n_members == 0)
                reclaim_look_later(broker, environment);
        return r;
}

int broker_remove(struct broker *broker, struct request *request, const struct remove_args *args, int64_t *ret_bytes)
{
        struct environment *environment = broker_find(broker, args->environment);

        if (request->again && (!environment || environment->id != request->awaited_id)) { /* it went while we waited */
                *ret_bytes = request->awaited_bytes;
                return 0;
        }
        if (environment && args->id && environment != registry_find_id(&broker->registry, args->id))
                environment = NULL; /* it has the name of the one that is meant */
        if (!environment || !policy_may_see(request->peer, environment)) {
                request->refusal.name = args->environment;
                return refuse(&request->refusal, REFUSED_NO_ENVIRONMENT);
        }
        if (!policy_may_remove(request->peer, environment))
                return refuse(&request->refusal, REFUSED_PERMISSION);
        if (environment->n_members == 0 && reclaim_is_all_proven(broker, environment)) {
                broker->counters.removed++;
                events_note(broker, EVENT_KIND_REMOVED, environment, NULL, request->peer->process, NULL, -1);
                *ret_bytes = reclaim_environment(broker, environment, "removed on request");
                return 0;
        }
        if (!args->force.value)
                return drain(broker, request, environment);

        broker->counters.removed++;
        events_note(broker, EVENT_KIND_REMOVED, environment, NULL, request->peer->process, "by force while it was held",
                    -1);
        *ret_bytes = environment->bytes;
        lifecycle_retire(broker, environment, "removed by force while it was held");
        return 0;
}
