/* Objects of the core as types of the contract. */

#include "daemon/server/report.h"

#include "daemon/definition.h"
#include "daemon/host/directory.h"
#include "daemon/host/memory.h"
#include "proto/args.h"
#include "proto/util.h"
#include "version.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/param.h>

static struct opt_int given(int64_t value)
{
        return (struct opt_int){ .given = true, .value = value };
}

static const char *report_id(struct arena *arena, const struct broker *broker, uint64_t id,
                             const struct given_id *given)
{
        char text[REGISTRY_ID_SIZE];

        registry_write_id(&broker->registry, id, given, text);
        return arena_strdup(arena, text);
}

static int fill_region(struct arena *arena, const struct broker *broker, const struct region *region,
                       struct region_view *view)
{
        int64_t used;

        *view = (struct region_view){
                .id = report_id(arena, broker, region->id, &region->given),
                .name = region->name,
                .number = region->number,
                .type = region->type,
                .size = region->size,
                .backing = region->backing,
                .attachments = region->n_attachments,
        };
        if (!view->id)
                return -ENOMEM;
        if (!region->memory)
                return 0;
        view->path = memory_path(region->memory);
        if (region->backing == BACKING_SYSV) {
                view->shm_key = given(region->shm_key);
                view->shm_id = given(memory_shm_id(region->memory));
                if (broker->ipc_namespace)
                        view->ipc_namespace = given((int64_t)broker->ipc_namespace);
        }
        view->missing.given = view->missing.value = memory_is_missing(region->memory);
        used = memory_used(region->memory);
        view->bytes_used = (struct opt_int){ .given = used >= 0, .value = used };
        return 0;
}

struct region_view *report_region(struct arena *arena, const struct broker *broker, const struct region *region)
{
        struct region_view *view = arena_alloc(arena, 1, sizeof(*view));

        return view && fill_region(arena, broker, region, view) == 0 ? view : NULL;
}

static int fill_regions(struct arena *arena, const struct broker *broker, const struct environment *environment,
                        struct struct_array *ret)
{
        struct region_view *views = arena_alloc(arena, environment->n_regions, sizeof(*views));
        const struct region *region;
        size_t n = 0;
        int r;

        if (!views)
                return -ENOMEM;
        TAILQ_FOREACH(region, &environment->regions, in_environment) {
                r = fill_region(arena, broker, region, &views[n++]);
                if (r < 0)
                        return r;
        }
        *ret = (struct struct_array){ .given = true, .n = n, .items = views };
        return 0;
}

struct environment_view *report_environment(struct arena *arena, const struct broker *broker,
                                            const struct environment *environment)
{
        struct environment_view *view = arena_alloc(arena, 1, sizeof(*view));

        if (!view)
                return NULL;
        *view = (struct environment_view){
                .id = report_id(arena, broker, environment->id, &environment->given),
                .name = environment->name,
                .generation = (int64_t)environment->generation,
                .state = environment->state,
                .uid = environment->uid,
                .gid = environment->gid,
                .mode = environment->mode,
                .backing = environment->backing,
                .lifetime = environment->lifetime,
                .home = environment->home,
                .schema = environment->schema,
                .recovery = environment->recovery,
                .reserve = { true, environment->reserve },
                .lock = { true, environment->lock },
                .huge_pages = { true, environment->huge_pages },
                .hugetlb = { true, environment->hugetlb },
                .created_usec = environment->created_usec,
                .creator_pid = environment->creator->pid,
                .creator_command = environment->creator->command,
                .attachments = environment->n_members,
                .bytes = environment->bytes,
                .deaths = given((int64_t)environment->deaths),
        };
        if (environment->linger_usec)
                view->linger_usec = given(environment->linger_usec);
        if (!view->id || fill_regions(arena, broker, environment, &view->regions) < 0)
                return NULL;
        return view;
}

static void fill_used(int shm_id, int64_t used, void *data)
{
        struct environment_view *view = data;
        struct region_view *regions = view->regions.items;

        for (size_t i = 0; i < view->regions.n; i++)
                if (regions[i].shm_id.given && regions[i].shm_id.value == shm_id)
                        regions[i].bytes_used = given(used);
}

