/* Three sources of memory under one set of verbs: descriptors (memfd, posix, file), System V segments, and the heap of
 * this process. A source knows how its memory is put at a place; all else is the same for all. */

#include "client/pages.h"

#include "client/failure.h"
#include "client/huge.h"

#include "proto/util.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/shm.h>
#include <sys/stat.h>

/* What may be at the place already: */
enum place {
        PLACE_FREE, /* nothing: at the place or, if it is NULL, anywhere */
        PLACE_OURS, /* these very pages, mapped for reading: take their place */
};

struct source {
        const char *operation;
        /* At exactly `where` unless that is NULL; MAP_FAILED and errno when it cannot be. */
        void *(*put)(struct pages *pages, void *where, enum place place);
        void (*remove)(const struct pages *pages, void *address);
};

static int protection(const struct pages *pages)
{
        return pages->access == REGION_WRITE ? PROT_READ | PROT_WRITE : PROT_READ;
}

/* --- descriptors ------------------------------------------------------------------------------------------------- */

static void *descriptor_put(struct pages *pages, void *where, enum place place)
{
        int fixed = place == PLACE_OURS ? MAP_FIXED : where ? MAP_FIXED_NOREPLACE : 0;
        void *address = mmap(where, pages->size, protection(pages), MAP_SHARED | fixed, pages->fd, 0);

        /* the page cache reads ahead of the first touch, which costs milliseconds and gains nothing */
        if (address != MAP_FAILED && pages->backing == REGION_BACKING_FILE)
                madvise(address, pages->size, MADV_RANDOM);
        return address;
}

static void descriptor_remove(const struct pages *pages, void *address)
{
        munmap(address, pages->size);
}

/* Why the descriptor is not what the broker says, or NULL. What passes can be touched all over without SIGBUS, as far
 * as the backing can promise it: a memfd never shrinks, and others only by who opens their path. */
static const char *descriptor_fault(const struct pages *pages, int fd)
{
        struct stat status;
        int flags;

        if (fd < 0)
                return "it was not sent";
        flags = fcntl(fd, F_GETFL);
        if (flags < 0 || fstat(fd, &status) < 0 || !S_ISREG(status.st_mode))
                return "it is no memory";
        if ((flags & O_ACCMODE) == O_WRONLY || (pages->access == REGION_WRITE && (flags & O_ACCMODE) != O_RDWR))
                return "it is not open for the access that was granted";
        if (status.st_size < 0 || (uint64_t)status.st_size < pages->size)
                return "it is shorter than the region, so it was truncated; remove the environment";
        if (pages->backing == REGION_BACKING_MEMFD) {
                int seals = fcntl(fd, F_GET_SEALS);

                if (seals < 0 || !(seals & F_SEAL_SHRINK))
                        return "it is not sealed against shrinking";
        }
        return NULL;
}

static enum region_result descriptor_take(struct pages *pages, const struct grant_view *grant, struct fdset *fds,
                                          int *ret)
{
        owned(closep) int fd = -1;
        const char *fault;

        if (grant->region_fd.given && grant->region_fd.value >= 0 && (uint64_t)grant->region_fd.value < fds->n)
                fd = fdset_take(fds, (size_t)grant->region_fd.value);
        fault = descriptor_fault(pages, fd);
        if (fault)
                return failure_note(REGION_E_PROTOCOL,
                                    "the descriptor that the broker granted for region '%s' is unfit: %s", pages->name,
                                    fault);
        *ret = take_fd(fd);
        return REGION_OK;
}

/* --- System V ---------------------------------------------------------------------------------------------------- */

static void *segment_put(struct pages *pages, void *where, enum place place)
{
        int flags = (pages->access == REGION_WRITE ? 0 : SHM_RDONLY) | (place == PLACE_OURS ? SHM_REMAP : 0);

        return shmat(pages->shm_id, where, flags); /* its failure is MAP_FAILED too */
}

static void segment_remove(const struct pages *pages, void *address)
{
        (void)pages;
        shmdt(address);
}

/* An id means something in its own namespace only, and another segment in ours. */
static enum region_result segment_check_namespace(const struct pages *pages)
{
        struct stat status;

        if (!pages->ipc_namespace.given || stat("/proc/thread-self/ns/ipc", &status) < 0)
                return REGION_OK;
        if (pages->ipc_namespace.value == (int64_t)status.st_ino)
                return REGION_OK;
        return failure_note(REGION_E_NAMESPACE,
                            "region '%s' is System V memory of another IPC namespace; run in that namespace, or use"
                            " another backing",
                            pages->name);
}

/* Once attached the id cannot be given to another segment: now it shows whether this is the right one. */
static enum region_result segment_check(const struct pages *pages)
{
        struct shmid_ds status;
        bool key_fits;

