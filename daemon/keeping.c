/* The name is the region's id, which is never given again. What is found under a name is not believed for it: it has to be
 * the file that was made (memory_find()). */

#include "daemon/keeping.h"

#include "daemon/broker.h"
#include "daemon/host/memory.h"
#include "daemon/log.h"

#include <string.h>

enum { NAME_SIZE = 16 };

static void write_name(const struct region *region, char ret[NAME_SIZE])
{
        static const char digits[] = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ-_";
        uint64_t id = region->id;

        *ret++ = 'r';
        for (; id > 0; id /= 64)
                *ret++ = digits[id % 64];
        *ret = '\0';
}

/* Said once, until it goes well again: peers can cause many. */
static void note(struct broker *broker, const struct region *region, int r)
{
        if (r < 0 && broker->keeper_failure == 0)
                log_line_of(
                        LOG_LEVEL_WARNING, LOG_FIELDS(.environment = region->environment->name, .region = region->name),
                        "the descriptor store of the service manager does not take region %s of environment %s: %s; "
                        "such memory does not outlive a restart of the broker (see FileDescriptorStoreMax=)",
                        region->name, region->environment->name, strerror(-r));
        else if (r == 0 && broker->keeper_failure < 0)
                log_notice("the descriptor store of the service manager takes regions again");
        broker->keeper_failure = r;
}

void keeping_keep(struct broker *broker, struct region *region)
{
        const struct keeper *keeper = &broker->settings.keeper;
        char name[NAME_SIZE];
        int r;

        if (!keeper->keep || region->kept || !region->memory || memory_fd(region->memory) < 0)
                return;
        write_name(region, name);
        r = keeper->keep(keeper->data, name, memory_fd(region->memory), region->backing == BACKING_FILE, &region->kept);
        note(broker, region, r);
}

void keeping_drop(struct broker *broker, struct region *region)
{
        if (region->kept)
                broker->settings.keeper.drop(broker->settings.keeper.data, region->kept);
        region->kept = NULL;
}

int keeping_take(struct broker *broker, struct region *region)
{
        const struct keeper *keeper = &broker->settings.keeper;
        char name[NAME_SIZE];

        if (!keeper->take)
                return -1;
        write_name(region, name);
        return keeper->take(keeper->data, name, &region->kept);
}
