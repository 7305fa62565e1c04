/* One table says of every name of the file where its value goes, how it is read and how it is written. Written before
 * and after, and compared, it is known whether anything was changed. */

#include "client/override.h"

#include "client/failure.h"

#include "proto/args.h"
#include "proto/quantities.h"
#include "proto/util.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

/* --- values ------------------------------------------------------------------------------------------------------ */

struct kind {
        const char *expected;
        int (*read)(const char *word, void *member); /* 0, -EINVAL, -ERANGE */
        /* the member's word, which may be in `text`, of VALUE_TEXT_MAX bytes */
        const char *(*write)(const void *member, char *text);
};

static int read_backing(const char *word, void *member)
{
        enum backing backing = (enum backing)region_backing_from_word(word);

        if (!backing)
                return -EINVAL;
        *(enum backing *)member = backing;
        return 0;
}

static const char *write_backing(const void *member, char *text)
{
        const enum backing *backing = member;

        (void)text;
        return *backing ? backing_word(*backing) : "default";
}

static int read_lifetime(const char *word, void *member)
{
        enum lifetime lifetime = (enum lifetime)region_lifetime_from_word(word);

        if (!lifetime)
                return -EINVAL;
        *(enum lifetime *)member = lifetime;
        return 0;
}

static const char *write_lifetime(const void *member, char *text)
{
        const enum lifetime *lifetime = member;

        (void)text;
        return *lifetime ? lifetime_word(*lifetime) : "default";
}

static int read_mode(const char *word, void *member)
{
        mode_t mode;
        int r = mode_parse(word, &mode);

        if (r == 0)
                *(struct opt_int *)member = (struct opt_int){ .given = true, .value = mode };
        return r;
}

static const char *write_mode(const void *member, char *text)
{
        const struct opt_int *mode = member;

        snprintf(text, VALUE_TEXT_MAX, "%04o", mode->given ? (unsigned)mode->value : 0600);
        return text;
}

static int read_key(const char *word, void *member)
{
        int32_t key;
        int r = key_parse(word, &key);

        if (r == 0)
                *(struct opt_int *)member = (struct opt_int){ .given = true, .value = key };
        return r;
}

static const char *write_key(const void *member, char *text)
{
        const struct opt_int *key = member;

        if (!key->given)
                return "default";
        snprintf(text, VALUE_TEXT_MAX, "0x%x", (unsigned)key->value);
        return text;
}

static int read_linger(const char *word, void *member)
{
        struct opt_int *linger = member;
        int r = duration_parse(word, &linger->value);

        if (r == 0)
                linger->given = true;
        return r;
}

static const char *write_linger(const void *member, char *text)
{
        const struct opt_int *linger = member;

        return linger->value == 0 ? "0" : duration_text(linger->value, text);
}

static int read_flag(const char *word, void *member)
{
        bool yes = strcmp(word, "yes") == 0;

        if (!yes && strcmp(word, "no") != 0)
                return -EINVAL;
        *(struct opt_bool *)member = (struct opt_bool){ .given = true, .value = yes };
        return 0;
}

static const char *write_flag(const void *member, char *text)
{
        (void)text;
        return ((const struct opt_bool *)member)->value ? "yes" : "no";
}

/* The contract asks whether to reserve, people ask for what is not reserved. */
static int read_sparse(const char *word, void *member)
{
        struct opt_bool *reserve = member;
        int r = read_flag(word, reserve);

        if (r == 0)
                reserve->value = !reserve->value;
        return r;
}

static const char *write_sparse(const void *member, char *text)
{
        const struct opt_bool *reserve = member;

        (void)text;
        return reserve->given && !reserve->value ? "yes" : "no";
}

static int read_string(const char *word, void *member)
{
        if (!word[0])
                return -EINVAL;
        *(const char **)member = word;
        return 0;
}

static int read_directory(const char *word, void *member)
{
        return word[0] == '/' ? read_string(word, member) : -EINVAL;
}

