#pragma once

/* What a configuration changes of what a program asks for, each change noted: the file wins, and never in silence. */

#include "client/configuration.h"
#include "client/subsystems.h"

#include "proto/arena.h"
#include "proto/terms.h"

struct override {
        const char *field;
        const char *wanted; /* by the program */
        const char *set;    /* by the file */
        const char *where;  /* PATH:LINE */
};

/* Zero-initialised there are none. */
struct overrides {
        struct override *items;
        size_t n;
};

/* Both add what they change to `ret`, all of it in the arena. REGION_E_INVALID: the file has what cannot be;
 * REGION_E_MEMORY. First the subsystems: */
enum region_result override_subsystems(const struct configuration *configuration, struct subsystems *subsystems,
                                       struct arena *arena, struct overrides *ret);
/* then all else. `creates`: the definition can become an environment, and is not only compared with one. */
enum region_result override_definition(const struct configuration *configuration, struct definition *definition,
                                       bool creates, struct arena *arena, struct overrides *ret);

/* Copies strings and all; false when memory runs out. */
bool overrides_copy(const struct overrides *overrides, struct arena *arena, struct overrides *ret);
