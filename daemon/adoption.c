/* Adopt: a forked child says that what it inherited is in use. It is given nothing that it does not have: the memory is
 * mapped in it already, and until now only the proof knew of that. Resume: who lost the connection says the same of what it
 * has, and is again what it was. */

#include "daemon/core/policy.h"
#include "daemon/describing.h"
#include "daemon/events.h"
#include "daemon/granting.h"
#include "daemon/host/control.h"
#include "daemon/lifecycle.h"
#include "daemon/missing.h"
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
                if (!string_array_has(names, region->name))
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

/* Makes the caller a member that has what it says it has, unless it is one. */
static int adopt_anew(struct broker *broker, struct request *request, struct environment *environment,
                      enum access wanted, const struct string_array *names)
{
        enum access access = wanted ? wanted : most_access(request->peer, environment);
        int r;

        if (!policy_may_access(request->peer, environment, access))
                return refuse(&request->refusal, REFUSED_PERMISSION);
        if (resuming_join(request->peer, environment))
                return 0;
        if (environment->state == STATE_INITIALIZING || environment->backing == BACKING_PRIVATE) {
                request->refusal.environment = environment;
                return refuse(&request->refusal,
                              environment->state == STATE_INITIALIZING ? REFUSED_NOT_READY : REFUSED_BUSY);
        }
        if (member_find(request->peer, environment))
                return 0;
        r = describing_grant(broker, &request->refusal, environment, access);
        return r == 0 ? adopt(broker, request, environment, access, names) : r;
}

int broker_adopt(struct broker *broker, struct request *request, const struct adopt_args *args,
                 struct environment **ret)
{
        int r = broker_describe(broker, request, args->environment, ret);

        if (r != 0)
                return r;
        if (args->session.given)
                request->peer->session = args->session.value;
        return adopt_anew(broker, request, *ret, args->access, &args->regions);
}

/* --- after a lost connection ------------------------------------------------------------------------------------- */

/* What it was granted and does not know of, it has asked for and not been told. */
static void note_unclaimed(struct member *member, const struct string_array *names)
{
        struct attachment *attachment;

        LIST_FOREACH(attachment, &member->attachments, in_member)
                attachment->unclaimed = !string_array_has(names, attachment->region->name);
}

static enum role role_of(const struct member *member)
{
        const struct environment *environment = member->environment;

        if (environment->initializer == member)
                return ROLE_INITIALIZER;
        return environment->recoverer == member ? ROLE_RECOVERER : ROLE_MEMBER;
}

static int refuse_unknown(struct request *request, const struct resume_args *args)
{
        request->refusal.name = args->environment;
        return refuse(&request->refusal, REFUSED_NO_ENVIRONMENT);
}

/* What is retired can be resumed, and by nobody new be adopted. */
static int resume(struct broker *broker, struct request *request, struct environment *environment,
                  const struct resume_args *args)
{
        if (resuming_take_over(request->peer, environment) || member_find(request->peer, environment))
                return 0;
        if (environment->state == STATE_RETIRED || !policy_may_see(request->peer, environment))
                return refuse_unknown(request, args);
        return adopt_anew(broker, request, environment, args->access, &args->regions);
}

int broker_resume(struct broker *broker, struct request *request, const struct resume_args *args, struct resumed *ret)
{
        struct environment *environment = registry_find_id(&broker->registry, args->id);
        struct member *member;
        int control_fd, r;

        if (!environment)
                return refuse_unknown(request, args);
        control_fd = control_open(environment->control);
        if (control_fd < 0)
                return refuse_resource(&request->refusal, "open", control_fd);
        if (args->session.given)
                request->peer->session = args->session.value;
        r = resume(broker, request, environment, args);
        if (r != 0) {
                close_fd(control_fd);
                return r;
        }
        member = member_find(request->peer, environment);
        note_unclaimed(member, &args->regions);
        missing_let_go(broker, member, &args->regions);
        *ret = (struct resumed){ environment, role_of(member), control_fd };
        if (environment->state != STATE_RETIRED && missing_is_for_good(environment))
                lifecycle_retire(broker, environment, MISSING_RULE);
        return 0;
}
