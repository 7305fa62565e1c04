#pragma once

struct peer;

/* Opens a directory in which `peer` may make files, as a descriptor (O_PATH) and as its canonical path, which the caller
 * frees. Symbolic links in `path` are followed; then every directory from the root down to it is asked, by owner, group
 * and mode, whether the peer may pass, and the last one whether it may write. So the broker's own rights open nothing to a
 * peer that it could not have opened itself.
 * -EACCES; and what open(2) says: -ENOENT, -ENOTDIR, -ELOOP, -ENAMETOOLONG, … */
int directory_open(const char *path, const struct peer *peer, int *ret_fd, char **ret_canonical);

/* The canonical path of a directory, which the caller frees; NULL where there is none. Asks nobody's rights. */
char *directory_canonical(const char *path);
