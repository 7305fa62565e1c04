/* One region: its fields and invariants. */

#include "daemon/core/region.h"

#include "proto/util.h"

#include <assert.h>
#include <string.h>

struct region *region_new(const struct spec *spec, enum backing backing)
{
        struct region *region = calloc(1, sizeof(*region));

        if (!region)
                return NULL;
        region->name = strdup(spec->name);
        region->type = strdup(spec->type ? spec->type : "user");
        region->size = spec->size;
        region->backing = backing;
        region->privately_held = backing == BACKING_PRIVATE;
        region->watch = -1;
        LIST_INIT(&region->attachments);
        if (!region->name || !region->type)
                return region_free(region);
        return region;
}

struct region *region_free(struct region *region)
{
        if (!region)
                return NULL;
        assert(!region->memory && LIST_EMPTY(&region->attachments) && region->watch < 0);
        free(region->name);
        free(region->type);
        free(region);
        return NULL;
}
