#pragma once

/* Named memory as its tests use it. */

#include "tests/support/session.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>

enum { PAGE = 4096 };

static inline struct region_named *open_named(struct region_broker *session, const char *name, size_t size,
                                              unsigned flags)
{
        struct region_named *named = NULL;

        check(region_named_open(session, name, size, flags, 0, &named));
        return named;
}

static inline char *attach(struct region_named *named, unsigned flags)
{
        void *address = NULL;

        check(region_named_attach(named, flags, &address));
        return address;
}

/* Opening it is refused so, and hands nothing out. */
static inline void refuse_open(struct region_broker *session, const char *name, size_t size, unsigned flags,
                               enum region_result code)
{
        struct region_named *named = NULL;

        check_error(region_named_open(session, name, size, flags, 0, &named), code);
        ck_assert_ptr_null(named);
}

/* Asks the kernel, which writes nothing where it may not. */
static inline bool is_writable(void *address)
{
        int zero = open("/dev/zero", O_RDONLY | O_CLOEXEC);
        char before = *(char *)address;
        bool written = read(zero, address, 1) == 1;

        if (written)
                *(char *)address = before;
        else
                ck_assert_int_eq(errno, EFAULT);
        close(zero);
        return written;
}

/* Memory of the broker, that is; something else may have come to lie there. */
static inline bool is_mapped(const void *address)
{
        FILE *maps = fopen("/proc/self/maps", "re");
        char line[512];
        uintptr_t first;
        bool found = false;

        ck_assert_ptr_nonnull(maps);
        while (!found && fgets(line, sizeof(line), maps))
                found = sscanf(line, "%" SCNxPTR, &first) == 1 && first == (uintptr_t)address &&
                        strstr(line, "/memfd:region");
        fclose(maps);
        return found;
}
