#pragma once

#include <stdbool.h>

/* Binds a Unix socket and listens. A socket file that nobody answers at any more is replaced; one that somebody answers at
 * is left alone: -EADDRINUSE. `open_to_all`: any user may connect, each call being checked; else the owner alone.
 * A descriptor (non-blocking), or -errno: -ENAMETOOLONG, and what bind(2) says. */
int listener_open(const char *path, bool open_to_all);
