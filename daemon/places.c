/* The state directory has an entry for each: environment.INSTANCE.NUMBER, a directory of our own with an environment that has
 * no home, and home.INSTANCE.NUMBER, a link to a home (describing.c). So those are known by their names from the start. Others
 * are found when their home is opened. A home that is not there may be on a disk that is not mounted: its link stays. */

#include "daemon/places.h"

#include "daemon/homecoming.h"
#include "daemon/host/description.h"
#include "daemon/host/directory.h"
#include "daemon/log.h"
#include "proto/util.h"

#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>

/* --- at the start ------------------------------------------------------------------------------------------------ */

struct entry {
        struct given_id id;
        bool is_link;
        char path[PATH_MAX]; /* where it leads */
};

static bool read_entry(const struct broker *broker, int directory, const char *name, struct entry *ret)
{
        ssize_t n;
        int end = 0;

        ret->is_link = name[0] == 'h';
        if (sscanf(name, ret->is_link ? "home.%16" SCNx64 ".%" SCNu64 "%n" : "environment.%16" SCNx64 ".%" SCNu64 "%n",
                   &ret->id.instance, &ret->id.number, &end) != 2 ||
            name[end])
                return false;
        n = ret->is_link ? readlinkat(directory, name, ret->path, sizeof(ret->path) - 1)
                         : snprintf(ret->path, sizeof(ret->path), "%s/%s", broker->settings.state_directory, name);
        if (n < 0 || (size_t)n >= sizeof(ret->path) - 1)
                return false;
        ret->path[n] = '\0';
        return true;
}

/* What it leads to is known, by this entry or another. */
static bool is_known(struct broker *broker, const struct entry *entry)
{
        return registry_find_given(&broker->registry, &entry->id) ||
               (entry->is_link && registry_find_home(&broker->registry, entry->path));
}

/* 0; or -EBUSY: it has that name, and is held. */
static int look_at(struct broker *broker, int directory, const char *name, const char *wanted)
{
        struct arrival arrival = { .why = "nothing is there that describes an environment" };
        struct entry entry;
        int r;

        if (!read_entry(broker, directory, name, &entry) || registry_find_given(&broker->registry, &entry.id))
                return 0;
        r = is_known(broker, &entry) ? HOMECOMING_TAKEN : homecoming_come(broker, entry.path, false, &arrival);
        if (entry.is_link && (r == HOMECOMING_CLEARED || r == HOMECOMING_TAKEN) &&
            !registry_find_given(&broker->registry, &entry.id))
                unlinkat(directory, name, 0); /* of what was there before */
        broker->held_back |= r == -EBUSY;
        if (!wanted && r <= HOMECOMING_NOTHING)
                log_warning("left alone what is in %s: %s", entry.path, arrival.why);
        if (!wanted || r != -EBUSY || strcmp(arrival.name, wanted) != 0)
                return 0;
        snprintf(broker->why, sizeof(broker->why), "%s", arrival.why);
        return r;
}

static void closedirp(DIR **directory)
{
        if (*directory)
                closedir(*directory);
}

static int look_at_all(struct broker *broker, const char *wanted)
{
        const char *path = broker->settings.state_directory;
        owned(closedirp) DIR *directory = path ? opendir(path) : NULL;
        const struct dirent *entry;
        int r = 0;

        broker->held_back = false;
        while (directory && r == 0 && (entry = readdir(directory)))
                r = look_at(broker, dirfd(directory), entry->d_name, wanted);
        broker->held_back |= r < 0;
        return r;
}

void places_look_at_all(struct broker *broker)
{
        look_at_all(broker, NULL);
}

/* --- at Open ----------------------------------------------------------------------------------------------------- */

static int refuse_it(struct broker *broker, struct request *request, int r)
{
        request->refusal.reason = broker->why;
        return refuse_resource(&request->refusal, "read " DESCRIPTION_NAME, r);
}

static bool may_know(const struct request *request, const char *path)
{
        owned(closep) int fd = -1;
        owned(freep) char *canonical = NULL;

        return directory_open(path, request->peer, &fd, &canonical) == 0;
}

static int look_at_home(struct broker *broker, struct request *request, const char *path)
{
        owned(freep) char *canonical = directory_canonical(path);
        bool trusted = request->peer->uid == 0 || request->peer->uid == geteuid();
        struct arrival arrival = {};
        int r;

        if (!canonical || registry_find_home(&broker->registry, canonical))
                return 0;
        r = homecoming_come(broker, canonical, trusted, &arrival);
        if (r == -ENOMEM)
                return r;
        if (r >= 0 || !may_know(request, path))
                return 0;
        snprintf(broker->why, sizeof(broker->why), "%s", arrival.why);
        return refuse_it(broker, request, r);
}

int places_look_for(struct broker *broker, struct request *request, const char *name, const char *home)
{
        int r;

        if (home)
                return look_at_home(broker, request, home);
        if (!broker->held_back)
                return 0;
        r = look_at_all(broker, name); /* by now its holders may have gone */
        return r < 0 ? refuse_it(broker, request, r) : 0;
}
