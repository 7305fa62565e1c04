/* The broker went away, mostly to be started again at once, and knows of us by its ledger: that this process is a member, and
 * which of its sessions. Nothing is done about that until somebody calls. Then we connect, say for each environment that we are
 * still there (Resume), bring back memory that went with the broker and not with us (Offer), and say what we left meanwhile. */

#include "client/reconnect.h"

#include "client/environment.h"
#include "client/failure.h"
#include "client/health.h"

#include "proto/util.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <time.h>

/* --- connecting -------------------------------------------------------------------------------------------------- */

/* It is being started: its socket is not there yet, or not listened at. */
static bool may_come(const struct connection *connection)
{
        return connection->errnum == ENOENT || connection->errnum == ECONNREFUSED;
}

enum region_result reconnect_wait(struct region_broker *broker, int64_t deadline)
{
        int64_t pause = 0;
        enum region_result r;

        for (;;) {
                r = connection_open(&broker->connection, broker->socket, deadline);
                if (r != REGION_E_ABSENT || broker->impatient || !may_come(&broker->connection) ||
                    deadline_is_over(deadline))
                        return r;
                deadline_pause(&pause, deadline);
        }
}

/* --- what it has ------------------------------------------------------------------------------------------------- */

static bool is_same(const struct region_env *env, const struct region_env *other)
{
        return strcmp(other->info->id, env->info->id) == 0;
}

/* Memory of one region to be brought back; a copy of its descriptor goes along. */
static enum region_result offer(struct region *region, int64_t deadline)
{
        owned(answer_clear) struct answer answer = {};
        owned(fdset_clear) struct fdset fds = {};
        struct region_env *env = region->env;
        const struct offer_args args = {
                .environment = env->info->name,
                .id = env->info->id,
                .region = region->info->name,
        };
        int fd = fcntl(region->pages.fd, F_DUPFD_CLOEXEC, 0);

        if (fd < 0 || fdset_push(&fds, fd) < 0)
                return REGION_OK; /* another member may have one to spare */
        return broker_try(env->broker, method_type_find("org.regionbroker.Offer"), &args, &fds, deadline, &answer);
}

static struct region *find_region(struct region_env *env, const char *id)
{
        struct region_env *other;
        struct region *region;

        LIST_FOREACH(other, &env->broker->envs, link)
                TAILQ_FOREACH(region, &other->regions, link)
                        if (is_same(env, other) && region->pages.fd >= 0 && strcmp(region->info->id, id) == 0)
                                return region;
        return NULL;
}

enum region_result reconnect_offer(struct region_env *env, const struct environment_view *view, int64_t deadline)
{
        const struct region_view *views = view->regions.items;
        enum region_result r = REGION_OK;
        struct region *region;

        for (size_t i = 0; i < view->regions.n && r == REGION_OK; i++) {
                region = views[i].missing.value ? find_region(env, views[i].id) : NULL;
                if (region)
                        r = offer(region, deadline);
        }
        return r;
}

/* What holds for all handles of the environment. */
static void set_gone(struct region_env *env)
{
        struct region_env *other;

        LIST_FOREACH(other, &env->broker->envs, link)
                if (is_same(env, other))
                        other->gone = true;
}

/* A recoverer that is none any more was heard to say Ready. An initializer stays what it was called. */
static void set_role(struct region_env *env, enum role role)
{
        struct region_env *other;

        LIST_FOREACH(other, &env->broker->envs, link)
                if (is_same(env, other) && other->role == REGION_ROLE_RECOVERER && role == ROLE_MEMBER)
                        other->role = REGION_ROLE_MEMBER;
}

/* Each handle has it mapped. */
static enum region_result renew_page(struct region_env *env, int64_t index, struct fdset *fds)
{
        const struct control_page *fresh;
        struct region_env *other;
        enum region_result r;

        r = health_map(env->info->name, index, fds, &fresh);
        if (r != REGION_OK)
                return r;
        LIST_FOREACH(other, &env->broker->envs, link)
                if (is_same(env, other) && r == REGION_OK)
                        r = health_replace(env->info->name, other->control, fresh);
        health_unmap(fresh);
        return r;
}

static enum region_result resumed(struct region_env *env, const struct resume_result *result, struct fdset *fds,
                                  int64_t deadline)
{
        enum region_result r = renew_page(env, result->control_fd, fds);

        if (r != REGION_OK)
                return r;
        set_role(env, result->role);
        return reconnect_offer(env, result->environment, deadline);
}

