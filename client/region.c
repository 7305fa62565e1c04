/* Regions of an environment that is open: found, added, attached, mapped, left. */

#include "client/environment.h"
#include "client/failure.h"
#include "client/info.h"

#include "proto/util.h"

#include <string.h>

/* Of two with one number the later is behind. */
static void insert_in_order(struct region *region)
{
        struct region_env *env = region->env;
        struct region *before;

        environment_lock(env);
        TAILQ_FOREACH_REVERSE(before, &env->regions, region_list, link)
                if (before->info->number <= region->info->number)
                        break;
        if (before)
                TAILQ_INSERT_AFTER(&env->regions, before, region, link);
        else
                TAILQ_INSERT_HEAD(&env->regions, region, link);
        environment_unlock(env);
}

static void destroy(struct region *region)
{
        pages_release(&region->pages);
        arena_clear(&region->arena);
        free(region);
}

enum region_result region_new(struct region_env *env, const struct grant_view *grant, struct fdset *fds, bool reserve,
                              struct region **ret)
{
        struct region *region = calloc(1, sizeof(*region));
        enum region_result r;

        if (!region)
                return failure_note_memory();
        region->env = env;
        region->pages.fd = -1;
        r = info_of_region(&region->arena, grant->region, &region->info);
        if (r == REGION_OK)
                r = pages_init(&region->pages, grant, fds, env->wishes, region->info->name);
        if (r == REGION_OK && reserve)
                r = pages_reserve(&region->pages);
        if (r != REGION_OK) {
                destroy(region);
                return r;
        }
        insert_in_order(region); /* only now, for other threads find it there */
        *ret = region;
        return REGION_OK;
}

struct region *region_free(struct region *region)
{
        environment_lock(region->env);
        TAILQ_REMOVE(&region->env->regions, region, link);
        environment_unlock(region->env);
        destroy(region);
        return NULL;
}

/* --- coming and going -------------------------------------------------------------------------------------------- */

/* What was made and cannot be had goes again; nobody but us knows of it yet. */
static void undo_add(struct region_env *env, const char *name)
{
        owned(answer_clear) struct answer answer = {};
        struct delete_region_args args = { .environment = env->info->name, .region = name };

        failure_hush();
        environment_detach(env, name);
        broker_ask(env->broker, "org.regionbroker.DeleteRegion", &args, &answer, NULL);
        failure_unhush();
}

enum region_result region_env_add(struct region_env *env, const struct region_spec *spec, struct region **ret)
{
        owned(answer_clear) struct answer answer = {};
        owned(broker_leavep) struct region_broker *inside = NULL;
        struct spec wanted;
        struct add_region_args args = { .environment = env->info->name, .region = &wanted };
        struct grant_result result;
        enum region_result r;

        r = spec_init(&wanted, spec);
        if (r != REGION_OK)
                return r;
        r = environment_enter_named(env, &inside);
        if (r != REGION_OK)
                return r;
        r = environment_ask(env, "org.regionbroker.AddRegion", &args, &answer, &result);
        if (r == REGION_OK)
                r = region_new(env, result.grant, &answer.reply->fds, env->reserve, ret);
        if (r != REGION_OK && answer.reply && !answer.reply->error)
                undo_add(env, spec->name);
        return r;
}

/* A region that is new to the handle, or the one that it has for reading. */
static enum region_result take_grant(struct region_env *env, struct region *known, const struct grant_view *grant,
                                     struct fdset *fds, struct region **ret)
{
        enum region_result r;

        if (!known || strcmp(known->info->id, grant->region->id) != 0)
                return region_new(env, grant, fds, false, ret);
        environment_lock(env);
        r = pages_upgrade(&known->pages, grant, fds);
        environment_unlock(env);
        if (r == REGION_OK)
                *ret = known;
        return r;
}

enum region_result region_env_attach(struct region_env *env, const char *name, enum region_access access,
                                     struct region **ret)
{
        owned(answer_clear) struct answer answer = {};
        owned(broker_leavep) struct region_broker *inside = NULL;
        enum region_access wanted = access ? access : REGION_WRITE;
        struct attach_args args = {
                .environment = env->info->name,
                .region = name,
                .access = (enum access)wanted,
        };
        struct grant_result result;
        struct region *known;
        enum region_result r;

        r = environment_enter_named(env, &inside);
        if (r != REGION_OK)
                return r;
        known = name ? region_env_find(env, name) : NULL;
        if (known && region_access(known) >= wanted) {
                *ret = known;
                return REGION_OK;
        }
        r = environment_ask(env, "org.regionbroker.Attach", &args, &answer, &result);
        if (r == REGION_OK)
                r = take_grant(env, known, result.grant, &answer.reply->fds, ret);
        if (r != REGION_OK && !known && answer.reply && !answer.reply->error) {
                failure_hush();
                environment_detach(env, name);
                failure_unhush();
        }
        return r;
}

enum region_result region_env_delete(struct region_env *env, const char *name, bool force)
{
        owned(answer_clear) struct answer answer = {};
        owned(broker_leavep) struct region_broker *inside = NULL;
        struct delete_region_args args = {
                .environment = env->info->name,
                .region = name,
                .force = { .given = force, .value = force },
        };
        enum region_result r;

        r = environment_enter_named(env, &inside);
        if (r != REGION_OK)
                return r;
        return environment_ask(env, "org.regionbroker.DeleteRegion", &args, &answer, NULL);
}

enum region_result region_detach(struct region *region)
{
        owned(broker_leavep) struct region_broker *inside = NULL;
        struct region_env *env;
        enum region_result r;

        if (!region)
                return REGION_OK;
        env = region->env;
        r = environment_enter(env, &inside);
        pages_release(&region->pages);
        if (r == REGION_OK)
                r = environment_detach(env, region->info->name);
        region_free(region);
        /* what was deleted meanwhile is left as well */
        return r == REGION_E_NOT_ATTACHED || r == REGION_E_NO_REGION || r == REGION_E_NOT_FOUND ? REGION_OK : r;
}

/* --- finding ----------------------------------------------------------------------------------------------------- */

/* The latest, should one have been deleted and made anew. */
struct region *region_env_find(const struct region_env *env, const char *name)
{
        struct region *region;

        environment_lock(env);
        TAILQ_FOREACH_REVERSE(region, &env->regions, region_list, link)
                if (strcmp(region->info->name, name) == 0)
                        break;
        environment_unlock(env);
        return region;
}

struct region *region_env_at(const struct region_env *env, size_t index)
{
        struct region *region;

        environment_lock(env);
        TAILQ_FOREACH(region, &env->regions, link)
                if (index-- == 0)
                        break;
        environment_unlock(env);
        return region;
}

/* --- one region -------------------------------------------------------------------------------------------------- */

enum region_result region_map(struct region *region, void *hint, void **ret)
{
        enum region_result r;

        r = environment_check(region->env);
        if (r != REGION_OK)
                return r;
        environment_lock(region->env);
        r = pages_map(&region->pages, hint, ret);
        environment_unlock(region->env);
        return r;
}

void region_unmap(struct region *region)
{
        environment_lock(region->env);
        pages_unmap(&region->pages);
        environment_unlock(region->env);
}

void *region_address(const struct region *region)
{
        return region->pages.address;
}

size_t region_size(const struct region *region)
{
        return region->pages.size;
}

enum region_access region_access(const struct region *region)
{
        return region->pages.access;
}

const struct region_info *region_info(const struct region *region)
{
        return region->info;
}

int region_fd(const struct region *region)
{
        return region->pages.fd;
}
