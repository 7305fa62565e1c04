/* One row a section, one function a row. What a key says is taken apart here, put where it counts, and noted in the form in
 * which people would write it. */

#include "daemon/sections.h"

#include "daemon/core/refusal.h"
#include "daemon/definition.h"
#include "daemon/host/people.h"
#include "proto/quantities.h"
#include "proto/util.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

void entry_wrong(const struct entry *entry, const char *format, ...)
{
        owned(freep) char *why = NULL;
        va_list args;

        va_start(args, format);
        if (vasprintf(&why, format, args) < 0)
                why = NULL;
        va_end(args);
        configuration_complain(entry->configuration, "%s:%u: %s=%s in [%s%s%s]: %s", entry->file, entry->line,
                               entry->key, entry->value, entry->section, entry->argument ? " " : "",
                               entry->argument ? entry->argument : "", why ? why : "");
}

/* As section.key, or section.argument.key. */
static void note_as(const struct entry *entry, const char *section, const char *key, const char *value)
{
        owned(freep) char *name = NULL, *source = NULL;

        if (asprintf(&name, "%s%s%s.%s", section, entry->argument ? "." : "", entry->argument ? entry->argument : "",
                     key) < 0)
                name = NULL;
        if (asprintf(&source, "%s:%u", entry->file, entry->line) < 0)
                source = NULL;
        if (name && source)
                configuration_note(entry->configuration, name, value, source);
        else
                entry->configuration->failed = true;
}

static void note_entry(const struct entry *entry, const char *value)
{
        note_as(entry, entry->section, entry->key, value);
}

static void wrong_key(const struct entry *entry, const char *expected)
{
        entry_wrong(entry, "there is no such key; expected %s", expected);
}

/* --- limits ------------------------------------------------------------------------------------------------------ */

/* The row of a key, and its value; false where one of them is wrong. */
static bool read_limit(const struct entry *entry, const char *name, unsigned *ret_row, int64_t *ret)
{
        char expected[LIMIT_TEXT_MAX];
        int row = limits_find(name), r;

        if (row < 0) {
                entry_wrong(entry, "there is no limit of that name; region-broker --help lists them");
                return false;
        }
        r = limits_parse((unsigned)row, entry->value, ret);
        if (r < 0) {
                entry_wrong(entry, "%s%s is expected", r == -ERANGE ? "the value is out of range; " : "",
                            limits_expected((unsigned)row, expected));
                return false;
        }
        *ret_row = (unsigned)row;
        return true;
}

static void set_limit(const struct entry *entry, const char *name)
{
        char text[VALUE_TEXT_MAX];
        int64_t value;
        unsigned row;

        if (!read_limit(entry, name, &row, &value))
                return;
        *limits_at(&entry->configuration->limits, row) = value;
        note_as(entry, "limits", name, limits_text(row, value, text));
}

static void take_limits(const struct entry *entry)
{
        set_limit(entry, entry->key);
}

static void take_memory(const struct entry *entry)
{
        if (strcmp(entry->key, "budget") == 0)
                set_limit(entry, "memoryBytes");
        else
                wrong_key(entry, "budget");
}

static void set_rule(const struct entry *entry, bool is_group, id_t id)
{
        struct user_rule *rule;
        char text[VALUE_TEXT_MAX];
        int64_t value;
        unsigned row;

        if (!read_limit(entry, entry->key, &row, &value))
                return;
        if (!limits_is_per_user(row)) {
                entry_wrong(entry, "this limit is not one of each user; it belongs in [limits]");
                return;
        }
        rule = rules_user(&entry->configuration->rules, is_group, id);
        if (!rule) {
                entry->configuration->failed = true;
                return;
        }
        some_limits_set(&rule->limits, row, value);
        note_entry(entry, limits_text(row, value, text));
}

static void take_user(const struct entry *entry)
{
        uid_t uid;

        if (people_find_user(entry->argument, &uid) < 0)
                entry_wrong(entry, "there is no user of that name");
        else
                set_rule(entry, false, uid);
}

