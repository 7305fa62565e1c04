/* The kernel lists segments by their place in its table, and lets anybody see them with SHM_STAT_ANY. */

#include "tests/support/ipc.h"

#include "proto/util.h"

#include <check.h>
#include <dirent.h>
#include <errno.h>
#include <string.h>
#include <sys/ipc.h>
#include <sys/shm.h>
#include <unistd.h>

#ifndef SHM_STAT_ANY
#define SHM_STAT_ANY 15
#endif

static void closedirp(DIR **directory)
{
        if (*directory)
                closedir(*directory);
}

static int add_segment(struct ipc_snapshot *snapshot, int id, const struct shmid_ds *status)
{
        size_t n = snapshot->n_segments + 1;
        struct ipc_segment *segments = reallocarray(snapshot->segments, n, sizeof(*segments));

        if (!segments)
                return -ENOMEM;
        segments[n - 1] = (struct ipc_segment){
                .id = id,
                .key = status->shm_perm.__key,
                .bytes = status->shm_segsz,
                .attached = (unsigned)status->shm_nattch,
        };
        snapshot->segments = segments;
        snapshot->n_segments = n;
        return 0;
}

static int look_for_segments(struct ipc_snapshot *snapshot, pid_t creator)
{
        struct shm_info info;
        struct shmid_ds status;
        int last = shmctl(0, SHM_INFO, (struct shmid_ds *)(void *)&info);
        int id, r = last < 0 ? -errno : 0;

        for (int i = 0; i <= last && r == 0; i++) {
                id = shmctl(i, SHM_STAT_ANY, &status);
                if (id >= 0 && status.shm_cpid == creator)
                        r = add_segment(snapshot, id, &status);
        }
        return r;
}

static int add_name(struct ipc_snapshot *snapshot, const char *name)
{
        char **names = reallocarray(snapshot->names, snapshot->n_names + 1, sizeof(*names));

        if (!names)
                return -ENOMEM;
        snapshot->names = names;
        names[snapshot->n_names] = strdup(name);
        if (!names[snapshot->n_names])
                return -ENOMEM;
        snapshot->n_names++;
        return 0;
}

static int look_for_names(struct ipc_snapshot *snapshot, const char *prefix)
{
        owned(closedirp) DIR *directory = opendir("/dev/shm");
        struct dirent *entry;
        int r = directory ? 0 : -errno;

        while (r == 0 && (entry = readdir(directory)))
                if (strncmp(entry->d_name, prefix, strlen(prefix)) == 0)
                        r = add_name(snapshot, entry->d_name);
        return r;
}

int32_t ipc_own_key(void)
{
        return 0x74000000 + (int)getpid() * 16;
}

static const char foreign_content[] = "somebody else's";

int ipc_make_foreign(int32_t key)
{
        int id = shmget(key, 5000, IPC_CREAT | IPC_EXCL | 0600);
        char *bytes;

        ck_assert_msg(id >= 0, "shmget: %s", strerror(errno));
        bytes = shmat(id, NULL, 0);
        ck_assert_ptr_ne(bytes, (void *)-1);
        memcpy(bytes, foreign_content, sizeof(foreign_content));
        shmdt(bytes);
        return id;
}

void ipc_check_foreign(int id)
{
        struct shmid_ds now;
        char *bytes;

        ck_assert_msg(shmctl(id, IPC_STAT, &now) == 0, "somebody else's segment: %s", strerror(errno));
        ck_assert_int_eq(now.shm_cpid, getpid());
        ck_assert_int_eq(now.shm_lpid, getpid());
        ck_assert_uint_eq(now.shm_nattch, 0);
        ck_assert_uint_eq(now.shm_segsz, 5000);
        ck_assert_uint_eq(now.shm_perm.mode, 0600);
        ck_assert_uint_eq(now.shm_perm.uid, geteuid());
        bytes = shmat(id, NULL, SHM_RDONLY);
        ck_assert_ptr_ne(bytes, (void *)-1);
        ck_assert_str_eq(bytes, foreign_content);
        shmdt(bytes);
}

int ipc_count_fds(pid_t pid)
{
        owned(closedirp) DIR *directory = NULL;
        struct dirent *entry;
        char path[64];
        int n = 0;

        snprintf(path, sizeof(path), "/proc/%d/fd", (int)pid);
        directory = opendir(path);
        if (!directory)
                return -1;
        while ((entry = readdir(directory)))
                n += entry->d_name[0] != '.';
        return n;
}

int ipc_snapshot_take(struct ipc_snapshot *snapshot, pid_t pid, const char *prefix)
{
        int r;

        *snapshot = (struct ipc_snapshot){ .n_fds = ipc_count_fds(pid) };
        r = look_for_segments(snapshot, pid);
        if (r == 0)
                r = look_for_names(snapshot, prefix);
        if (r < 0)
                ipc_snapshot_deinit(snapshot);
        return r;
}

void ipc_snapshot_deinit(struct ipc_snapshot *snapshot)
{
        for (size_t i = 0; i < snapshot->n_names; i++)
                free(snapshot->names[i]);
        free(snapshot->names);
        free(snapshot->segments);
        *snapshot = (struct ipc_snapshot){};
}

void ipc_snapshot_print(const struct ipc_snapshot *snapshot, FILE *file)
{
        for (size_t i = 0; i < snapshot->n_segments; i++) {
                const struct ipc_segment *segment = &snapshot->segments[i];

                fprintf(file, "System V segment %d, key %#x, %zu bytes, attached %u times\n", segment->id,
                        (unsigned)segment->key, segment->bytes, segment->attached);
        }
        for (size_t i = 0; i < snapshot->n_names; i++)
                fprintf(file, "/dev/shm/%s\n", snapshot->names[i]);
}
