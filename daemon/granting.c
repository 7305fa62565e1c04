/* A grant is an open description of its own and an attachment that says whose it is. An attachment that exists already
 * is kept, and raised from reading to writing where that is asked for. */

#include "daemon/granting.h"

#include "daemon/core/policy.h"
#include "daemon/describing.h"
#include "daemon/host/memory.h"
#include "daemon/resuming.h"
#include "proto/util.h"

#include <errno.h>
#include <string.h>

static int open_memory(struct request *request, struct grant *grant)
{
        const struct memory *memory = grant->region->memory;
        bool by_id = grant->region->backing == BACKING_SYSV;
        const char *operation;
        int r;

        if (!memory)
                return 0;
        r = by_id ? memory_check(memory, &operation) : memory_open(memory, grant->access, &operation);
        if (r < 0)
                return refuse_resource(&request->refusal, operation, r);
        if (!by_id)
                grant->fd = r;
        return 0;
}

static int check_namespace(struct broker *broker, struct request *request, struct environment *environment,
                           const struct grant *grants, size_t n)
{
        for (size_t i = 0; i < n; i++) {
                if (grants[i].region->backing != BACKING_SYSV)
                        continue;
                if (broker->ipc_namespace == 0 || identity_shares_ipc(request->peer->process->pid))
                        return 0;
                request->refusal.environment = environment;
                return refuse(&request->refusal, REFUSED_NAMESPACE);
        }
        return 0;
}

static void abandon(struct granting *granting)
{
        for (size_t i = 0; i < granting->n; i++)
                if (granting->attachments[i] && !granting->attachments[i]->since_usec)
                        free(granting->attachments[i]);
        if (granting->is_new)
                member_free(granting->member);
        free(granting->attachments);
}

/* An attachment that is not in any list yet has no time of its beginning. */
static int plan_attachment(struct granting *granting, struct region *region, enum access access)
{
        struct attachment *attachment = granting->is_new ? NULL : attachment_find(granting->member, region);

        if (!attachment)
                attachment = attachment_new(granting->member, region, access, 0);
        if (!attachment)
                return -ENOMEM;
        granting->attachments[granting->n++] = attachment;
        return 0;
}

static int plan_all(struct request *request, enum access access, struct grant *grants, size_t n,
                    struct granting *granting)
{
        int r;

        for (size_t i = 0; i < n; i++) {
                grants[i].access = access;
                r = open_memory(request, &grants[i]);
                if (r == 0)
                        r = plan_attachment(granting, grants[i].region, access);
                if (r != 0)
                        return r;
        }
        return 0;
}

int granting_plan(struct broker *broker, struct request *request, struct environment *environment, enum access access,
                  struct grant *grants, size_t n, struct granting *ret)
{
        struct granting granting = { .access = access };
        int r;

        r = check_namespace(broker, request, environment, grants, n);
        if (r != 0)
                return r;
        granting.attachments = calloc(n ? n : 1, sizeof(*granting.attachments));
        granting.member = member_find(request->peer, environment);
        if (!granting.member) {
                granting.member = member_new(request->peer, environment, access, broker->realtime);
                granting.is_new = true;
        }
        r = granting.member && granting.attachments ? plan_all(request, access, grants, n, &granting) : -ENOMEM;
        if (r == 0 && n > 0)
                r = describing_grant(broker, &request->refusal, environment, access);
        if (r != 0) {
                abandon(&granting);
                return r;
        }
        *ret = granting;
        return 0;
}

void granting_apply(struct broker *broker, struct granting *granting)
{
        if (granting->is_new)
                member_join(granting->member);
        for (size_t i = 0; i < granting->n; i++) {
                struct attachment *attachment = granting->attachments[i];

                if (granting->access > attachment->access) {
                        attachment->access = granting->access;
                        change_touch(&attachment->member->change);
                }
                if (attachment->since_usec)
                        continue;
                attachment->since_usec = broker->realtime;
                attachment_join(attachment);
                broker->registry.n_attachments++;
        }
        free(granting->attachments);
}

struct member *granting_find_member_by_id(struct broker *broker, struct request *request, const char *id)
{
        struct environment *environment = registry_find_id(&broker->registry, id);

        if (!environment)
                return NULL;
        resuming_join(request->peer, environment);
        return member_find(request->peer, environment);
}

int granting_find_member(struct broker *broker, struct request *request, const char *name,
                         struct environment **ret_environment, struct member **ret_member)
{
        struct environment *environment = broker_find(broker, name);
        struct member *member = NULL;

        /* one that was retired is found by those who are still in it */
        if (environment)
                resuming_join(request->peer, environment);
        if (environment)
                member = member_find(request->peer, environment);
        if (!member)
                resuming_join_named(request->peer, name);
        if (!member)
                LIST_FOREACH(member, &request->peer->members, in_peer)
                        if (strcmp(member->environment->name, name) == 0)
                                break;
        if (member) {
                *ret_environment = member->environment;
                *ret_member = member;
                return 0;
        }
        request->refusal.name = name;
        if (!environment || !policy_may_see(request->peer, environment))
                return refuse(&request->refusal, REFUSED_NO_ENVIRONMENT);
        return refuse(&request->refusal, REFUSED_NOT_ATTACHED);
}
