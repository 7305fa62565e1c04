/* Memory behind descriptors: memfd, posix and file; and the way to sysv.c for the rest.
 *
 * The proof that nobody holds it is a write lease: the kernel grants it only while no other open description of the file
 * exists and none is mapped, children and passed-on descriptors included. It counts descriptions, so every grant is a
 * reopen of its own, never a duplicate of ours; and it does not count the first description of a memfd, so ours is a reopen
 * as well. */

#include "daemon/host/memory-private.h"

#include "daemon/host/opener.h"
#include "daemon/host/reopen.h"
#include "proto/util.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <linux/magic.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/vfs.h>

#ifndef MFD_NOEXEC_SEAL
#define MFD_NOEXEC_SEAL 0x0008U /* Linux 6.3 */
#endif

static int create_memfd(const struct memory_plan *plan, const char **ret_operation)
{
        unsigned flags = MFD_CLOEXEC | MFD_ALLOW_SEALING | (plan->hugetlb ? MFD_HUGETLB : 0);
        int fd;

        *ret_operation = "memfd_create";
        fd = memfd_create("region", flags | MFD_NOEXEC_SEAL);
        if (fd < 0 && errno == EINVAL) /* an older kernel: without the seal on execution */
                fd = memfd_create("region", flags);
        return fd < 0 ? -errno : fd;
}

static int resize(int fd, int64_t size, const char **ret_operation)
{
        *ret_operation = "ftruncate";
        return ftruncate(fd, size) < 0 ? -errno : 0;
}

static int make_memfd(const struct memory_plan *plan, struct memory *memory, const char **ret_operation)
{
        owned(closep) int first = create_memfd(plan, ret_operation);
        int r;

        if (first < 0)
                return first;
        r = resize(first, plan->size, ret_operation);
        if (r < 0)
                return r;
        *ret_operation = "fchmod"; /* a memfd is born open to all, and could be reopened for more than was granted */
        if (fchmod(first, 0600) < 0)
                return -errno;
        *ret_operation = "fcntl F_ADD_SEALS";
        if (fcntl(first, F_ADD_SEALS, MEMFD_SEALS) < 0)
                return -errno;
        *ret_operation = "open";
        memory->fd = reopen(first, O_RDWR);
        return memory->fd < 0 ? memory->fd : 0;
}

static int make_posix(const struct memory_plan *plan, struct memory *memory, const char **ret_operation)
{
        char path[NAME_MAX];
        int r;

        snprintf(path, sizeof(path), "/dev/shm/region-broker.%016" PRIx64 ".%" PRIu64, plan->instance, plan->id);
        *ret_operation = "malloc";
        memory->path = strdup(path);
        if (!memory->path)
                return -ENOMEM;
        *ret_operation = "shm_open";
        memory->fd = shm_open(memory->path + strlen("/dev/shm"), O_RDWR | O_CREAT | O_EXCL, 0600);
        if (memory->fd < 0) {
                r = -errno;
                memory->unnamed = true; /* whatever stands there is not ours */
                return r;
        }
        return resize(memory->fd, plan->size, ret_operation);
}

/* Not every filesystem is exact: on overlayfs a mapping keeps the file of a lower one open and no longer its own, so the
 * lease would be granted under a live mapping. Only where it was tried is a file taken. */
static bool has_exact_leases(int directory)
{
        struct statfs fs;

        if (fstatfs(directory, &fs) < 0)
                return false;
        switch (fs.f_type) {
        case EXT4_SUPER_MAGIC: /* ext2 and ext3 have the same */
        case XFS_SUPER_MAGIC:
        case BTRFS_SUPER_MAGIC:
        case TMPFS_MAGIC:
                return true;
        default:
                return false;
        }
}

