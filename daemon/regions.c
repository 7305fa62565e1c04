/* The verbs for single regions: AddRegion, Attach, Detach, DeleteRegion. */

#include "daemon/core/policy.h"
#include "daemon/creation.h"
#include "daemon/definition.h"
#include "daemon/describing.h"
#include "daemon/events.h"
#include "daemon/granting.h"
#include "daemon/host/control.h"
#include "daemon/host/memory.h"
#include "daemon/lifecycle.h"
#include "daemon/missing.h"
#include "daemon/reclaim.h"
#include "proto/util.h"

#include <errno.h>
#include <string.h>

static int refuse_region(struct request *request, const struct environment *environment, const char *region,
                         enum refusal_code code)
{
        request->refusal.name = environment->name;
        request->refusal.region = region;
        return refuse(&request->refusal, code);
}

static int grant_one(struct broker *broker, struct request *request, struct environment *environment,
                     struct region *region, enum access access, struct grant *ret)
{
        struct grant grant = { .region = region, .fd = -1 };
        struct granting granting;
        int r;

        r = granting_plan(broker, request, environment, access, &grant, 1, &granting);
        if (r != 0) {
                close_fd(grant.fd);
                return r;
        }
        granting_apply(broker, &granting);
        *ret = grant;
        return 0;
}

/* One that was added and cannot be granted. */
static void take_back(struct broker *broker, struct environment *environment, struct region *region)
{
        struct refusal unheard = {};

        describing_change(broker, &unheard, environment, region);
        reclaim_region(broker, region);
}

/* The caller made it by this very call, and was never told. */
static bool was_added_before(const struct member *member, const struct region *region, const struct spec *spec)
{
        const struct attachment *attachment = attachment_find(member, region);

        return attachment && attachment->unclaimed && attachment->access == ACCESS_WRITE && !missing_is(region) &&
               region->size >= spec->size;
}

int broker_add_region(struct broker *broker, struct request *request, const struct add_region_args *args,
                      struct grant *ret)
{
        struct environment *environment;
        struct member *member;
        struct region *region;
        int r;

        r = granting_find_member(broker, request, args->environment, &environment, &member);
        if (r != 0)
                return r;
        if (!policy_may_access(request->peer, environment, ACCESS_WRITE))
                return refuse(&request->refusal, REFUSED_PERMISSION);
        if (!lifecycle_is_open_to(environment, member))
                return lifecycle_refuse(request, environment);
        region = environment_find_region(environment, args->region->name);
        if (region && was_added_before(member, region, args->region))
                return grant_one(broker, request, environment, region, ACCESS_WRITE, ret);
        if (region)
                return refuse_region(request, environment, region->name, REFUSED_REGION_EXISTS);
        r = definition_check_region(broker, request, environment, args->region);
        if (r != 0)
                return r;
        r = ledger_check(broker, &request->refusal);
        if (r == 0)
                r = creation_make_region(broker, request, environment, args->region, &region);
        if (r != 0)
                return r;
        registry_add_region(&broker->registry, environment, region);
        r = describing_change(broker, &request->refusal, environment, NULL);
        if (r == 0)
                r = grant_one(broker, request, environment, region, ACCESS_WRITE, ret);
        if (r != 0)
                take_back(broker, environment, region);
        else
                events_note(broker, EVENT_KIND_REGION_ADDED, environment, region->name, request->peer->process, NULL,
                            region->size);
        return r;
}

int broker_attach(struct broker *broker, struct request *request, const struct attach_args *args, struct grant *ret)
{
        enum access access = args->access ? args->access : ACCESS_WRITE;
        struct environment *environment;
        struct member *member;
        struct region *region;
        int r;

        r = granting_find_member(broker, request, args->environment, &environment, &member);
        if (r != 0)
                return r;
        if (!policy_may_access(request->peer, environment, access))
                return refuse(&request->refusal, REFUSED_PERMISSION);
        region = environment_find_region(environment, args->region);
        if (!region)
                return refuse_region(request, environment, args->region, REFUSED_NO_REGION);
        if (missing_is(region))
                return lifecycle_refuse(request, environment);
        /* what was removed by force is still there for its members */
        if (environment->state != STATE_RETIRED && !lifecycle_is_open_to(environment, member))
                return lifecycle_refuse(request, environment);
        r = grant_one(broker, request, environment, region, access, ret);
        if (r == 0)
                events_note(broker, EVENT_KIND_ATTACHED, environment, region->name, request->peer->process, NULL, -1);
        return r;
}

