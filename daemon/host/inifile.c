/* inih takes lines from a function of ours, so that we know the number of each, and so that a line too long for it does not
 * become two. Of the lines that it does not understand it names the first alone; so it first reads without an effect, again
 * and again, each time without the wrong line that it found, and then once more for what is left. */

#include "daemon/host/inifile.h"

#include "proto/util.h"

#include <errno.h>
#include <fcntl.h>
#include <ini.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

enum { SECTION_MAX = 48 }; /* inih cuts longer ones, without a word */

struct text {
        char *bytes; /* terminated */
        const char *next;
        unsigned line; /* the one handed out last */
        const struct inifile_reader *reader;
        bool told; /* of what cannot be read whole */
};

static void wrong(const struct text *text, unsigned line, const char *why)
{
        text->reader->on_wrong(text->reader->data, line, why);
}

static bool is_comment(const char *line)
{
        line += strspn(line, " \t");
        return *line == ';' || *line == '#';
}

/* As fgets(3). */
static char *next_line(char *buffer, int size, void *stream)
{
        struct text *text = stream;
        size_t n = strcspn(text->next, "\n");

        if (!*text->next)
                return NULL;
        text->line++;
        if (n + 2 > (size_t)size) {
                if (!text->told && !is_comment(text->next))
                        wrong(text, text->line, "the line is too long");
                buffer[0] = '\0';
        } else {
                memcpy(buffer, text->next, n);
                buffer[n] = '\0';
        }
        strcat(buffer, "\n");
        text->next += n + (text->next[n] == '\n');
        return buffer;
}

static int ignore_key(void *data, const char *section, const char *key, const char *value)
{
        (void)data;
        (void)section;
        (void)key;
        (void)value;
        return 1;
}

static int take_key(void *data, const char *section, const char *key, const char *value)
{
        struct text *text = data;

        if (strlen(section) > SECTION_MAX)
                wrong(text, text->line, "the name of its section is too long");
        else
                text->reader->on_key(text->reader->data, text->line, section, key, value);
        return 1;
}

/* 0, the number of the first wrong line, or -ENOMEM. */
static int parse(struct text *text, ini_handler handler)
{
        int r;

        text->next = text->bytes;
        text->line = 0;
        r = ini_parse_stream(next_line, text, handler, text);
        text->told = true;
        return r < 0 ? -ENOMEM : r;
}

static void blank_line(struct text *text, int line)
{
        char *bytes = text->bytes;

        while (--line > 0)
                bytes += strcspn(bytes, "\n") + 1;
        memset(bytes, ' ', strcspn(bytes, "\n"));
}

static int parse_all(struct text *text)
{
        int r;

        for (int i = 0; (r = parse(text, ignore_key)) > 0; i++) {
                if (i == INIFILE_MAX_WRONG) {
                        wrong(text, (unsigned)r, "too many lines are wrong; the file is not used");
                        return 0;
                }
                wrong(text, (unsigned)r, "neither a [section] nor KEY=VALUE");
                blank_line(text, r);
        }
        return r < 0 ? r : parse(text, take_key);
}

/* Whoever else could write there could give orders to the broker. */
static int check(const struct stat *st)
{
        if (!S_ISREG(st->st_mode))
                return -EINVAL;
        if ((st->st_uid != 0 && st->st_uid != geteuid()) || st->st_mode & (S_IWGRP | S_IWOTH))
                return -EPERM;
        return st->st_size > INIFILE_MAX_BYTES ? -EFBIG : 0;
}

static int read_all(int fd, char *bytes, size_t size, size_t *ret_n)
{
        size_t n = 0;
        ssize_t part;

        while (n < size && (part = read(fd, bytes + n, size - n)) != 0) {
                if (part > 0)
                        n += (size_t)part;
                else if (errno != EINTR)
                        return -errno;
        }
        *ret_n = n;
        return 0;
}

int inifile_read(const char *path, const struct inifile_reader *reader)
{
        owned(closep) int fd = open(path, O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
        owned(freep) char *bytes = NULL;
        struct text text = { .reader = reader };
        struct stat st;
        size_t n = 0;
        int r;

        if (fd < 0 || fstat(fd, &st) < 0)
                return -errno;
        if (S_ISCHR(st.st_mode) && st.st_rdev == makedev(1, 3))
                return 0;
        r = check(&st);
        if (r < 0)
                return r;
        bytes = calloc(1, INIFILE_MAX_BYTES + 2); /* one more than allowed: it may have grown since */
        if (!bytes)
                return -ENOMEM;
        r = read_all(fd, bytes, INIFILE_MAX_BYTES + 1, &n);
        if (r < 0)
                return r;
        if (n > INIFILE_MAX_BYTES)
                return -EFBIG;
        if (memchr(bytes, '\0', n))
                return -EINVAL;
        text.bytes = bytes;
        return parse_all(&text);
}
