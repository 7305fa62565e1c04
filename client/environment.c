/* Environments: opened in one round trip, left in one, and given up whole when anything between fails. */

#include "client/environment.h"

#include "client/failure.h"
#include "client/health.h"
#include "client/info.h"
#include "client/inheritance.h"

#include "proto/util.h"

#include <errno.h>
#include <string.h>

static struct region_env *environment_free(struct region_env *env)
{
        if (!env)
                return NULL;
        while (!TAILQ_EMPTY(&env->regions))
                region_free(TAILQ_FIRST(&env->regions));
        health_unmap(env->control);
        pthread_mutex_destroy(&env->lock);
        arena_clear(&env->arena);
        free(env->named);
        free(env);
        return NULL;
}

static void environment_freep(struct region_env **env)
{
        environment_free(*env);
}

/* Whoever only looks locks as well: the lock is no part of what their const protects. */
static pthread_mutex_t *lock_of(const struct region_env *env)
{
        return (pthread_mutex_t *)(uintptr_t)&env->lock;
}

void environment_lock(const struct region_env *env)
{
        if (!env->broker->torn)
                pthread_mutex_lock(lock_of(env));
}

void environment_unlock(const struct region_env *env)
{
        if (!env->broker->torn)
                pthread_mutex_unlock(lock_of(env));
}

enum region_result environment_enter(struct region_env *env, struct region_broker **ret)
{
        owned(broker_leavep) struct region_broker *inside = NULL;
        enum region_result r;

        r = broker_enter(env->broker, &inside);
        if (r == REGION_OK && env->inherited)
                r = inheritance_adopt(env);
        if (r == REGION_OK)
                *ret = take_ptr(inside);
        return r;
}

static enum region_result note_gone(const struct region_env *env)
{
        return failure_note(REGION_E_NOT_FOUND,
                            "environment '%s' was removed, and this handle is of the old one; open it again",
                            env->info->name);
}

enum region_result environment_enter_named(struct region_env *env, struct region_broker **ret)
{
        owned(broker_leavep) struct region_broker *inside = NULL;
        enum region_result r;

        r = environment_enter(env, &inside);
        if (r != REGION_OK)
                return r;
        if (region_env_state(env) == REGION_STATE_RETIRED)
                return note_gone(env);
        *ret = take_ptr(inside);
        return REGION_OK;
}

enum region_result environment_check(struct region_env *env)
{
        owned(broker_leavep) struct region_broker *inside = NULL;

        if (!env->broker->torn && !env->inherited && !broker_is_inherited(env->broker))
                return REGION_OK;
        return environment_enter(env, &inside);
}

/* --- opening ----------------------------------------------------------------------------------------------------- */

static enum region_result make_regions(struct region_env *env, const struct struct_array *grants, struct fdset *fds)
{
        bool reserve = env->reserve && env->role == REGION_ROLE_INITIALIZER;
        const struct grant_view *grant = grants->items;
        enum region_result r = REGION_OK;
        struct region *unused;

        for (size_t i = 0; i < grants->n && r == REGION_OK; i++)
                r = region_new(env, &grant[i], fds, reserve, &unused);
        return r;
}