        if (shmctl(pages->shm_id, IPC_STAT, &status) < 0)
                return REGION_OK; /* not ours to look at */
        /* one that is going away with its last user has lost its key */
        key_fits = !pages->shm_key.given || (status.shm_perm.mode & SHM_DEST) ||
                   (int32_t)pages->shm_key.value == status.shm_perm.__key;
        if (key_fits && status.shm_segsz >= pages->size)
                return REGION_OK;
        return failure_note(REGION_E_PROTOCOL,
                            "System V segment %d is not region '%s' any more, its key or size differs; open the"
                            " environment again",
                            pages->shm_id, pages->name);
}

/* --- the heap ---------------------------------------------------------------------------------------------------- */

static bool heap_move(struct pages *pages, void *where)
{
        void *found, *moved;

        found = mmap(where, pages->size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED_NOREPLACE,
                     -1, 0);
        if (found == MAP_FAILED)
                return false;
        moved = mremap(pages->heap, pages->size, pages->size, MREMAP_MAYMOVE | MREMAP_FIXED, found);
        if (moved == MAP_FAILED) {
                munmap(found, pages->size);
                return false;
        }
        pages->heap = moved;
        return true;
}

/* It is made once and moved to where it is wanted, so that its content outlives being unmapped. */
static void *heap_put(struct pages *pages, void *where, enum place place)
{
        if (where && place == PLACE_FREE && !heap_move(pages, where))
                return MAP_FAILED;
        return mprotect(pages->heap, pages->size, protection(pages)) == 0 ? pages->heap : MAP_FAILED;
}

static void heap_remove(const struct pages *pages, void *address)
{
        (void)pages, (void)address;
}

static enum region_result heap_make(struct pages *pages)
{
        int flags = MAP_PRIVATE | MAP_ANONYMOUS | (pages->wishes.hugetlb ? MAP_HUGETLB : 0);
        void *place = huge_find_place(pages->size);
        void *made = mmap(place, pages->size, PROT_READ | PROT_WRITE, flags, -1, 0);

        if (made == MAP_FAILED)
                return failure_note_system(REGION_E_RESOURCE, "mmap", errno,
                                           "there is no room for the %zu bytes of region '%s' (%s); %s", pages->size,
                                           pages->name, errno_text(errno),
                                           pages->wishes.hugetlb ? POOL_ADVICE : "make it smaller");
        if (pages->wishes.huge_pages)
                huge_advise(made, pages->size);
        pages->heap = made;
        return REGION_OK;
}

/* --- all --------------------------------------------------------------------------------------------------------- */

static const struct source descriptor = { "mmap", descriptor_put, descriptor_remove };
static const struct source segment = { "shmat", segment_put, segment_remove };
static const struct source heap = { "mremap", heap_put, heap_remove };

static const struct source *source_of(const struct pages *pages)
{
        switch (pages->backing) {
        case REGION_BACKING_SYSV:
                return &segment;
        case REGION_BACKING_PRIVATE:
                return &heap;
        default:
                return &descriptor;
        }
}

enum region_result pages_init(struct pages *pages, const struct grant_view *grant, struct fdset *fds,
                              struct pages_wishes wishes, const char *name)
{
        const struct region_view *region = grant->region;
        struct pages made = {
                .name = name,
                .backing = (enum region_backing)region->backing,
                .size = (size_t)region->size,
                .wishes = wishes,
                .access = (enum region_access)grant->access,
                .fd = -1,
                .shm_id = region->shm_id.given ? (int)region->shm_id.value : -1,
                .shm_key = region->shm_key,
                .ipc_namespace = region->ipc_namespace,
        };
        enum region_result r = REGION_OK;

        if (source_of(&made) == &descriptor)
                r = descriptor_take(&made, grant, fds, &made.fd);
        else if (source_of(&made) == &heap)
                r = heap_make(&made);
        else if (!region->shm_id.given)
                r = failure_note(REGION_E_PROTOCOL, "the broker granted region '%s' without saying its System V id",
                                 name);
        if (r == REGION_OK)
                *pages = made;
        return r;
}

static void unmap_place(struct pages *pages, struct pages_place *place)
{
        source_of(pages)->remove(pages, place->address);
        SLIST_REMOVE(&pages->further, place, pages_place, link);
        free(place);
}

void pages_release(struct pages *pages)
{
        pages_unmap(pages);
        while (!SLIST_EMPTY(&pages->further))
                unmap_place(pages, SLIST_FIRST(&pages->further));
        pages->fd = close_fd(pages->fd);
        if (pages->heap)
                munmap(pages->heap, pages->size);
        pages->heap = NULL;
}

