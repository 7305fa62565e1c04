#include "client/info.h"

#include "client/failure.h"

#include "proto/args.h"
#include "proto/util.h"

#include <limits.h>
#include <stdint.h>

_Static_assert((int)REGION_BACKING_PRIVATE == (int)BACKING_PRIVATE, "the words of the contract, in its order");
_Static_assert((int)REGION_WRITE == (int)ACCESS_WRITE, "likewise");
_Static_assert((int)REGION_CREATE_ALWAYS == (int)CREATE_ALWAYS, "likewise");
_Static_assert((int)REGION_LIFETIME_PERSISTENT == (int)LIFETIME_PERSISTENT, "likewise");
_Static_assert((int)REGION_STATE_RETIRED == (int)STATE_RETIRED, "likewise");
_Static_assert((int)REGION_ROLE_RECOVERER == (int)ROLE_RECOVERER, "likewise");
_Static_assert((int)REGION_EVENT_REFUSED == (int)EVENT_KIND_REFUSED, "likewise");
_Static_assert((int)REGION_RESUMED == (int)STANDING_RESUMED, "likewise");

/* --- words ------------------------------------------------------------------------------------------------------- */

const char *region_backing_word(enum region_backing backing)
{
        return backing_word((enum backing)backing);
}

const char *region_access_word(enum region_access access)
{
        return access_word((enum access)access);
}

const char *region_lifetime_word(enum region_lifetime lifetime)
{
        return lifetime_word((enum lifetime)lifetime);
}

const char *region_state_word(enum region_state state)
{
        return state_word((enum state)state);
}

const char *region_role_word(enum region_role role)
{
        return role_word((enum role)role);
}

const char *region_standing_word(enum region_standing standing)
{
        return standing_word((enum standing)standing);
}

const char *region_event_word(enum region_event_kind kind)
{
        return event_kind_word((enum event_kind)kind);
}

enum region_backing region_backing_from_word(const char *word)
{
        return (enum region_backing)arg_enum_find(&backing_type, word);
}

enum region_lifetime region_lifetime_from_word(const char *word)
{
        return (enum region_lifetime)arg_enum_find(&lifetime_type, word);
}

/* --- copies ------------------------------------------------------------------------------------------------------ */

/* False when memory runs out; what is absent stays so. */
static bool copy(struct arena *arena, const char *string, const char **ret)
{
        *ret = string ? arena_strdup(arena, string) : NULL;
        return *ret || !string;
}

static bool within(int64_t value, int64_t least, int64_t most)
{
        return value >= least && value <= most;
}

static bool maybe_within(struct opt_int value, int64_t least, int64_t most)
{
        return !value.given || within(value.value, least, most);
}

static enum region_result note_nonsense(const char *what, const char *name)
{
        return failure_note(REGION_E_PROTOCOL, "the broker told impossible numbers of %s '%s'", what, name);
}

enum region_result info_of_region(struct arena *arena, const struct region_view *view, const struct region_info **ret)
{
        struct region_info *info = arena_alloc(arena, 1, sizeof(*info));

        if (!within(view->size, 1, PTRDIFF_MAX) || !within(view->number, 0, UINT_MAX) ||
            !within(view->attachments, 0, UINT_MAX) || !maybe_within(view->shm_id, 0, INT_MAX) ||
            !maybe_within(view->shm_key, INT32_MIN, UINT32_MAX))
                return note_nonsense("region", view->name);
        if (!info || !copy(arena, view->id, &info->id) || !copy(arena, view->name, &info->name) ||
            !copy(arena, view->type, &info->type) || !copy(arena, view->path, &info->path))
                return failure_note_memory();
        info->number = (unsigned)view->number;
        info->size = (size_t)view->size;
        info->backing = (enum region_backing)view->backing;
        info->shm_key = (int32_t)view->shm_key.value;
        info->shm_id = view->shm_id.given ? (int)view->shm_id.value : -1;
        info->attachments = (unsigned)view->attachments;
        info->bytes_used = view->bytes_used.given ? view->bytes_used.value : -1;
        info->missing = view->missing.value;
        *ret = info;
        return REGION_OK;
}

static enum region_result copy_regions(struct arena *arena, const struct struct_array *views,
                                       struct region_env_info *info)
{
        const struct region_view *view = views->items;
        const struct region_info **regions = arena_alloc(arena, views->n, sizeof(*regions));
        enum region_result r;

        if (!regions)
                return failure_note_memory();
        for (size_t i = 0; i < views->n; i++) {
                r = info_of_region(arena, &view[i], &regions[i]);
                if (r != REGION_OK)
                        return r;
        }
        info->regions = regions;
        info->n_regions = views->n;
        return REGION_OK;
}

