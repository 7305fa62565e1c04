/* Open and Ready: creating or joining in one step. */

#include "daemon/core/policy.h"
#include "daemon/creation.h"
#include "daemon/declaring.h"
#include "daemon/definition.h"
#include "daemon/describing.h"
#include "daemon/events.h"
#include "daemon/granting.h"
#include "daemon/host/control.h"
#include "daemon/host/directory.h"
#include "daemon/host/memory.h"
#include "daemon/lifecycle.h"
#include "daemon/log.h"
#include "daemon/missing.h"
#include "daemon/places.h"
#include "daemon/reclaim.h"
#include "daemon/resuming.h"
#include "daemon/waiting.h"
#include "proto/util.h"

#include <errno.h>
#include <string.h>

void opened_deinit(struct opened *opened)
{
        for (size_t i = 0; i < opened->n_grants; i++)
                close_fd(opened->grants[i].fd);
        free(opened->grants);
        close_fd(opened->control_fd);
        *opened = (struct opened){ .control_fd = -1 };
}

/* Called by the path of its home, an environment cannot have another one. */
static bool is_path_fit(const struct open_args *args)
{
        const char *home = args->definition ? args->definition->home : NULL;

        return strlen(args->environment) <= PATH_MAX_BYTES && (!home || strcmp(home, args->environment) == 0);
}

static int check_args(struct request *request, const struct open_args *args)
{
        if (args->create > CREATE_NEVER && !args->definition)
                return definition_refuse(&request->refusal, "definition");
        if (args->wait_usec.given && args->wait_usec.value < 0)
                return definition_refuse(&request->refusal, "waitUSec");
        if (args->environment[0] != '/')
                return definition_check_name(args->environment, &request->refusal);
        return is_path_fit(args) ? 0 : definition_refuse(&request->refusal, "environment");
}

/* --- attaching to what is there ---------------------------------------------------------------------------------- */

static bool is_chosen(const struct opened *opened, const struct region *region)
{
        for (size_t i = 0; i < opened->n_grants; i++)
                if (opened->grants[i].region == region)
                        return true;
        return false;
}

static void choose(struct opened *opened, struct region *region)
{
        opened->grants[opened->n_grants++] = (struct grant){ .region = region, .fd = -1 };
}

/* All regions, or those asked for, as grants without descriptors yet. */
static int choose_regions(struct request *request, const struct environment *environment,
                          const struct string_array *names, struct opened *opened)
{
        struct region *region;

        opened->grants = calloc(environment->n_regions + 1, sizeof(*opened->grants));
        if (!opened->grants)
                return -ENOMEM;
        if (!names->given)
                TAILQ_FOREACH(region, &environment->regions, in_environment)
                        choose(opened, region);
        for (size_t i = 0; i < names->n; i++) {
                region = environment_find_region(environment, names->items[i]);
                if (!region) {
                        request->refusal.name = environment->name;
                        request->refusal.region = names->items[i];
                        return refuse(&request->refusal, REFUSED_NO_REGION);
                }
                if (is_chosen(opened, region))
                        return definition_refuse(&request->refusal, "regions"); /* named twice */
                choose(opened, region);
        }
        return 0;
}

/* Makes the caller a member with all it asked for, or leaves everything as it is. */
static int join(struct broker *broker, struct request *request, struct environment *environment,
                const struct open_args *args, enum role role, struct opened *ret)
{
        enum access access = args->access ? args->access : ACCESS_WRITE;
        owned(opened_deinit) struct opened opened = { .environment = environment, .role = role, .control_fd = -1 };
        struct granting granting;
        int r;

        r = choose_regions(request, environment, &args->regions, &opened);
        if (r != 0)
                return r;
        opened.control_fd = control_open(environment->control);
        if (opened.control_fd < 0)
                return refuse_resource(&request->refusal, "open", opened.control_fd);
        r = granting_plan(broker, request, environment, access, opened.grants, opened.n_grants, &granting);
        if (r != 0)
                return r;

        granting_apply(broker, &granting);
        reclaim_call_off(broker, environment);
        *ret = opened;
        opened = (struct opened){ .control_fd = -1 };
        return 0;
}

