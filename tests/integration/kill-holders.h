#pragma once

/* Processes that hold memory without the broker's knowing: children that a client left behind, and strangers that were
 * passed descriptors. They never speak to the broker; they look at what they have, again and again, until they are let go. */

#include "tests/integration/kill-pattern.h"

/* How a holder keeps what has a descriptor. What has none stays mapped. */
enum keeping { KEEP_BOTH, KEEP_MAPPING, KEEP_DESCRIPTOR, N_KEEPINGS };

/* In a child just forked: keeps these mappings until released. */
_Noreturn void survivor_run(const struct stage *stage, struct mapping *mappings, size_t n, enum keeping keeping);

/* Starts the process at the other end of stage->passing[number], which this call opens: it takes what it is passed until
 * all who could pass have closed that. Its pid, or -1 and errno. */
pid_t bystander_start(struct stage *stage, unsigned number);
/* Passes one that has a descriptor, waiting for room; false where nobody is left to take it. */
bool bystander_pass(const struct stage *stage, unsigned number, const struct mapping *mapping);
void bystander_close_all(const struct stage *stage);
