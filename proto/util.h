#pragma once

/* What every room uses: owning locals, moving out of them, stepping from a member to its object. */

#include <stddef.h>
#include <stdlib.h>
#include <unistd.h>

/* The local runs `destructor` on its own address when it leaves scope. */
#define owned(destructor) __attribute__((cleanup(destructor)))

#define container_of(pointer, type, member) ((type *)(void *)((char *)(pointer)-offsetof(type, member)))
#define array_size(array) (sizeof(array) / sizeof((array)[0]))

/* Gives the pointer on and leaves NULL behind, so that the owning local frees nothing. */
#define take_ptr(pointer)                       \
        ({                                      \
                __auto_type taken_ = (pointer); \
                (pointer) = NULL;               \
                taken_;                         \
        })

/* Gives the descriptor on and leaves -1 behind. */
#define take_fd(fd)                \
        ({                         \
                int taken_ = (fd); \
                (fd) = -1;         \
                taken_;            \
        })

static inline void freep(void *pointer)
{
        free(*(void **)pointer);
}

/* Closes unless negative; returns -1 to assign back. */
static inline int close_fd(int fd)
{
        if (fd >= 0)
                close(fd);
        return -1;
}

static inline void closep(int *fd)
{
        close_fd(*fd);
}
