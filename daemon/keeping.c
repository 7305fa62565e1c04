#include "daemon/keeping.h"

#include "daemon/broker.h"
#include "daemon/host/memory.h"

#include <inttypes.h>
#include <stdio.h>

enum { NAME_SIZE = 64 };

static void write_name(const struct broker *broker, const struct region *region, char ret[NAME_SIZE])
{
        snprintf(ret, NAME_SIZE, "region.%016" PRIx64 ".%" PRIu64, broker->registry.instance, region->id);
}

void keeping_keep(struct broker *broker, const struct region *region)
{
        const struct keeper *keeper = &broker->settings.keeper;
        char name[NAME_SIZE];

        if (!keeper->keep || !region->memory || memory_fd(region->memory) < 0 || memory_path(region->memory))
                return;
        write_name(broker, region, name);
        keeper->keep(keeper->data, name, memory_fd(region->memory));
}

void keeping_drop(struct broker *broker, const struct region *region)
{
        const struct keeper *keeper = &broker->settings.keeper;
        char name[NAME_SIZE];

        if (!keeper->drop || !region->memory || memory_fd(region->memory) < 0 || memory_path(region->memory))
                return;
        write_name(broker, region, name);
        keeper->drop(keeper->data, name);
}

int keeping_take(struct broker *broker, const struct region *region)
{
        const struct keeper *keeper = &broker->settings.keeper;
        char name[NAME_SIZE];

        write_name(broker, region, name);
        return keeper->take ? keeper->take(keeper->data, name) : -1;
}