static enum region_result environment_new(struct region_broker *broker, const struct request *request,
                                          const struct open_result *result, struct fdset *fds, struct region_env **ret)
{
        const struct environment_view *view = result->environment;
        const struct opt_bool *reserve = view->reserve.given ? &view->reserve : &request->definition.reserve;
        owned(environment_freep) struct region_env *env = calloc(1, sizeof(*env));
        enum region_result r;

        if (!env)
                return failure_note_memory();
        TAILQ_INIT(&env->regions);
        pthread_mutex_init(&env->lock, NULL);
        env->broker = broker;
        env->role = (enum region_role)result->role;
        env->reserve = !reserve->given || reserve->value;
        env->wishes = (struct pages_wishes){
                .lock = view->lock.value,
                .huge_pages = !view->hugetlb.value && (env->reserve || view->huge_pages.value),
                .collapse = !view->hugetlb.value && view->huge_pages.value,
                .hugetlb = view->hugetlb.value,
        };
        env->differences = info_copy_differences(&env->arena, &result->differences);
        if (!env->differences || !overrides_copy(&request->overrides, &env->arena, &env->overrides))
                return failure_note_memory();

        /* an environment that the broker lets this process into again has its memory in the first handle */
        if (view->backing == BACKING_PRIVATE && result->role == ROLE_MEMBER) {
                failure_note(REGION_E_BUSY, "environment '%s' is private and open already in this process", view->name);
                failure_add_facts(getpid(), program_invocation_short_name, NULL, 0);
                return REGION_E_BUSY;
        }
        r = info_of_environment(&env->arena, view, &env->info);
        if (r == REGION_OK)
                r = health_map(view->name, result->control_fd, fds, &env->control);
        if (r == REGION_OK)
                r = make_regions(env, &result->grants, fds);
        if (r == REGION_OK)
                *ret = take_ptr(env);
        return r;
}

static bool is_called(const struct region_env *env, const char *name)
{
        return strcmp(env->info->name, name) == 0 || (env->info->home && strcmp(env->info->home, name) == 0);
}

static void leave(struct region_broker *broker, const char *name, const char *id)
{
        owned(answer_clear) struct answer answer = {};
        struct detach_args args = { .environment = name, .id = id };

        failure_hush();
        broker_ask(broker, "org.regionbroker.Detach", &args, 0, &answer, NULL);
        failure_unhush();
}

/* The broker let us in, and it came to nothing: an initializer's environment goes with it. */
static void abandon(struct region_broker *broker, const char *name, const struct environment_view *view)
{
        struct region_env *other;

        LIST_FOREACH(other, &broker->envs, link)
                if (is_called(other, name))
                        return;
        leave(broker, name, view ? view->id : NULL);
}

enum region_result environment_check_id(struct region_env *env, const struct environment_view *view)
{
        struct region_env *other;
        bool known = false;

        if (strcmp(view->id, env->info->id) == 0)
                return REGION_OK;
        LIST_FOREACH(other, &env->broker->envs, link)
                known = known || strcmp(view->id, other->info->id) == 0;
        if (!known)
                leave(env->broker, view->name, view->id);
        return note_gone(env);
}

enum region_result region_env_open(struct region_broker *broker, const char *name,
                                   const struct region_env_options *options, struct region_env **ret)
{
        owned(arena_clear) struct arena arena = {};
        owned(answer_clear) struct answer answer = {};
        owned(broker_leavep) struct region_broker *inside = NULL;
        struct request request;
        struct open_result result = {};
        struct region_env *env = NULL;
        enum region_result r;

        r = request_init(&request, name, options, &arena);
        if (r != REGION_OK)
                return r;
        r = broker_enter(broker, &inside);
        if (r != REGION_OK)
                return r;
        r = broker_ask(broker, "org.regionbroker.Open", &request.args, request.wait_usec, &answer, &result);
        if (r == REGION_OK)
                r = environment_new(broker, &request, &result, &answer.reply->fds, &env);
        if (r != REGION_OK) {
                if (answer.reply && !answer.reply->error)
                        abandon(broker, request.args.environment, result.environment);
                return r;
        }
        LIST_INSERT_HEAD(&broker->envs, env, link);
        *ret = env;
        return REGION_OK;
}

enum region_result region_env_ready(struct region_env *env)
{
        owned(answer_clear) struct answer answer = {};
        owned(broker_leavep) struct region_broker *inside = NULL;
        struct ready_args args = { .environment = env->info->name };
        struct ready_result result;
        enum region_result r;

