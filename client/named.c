/* Named memory: an environment with one region, told from others by its schema, which the broker compares before it
 * lets anybody wait or in.
 *
 * A handle has two grants of the region, one for writing where that is permitted and one for reading, so that what is
 * mapped from the second cannot be made writable. Both are had when it is opened: afterwards attaching asks nobody, and
 * goes on when the name is gone. */

#include "client/environment.h"
#include "client/failure.h"

#include "proto/util.h"

#include <string.h>

#define SCHEMA "named-memory-1"
#define REGION_NAME "memory"

enum { OPEN_FLAGS = REGION_NAMED_CREATE | REGION_NAMED_EXCLUSIVE | REGION_NAMED_TEMPORARY };

/* --- what is asked, and what is found ---------------------------------------------------------------------------- */

static enum region_result check_flags(unsigned flags, unsigned known)
{
        if (flags & ~known)
                return failure_note(REGION_E_INVALID, "the flags %#x are not for this call; it knows %#x",
                                    flags & ~known, known);
        return REGION_OK;
}

/* No name would mean the environment of REGION_ENVIRONMENT, and the path of a home the one there. */
static enum region_result check_name(const char *name)
{
        if (!name)
                return failure_note(REGION_E_INVALID, "the name of the memory is missing; give one");
        if (name[0] == '/')
                return failure_note(REGION_E_NAME,
                                    "the name '%s' is a path, and named memory has none; leave the directories away",
                                    name);
        return REGION_OK;
}

static enum region_result check_open(const char *name, size_t size, unsigned flags, mode_t mode)
{
        enum region_result r;

        r = check_flags(flags, OPEN_FLAGS);
        if (r == REGION_OK)
                r = check_name(name);
        if (r != REGION_OK)
                return r;
        if ((flags & REGION_NAMED_EXCLUSIVE) && !(flags & REGION_NAMED_CREATE))
                return failure_note(REGION_E_INVALID,
                                    "REGION_NAMED_EXCLUSIVE means nothing without REGION_NAMED_CREATE; give both");
        if (size == 0 && (flags & REGION_NAMED_CREATE))
                return failure_note(REGION_E_INVALID,
                                    "named memory that is to be made needs a size; 0 is for opening what exists");
        if (mode & ~(mode_t)0777)
                return failure_note(REGION_E_INVALID, "the mode %#o is more than permission bits, which end at 0777",
                                    (unsigned)mode);
        return REGION_OK;
}

static enum region_result note_other(const char *name)
{
        return failure_note(REGION_E_INVALID,
                            "environment '%s' is no named memory; open it as an environment, or take another name",
                            name);
}

/* Others may have made it with that schema, or have added to it. */
static bool is_named_memory(const struct region_env_info *info)
{
        return info->schema && strcmp(info->schema, SCHEMA) == 0 && info->n_regions == 1 && !info->recovery &&
               info->backing == REGION_BACKING_MEMFD;
}

static enum region_result check_env(const struct region_env *env, size_t size)
{
        const struct region_env_info *info = region_env_info(env);

        if (!is_named_memory(info))
                return note_other(info->name);
        if (size > info->regions[0]->size)
                return failure_note(
                        REGION_E_SIZE,
                        "named memory '%s' has %zu bytes, and not %zu; open it with the size 0, or delete it"
                        " and make it anew",
                        info->name, info->regions[0]->size, size);
        return REGION_OK;
}

/* --- opening ----------------------------------------------------------------------------------------------------- */

/* For reading where writing is denied. What was there may be gone by then, and is made anew; not without end, for the
 * making itself may be what is denied. */
static enum region_result open_env(struct region_broker *broker, const char *name,
                                   const struct region_env_options *options, struct region_env **ret)
{
        const struct region_env_options reading = { .access = REGION_READ, .schema = SCHEMA };
        enum region_result r;

        r = region_env_open(broker, name, options, ret);
        for (int i = 0; i < 4 && r == REGION_E_DENIED && options->create != REGION_CREATE_ALWAYS; i++) {
                r = region_env_open(broker, name, &reading, ret);
                if (r != REGION_E_NOT_FOUND || options->create != REGION_CREATE_IF_ABSENT)
                        break;
                r = region_env_open(broker, name, options, ret);
        }
        return r == REGION_E_SCHEMA ? note_other(name) : r;
}

/* A second grant of the region, for reading. */
static enum region_result attach_reader(struct region_env *env, const struct region *first, struct region **ret)
{
        owned(answer_clear) struct answer answer = {};
        owned(broker_leavep) struct region_broker *inside = NULL;
        struct attach_args args = {
                .environment = env->info->name,
                .region = first->info->name,
                .access = ACCESS_READ,
        };
        struct grant_result result;
        enum region_result r;

        r = environment_enter_named(env, &inside);
        if (r == REGION_OK)
                r = environment_ask(env, "org.regionbroker.Attach", &args, &answer, &result);
        if (r != REGION_OK)
                return r;
        /* of the same name, where this session is in two because one was deleted */
        if (strcmp(result.grant->region->id, first->info->id) != 0)
                return failure_note(REGION_E_PROTOCOL, "the broker granted another region than '%s'",
                                    first->info->name);
        return region_new(env, result.grant, &answer.reply->fds, false, ret);
}