/* All of them were taken out of the pool when they were made, of which some kernels tell a multiple. */
static void fill_used_of_pool(struct environment_view *view)
{
        struct region_view *regions = view->regions.items;

        for (size_t i = 0; i < view->regions.n; i++)
                if (regions[i].shm_id.given)
                        regions[i].bytes_used = given(regions[i].size);
}

void report_segments(struct environment_view *view)
{
        const struct region_view *regions = view->regions.items;
        bool has_segments = false;

        for (size_t i = 0; i < view->regions.n; i++)
                has_segments = has_segments || regions[i].shm_id.given;
        if (has_segments && view->hugetlb.value)
                fill_used_of_pool(view);
        else if (has_segments)
                memory_look_at_segments(fill_used, view);
}

/* --- who holds it ------------------------------------------------------------------------------------------------ */

static enum standing standing_of(const struct peer *peer)
{
        if (!peer->process->alive)
                return STANDING_INHERITED;
        return peer == peer->process->resumed ? STANDING_RESUMED : STANDING_CONNECTED;
}

static void fill_attachment(const struct environment *environment, const struct member *member, const char *region,
                            enum access access, int64_t since, struct attachment_view *view)
{
        const struct process *process = member->peer->process;

        *view = (struct attachment_view){
                .environment = environment->name,
                .region = region,
                .pid = process->pid,
                .uid = member->peer->uid,
                .command = process->command,
                .access = access,
                .since_usec = since,
                .standing = standing_of(member->peer),
        };
}

static void fill_departed(const struct region *region, struct attachment_view *view)
{
        const struct departed *departed = &region->departed;

        *view = (struct attachment_view){
                .environment = region->environment->name,
                .region = region->name,
                .pid = departed->pid,
                .uid = departed->uid,
                .command = departed->pid ? departed->command : "?",
                .access = departed->access ? departed->access : ACCESS_WRITE,
                .since_usec = departed->since_usec,
                .standing = STANDING_INHERITED,
        };
}

/* Nobody is attached, and the kernel says that it is held. */
bool report_is_inherited(const struct region *region)
{
        if (region->n_attachments > 0)
                return false;
        if (region->memory)
                return memory_is_held(region->memory);
        return region->privately_held && region->environment->creator->alive;
}

struct attachments {
        struct attachment_view *items;
        size_t n, allocated;
};

/* As many as there can be, but no more than a reply may tell. */
static size_t count_rows(const struct environment *environment)
{
        const struct region *region;
        size_t n = environment->n_members;

        TAILQ_FOREACH(region, &environment->regions, in_environment)
                n += region->n_attachments + 1;
        return MIN(n, REPORT_ATTACHMENTS_MAX);
}

static struct attachment_view *next_row(struct attachments *rows)
{
        return rows->n < rows->allocated ? &rows->items[rows->n++] : NULL;
}

static void add_region_rows(const struct environment *environment, const struct region *region,
                            struct attachments *rows)
{
        const struct attachment *attachment;
        struct attachment_view *view;

        LIST_FOREACH(attachment, &region->attachments, in_region) {
                view = next_row(rows);
                if (!view)
                        return;
                fill_attachment(environment, attachment->member, region->name, attachment->access,
                                attachment->since_usec, view);
        }
        if (report_is_inherited(region) && (view = next_row(rows)))
                fill_departed(region, view);
}

int report_attachments(struct arena *arena, const struct environment *environment, const char *only,
                       struct struct_array *ret)
{
        struct attachments rows = { .allocated = count_rows(environment) };
        struct attachment_view *view;
        const struct member *member;
        const struct region *region;

        rows.items = arena_alloc(arena, rows.allocated, sizeof(*rows.items));
        if (!rows.items)
                return -ENOMEM;
        TAILQ_FOREACH(member, &environment->members, in_environment)
                if (!only && LIST_EMPTY(&member->attachments) && (view = next_row(&rows)))
                        fill_attachment(environment, member, NULL, member->access, member->since_usec, view);
        TAILQ_FOREACH(region, &environment->regions, in_environment)
                if (!only || strcmp(region->name, only) == 0)
                        add_region_rows(environment, region, &rows);
        *ret = (struct struct_array){ .given = true, .n = rows.n, .items = rows.items };
        return 0;
}

