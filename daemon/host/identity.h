#pragma once

#include "daemon/core/limits.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

/* Who is at the other end of a Unix socket, from the kernel alone. */
struct identity {
        uint64_t id; /* unique for as long as the machine runs */
        pid_t pid;
        uid_t uid;
        gid_t gid;
        gid_t *groups; /* heap */
        size_t n_groups;
        int pidfd;
        char command[COMMAND_MAX_BYTES + 1]; /* "?" where the kernel does not tell */
};

/* Asks the kernel. The peer may have died since it connected: its pidfd then says so. Where the kernel is older than 6.5
 * the pidfd is opened by number, and refused with -ESRCH if the peer has hung up, since the number may then be another's;
 * where it is older than 6.9, a peer that has died is refused likewise.
 * *ret_operation names the system call that failed. */
int identity_read(int socket, struct identity *ret, const char **ret_operation);
/* Our own. -errno. */
int identity_of_self(struct identity *ret);
/* The process of that number and id, if it still lives: its pidfd; -ESRCH: it is dead, and the number may be another's. */
int identity_find(pid_t pid, uint64_t id);
void identity_deinit(struct identity *identity);

/* A process in another IPC namespace can do nothing with our System V ids. True where the kernel does not let us see. */
bool identity_shares_ipc(pid_t pid);
/* The inode of our own IPC namespace; 0 where /proc is not there. */
uint64_t identity_ipc_namespace(void);
