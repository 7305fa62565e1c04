#pragma once

#include <stddef.h>

struct declaration;

/* Everything that can be set, as it is in force, and where that comes from: what GetConfiguration tells. */
struct setting {
        char *name; /* owned, as the others */
        char *value;
        char *source;                 /* "default", "command line", or FILE:LINE */
        const struct declaration *of; /* for those alone who may see it; borrowed. NULL: for everybody */
};

struct settings {
        struct setting *items; /* owned */
        size_t n;
        size_t cost; /* of all of them in a message, at the most */
};

/* All are told in one message, which has a bound. */
enum { SETTINGS_COST_MAX = 240 * 1024 };

void settings_deinit(struct settings *settings);
/* Sets one, anew or for the first time. The texts are copied. -E2BIG: they would be too many to tell; -ENOMEM. */
int settings_put(struct settings *settings, const char *name, const char *value, const char *source);
/* The same for what is said of a declared environment. */
int settings_put_of(struct settings *settings, const struct declaration *of, const char *name, const char *value,
                    const char *source);
/* NULL where there is none of that name. */
const struct setting *settings_find(const struct settings *settings, const char *name);
