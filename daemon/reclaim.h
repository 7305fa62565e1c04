#pragma once

#include "daemon/broker.h"

/* Giving memory back: when a rule says so, nobody is attached, and the kernel proves that nobody holds it. */

/* Looks whether the environment can go, and lets it go. Call it after anything that may have changed that. May free it. */
void reclaim_consider(struct broker *broker, struct environment *environment);
/* It is wanted again: no lingering, no doubt. */
void reclaim_call_off(struct broker *broker, struct environment *environment);
/* Somebody closed the memory of a region that is in doubt. May free its environment. */
void reclaim_look_again(struct broker *broker, struct region *region);

/* Asks again before long whether it is still held, by looking at itself and by waking the calls that wait for it to be
 * free; each time later. */
void reclaim_look_later(struct broker *broker, struct environment *environment);

/* The proof for one region that nobody is attached to; in doubt it is watched from now on. */
bool reclaim_is_proven(struct broker *broker, struct region *region);
/* The same for all regions of an environment that has no members. */
bool reclaim_is_all_proven(struct broker *broker, struct environment *environment);

/* It was to persist, and others have removed all of its memory: there is nothing to come back to. */
bool reclaim_is_lost(const struct environment *environment);

/* Frees one region, proven free; its size in bytes. */
int64_t reclaim_region(struct broker *broker, struct region *region);
/* Frees an environment whose regions are all proven free, and says so by which rule; its size in bytes. */
int64_t reclaim_environment(struct broker *broker, struct environment *environment, const char *rule);

/* At the broker's end: nobody will be there to free it later. What is in memory loses its name now and goes with its last
 * holder, which the kernel sees to; files that are to stay do stay. Where another broker goes on, all stays as it is. Nobody
 * is a member any more. */
void reclaim_abandon(struct broker *broker, struct environment *environment);