/* --- events ------------------------------------------------------------------------------------------------------ */

static struct opt_int given_if(bool is_given, int64_t value)
{
        return (struct opt_int){ .given = is_given, .value = is_given ? value : 0 };
}

void report_event(const struct event *event, struct event_view *ret)
{
        *ret = (struct event_view){
                .sequence = (int64_t)event->sequence,
                .realtime_usec = event->realtime_usec,
                .kind = event->kind,
                .environment = event->environment,
                .region = event->region,
                .pid = given_if(event->by_process, event->process_pid),
                .uid = given_if(event->by_process, event->process_uid),
                .command = event->by_process ? event->command : NULL,
                .written_regions = {
                        .given = event->kind == EVENT_KIND_DIED,
                        .n = event->n_written,
                        .items = (const char **)event->written,
                },
                .exit_status = event->exit_status,
                .signal = event->signal,
                .reason = event->reason,
                .bytes = event->bytes,
        };
}

/* --- differences ------------------------------------------------------------------------------------------------- */

struct differences {
        struct arena *arena;
        struct difference *items;
        size_t n;
};

static void differ(struct differences *list, const char *field, const char *wanted, const char *found)
{
        list->items[list->n++] = (struct difference){ .field = field, .wanted = wanted, .found = found };
}

static void compare_words(struct differences *list, const char *field, const char *wanted, const char *found)
{
        if (strcmp(wanted, found) != 0)
                differ(list, field, wanted, found);
}

static int compare_numbers(struct differences *list, const char *field, int64_t wanted, int64_t found)
{
        const char *words[2];

        if (wanted == found)
                return 0;
        words[0] = arena_printf(list->arena, "%" PRId64, wanted);
        words[1] = arena_printf(list->arena, "%" PRId64, found);
        if (!words[0] || !words[1])
                return -ENOMEM;
        differ(list, field, words[0], words[1]);
        return 0;
}

static void compare_flag(struct differences *list, const char *field, struct opt_bool wanted, bool found)
{
        if (wanted.given && wanted.value != found)
                differ(list, field, wanted.value ? "true" : "false", found ? "true" : "false");
}

/* However it is spelt. */
static void compare_home(struct differences *list, const char *wanted, const struct environment *environment)
{
        owned(freep) char *canonical = directory_canonical(wanted);
        const char *found = environment->home ? environment->home : "";

        if (!canonical || strcmp(canonical, found) != 0)
                differ(list, "home", wanted, found);
}

/* The first of its run. */
static int compare_key(struct differences *list, int64_t wanted, const struct environment *environment)
{
        const struct region *region;
        const char *word;

        TAILQ_FOREACH(region, &environment->regions, in_environment)
                if (region->backing == BACKING_SYSV)
                        return compare_numbers(list, "shmKey", wanted, region->shm_key);
        word = arena_printf(list->arena, "%" PRId64, wanted);
        if (!word)
                return -ENOMEM;
        differ(list, "shmKey", word, "");
        return 0;
}

static int compare_region(struct differences *list, const struct broker *broker, const struct environment *environment,
                          const struct spec *spec)
{
        const struct region *region = environment_find_region(environment, spec->name);
        const char *field = arena_printf(list->arena, "regions.%s", spec->name);

        if (!field)
                return -ENOMEM;
        if (!region) {
                differ(list, field, "present", "absent");
                return 0;
        }
        if (spec->type)
                compare_words(list, field, spec->type, region->type);
        if (spec->backing)
                compare_words(list, field, backing_word(spec->backing), backing_word(region->backing));
        if (spec->size <= 0 || spec->size > INT64_MAX / 2)
                return compare_numbers(list, field, spec->size, region->size);
        return compare_numbers(list, field, definition_round_size(broker, environment->hugetlb, spec->size),
                               region->size);
}

