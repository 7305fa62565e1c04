#pragma once

/* The bytes of one region as this process has them: where they come from, and where they are mapped. Knows no broker
 * and no lock; the failures it notes are the machine's, or claims of the broker that do not hold. */

#include "client/libregion.h"

#include "proto/fdset.h"
#include "proto/terms.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <sys/queue.h>

/* How an environment wants its memory treated. */
struct pages_wishes {
        bool lock;
        bool huge_pages; /* for the kernel to make where its settings let it */
        bool collapse;   /* and where they do not, of the small ones that are there */
        bool hugetlb;    /* it is of the pool of huge pages */
};

/* What to do where a sentence says that there are none of those. */
#define POOL_ADVICE "the pool of huge pages has too few that are free: raise vm.nr_hugepages, or make it smaller"

/* One more place where a region is mapped. */
struct pages_place {
        SLIST_ENTRY(pages_place) link;
        void *address;
};

struct pages {
        const char *name; /* the region's, for sentences */
        enum region_backing backing;
        size_t size;
        struct pages_wishes wishes;
        _Atomic enum region_access access;
        int fd;                       /* owned: memfd, posix, file; else -1 */
        int shm_id;                   /* sysv */
        struct opt_int shm_key;       /* sysv */
        struct opt_int ipc_namespace; /* sysv */
        void *heap;                   /* owned: private; elsewhere NULL */
        void *_Atomic address;        /* where it is mapped, or NULL */
        SLIST_HEAD(, pages_place) further;
};

/* Fills `pages` from a grant whose region `name` and `size` are known to be good, moving its descriptor out of `fds`.
 * REGION_E_PROTOCOL: the grant brings no memory, or such as could be cut off below us. On failure there is nothing to
 * release. */
enum region_result pages_init(struct pages *pages, const struct grant_view *grant, struct fdset *fds,
                              struct pages_wishes wishes, const char *name);
/* Unmaps it and gives up what it comes from. */
void pages_release(struct pages *pages);

/* Makes sure that the machine has all of it: afterwards no touch can fail. */
enum region_result pages_reserve(struct pages *pages);

/* Maps it, at `hint` if that is free; mapped already, says where. */
enum region_result pages_map(struct pages *pages, void *hint, void **ret);
void pages_unmap(struct pages *pages);

/* Maps it once more, each time at another address; not for private memory, of which there is one. */
enum region_result pages_map_further(struct pages *pages, void **ret);
/* False: `address` is not of such a mapping. */
bool pages_unmap_further(struct pages *pages, const void *address);

/* Takes a grant for writing in the place of one for reading, and the descriptor out of `fds`. What is mapped by
 * pages_map() stays where it is and becomes writable. */
enum region_result pages_upgrade(struct pages *pages, const struct grant_view *grant, struct fdset *fds);
