/* The options of libregion.h as the parameters of the contract. What the broker sees it may judge; here only that is
 * refused which would not arrive as it was meant. */

#include "client/environment.h"

#include "client/failure.h"
#include "client/subsystems.h"

#include "proto/util.h"

#include <string.h>

enum region_result reserved_check(const char *type, const uint64_t *reserved, size_t n)
{
        for (size_t i = 0; i < n; i++)
                if (reserved[i] != 0)
                        return failure_note(REGION_E_INVALID,
                                            "the reserved fields of struct %s are not zero; initialise it", type);
        return REGION_OK;
}

/* 0 is the default, which is not said. */
static struct opt_int unless_zero(int64_t value)
{
        return (struct opt_int){ .given = value != 0, .value = value };
}

static struct opt_bool if_true(bool value)
{
        return (struct opt_bool){ .given = value, .value = value };
}

enum region_result spec_init(struct spec *spec, const struct region_spec *region)
{
        enum region_result r;

        r = reserved_check("region_spec", region->reserved, array_size(region->reserved));
        if (r != REGION_OK)
                return r;
        if (region->size > INT64_MAX)
                return failure_note(REGION_E_INVALID, "the size of region '%s' is more than there can be",
                                    region->name ? region->name : "?");
        *spec = (struct spec){
                .name = region->name,
                .type = region->type,
                .size = (int64_t)region->size,
                .backing = (enum backing)region->backing,
        };
        return REGION_OK;
}

/* A name that a subsystem has already; what the program itself names twice is the broker's to refuse. */
static enum region_result check_clash(const struct spec *made, size_t n_made, const struct spec *spec)
{
        for (size_t i = 0; i < n_made; i++)
                if (spec->name && strcmp(made[i].name, spec->name) == 0)
                        return failure_note(REGION_E_INVALID,
                                            "region '%s' is among the regions, and a subsystem makes it too; give it"
                                            " another name",
                                            spec->name);
        return REGION_OK;
}

/* The subsystems' first. */
static enum region_result fill_specs(struct struct_array *specs, const struct region_env_options *options,
                                     const struct subsystems *subsystems, struct arena *arena)
{
        size_t n_made = subsystems_count(subsystems);
        struct spec *items = arena_alloc(arena, n_made + options->n_regions, sizeof(*items));
        enum region_result r;

        if (!items)
                return failure_note_memory();
        r = subsystems_expand(subsystems, items, arena);
        for (size_t i = 0; i < options->n_regions && r == REGION_OK; i++) {
                r = spec_init(&items[n_made + i], &options->regions[i]);
                if (r == REGION_OK)
                        r = check_clash(items, n_made, &items[n_made + i]);
        }
        *specs = (struct struct_array){ .given = true, .n = n_made + options->n_regions, .items = items };
        return r;
}

static bool creates(const struct region_env_options *options)
{
        return options->create == REGION_CREATE_IF_ABSENT || options->create == REGION_CREATE_ALWAYS;
}

/* Whether there is anything to create, or to compare with. */
static bool defines(const struct region_env_options *o)
{
        return creates(o) || o->backing || o->home || o->region_directory || o->shm_key || o->mode || o->group ||
               o->lifetime || o->linger_usec || o->recovery || o->schema || o->sparse || o->lock || o->huge_pages ||
               o->hugetlb || o->n_regions > 0 || o->subsystems;
}

static enum region_result fill_definition(struct definition *definition, const struct region_env_options *options,
                                          const struct subsystems *subsystems, struct arena *arena)
{
        *definition = (struct definition){
                .backing = (enum backing)options->backing,
                .home = options->home,
                .region_directory = options->region_directory,
                .shm_key = unless_zero(options->shm_key),
                .mode = unless_zero(options->mode),
                .group = options->group,
                .lifetime = (enum lifetime)options->lifetime,
                .linger_usec = unless_zero(options->linger_usec),
                .recovery = if_true(options->recovery),
                .schema = options->schema,
                .reserve = { .given = options->sparse, .value = false },
                .lock = if_true(options->lock),
                .huge_pages = if_true(options->huge_pages),
                .hugetlb = if_true(options->hugetlb),
        };
        return fill_specs(&definition->regions, options, subsystems, arena);
}

/* What the program asks for, as the configuration in its home would have it. */
static enum region_result define(struct request *request, const struct region_env_options *options, struct arena *arena)
{
        const char *name = request->args.environment, *home = options->home ? options->home : name;
        struct configuration configuration;
        struct subsystems subsystems;
        enum region_result r;

        request->args.definition = &request->definition;
        r = subsystems_init(&subsystems, options->subsystems, options->sizes);
        if (r == REGION_OK)
                r = configuration_read(&configuration, options->ignore_configuration ? NULL : home, arena);
        if (r == REGION_OK)
                r = override_subsystems(&configuration, &subsystems, arena, &request->overrides);
        if (r == REGION_OK)
                r = fill_definition(&request->definition, options, &subsystems, arena);
        if (r == REGION_OK)
                r = override_definition(&configuration, &request->definition, creates(options), arena,
                                        &request->overrides);
        return r;
}

static enum region_result fill_only(struct string_array *only, const struct region_env_options *options,
                                    struct arena *arena)
{
        const char **items = arena_alloc(arena, options->n_only, sizeof(*items));

        if (!items)
                return failure_note_memory();
        for (size_t i = 0; i < options->n_only; i++)
                items[i] = options->only[i];
        *only = (struct string_array){ .given = true, .n = options->n_only, .items = items };
        return REGION_OK;
}

static enum region_result fill_wait(struct request *request, int64_t wait_usec)
{
        if (wait_usec < 0 && wait_usec != REGION_NO_WAIT)
                return failure_note(REGION_E_INVALID, "wait_usec is neither a time, nor 0, nor REGION_NO_WAIT");
        request->args.wait_usec = (struct opt_int){
                .given = wait_usec != 0,
                .value = wait_usec == REGION_NO_WAIT ? 0 : wait_usec,
        };
        return REGION_OK;
}

enum region_result region_env_default_name(const char **ret)
{
        const char *name = secure_getenv("REGION_ENVIRONMENT");

        if (!name || !name[0])
                return failure_note(REGION_E_INVALID,
                                    "no environment is named, and REGION_ENVIRONMENT is not set; it takes a name or the"
                                    " absolute path of a home");
        *ret = name;
        return REGION_OK;
}

enum region_result environment_name(const char *name, const char **ret)
{
        if (!name)
                return region_env_default_name(ret);
        *ret = name;
        return REGION_OK;
}

enum region_result request_init(struct request *request, const char *name, const struct region_env_options *options,
                                struct arena *arena)
{
        static const struct region_env_options defaults;
        enum region_result r;

        if (!options)
                options = &defaults;
        r = reserved_check("region_env_options", options->reserved, array_size(options->reserved));
        if (r == REGION_OK)
                r = environment_name(name, &name);
        if (r != REGION_OK)
                return r;
        *request = (struct request){
                .args = {
                        .environment = name,
                        .create = (enum create)options->create,
                        .access = options->access ? (enum access)options->access : ACCESS_WRITE,
                },
        };
        r = fill_wait(request, options->wait_usec);
        if (r == REGION_OK && options->only)
                r = fill_only(&request->args.regions, options, arena);
        if (r == REGION_OK && defines(options))
                r = define(request, options, arena);
        return r;
}