static enum region_result note_unmappable(const struct pages *pages, int errnum)
{
        const char *operation = source_of(pages)->operation;
        const char *advice = pages->wishes.hugetlb && errnum == ENOMEM ? "; " POOL_ADVICE : "";

        return failure_note_system(REGION_E_RESOURCE, operation, errnum,
                                   "region '%s' of %zu bytes cannot be mapped, %s says: %s%s", pages->name, pages->size,
                                   operation, errno_text(errnum), advice);
}

/* What the environment wants of a mapping; only the lock can fail. */
static enum region_result apply_wishes(const struct pages *pages, void *address)
{
        if (pages->wishes.huge_pages)
                huge_advise(address, pages->size);
        if (!pages->wishes.lock || mlock(address, pages->size) == 0)
                return REGION_OK;
        return failure_note_system(REGION_E_RESOURCE, "mlock", errno,
                                   "region '%s' of %zu bytes cannot be locked in memory (%s); raise the limit of locked"
                                   " memory (ulimit -l)",
                                   pages->name, pages->size, errno_text(errno));
}

/* The heap has its place already, and the kernel aligns what is of the pool. */
static bool places_itself(const struct pages *pages)
{
        return source_of(pages) == &heap || pages->wishes.hugetlb;
}

/* Where huge pages fit. That place is free when it is found, and another thread may take it before we do. */
static void *put_anywhere(struct pages *pages)
{
        const struct source *source = source_of(pages);
        void *place, *address = MAP_FAILED;

        for (int i = 0; i < 3 && address == MAP_FAILED && !places_itself(pages); i++) {
                place = huge_find_place(pages->size);
                if (!place)
                        break;
                address = source->put(pages, place, PLACE_FREE);
        }
        return address == MAP_FAILED ? source->put(pages, NULL, PLACE_FREE) : address;
}

static enum region_result map_anew(struct pages *pages, void *hint, void **ret)
{
        const struct source *source = source_of(pages);
        enum region_result r;
        void *address;

        if (source == &segment) {
                r = segment_check_namespace(pages);
                if (r != REGION_OK)
                        return r;
        }
        address = hint ? source->put(pages, hint, PLACE_FREE) : MAP_FAILED;
        if (address == MAP_FAILED)
                address = put_anywhere(pages);
        if (address == MAP_FAILED)
                return note_unmappable(pages, errno);

        r = source == &segment ? segment_check(pages) : REGION_OK;
        if (r == REGION_OK)
                r = apply_wishes(pages, address);
        if (r != REGION_OK) {
                source->remove(pages, address);
                return r;
        }
        *ret = address;
        return REGION_OK;
}

enum region_result pages_map(struct pages *pages, void *hint, void **ret)
{
        void *address = pages->address;
        enum region_result r;

        if (!address) {
                r = map_anew(pages, hint, &address);
                if (r != REGION_OK)
                        return r;
                pages->address = address;
        }
        *ret = address;
        return REGION_OK;
}

void pages_unmap(struct pages *pages)
{
        if (pages->address)
                source_of(pages)->remove(pages, pages->address);
        pages->address = NULL;
}

enum region_result pages_map_further(struct pages *pages, void **ret)
{
        owned(freep) struct pages_place *place = calloc(1, sizeof(*place));
        enum region_result r;

        if (!place)
                return failure_note_memory();
        r = map_anew(pages, NULL, &place->address);
        if (r != REGION_OK)
                return r;
        SLIST_INSERT_HEAD(&pages->further, place, link);
        *ret = take_ptr(place)->address;
        return REGION_OK;
}

bool pages_unmap_further(struct pages *pages, const void *address)
{
        struct pages_place *place;

        SLIST_FOREACH(place, &pages->further, link)
                if (place->address == address)
                        break;
        if (!place)
                return false;
        unmap_place(pages, place);
        return true;
}

enum region_result pages_upgrade(struct pages *pages, const struct grant_view *grant, struct fdset *fds)
{
        const struct source *source = source_of(pages);
        struct pages upgraded = *pages;
        owned(closep) int fd = -1;
        enum region_result r;

        upgraded.access = (enum region_access)grant->access;
        if (source == &descriptor) {
                r = descriptor_take(&upgraded, grant, fds, &fd);
                if (r != REGION_OK)
                        return r;
                /* its number has been told, so it stays */
                if (dup3(fd, pages->fd, O_CLOEXEC) < 0)
                        return failure_note_system(REGION_E_RESOURCE, "dup3", errno, "region '%s' stays read-only (%s)",
                                                   pages->name, errno_text(errno));
        }
        if (pages->address && source->put(&upgraded, pages->address, PLACE_OURS) == MAP_FAILED)
                return note_unmappable(pages, errno);
        pages->access = (enum region_access)grant->access;
        return pages->address ? apply_wishes(pages, pages->address) : REGION_OK;
}
