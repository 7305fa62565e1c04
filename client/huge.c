/* The kernel aligns by itself only what some of its settings and versions say, so that is done here. */

#include "client/huge.h"

#include <stdint.h>
#include <sys/mman.h>

#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE 25 /* Linux 6.1 */
#endif

void *huge_find_place(size_t size)
{
        size_t room = size + HUGE_PAGE_SIZE;
        uintptr_t place;
        void *found;

        if (size < HUGE_PAGE_SIZE || room < size)
                return NULL;
        found = mmap(NULL, room, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        if (found == MAP_FAILED)
                return NULL;
        munmap(found, room);
        place = ((uintptr_t)found + HUGE_PAGE_SIZE - 1) / HUGE_PAGE_SIZE * HUGE_PAGE_SIZE;
        return (char *)found + (place - (uintptr_t)found);
}

void huge_advise(void *address, size_t size)
{
        if (size >= HUGE_PAGE_SIZE)
                madvise(address, size, MADV_HUGEPAGE);
}

void huge_collapse(void *address, size_t size)
{
        if (size >= HUGE_PAGE_SIZE)
                madvise(address, size, MADV_COLLAPSE);
}
