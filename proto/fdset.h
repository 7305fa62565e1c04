#pragma once

#include <stddef.h>

/* The most descriptors the kernel carries with one message (SCM_MAX_FD). */
#define FDSET_MAX 253

/* An owning, bounded list of descriptors: what one message carries. Zero-initialised it is empty. */
struct fdset {
        int *fds; /* heap; -1 where taken */
        size_t n;
        size_t allocated;
};

/* Takes ownership of `fd`, closing it on failure. Its index; -ENOBUFS when FDSET_MAX are in the set, -ENOMEM. */
int fdset_push(struct fdset *set, int fd);

/* Moves one descriptor out to the caller; -1 where there is none at the index, or it was taken before. */
int fdset_take(struct fdset *set, size_t index);

/* Moves all of `from` into the empty `to`; `from` is empty afterwards. */
void fdset_move(struct fdset *to, struct fdset *from);

/* Closes what was not taken. The set is empty and usable again. */
void fdset_clear(struct fdset *set);
