#pragma once

#include "daemon/configuration.h"

/* The files that declare environments, one each. */

/* Reads NAME.conf in these directories, up to a NULL; of several of one name that in the first directory counts, and one that
 * says nothing declares nothing. `owner`: whose they are where a file does not say. */
void environments_read(struct configuration *configuration, const char *const *directories, uid_t owner);
/* Nothing more is read: what they leave open is as for others. */
void environments_finish(struct configuration *configuration);
