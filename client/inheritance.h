#pragma once

/* Sessions across fork(2). */

#include "client/session.h"

/* Every session is known here from its connecting to its closing. */
void inheritance_add(struct region_broker *broker);
void inheritance_remove(struct region_broker *broker);

/* For callers who hold the session's lock. Makes an inherited session one of this process: connects anew, and adopts
 * its environments as far as that can be done now. REGION_E_ABSENT and the like: nobody to connect to; tried again by
 * the next call. */
enum region_result inheritance_take(struct region_broker *broker);
/* For callers inside. Makes the session a member of an environment that was inherited. */
enum region_result inheritance_adopt(struct region_env *env);
