#pragma once

/* A directory for the tests of one case, on a filesystem that is memory. All users may pass it, so that who may do what is
 * decided below it. Each test leaves it empty; after a failure it is removed with what is in it. */

#include "tests/support/check.h"

#include <ftw.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

static char scratch[64];

static inline void scratch_make(void)
{
        strcpy(scratch, "/dev/shm/unit-test-XXXXXX");
        ck_assert_ptr_nonnull(mkdtemp(scratch));
}

static inline int scratch_remove_one(const char *path, const struct stat *st, int type, struct FTW *place)
{
        (void)st;
        (void)type;
        (void)place;
        return remove(path);
}

static inline void scratch_remove(void)
{
        nftw(scratch, scratch_remove_one, 8, FTW_DEPTH | FTW_PHYS);
}

/* What a test that failed has left is not for the next to stumble over. */
static inline void scratch_begin(void)
{
        scratch_remove();
        ck_assert_int_eq(mkdir(scratch, 0755), 0);
        ck_assert_int_eq(chmod(scratch, 0755), 0);
}

static inline void scratch_end(void)
{
        ck_assert_msg(rmdir(scratch) == 0, "%s is not empty", scratch);
}

static inline void scratch_add(TCase *tcase)
{
        tcase_add_unchecked_fixture(tcase, scratch_make, scratch_remove);
        tcase_add_checked_fixture(tcase, scratch_begin, scratch_end);
}

/* The path of something in it, which the caller frees. */
static inline char *scratch_path(const char *name)
{
        char *path;

        ck_assert_int_ge(asprintf(&path, "%s/%s", scratch, name), 0);
        return path;
}
