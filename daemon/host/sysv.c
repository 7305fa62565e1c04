/* System V segments. We stay their creator, which lets us remove them; owner, group and mode are handed on. The kernel
 * counts the mappings: none is the proof. Removing one that is mapped frees its key at once and its memory with the last
 * mapping. */

#include "daemon/host/memory-private.h"

#include "proto/util.h"

#include <errno.h>
#include <stdio.h>
#include <sys/ipc.h>
#include <sys/shm.h>

#ifndef SHM_STAT_ANY
#define SHM_STAT_ANY 15
#endif

int sysv_make(const struct memory_plan *plan, struct memory *memory, const char **ret_operation)
{
        int flags = IPC_CREAT | IPC_EXCL | (plan->hugetlb ? SHM_HUGETLB : 0);
        struct shmid_ds segment;
        int r;

        memory->shm_key = plan->shm_key;
        memory->creator = getpid();
        *ret_operation = "shmget";
        memory->shm_id = shmget(plan->shm_key, (size_t)plan->size, flags | 0600);
        if (memory->shm_id < 0) {
                r = -errno;
                memory->unnamed = true;
                return r;
        }
        *ret_operation = "shmctl IPC_STAT";
        if (shmctl(memory->shm_id, IPC_STAT, &segment) < 0)
                return -errno;
        segment.shm_perm.uid = plan->uid;
        segment.shm_perm.gid = plan->gid;
        segment.shm_perm.mode = (unsigned short)(plan->mode | 0600); /* ours too, for looking at it */
        *ret_operation = "shmctl IPC_SET";
        return shmctl(memory->shm_id, IPC_SET, &segment) < 0 ? -errno : 0;
}

/* The segment behind our id is the one that we made: ids are used again. */
bool sysv_is_ours(const struct memory *memory, const struct shmid_ds *segment)
{
        return segment->shm_cpid == memory->creator && (int64_t)segment->shm_segsz == memory->size &&
               (segment->shm_perm.__key == memory->shm_key || segment->shm_perm.__key == IPC_PRIVATE);
}

/* 1: it is there; 0: it is not, or another has its id; -errno: nobody can tell. */
static int look(const struct memory *memory, struct shmid_ds *ret)
{
        if (shmctl(memory->shm_id, IPC_STAT, ret) < 0)
                return errno == EINVAL || errno == EIDRM ? 0 : -errno;
        return sysv_is_ours(memory, ret);
}

bool sysv_is_lost(const struct memory *memory)
{
        struct shmid_ds segment;

        return look(memory, &segment) == 0;
}

int sysv_is_held(const struct memory *memory)
{
        struct shmid_ds segment;
        int r = look(memory, &segment);

        if (r <= 0)
                return r < 0;
        return segment.shm_nattch > (memory->kept ? 1 : 0);
}

void sysv_keep(struct memory *memory)
{
        void *address;

        if (memory->kept || memory->unnamed)
                return;
        address = shmat(memory->shm_id, NULL, SHM_RDONLY);
        memory->kept = address == (void *)-1 ? NULL : address; /* without it, it is as it was */
}

void sysv_let_go(struct memory *memory)
{
        if (memory->kept)
                shmdt(memory->kept);
        memory->kept = NULL;
}

void sysv_unname(struct memory *memory)
{
        struct shmid_ds segment;

        if (look(memory, &segment) > 0)
                shmctl(memory->shm_id, IPC_RMID, NULL);
}

bool memory_find_key(int32_t key, struct key_holder *ret)
{
        struct shm_info info;
        struct shmid_ds segment = {}; /* valgrind does not know that SHM_STAT_ANY fills it */
        int last = shmctl(0, SHM_INFO, (struct shmid_ds *)(void *)&info);
        int id;

        for (int i = 0; i <= last; i++) {
                id = shmctl(i, SHM_STAT_ANY, &segment); /* asks for no right to read it */
                if (id < 0 || segment.shm_perm.__key != key)
                        continue;
                *ret = (struct key_holder){ .shm_id = id, .uid = segment.shm_perm.uid, .pid = segment.shm_cpid };
                return true;
        }
        return false;
}

static void fclosep(FILE **file)
{
        if (*file)
                fclose(*file);
}

/* key, shmid, perms, size, cpid, lpid, nattch, uid, gid, cuid, cgid, atime, dtime, ctime, rss, swap; the first line names
 * them, and is none. */
void memory_look_at_segments(void (*each)(int shm_id, int64_t used, void *data), void *data)
{
        owned(fclosep) FILE *file = fopen("/proc/sysvipc/shm", "re");
        unsigned long long memory, swapped;
        char line[512];
        int id;

        while (file && fgets(line, sizeof(line), file))
                if (sscanf(line, "%*s %d %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %llu %llu", &id, &memory,
                           &swapped) == 3)
                        each(id, (int64_t)(memory + swapped), data);
}
