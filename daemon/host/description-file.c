/* Whoever may write in a home may put files there, and give other names to those that are there; and of a region's file its
 * members say what is in it. So a description is known by what only its writer can give a file: the owner, and the mode.
 * Files of regions are 0600, and descriptions 0400, as long as they are there.
 *
 * A new one is written without a name and gets the one that is not in force, once it is on the disk; then it takes the other
 * one over. What is not in force may thus be a new one that did not come that far; as long as one is in force it says
 * nothing. */

#include "daemon/host/description.h"
#include "daemon/host/reopen.h"
#include "proto/util.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

enum { DESCRIPTION_MODE = 0400, REGION_MODE = 0600 };

static bool is_ours(const struct statx *stx, mode_t mode)
{
        return S_ISREG(stx->stx_mode) && stx->stx_uid == geteuid() && (stx->stx_mode & 07777) == mode;
}

static int look(int directory, const char *name, int flags, struct statx *ret)
{
        return statx(directory, name, flags | AT_SYMLINK_NOFOLLOW, STATX_BASIC_STATS | STATX_BTIME, ret) < 0 ? -errno
                                                                                                             : 0;
}

static int64_t born_nsec(const struct statx *stx)
{
        return stx->stx_mask & STATX_BTIME ? stx->stx_btime.tv_sec * INT64_C(1000000000) + stx->stx_btime.tv_nsec : 0;
}

int file_identify(int fd, struct file_id *ret)
{
        struct statx stx;
        int r = look(fd, "", AT_EMPTY_PATH, &stx);

        if (r == 0)
                *ret = (struct file_id){ stx.stx_ino, born_nsec(&stx) };
        return r;
}

/* --- writing ----------------------------------------------------------------------------------------------------- */

static int write_all(int fd, const char *text, size_t n)
{
        ssize_t written;

        for (; n > 0; text += written, n -= (size_t)written) {
                written = write(fd, text, n);
                if (written < 0 && errno != EINTR)
                        return -errno;
                if (written < 0)
                        written = 0;
        }
        return fsync(fd) < 0 ? -errno : 0;
}

/* -EEXIST: it is somebody else's. */
static int remove_ours(int directory, const char *name)
{
        struct statx stx;
        int r = look(directory, name, 0, &stx);

        if (r == -ENOENT)
                return 0;
        if (r == 0 && !is_ours(&stx, DESCRIPTION_MODE))
                return -EEXIST;
        return r == 0 && unlinkat(directory, name, 0) < 0 ? -errno : r;
}

/* The one before, or nothing, may be there. */
static int put_in_force(int directory)
{
        struct statx stx;
        int r = look(directory, DESCRIPTION_NAME, 0, &stx);

        if (r == 0 && !is_ours(&stx, DESCRIPTION_MODE))
                r = -EEXIST;
        if (r == 0 || r == -ENOENT)
                r = renameat(directory, DESCRIPTION_VOID_NAME, directory, DESCRIPTION_NAME) < 0 ? -errno : 0;
        if (r < 0)
                unlinkat(directory, DESCRIPTION_VOID_NAME, 0);
        return r;
}

/* What was linked and renamed in it. A directory that we may not read is left to the kernel's own time. */
static void sync_directory(int directory)
{
        owned(closep) int fd = openat(directory, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);

        if (fd >= 0)
                fsync(fd);
}

int description_put(int directory, const struct description *description, bool in_force)
{
        owned(closep) int fd = openat(directory, ".", O_TMPFILE | O_WRONLY | O_CLOEXEC, DESCRIPTION_MODE);
        owned(freep) char *text = NULL;
        size_t n;
        int r;

        if (fd < 0 || fchmod(fd, DESCRIPTION_MODE) < 0)
                return -errno;
        text = description_print(description, &n);
        if (!text)
                return -ENOMEM;
        r = write_all(fd, text, n);
        if (r == 0)
                r = remove_ours(directory, DESCRIPTION_VOID_NAME);
        if (r == 0 && reopen_link(fd, directory, DESCRIPTION_VOID_NAME) < 0)
                r = -errno;
        if (r == 0 && in_force)
                r = put_in_force(directory);
        if (r == 0 && in_force)
                sync_directory(directory);
        return r;
}

