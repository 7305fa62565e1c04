#pragma once

#include <stdbool.h>

struct directory_id;
struct peer;

/* Opens a directory in which `peer` may make files, as a descriptor (O_PATH) and as its canonical path, which the caller
 * frees. Symbolic links in `path` are followed; then every directory from the root down to it is asked, by owner, group
 * and mode, whether the peer may pass, and the last one whether it may write. So the broker's own rights open nothing to a
 * peer that it could not have opened itself.
 * -EACCES; and what open(2) says: -ENOENT, -ENOTDIR, -ELOOP, -ENAMETOOLONG, … */
int directory_open(const char *path, const struct peer *peer, int *ret_fd, char **ret_canonical);

/* Which one it is, of a descriptor (O_PATH will do). -errno. */
int directory_identify(int fd, struct directory_id *ret);
/* What has this path now is another one. False where nothing has it. */
bool directory_is_another(const char *path, const struct directory_id *id);

/* The canonical path of a directory, which the caller frees; NULL where there is none. Asks nobody's rights. */
char *directory_canonical(const char *path);
