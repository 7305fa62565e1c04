/* Memory as a region wants it, and what to tell people where the machine has none. */

#include "daemon/making.h"

#include "daemon/host/memory.h"

#include <errno.h>

/* errno says little of the pool of huge pages; NULL: enough. */
static const char *hugetlb_advice(const struct broker *broker, int r)
{
        if (broker->huge_page_size == 0)
                return "this kernel has no pool of huge pages; make it without hugetlb";
        switch (r) {
        case -ENOMEM:
                return "the pool of huge pages has too few that are free; raise vm.nr_hugepages";
        case -EPERM:
                return "the broker may not use huge pages in System V memory; set vm.hugetlb_shm_group to its group";
        default:
                return NULL;
        }
}

int making_make(struct broker *broker, struct request *request, const struct environment *environment,
                struct region *region)
{
        const struct memory_plan plan = {
                .backing = region->backing,
                .size = region->size,
                .hugetlb = environment->hugetlb,
                .instance = broker->registry.instance,
                .id = region->id,
                .directory = environment->directory,
                .directory_path = environment->directory_path,
                .number = region->number,
                .shm_key = region->shm_key,
                .uid = environment->uid,
                .gid = environment->gid,
                .mode = environment->mode,
        };
        const char *operation;
        int r;

        if (region->backing == BACKING_PRIVATE)
                return 0;
        r = memory_make(&plan, &region->memory, &operation);
        if (r == -EEXIST && region->backing == BACKING_SYSV)
                return r;
        if (r < 0 && environment->hugetlb)
                request->refusal.reason = hugetlb_advice(broker, r);
        if (r < 0)
                return refuse_resource(&request->refusal, operation, r);
        if (region->backing == BACKING_MEMFD)
                keeping_keep(broker, region);
        return 0;
}

int making_name(struct request *request, struct region *region)
{
        const char *operation;
        int r = region->memory ? memory_name(region->memory, &operation) : 0;

        return r < 0 ? refuse_resource(&request->refusal, operation, r) : 0;
}