static const char *write_string(const void *member, char *text)
{
        const char *const *string = member;

        (void)text;
        return *string ? *string : "default";
}

static int read_size(const char *word, void *member)
{
        size_t size;
        int r = size_parse(word, &size);

        if (r == 0)
                *(int64_t *)member = (int64_t)size;
        return r;
}

static const char *write_size(const void *member, char *text)
{
        const int64_t *size = member;

        return bytes_text((uint64_t)*size, text);
}

static const struct kind backing_kind = { BACKING_EXPECTED, read_backing, write_backing };
static const struct kind lifetime_kind = { LIFETIME_EXPECTED, read_lifetime, write_lifetime };
static const struct kind mode_kind = { MODE_EXPECTED, read_mode, write_mode };
static const struct kind key_kind = { KEY_EXPECTED, read_key, write_key };
static const struct kind linger_kind = { DURATION_EXPECTED, read_linger, write_linger };
static const struct kind flag_kind = { "yes or no", read_flag, write_flag };
static const struct kind sparse_kind = { "yes or no", read_sparse, write_sparse };
static const struct kind size_kind = { SIZE_EXPECTED, read_size, write_size };
static const struct kind group_kind = { "the name of a group", read_string, write_string };
static const struct kind word_kind = { "a word", read_string, write_string };
static const struct kind directory_kind = { "an absolute directory, beginning with /", read_directory, write_string };

/* --- names ------------------------------------------------------------------------------------------------------- */

struct rule {
        enum section section;
        const char *name;
        size_t offset; /* of the member in struct definition, or in struct spec */
        const struct kind *kind;
};

#define IN_ENVIRONMENT(name, member, kind)                                              \
        {                                                                               \
                SECTION_ENVIRONMENT, name, offsetof(struct definition, member), &(kind) \
        }
#define IN_REGION(name, member, kind)                                        \
        {                                                                    \
                SECTION_REGION, name, offsetof(struct spec, member), &(kind) \
        }

/* clang-format off */
static const struct rule rules[] = {
        IN_ENVIRONMENT("backing",          backing,          backing_kind),
        IN_ENVIRONMENT("mode",             mode,             mode_kind),
        IN_ENVIRONMENT("group",            group,            group_kind),
        IN_ENVIRONMENT("lifetime",         lifetime,         lifetime_kind),
        IN_ENVIRONMENT("linger",           linger_usec,      linger_kind),
        IN_ENVIRONMENT("recovery",         recovery,         flag_kind),
        IN_ENVIRONMENT("shm-key",          shm_key,          key_kind),
        IN_ENVIRONMENT("sparse",           reserve,          sparse_kind),
        IN_ENVIRONMENT("lock",             lock,             flag_kind),
        IN_ENVIRONMENT("huge-pages",       huge_pages,       flag_kind),
        IN_ENVIRONMENT("hugetlb",          hugetlb,          flag_kind),
        IN_ENVIRONMENT("region-directory", region_directory, directory_kind),
        IN_REGION("size",    size,    size_kind),
        IN_REGION("backing", backing, backing_kind),
        IN_REGION("type",    type,    word_kind),
};
/* clang-format on */

static const struct rule *rule_find(const struct setting *setting)
{
        for (size_t i = 0; i < array_size(rules); i++)
                if (rules[i].section == setting->section && strcmp(rules[i].name, setting->name) == 0)
                        return &rules[i];
        return NULL;
}

static enum region_result note_name(const struct configuration *configuration, const struct setting *setting)
{
        char names[256] = "";
        size_t n = 0;

        for (size_t i = 0; i < array_size(rules); i++)
                if (rules[i].section == setting->section)
                        n += (size_t)snprintf(names + n, sizeof(names) - n, "%s%s", n > 0 ? ", " : "", rules[i].name);
        return configuration_wrong(configuration, setting->line, "'%s' cannot be set here; expected one of %s",
                                   setting->name, names);
}

