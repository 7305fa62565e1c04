#pragma once

#include <stdbool.h>

struct broker;
struct environment;
struct reading;
struct record;
struct region;

/* What a broker that was killed was in the midst of making. */

/* Says what is being made for the region, before it can be left behind: a System V segment at a key, or a file that is to get
 * its name; region NULL: the environment's reference in its home. False where nothing has to be said of it. */
bool leftovers_note(struct record *record, const struct environment *environment, const struct region *region);
/* Takes away what such a record says, if it is provably that. Its environment is unknown, or has its own record of it: then
 * it is left. */
void leftovers_undo(struct broker *broker, struct reading *reading);
/* Takes away the reference of an environment that has no name any more. */
void leftovers_clear_reference(struct broker *broker, const struct environment *environment);
/* Takes away what has our instance in its name and belongs to nothing: pages of control, names under /dev/shm, directories
 * of our own. */
void leftovers_clear(struct broker *broker);
