/* One row a key: where its value goes and how it is read. What is wrong with a file is found line by line and then, where
 * things do not go together, at its end; an environment of which anything is wrong is left out whole, for half of what was
 * meant may be worse than nothing. */

#include "daemon/environments.h"

#include "daemon/definition.h"
#include "daemon/host/dropins.h"
#include "daemon/host/people.h"
#include "daemon/sections.h"
#include "proto/quantities.h"
#include "proto/util.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

/* --- values ------------------------------------------------------------------------------------------------------ */

/* How a word becomes a member: 0, -EINVAL, -ERANGE or -ENOMEM; and what it has to be. */
struct kind {
        int (*read)(const char *word, void *member);
        const char *expected;
};

static int find_word(const char *const *words, const char *word, void *member)
{
        for (unsigned i = 1; words[i]; i++)
                if (strcmp(words[i], word) == 0) {
                        *(unsigned *)member = i; /* enums of the contract are such */
                        return 0;
                }
        return -EINVAL;
}

static int read_backing(const char *word, void *member)
{
        static const char *const words[] = { "", "file", "posix", "memfd", "sysv", NULL };

        return find_word(words, word, member);
}

static int read_lifetime(const char *word, void *member)
{
        static const char *const words[] = { "", "\n", "attached", "persistent", NULL };

        return find_word(words, word, member);
}

static int read_flag(const char *word, void *member)
{
        bool yes = strcmp(word, "yes") == 0;

        if (!yes && strcmp(word, "no") != 0)
                return -EINVAL;
        *(struct opt_bool *)member = (struct opt_bool){ .given = true, .value = yes };
        return 0;
}

/* The contract asks whether to reserve. */
static int read_sparse(const char *word, void *member)
{
        struct opt_bool *reserve = member;
        int r = read_flag(word, reserve);

        if (r == 0)
                reserve->value = !reserve->value;
        return r;
}

static int read_mode(const char *word, void *member)
{
        mode_t mode;
        int r = mode_parse(word, &mode);

        if (r == 0)
                *(struct opt_int *)member = (struct opt_int){ .given = true, .value = mode };
        return r;
}

static int read_key(const char *word, void *member)
{
        int32_t key;
        int r = key_parse(word, &key);

        if (r == 0)
                *(struct opt_int *)member = (struct opt_int){ .given = true, .value = key };
        return r;
}

static int read_duration(const char *word, void *member)
{
        struct opt_int *duration = member;
        int r = duration_parse(word, &duration->value);

        if (r == 0)
                duration->given = true;
        return r;
}

static int read_size(const char *word, void *member)
{
        size_t size;
        int r = size_parse(word, &size);

        if (r == 0)
                *(int64_t *)member = (int64_t)size;
        return r;
}

static int read_text(const char *word, void *member)
{
        const char **text = member;
        char *copy = strdup(word);

        if (!copy)
                return -ENOMEM;
        free((char *)(uintptr_t)*text);
        *text = copy;
        return 0;
}

static int read_schema(const char *word, void *member)
{
        return word[0] && strlen(word) <= NAME_MAX_BYTES ? read_text(word, member) : -EINVAL;
}

static int read_type(const char *word, void *member)
{
        return word[0] && strlen(word) <= TYPE_MAX_BYTES ? read_text(word, member) : -EINVAL;
}

static int read_directory(const char *word, void *member)
{
        return word[0] == '/' ? read_text(word, member) : -EINVAL;
}

static int read_owner(const char *word, void *member)
{
        return people_find_user(word, member) < 0 ? -EINVAL : 0;
}

static int read_group(const char *word, void *member)
{
        return people_find_group(word, member) < 0 ? -EINVAL : 0;
}

static int read_create(const char *word, void *member)
{
        *(bool *)member = strcmp(word, "start") == 0;
        return *(bool *)member || strcmp(word, "first-use") == 0 ? 0 : -EINVAL;
}

static int read_content(const char *word, void *member)
{
        *(bool *)member = strcmp(word, "opener") == 0;
        return *(bool *)member || strcmp(word, "zeros") == 0 ? 0 : -EINVAL;
}

static const struct kind backing_kind = { read_backing,
                                          "memfd, sysv, posix or file is expected; private memory is of one process" };
static const struct kind lifetime_kind = { read_lifetime,
                                           "attached or persistent is expected; its creator is the broker itself" };
