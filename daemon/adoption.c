/* Adopt: a forked child says that what it inherited is in use. It is given nothing that it does not have: the memory is
 * mapped in it already, and until now only the proof knew of that. */

#include "daemon/core/policy.h"
#include "daemon/describing.h"
#include "daemon/events.h"
#include "daemon/granting.h"
#include "daemon/reclaim.h"
#include "daemon/resuming.h"
#include "proto/util.h"

#include <errno.h>
#include <string.h>

static void free_all(struct attachment **attachments, size_t n)
{
        for (size_t i = 0; i < n; i++)
                free(attachments[i]);
        free(attachments);
}

static bool is_named(const struct string_array *names, const struct region *region)
{
        for (size_t i = 0; i < names->n; i++)
                if (strcmp(names->items[i], region->name) == 0)
                        return true;
        return !names->given;
}

/* One attachment for each region that the caller has. */
static int plan(struct broker *broker, struct member *member, const struct string_array *names,
                struct attachment ***ret)
{
        struct environment *environment = member->environment;
        struct attachment **attachments = calloc(environment->n_regions + 1, sizeof(*attachments));
        struct region *region;
        size_t n = 0;

        if (!attachments)
                return -ENOMEM;
        TAILQ_FOREACH(region, &environment->regions, in_environment) {
                if (!is_named(names, region))
                        continue;
                attachments[n] = attachment_new(member, region, member->access, broker->realtime);
                if (!attachments[n]) {
                        free_all(attachments, n);
                        return -ENOMEM;
                }
                n++;
        }
        *ret = attachments;
        return 0;
}

static int adopt(struct broker *broker, struct request *request, struct environment *environment, enum access access,
                 const struct string_array *names)
{
        struct member *member = member_new(request->peer, environment, access, broker->realtime);
        struct attachment **attachments;
        int r;

        if (!member)
                return -ENOMEM;
        r = plan(broker, member, names, &attachments);
        if (r < 0) {
                member_free(member);
                return r;
        }
        member_join(member);
        for (size_t i = 0; attachments[i]; i++) {
                attachment_join(attachments[i]);
                broker->registry.n_attachments++;
        }
        free(attachments);
        reclaim_call_off(broker, environment);
        events_note(broker, EVENT_KIND_ATTACHED, environment, NULL, request->peer->process, "inherited from its parent",
                    -1);
        return 0;
}

static enum access most_access(const struct peer *peer, const struct environment *environment)
{
        return policy_may_access(peer, environment, ACCESS_WRITE) ? ACCESS_WRITE : ACCESS_READ;
}

int broker_adopt(struct broker *broker, struct request *request, const struct adopt_args *args,
                 struct environment **ret)
{
        struct environment *environment;
        enum access access;
        int r;

        r = broker_describe(broker, request, args->environment, &environment);
        if (r != 0)
                return r;
        access = args->access ? args->access : most_access(request->peer, environment);
        if (!policy_may_access(request->peer, environment, access))
                return refuse(&request->refusal, REFUSED_PERMISSION);
        if (resuming_join(request->peer, environment)) {
                *ret = environment;
                return 0;
        }
        if (environment->state == STATE_INITIALIZING || environment->backing == BACKING_PRIVATE) {
                request->refusal.environment = environment;
                return refuse(&request->refusal,
                              environment->state == STATE_INITIALIZING ? REFUSED_NOT_READY : REFUSED_BUSY);
        }
        if (!member_find(request->peer, environment)) {
                r = describing_grant(broker, &request->refusal, environment, access);
                if (r == 0)
                        r = adopt(broker, request, environment, access, &args->regions);
                if (r != 0)
                        return r;
        }
        *ret = environment;
        return 0;
}
