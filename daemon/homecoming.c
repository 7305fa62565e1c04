/* A description is believed if none but a broker of this user can have written it, and if each file that it names is there,
 * is a broker's too, and has its size. Then there are three cases:
 *
 *   the very files, held by nobody       the environment itself, with its ids; wherever its home was moved to
 *   others of that size, or it is here   a copy, or one that was restored: another environment, with ids of its own; taken
 *     already                            in for nobody but who could have taken the files by hand, root and our own user,
 *                                        for a stranger may have put them together
 *   held                                 another broker has it, or members that the broker before had: refused until they
 *                                        have gone
 *
 * Nothing is changed before all of that is known. */

#include "daemon/homecoming.h"

#include "daemon/creation.h"
#include "daemon/definition.h"
#include "daemon/describing.h"
#include "daemon/events.h"
#include "daemon/host/description.h"
#include "daemon/host/directory.h"
#include "daemon/host/memory.h"
#include "daemon/lifecycle.h"
#include "daemon/log.h"
#include "proto/util.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

/* One place, and what is found there. */
struct coming {
        struct broker *broker;
        const char *path;
        int place;
        int files; /* where its files are */
        const char *files_path;
        bool trusted; /* who asks could have taken the files by hand */
        bool own;     /* the directory is one of ours */
        bool is_copy;
        struct description description;
        char *why; /* DESCRIPTION_WHY_SIZE bytes: what is wrong with it */
};

static void coming_clear(struct coming *coming)
{
        close_fd(coming->place);
        close_fd(coming->files);
        description_clear(&coming->description);
}

__attribute__((format(printf, 3, 4))) static int doubt(struct coming *coming, int r, const char *format, ...)
{
        va_list args;

        va_start(args, format);
        vsnprintf(coming->why, DESCRIPTION_WHY_SIZE, format, args);
        va_end(args);
        return r;
}

/* --- what is said of it ------------------------------------------------------------------------------------------ */

static const char *name_for(const struct coming *coming)
{
        return coming->description.home && coming->description.name[0] == '/' ? coming->path : coming->description.name;
}

static int check_names(struct coming *coming)
{
        const struct description *description = &coming->description;
        struct refusal refusal = {};
        int r = name_for(coming)[0] == '/' ? 0 : definition_check_name(description->name, &refusal);

        for (size_t i = 0; i < description->n_regions && r == 0; i++) {
                r = definition_check_name(description->regions[i].name, &refusal);
                if (strlen(description->regions[i].type) > TYPE_MAX_BYTES)
                        return doubt(coming, -EBADMSG, "a region's type is too long");
                for (size_t j = 0; j < i && !description->regions[i].stray; j++)
                        if (strcmp(description->regions[i].name, description->regions[j].name) == 0)
                                return doubt(coming, -EBADMSG, "two regions are called %s",
                                             description->regions[i].name);
        }
        if (r != 0)
                return doubt(coming, -EBADMSG, "\"%s\" cannot be a name: %s", refusal.name, refusal.reason);
        if (registry_find(&coming->broker->registry, name_for(coming)))
                return doubt(coming, -EEXIST, "it is called %s, and another environment is called so",
                             name_for(coming));
        return 0;
}

static int check_allowed(struct coming *coming, const char *path)
{
        if (coming->own || rules_allow_home(coming->broker->registry.rules, path))
                return 0;
        return doubt(coming, -EPERM, "the broker's configuration allows homes and region directories elsewhere only");
}

static int open_files(struct coming *coming)
{
        const char *path = coming->description.directory;

        coming->files_path = path ? path : coming->path;
        coming->files = path ? open(path, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC)
                             : fcntl(coming->place, F_DUPFD_CLOEXEC, 0);
        if (coming->files < 0)
                return doubt(coming, -errno, "%s, the directory of its files, cannot be opened: %s", coming->files_path,
                             strerror(errno));
        return path ? check_allowed(coming, path) : 0;
}

/* --- its files --------------------------------------------------------------------------------------------------- */

static int find_file(struct coming *coming, int directory, const struct described_region *region, struct memory **ret,
                     bool *ret_same)
{
        struct memory_trace trace = { .backing = BACKING_FILE, .size = region->size, .shm_id = -1 };
        owned(freep) char *path = NULL;
        int r = description_check_file(directory, region, &trace.device, &trace.inode, ret_same, coming->why);

        if (r < 0)
                return r;
        if (asprintf(&path, "%s/__db.%03u", coming->files_path, region->number) < 0) {
                path = NULL;
                return -ENOMEM;
        }
        trace.path = path;
        r = memory_find(&trace, directory, -1, ret);
        return r == -ESTALE ? doubt(coming, r, "%s cannot be opened, or was changed just now", path) : r;
}

