#pragma once

/* Environments of a session and the regions in them. All here is for callers inside the session (session.h), or in a
 * child where nobody else is. */

#include "client/override.h"
#include "client/session.h"

/* What a call asks of Open, as the contract has it: made from the options, living in the arena. */
struct request {
        struct open_args args;
        struct definition definition;
        struct overrides overrides; /* what is not as the options have it */
};

/* `name`, or where that is NULL the one of region_env_default_name(). */
enum region_result environment_name(const char *name, const char **ret);

/* REGION_E_INVALID, REGION_E_MEMORY. `options` may be NULL, `name` as above. */
enum region_result request_init(struct request *request, const char *name, const struct region_env_options *options,
                                struct arena *arena);
/* REGION_E_INVALID where the reserved fields of that struct are not zero. */
enum region_result reserved_check(const char *type, const uint64_t *reserved, size_t n);
enum region_result spec_init(struct spec *spec, const struct region_spec *region);

/* Makes the handle of a granted region, with its memory reserved if that is wanted, and puts it into `env`. */
enum region_result region_new(struct region_env *env, const struct grant_view *grant, struct fdset *fds, bool reserve,
                              struct region **ret);
/* Takes it out of its environment, unmaps it, and frees it. */
struct region *region_free(struct region *region);

/* Tells the broker that this session leaves a region, or all of the environment where `region` is NULL. Another handle
 * of the session that names the same keeps it: then nothing is told. */
enum region_result environment_detach(struct region_env *env, const char *region);

/* Lets the caller into the session, as broker_enter() does, with the session being a member of the environment: a child
 * adopts what it inherited. Its refusal is what stands in the way of that. */
enum region_result environment_enter(struct region_env *env, struct region_broker **ret);
/* The same for calls that mean the environment by its name: one that was removed by force has none any more, and another
 * may have it by now. */
enum region_result environment_enter_named(struct region_env *env, struct region_broker **ret);
/* Whether the environment has its name still. */
enum region_result environment_check_named(struct region_env *env);
/* The same for who has no need to stay inside; costs nothing where there is nothing to adopt. */
enum region_result environment_check(struct region_env *env);

/* The broker answered of an environment by its name, which may mean another one by now: REGION_E_NOT_FOUND, and the
 * session is not left in that one. */
enum region_result environment_check_id(struct region_env *env, const struct environment_view *view);

/* What this process has of it by all its handles: the most access, and the regions' names, in the arena. REGION_E_MEMORY. */
enum region_result environment_list_held(const struct region_env *env, struct arena *arena, enum access *ret_access,
                                         struct string_array *ret_regions);

/* The environment's lock. A child leaves it alone in a torn session, where another thread may have held it. */
void environment_lock(const struct region_env *env);
void environment_unlock(const struct region_env *env);
