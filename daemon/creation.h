#pragma once

#include "daemon/broker.h"

/* Making environments and regions: all of one or nothing. */

/* Makes the environment with its control page and the memory of all its regions, charged to nobody and known to nobody
 * yet. 0, a refusal, or -ENOMEM; then nothing is left. */
int creation_make(struct broker *broker, struct request *request, const char *name, const struct definition *definition,
                  struct environment **ret);
/* Gives back all that creation_make() made, and frees it; for one that is not in the registry. Takes NULL. */
void creation_undo(struct broker *broker, struct environment *environment);

/* Where a broker begins to look for free System V keys; another for each instance, to keep out of each other's way. */
int32_t creation_first_key(uint64_t instance);

/* Makes one more region, not yet part of the environment. */
int creation_make_region(struct broker *broker, struct request *request, struct environment *environment,
                         const struct spec *spec, struct region **ret);
