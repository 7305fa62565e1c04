#pragma once

#include "daemon/broker.h"

/* Making what is declared. It is charged to its owner, whose rights, limits and reserved names count as if the owner had
 * asked for it. */

/* By name, or by the path of its home, however that is spelt; NULL where none is declared. */
const struct declaration *declaring_find(const struct broker *broker, const char *name);
/* Makes it, whole; there is none of that name. 0, a refusal, or -errno; then nothing is left. */
int declaring_make(struct broker *broker, const struct declaration *declaration, struct refusal *refusal,
                   struct environment **ret);
