#include "tests/support/namespace.h"

#include "proto/util.h"
#include "tests/support/check.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <sys/mount.h>

void namespace_set(const char *path, const char *value)
{
        owned(closep) int fd = open(path, O_WRONLY | O_CLOEXEC);

        ck_assert_msg(fd >= 0 && write(fd, value, strlen(value)) == (ssize_t)strlen(value), "%s: %s", path,
                      strerror(errno));
}

void namespace_mount(const char *what, const char *where, const char *type, unsigned long flags, const char *options)
{
        ck_assert_msg(mount(what, where, type, flags, options) == 0, "mount on %s: %s", where, strerror(errno));
}

/* Whoever makes a user namespace may all in those that belong to it. */
static int enter_by_user_namespace(int flags)
{
        unsigned uid = geteuid(), gid = getegid();
        char map[64];

        if (unshare(CLONE_NEWUSER | flags) < 0)
                return -1;
        namespace_set("/proc/self/setgroups", "deny");
        snprintf(map, sizeof(map), "%u %u 1", uid, uid);
        namespace_set("/proc/self/uid_map", map);
        snprintf(map, sizeof(map), "%u %u 1", gid, gid);
        namespace_set("/proc/self/gid_map", map);
        return 0;
}

bool namespace_enter(int flags)
{
        int r = unshare(flags);

        if (r < 0 && errno == EPERM)
                r = enter_by_user_namespace(flags);
        if (r < 0) {
                fprintf(stderr, "%s: a test is left out: it needs namespaces of its own, and unshare(2) says: %s\n",
                        program_invocation_short_name, strerror(errno));
                return false;
        }
        if (flags & CLONE_NEWNS)
                namespace_mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL);
        return true;
}
