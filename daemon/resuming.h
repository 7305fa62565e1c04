#pragma once

#include "daemon/broker.h"

/* Processes that are members from before this broker began: alive and, as far as we know, as they were. Until one calls and
 * goes on where it was, or dies, its memberships are kept for it by a peer that has no session. A process may have had several
 * sessions: what is kept belongs to the one that says the same number of itself. */

/* That peer, made if need be; NULL when memory runs out. */
struct peer *resuming_peer(struct process *process);
/* The membership in the environment that is kept for the caller's session, if any, becomes the caller's own. */
bool resuming_join(struct peer *peer, const struct environment *environment);
/* The same, of the environment that was called so. */
bool resuming_join_named(struct peer *peer, const char *name);
/* The same, or that of an earlier connection of the session which we have not yet seen to be over. */
bool resuming_take_over(struct peer *peer, const struct environment *environment);
/* The same, of that which had these numbers in the ledger. */
bool resuming_join_numbered(struct peer *peer, uint64_t environment, uint64_t number);
/* The process is dead: what was kept for it leaves. */
void resuming_end(struct broker *broker, struct process *process);
/* The service ends: what is kept is forgotten, and nothing follows from it. */
void resuming_forget(struct broker *broker, struct process *process);
