#pragma once

/* What a test wants to know of huge pages. */

#include "tests/support/check.h"

#include <inttypes.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/mman.h>

enum { HUGE_PAGE = 2 << 20 };

/* The sum of some figures of the mapping at an address, in bytes, as /proc/self/smaps has them. */
static inline size_t smaps_bytes(const void *address, const char *const *figures)
{
        FILE *smaps = fopen("/proc/self/smaps", "re");
        uintptr_t first, last, wanted = (uintptr_t)address;
        bool inside = false;
        size_t bytes = 0, kib;
        char line[512];

        ck_assert_ptr_nonnull(smaps);
        while (fgets(line, sizeof(line), smaps)) {
                if (sscanf(line, "%" SCNxPTR "-%" SCNxPTR " ", &first, &last) == 2)
                        inside = first <= wanted && wanted < last;
                for (const char *const *figure = figures; inside && *figure; figure++)
                        if (strncmp(line, *figure, strlen(*figure)) == 0 &&
                            sscanf(line + strlen(*figure), ": %zu kB", &kib) == 1)
                                bytes += kib * 1024;
        }
        fclose(smaps);
        return bytes;
}

/* How much of the mapping at an address is transparent huge pages, and mapped as such. */
static inline size_t huge_bytes(const void *address)
{
        static const char *const figures[] = { "AnonHugePages", "ShmemPmdMapped", "FilePmdMapped", NULL };

        return smaps_bytes(address, figures);
}

static inline bool is_huge_aligned(const void *address)
{
        return (uintptr_t)address % HUGE_PAGE == 0;
}

/* Of libcheck's tests, which have no word for it: says that one was not tried, and why. */
#define SKIP(reason) fprintf(stderr, "%s:%d: not tried: %s\n", __FILE__, __LINE__, (reason))
