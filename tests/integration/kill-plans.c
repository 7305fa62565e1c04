#include "tests/integration/kill-plans.h"

#include "proto/util.h"

#include <dirent.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

enum { LINGER_USEC = 20 * 1000 };

const struct plan plans[] = {
        { "memfd", REGION_BACKING_MEMFD, REGION_LIFETIME_ATTACHED, 0, READ_TOO },
        { "memfd-linger", REGION_BACKING_MEMFD, REGION_LIFETIME_ATTACHED, LINGER_USEC, 0 },
        { "memfd-creator", REGION_BACKING_MEMFD, REGION_LIFETIME_CREATOR, 0, 0 },
        { "memfd-persistent", REGION_BACKING_MEMFD, REGION_LIFETIME_PERSISTENT, 0, 0 },
        { "sysv", REGION_BACKING_SYSV, REGION_LIFETIME_ATTACHED, 0, READ_TOO },
        { "sysv-linger", REGION_BACKING_SYSV, REGION_LIFETIME_ATTACHED, LINGER_USEC, 0 },
        { "sysv-creator", REGION_BACKING_SYSV, REGION_LIFETIME_CREATOR, 0, KEYS },
        { "sysv-persistent", REGION_BACKING_SYSV, REGION_LIFETIME_PERSISTENT, 0, 0 },
        { "posix", REGION_BACKING_POSIX, REGION_LIFETIME_ATTACHED, 0, READ_TOO },
        { "posix-creator", REGION_BACKING_POSIX, REGION_LIFETIME_CREATOR, 0, HOME },
        { "posix-persistent", REGION_BACKING_POSIX, REGION_LIFETIME_PERSISTENT, 0, 0 },
        { "file", REGION_BACKING_FILE, REGION_LIFETIME_ATTACHED, 0, HOME | READ_TOO },
        { "file-linger", REGION_BACKING_FILE, REGION_LIFETIME_ATTACHED, LINGER_USEC, HOME | BY_PATH },
        { "file-creator", REGION_BACKING_FILE, REGION_LIFETIME_CREATOR, 0, HOME },
        { "file-persistent", REGION_BACKING_FILE, REGION_LIFETIME_PERSISTENT, 0, HOME | BY_PATH },
        { "file-homeless", REGION_BACKING_FILE, REGION_LIFETIME_ATTACHED, 0, 0 },
        { "mixed", REGION_BACKING_MEMFD, REGION_LIFETIME_ATTACHED, 0, MIXED | HOME | READ_TOO },
        { "mixed-creator", REGION_BACKING_SYSV, REGION_LIFETIME_CREATOR, 0, MIXED },
        { "mixed-persistent", REGION_BACKING_POSIX, REGION_LIFETIME_PERSISTENT, 0, MIXED | HOME },
        { "private", REGION_BACKING_PRIVATE, REGION_LIFETIME_ATTACHED, 0, 0 },
        { "private-own", REGION_BACKING_PRIVATE, REGION_LIFETIME_CREATOR, 0, PRIVATE_OWN },
};

const unsigned n_plans = array_size(plans);

/* --- wishes ------------------------------------------------------------------------------------------------------ */

static void path_of_home(const struct stage *stage, const struct plan *plan, char *path, size_t size)
{
        snprintf(path, size, "%s/home.%s", stage->directory, plan->name);
}

void wish_make(struct wish *wish, const struct stage *stage, const struct plan *plan, struct dice *dice)
{
        static const struct region_spec specs[REGIONS_MAX] = {
                { .name = "a", .size = 4 * PATTERN_PAGE, .type = "env" },
                { .name = "b",
                  .size = 70 * PATTERN_PAGE,
                  .type = "mpool" }, /* enough to be given back by another thread */
                { .name = "c", .size = 1, .type = "lock" },
                { .name = "d", .size = 20 * PATTERN_PAGE - 5 },
        };
        static const enum region_backing mixed[REGIONS_MAX] = { REGION_BACKING_MEMFD, REGION_BACKING_SYSV,
                                                                REGION_BACKING_POSIX, REGION_BACKING_FILE };

        *wish = (struct wish){
                .options = {
                        .create = REGION_CREATE_IF_ABSENT,
                        .backing = plan->backing,
                        .shm_key = plan->is & KEYS ? stage->shm_key : 0,
                        .lifetime = plan->lifetime,
                        .linger_usec = plan->linger_usec,
                        .schema = "kill 1",
                        .sparse = dice_one_in(dice, 4),
                        .regions = wish->specs,
                        .n_regions = REGIONS_MAX,
                },
        };
        memcpy(wish->specs, specs, sizeof(specs));
        for (size_t i = 0; i < REGIONS_MAX && plan->is & MIXED; i++)
                wish->specs[i].backing = mixed[i];
        path_of_home(stage, plan, wish->home, sizeof(wish->home));
        if (plan->is & HOME)
                wish->options.home = wish->home;
        if (plan->is & BY_PATH)
                memcpy(wish->name, wish->home, sizeof(wish->name));
        else if (plan->is & PRIVATE_OWN)
                snprintf(wish->name, sizeof(wish->name), "%s-%d", plan->name, (int)getpid());
        else
                snprintf(wish->name, sizeof(wish->name), "%s", plan->name);
}

/* Another way to come in, now and then; the refusals that go with it. */
uint32_t wish_vary(struct wish *wish, const struct plan *plan, struct dice *dice)
{
        uint32_t refusals = plan->backing == REGION_BACKING_PRIVATE ? MAY(BUSY) : 0;

        switch (dice_below(dice, 8)) {
        case 0:
                wish->options.wait_usec = REGION_NO_WAIT;
                return refusals | MAY(NOT_READY);
        case 1:
                wish->options.create = REGION_CREATE_ALWAYS;
                return refusals | MAY(EXISTS);
        case 2:
                wish->options.create = REGION_CREATE_NEVER;
                if (plan->is & READ_TOO)
                        wish->options.access = REGION_READ;
                return refusals | MAY(NOT_FOUND);
        case 3:
                wish->only[0] = "b";
                wish->options.only = wish->only;
                wish->options.n_only = 1;
                return refusals;
        default:
                return refusals;
        }
}

/* --- homes ------------------------------------------------------------------------------------------------------- */

bool plans_make_homes(const struct stage *stage)
{
        char path[160];

        for (unsigned i = 0; i < n_plans; i++) {
                path_of_home(stage, &plans[i], path, sizeof(path));
                if (plans[i].is & HOME && mkdir(path, 0700) < 0)
                        return false;
        }
        return true;
}

static int count_in(const char *path)
{
        DIR *directory = opendir(path);
        struct dirent *entry;
        int n = 0;

        if (!directory)
                return -1;
        while ((entry = readdir(directory)))
                n += strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0;
        closedir(directory);
        return n;
}

int plans_count_files(const struct stage *stage)
{
        char path[160];
        int n, all = 0;

        for (unsigned i = 0; i < n_plans; i++) {
                path_of_home(stage, &plans[i], path, sizeof(path));
                n = plans[i].is & HOME ? count_in(path) : 0;
                if (n < 0)
                        return -1;
                all += n;
        }
        return all;
}
