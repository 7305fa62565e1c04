/* What stands in the file is believed like the program's own words, so whoever could write it must be no less than who
 * runs the program. It is read whole; then inih takes it apart, fed line by line, which is how the number of a line is
 * known. inih knows no error but its own, so the first that is found here ends the feeding. Sections are read here as
 * well, because inih would cut a long name short. */

#include "client/configuration.h"

#include "client/arguments.h"
#include "client/failure.h"

#include "proto/util.h"

#include <errno.h>
#include <fcntl.h>
#include <ini.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/stat.h>

enum { FILE_MAX = 64 * 1024 };

/* --- the file ---------------------------------------------------------------------------------------------------- */

static enum region_result note_untrusted(const char *path, const char *reason)
{
        return failure_note(REGION_E_INVALID, "%s is not used: %s", path, reason);
}

/* Nothing is there, or nothing that this process could look at: then it cannot create anything there either. */
static bool is_absent(int error)
{
        return error == ENOENT || error == ENOTDIR || error == EACCES || error == ELOOP || error == ENAMETOOLONG;
}

static enum region_result note_unopened(const char *path, int error)
{
        struct stat st;

        if (lstat(path, &st) < 0 && is_absent(errno))
                return REGION_OK;
        if (error == EACCES)
                return note_untrusted(path, "this process may not read it; let it, or tell the program to ignore it");
        if (error == ELOOP || error == ENXIO)
                return note_untrusted(path, "it is not a regular file; remove it, or put a file there");
        return failure_note_system(REGION_E_RESOURCE, "open", error, "%s cannot be opened (%s)", path,
                                   errno_text(error));
}

static enum region_result check_trust(const char *path, int fd)
{
        struct stat st;

        if (fstat(fd, &st) < 0)
                return failure_note_system(REGION_E_RESOURCE, "fstat", errno, "%s cannot be looked at (%s)", path,
                                           errno_text(errno));
        if (!S_ISREG(st.st_mode))
                return note_untrusted(path, "it is not a regular file; remove it, or put a file there");
        if (st.st_uid != 0 && st.st_uid != geteuid())
                return failure_note(
                        REGION_E_INVALID,
                        "%s is not used: it belongs to uid %u, and has to belong to root or to uid %u; chown"
                        " it, or tell the program to ignore it",
                        path, st.st_uid, geteuid());
        if (st.st_mode & (S_IWGRP | S_IWOTH))
                return note_untrusted(path, "its group or others can write it; chmod go-w it");
        return REGION_OK;
}

/* All of it, ended by a NUL that does not count. */
static enum region_result read_text(const char *path, int fd, struct arena *arena, char **ret, size_t *ret_n)
{
        char *text = arena_alloc(arena, FILE_MAX + 2, 1);
        size_t n = 0;
        ssize_t part;

        if (!text)
                return failure_note_memory();
        while ((part = read(fd, text + n, FILE_MAX + 1 - n)) != 0) {
                if (part < 0 && errno != EINTR)
                        return failure_note_system(REGION_E_RESOURCE, "read", errno, "%s cannot be read (%s)", path,
                                                   errno_text(errno));
                n += part > 0 ? (size_t)part : 0;
        }
        if (n > FILE_MAX)
                return note_untrusted(path, "it is larger than 65536 bytes; make it smaller");
        *ret = text;
        *ret_n = n;
        return REGION_OK;
}

/* *ret stays NULL where there is no file. */
static enum region_result load(const char *path, struct arena *arena, char **ret, size_t *ret_n)
{
        owned(closep) int fd = open(path, O_RDONLY | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
        enum region_result r;

        if (fd < 0)
                return note_unopened(path, errno);
        r = check_trust(path, fd);
        return r == REGION_OK ? read_text(path, fd, arena, ret, ret_n) : r;
}

/* --- its lines --------------------------------------------------------------------------------------------------- */

struct parsing {
        struct configuration *configuration;
        struct arena *arena;
        char *next, *end;
        unsigned line;
        enum section section;
        const char *region;
        enum region_result result; /* of the latest line; nothing is read after a failure */
};

#define BLANKS " \t\r\v\f"

/* The name after the word `region`, its end cut off in place; NULL where there is none. */
static const char *region_name(char *section)
{
        char *name = section + strlen("region"), *end;

        name += strspn(name, BLANKS);
        end = name + strlen(name);
        while (end > name && strchr(BLANKS, end[-1]))
                *--end = '\0';
        return *name ? name : NULL;
}

/* [environment], [subsystems] or [region NAME], alone on its line but for a comment. */
static bool open_section(struct parsing *parsing, const char *line)
{
        char *section = arena_strdup(parsing->arena, line + 1), *end, *after;

        end = section ? strchr(section, ']') : NULL;
        if (!end)
                return false;
        *end = '\0';
        after = end + 1 + strspn(end + 1, BLANKS);
        if (*after && *after != ';' && *after != '#')
                return false;
        parsing->region = NULL;
        parsing->section = strcmp(section, "environment") == 0  ? SECTION_ENVIRONMENT
                           : strcmp(section, "subsystems") == 0 ? SECTION_SUBSYSTEMS
                                                                : SECTION_NONE;
        if (strncmp(section, "region", strlen("region")) == 0 && strchr(BLANKS, section[strlen("region")])) {
                parsing->section = SECTION_REGION;
                parsing->region = region_name(section);
                return parsing->region != NULL;
        }
        return parsing->section != SECTION_NONE;
}

static enum region_result check_line(struct parsing *parsing, const char *line, size_t n, size_t room)
{
        const struct configuration *configuration = parsing->configuration;

