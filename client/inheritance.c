/* What a child makes of the sessions of its parent. A fork takes all locks that it can have at once, so that in the
 * child no list is half changed; a session in which a thread was waiting for the broker at that moment is torn, and of
 * no use to the child. With the first call the child connects anew, and Adopt says that it holds what its parent held:
 * the broker could not know, for no message tells of a fork. The parent's connection is dropped without a word. */

#include "client/inheritance.h"

#include "client/environment.h"
#include "client/failure.h"
#include "client/reconnect.h"

#include "proto/util.h"

#include <string.h>

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static LIST_HEAD(, region_broker) sessions = LIST_HEAD_INITIALIZER(sessions);

/* --- the fork itself --------------------------------------------------------------------------------------------- */

static void before_fork(void)
{
        struct region_broker *broker;
        struct region_env *env;

        pthread_mutex_lock(&lock);
        LIST_FOREACH(broker, &sessions, in_all) {
                broker->held = !broker->torn && pthread_mutex_trylock(&broker->lock) == 0;
                if (broker->held)
                        LIST_FOREACH(env, &broker->envs, link)
                                pthread_mutex_lock(&env->lock);
        }
}

static void after_fork(void)
{
        struct region_broker *broker;
        struct region_env *env;

        LIST_FOREACH(broker, &sessions, in_all) {
                if (!broker->held)
                        continue;
                LIST_FOREACH(env, &broker->envs, link)
                        pthread_mutex_unlock(&env->lock);
                pthread_mutex_unlock(&broker->lock);
        }
        pthread_mutex_unlock(&lock);
}

static void after_fork_in_child(void)
{
        struct region_broker *broker;

        LIST_FOREACH(broker, &sessions, in_all)
                broker->torn = !broker->held;
        after_fork();
}

static void follow_forks(void)
{
        pthread_atfork(before_fork, after_fork, after_fork_in_child);
}

void inheritance_add(struct region_broker *broker)
{
        static pthread_once_t once = PTHREAD_ONCE_INIT;

        pthread_once(&once, follow_forks);
        pthread_mutex_lock(&lock);
        LIST_INSERT_HEAD(&sessions, broker, in_all);
        pthread_mutex_unlock(&lock);
}

void inheritance_remove(struct region_broker *broker)
{
        pthread_mutex_lock(&lock);
        LIST_REMOVE(broker, in_all);
        pthread_mutex_unlock(&lock);
}

/* --- afterwards -------------------------------------------------------------------------------------------------- */

/* Of all handles of the session that are of the same environment. */
static void set_adopted(struct region_env *env)
{
        struct region_env *other;

        LIST_FOREACH(other, &env->broker->envs, link)
                if (strcmp(other->info->id, env->info->id) == 0)
                        other->inherited = false;
}

static enum region_result adopt(struct region_env *env)
{
        owned(arena_clear) struct arena arena = {};
        owned(answer_clear) struct answer answer = {};
        struct adopt_args args = { .environment = env->info->name, .session = { true, env->broker->number } };
        struct environment_result result;
        enum region_result r;

        r = environment_list_held(env, &arena, &args.access, &args.regions);
        if (r == REGION_OK)
                r = broker_ask(env->broker, "org.regionbroker.Adopt", &args, &answer, &result);
        if (r == REGION_OK)
                r = environment_check_id(env, result.environment);
        if (r != REGION_OK)
                return r;
        set_adopted(env);
        return reconnect_offer(env, result.environment, deadline_in(env->broker->timeout_usec));
}

enum region_result inheritance_adopt(struct region_env *env)
{
        if (env->info->backing != REGION_BACKING_PRIVATE)
                return adopt(env);
        failure_note(
                REGION_E_BUSY,
                "environment '%s' is private to the parent of this process, which has a copy of its memory as it was"
                " at the fork",
                env->info->name);
        return REGION_E_BUSY;
}

enum region_result inheritance_take(struct region_broker *broker)
{
        struct region_env *env;
        enum region_result r;

        connection_close(&broker->connection);
        reconnect_forget(broker); /* that is the parent's to tell */
        r = reconnect_wait(broker, deadline_in(broker->timeout_usec));
        if (r != REGION_OK)
                return r;
        LIST_FOREACH(env, &broker->envs, link) {
                env->inherited = true;
                env->role = REGION_ROLE_MEMBER; /* at most: its part is the parent's to play */
        }
        broker->pid = getpid();
        failure_hush();
        LIST_FOREACH(env, &broker->envs, link)
                if (env->inherited)
                        inheritance_adopt(env);
        failure_unhush();
        return REGION_OK;
}
