/* What is written, and when it goes to the disk:
 *
 *   begin    not in force, before the files have names: if the machine stops now, another broker removes what there is
 *   ready    in force
 *   writer   the first that attaches for writing: if the machine stops, it died so. Only where that makes a difference,
 *            with recovery
 *   leave    the last one did; a while later, so that who comes and goes does not make the disk busy, and not if another
 *            came meanwhile
 *   change   before a region's file gets or loses its name it is a stray one, to be removed; then it is what it is
 *   void     not in force any more, before the first file goes; what it says is as it was, so this needs neither room nor
 *            waiting for the disk
 *
 * It lies in the home or, without one, with the files. That home is found at the next start by a link in the state
 * directory, home.INSTANCE.NUMBER, called after the environment's id. */

#include "daemon/describing.h"

#include "daemon/host/description.h"
#include "daemon/host/memory.h"
#include "daemon/log.h"
#include "proto/util.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>

enum { TIDY_USEC = 1000 * 1000 };

struct described {
        struct environment *environment;
        struct agenda_item tidy; /* to say that nobody writes any more */
        int place;               /* owned; -1: it lies with the files */
        bool in_force;
        bool writing; /* as it says */
};

static bool may_be_fit(const struct environment *environment)
{
        return environment->lifetime == LIFETIME_PERSISTENT && environment->directory >= 0;
}

/* It persists, and all of its regions but the stray one are files that are there. */
static bool is_fit(const struct environment *environment, const struct region *stray)
{
        const struct region *region;
        bool has_files = false;

        if (!may_be_fit(environment))
                return false;
        TAILQ_FOREACH(region, &environment->regions, in_environment) {
                bool is_file = region->backing == BACKING_FILE && region->memory;

                if (!is_file && region != stray)
                        return false;
                has_files |= is_file;
        }
        return has_files;
}

/* --- where it lies ----------------------------------------------------------------------------------------------- */

static bool is_with_files(const struct environment *environment)
{
        return !environment->home || strcmp(environment->home, environment->directory_path) == 0;
}

static const char *place_path(const struct environment *environment)
{
        return environment->home ? environment->home : environment->directory_path;
}

static int place_of(const struct described *described)
{
        return described->place >= 0 ? described->place : described->environment->directory;
}