/* What is there in its place and is another file stays. */
static int remove_file(struct coming *coming, int directory, const struct described_region *region)
{
        struct memory *memory;
        bool is_same;
        int r = find_file(coming, directory, region, &memory, &is_same);

        if (r < 0)
                return r == -ENOMEM ? r : 0;
        if (is_same && !memory_is_held(memory)) {
                memory_release(memory);
                return 0;
        }
        memory_forget(memory);
        return is_same ? doubt(coming, -EBUSY, "__db.%03u, which is to be removed, is held", region->number) : 0;
}

static int remove_files(struct coming *coming, int directory, bool strays_alone)
{
        const struct description *description = &coming->description;
        int r = 0;

        for (size_t i = 0; i < description->n_regions && r == 0; i++)
                if (description->regions[i].stray || !strays_alone)
                        r = remove_file(coming, directory, &description->regions[i]);
        return r;
}

/* What never came in force, or was to go. */
static int clear(struct coming *coming)
{
        int r = description_read(coming->place, false, &coming->description, coming->why);

        if (r < 0)
                return r == -ENOENT ? HOMECOMING_NOTHING : r;
        r = open_files(coming);
        if (r == 0)
                r = remove_files(coming, coming->files, false);
        if (r < 0)
                return r;
        description_remove(coming->place);
        if (coming->own)
                rmdir(coming->path);
        log_info("removed environment %s from %s, which was left half made or half removed", coming->description.name,
                 coming->path);
        return HOMECOMING_CLEARED;
}

/* --- the environment --------------------------------------------------------------------------------------------- */

static int add_region(struct coming *coming, struct environment *environment, const struct described_region *described)
{
        const struct spec spec = { .name = described->name, .type = described->type, .size = described->size };
        struct region *region = region_new(&spec, BACKING_FILE);
        bool is_same;
        int r;

        if (!region)
                return -ENOMEM;
        environment_add_region(environment, region);
        region->number = described->number;
        region->id = registry_next_id(&coming->broker->registry);
        region->given = described->id;
        r = find_file(coming, environment->directory, described, &region->memory, &is_same);
        if (r < 0)
                return r;
        if (memory_is_held(region->memory))
                return doubt(
                        coming, -EBUSY,
                        "region %s is held by a process that this broker did not grant it to, or by another broker",
                        region->name);
        coming->is_copy |= !is_same;
        return 0;
}

static int add_regions(struct coming *coming, struct environment *environment)
{
        const struct description *description = &coming->description;
        int r = 0;

        for (size_t i = 0; i < description->n_regions && r == 0; i++)
                if (!description->regions[i].stray)
                        r = add_region(coming, environment, &description->regions[i]);
        environment->last_number = description->last_number;
        return r;
}

/* It was made by somebody of another boot. */
static struct process *find_creator(struct broker *broker)
{
        struct process *process = registry_find_process(&broker->registry, 0);

        if (process)
                return broker_retain_process(process);
        process = calloc(1, sizeof(*process));
        if (!process)
                return NULL;
        process->pidfd = -1;
        strcpy(process->command, "?");
        LIST_INIT(&process->peers);
        LIST_INIT(&process->created);
        registry_add_process(&broker->registry, process);
        return broker_retain_process(process);
}

static int fill(struct coming *coming, struct environment *environment)
{
        const struct description *description = &coming->description;

        environment->id = registry_next_id(&coming->broker->registry);
        environment->given = description->id;
        environment->uid = description->uid;
        environment->gid = description->gid;
        environment->created_usec = description->created_usec;
        environment->generation = description->generation;
        environment->deaths = description->deaths;
        environment->state = STATE_READY;
        environment->directory = take_fd(coming->files);
        environment->directory_path = strdup(coming->files_path);
        if (description->home)
                environment->home = strdup(coming->path);
        if (!environment->directory_path || (description->home && !environment->home))
                return -ENOMEM;
        environment->creator = find_creator(coming->broker);
        return environment->creator ? directory_identify(coming->place, &environment->home_id) : -ENOMEM;
}

/* A copy is another one, whatever it was made of. */
static void give_own_ids(struct environment *environment)
{
        struct region *region;

        environment->given = (struct given_id){};
        TAILQ_FOREACH(region, &environment->regions, in_environment)
                region->given = (struct given_id){};
}

static int judge_copy(struct coming *coming, struct environment *environment)
{
        const struct environment *original = registry_find_given(&coming->broker->registry, &coming->description.id);

        coming->is_copy |= original != NULL;
        if (coming->is_copy && !coming->trusted)
                return doubt(coming, -ESTALE,
                             original ? "it is a copy: environment %s is here already; root may open it, as another one"
                                      : "the files of environment %s are not those that were made for it: copies, or "
                                        "restored; root may open it, as another one",
                             coming->description.name);
        if (coming->is_copy)
                give_own_ids(environment);
        return 0;
}

static int make_books(struct coming *coming, struct environment *environment)
{
        struct broker *broker = coming->broker;
        struct refusal refusal = {};
        int r;

        environment->account = registry_account(&broker->registry, environment->uid);
        if (!environment->account)
                return -ENOMEM;
        r = creation_make_control(broker, &refusal, environment);
        if (r == 0)
                return 0;
        registry_release_account(&broker->registry, environment->account);
        return r < 0 ? r : doubt(coming, -refusal.error, "%s: %s", refusal.operation, strerror(refusal.error));
}