        r = environment_enter_named(env, &inside);
        if (r == REGION_OK)
                r = broker_ask(env->broker, "org.regionbroker.Ready", &args, 0, &answer, &result);
        if (r == REGION_OK && env->role == REGION_ROLE_RECOVERER)
                env->role = REGION_ROLE_MEMBER;
        return r;
}

/* --- leaving ----------------------------------------------------------------------------------------------------- */

/* The broker knows a session's attachments by name, and so not which handle has them. */
static bool is_shared(const struct region_env *env, const char *region)
{
        struct region_env *other;

        LIST_FOREACH(other, &env->broker->envs, link)
                if (other != env && !other->inherited && strcmp(other->info->id, env->info->id) == 0 &&
                    (!region || region_env_find(other, region)))
                        return true;
        return false;
}

enum region_result environment_detach(struct region_env *env, const char *region)
{
        owned(answer_clear) struct answer answer = {};
        struct detach_args args = { .environment = env->info->name, .region = region, .id = env->info->id };

        if (is_shared(env, region))
                return REGION_OK;
        return broker_ask(env->broker, "org.regionbroker.Detach", &args, 0, &answer, NULL);
}

static void detach_all(struct region_env *env)
{
        struct region *region;

        failure_hush();
        if (!is_shared(env, NULL))
                environment_detach(env, NULL);
        else
                TAILQ_FOREACH(region, &env->regions, link)
                        environment_detach(env, region->info->name);
        failure_unhush();
}

void region_env_close(struct region_env *env)
{
        owned(broker_leavep) struct region_broker *inside = NULL;
        struct region *region;

        if (!env)
                return;
        /* not entered: a child that only closes has no use for a session of its own */
        if (!env->broker->torn && broker_lock(env->broker))
                inside = env->broker;
        TAILQ_FOREACH(region, &env->regions, link)
                pages_release(&region->pages);
        if (inside && !env->inherited && !broker_is_inherited(inside))
                detach_all(env);
        LIST_REMOVE(env, link);
        environment_free(env);
}

/* --- recovery ---------------------------------------------------------------------------------------------------- */

enum region_result region_env_recover(struct region_env *env, int64_t wait_usec)
{
        owned(arena_clear) struct arena arena = {};
        owned(answer_clear) struct answer answer = {};
        owned(broker_leavep) struct region_broker *inside = NULL;
        const char *const none[] = { NULL };
        const struct region_env_options options = { .only = none, .wait_usec = wait_usec };
        struct request request;
        struct open_result result;
        enum region_result r;

        r = request_init(&request, env->info->name, &options, &arena);
        if (r == REGION_OK)
                r = environment_enter_named(env, &inside);
        if (r == REGION_OK)
                r = broker_ask(env->broker, "org.regionbroker.Open", &request.args, request.wait_usec, &answer,
                               &result);
        if (r == REGION_OK)
                r = environment_check_id(env, result.environment);
        if (r == REGION_OK)
                env->role = (enum region_role)result.role;
        return r;
}

/* --- looking at it ----------------------------------------------------------------------------------------------- */

enum region_role region_env_role(const struct region_env *env)
{
        return env->role;
}

const struct region_env_info *region_env_info(const struct region_env *env)
{
        return env->info;
}

bool region_env_difference(const struct region_env *env, size_t index, const char **ret_field, const char **ret_wanted,
                           const char **ret_found)
{
        const struct difference *difference = env->differences->items;

        if (index >= env->differences->n)
                return false;
        *ret_field = difference[index].field;
        *ret_wanted = difference[index].wanted;
        *ret_found = difference[index].found;
        return true;
}

bool region_env_override(const struct region_env *env, size_t index, const char **ret_field, const char **ret_wanted,
                         const char **ret_set, const char **ret_where)
{
        const struct override *override;

        if (index >= env->overrides.n)
                return false;
        override = &env->overrides.items[index];
        *ret_field = override->field;
        *ret_wanted = override->wanted;
        *ret_set = override->set;
        *ret_where = override->where;
        return true;
}
