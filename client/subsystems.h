#pragma once

/* The standard regions of libregion.h, as the list of regions that they stand for. */

#include "client/libregion.h"

#include "proto/arena.h"
#include "proto/terms.h"

#define SUBSYSTEMS_CACHES_MAX 64
#define SUBSYSTEM_EXPECTED "mutex, lock, log, mpool, txn or env"
/* What may stand behind a subsystem's name, for the sentence that refuses something else. */
#define SUBSYSTEM_SIZE_EXPECTED "a size as in 64K, for mpool with *N for so many caches, at most 64, as in 64M*4"

struct subsystems {
        unsigned wanted; /* of enum region_subsystem */
        struct region_subsystem_sizes sizes;
};

/* `sizes` may be NULL. REGION_E_INVALID: an unknown flag, too many caches, or reserved fields that are not zero. */
enum region_result subsystems_init(struct subsystems *subsystems, unsigned wanted,
                                   const struct region_subsystem_sizes *sizes);
/* Adds one by its name, the first `n_name` bytes of `name`, with a size ("64M*4"), or with that which it has if `size`
 * is NULL. 0; -ENOENT there is none of that name; -EINVAL, -ERANGE of the size. */
int subsystems_add(struct subsystems *subsystems, const char *name, size_t n_name, const char *size);

#define SUBSYSTEM_TEXT_MAX 48
/* Fills `text`, of that many bytes, and returns it: "64M*4", or "absent". */
const char *subsystems_text(const struct subsystems *subsystems, const char *name, char *text);

/* How many regions they are. */
size_t subsystems_count(const struct subsystems *subsystems);
/* Fills `ret`, room for so many, in the order of their numbers. */
enum region_result subsystems_expand(const struct subsystems *subsystems, struct spec *ret, struct arena *arena);
