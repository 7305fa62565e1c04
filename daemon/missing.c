/* Offer: a member brings back what the broker lost. What it offers is believed only where it provably is what was made: then
 * it is as if it never had been lost, and those who waited for it go on. */

#include "daemon/missing.h"

#include "daemon/core/policy.h"
#include "daemon/definition.h"
#include "daemon/granting.h"
#include "daemon/host/memory.h"
#include "daemon/lifecycle.h"
#include "daemon/log.h"
#include "daemon/waiting.h"
#include "proto/util.h"

#include <errno.h>
#include <string.h>

bool missing_is(const struct region *region)
{
        return region->memory && memory_is_missing(region->memory);
}

bool missing_is_any(const struct environment *environment)
{
        const struct region *region;

        TAILQ_FOREACH(region, &environment->regions, in_environment)
                if (missing_is(region))
                        return true;
        return false;
}

bool missing_is_for_good(const struct environment *environment)
{
        const struct region *region;

        TAILQ_FOREACH(region, &environment->regions, in_environment)
                if (missing_is(region) && region->n_attachments == 0)
                        return true;
        return false;
}

void missing_let_go(struct broker *broker, struct member *member, const struct string_array *names)
{
        struct attachment *attachment, *next;

        for (attachment = LIST_FIRST(&member->attachments); attachment; attachment = next) {
                next = LIST_NEXT(attachment, in_member);
                if (missing_is(attachment->region) && !string_array_has(names, attachment->region->name))
                        lifecycle_let_go(broker, attachment, true);
        }
}

void missing_tell(const struct environment *environment)
{
        const struct region *region;

        TAILQ_FOREACH(region, &environment->regions, in_environment)
                if (missing_is(region))
                        log_line_of(
                                LOG_LEVEL_WARNING, LOG_FIELDS(.environment = environment->name, .region = region->name),
                                "region %s of environment %s is missing: its %lld bytes wait for one of the %u that "
                                "have it to call",
                                region->name, environment->name, (long long)region->size, region->n_attachments);
}

/* --- bringing it back -------------------------------------------------------------------------------------------- */

static int take(struct broker *broker, struct request *request, struct region *region, int fd)
{
        const struct process *process = request->peer->process;
        struct environment *environment = region->environment;
        int r = memory_bring_back(region->memory, fd);

        if (r == -ESTALE)
                return definition_refuse(&request->refusal, "regionFileDescriptor");
        if (r < 0)
                return refuse_resource(&request->refusal, "open", r);
        keeping_keep(broker, region);
        log_line_of(LOG_LEVEL_INFO,
                    LOG_FIELDS(.environment = environment->name, .region = region->name, .pid = process->pid,
                               .uid = &process->uid),
                    "region %s of environment %s was brought back by %s (pid %d)", region->name, environment->name,
                    process->command, (int)process->pid);
        if (!missing_is_any(environment))
                waiting_wake_all(broker, environment);
        return 0;
}

int broker_offer(struct broker *broker, struct request *request, const struct offer_args *args, int fd)
{
        const struct environment *environment = registry_find_id(&broker->registry, args->id);
        struct member *member = granting_find_member_by_id(broker, request, args->id);
        struct attachment *attachment = member ? attachment_find_named(member, args->region) : NULL;

        if (!attachment) {
                request->refusal.name = args->environment;
                request->refusal.region = args->region;
                return refuse(&request->refusal, environment && (member || policy_may_see(request->peer, environment))
                                                         ? REFUSED_NOT_ATTACHED
                                                         : REFUSED_NO_ENVIRONMENT);
        }
        return missing_is(attachment->region) ? take(broker, request, attachment->region, fd) : 0;
}
