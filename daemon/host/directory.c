/* Directories that peers name. */

#include "daemon/host/directory.h"

#include "daemon/core/environment.h"
#include "daemon/core/policy.h"
#include "proto/util.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

static int canonical_path(int fd, char *buffer, size_t size)
{
        char link[64];
        ssize_t n;

        snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
        n = readlink(link, buffer, size);
        if (n < 0)
                return -errno;
        if ((size_t)n >= size)
                return -ENAMETOOLONG;
        buffer[n] = '\0';
        return buffer[0] == '/' ? 0 : -ENOENT;
}

static int may(int fd, const struct peer *peer, int want)
{
        struct stat st;

        if (fstat(fd, &st) < 0)
                return -errno;
        return policy_mode_allows(peer, st.st_uid, st.st_gid, st.st_mode, want) ? 0 : -EACCES;
}

/* Down from the root along a path without links, asking at every step, and at its end for `want`. */
static int walk(const char *canonical, const struct peer *peer, int want, int *ret_fd)
{
        char path[PATH_MAX], *rest = path, *name;
        owned(closep) int fd = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
        int next, r;

        if (fd < 0)
                return -errno;
        snprintf(path, sizeof(path), "%s", canonical + 1);
        while ((name = strsep(&rest, "/"))) {
                r = may(fd, peer, WANT_EXECUTE);
                if (r < 0)
                        return r;
                if (!name[0])
                        continue;
                next = openat(fd, name, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
                if (next < 0)
                        return -errno;
                close_fd(fd);
                fd = next;
        }
        r = may(fd, peer, want);
        if (r < 0)
                return r;
        *ret_fd = take_fd(fd);
        return 0;
}

/* The path leads nowhere. That is for those to know who may pass to where it ends. */
static int explain_missing(const char *path, const struct peer *peer, int error)
{
        char prefix[PATH_MAX], canonical[PATH_MAX], *slash;
        owned(closep) int found = -1, fd = -1;

        if (strlen(path) >= sizeof(prefix))
                return error;
        strcpy(prefix, path);
        while (found < 0 && (slash = strrchr(prefix, '/'))) {
                slash[slash == prefix] = '\0'; /* of the root its slash stays */
                found = open(prefix, O_PATH | O_DIRECTORY | O_CLOEXEC);
                if (slash == prefix)
                        break;
        }
        if (found < 0 || canonical_path(found, canonical, sizeof(canonical)) < 0)
                return error;
        return walk(canonical, peer, WANT_EXECUTE, &fd) == -EACCES ? -EACCES : error;
}

static int identify(int directory, const char *path, int flags, struct directory_id *ret)
{
        struct statx stx;

        if (statx(directory, path, flags, STATX_INO | STATX_BTIME, &stx) < 0)
                return -errno;
        *ret = (struct directory_id){
                .device = makedev(stx.stx_dev_major, stx.stx_dev_minor),
                .inode = stx.stx_ino,
        };
        if (stx.stx_mask & STATX_BTIME)
                ret->born_nsec = stx.stx_btime.tv_sec * INT64_C(1000000000) + stx.stx_btime.tv_nsec;
        return 0;
}

int directory_identify(int fd, struct directory_id *ret)
{
        return identify(fd, "", AT_EMPTY_PATH, ret);
}

static bool is_same(const struct directory_id *a, const struct directory_id *b)
{
        return a->device == b->device && a->inode == b->inode && a->born_nsec == b->born_nsec;
}

bool directory_is_another(const char *path, const struct directory_id *id)
{
        struct directory_id found;

        return identify(AT_FDCWD, path, 0, &found) == 0 && !is_same(&found, id);
}

static bool is_same_directory(int a, int b)
{
        struct directory_id one, other;

        return directory_identify(a, &one) == 0 && directory_identify(b, &other) == 0 && is_same(&one, &other);
}

int directory_open(const char *path, const struct peer *peer, int *ret_fd, char **ret_canonical)
{
        owned(closep) int named = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
        owned(closep) int fd = -1;
        owned(freep) char *copy = NULL;
        char canonical[PATH_MAX];
        int r;

        if (named < 0)
                return explain_missing(path, peer, -errno);
        r = canonical_path(named, canonical, sizeof(canonical));
        if (r < 0)
                return r;
        r = walk(canonical, peer, WANT_WRITE | WANT_EXECUTE, &fd);
        if (r < 0)
                return r;
        if (!is_same_directory(named, fd)) /* removed, or moved away just now: another has its path */
                return -ENOENT;
        copy = strdup(canonical);
        if (!copy)
                return -ENOMEM;
        *ret_fd = take_fd(fd);
        *ret_canonical = take_ptr(copy);
        return 0;
}

char *directory_canonical(const char *path)
{
        owned(closep) int fd = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
        char canonical[PATH_MAX];

        if (fd < 0 || canonical_path(fd, canonical, sizeof(canonical)) < 0)
                return NULL;
        return strdup(canonical);
}
