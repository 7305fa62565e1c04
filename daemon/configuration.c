/* Which files there are, and what is done with each line. What the keys mean is in sections.c. */

#include "daemon/configuration.h"

#include "daemon/environments.h"
#include "daemon/host/dropins.h"
#include "daemon/host/inifile.h"
#include "daemon/sections.h"
#include "proto/quantities.h"
#include "proto/util.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

enum { COMPLAINTS_MAX = 200 };

/* --- complaints and notes ---------------------------------------------------------------------------------------- */

__attribute__((format(printf, 2, 0))) static void complain_list(struct configuration *configuration, const char *format,
                                                                va_list args)
{
        char **grown;
        char *text;

        configuration->n_wrong++;
        if (configuration->n_complaints == COMPLAINTS_MAX)
                return;
        grown = reallocarray(configuration->complaints, configuration->n_complaints + 1, sizeof(*grown));
        if (grown)
                configuration->complaints = grown;
        if (!grown || vasprintf(&text, format, args) < 0) {
                configuration->failed = true;
                return;
        }
        configuration->complaints[configuration->n_complaints++] = text;
}

void configuration_complain(struct configuration *configuration, const char *format, ...)
{
        va_list args;

        va_start(args, format);
        complain_list(configuration, format, args);
        va_end(args);
}

void configuration_note(struct configuration *configuration, const char *name, const char *value, const char *source)
{
        configuration_note_of(configuration, NULL, name, value, source);
}

void configuration_note_of(struct configuration *configuration, const struct declaration *of, const char *name,
                           const char *value, const char *source)
{
        int r = settings_put_of(&configuration->settings, of, name, value, source);

        if (r == -E2BIG)
                configuration_complain(configuration,
                                       "%s: there are too many settings to tell of this one; it counts all the same",
                                       source);
        else if (r < 0)
                configuration->failed = true;
}

struct reading {
        struct configuration *configuration;
        const char *file;
        void (*take)(const struct entry *entry);
        void *data;
};

static void on_key(void *data, unsigned line, const char *section, const char *key, const char *value)
{
        const struct reading *reading = data;
        owned(freep) char *copy = strdup(section);
        struct entry entry = { reading->configuration, reading->file, line, copy, NULL, key, value, reading->data };
        char *blank;

        if (!copy) {
                reading->configuration->failed = true;
                return;
        }
        blank = strpbrk(copy, " \t");
        if (blank) {
                *blank++ = '\0';
                entry.argument = blank + strspn(blank, " \t");
        }
        reading->take(&entry);
}

static void on_wrong(void *data, unsigned line, const char *why)
{
        const struct reading *reading = data;

        configuration_complain(reading->configuration, "%s:%u: %s", reading->file, line, why);
}

/* --- files ------------------------------------------------------------------------------------------------------- */

void configuration_complain_file(struct configuration *configuration, const char *path, int r)
{
        const char *why = r == -EPERM
                                  ? "it has to belong to root or to the broker's user, and to be writable by nobody else"
                          : r == -EFBIG  ? "it is larger than 256 KiB"
                          : r == -EINVAL ? "it is no plain file of text"
                                         : strerror(-r);

        configuration->n_unread_files++;
        configuration_complain(configuration, "%s: not read: %s", path, why);
}

static bool read_keys(struct reading *reading, bool may_be_absent)
{
        const struct inifile_reader reader = { on_key, on_wrong, reading };
        int r = inifile_read(reading->file, &reader);

        if (r == -ENOMEM)
                reading->configuration->failed = true;
        else if (r == 0)
                reading->configuration->n_files++;
        else if (r != -ENOENT || !may_be_absent)
                configuration_complain_file(reading->configuration, reading->file, r);
        return r == 0;
}

bool configuration_read_keys(struct configuration *configuration, const char *path,
                             void (*take)(const struct entry *entry), void *data)
{
        return read_keys(&(struct reading){ configuration, path, take, data }, false);
}

static void read_file(struct configuration *configuration, const char *path, bool may_be_absent)
{
        read_keys(&(struct reading){ configuration, path, sections_take, NULL }, may_be_absent);
}

