#pragma once

/* Another description of the file behind a descriptor, with a position, a mode and a count of its own; a duplicate would
 * share all of these. `flags` as for open(2). A descriptor, or -errno. */
int reopen(int fd, int flags);
