#pragma once

/* Mounts that nobody but this process and its children see. */

#include "tests/support/check.h"
#include "tests/support/namespace.h"

#include <sched.h>
#include <sys/statvfs.h>
#include <time.h>

/* A tmpfs of its own, from now on. */
static inline void mount_tmpfs(const char *where, const char *options)
{
        ck_assert(namespace_enter(CLONE_NEWNS));
        namespace_mount("tmpfs", where, "tmpfs", 0, options);
}

/* Waits, within bounds, until nothing takes room there: a thread of the broker frees what was large. */
static inline void mount_wait_until_free(const char *where)
{
        time_t deadline = time(NULL) + CHECK_WAIT_MSEC / 1000;
        struct statvfs fs = {};

        while (statvfs(where, &fs) == 0 && fs.f_bfree < fs.f_blocks) {
                ck_assert_msg(time(NULL) < deadline, "%lu of %lu blocks are free", (unsigned long)fs.f_bfree,
                              (unsigned long)fs.f_blocks);
                poll(NULL, 0, 5);
        }
        ck_assert_uint_eq(fs.f_bfree, fs.f_blocks);
}
