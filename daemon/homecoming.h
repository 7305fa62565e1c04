#pragma once

#include "daemon/broker.h"

/* Environments that describe themselves (describing.h), and that this broker knows nothing of: left by one of an earlier boot,
 * or by one whose books were removed. */

enum { HOMECOMING_NOTHING, HOMECOMING_CLEARED, HOMECOMING_TAKEN };

struct arrival {
        char name[256]; /* of what was found; empty: nothing that could be read */
        char why[512];  /* why it is left alone */
};

/* Looks into a directory, by its canonical path. NOTHING describes an environment there; what did was half made or half
 * removed, and was CLEARED away; it is TAKEN in, and known from now on; or it is left alone, -errno: -EBUSY as long as
 * somebody holds it, -EEXIST as long as another has its name, and so on. `trusted`: who asks could take the files by hand, so
 * that a copy is taken in as well. */
int homecoming_come(struct broker *broker, const char *path, bool trusted, struct arrival *ret);

/* Removes from a directory what was described there and never came in force, with its files, if nobody holds them. */
void homecoming_clear(struct broker *broker, const char *path);