static enum region_result named_new(struct region_env *env)
{
        struct region *first = region_env_at(env, 0);

        env->named = calloc(1, sizeof(*env->named));
        if (!env->named)
                return failure_note_memory();
        env->named->env = env;
        if (region_access(first) == REGION_WRITE) {
                env->named->writer = first;
                return attach_reader(env, first, &env->named->reader);
        }
        env->named->reader = first;
        return REGION_OK;
}

/* REGION_E_NOT_FOUND also where it was deleted before all was done. */
static enum region_result open_once(struct region_broker *broker, const char *name, size_t size,
                                    const struct region_env_options *options, struct region_named **ret)
{
        struct region_env *env;
        enum region_result r;

        r = open_env(broker, name, options, &env);
        if (r != REGION_OK)
                return r;
        r = check_env(env, size);
        if (r == REGION_OK)
                r = named_new(env);
        if (r == REGION_OK && region_env_role(env) == REGION_ROLE_INITIALIZER)
                r = region_env_ready(env); /* zeroed it is fit for use */
        if (r == REGION_OK) {
                *ret = env->named;
                return REGION_OK;
        }
        if (region_env_state(env) == REGION_STATE_RETIRED)
                r = failure_note(REGION_E_NOT_FOUND, "named memory '%s' was deleted while it was opened", name);
        region_env_close(env);
        return r;
}

enum region_result region_named_open(struct region_broker *broker, const char *name, size_t size, unsigned flags,
                                     mode_t mode, struct region_named **ret)
{
        const struct region_spec memory = { .name = REGION_NAME, .size = size };
        struct region_env_options options = { .schema = SCHEMA };
        enum region_result r;

        r = check_open(name, size, flags, mode);
        if (r != REGION_OK)
                return r;
        if (flags & REGION_NAMED_CREATE) {
                options.create = flags & REGION_NAMED_EXCLUSIVE ? REGION_CREATE_ALWAYS : REGION_CREATE_IF_ABSENT;
                options.lifetime = flags & REGION_NAMED_TEMPORARY ? REGION_LIFETIME_ATTACHED
                                                                  : REGION_LIFETIME_PERSISTENT;
                options.backing = REGION_BACKING_MEMFD;
                options.mode = mode;
                options.regions = &memory;
                options.n_regions = 1;
        }
        do /* what went meanwhile is made anew */
                r = open_once(broker, name, size, &options, ret);
        while (r == REGION_E_NOT_FOUND && (flags & REGION_NAMED_CREATE));
        return r;
}

void region_named_close(struct region_named *named)
{
        if (named)
                region_env_close(named->env);
}

/* --- attaching --------------------------------------------------------------------------------------------------- */

static enum region_result note_read_only(const struct region_env_info *info)
{
        return failure_note(REGION_E_DENIED,
                            "named memory '%s' of uid %u has the mode %#o, by which this process may only read it;"
                            " attach it with REGION_NAMED_READ_ONLY, or ask its owner",
                            info->name, (unsigned)info->uid, (unsigned)info->mode);
}

enum region_result region_named_attach(struct region_named *named, unsigned flags, void **ret)
{
        struct region *region = flags & REGION_NAMED_READ_ONLY ? named->reader : named->writer;
        enum region_result r;

        r = check_flags(flags, REGION_NAMED_READ_ONLY);
        if (r == REGION_OK && !region)
                r = note_read_only(named->env->info);
        if (r == REGION_OK)
                r = environment_check(named->env);
        /* what was deleted a child cannot adopt any more; it holds it by what it inherited */
        if (r != REGION_OK && r != REGION_E_NOT_FOUND)
                return r;
        environment_lock(named->env);
        r = pages_map_further(&region->pages, ret);
        environment_unlock(named->env);
        return r;
}

enum region_result region_named_detach(struct region_named *named, void *address)
{
        bool found;

        environment_lock(named->env);
        found = pages_unmap_further(&named->reader->pages, address) ||
                (named->writer && pages_unmap_further(&named->writer->pages, address));
        environment_unlock(named->env);
        if (found)
                return REGION_OK;
        return failure_note(REGION_E_NOT_ATTACHED,
                            "named memory '%s' is not attached at %p by this handle; give the address that attaching it"
                            " returned, once",
                            named->env->info->name, address);
}

size_t region_named_size(const struct region_named *named)
{
        return region_size(named->reader);
}

/* --- deleting ---------------------------------------------------------------------------------------------------- */

enum region_result region_named_delete(struct region_broker *broker, const char *name)
{
        struct region_description *description;
        enum region_result r;
        bool fits;

        r = check_name(name);
        if (r == REGION_OK)
                r = region_describe(broker, name, &description);
        if (r != REGION_OK)
                return r;
        fits = is_named_memory(description->env);
        region_description_free(description);
        return fits ? region_env_remove(broker, name, true, 0, NULL) : note_other(name);
}
