/* The verbs that change nothing, and Watch, which only remembers that somebody listens: what the caller may not see is
 * not there for it. */

#include "daemon/core/policy.h"
#include "daemon/events.h"
#include "daemon/host/directory.h"
#include "daemon/waiting.h"
#include "proto/util.h"

#include <string.h>

struct environment *broker_find_home(struct broker *broker, const char *path)
{
        struct environment *environment = registry_find_home(&broker->registry, path);
        owned(freep) char *canonical = NULL;

        if (environment)
                return environment;
        canonical = directory_canonical(path);
        return canonical ? registry_find_home(&broker->registry, canonical) : NULL;
}

struct environment *broker_find(struct broker *broker, const char *name)
{
        struct environment *environment = registry_find(&broker->registry, name);

        return environment || name[0] != '/' ? environment : broker_find_home(broker, name);
}

int broker_describe(struct broker *broker, struct request *request, const char *name, struct environment **ret)
{
        struct environment *environment = broker_find(broker, name);

        if (!environment || !policy_may_see(request->peer, environment)) {
                request->refusal.name = name;
                return refuse(&request->refusal, REFUSED_NO_ENVIRONMENT);
        }
        *ret = environment;
        return 0;
}

struct environment *broker_list(struct broker *broker, const struct peer *peer, uint64_t id)
{
        struct environment *environment = registry_after(&broker->registry, id);

        while (environment && !policy_may_see(peer, environment))
                environment = registry_after(&broker->registry, environment->id);
        return environment;
}

/* --- events ------------------------------------------------------------------------------------------------------ */

int broker_watch(struct broker *broker, struct request *request, int64_t since, uint64_t *ret_cursor)
{
        struct account *account = request->peer->account;
        const struct limits limits = account_limits(account, &broker->settings.limits);
        int r = quota_check("watchesPerUser", account->watches, 1, limits.watches_per_user, &request->refusal);

        if (r != 0)
                return r;
        broker_go_on_watching(request);
        *ret_cursor = since < 0 || (uint64_t)since > broker->history.last ? broker->history.last : (uint64_t)since;
        return 0;
}

void broker_go_on_watching(struct request *request)
{
        request->peer->account->watches++;
        request->watches = true;
}

void broker_unwatch(struct request *request)
{
        if (request->watches)
                request->peer->account->watches--;
        request->watches = false;
}

bool broker_may_hear(const struct request *request, const struct event *event, const char *environment)
{
        return events_may_see(request->peer, event) && (!environment || strcmp(event->environment, environment) == 0);
}

const struct event *broker_next_event(struct broker *broker, struct request *request, const char *environment,
                                      uint64_t *cursor, int64_t *ret_missed)
{
        const struct history *history = &broker->history;
        const struct event *event;

        if (*cursor + 1 < history_first(history)) {
                request->missed += (int64_t)(history_first(history) - 1 - *cursor);
                *cursor = history_first(history) - 1;
        }
        while (*cursor < history->last) {
                event = history_find(history, ++*cursor);
                if (!event)
                        request->missed++;
                else if (broker_may_hear(request, event, environment)) {
                        *ret_missed = request->missed;
                        request->missed = 0;
                        return event;
                }
        }
        return NULL;
}

int broker_await_event(struct broker *broker, struct request *request)
{
        return waiting_park_watch(broker, request);
}
