/* Reserving is done by the process that makes the memory: pages are charged to the control group that first touches
 * them, and a full memory shall be an error here and not a SIGBUS later. */

#include "client/failure.h"
#include "client/huge.h"
#include "client/pages.h"

#include "proto/util.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/magic.h>
#include <stdbool.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/param.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

/* One step of work: a signal undoes and repeats one of these, so that one which comes every few milliseconds cannot
 * keep a large region from ever being done. */
#define STEP (16u << 20)

static void fclosep(FILE **file)
{
        if (*file)
                fclose(*file);
}

/* Whether the machine has so much memory to give. The kernel does not refuse what it has not: it would kill a process,
 * this one or another. Asked before every step, and only for what takes more than one. */
static bool machine_has(size_t size)
{
        owned(fclosep) FILE *file = size > STEP ? fopen("/proc/meminfo", "re") : NULL;
        uint64_t kib, available = 0;
        char line[128];

        if (!file)
                return true;
        while (fgets(line, sizeof(line), file))
                if (sscanf(line, "MemAvailable: %" SCNu64, &kib) == 1 || sscanf(line, "SwapFree: %" SCNu64, &kib) == 1)
                        available += kib * 1024;
        return available == 0 || size <= available;
}

/* Where the filesystem cannot allocate. The region is new, so zeros are what it holds. */
static int write_zeros(int fd, size_t offset, size_t size)
{
        static const char zeros[64 * 1024];

        while (size > 0) {
                ssize_t n = pwrite(fd, zeros, MIN(size, sizeof(zeros)), (off_t)offset);

                if (n < 0 && errno != EINTR)
                        return -errno;
                if (n > 0) {
                        offset += (size_t)n;
                        size -= (size_t)n;
                }
        }
        return 0;
}

static int allocate_step(int fd, size_t offset, size_t size)
{
        while (fallocate(fd, 0, (off_t)offset, (off_t)size) < 0) {
                if (errno == EOPNOTSUPP)
                        return write_zeros(fd, offset, size);
                if (errno != EINTR)
                        return -errno;
        }
        return 0;
}

static int populate(char *start, size_t size)
{
        while (madvise(start, size, MADV_POPULATE_WRITE) < 0)
                if (errno != EINTR && errno != EAGAIN)
                        return -errno;
        return 0;
}

/* Before Linux 5.14. Adding nothing is a write that changes nothing, also while others write. */
static void touch(char *start, size_t size)
{
        long page_size = sysconf(_SC_PAGESIZE);

        for (size_t i = 0; i < size; i += (size_t)page_size)
                __atomic_fetch_add(start + i, 0, __ATOMIC_RELAXED);
}

static int populate_step(char *start, size_t size)
{
        int r = populate(start, size);

        if (r == -EINVAL) {
                touch(start, size);
                return 0;
        }
        return r == -EFAULT ? -ENOMEM : r; /* what would have been SIGBUS at a touch */
}

/* --- huge pages behind a descriptor ------------------------------------------------------------------------------ */

/* A part of it, mapped for a moment. NULL where that cannot be. */
static char *map_part(const struct pages *pages, size_t offset, size_t size)
{
        char *part = mmap(huge_find_place(size), size, PROT_READ | PROT_WRITE, MAP_SHARED, pages->fd, (off_t)offset);

        if (part == MAP_FAILED)
                return NULL;
        huge_advise(part, size);
        return part;
}

static bool touch_part(const struct pages *pages, size_t offset, size_t size, size_t touched)
{
        char *part = map_part(pages, offset, size);
        bool done = part && populate(part, touched) == 0;

        if (part)
                munmap(part, size);
        return done;
}

/* What is there already, because another initializer came this far and died, is not wanted from the machine again. */
static size_t bytes_there(const struct pages *pages)
{
        struct stat status;

        if (fstat(pages->fd, &status) < 0)
                return 0;
        return MIN((uint64_t)status.st_blocks * 512, pages->size);
}

/* Elsewhere a touch does not make them, and on a disk it does not take the room for good. */
static bool is_tmpfs(const struct pages *pages)
{
        struct statfs fs;

        return fstatfs(pages->fd, &fs) == 0 && fs.f_type == TMPFS_MAGIC;
}

/* The kernel is asked, and not its settings, of which there are several: a touch of one byte brings a huge page or a
 * small one. Where they stay small, touching costs three times what fallocate() does. */
static bool makes_huge_pages(const struct pages *pages)
{
        return pages->size >= HUGE_PAGE_SIZE && is_tmpfs(pages) && touch_part(pages, 0, HUGE_PAGE_SIZE, 1) &&
               bytes_there(pages) >= HUGE_PAGE_SIZE;
}

/* --- reserving --------------------------------------------------------------------------------------------------- */

static enum region_result note_full(const struct pages *pages, const char *operation, int errnum)
{
        return failure_note_system(REGION_E_RESOURCE, operation, errnum,
                                   "the %zu bytes of region '%s' cannot be reserved (%s); %s", pages->size, pages->name,
                                   errno_text(errnum),
                                   pages->wishes.hugetlb
                                           ? POOL_ADVICE
                                           : "free some memory, make it smaller, or open the environment sparse");
}

/* A disk and the pool of huge pages know best themselves. */
static bool has_room(const struct pages *pages, size_t size)
{
        return pages->backing == REGION_BACKING_FILE || pages->wishes.hugetlb || machine_has(size);
}

/* fallocate() makes small pages, and they stay small; but it is the one that says why there is no room. */
static enum region_result reserve_descriptor(const struct pages *pages)
{
        size_t missing = pages->size - bytes_there(pages);
        bool touches = missing > 0 && makes_huge_pages(pages);
        int r = 0;

        for (size_t offset = 0; offset < pages->size && missing > 0 && r == 0; offset += STEP) {
                size_t rest = pages->size - offset, size = MIN(rest, STEP);

                if (!has_room(pages, MIN(missing, rest)))
                        r = -ENOMEM;
                else if (!touches || !touch_part(pages, offset, size, size))
                        r = allocate_step(pages->fd, offset, size);
        }
        return r < 0 ? note_full(pages, "fallocate", -r) : REGION_OK;
}

static enum region_result reserve_mapping(const struct pages *pages, char *start)
{
        int r = 0;

        for (size_t offset = 0; offset < pages->size && r == 0; offset += STEP) {
                size_t rest = pages->size - offset;

                r = has_room(pages, rest) ? populate_step(start + offset, MIN(rest, STEP)) : -ENOMEM;
        }
        return r < 0 ? note_full(pages, "madvise", -r) : REGION_OK;
}

/* `start`: where it is mapped; NULL behind a descriptor. */
static void collapse(const struct pages *pages, char *start)
{
        if (!pages->wishes.collapse || (!start && !is_tmpfs(pages)))
                return;
        for (size_t offset = 0; offset < pages->size; offset += STEP) {
                size_t size = MIN(pages->size - offset, STEP);
                char *part = start ? start + offset : map_part(pages, offset, size);

                if (part)
                        huge_collapse(part, size);
                if (part && !start)
                        munmap(part, size);
        }
}

enum region_result pages_reserve(struct pages *pages)
{
        enum region_result r;
        void *start = pages->heap;

        if (pages->access != REGION_WRITE)
                return REGION_OK;
        if (!start && pages->fd < 0) {
                r = pages_map(pages, NULL, &start);
                if (r != REGION_OK)
                        return r;
        }
        r = start ? reserve_mapping(pages, start) : reserve_descriptor(pages);
        if (r == REGION_OK)
                collapse(pages, start);
        pages_unmap(pages); /* until the program says where it wants it */
        return r;
}
