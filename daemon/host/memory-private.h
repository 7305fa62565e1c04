#pragma once

/* Shared by memory.c and sysv.c alone. */

#include "daemon/host/memory.h"

#include <fcntl.h>

struct shmid_ds;

/* What nobody can do to a memfd from its making on. */
#define MEMFD_SEALS (F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL)

struct memory {
        enum backing backing;
        int64_t size;
        bool unnamed;
        bool missing; /* memfd: we know which it is, and have no way to it */

        int fd; /* memfd, posix, file: a description that counts for the lease */
        dev_t device;
        ino_t inode;
        char *path;    /* posix, file */
        int directory; /* file: where it was made; borrowed until it is unnamed */

        int shm_id; /* sysv */
        int32_t shm_key;
        pid_t creator;
        void *kept; /* sysv: attached by us, for those who were granted it and have not attached it yet */
};

int sysv_make(const struct memory_plan *plan, struct memory *memory, const char **ret_operation);
/* The segment is the one that was made for it. */
bool sysv_is_ours(const struct memory *memory, const struct shmid_ds *segment);
bool sysv_is_lost(const struct memory *memory);
int sysv_is_held(const struct memory *memory);
void sysv_unname(struct memory *memory);
void sysv_keep(struct memory *memory);
void sysv_let_go(struct memory *memory);