static void take_group(const struct entry *entry)
{
        gid_t gid;

        if (people_find_group(entry->argument, &gid) < 0)
                entry_wrong(entry, "there is no group of that name");
        else
                set_rule(entry, true, gid);
}

/* --- names ------------------------------------------------------------------------------------------------------- */

/* A wrong owner leaves the names reserved: for root alone is less harm than for everybody. */
static void set_owner(const struct entry *entry, struct opt_int *ret)
{
        bool is_user = strcmp(entry->key, "owner") == 0;
        id_t id;

        if ((is_user ? people_find_user : people_find_group)(entry->value, &id) < 0) {
                entry_wrong(entry, "there is no %s of that name; until there is, these names are not for them",
                            is_user ? "user" : "group");
                return;
        }
        *ret = (struct opt_int){ true, id };
        note_entry(entry, entry->value);
}

static void take_names(const struct entry *entry)
{
        struct refusal refusal = {};
        struct name_rule *rule;

        if (definition_check_name(entry->argument, &refusal) != 0) {
                entry_wrong(entry, "no name can begin so: %s", refusal.reason);
                return;
        }
        rule = rules_name(&entry->configuration->rules, entry->argument);
        if (!rule)
                entry->configuration->failed = true;
        else if (strcmp(entry->key, "owner") == 0)
                set_owner(entry, &rule->owner);
        else if (strcmp(entry->key, "group") == 0)
                set_owner(entry, &rule->group);
        else
                wrong_key(entry, "owner or group");
}

/* For those who may not have such a name. */
static int write_reason(const struct settings *settings, struct name_rule *rule)
{
        owned(freep) char *owner_name = NULL, *group_name = NULL;
        const struct setting *owner, *group;

        if (asprintf(&owner_name, "names.%s.owner", rule->prefix) < 0)
                owner_name = NULL;
        if (asprintf(&group_name, "names.%s.group", rule->prefix) < 0)
                group_name = NULL;
        if (!owner_name || !group_name)
                return -ENOMEM;
        owner = settings_find(settings, owner_name);
        group = settings_find(settings, group_name);
        if (asprintf(&rule->reason, "names that begin with '%s' are reserved for %s%s%s%s%s%s", rule->prefix,
                     owner ? "user " : "", owner ? owner->value : "", owner && group ? " and " : "",
                     group ? "group " : "", group ? group->value : "", owner || group ? "" : "root") < 0) {
                rule->reason = NULL;
                return -ENOMEM;
        }
        return 0;
}

int sections_write_reasons(struct configuration *configuration)
{
        int r = 0;

        for (size_t i = 0; i < configuration->rules.n_names && r == 0; i++)
                r = write_reason(&configuration->settings, &configuration->rules.names[i]);
        return r;
}

/* --- homes, defaults, log ---------------------------------------------------------------------------------------- */

static bool add_homes(const struct entry *entry)
{
        owned(freep) char *copy = strdup(entry->value);
        struct rules *rules = &entry->configuration->rules;
        char *rest = copy, *glob;

        if (!copy)
                return false;
        rules->homes_given = true;
        while ((glob = strsep(&rest, ":"))) {
                if (glob[0] != '/')
                        entry_wrong(entry, "absolute directories are expected, with * and ? where that helps, "
                                           "and colons in between");
                else if (rules_add_home(rules, glob) < 0)
                        return false;
        }
        return true;
}

static void note_homes(const struct entry *entry)
{
        const struct rules *rules = &entry->configuration->rules;
        owned(freep) char *all = strdup("");
        char *longer;

        for (size_t i = 0; i < rules->n_homes && all; i++) {
                if (asprintf(&longer, "%s%s%s", all, i > 0 ? ":" : "", rules->homes[i]) < 0)
                        longer = NULL;
                free(all);
                all = longer;
        }
        if (all)
                note_entry(entry, all);
        else
                entry->configuration->failed = true;
}