/* As it stands there, in no register yet. */
static int build(struct coming *coming, struct environment *environment)
{
        int r = fill(coming, environment);

        if (r == 0)
                r = add_regions(coming, environment);
        if (r == 0)
                r = judge_copy(coming, environment);
        if (r == 0)
                r = remove_files(coming, environment->directory, true);
        return r == 0 ? make_books(coming, environment) : r;
}

/* Files that lost their environment when the machine stopped; their numbers are not given again. */
static void skip_numbers(struct environment *environment)
{
        struct stat st;
        char name[32];

        for (;; environment->last_number++) {
                snprintf(name, sizeof(name), "__db.%03u", environment->last_number + 1);
                if (fstatat(environment->directory, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
                        return;
                log_warning("left alone %s/%s: it belongs to no region", environment->directory_path, name);
        }
}

/* Whoever wrote there died with the machine. A copy was taken at a moment that nobody knows. */
static void settle_in(struct coming *coming, struct environment *environment)
{
        struct broker *broker = coming->broker;
        bool is_torn = environment->recovery && (coming->description.writing || coming->is_copy);

        environment->own_directory = coming->own;
        skip_numbers(environment);
        if (is_torn) {
                environment->state = STATE_DIRTY;
                strcpy(environment->culprit.command, "?");
        }
        registry_add(&broker->registry, environment);
        describing_adopt(broker, environment, &coming->description);
        creation_renew_reference(broker, environment);
        lifecycle_show(broker, environment);
        log_line_of(LOG_LEVEL_NOTICE, LOG_FIELDS(.environment = environment->name),
                    "took in environment %s from %s: %u regions, %" PRId64 " bytes%s%s", environment->name,
                    coming->path, environment->n_regions, environment->bytes,
                    coming->is_copy ? "; a copy, with ids of its own" : "",
                    is_torn ? "; dirty, for it may have been written to when the machine stopped" : "");
        if (is_torn)
                events_note(broker, EVENT_KIND_DIRTY, environment, NULL, NULL,
                            "the machine stopped while it was attached for writing", -1);
}

static int take_in(struct coming *coming)
{
        const struct description *description = &coming->description;
        const struct definition definition = {
                .schema = description->schema,
                .mode = { true, description->mode },
                .recovery = { true, description->recovery },
                .reserve = { true, description->reserve },
                .lock = { true, description->lock },
                .huge_pages = { true, description->huge_pages },
        };
        struct environment *environment = environment_new(name_for(coming), &definition, BACKING_FILE);
        int r;

        if (!environment)
                return -ENOMEM;
        r = build(coming, environment);
        if (r == 0) {
                settle_in(coming, environment);
                return 0;
        }
        creation_let_be(coming->broker, environment);
        creation_undo(coming->broker, environment);
        return r;
}

/* --- places ------------------------------------------------------------------------------------------------------ */

static bool is_own(const struct broker *broker, const char *path)
{
        size_t n = broker->settings.state_directory ? strlen(broker->settings.state_directory) : 0;

        return n > 0 && strncmp(path, broker->settings.state_directory, n) == 0 &&
               strncmp(path + n, "/environment.", 13) == 0 && !strchr(path + n + 1, '/');
}

static int look(struct coming *coming)
{
        int r;

        coming->place = open(coming->path, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        if (coming->place < 0)
                return doubt(coming, -errno, "it cannot be opened: %s", strerror(errno));
        coming->own = is_own(coming->broker, coming->path);
        r = description_read(coming->place, true, &coming->description, coming->why);
        if (r == -ENOENT)
                return clear(coming);
        if (r == 0)
                r = check_allowed(coming, coming->path);
        if (r == 0)
                r = check_names(coming);
        if (r == 0)
                r = open_files(coming);
        if (r == 0)
                r = take_in(coming);
        return r == 0 ? HOMECOMING_TAKEN : r;
}

int homecoming_come(struct broker *broker, const char *path, bool trusted, struct arrival *ret)
{
        owned(coming_clear) struct coming coming = {
                .broker = broker,
                .path = path,
                .place = -1,
                .files = -1,
                .trusted = trusted,
                .why = ret->why,
        };
        int r = look(&coming);

        snprintf(ret->name, sizeof(ret->name), "%s", coming.description.name ? coming.description.name : "");
        if (r == -ENOMEM)
                doubt(&coming, r, "%s", strerror(ENOMEM));
        return r;
}

void homecoming_clear(struct broker *broker, const char *path)
{
        char why[DESCRIPTION_WHY_SIZE];
        owned(coming_clear) struct coming coming = { .broker = broker, .path = path, .files = -1, .why = why };
        owned(description_clear) struct description in_force = {};

        coming.place = open(path, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        if (coming.place >= 0 && description_read(coming.place, true, &in_force, why) == -ENOENT)
                clear(&coming);
}
