#pragma once

#include "proto/terms.h"

#include <sys/types.h>

struct peer;

enum { DECLARATIONS_MAX = 1000, DECLARED_REGIONS_MAX = 250 };

/* Environments that the administrator has declared: who owns them is not who makes them, for the broker does. */

struct declaration {
        char *name;
        char *file;     /* that declares it */
        bool at_start;  /* it is made when the broker starts, and not only when somebody opens it */
        bool by_opener; /* its content is for its first opener to make; else zeros are fit for use */
        uid_t uid;
        gid_t gid;
        gid_t *groups; /* that the owner is in; owned */
        size_t n_groups;
        /* without a group and with a mode; its texts, and its regions with theirs, are owned */
        struct definition definition;
};

struct declarations {
        struct declaration **items; /* owned, as what they point at, which stays where it is */
        size_t n;
};

/* Takes NULL, and half-built ones. */
struct declaration *declaration_free(struct declaration *declaration);
/* What the definition has of each, for a region of this name, made where there is none yet; NULL when memory runs out. Making
 * one moves the others. */
struct spec *declaration_region(struct declaration *declaration, const char *name);
/* As its owner, its group and its mode will decide. */
bool declaration_allows(const struct declaration *declaration, const struct peer *peer, enum access access);
bool declaration_may_see(const struct declaration *declaration, const struct peer *peer);

void declarations_deinit(struct declarations *declarations);
/* Takes it over. -ENOMEM. */
int declarations_add(struct declarations *declarations, struct declaration *declaration);
/* All are added. */
void declarations_sort(struct declarations *declarations);
/* NULL where there is none of that name. */
const struct declaration *declarations_find(const struct declarations *declarations, const char *name);

static inline void declaration_freep(struct declaration **declaration)
{
        declaration_free(*declaration);
}