int report_differences(struct arena *arena, const struct broker *broker, const struct environment *environment,
                       const struct definition *definition, struct struct_array *ret)
{
        struct differences list = { .arena = arena };
        const struct spec *specs;
        int r = 0;

        *ret = (struct struct_array){ .given = true };
        if (!definition)
                return 0;
        /* at most three for a region, and one for each of the fields below */
        list.items = arena_alloc(arena, definition->regions.n * 3 + 16, sizeof(*list.items));
        if (!list.items)
                return -ENOMEM;
        if (definition->backing)
                compare_words(&list, "backing", backing_word(definition->backing), backing_word(environment->backing));
        if (definition->home)
                compare_home(&list, definition->home, environment);
        if (definition->lifetime)
                compare_words(&list, "lifetime", lifetime_word(definition->lifetime),
                              lifetime_word(environment->lifetime));
        if (definition->mode.given)
                r = compare_numbers(&list, "mode", definition->mode.value, environment->mode);
        if (r == 0 && definition->linger_usec.given)
                r = compare_numbers(&list, "lingerUSec", definition->linger_usec.value, environment->linger_usec);
        if (r == 0 && definition->shm_key.given)
                r = compare_key(&list, definition->shm_key.value, environment);
        compare_flag(&list, "recovery", definition->recovery, environment->recovery);
        compare_flag(&list, "reserve", definition->reserve, environment->reserve);
        compare_flag(&list, "lock", definition->lock, environment->lock);
        compare_flag(&list, "hugePages", definition->huge_pages, environment->huge_pages);
        compare_flag(&list, "hugetlb", definition->hugetlb, environment->hugetlb);
        specs = definition->regions.items;
        for (size_t i = 0; i < definition->regions.n && r == 0; i++)
                r = compare_region(&list, broker, environment, &specs[i]);
        ret->n = list.n;
        ret->items = list.items;
        return r;
}

/* --- statistics -------------------------------------------------------------------------------------------------- */

static int report_limits(struct arena *arena, const struct broker *broker, struct int_map *ret)
{
        struct limits limits = broker->settings.limits;

        ret->items = arena_alloc(arena, n_limits, sizeof(*ret->items));
        if (!ret->items)
                return -ENOMEM;
        for (unsigned i = 0; i < n_limits; i++)
                ret->items[i] = (struct named_int){ limit_rows[i].name, *limits_at(&limits, i) };
        ret->given = true;
        ret->n = n_limits;
        return 0;
}

static int report_counters(struct arena *arena, const struct counters *counters, struct int_map *ret)
{
        const struct named_int rows[] = {
                { "calls", counters->calls },
                { "refused", counters->refused },
                { "sessions", counters->sessions },
                { "sessionsRefused", counters->sessions_refused },
                { "deaths", counters->deaths },
                { "created", counters->created },
                { "joined", counters->joined },
                { "retired", counters->retired },
                { "removed", counters->removed },
                { "reclaimed", counters->reclaimed },
                { "reclaimedRegions", counters->reclaimed_regions },
                { "reclaimedBytes", counters->reclaimed_bytes },
        };

        ret->items = arena_alloc(arena, array_size(rows), sizeof(*rows));
        if (!ret->items)
                return -ENOMEM;
        memcpy(ret->items, rows, sizeof(rows));
        ret->given = true;
        ret->n = array_size(rows);
        return 0;
}

int report_statistics(struct arena *arena, const struct broker *broker, struct statistics_result *ret)
{
        int r;

        *ret = (struct statistics_result){
                .version = REGION_BROKER_VERSION,
                .started_usec = broker->started_usec,
                .environments = broker->registry.n_environments,
                .regions = broker->registry.n_regions,
                .attachments = broker->registry.n_attachments,
                .sessions = broker->registry.n_sessions,
                .bytes = broker->registry.bytes,
        };
        r = report_limits(arena, broker, &ret->limits);
        return r < 0 ? r : report_counters(arena, &broker->counters, &ret->counters);
}

int report_settings(struct arena *arena, const struct broker *broker, const struct peer *peer, struct struct_array *ret)
{
        const struct settings *told = broker->told;
        const struct setting *setting;
        struct setting_view *views = arena_alloc(arena, told ? told->n : 0, sizeof(*views));
        size_t n = 0;

        if (!views)
                return -ENOMEM;
        for (setting = told ? told->items : NULL; setting && setting < told->items + told->n; setting++)
                if (!setting->of || declaration_may_see(setting->of, peer))
                        views[n++] = (struct setting_view){ setting->name, setting->value, setting->source };
        *ret = (struct struct_array){ .given = true, .n = n, .items = views };
        return 0;
}
