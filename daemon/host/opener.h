#pragma once

/* Reopens a file for reading and writing so that nobody can make it shorter or longer with the descriptor, wherever that
 * is passed on to: ftruncate(2) fails with EACCES. -errno. Where the kernel cannot do that (before Linux 6.2, or without
 * Landlock) it is an ordinary one. It waits for a thread, of which there is one in a process; the calls come from one
 * other. */
int opener_open(int fd);