static const struct kind flag_kind = { read_flag, "yes or no is expected" };
static const struct kind sparse_kind = { read_sparse, "yes or no is expected" };
static const struct kind mode_kind = { read_mode, MODE_EXPECTED " are expected" };
static const struct kind key_kind = { read_key, KEY_EXPECTED " is expected" };
static const struct kind duration_kind = { read_duration, DURATION_EXPECTED " is expected" };
static const struct kind size_kind = { read_size, SIZE_EXPECTED " is expected" };
static const struct kind schema_kind = { read_schema, "a text of 1 to 255 bytes is expected" };
static const struct kind type_kind = { read_type, "a word of 1 to 63 bytes is expected" };
static const struct kind directory_kind = { read_directory, "an absolute directory is expected, beginning with /" };
static const struct kind owner_kind = { read_owner, "there is no user of that name" };
static const struct kind group_kind = { read_group, "there is no group of that name" };
static const struct kind create_kind = { read_create, "start or first-use is expected" };
static const struct kind content_kind = { read_content, "zeros or opener is expected" };

/* --- keys -------------------------------------------------------------------------------------------------------- */

struct key {
        const char *name;
        size_t offset; /* of the member in struct declaration, or in struct spec */
        const struct kind *kind;
};

enum {
        KEY_OWNER,
        KEY_GROUP,
        KEY_CREATE,
        KEY_CONTENT,
        KEY_BACKING,
        KEY_MODE,
        KEY_HOME,
        KEY_REGION_DIRECTORY,
        KEY_SHM_KEY,
        KEY_LIFETIME,
        KEY_LINGER,
        KEY_RECOVERY,
        KEY_SCHEMA,
        KEY_SPARSE,
        KEY_LOCK,
        KEY_HUGE_PAGES,
        KEY_HUGETLB,
        N_KEYS
};

#define IN(type, member) offsetof(struct type, member)

/* clang-format off */
static const struct key keys[N_KEYS] = {
        [KEY_OWNER]            = { "owner",            IN(declaration, uid),                         &owner_kind },
        [KEY_GROUP]            = { "group",            IN(declaration, gid),                         &group_kind },
        [KEY_CREATE]           = { "create",           IN(declaration, at_start),                    &create_kind },
        [KEY_CONTENT]          = { "content",          IN(declaration, by_opener),                   &content_kind },
        [KEY_BACKING]          = { "backing",          IN(declaration, definition.backing),          &backing_kind },
        [KEY_MODE]             = { "mode",             IN(declaration, definition.mode),             &mode_kind },
        [KEY_HOME]             = { "home",             IN(declaration, definition.home),             &directory_kind },
        [KEY_REGION_DIRECTORY] = { "region-directory", IN(declaration, definition.region_directory), &directory_kind },
        [KEY_SHM_KEY]          = { "shm-key",          IN(declaration, definition.shm_key),          &key_kind },
        [KEY_LIFETIME]         = { "lifetime",         IN(declaration, definition.lifetime),         &lifetime_kind },
        [KEY_LINGER]           = { "linger",           IN(declaration, definition.linger_usec),      &duration_kind },
        [KEY_RECOVERY]         = { "recovery",         IN(declaration, definition.recovery),         &flag_kind },
        [KEY_SCHEMA]           = { "schema",           IN(declaration, definition.schema),           &schema_kind },
        [KEY_SPARSE]           = { "sparse",           IN(declaration, definition.reserve),          &sparse_kind },
        [KEY_LOCK]             = { "lock",             IN(declaration, definition.lock),             &flag_kind },
        [KEY_HUGE_PAGES]       = { "huge-pages",       IN(declaration, definition.huge_pages),       &flag_kind },
        [KEY_HUGETLB]          = { "hugetlb",          IN(declaration, definition.hugetlb),          &flag_kind },
};

static const struct key region_keys[] = {
        { "size",    IN(spec, size),    &size_kind },
        { "type",    IN(spec, type),    &type_kind },
        { "backing", IN(spec, backing), &backing_kind },
};
/* clang-format on */

/* One file at work. */
struct work {
        struct configuration *configuration;
        const char *file;
        struct declaration *declaration;
        unsigned lines[N_KEYS]; /* where each was set; 0: it was not */
        bool says_something;
        struct settings said;
};

