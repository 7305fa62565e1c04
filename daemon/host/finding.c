/* Memory that was made by a broker before us: found again where it was left, if it is provably the same. */

#include "daemon/host/memory-private.h"

#include "daemon/host/reopen.h"
#include "proto/util.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/shm.h>
#include <sys/stat.h>
#include <unistd.h>

void memory_trace(const struct memory *memory, struct memory_trace *ret)
{
        struct shmid_ds segment;

        *ret = (struct memory_trace){
                .backing = memory->backing,
                .unnamed = memory->unnamed,
                .size = memory->size,
                .device = memory->device,
                .inode = memory->inode,
                .path = memory->path,
                .shm_id = memory->shm_id,
                .shm_key = memory->shm_key,
                .creator = memory->creator,
        };
        if (memory->backing == BACKING_SYSV && shmctl(memory->shm_id, IPC_STAT, &segment) == 0)
                ret->changed = segment.shm_ctime;
}

/* An id is given again, but not with the same creator, size and key; and its owner and mode are never set backwards. */
static int find_segment(const struct memory_trace *trace, struct memory *memory)
{
        struct shmid_ds segment;

        memory->shm_id = trace->shm_id;
        memory->shm_key = trace->shm_key;
        memory->creator = trace->creator;
        if (shmctl(memory->shm_id, IPC_STAT, &segment) < 0)
                return -ESTALE;
        return sysv_is_ours(memory, &segment) && segment.shm_perm.cuid == geteuid() &&
                               segment.shm_ctime >= trace->changed
                       ? 0
                       : -ESTALE;
}

/* The file that we made, whatever is called so by now. */
static int check_file(const struct memory_trace *trace, int fd)
{
        struct stat st;

        if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode))
                return -ESTALE;
        return st.st_dev == trace->device && st.st_ino == trace->inode && st.st_size == trace->size ? 0 : -ESTALE;
}

static int open_named(const struct memory_trace *trace, int directory)
{
        const char *name = trace->path;

        if (trace->unnamed || !name)
                return -ESTALE; /* nothing leads there any more */
        if (trace->backing == BACKING_FILE) {
                name = strrchr(trace->path, '/');
                if (directory < 0 || !name++)
                        return -ESTALE;
        }
        return openat(trace->backing == BACKING_FILE ? directory : AT_FDCWD, name,
                      O_RDWR | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
}

static int find_file(const struct memory_trace *trace, int directory, int *stored, struct memory *memory)
{
        memory->fd = *stored >= 0 ? take_fd(*stored) : open_named(trace, directory);
        if (memory->fd < 0)
                return -ESTALE;
        memory->device = trace->device;
        memory->inode = trace->inode;
        memory->directory = directory;
        if (trace->path) {
                memory->path = strdup(trace->path);
                if (!memory->path)
                        return -ENOMEM;
        }
        return check_file(trace, memory->fd);
}

int memory_find(const struct memory_trace *trace, int directory, int stored, struct memory **ret)
{
        struct memory *memory = calloc(1, sizeof(*memory));
        owned(closep) int kept = stored;
        int r;

        if (!memory)
                return -ENOMEM;
        *memory = (struct memory){
                .backing = trace->backing,
                .size = trace->size,
                .unnamed = trace->unnamed,
                .fd = -1,
                .shm_id = -1,
        };
        if (trace->backing == BACKING_SYSV)
                r = find_segment(trace, memory);
        else
                r = find_file(trace, directory, &kept, memory);
        if (r < 0) {
                memory_forget(memory);
                return r;
        }
        *ret = memory;
        return 0;
}

/* --- memory that somebody brings back ---------------------------------------------------------------------------- */

int memory_expect(const struct memory_trace *trace, struct memory **ret)
{
        struct memory *memory;

        if (trace->backing != BACKING_MEMFD)
                return -ESTALE;
        memory = calloc(1, sizeof(*memory));
        if (!memory)
                return -ENOMEM;
        *memory = (struct memory){
                .backing = trace->backing,
                .size = trace->size,
                .unnamed = trace->unnamed,
                .missing = true,
                .fd = -1,
                .device = trace->device,
                .inode = trace->inode,
                .shm_id = -1,
        };
        *ret = memory;
        return 0;
}

bool memory_is_missing(const struct memory *memory)
{
        return memory->missing;
}

/* Made by us, and still as we made it. The seals come first: only a file in memory has any, so that from then on nothing of
 * it is on a filesystem that could keep us waiting for its answer. */
static bool is_what_we_made(const struct memory_trace *trace, int fd)
{
        struct stat st;
        int seals = fcntl(fd, F_GET_SEALS);

        return seals >= 0 && (seals & MEMFD_SEALS) == MEMFD_SEALS && check_file(trace, fd) == 0 &&
               fstat(fd, &st) == 0 && st.st_uid == geteuid() && (st.st_mode & 07777) == 0600;
}

int memory_bring_back(struct memory *memory, int fd)
{
        struct memory_trace trace;
        int reopened;

        memory_trace(memory, &trace);
        if (!is_what_we_made(&trace, fd))
                return -ESTALE;
        reopened = reopen(fd, O_RDWR); /* the offered one may be for reading, and is its owner's */
        if (reopened < 0)
                return reopened;
        memory->fd = reopened;
        memory->missing = false;
        return 0;
}
