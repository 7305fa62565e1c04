#pragma once

#include "daemon/broker.h"

struct description;

/* Environments that persist and have files alone describe themselves, for a broker of another boot (homecoming.h takes them in).
 * Each step is on the disk before anybody sees what followed from it, except that what was granted to nobody may be said to
 * be attached for writing a while longer. */

/* Before its files get their names: what is being made, and is of no use yet. 0, or REFUSED_RESOURCE. */
int describing_begin(struct broker *broker, struct refusal *refusal, struct environment *environment);
/* Before it becomes ready: from now on it comes back, of this generation. 0, or REFUSED_RESOURCE. */
int describing_ready(struct broker *broker, struct refusal *refusal, struct environment *environment,
                     uint64_t generation);
/* Its set of regions is another by now. `stray` (NULL: none) is one that is about to be made or removed. Where it is no
 * longer fit, what described it goes. 0, or REFUSED_RESOURCE. */
int describing_change(struct broker *broker, struct refusal *refusal, struct environment *environment,
                      const struct region *stray);
/* Before a process is attached. 0, or REFUSED_RESOURCE. */
int describing_grant(struct broker *broker, struct refusal *refusal, struct environment *environment,
                     enum access access);
/* One has left. */
void describing_leave(struct broker *broker, struct environment *environment);

/* It is about to be removed: it does not come back. */
void describing_void(struct environment *environment);
/* Its files have lost their names: nothing tells of it any more. */
void describing_remove(struct broker *broker, struct environment *environment);
/* What tells of it stays as it is, and is no more of our concern. */
void describing_forget(struct broker *broker, struct environment *environment);

/* Found again with the ledger: what tells of it is as it has to be. */
void describing_resume(struct broker *broker, struct environment *environment);
/* Another broker took its home over, while we were away. */
bool describing_is_anothers(struct broker *broker, const struct environment *environment);
/* Taken in as `description` said, which is renewed where that is not true any more. */
void describing_adopt(struct broker *broker, struct environment *environment, const struct description *description);
/* We are about to stop in order: who left is not said to write any more. */
void describing_settle(struct broker *broker);
