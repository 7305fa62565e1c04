/* Reserving is done by the process that makes the memory: pages are charged to the control group that first touches
 * them, and a full memory shall be an error here and not a SIGBUS later. */

#include "client/failure.h"
#include "client/pages.h"

#include "proto/util.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/param.h>
#include <sys/stat.h>
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

/* Before Linux 5.14. Adding nothing is a write that changes nothing, also while others write. */
static void touch(char *start, size_t size)
{
        long page_size = sysconf(_SC_PAGESIZE);

        for (size_t i = 0; i < size; i += (size_t)page_size)
                __atomic_fetch_add(start + i, 0, __ATOMIC_RELAXED);
}

static int populate_step(char *start, size_t size)
{
        while (madvise(start, size, MADV_POPULATE_WRITE) < 0) {
                if (errno == EINVAL) {
                        touch(start, size);
                        return 0;
                }
                if (errno != EINTR && errno != EAGAIN)
                        return -errno;
        }
        return 0;
}

static enum region_result note_full(const struct pages *pages, const char *operation, int errnum)
{
        return failure_note_system(REGION_E_RESOURCE, operation, errnum,
                                   "the %zu bytes of region '%s' cannot be reserved (%s); free some memory, make it"
                                   " smaller, or open the environment sparse",
                                   pages->size, pages->name, errno_text(errnum));
}

/* What is there already, because another initializer came this far and died, is not wanted from the machine again. */
static size_t missing_bytes(const struct pages *pages)
{
        struct stat status;
        uint64_t there;

        if (fstat(pages->fd, &status) < 0)
                return pages->size;
        there = (uint64_t)status.st_blocks * 512;
        return there < pages->size ? pages->size - (size_t)there : 0;
}

static enum region_result reserve_descriptor(const struct pages *pages)
{
        size_t missing = missing_bytes(pages);
        bool takes_memory = pages->backing != REGION_BACKING_FILE;
        int r = 0;

        for (size_t offset = 0; offset < pages->size && missing > 0 && r == 0; offset += STEP) {
                size_t rest = pages->size - offset;

                if (takes_memory && !machine_has(MIN(missing, rest)))
                        r = -ENOMEM;
                else
                        r = allocate_step(pages->fd, offset, MIN(rest, STEP));
        }
        return r < 0 ? note_full(pages, "fallocate", -r) : REGION_OK;
}

static enum region_result reserve_mapping(const struct pages *pages, char *start)
{
        int r = 0;

        for (size_t offset = 0; offset < pages->size && r == 0; offset += STEP) {
                size_t rest = pages->size - offset;

                r = machine_has(rest) ? populate_step(start + offset, MIN(rest, STEP)) : -ENOMEM;
        }
        return r < 0 ? note_full(pages, "madvise", -r) : REGION_OK;
}

enum region_result pages_reserve(struct pages *pages)
{
        enum region_result r;
        void *address;

        if (pages->access != REGION_WRITE)
                return REGION_OK;
        if (pages->fd >= 0)
                return reserve_descriptor(pages);
        if (pages->heap)
                return reserve_mapping(pages, pages->heap);
        r = pages_map(pages, NULL, &address);
        if (r != REGION_OK)
                return r;
        r = reserve_mapping(pages, address);
        pages_unmap(pages); /* until the program says where it wants it */
        return r;
}