void configuration_read(struct configuration *configuration, const char *path)
{
        read_file(configuration, path, false);
}

enum { DIRECTORIES_MAX = 4 };

/* Each with `name` behind it, up to a NULL; false when memory runs out. */
static bool join_all(const char *const *directories, const char *name, char *ret[DIRECTORIES_MAX + 1])
{
        for (size_t i = 0; i < DIRECTORIES_MAX && directories[i]; i++)
                if (asprintf(&ret[i], "%s/%s", directories[i], name) < 0) {
                        ret[i] = NULL;
                        return false;
                }
        return true;
}

static void read_dropins(struct configuration *configuration, const char *const *directories)
{
        const char *failed;
        char **paths;
        size_t n;
        int r = dropins_find(directories, &paths, &n, &failed);

        if (r < 0) {
                configuration_complain_file(configuration, failed, r);
                return;
        }
        for (size_t i = 0; i < n; i++)
                read_file(configuration, paths[i], false);
        dropins_free(paths, n);
}

void configuration_read_standard(struct configuration *configuration, const char *const *directories)
{
        char *paths[DIRECTORIES_MAX + 1] = {}, *dropins[DIRECTORIES_MAX + 1] = {};

        if (join_all(directories, "region-broker.conf", paths) &&
            join_all(directories, "region-broker.conf.d", dropins)) {
                if (paths[0])
                        read_file(configuration, paths[0], true);
                read_dropins(configuration, (const char *const *)dropins);
        } else {
                configuration->failed = true;
        }
        for (size_t i = 0; i < DIRECTORIES_MAX; i++) {
                free(paths[i]);
                free(dropins[i]);
        }
}

/* --- beginning and end ------------------------------------------------------------------------------------------- */

static void note_limit(struct configuration *configuration, unsigned row, const char *source)
{
        char name[80], text[VALUE_TEXT_MAX];

        snprintf(name, sizeof(name), "limits.%s", limit_rows[row].name);
        configuration_note(configuration, name, limits_text(row, *limits_at(&configuration->limits, row), text),
                           source);
}

void configuration_init(struct configuration *configuration)
{
        *configuration = (struct configuration){ .level = LOG_LEVEL_INFO };
        limits_init(&configuration->limits);
        for (unsigned i = 0; i < n_limits; i++)
                note_limit(configuration, i, "default");
        configuration_note(configuration, "defaults.backing", "memfd", "default");
        configuration_note(configuration, "defaults.mode", "0600", "default");
        configuration_note(configuration, "homes.allow", "", "default");
        configuration_note(configuration, "log.level", "info", "default");
}

void configuration_set_limits(struct configuration *configuration, const struct some_limits *limits)
{
        some_limits_put_over(limits, &configuration->limits);
        for (unsigned i = 0; i < n_limits; i++)
                if (some_limits_has(limits, i))
                        note_limit(configuration, i, "command line");
}

void configuration_set_level(struct configuration *configuration, enum log_level level)
{
        configuration->level = level;
        configuration_note(configuration, "log.level", log_level_word(level), "command line");
}

void configuration_finish(struct configuration *configuration)
{
        if (sections_write_reasons(configuration) < 0)
                configuration->failed = true;
        environments_finish(configuration);
}

void configuration_carry_over(const struct configuration *before, struct configuration *next)
{
        const struct setting *setting = settings_find(&before->settings, "limits.historyEvents");

        if (before->limits.history_events == next->limits.history_events)
                return;
        log_warning("historyEvents stays %lld until the broker is started anew; %lld comes then",
                    (long long)before->limits.history_events, (long long)next->limits.history_events);
        next->limits.history_events = before->limits.history_events;
        configuration_note(next, setting->name, setting->value, setting->source);
}

void configuration_deinit(struct configuration *configuration)
{
        for (size_t i = 0; i < configuration->n_complaints; i++)
                free(configuration->complaints[i]);
        free(configuration->complaints);
        rules_deinit(&configuration->rules);
        settings_deinit(&configuration->settings);
        *configuration = (struct configuration){};
}