static enum region_result note_value(const struct configuration *configuration, const struct setting *setting, int r,
                                     const char *expected)
{
        return configuration_wrong(configuration, setting->line, "%s: '%s' is %s; expected %s", setting->name,
                                   setting->value, r == -ERANGE ? "out of range" : "not understood", expected);
}

/* --- changes ----------------------------------------------------------------------------------------------------- */

/* One configuration at work. */
struct work {
        const struct configuration *configuration;
        struct arena *arena;
        struct overrides *overrides;
        bool creates;
        struct struct_array *specs;
        size_t n_program; /* of them: the others are the file's */
};

/* There is at most one for each setting. */
static enum region_result prepare(struct work *work)
{
        struct overrides *overrides = work->overrides;

        if (!overrides->items)
                overrides->items = arena_alloc(work->arena, work->configuration->n_settings, sizeof(*overrides->items));
        return overrides->items ? REGION_OK : failure_note_memory();
}

static enum region_result note_override(struct work *work, const struct setting *setting, const char *field,
                                        const char *wanted, const char *set)
{
        struct override override = {
                .field = field,
                .wanted = wanted,
                .set = arena_strdup(work->arena, set),
                .where = arena_printf(work->arena, "%s:%u", work->configuration->path, setting->line),
        };

        if (!override.field || !override.wanted || !override.set || !override.where)
                return failure_note_memory();
        if (strcmp(wanted, set) != 0)
                work->overrides->items[work->overrides->n++] = override;
        return REGION_OK;
}

/* `field` NULL: nothing of the program's is changed. */
static enum region_result change(struct work *work, const struct setting *setting, void *object, const char *field)
{
        const struct rule *rule = rule_find(setting);
        char text[VALUE_TEXT_MAX];
        const char *wanted;
        void *member;
        int r;

        if (!rule)
                return note_name(work->configuration, setting);
        member = (char *)object + rule->offset;
        wanted = arena_strdup(work->arena, rule->kind->write(member, text));
        if (!wanted)
                return failure_note_memory();
        r = rule->kind->read(setting->value, member);
        if (r < 0)
                return note_value(work->configuration, setting, r, rule->kind->expected);
        return field ? note_override(work, setting, field, wanted, rule->kind->write(member, text)) : REGION_OK;
}

/* --- subsystems -------------------------------------------------------------------------------------------------- */

static enum region_result change_subsystem(struct work *work, const struct setting *setting,
                                           struct subsystems *subsystems)
{
        char text[SUBSYSTEM_TEXT_MAX];
        const char *field = arena_printf(work->arena, "subsystems.%s", setting->name);
        const char *wanted = arena_strdup(work->arena, subsystems_text(subsystems, setting->name, text));
        int r = subsystems_add(subsystems, setting->name, strlen(setting->name), setting->value);

        if (r == -ENOENT)
                return configuration_wrong(work->configuration, setting->line,
                                           "'%s' is no subsystem; expected " SUBSYSTEM_EXPECTED, setting->name);
        if (r < 0)
                return note_value(work->configuration, setting, r, SUBSYSTEM_SIZE_EXPECTED);
        if (!field || !wanted)
                return failure_note_memory();
        return note_override(work, setting, field, wanted, subsystems_text(subsystems, setting->name, text));
}

enum region_result override_subsystems(const struct configuration *configuration, struct subsystems *subsystems,
                                       struct arena *arena, struct overrides *ret)
{
        struct work work = { .configuration = configuration, .arena = arena, .overrides = ret };
        enum region_result r = prepare(&work);

        for (size_t i = 0; i < configuration->n_settings && r == REGION_OK; i++)
                if (configuration->settings[i].section == SECTION_SUBSYSTEMS)
                        r = change_subsystem(&work, &configuration->settings[i], subsystems);
        return r;
}

/* --- regions ----------------------------------------------------------------------------------------------------- */

static struct spec *find_spec(const struct work *work, const char *name, bool *ret_programs)
{
        struct spec *specs = work->specs->items;

