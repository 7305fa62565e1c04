/* Environments: opened in one round trip, left in one, and given up whole when anything between fails. */

#include "client/environment.h"

#include "client/failure.h"
#include "client/health.h"
#include "client/info.h"
#include "client/inheritance.h"
#include "client/reconnect.h"

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

static enum region_result note_unknown(const struct region_env *env)
{
        return failure_note(
                REGION_E_NOT_FOUND,
                "the broker that environment '%s' was of is gone, and the one that answers now does not know"
                " it; what is mapped stays mapped; open it again",
                env->info->name);
}

enum region_result environment_enter(struct region_env *env, struct region_broker **ret)
{
        owned(broker_leavep) struct region_broker *inside = NULL;
        enum region_result r;

        r = broker_enter(env->broker, &inside);
        if (r == REGION_OK && env->inherited)
                r = inheritance_adopt(env);
        if (r == REGION_OK && env->gone)
                r = note_unknown(env);
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
        if (r == REGION_OK)
                r = environment_check_named(env);
        if (r == REGION_OK)
                *ret = take_ptr(inside);
        return r;
}

enum region_result environment_check_named(struct region_env *env)
{
        if (env->gone)
                return note_unknown(env);
        return region_env_state(env) == REGION_STATE_RETIRED ? note_gone(env) : REGION_OK;
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
        broker_ask(broker, "org.regionbroker.Detach", &args, &answer, NULL);
        failure_unhush();
}

/* The broker let us in, and it came to nothing: an initializer's environment goes with it. */
static void abandon(struct region_broker *broker, const char *name, const struct environment_view *view)
{
        struct region_env *other;

        LIST_FOREACH(other, &broker->envs, link)
                if (!other->gone && is_called(other, name))
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

/* `env`: that which has to have the name; NULL: whichever has it. */
static enum region_result ask_open(struct region_broker *broker, struct region_env *env, struct request *request,
                                   struct answer *answer, struct open_result *ret)
{
        request->args.session = (struct opt_int){ true, broker->number };
        return broker_put(broker,
                          &(struct question){
                                  .method = method_type_find("org.regionbroker.Open"),
                                  .args = &request->args,
                                  .wait = &request->args.wait_usec,
                                  .env = env,
                          },
                          answer, ret);
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
        r = ask_open(broker, NULL, &request, &answer, &result);
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

/* --- what it has ------------------------------------------------------------------------------------------------- */

static size_t count_regions(const struct region_broker *broker)
{
        const struct region_env *env;
        const struct region *region;
        size_t n = 0;

        LIST_FOREACH(env, &broker->envs, link)
                TAILQ_FOREACH(region, &env->regions, link)
                        n++;
        return n;
}

enum region_result environment_list_held(const struct region_env *env, struct arena *arena, enum access *ret_access,
                                         struct string_array *ret_regions)
{
        const char **names = arena_alloc(arena, count_regions(env->broker), sizeof(*names));
        const struct region_env *other;
        const struct region *region;
        size_t n = 0;

        if (!names)
                return failure_note_memory();
        *ret_access = ACCESS_READ;
        LIST_FOREACH(other, &env->broker->envs, link) {
                if (strcmp(other->info->id, env->info->id) != 0)
                        continue;
                TAILQ_FOREACH(region, &other->regions, link) {
                        names[n++] = region->info->name;
                        if (region_access(region) == REGION_WRITE)
                                *ret_access = ACCESS_WRITE;
                }
        }
        *ret_regions = (struct string_array){ .given = true, .n = n, .items = names };
        return REGION_OK;
}

/* --- getting ready ----------------------------------------------------------------------------------------------- */

enum region_result region_env_ready(struct region_env *env)
{
        owned(answer_clear) struct answer answer = {};
        owned(broker_leavep) struct region_broker *inside = NULL;
        struct ready_args args = { .environment = env->info->name };
        struct ready_result result;
        enum region_result r;

        r = environment_enter_named(env, &inside);
        if (r == REGION_OK)
                r = environment_ask(env, "org.regionbroker.Ready", &args, &answer, &result);
        if (r == REGION_E_ROLE && answer.repeated && env->role != REGION_ROLE_MEMBER)
                r = REGION_OK; /* it has been said, and heard */
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
        enum region_result r;

        if (env->gone || is_shared(env, region))
                return REGION_OK;
        r = broker_ask(env->broker, "org.regionbroker.Detach", &args, &answer, NULL);
        if (!env->broker->connection.open)
                reconnect_remember(env, region);
        return r;
}

static void detach_all(struct region_env *env)
{
        struct region *region;

        failure_hush();
        env->broker->impatient = true;
        if (!is_shared(env, NULL))
                environment_detach(env, NULL);
        else
                TAILQ_FOREACH(region, &env->regions, link)
                        environment_detach(env, region->info->name);
        env->broker->impatient = false;
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
                r = ask_open(env->broker, env, &request, &answer, &result);
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
