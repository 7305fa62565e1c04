#pragma once

#include "daemon/host/identity.h"

#include <stdbool.h>

/* Binds a Unix socket and listens. A socket file that nobody answers at any more is replaced; one that somebody answers at
 * is left alone: -EADDRINUSE, with who that is in *ret_other, for identity_deinit(); pid 0 where the kernel does not tell. What
 * is no socket is left alone, too: -EEXIST. `open_to_all`: any user may connect, each call being checked; else the owner alone.
 * A descriptor (non-blocking), or -errno: -ENAMETOOLONG, and what bind(2) says. */
int listener_open(const char *path, bool open_to_all, struct identity *ret_other);

/* One that was passed to us and listens already: from now on clients see us as their peer, and no longer whoever bound it.
 * -errno. *ret_path: where it is, for the caller to free; NULL where it has no path. */
int listener_adopt(int fd, char **ret_path);
