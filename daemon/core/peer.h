#pragma once

#include "daemon/core/limits.h"
#include "daemon/core/tree.h"
#include "proto/terms.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>
#include <sys/types.h>

struct account;

/* A process as the kernel vouches for it. Shared by its sessions and by the environments it created; it is followed by
 * its pidfd for as long as anybody refers to it. */
struct process {
        uint64_t id; /* the inode of its pidfd: unique for as long as the machine runs, unlike the pid */
        pid_t pid;
        uid_t uid;
        char command[COMMAND_MAX_BYTES + 1];
        int pidfd; /* owned */
        bool alive;
        struct opt_int exit_status, signal; /* how it ended, where the kernel tells; one of them */
        unsigned references;
        LIST_HEAD(, peer) peers;
        struct peer *resumed; /* keeps what it was a member of before we began, until it says so itself; or NULL */
        LIST_HEAD(, environment) created; /* those it created, while they exist */
        RB_ENTRY(process) by_id;
};

/* Who is asking: one session of one process. Filled once, at accept, from the socket. */
struct peer {
        uint64_t connection;
        struct process *process;
        int64_t session; /* which of its process's it is, by that process's own count */
        uid_t uid;
        gid_t gid;
        gid_t *groups; /* owned */
        size_t n_groups;
        struct account *account;
        LIST_HEAD(, member) members; /* the environments it is in */
        LIST_ENTRY(peer) in_process;
};