        if (n >= room)
                return configuration_wrong(configuration, parsing->line, "it is longer than %zu bytes; make it shorter",
                                           room - 1);
        if (strlen(line) < n || !arguments_is_utf8(line))
                return configuration_wrong(configuration, parsing->line, "it is not text in UTF-8");
        if (*line == '[' && !open_section(parsing, line))
                return configuration_wrong(configuration, parsing->line,
                                           "'%s' is no section; expected [environment], [subsystems] or [region NAME],"
                                           " alone on the line",
                                           line);
        return REGION_OK;
}

/* Indented, a line would be to inih a part of the one before. */
static char *next_line(char *ret, int room, void *data)
{
        struct parsing *parsing = data;
        char *line = parsing->next, *end;
        size_t n;

        if (parsing->result != REGION_OK || line >= parsing->end)
                return NULL;
        end = memchr(line, '\n', (size_t)(parsing->end - line));
        end = end ? end : parsing->end;
        *end = '\0';
        parsing->next = end + 1;
        parsing->line++;
        while (line < end && *line && strchr(BLANKS, *line))
                line++;
        n = (size_t)(end - line);
        parsing->result = check_line(parsing, line, n, room > 0 ? (size_t)room : 0);
        return parsing->result == REGION_OK ? memcpy(ret, line, n + 1) : NULL;
}

static const struct setting *find_same(const struct configuration *configuration, const struct setting *setting)
{
        for (size_t i = 0; i < configuration->n_settings; i++) {
                const struct setting *other = &configuration->settings[i];

                if (other->section == setting->section && strcmp(other->name, setting->name) == 0 &&
                    (!setting->region || strcmp(other->region, setting->region) == 0))
                        return other;
        }
        return NULL;
}

static enum region_result add_setting(struct parsing *parsing, const char *name, const char *value)
{
        struct configuration *configuration = parsing->configuration;
        struct setting setting = {
                .section = parsing->section,
                .region = parsing->region,
                .name = arena_strdup(parsing->arena, name),
                .value = arena_strdup(parsing->arena, value),
                .line = parsing->line,
        };
        const struct setting *same;

        if (!setting.name || !setting.value)
                return failure_note_memory();
        if (setting.section == SECTION_NONE)
                return configuration_wrong(configuration, setting.line,
                                           "'%s' stands in no section; expected [environment], [subsystems] or"
                                           " [region NAME] before it",
                                           name);
        same = find_same(configuration, &setting);
        if (same)
                return configuration_wrong(configuration, setting.line, "'%s' was set in line %u; set it once", name,
                                           same->line);
        configuration->settings[configuration->n_settings++] = setting;
        return REGION_OK;
}

static int on_setting(void *data, const char *section, const char *name, const char *value)
{
        struct parsing *parsing = data;

        (void)section; /* cut short */
        parsing->result = add_setting(parsing, name, value);
        return parsing->result == REGION_OK;
}

static size_t count_lines(const char *text, size_t n)
{
        size_t lines = 1;

        for (size_t i = 0; i < n; i++)
                lines += text[i] == '\n';
        return lines;
}

static enum region_result parse(struct configuration *configuration, char *text, size_t n, struct arena *arena)
{
        const size_t mark = n >= 3 && memcmp(text, "\xef\xbb\xbf", 3) == 0 ? 3 : 0; /* of UTF-8 */
        struct parsing parsing = {
                .configuration = configuration,
                .arena = arena,
                .next = text + mark,
                .end = text + n,
        };
        int line;

        configuration->settings = arena_alloc(arena, count_lines(text, n), sizeof(*configuration->settings));
        if (!configuration->settings)
                return failure_note_memory();
        line = ini_parse_stream(next_line, &parsing, on_setting, &parsing);
        /* inih goes on after an error of its own: what was found here may lie further down */
        if (line > 0 && (parsing.result == REGION_OK || (unsigned)line < parsing.line))
                return configuration_wrong(configuration, (unsigned)line, "expected NAME = VALUE or [SECTION]");
        return line < 0 ? failure_note_memory() : parsing.result;
}

enum region_result configuration_read(struct configuration *configuration, const char *home, struct arena *arena)
{
        enum region_result r;
        char *text = NULL;
        size_t n;

        *configuration = (struct configuration){};
        if (!home || home[0] != '/' || getauxval(AT_SECURE))
                return REGION_OK;
        configuration->path = arena_printf(arena, "%s%s" CONFIGURATION_NAME, home,
                                           home[strlen(home) - 1] == '/' ? "" : "/");
        if (!configuration->path)
                return failure_note_memory();
        r = load(configuration->path, arena, &text, &n);
        return r == REGION_OK && text ? parse(configuration, text, n, arena) : r;
}
