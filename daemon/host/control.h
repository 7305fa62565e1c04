#pragma once

#include "proto/control.h"

/* The broker's side of one control page. */
struct control {
        int fd;
        struct control_page *page;
        char *path; /* of the file it is in; NULL: it is in none and goes with its last holder */
};

/* Makes a page in a new file at `path`, so that it outlives us; NULL: without one. NULL on failure: errno in *ret_error
 * (positive), and the call that failed. */
struct control *control_new(const char *path, const char **ret_operation, int *ret_error);
/* One that was made by a broker before us, as it stands; NULL where it is not there any more, or is no such page. */
struct control *control_find(const char *path);
/* Removes the file and frees. Takes NULL. */
struct control *control_remove(struct control *control);
/* Leaves the file and frees. Takes NULL. */
struct control *control_free(struct control *control);
/* A read-only description of its own for one client: a descriptor, or -errno. */
int control_open(const struct control *control);
/* Shows what is true now, and wakes who waits for a change. */
void control_show(struct control *control, uint32_t state, uint64_t generation, uint64_t deaths, uint32_t flags);