        for (size_t i = 0; i < work->specs->n; i++) {
                if (!specs[i].name || strcmp(specs[i].name, name) != 0)
                        continue;
                *ret_programs = i < work->n_program;
                return &specs[i];
        }
        return NULL;
}

static const struct setting *find_size(const struct work *work, const char *region)
{
        for (size_t i = 0; i < work->configuration->n_settings; i++) {
                const struct setting *setting = &work->configuration->settings[i];

                if (setting->section == SECTION_REGION && strcmp(setting->region, region) == 0 &&
                    strcmp(setting->name, "size") == 0)
                        return setting;
        }
        return NULL;
}

static enum region_result add_region(struct work *work, const struct setting *setting, struct spec **ret)
{
        struct spec *specs = work->specs->items;
        const char *field = arena_printf(work->arena, "regions.%s", setting->region);

        *ret = &specs[work->specs->n++];
        **ret = (struct spec){ .name = setting->region };
        return note_override(work, find_size(work, setting->region), field, "absent", "present");
}

/* What a program only compares, it need not list in full: then what the file says of the rest has nothing to change. */
static enum region_result change_region(struct work *work, const struct setting *setting)
{
        bool is_programs = false;
        struct spec *spec = find_spec(work, setting->region, &is_programs), unlisted = {};
        enum region_result r = REGION_OK;
        const char *field;

        if (is_programs) {
                field = arena_printf(work->arena, "regions.%s.%s", setting->region, setting->name);
                return field ? change(work, setting, spec, field) : failure_note_memory();
        }
        if (!spec && find_size(work, setting->region))
                r = add_region(work, setting, &spec);
        else if (!spec && work->creates)
                r = configuration_wrong(work->configuration, setting->line,
                                        "the program makes no region '%s'; set its size here for it to be added",
                                        setting->region);
        return r == REGION_OK ? change(work, setting, spec ? spec : &unlisted, NULL) : r;
}

/* --- all of it --------------------------------------------------------------------------------------------------- */

/* Room for the regions that the file may add. */
static enum region_result make_room(struct struct_array *specs, size_t more, struct arena *arena)
{
        struct spec *items = arena_alloc(arena, specs->n + more, sizeof(*items));

        if (!items)
                return failure_note_memory();
        if (specs->n > 0)
                memcpy(items, specs->items, specs->n * sizeof(*items));
        specs->items = items;
        return REGION_OK;
}

enum region_result override_definition(const struct configuration *configuration, struct definition *definition,
                                       bool creates, struct arena *arena, struct overrides *ret)
{
        struct work work = {
                .configuration = configuration,
                .arena = arena,
                .overrides = ret,
                .creates = creates,
                .specs = &definition->regions,
                .n_program = definition->regions.n,
        };
        enum region_result r = prepare(&work);

        if (r == REGION_OK)
                r = make_room(work.specs, configuration->n_settings, arena);
        for (size_t i = 0; i < configuration->n_settings && r == REGION_OK; i++) {
                const struct setting *setting = &configuration->settings[i];

                if (setting->section == SECTION_ENVIRONMENT)
                        r = change(&work, setting, definition, setting->name);
                else if (setting->section == SECTION_REGION)
                        r = change_region(&work, setting);
        }
        return r;
}

bool overrides_copy(const struct overrides *overrides, struct arena *arena, struct overrides *ret)
{
        struct override *items = arena_alloc(arena, overrides->n, sizeof(*items));

        for (size_t i = 0; items && i < overrides->n; i++) {
                const struct override *from = &overrides->items[i];

                items[i] = (struct override){
                        .field = arena_strdup(arena, from->field),
                        .wanted = arena_strdup(arena, from->wanted),
                        .set = arena_strdup(arena, from->set),
                        .where = arena_strdup(arena, from->where),
                };
                if (!items[i].field || !items[i].wanted || !items[i].set || !items[i].where)
                        return false;
        }
        *ret = (struct overrides){ .items = items, .n = overrides->n };
        return items != NULL;
}