static void note_attached(struct broker *broker, const struct request *request, const struct environment *environment)
{
        events_note(broker, EVENT_KIND_ATTACHED, environment, NULL, request->peer->process, NULL, -1);
}

/* --- creating ---------------------------------------------------------------------------------------------------- */

static int create(struct broker *broker, struct request *request, const struct open_args *args, struct opened *ret)
{
        struct definition definition = *args->definition;
        struct environment *environment;
        int r;

        if (args->environment[0] == '/')
                definition.home = args->environment;
        definition_fill_in(broker, &definition);
        r = definition_check_reserved(broker, request, args->environment);
        if (r == 0)
                r = definition_check(broker, request, &definition);
        if (r != 0)
                return r;
        r = creation_make(broker, request, args->environment, &definition, &environment);
        if (r != 0)
                return r;
        r = join(broker, request, environment, args, ROLE_INITIALIZER, ret);
        if (r != 0) {
                creation_undo(broker, environment);
                request->refusal.environment = NULL; /* the facts are not to speak of what is gone */
                if (r == REFUSED_NO_REGION || r == REFUSED_NAMESPACE)
                        request->refusal.name = args->environment;
                return r;
        }
        registry_add(&broker->registry, environment);
        ret->created = true;
        environment->initializer = member_find(request->peer, environment);
        broker->counters.created++;
        lifecycle_show(broker, environment);
        events_note(broker, EVENT_KIND_CREATED, environment, NULL, request->peer->process, NULL, environment->bytes);
        note_attached(broker, request, environment);
        log_line_of(LOG_LEVEL_INFO,
                    LOG_FIELDS(.environment = environment->name, .pid = request->peer->process->pid,
                               .uid = &request->peer->uid),
                    "created environment %s: %u regions, %lld bytes, by %s (pid %d, uid %u)", environment->name,
                    environment->n_regions, (long long)environment->bytes, request->peer->process->command,
                    (int)request->peer->process->pid, request->peer->uid);
        return 0;
}

/* --- joining ----------------------------------------------------------------------------------------------------- */

/* By its rule it should be gone, and only something unknown to us still holds it: its name may be given anew. */
static bool is_abandoned(const struct environment *environment)
{
        return environment->n_members == 0 && environment->in_doubt;
}

static int check_schema(struct request *request, const struct environment *environment, const struct open_args *args)
{
        const char *wanted = args->definition ? args->definition->schema : NULL;

        if (!wanted || (environment->schema && strcmp(wanted, environment->schema) == 0))
                return 0;
        request->refusal.environment = (struct environment *)(uintptr_t)environment;
        request->refusal.schema = wanted;
        return refuse(&request->refusal, REFUSED_SCHEMA);
}

/* Parked, or refused where no time is left for that. */
static int wait_for(struct broker *broker, struct request *request, struct environment *environment,
                    const struct open_args *args)
{
        int r = waiting_park(broker, request, environment, args->create == CREATE_IF_ABSENT, false);

        if (r != 0)
                return r;
        return lifecycle_refuse(request, environment);
}

/* What the caller would be there: of those who may write, the first to come to a dirty environment repairs it. */
static enum role role_for(const struct request *request, const struct environment *environment, enum access access)
{
        const struct member *member = member_find(request->peer, environment);

        if (member && environment->initializer == member)
                return ROLE_INITIALIZER;
        if (member && environment->recoverer == member)
                return ROLE_RECOVERER;
        if (environment->draining && !member)
                return 0;
        if (environment->state == STATE_INITIALIZING && !environment->initializer && access == ACCESS_WRITE)
                return ROLE_INITIALIZER; /* the broker made it, and left its content to whoever comes first */
        if (environment->state == STATE_DIRTY && access == ACCESS_WRITE)
                return ROLE_RECOVERER;
        return lifecycle_is_open_to(environment, NULL) ? ROLE_MEMBER : 0;
}