static int make_file(const struct memory_plan *plan, struct memory *memory, const char **ret_operation)
{
        memory->unnamed = true;
        *ret_operation = "fcntl F_SETLEASE";
        if (!has_exact_leases(plan->directory))
                return -EOPNOTSUPP;
        *ret_operation = "malloc";
        if (asprintf(&memory->path, "%s/__db.%03u", plan->directory_path, plan->number) < 0) {
                memory->path = NULL;
                return -ENOMEM;
        }
        memory->directory = plan->directory;
        *ret_operation = "openat";
        memory->fd = openat(plan->directory, ".", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
        return memory->fd < 0 ? -errno : resize(memory->fd, plan->size, ret_operation);
}

static bool is_same(const struct memory *memory, int fd)
{
        struct stat st;

        return fstat(fd, &st) == 0 && st.st_dev == memory->device && st.st_ino == memory->inode;
}

int memory_name(struct memory *memory, const char **ret_operation)
{
        const char *name = memory->path ? strrchr(memory->path, '/') + 1 : NULL;
        owned(closep) int fd = -1;

        if (memory->backing != BACKING_FILE)
                return 0;
        *ret_operation = "linkat";
        if (reopen_link(memory->fd, memory->directory, name) < 0)
                return -errno;
        memory->unnamed = false;
        /* by its name, or else the kernel would drop our watch of it with the name */
        *ret_operation = "openat";
        fd = openat(memory->directory, name, O_RDWR | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
        if (fd < 0 || !is_same(memory, fd))
                return fd < 0 ? -errno : -ESTALE;
        close_fd(memory->fd);
        memory->fd = take_fd(fd);
        return 0;
}

static int make(const struct memory_plan *plan, struct memory *memory, const char **ret_operation)
{
        switch (plan->backing) {
        case BACKING_MEMFD:
                return make_memfd(plan, memory, ret_operation);
        case BACKING_POSIX:
                return make_posix(plan, memory, ret_operation);
        case BACKING_FILE:
                return make_file(plan, memory, ret_operation);
        case BACKING_SYSV:
                return sysv_make(plan, memory, ret_operation);
        case BACKING_PRIVATE:
                break;
        }
        *ret_operation = "make";
        return -EINVAL;
}

int memory_make(const struct memory_plan *plan, struct memory **ret, const char **ret_operation)
{
        struct memory *memory = calloc(1, sizeof(*memory));
        struct stat st;
        int r;

        *ret_operation = "calloc";
        if (!memory)
                return -ENOMEM;
        *memory = (struct memory){ .backing = plan->backing, .size = plan->size, .fd = -1, .shm_id = -1 };
        r = make(plan, memory, ret_operation);
        if (memory->fd >= 0 && fstat(memory->fd, &st) == 0) {
                memory->device = st.st_dev;
                memory->inode = st.st_ino;
        }
        if (r < 0) {
                memory_release(memory);
                return r;
        }
        *ret = memory;
        return 0;
}

int64_t memory_huge_page_size(void)
{
        owned(closep) int fd = memfd_create("size", MFD_CLOEXEC | MFD_HUGETLB); /* takes none of them */
        struct stat st;

        return fd >= 0 && fstat(fd, &st) == 0 ? st.st_blksize : 0;
}

int memory_open(const struct memory *memory, enum access access, const char **ret_operation)
{
        *ret_operation = "open";
        if (access != ACCESS_WRITE)
                return reopen(memory->fd, O_RDONLY);
        return memory->backing == BACKING_MEMFD ? reopen(memory->fd, O_RDWR) : opener_open(memory->fd);
}

int memory_check(const struct memory *memory, const char **ret_operation)
{
        *ret_operation = "shmctl IPC_STAT";
        return memory_is_lost(memory) ? -EIDRM : 0;
}

static bool take_lease(int fd)
{
        return fcntl(fd, F_SETLEASE, F_WRLCK) == 0;
}

static void drop_lease(int fd)
{
        fcntl(fd, F_SETLEASE, F_UNLCK);
}

int memory_is_held(const struct memory *memory)
{
        if (memory->backing == BACKING_SYSV)
                return sysv_is_held(memory);
        if (memory->missing)
                return 0;
        if (!take_lease(memory->fd))
                return 1; /* EAGAIN: held. Anything else: a filesystem without leases, where nothing can be proven */
        drop_lease(memory->fd);
        return 0;
}

/* Names are not ours alone, and whoever owns the directory may have put something else there: what has our name has to be
 * our file. The directory is the one that we made it in, wherever that is by now; /dev/shm is nobody's to replace. No
 * descriptor is needed, which might not be had. */
static bool find_own(const struct memory *memory, int *ret_directory, const char **ret_name)
{
        bool is_file = memory->backing == BACKING_FILE;
        struct stat st;

        *ret_directory = is_file ? memory->directory : AT_FDCWD;
        *ret_name = is_file ? strrchr(memory->path, '/') + 1 : memory->path;
        return fstatat(*ret_directory, *ret_name, &st, AT_SYMLINK_NOFOLLOW) == 0 && st.st_dev == memory->device &&
               st.st_ino == memory->inode;
}

static void unlink_own(const struct memory *memory)
{
        const char *name;
        int directory;

        if (find_own(memory, &directory, &name))
                unlinkat(directory, name, 0);
}

bool memory_is_lost(const struct memory *memory)
{
        const char *name;
        int directory;

        switch (memory->backing) {
        case BACKING_SYSV:
                return sysv_is_lost(memory);
        case BACKING_FILE:
                return memory->unnamed || !find_own(memory, &directory, &name);
        default:
                return false;
        }
}

void memory_keep(struct memory *memory)
{
        if (memory->backing == BACKING_SYSV)
                sysv_keep(memory);
}

void memory_unname(struct memory *memory)
{
        if (memory->unnamed)
                return;
        memory->unnamed = true;
        if (memory->backing == BACKING_SYSV)
                sysv_unname(memory);
        else if (memory->path)
                unlink_own(memory);
}

/* Even a descriptor that cannot read or write (O_PATH) keeps a file, and with it its pages: free these first. While the
 * lease is ours nobody can begin to use them. */
static void give_back_pages(const struct memory *memory)
{
        if (memory->backing == BACKING_FILE || !take_lease(memory->fd))
                return;
        fallocate(memory->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, memory->size);
        drop_lease(memory->fd);
}

void memory_release(struct memory *memory)
{
        if (!memory)
                return;
        memory_unname(memory);
        if (memory->fd >= 0)
                give_back_pages(memory);
        memory_forget(memory);
}

void memory_forget(struct memory *memory)
{
        if (!memory)
                return;
        if (memory->backing == BACKING_SYSV)
                sysv_let_go(memory);
        close_fd(memory->fd);
        free(memory->path);
        free(memory);
}

int memory_fd(const struct memory *memory)
{
        return memory->fd;
}

int memory_shm_id(const struct memory *memory)
{
        return memory->shm_id;
}

const char *memory_path(const struct memory *memory)
{
        return memory->unnamed ? NULL : memory->path;
}

int64_t memory_used(const struct memory *memory)
{
        struct stat st;

        if (memory->fd < 0 || fstat(memory->fd, &st) < 0)
                return -1;
        return (int64_t)st.st_blocks * 512;
}