static const struct key *find_key(const struct entry *entry, const struct key *some, size_t n)
{
        char expected[256] = "";
        size_t size = 0;

        for (size_t i = 0; i < n; i++) {
                if (strcmp(some[i].name, entry->key) == 0)
                        return &some[i];
                size += (size_t)snprintf(expected + size, sizeof(expected) - size, "%s%s", i > 0 ? ", " : "",
                                         some[i].name);
        }
        entry_wrong(entry, "there is no such key; expected one of %s", expected);
        return NULL;
}

static void note(const struct entry *entry)
{
        struct work *work = entry->data;
        owned(freep) char *name = NULL, *source = NULL;

        if (asprintf(&name, "environment.%s.%s%s%s%s", work->declaration->name, entry->argument ? "region." : "",
                     entry->argument ? entry->argument : "", entry->argument ? "." : "", entry->key) < 0)
                name = NULL;
        if (asprintf(&source, "%s:%u", entry->file, entry->line) < 0)
                source = NULL;
        if (!name || !source || settings_put(&work->said, name, entry->value, source) == -ENOMEM)
                entry->configuration->failed = true;
}

static void set(const struct entry *entry, const struct key *key, void *object)
{
        int r = key->kind->read(entry->value, (char *)object + key->offset);

        if (r == 0)
                note(entry);
        else if (r == -ENOMEM)
                entry->configuration->failed = true;
        else
                entry_wrong(entry, "%s%s", r == -ERANGE ? "the value is out of range; " : "", key->kind->expected);
}

static void take_region(const struct entry *entry)
{
        struct work *work = entry->data;
        const struct key *key = find_key(entry, region_keys, array_size(region_keys));
        struct refusal refusal = {};
        struct spec *spec;

        if (!key)
                return;
        if (definition_check_name(entry->argument, &refusal) != 0) {
                entry_wrong(entry, "no region can have that name: %s", refusal.reason);
                return;
        }
        spec = declaration_region(work->declaration, entry->argument);
        if (!spec)
                entry->configuration->failed = true;
        else if (work->declaration->definition.regions.n > DECLARED_REGIONS_MAX)
                entry_wrong(entry, "an environment has %d regions at the most", DECLARED_REGIONS_MAX);
        else
                set(entry, key, spec);
}

static void take_environment(const struct entry *entry)
{
        struct work *work = entry->data;
        const struct key *key = find_key(entry, keys, N_KEYS);

        if (!key)
                return;
        work->lines[key - keys] = entry->line;
        set(entry, key, work->declaration);
}

static void take(const struct entry *entry)
{
        struct work *work = entry->data;

        work->says_something = true;
        if (strcmp(entry->section, "environment") == 0 && !entry->argument)
                take_environment(entry);
        else if (strcmp(entry->section, "region") == 0 && entry->argument)
                take_region(entry);
        else
                entry_wrong(entry, "%s; expected [environment] or [region NAME]",
                            entry->section[0] ? "there is no such section" : "it stands in no section");
}

/* --- at the end of a file ---------------------------------------------------------------------------------------- */

static void wrong_at(const struct work *work, unsigned key, const char *why)
{
        configuration_complain(work->configuration, "%s:%u: %s: %s", work->file, work->lines[key], keys[key].name, why);
}

static void check_regions(const struct work *work)
{
        const struct definition *definition = &work->declaration->definition;
        const struct spec *specs = definition->regions.items;

        if (definition->regions.n == 0)
                configuration_complain(work->configuration, "%s: at least one [region NAME] is expected", work->file);
        for (size_t i = 0; i < definition->regions.n; i++) {
                if (specs[i].size == 0)
                        configuration_complain(work->configuration, "%s: size= is expected in [region %s]", work->file,
                                               specs[i].name);
                if (definition->hugetlb.value &&
                    (specs[i].backing == BACKING_POSIX || specs[i].backing == BACKING_FILE))
                        wrong_at(work, KEY_HUGETLB, "it is for memfd and sysv alone");
        }
}

/* What does not go together. */
static void check_whole(const struct work *work)
{
        const struct declaration *declaration = work->declaration;
        const struct definition *definition = &declaration->definition;

        if (work->lines[KEY_LINGER] > 0 && definition->lifetime != LIFETIME_ATTACHED)
                wrong_at(work, KEY_LINGER, "it goes with lifetime=attached alone");
        if (work->lines[KEY_SPARSE] > 0 && definition->reserve.value && !declaration->by_opener)
                wrong_at(
                        work, KEY_SPARSE,
                        "no is for content=opener alone: memory is reserved by the process that fills it, and charged to it");
        if (definition->hugetlb.value && (definition->backing == BACKING_POSIX || definition->backing == BACKING_FILE))
                wrong_at(work, KEY_HUGETLB, "it is for memfd and sysv alone");
        check_regions(work);
}

