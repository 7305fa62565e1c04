#pragma once

/* The limit: a server that does nothing but wait, read, and answer with bytes and descriptors that it has already. What
 * it costs is what the kernel costs. */

#include <stddef.h>
#include <sys/types.h>

enum { LIMIT_ANSWERS_MAX = 4 };

/* What it answers to a call whose first byte is '0' and so on. */
struct limit_answer {
        size_t n; /* bytes, with the NUL */
        size_t n_fds;
};

/* Starts it as a child that stays on that CPU; it ends with this process. */
pid_t limit_start(const char *socket, int cpu, const struct limit_answer *answers, size_t n);