void description_void(int directory)
{
        struct statx stx;

        if (look(directory, DESCRIPTION_NAME, 0, &stx) == 0 && is_ours(&stx, DESCRIPTION_MODE) &&
            remove_ours(directory, DESCRIPTION_VOID_NAME) == 0)
                renameat(directory, DESCRIPTION_NAME, directory, DESCRIPTION_VOID_NAME);
}

void description_remove(int directory)
{
        remove_ours(directory, DESCRIPTION_NAME);
        remove_ours(directory, DESCRIPTION_VOID_NAME);
}

/* --- reading ----------------------------------------------------------------------------------------------------- */

__attribute__((format(printf, 3, 4))) static int doubt(char *why, int r, const char *format, ...)
{
        va_list args;

        va_start(args, format);
        vsnprintf(why, DESCRIPTION_WHY_SIZE, format, args);
        va_end(args);
        return r;
}

static int read_text(int fd, size_t size, char **ret)
{
        owned(freep) char *text = calloc(1, size + 1);
        size_t n = 0;
        ssize_t part;

        if (!text)
                return -ENOMEM;
        while (n < size && (part = read(fd, text + n, size - n)) != 0) {
                if (part > 0)
                        n += (size_t)part;
                else if (errno != EINTR)
                        return -errno;
        }
        *ret = take_ptr(text);
        return n == size ? 0 : -EBADMSG;
}

int description_read(int directory, bool in_force, struct description *ret, char *why)
{
        const char *name = in_force ? DESCRIPTION_NAME : DESCRIPTION_VOID_NAME;
        owned(closep) int fd = openat(directory, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
        owned(freep) char *text = NULL;
        struct statx stx;
        int r = fd < 0 ? -errno : look(fd, "", AT_EMPTY_PATH, &stx);

        if (r == -ENOENT)
                return r;
        if (r < 0)
                return doubt(why, r, "%s cannot be read: %s", name, strerror(-r));
        if (!is_ours(&stx, DESCRIPTION_MODE) || stx.stx_nlink != 1)
                return doubt(why, -EPERM,
                             "%s is not a file of uid %u with mode 0400 and one name, as the broker leaves it", name,
                             geteuid());
        if (stx.stx_size > DESCRIPTION_MAX_BYTES)
                return doubt(why, -EFBIG, "%s is larger than any the broker leaves", name);
        r = read_text(fd, (size_t)stx.stx_size, &text);
        if (r < 0)
                return doubt(why, r, "%s cannot be read: %s", name, strerror(-r));
        r = description_parse(text, (size_t)stx.stx_size, ret, why);
        if (r == -EBADMSG) {
                owned(freep) char *fault = strdup(why);

                doubt(why, r, "%s: %s", name, fault ? fault : "it is damaged");
        }
        return r;
}

/* --- the files of regions ---------------------------------------------------------------------------------------- */

static void write_name(const struct described_region *region, char name[32])
{
        snprintf(name, 32, "__db.%03u", region->number);
}

static bool is_same(const struct statx *stx, const struct file_id *id)
{
        return stx->stx_ino == id->inode && born_nsec(stx) == id->born_nsec;
}

int description_check_file(int directory, const struct described_region *region, uint64_t *ret_device,
                           uint64_t *ret_inode, bool *ret_same, char *why)
{
        struct statx stx;
        char name[32];
        int r;

        write_name(region, name);
        r = look(directory, name, 0, &stx);
        if (r < 0)
                return doubt(why, r, "%s, the file of region %s, is not there: %s", name, region->name, strerror(-r));
        if (!is_ours(&stx, REGION_MODE) || stx.stx_nlink != 1)
                return doubt(why, -EPERM,
                             "%s is not a file of uid %u with mode 0600 and one name, as the broker made it", name,
                             geteuid());
        if (stx.stx_size != (uint64_t)region->size)
                return doubt(why, -ESTALE, "%s has %llu bytes, and region %s %lld", name,
                             (unsigned long long)stx.stx_size, region->name, (long long)region->size);
        *ret_device = makedev(stx.stx_dev_major, stx.stx_dev_minor);
        *ret_inode = stx.stx_ino;
        *ret_same = is_same(&stx, &region->file);
        return 0;
}