/* Who does not mean to make it is not told that there is what it may not see; who does cannot have the name. */
static int refuse_access(struct request *request, const struct open_args *args, bool may_see)
{
        if (may_see || args->create > CREATE_NEVER)
                return refuse(&request->refusal, REFUSED_PERMISSION);
        request->refusal.name = args->environment;
        return refuse(&request->refusal, REFUSED_NO_ENVIRONMENT);
}

static int join_existing(struct broker *broker, struct request *request, struct environment *environment,
                         const struct open_args *args, struct opened *ret)
{
        enum access access = args->access ? args->access : ACCESS_WRITE;
        enum role role;
        int r;

        if (!policy_may_access(request->peer, environment, access))
                return refuse_access(request, args, policy_may_see(request->peer, environment));
        r = check_schema(request, environment, args);
        if (r != 0)
                return r;
        role = missing_is_any(environment) ? 0 : role_for(request, environment, access);
        if (role == 0)
                return wait_for(broker, request, environment, args);
        if (environment->backing == BACKING_PRIVATE && environment->creator != request->peer->process) {
                request->refusal.environment = environment;
                return refuse(&request->refusal, REFUSED_BUSY);
        }
        r = join(broker, request, environment, args, role, ret);
        if (r != 0)
                return r;
        if (role == ROLE_INITIALIZER && !environment->initializer) {
                environment->initializer = member_find(request->peer, environment);
                lifecycle_show(broker, environment);
        }
        if (role == ROLE_RECOVERER && environment->state == STATE_DIRTY)
                lifecycle_set_recovering(broker, member_find(request->peer, environment));
        note_attached(broker, request, environment);
        broker->counters.joined++;
        return 0;
}

/* --- what is no more ---------------------------------------------------------------------------------------------- */

/* Persistent files are where they were made: their directory was moved away, or is not the home. */
static bool has_files(const struct environment *environment)
{
        const struct region *region;

        if (environment->lifetime != LIFETIME_PERSISTENT)
                return false;
        TAILQ_FOREACH(region, &environment->regions, in_environment)
                if (region->backing == BACKING_FILE && !memory_is_lost(region->memory))
                        return true;
        return false;
}

/* A home that was removed and made anew is another home, and nothing is in it yet. Who would make an environment there is
 * not to find the old one, which stays with its holders. */
static void retire_if_home_is_another(struct broker *broker, const struct request *request,
                                      const struct open_args *args)
{
        const char *named = args->definition ? args->definition->home : NULL;
        const char *path = args->environment[0] == '/' ? args->environment : named;
        struct environment *environment = path ? broker_find_home(broker, path) : NULL;

        if (!environment || args->create <= CREATE_NEVER || !policy_may_remove(request->peer, environment))
                return;
        if (directory_is_another(environment->home, &environment->home_id) && !has_files(environment))
                lifecycle_retire(broker, environment, "its home was removed");
}

/* Where others removed its memory while nobody was in it, there is nothing to join. */
static struct environment *find_for_opening(struct broker *broker, const struct open_args *args)
{
        struct environment *environment = broker_find(broker, args->environment);

        if (!environment || environment->n_members > 0 || !reclaim_is_lost(environment))
                return environment;
        reclaim_consider(broker, environment); /* may free it */
        return broker_find(broker, args->environment);
}

/* What is declared is made when it is opened and not there. Nothing else can have its name. */
static int open_declared(struct broker *broker, struct request *request, const struct open_args *args,
                         struct environment **environment)
{
        const struct declaration *declaration = declaring_find(broker, args->environment);
        enum access access = args->access ? args->access : ACCESS_WRITE;

