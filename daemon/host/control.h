#pragma once

#include "proto/control.h"

/* The broker's side of one control page. */
struct control {
        int fd;
        struct control_page *page;
};

/* NULL on failure: errno in *ret_error (positive), and the call that failed. */
struct control *control_new(const char **ret_operation, int *ret_error);
struct control *control_free(struct control *control);
/* A read-only description of its own for one client: a descriptor, or -errno. */
int control_open(const struct control *control);
/* Shows what is true now, and wakes who waits for a change. */
void control_show(struct control *control, uint32_t state, uint64_t generation, uint64_t deaths, uint32_t flags);
