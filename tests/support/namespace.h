#pragma once

/* Namespaces of a test's own: what a machine, a boot or a container would be. */

#include <stdbool.h>

/* Leaves for new ones, by flags of unshare(2), with all that it takes to change them; nothing that is mounted there
 * then is seen outside. Who is not root gets there by a user namespace, where it keeps its number. False where the
 * machine does not let it: the test cannot run then, and standard error has been told why. */
bool namespace_enter(int flags);

/* As mount(2), in a mount namespace of one's own; a failure fails the test. */
void namespace_mount(const char *what, const char *where, const char *type, unsigned long flags, const char *options);

/* Writes a file of settings, such as one below /proc/sys; a failure fails the test. */
void namespace_set(const char *path, const char *value);