        if (!declaration)
                return 0;
        if (args->create == CREATE_ALWAYS && (!*environment || is_abandoned(*environment))) {
                request->refusal.name = declaration->name;
                return refuse(&request->refusal, REFUSED_ENVIRONMENT_EXISTS);
        }
        if (*environment)
                return 0;
        if (!declaration_allows(declaration, request->peer, access))
                return refuse_access(request, args, declaration_may_see(declaration, request->peer));
        return declaring_make(broker, declaration, &request->refusal, environment);
}

/* One that we know nothing of may lie in its home. */
static int find_elsewhere(struct broker *broker, struct request *request, const struct open_args *args,
                          struct environment **ret)
{
        const char *home = args->create > CREATE_NEVER ? args->definition->home : NULL;
        int r = places_look_for(broker, request, args->environment,
                                args->environment[0] == '/' ? args->environment : home);

        if (r == 0)
                *ret = broker_find(broker, args->environment);
        return r;
}

/* Who opens anew, without a word of what it has, has none of it: it was granted and the answer was lost, or the memory was let
 * go. It is not the one to bring back what is missing. */
static void leave_missing(struct broker *broker, struct request *request, struct environment *environment)
{
        struct member *member = member_find(request->peer, environment);

        missing_let_go(broker, member, &(struct string_array){ .given = true });
        if (missing_is_for_good(environment))
                lifecycle_leave(broker, member, false);
}

/* --- the verbs --------------------------------------------------------------------------------------------------- */

int broker_open(struct broker *broker, struct request *request, const struct open_args *args, struct opened *ret)
{
        struct environment *environment;
        bool resumed;
        int r;

        r = check_args(request, args);
        if (r != 0)
                return r;
        retire_if_home_is_another(broker, request, args);
        if (args->session.given)
                request->peer->session = args->session.value;
        environment = find_for_opening(broker, args);
        if (!environment) {
                r = find_elsewhere(broker, request, args, &environment);
                if (r != 0)
                        return r;
        }
        r = open_declared(broker, request, args, &environment);
        if (r != 0)
                return r;
        resumed = environment && resuming_join(request->peer, environment);
        if (resumed && missing_is_any(environment)) {
                leave_missing(broker, request, environment);
                environment = find_for_opening(broker, args);
                resumed = environment && member_find(request->peer, environment);
        }
        if (environment && args->create == CREATE_ALWAYS && !resumed) {
                if (!is_abandoned(environment) || !policy_may_remove(request->peer, environment))
                        return creation_refuse_taken(request, environment, args->environment);
                lifecycle_retire(broker, environment, "attached, and its name was given to a new one");
                environment = NULL;
        }
        if (environment)
                return join_existing(broker, request, environment, args, ret);
        if (args->create > CREATE_NEVER)
                return create(broker, request, args, ret);
        request->refusal.name = args->environment;
        return refuse(&request->refusal, REFUSED_NO_ENVIRONMENT);
}

int broker_ready(struct broker *broker, struct request *request, const char *name, uint64_t *ret_generation)
{
        struct environment *environment;
        struct member *member;
        int r;

        r = granting_find_member(broker, request, name, &environment, &member);
        if (r != 0)
                return r;
        if (environment->initializer != member && environment->recoverer != member) {
                request->refusal.environment = environment;
                request->refusal.role = ROLE_MEMBER;
                return refuse(&request->refusal, REFUSED_NOT_YOUR_ROLE);
        }
        if (environment->died_again) { /* what was torn meanwhile may have been repaired before that */
                environment->died_again = false;
                change_touch(&environment->change);
                request->refusal.environment = environment;
                return refuse(&request->refusal, REFUSED_RECOVERY);
        }
        r = describing_ready(broker, &request->refusal, environment, environment->generation + 1);
        if (r != 0)
                return r;
        lifecycle_set_ready(broker, environment, request->peer->process);
        *ret_generation = environment->generation;
        return 0;
}
