#pragma once

/* Another description of the file behind a descriptor, with a position, a mode and a count of its own; a duplicate would
 * share all of these. `flags` as for open(2). A descriptor, or -errno. */
int reopen(int fd, int flags);

/* Gives a file that was made without a name (O_TMPFILE) its name in the directory; -1 and errno as linkat(2). */
int reopen_link(int fd, int directory, const char *name);
