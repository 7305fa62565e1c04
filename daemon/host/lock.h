#pragma once

#include <sys/types.h>

/* One broker for one runtime directory: takes the lock in it, which lasts until the descriptor is closed or its process
 * dies. A descriptor; -EBUSY: another process has it, *ret_holder says which (0: unknown); or -errno. */
int lock_take(const char *directory, pid_t *ret_holder);