static int find_left(struct broker *broker, struct request *request, const struct detach_args *args,
                     struct environment **ret_environment, struct member **ret_member)
{
        struct member *member;

        if (!args->id)
                return granting_find_member(broker, request, args->environment, ret_environment, ret_member);
        member = granting_find_member_by_id(broker, request, args->id);
        if (!member) {
                request->refusal.name = args->environment;
                return refuse(&request->refusal, REFUSED_NOT_ATTACHED);
        }
        *ret_environment = member->environment;
        *ret_member = member;
        return 0;
}

int broker_detach(struct broker *broker, struct request *request, const struct detach_args *args)
{
        struct environment *environment;
        struct attachment *attachment;
        struct member *member;
        struct region *region;
        int r;

        r = find_left(broker, request, args, &environment, &member);
        if (r != 0)
                return r;
        if (args->region) {
                attachment = attachment_find_named(member, args->region);
                if (!attachment)
                        return refuse_region(request, environment, args->region, REFUSED_NOT_ATTACHED);
                events_note(broker, EVENT_KIND_DETACHED, environment, args->region, request->peer->process, NULL, -1);
                lifecycle_let_go(broker, attachment, true);
                if (missing_is_for_good(environment))
                        lifecycle_retire(broker, environment, MISSING_RULE);
                return 0;
        }
        while ((attachment = LIST_FIRST(&member->attachments)))
                lifecycle_let_go(broker, attachment, true);
        TAILQ_FOREACH(region, &environment->regions, in_environment)
                region->privately_held = false; /* also those it had not asked for */
        change_touch(&environment->change);
        lifecycle_leave(broker, member, false);
        return 0;
}

/* Deleted under its holders, a region lives on in a retired environment that has nothing but it. */
static int exile(struct broker *broker, struct request *request, struct environment *environment, struct region *region)
{
        const struct definition like = {
                .mode = { true, environment->mode },
                .reserve = { true, environment->reserve },
                .lock = { true, environment->lock },
                .huge_pages = { true, environment->huge_pages },
                .hugetlb = { true, environment->hugetlb },
        };
        struct environment *retired = environment_new(environment->name, &like, region->backing);
        int r;

        if (!retired)
                return -ENOMEM;
        retired->id = registry_next_id(&broker->registry);
        r = creation_share_directory(&request->refusal, retired, environment);
        if (r == 0)
                r = creation_make_control(broker, &request->refusal, retired);
        if (r != 0) {
                creation_undo(broker, retired);
                return r;
        }
        retired->uid = environment->uid;
        retired->gid = environment->gid;
        retired->lifetime = environment->lifetime;
        retired->created_usec = environment->created_usec;
        retired->creator = broker_retain_process(environment->creator);
        retired->account = environment->account;
        retired->state = STATE_RETIRED;
        retired->rule = "deleted by force while it was held";
        retired->last_number = region->number - 1;

        events_note(broker, EVENT_KIND_REGION_DELETED, environment, region->name, request->peer->process,
                    "by force while it was held; it goes with its last holder", region->size);
        registry_add_nameless(&broker->registry, retired);
        registry_remove_region(&broker->registry, region);
        registry_add_region(&broker->registry, retired, region);
        ledger_commit(broker);
        lifecycle_unname_region(broker, region);
        reclaim_consider(broker, retired);
        return 0;
}

int broker_delete_region(struct broker *broker, struct request *request, const struct delete_region_args *args)
{
        struct environment *environment = broker_find(broker, args->environment);
        struct region *region;
        bool is_free;

        if (!environment || !policy_may_see(request->peer, environment)) {
                request->refusal.name = args->environment;
                return refuse(&request->refusal, REFUSED_NO_ENVIRONMENT);
        }
        if (!policy_may_access(request->peer, environment, ACCESS_WRITE))
                return refuse(&request->refusal, REFUSED_PERMISSION);
        region = environment_find_region(environment, args->region);
        if (!region)
                return refuse_region(request, environment, args->region, REFUSED_NO_REGION);
        is_free = reclaim_is_proven(broker, region);
        if (is_free || args->force.value) {
                int r = describing_change(broker, &request->refusal, environment, region);

                if (r != 0)
                        return r;
        }
        if (is_free) {
                events_note(broker, EVENT_KIND_REGION_DELETED, environment, region->name, request->peer->process,
                            "on request", region->size);
                reclaim_region(broker, region);
                return 0;
        }
        if (args->force.value)
                return exile(broker, request, environment, region);
        request->refusal.environment = environment;
        request->refusal.region = region->name;
        return refuse(&request->refusal, REFUSED_BUSY);
}
