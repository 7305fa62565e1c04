#pragma once

#include <stddef.h>

/* Small files that are to be read in the order of their names. */

/* The files NAME.conf in these directories, up to a NULL, as paths in the order of their names, which the caller frees, each
 * and all; of several of one name that in the first directory counts. A directory that is not there has none. -errno, with
 * the directory at fault in *ret_failed. */
int dropins_find(const char *const *directories, char ***ret, size_t *ret_n, const char **ret_failed);
void dropins_free(char **paths, size_t n);