/* Where the broker says no for good, it is so for this environment alone. */
static bool is_final(enum region_result r)
{
        return r == REGION_E_NOT_FOUND || r == REGION_E_DENIED || r == REGION_E_BUSY || r == REGION_E_NOT_READY;
}

static enum region_result ask_resume(struct region_broker *broker, const struct resume_args *args, int64_t deadline,
                                     struct answer *answer, struct resume_result *ret)
{
        const struct method_type *type = method_type_find("org.regionbroker.Resume");
        enum region_result r;

        r = broker_try(broker, type, args, NULL, deadline, answer);
        return r == REGION_OK ? answer_read(type, args, answer, ret) : r;
}

static enum region_result resume(struct region_env *env, int64_t deadline)
{
        owned(arena_clear) struct arena arena = {};
        owned(answer_clear) struct answer answer = {};
        struct resume_args args = {
                .environment = env->info->name,
                .id = env->info->id,
                .session = { true, env->broker->number },
        };
        struct resume_result result;
        enum region_result r;

        r = environment_list_held(env, &arena, &args.access, &args.regions);
        if (r == REGION_OK)
                r = ask_resume(env->broker, &args, deadline, &answer, &result);
        if (r == REGION_OK)
                return resumed(env, &result, &answer.reply->fds, deadline);
        if (!is_final(r))
                return r;
        set_gone(env);
        return REGION_OK;
}

/* Of several handles of one environment the first speaks for all. */
static bool is_first(struct region_env *env)
{
        struct region_env *other;

        LIST_FOREACH(other, &env->broker->envs, link)
                if (is_same(env, other) && !other->inherited)
                        break;
        return other == env;
}

/* --- what it left ------------------------------------------------------------------------------------------------ */

static void free_left(struct left *left)
{
        SLIST_REMOVE(&left->broker->left, left, left, link);
        free(left->environment);
        free(left->id);
        free(left->region);
        free(left);
}

void reconnect_remember(struct region_env *env, const char *region)
{
        struct left *left = calloc(1, sizeof(*left));

        if (!left)
                return; /* it stays a member until the process ends */
        left->broker = env->broker;
        SLIST_INSERT_HEAD(&env->broker->left, left, link);
        left->environment = strdup(env->info->name);
        left->id = strdup(env->info->id);
        left->region = region ? strdup(region) : NULL;
        if (!left->environment || !left->id || (region && !left->region))
                free_left(left);
}

void reconnect_forget(struct region_broker *broker)
{
        while (!SLIST_EMPTY(&broker->left))
                free_left(SLIST_FIRST(&broker->left));
}

/* By a new connection the broker knows us only once we have resumed, and of what was left nothing else does. */
static enum region_result tell_left(struct left *left, int64_t deadline)
{
        owned(answer_clear) struct answer answer = {};
        const struct detach_args args = { .environment = left->environment, .id = left->id, .region = left->region };
        const struct resume_args again = {
                .environment = left->environment,
                .id = left->id,
                .regions = { .given = true },
                .session = { true, left->broker->number },
        };
        struct resume_result result;
        enum region_result r = REGION_OK;

        if (!left->region)
                r = ask_resume(left->broker, &again, deadline, &answer, &result);
        answer_clear(&answer);
        if (r == REGION_OK)
                r = broker_try(left->broker, method_type_find("org.regionbroker.Detach"), &args, NULL, deadline,
                               &answer);
        return left->broker->connection.open ? REGION_OK : r;
}

/* --- all of it --------------------------------------------------------------------------------------------------- */

static enum region_result take_up(struct region_broker *broker, int64_t deadline)
{
        enum region_result r = REGION_OK;
        struct region_env *env;

        LIST_FOREACH(env, &broker->envs, link)
                if (r == REGION_OK && !env->inherited && !env->gone && is_first(env))
                        r = resume(env, deadline);
        while (r == REGION_OK && !SLIST_EMPTY(&broker->left)) {
                r = tell_left(SLIST_FIRST(&broker->left), deadline);
                if (r == REGION_OK)
                        free_left(SLIST_FIRST(&broker->left));
        }
        return r;
}

enum region_result reconnect(struct region_broker *broker, int64_t deadline)
{
        int64_t pause = 0;
        enum region_result r;

        for (;;) {
                r = reconnect_wait(broker, deadline);
                if (r == REGION_OK)
                        r = take_up(broker, deadline);
                if (r == REGION_OK)
                        return r;
                connection_close(&broker->connection); /* half of it taken up is nothing to go on with */
                if (r != REGION_E_DISCONNECTED || broker->impatient || deadline_is_over(deadline))
                        return r;
                deadline_pause(&pause, deadline);
        }
}
