#pragma once

#include <sys/types.h>

/* A user or group by its name or its number, as the machine knows it. -ENOENT where there is none of that name; a number is
 * taken as it is. */
int people_find_user(const char *word, uid_t *ret);
int people_find_group(const char *word, gid_t *ret);
/* The groups that a user is in, the first of which is its own, for the caller to free. -ENOENT: nothing is known of that user;
 * -ENOMEM. */
int people_find_groups(uid_t uid, gid_t **ret, size_t *ret_n);
