/* A sorted list: it is made when files are read, and asked each time that a name is opened which is not there. */

#include "daemon/core/declaration.h"

#include "daemon/core/peer.h"
#include "daemon/core/policy.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* The words of a definition are those of others as a rule; of this one they are its own. */
static void free_text(const char *text)
{
        free((char *)(uintptr_t)text);
}

static void free_specs(struct struct_array *regions)
{
        struct spec *specs = regions->items;

        for (size_t i = 0; i < regions->n; i++) {
                free_text(specs[i].name);
                free_text(specs[i].type);
        }
        free(specs);
}

struct declaration *declaration_free(struct declaration *declaration)
{
        if (!declaration)
                return NULL;
        free(declaration->name);
        free(declaration->file);
        free(declaration->groups);
        free_text(declaration->definition.home);
        free_text(declaration->definition.region_directory);
        free_text(declaration->definition.schema);
        free_specs(&declaration->definition.regions);
        free(declaration);
        return NULL;
}

struct spec *declaration_region(struct declaration *declaration, const char *name)
{
        struct struct_array *regions = &declaration->definition.regions;
        struct spec *specs = regions->items, *grown;

        for (size_t i = 0; i < regions->n; i++)
                if (strcmp(specs[i].name, name) == 0)
                        return &specs[i];
        grown = reallocarray(specs, regions->n + 1, sizeof(*specs));
        if (!grown)
                return NULL;
        regions->items = grown;
        grown[regions->n] = (struct spec){ .name = strdup(name) };
        return grown[regions->n].name ? &grown[regions->n++] : NULL;
}

static bool may(const struct declaration *declaration, const struct peer *peer, int want)
{
        return policy_mode_allows(peer, declaration->uid, declaration->gid, (mode_t)declaration->definition.mode.value,
                                  want);
}

bool declaration_allows(const struct declaration *declaration, const struct peer *peer, enum access access)
{
        return may(declaration, peer, access == ACCESS_WRITE ? WANT_READ | WANT_WRITE : WANT_READ);
}

bool declaration_may_see(const struct declaration *declaration, const struct peer *peer)
{
        return peer->uid == declaration->uid || may(declaration, peer, WANT_READ);
}

void declarations_deinit(struct declarations *declarations)
{
        for (size_t i = 0; i < declarations->n; i++)
                declaration_free(declarations->items[i]);
        free(declarations->items);
        *declarations = (struct declarations){};
}

int declarations_add(struct declarations *declarations, struct declaration *declaration)
{
        struct declaration **grown = reallocarray(declarations->items, declarations->n + 1,
                                                  sizeof(struct declaration *));

        if (!grown) {
                declaration_free(declaration);
                return -ENOMEM;
        }
        declarations->items = grown;
        grown[declarations->n++] = declaration;
        return 0;
}

static int compare(const void *a, const void *b)
{
        const struct declaration *const *one = a, *const *other = b;

        return strcmp((*one)->name, (*other)->name);
}

void declarations_sort(struct declarations *declarations)
{
        if (declarations->n > 0)
                qsort(declarations->items, declarations->n, sizeof(*declarations->items), compare);
}

static int compare_name(const void *name, const void *item)
{
        const struct declaration *const *declaration = item;

        return strcmp(name, (*declaration)->name);
}

const struct declaration *declarations_find(const struct declarations *declarations, const char *name)
{
        struct declaration **found = NULL;

        if (declarations->n > 0)
                found = bsearch(name, declarations->items, declarations->n, sizeof(*declarations->items), compare_name);
        return found ? *found : NULL;
}