/* One that says nothing yet. */
static int begin(struct environment *environment)
{
        struct described *described = calloc(1, sizeof(*described));

        if (!described)
                return -ENOMEM;
        *described = (struct described){ .environment = environment, .place = -1 };
        if (!is_with_files(environment)) {
                described->place = open(environment->home, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
                if (described->place < 0) {
                        int r = -errno;

                        free(described);
                        return r;
                }
        }
        environment->described = described;
        return 0;
}

static void end(struct broker *broker, struct environment *environment)
{
        struct described *described = take_ptr(environment->described);

        agenda_cancel(&broker->agenda, &described->tidy);
        close_fd(described->place);
        free(described);
}

/* --- the link to it ---------------------------------------------------------------------------------------------- */

static bool write_link(const struct broker *broker, const struct environment *environment, char ret[PATH_MAX])
{
        const struct given_id id = registry_given_id(&broker->registry, environment->id, &environment->given);

        if (!broker->settings.state_directory || environment->own_directory)
                return false;
        return snprintf(ret, PATH_MAX, "%s/home.%016" PRIx64 ".%" PRIu64, broker->settings.state_directory, id.instance,
                        id.number) < PATH_MAX;
}

/* Without it the environment comes back when its home is opened, and not before. */
static void link_home(const struct broker *broker, const struct environment *environment)
{
        char path[PATH_MAX], target[PATH_MAX] = "";

        if (!write_link(broker, environment, path))
                return;
        if (readlink(path, target, sizeof(target) - 1) > 0 && strcmp(target, place_path(environment)) == 0)
                return;
        unlink(path);
        if (symlink(place_path(environment), path) < 0)
                log_warning("cannot note the home %s in %s: %s", place_path(environment),
                            broker->settings.state_directory, strerror(errno));
}

static void unlink_home(const struct broker *broker, const struct environment *environment)
{
        char path[PATH_MAX];

        if (write_link(broker, environment, path))
                unlink(path);
}

/* --- what it says ------------------------------------------------------------------------------------------------ */

static bool has_writers(const struct environment *environment)
{
        const struct member *member;

        TAILQ_FOREACH(member, &environment->members, in_environment)
                if (member_writes(member))
                        return true;
        return false;
}

/* It will need repair if the machine stops now. */
static bool is_written(const struct environment *environment)
{
        return environment->recovery && (environment->state != STATE_READY || has_writers(environment));
}

static int describe_region(const struct broker *broker, const struct region *region, bool stray,
                           struct description *description)
{
        struct described_region *described = &description->regions[description->n_regions++];

        *described = (struct described_region){
                .id = registry_given_id(&broker->registry, region->id, &region->given),
                .number = region->number,
                .size = region->size,
                .type = region->type,
                .name = region->name,
                .stray = stray,
        };
        return file_identify(memory_fd(region->memory), &described->file);
}

static int describe_regions(const struct broker *broker, const struct environment *environment,
                            const struct region *stray, struct description *description)
{
        const struct region *region;
        int r = 0;

        description->regions = calloc(environment->n_regions + 1, sizeof(*description->regions));
        if (!description->regions)
                return -ENOMEM;
        TAILQ_FOREACH(region, &environment->regions, in_environment) {
                if (region != stray)
                        r = describe_region(broker, region, false, description);
                if (r < 0)
                        return r;
        }
        return stray && stray->backing == BACKING_FILE ? describe_region(broker, stray, true, description) : 0;
}

/* Its texts are the environment's; its regions are to be freed. */
static int describe(const struct broker *broker, const struct environment *environment, const struct region *stray,
                    struct description *ret)
{
        *ret = (struct description){
                .id = registry_given_id(&broker->registry, environment->id, &environment->given),
                .broker = broker->registry.instance,
                .name = environment->name,
                .home = environment->home,
                .directory = is_with_files(environment) ? NULL : environment->directory_path,
                .schema = environment->schema,
                .uid = environment->uid,
                .gid = environment->gid,
                .mode = environment->mode,
                .created_usec = environment->created_usec,
                .generation = environment->generation,
                .deaths = environment->deaths,
                .recovery = environment->recovery,
                .reserve = environment->reserve,
                .lock = environment->lock,
                .huge_pages = environment->huge_pages,
                .writing = is_written(environment),
                .last_number = environment->last_number,
        };
        return describe_regions(broker, environment, stray, ret);
}

static int put(struct broker *broker, struct environment *environment, const struct description *description,
               bool in_force)
{
        struct described *described = environment->described;
        int r = description_put(place_of(described), description, in_force);

        if (r == -ENOENT) /* the directory was removed, and its files with it: nothing will come back */
                return 0;
        if (r < 0)
                return r;
        described->in_force = in_force;
        described->writing = description->writing;
        environment->described_by = broker->registry.instance;
        change_touch(&environment->change);
        if (in_force)
                link_home(broker, environment);
        return 0;
}

static int write_anew(struct broker *broker, struct environment *environment, const struct region *stray)
{
        struct description description;
        int r = describe(broker, environment, stray, &description);

        if (r == 0)
                r = put(broker, environment, &description, environment->state != STATE_INITIALIZING);
        free(description.regions);
        return r;
}

static int refuse_failure(struct refusal *refusal, int r)
{
        return r < 0 ? refuse_resource(refusal, "write " DESCRIPTION_NAME, r) : 0;
}

/* --- steps ------------------------------------------------------------------------------------------------------- */

int describing_begin(struct broker *broker, struct refusal *refusal, struct environment *environment)
{
        int r;

        if (!is_fit(environment, NULL))
                return 0;
        r = begin(environment);
        if (r == 0)
                r = write_anew(broker, environment, NULL);
        return refuse_failure(refusal, r);
}

int describing_ready(struct broker *broker, struct refusal *refusal, struct environment *environment,
                     uint64_t generation)
{
        struct description description;
        int r;

        if (!environment->described)
                return 0;
        r = describe(broker, environment, NULL, &description);
        description.generation = generation;
        description.writing = environment->recovery && has_writers(environment);
        if (r == 0)
                r = put(broker, environment, &description, true);
        free(description.regions);
        return refuse_failure(refusal, r);
}

int describing_change(struct broker *broker, struct refusal *refusal, struct environment *environment,
                      const struct region *stray)
{
        int r = 0;

        if (!is_fit(environment, stray)) {
                describing_remove(broker, environment);
                return 0;
        }
        if (!environment->described)
                r = begin(environment);
        if (r == 0)
                r = write_anew(broker, environment, stray);
        return refuse_failure(refusal, r);
}

static int write_writing(struct broker *broker, struct environment *environment, bool writing)
{
        struct description description;
        int r = describe(broker, environment, NULL, &description);

        description.writing = writing;
        if (r == 0)
                r = put(broker, environment, &description, true);
        free(description.regions);
        return r;
}

int describing_grant(struct broker *broker, struct refusal *refusal, struct environment *environment,
                     enum access access)
{
        const struct described *described = environment->described;
        bool is_ours = environment->described_by == broker->registry.instance;
        bool writes = access == ACCESS_WRITE && environment->recovery;

        if (!described || !described->in_force || (is_ours && (described->writing || !writes)))
                return 0;
        return refuse_failure(refusal, write_writing(broker, environment, described->writing || writes));
}

static void on_tidy(struct agenda_item *item, void *data)
{
        struct environment *environment = container_of(item, struct described, tidy)->environment;
        int r = is_written(environment) ? 0 : write_writing(data, environment, false);

        if (r < 0)
                log_warning("cannot write in %s that nobody writes to environment %s any more: %s",
                            place_path(environment), environment->name, strerror(-r));
}

void describing_leave(struct broker *broker, struct environment *environment)
{
        struct described *described = environment->described;

        if (!described || !described->writing || described->tidy.at > 0)
                return;
        described->tidy.on_due = on_tidy;
        agenda_set(&broker->agenda, &described->tidy, broker->now + TIDY_USEC);
}

void describing_settle(struct broker *broker)
{
        struct environment *environment;
        uint64_t id = 0;

        while ((environment = registry_after(&broker->registry, id))) {
                id = environment->id;
                if (!environment->described || environment->described->tidy.at == 0)
                        continue;
                agenda_cancel(&broker->agenda, &environment->described->tidy);
                on_tidy(&environment->described->tidy, broker);
        }
}

/* --- its end ----------------------------------------------------------------------------------------------------- */

void describing_void(struct environment *environment)
{
        if (environment->described && environment->described->in_force)
                description_void(place_of(environment->described));
}

void describing_remove(struct broker *broker, struct environment *environment)
{
        if (!environment->described)
                return;
        description_remove(place_of(environment->described));
        unlink_home(broker, environment);
        end(broker, environment);
}

void describing_forget(struct broker *broker, struct environment *environment)
{
        if (environment->described)
                end(broker, environment);
}

/* --- found again ------------------------------------------------------------------------------------------------- */

static bool is_id(struct given_id a, struct given_id b)
{
        return a.instance == b.instance && a.number == b.number;
}

/* What is there and tells of this environment, whoever wrote it last. */
static bool read_any(const struct broker *broker, const struct environment *environment, int place, bool in_force,
                     struct description *ret)
{
        char why[DESCRIPTION_WHY_SIZE];

        return description_read(place, in_force, ret, why) == 0 &&
               is_id(ret->id, registry_given_id(&broker->registry, environment->id, &environment->given));
}

/* Not by us, nor by the one that we had it from. */
static bool is_anothers(const struct broker *broker, const struct environment *environment,
                        const struct description *description)
{
        return description->broker != broker->registry.instance && description->broker != environment->described_by;
}

static bool read_own(const struct broker *broker, const struct environment *environment, bool in_force,
                     struct description *ret)
{
        return read_any(broker, environment, place_of(environment->described), in_force, ret) &&
               !is_anothers(broker, environment, ret);
}

static bool is_true(struct broker *broker, const struct environment *environment, const struct description *found)
{
        owned(freep) char *said = NULL, *true_one = NULL;
        struct description description;
        size_t n_said, n_true;
        int r = describe(broker, environment, NULL, &description);

        said = description_print(found, &n_said);
        true_one = r == 0 ? description_print(&description, &n_true) : NULL;
        free(description.regions);
        return said && true_one && n_said == n_true && memcmp(said, true_one, n_true) == 0;
}

static void complain(const struct environment *environment, int r)
{
        if (r < 0)
                log_warning("cannot describe environment %s in %s: %s", environment->name, place_path(environment),
                            strerror(-r));
}

/* It goes, or part of it was lost: what tells of it is to go with it. */
static void resume_unfit(struct broker *broker, struct environment *environment)
{
        owned(description_clear) struct description found = {}, void_one = {};
        const struct region *region;

        environment->described->in_force = read_own(broker, environment, true, &found);
        if (!environment->described->in_force && !read_own(broker, environment, false, &void_one)) {
                end(broker, environment);
                return;
        }
        if (environment->state == STATE_RETIRED)
                return;
        TAILQ_FOREACH(region, &environment->regions, in_environment)
                if (!region->memory)
                        return;
        describing_remove(broker, environment); /* what is no file came to it just before we ended */
}

static int resume_fit(struct broker *broker, struct environment *environment)
{
        owned(description_clear) struct description found = {};
        struct described *described = environment->described;

        described->in_force = environment->state != STATE_INITIALIZING && read_own(broker, environment, true, &found);
        described->writing = described->in_force && found.writing;
        if (described->in_force && is_true(broker, environment, &found))
                return 0;
        return write_anew(broker, environment, NULL);
}

void describing_resume(struct broker *broker, struct environment *environment)
{
        int r;

        if (!may_be_fit(environment))
                return;
        r = begin(environment);
        if (r < 0)
                complain(environment, r);
        else if (environment->state == STATE_RETIRED || !is_fit(environment, NULL))
                resume_unfit(broker, environment);
        else
                complain(environment, resume_fit(broker, environment));
}

bool describing_is_anothers(struct broker *broker, const struct environment *environment)
{
        owned(description_clear) struct description found = {};
        owned(closep) int place = -1;

        if (!may_be_fit(environment))
                return false;
        place = open(place_path(environment), O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        return place >= 0 && read_any(broker, environment, place, true, &found) &&
               is_anothers(broker, environment, &found);
}

void describing_adopt(struct broker *broker, struct environment *environment, const struct description *description)
{
        const struct given_id id = registry_given_id(&broker->registry, environment->id, &environment->given);
        bool is_so = is_id(id, description->id) && strcmp(environment->name, description->name) == 0 &&
                     (!environment->home || strcmp(environment->home, description->home) == 0) &&
                     environment->last_number == description->last_number;
        int r = begin(environment);

        if (r == 0) {
                environment->described->in_force = true;
                environment->described->writing = description->writing;
                environment->described_by = description->broker;
                link_home(broker, environment);
        }
        if (r == 0 && !is_so)
                r = write_anew(broker, environment, NULL);
        complain(environment, r);
}
