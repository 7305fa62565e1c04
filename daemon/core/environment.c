/* One environment: its fields, and its set of regions. */

#include "daemon/core/environment.h"

#include "proto/util.h"

#include <assert.h>
#include <string.h>

static bool copy_string(char **ret, const char *string)
{
        if (!string)
                return true;
        *ret = strdup(string);
        return *ret != NULL;
}

static enum lifetime default_lifetime(enum backing backing)
{
        return backing == BACKING_FILE ? LIFETIME_PERSISTENT : LIFETIME_ATTACHED;
}

struct environment *environment_new(const char *name, const struct definition *definition, enum backing backing)
{
        struct environment *environment = calloc(1, sizeof(*environment));

        if (!environment)
                return NULL;
        environment->directory = -1;
        TAILQ_INIT(&environment->regions);
        TAILQ_INIT(&environment->members);
        TAILQ_INIT(&environment->waiters);
        environment->state = STATE_INITIALIZING;
        environment->backing = backing;
        environment->mode = definition->mode.given ? (mode_t)definition->mode.value : 0600;
        environment->lifetime = definition->lifetime ? definition->lifetime : default_lifetime(backing);
        environment->linger_usec = definition->linger_usec.value;
        environment->reserve = !definition->reserve.given || definition->reserve.value;
        environment->recovery = definition->recovery.value;
        environment->lock = definition->lock.value;
        environment->huge_pages = definition->huge_pages.value;
        environment->hugetlb = definition->hugetlb.value;
        environment->key_given = definition->shm_key.given;
        environment->next_key = definition->shm_key.value;
        if (change_init(&environment->change, CHANGE_ENVIRONMENT) < 0 || !copy_string(&environment->name, name) ||
            !copy_string(&environment->schema, definition->schema))
                return environment_free(environment);
        return environment;
}

struct environment *environment_free(struct environment *environment)
{
        if (!environment)
                return NULL;
        assert(TAILQ_EMPTY(&environment->regions) && TAILQ_EMPTY(&environment->members));
        assert(TAILQ_EMPTY(&environment->waiters) && !environment->control && environment->next_look.at == 0);
        assert(environment->directory < 0 && !environment->reference && !environment->described);
        free(environment->name);
        free(environment->home);
        free(environment->directory_path);
        free(environment->schema);
        free(environment->rule_text);
        change_end(&environment->change);
        free(environment);
        return NULL;
}

void environment_add_region(struct environment *environment, struct region *region)
{
        region->environment = environment;
        region->number = ++environment->last_number;
        TAILQ_INSERT_TAIL(&environment->regions, region, in_environment);
        environment->n_regions++;
        environment->bytes += region->size;
}

void environment_remove_region(struct environment *environment, struct region *region)
{
        TAILQ_REMOVE(&environment->regions, region, in_environment);
        environment->n_regions--;
        environment->bytes -= region->size;
        region->environment = NULL;
}

struct region *environment_find_region(const struct environment *environment, const char *name)
{
        struct region *region;

        TAILQ_FOREACH(region, &environment->regions, in_environment)
                if (strcmp(region->name, name) == 0)
                        return region;
        return NULL;
}