/* Each line adds to those before, an empty one begins anew; a list of which nothing is right allows nothing. */
static void take_homes(const struct entry *entry)
{
        struct rules *rules = &entry->configuration->rules;

        if (strcmp(entry->key, "allow") != 0) {
                wrong_key(entry, "allow");
                return;
        }
        if (!entry->value[0]) {
                rules_forget_homes(rules);
                rules->homes_given = false;
        } else if (!add_homes(entry)) {
                entry->configuration->failed = true;
                return;
        }
        note_homes(entry);
}

static enum backing find_backing(const char *word)
{
        static const char *const words[] = {
                [BACKING_FILE] = "file",
                [BACKING_POSIX] = "posix",
                [BACKING_MEMFD] = "memfd",
                [BACKING_SYSV] = "sysv",
        };

        for (size_t i = 1; i < array_size(words); i++)
                if (words[i] && strcmp(words[i], word) == 0)
                        return (enum backing)i;
        return 0;
}

static void take_mode(const struct entry *entry)
{
        char text[VALUE_TEXT_MAX];
        mode_t mode;

        if (mode_parse(entry->value, &mode) < 0) {
                entry_wrong(entry, MODE_EXPECTED " are expected");
                return;
        }
        entry->configuration->rules.mode = (struct opt_int){ true, mode };
        snprintf(text, sizeof(text), "%04o", (unsigned)mode);
        note_entry(entry, text);
}

static void take_defaults(const struct entry *entry)
{
        enum backing backing = find_backing(entry->value);

        if (strcmp(entry->key, "mode") == 0) {
                take_mode(entry);
        } else if (strcmp(entry->key, "backing") != 0) {
                wrong_key(entry, "backing or mode");
        } else if (!backing) {
                entry_wrong(entry, "memfd, sysv, posix or file is expected");
        } else {
                entry->configuration->rules.backing = backing;
                note_entry(entry, entry->value);
        }
}

static void take_log(const struct entry *entry)
{
        int level = log_level_from_word(entry->value);

        if (strcmp(entry->key, "level") != 0) {
                wrong_key(entry, "level");
        } else if (level < 0) {
                entry_wrong(entry, "error, warning, notice, info or debug is expected");
        } else {
                entry->configuration->level = (enum log_level)level;
                note_entry(entry, entry->value);
        }
}

/* --- sections ---------------------------------------------------------------------------------------------------- */

static const struct section {
        const char *name;
        const char *argument; /* what it takes; NULL: none */
        void (*take)(const struct entry *entry);
} sections[] = {
        { "limits", NULL, take_limits },      { "user", "a user's name or number", take_user },
        { "group", "a group's", take_group }, { "names", "how they begin", take_names },
        { "homes", NULL, take_homes },        { "defaults", NULL, take_defaults },
        { "memory", NULL, take_memory },      { "log", NULL, take_log },
};

static const struct section *find_section(const char *name)
{
        for (size_t i = 0; i < array_size(sections); i++)
                if (strcmp(sections[i].name, name) == 0)
                        return &sections[i];
        return NULL;
}

void sections_take(const struct entry *entry)
{
        const struct section *section = find_section(entry->section);

        if (!entry->section[0] && !entry->argument)
                entry_wrong(entry,
                            "it stands in no section; expected one of [limits] [user NAME] [group NAME] [names PREFIX] "
                            "[homes] [defaults] [memory] [log] before it");
        else if (!section)
                entry_wrong(entry,
                            "there is no such section; expected [limits] [user NAME] [group NAME] [names PREFIX] "
                            "[homes] [defaults] [memory] or [log]");
        else if (section->argument && !entry->argument)
                entry_wrong(entry, "[%s ...] is expected, with %s", section->name, section->argument);
        else if (!section->argument && entry->argument)
                entry_wrong(entry, "[%s] is expected, with nothing behind the word", section->name);
        else
                section->take(entry);
}
