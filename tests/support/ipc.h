#pragma once

/* What of a process is there outside of it, for a look before and one after: System V segments that it made, names
 * under /dev/shm, its descriptors. Looks only, and removes nothing. */

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/types.h>

struct ipc_segment {
        int id;
        int32_t key; /* 0: none any more */
        size_t bytes;
        unsigned attached;
};

struct ipc_snapshot {
        struct ipc_segment *segments; /* owned, as all below */
        size_t n_segments;
        char **names;
        size_t n_names;
        int n_fds; /* -1: the process cannot be looked at */
};

/* `prefix`: of the names under /dev/shm. -ENOMEM, or what the kernel says of the first two. */
int ipc_snapshot_take(struct ipc_snapshot *snapshot, pid_t pid, const char *prefix);
void ipc_snapshot_deinit(struct ipc_snapshot *snapshot);
/* One line for each segment and name. */
void ipc_snapshot_print(const struct ipc_snapshot *snapshot, FILE *file);

/* The first of 16 keys that no other test asks for at the same time, and outside of those that the broker picks. */
int32_t ipc_own_key(void);

/* Makes somebody else's segment, which the caller removes: its id. */
int ipc_make_foreign(int32_t key);
/* It is as it was made, and nobody but this process has ever attached it. */
void ipc_check_foreign(int id);

/* Descriptors that a process has open, or -1. */
int ipc_count_fds(pid_t pid);
