#pragma once

#include <sys/types.h>

/* A user or group by its name or its number, as the machine knows it. -ENOENT where there is none of that name; a number is
 * taken as it is. */
int people_find_user(const char *word, uid_t *ret);
int people_find_group(const char *word, gid_t *ret);