enum region_result info_of_environment(struct arena *arena, const struct environment_view *view,
                                       const struct region_env_info **ret)
{
        struct region_env_info *info = arena_alloc(arena, 1, sizeof(*info));
        enum region_result r;

        if (!within(view->uid, 0, UINT32_MAX) || !within(view->gid, 0, UINT32_MAX) || !within(view->mode, 0, 07777) ||
            !within(view->creator_pid, 0, INT32_MAX) || !within(view->attachments, 0, UINT_MAX) ||
            view->generation < 0 || view->bytes < 0)
                return note_nonsense("environment", view->name);
        if (!info || !copy(arena, view->id, &info->id) || !copy(arena, view->name, &info->name) ||
            !copy(arena, view->home, &info->home) || !copy(arena, view->schema, &info->schema) ||
            !copy(arena, view->creator_command, &info->creator_command))
                return failure_note_memory();
        r = copy_regions(arena, &view->regions, info);
        if (r != REGION_OK)
                return r;
        info->generation = (uint64_t)view->generation;
        info->state = (enum region_state)view->state;
        info->uid = (uid_t)view->uid;
        info->gid = (gid_t)view->gid;
        info->mode = (mode_t)view->mode;
        info->backing = (enum region_backing)view->backing;
        info->lifetime = (enum region_lifetime)view->lifetime;
        info->linger_usec = view->linger_usec.value;
        info->recovery = view->recovery;
        info->created_usec = view->created_usec;
        info->creator_pid = (pid_t)view->creator_pid;
        info->attachments = (unsigned)view->attachments;
        info->bytes = (uint64_t)view->bytes;
        *ret = info;
        return REGION_OK;
}

enum region_result info_of_attachment(struct arena *arena, const struct attachment_view *view,
                                      const struct region_attachment **ret)
{
        struct region_attachment *info = arena_alloc(arena, 1, sizeof(*info));

        if (!within(view->pid, 0, INT32_MAX) || !within(view->uid, 0, UINT32_MAX))
                return note_nonsense("an attachment of environment", view->environment);
        if (!info || !copy(arena, view->environment, &info->environment) || !copy(arena, view->region, &info->region) ||
            !copy(arena, view->command, &info->command))
                return failure_note_memory();
        info->pid = (pid_t)view->pid;
        info->uid = (uid_t)view->uid;
        info->access = (enum region_access)view->access;
        info->since_usec = view->since_usec;
        info->standing = (enum region_standing)view->standing;
        *ret = info;
        return REGION_OK;
}

enum region_result info_of_attachments(struct arena *arena, const struct struct_array *views,
                                       const struct region_attachment *const **ret)
{
        const struct attachment_view *view = views->items;
        const struct region_attachment **attachments = arena_alloc(arena, views->n, sizeof(*attachments));
        enum region_result r = REGION_OK;

        if (!attachments)
                return failure_note_memory();
        for (size_t i = 0; i < views->n && r == REGION_OK; i++)
                r = info_of_attachment(arena, &view[i], &attachments[i]);
        if (r == REGION_OK)
                *ret = attachments;
        return r;
}

enum region_result info_of_strings(struct arena *arena, const struct string_array *strings, const char *const **ret)
{
        const char **made = arena_alloc(arena, strings->n + 1, sizeof(*made));

        if (!made)
                return failure_note_memory();
        for (size_t i = 0; i < strings->n; i++)
                if (!copy(arena, strings->items[i], &made[i]))
                        return failure_note_memory();
        *ret = made;
        return REGION_OK;
}

static int64_t or_else(struct opt_int value, int64_t otherwise)
{
        return value.given ? value.value : otherwise;
}

enum region_result info_of_event(struct arena *arena, const struct event_view *view, int64_t missed,
                                 const struct region_event **ret)
{
        struct region_event *event = arena_alloc(arena, 1, sizeof(*event));
        enum region_result r;

        if (view->sequence < 0 || !maybe_within(view->pid, 0, INT32_MAX) || !maybe_within(view->uid, 0, UINT32_MAX) ||
            !maybe_within(view->exit_status, 0, INT_MAX) || !maybe_within(view->signal, 0, INT_MAX))
                return note_nonsense("an event of environment", view->environment);
        if (!event || !copy(arena, view->environment, &event->environment) ||
            !copy(arena, view->region, &event->region) || !copy(arena, view->command, &event->command) ||
            !copy(arena, view->reason, &event->reason))
                return failure_note_memory();
        r = info_of_strings(arena, &view->written_regions, &event->written_regions);
        if (r != REGION_OK)
                return r;
        event->n_written_regions = view->written_regions.n;
        event->sequence = view->sequence;
        event->realtime_usec = view->realtime_usec;
        event->kind = (enum region_event_kind)view->kind;
        event->pid = (pid_t)or_else(view->pid, 0);
        event->uid = (uid_t)or_else(view->uid, (uid_t)-1);
        event->exit_status = (int)or_else(view->exit_status, -1);
        event->signal = (int)or_else(view->signal, 0);
        event->bytes = or_else(view->bytes, -1);
        event->missed = missed > 0 ? (uint64_t)missed : 0;
        *ret = event;
        return REGION_OK;
}

const struct struct_array *info_copy_differences(struct arena *arena, const struct struct_array *differences)
{
        struct struct_array *made = arena_alloc(arena, 1, sizeof(*made));
        struct difference *to = arena_alloc(arena, differences->n, sizeof(*to));
        const struct difference *from = differences->items;

        if (!made || !to)
                return NULL;
        for (size_t i = 0; i < differences->n; i++)
                if (!copy(arena, from[i].field, &to[i].field) || !copy(arena, from[i].wanted, &to[i].wanted) ||
                    !copy(arena, from[i].found, &to[i].found))
                        return NULL;
        *made = (struct struct_array){ .given = true, .n = differences->n, .items = to };
        return made;
}