/* Its own group is the first that it is in. */
static void find_groups(const struct work *work)
{
        struct declaration *declaration = work->declaration;
        int r = people_find_groups(declaration->uid, &declaration->groups, &declaration->n_groups);

        if (r == -ENOMEM)
                work->configuration->failed = true;
        else if (work->lines[KEY_GROUP] > 0)
                return;
        else if (r < 0)
                configuration_complain(work->configuration, "%s: group= is expected, for nothing is known of user %u",
                                       work->file, declaration->uid);
        else
                declaration->gid = declaration->groups[0];
}

static void tell_all(const struct work *work, const struct declaration *declaration)
{
        for (size_t i = 0; i < work->said.n; i++)
                configuration_note_of(work->configuration, declaration, work->said.items[i].name,
                                      work->said.items[i].value, work->said.items[i].source);
}

static void settle(struct work *work)
{
        struct configuration *configuration = work->configuration;
        struct declaration *declaration = take_ptr(work->declaration);

        if (!declaration->by_opener)
                declaration->definition.reserve = (struct opt_bool){ .given = true };
        if (declarations_add(&configuration->rules.declared, declaration) < 0)
                configuration->failed = true;
        else
                tell_all(work, declaration);
}

static void read_whole(struct work *work)
{
        struct configuration *configuration = work->configuration;
        struct refusal refusal = {};
        size_t n_wrong = configuration->n_wrong;

        if (!configuration_read_keys(configuration, work->file, take, work))
                return;
        if (!work->says_something && configuration->n_wrong == n_wrong)
                return; /* it is there to stand in the way of another */
        if (definition_check_name(work->declaration->name, &refusal) != 0)
                configuration_complain(configuration, "%s: no environment can have that name: %s", work->file,
                                       refusal.reason);
        if (configuration->n_wrong == n_wrong)
                find_groups(work);
        if (configuration->n_wrong == n_wrong)
                check_whole(work);
        if (configuration->n_wrong == n_wrong)
                settle(work);
        else
                configuration_complain(configuration, "%s: its environment is left out until that is right",
                                       work->file);
}

static struct declaration *declaration_new(const char *file, uid_t owner)
{
        struct declaration *declaration = calloc(1, sizeof(*declaration));
        const char *name = strrchr(file, '/') + 1;

        if (!declaration)
                return NULL;
        declaration->uid = owner;
        declaration->at_start = true;
        declaration->definition.lifetime = LIFETIME_PERSISTENT;
        declaration->name = strndup(name, strlen(name) - strlen(".conf"));
        declaration->file = strdup(file);
        return declaration->name && declaration->file ? declaration : declaration_free(declaration);
}

static void read_file(struct configuration *configuration, const char *file, uid_t owner)
{
        owned(declaration_freep) struct declaration *declaration = declaration_new(file, owner);
        struct work work = { configuration, file, declaration, {}, false, {} };

        if (declaration)
                read_whole(&work);
        else
                configuration->failed = true;
        declaration = work.declaration; /* unless it was taken over */
        settings_deinit(&work.said);
}

void environments_read(struct configuration *configuration, const char *const *directories, uid_t owner)
{
        const char *failed;
        char **paths;
        size_t n;
        int r = dropins_find(directories, &paths, &n, &failed);

        if (r < 0) {
                configuration_complain_file(configuration, failed, r);
                return;
        }
        for (size_t i = 0; i < n && i < DECLARATIONS_MAX; i++)
                read_file(configuration, paths[i], owner);
        if (n > DECLARATIONS_MAX)
                configuration_complain(configuration,
                                       "%s: not read, as those after it: up to %d environments can be declared",
                                       paths[DECLARATIONS_MAX], DECLARATIONS_MAX);
        dropins_free(paths, n);
}

void environments_finish(struct configuration *configuration)
{
        const struct opt_int usual = configuration->rules.mode;
        struct declarations *declared = &configuration->rules.declared;

        declarations_sort(declared);
        for (size_t i = 0; i < declared->n; i++) {
                struct opt_int *mode = &declared->items[i]->definition.mode;

                if (!mode->given)
                        *mode = (struct opt_int){ true, usual.given ? usual.value : 0600 };
        }
}
