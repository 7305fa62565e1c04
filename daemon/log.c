/* One write(2) or one message to the journal a line, so that lines of several processes do not mix. */

#include "daemon/log.h"

#include <errno.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#define SD_JOURNAL_SUPPRESS_LOCATION /* it would be this file in all of them */
#include <systemd/sd-journal.h>

static enum log_level max_level = LOG_LEVEL_INFO;

static const char *const words[] = {
        [LOG_LEVEL_ERROR] = "error", [LOG_LEVEL_WARNING] = "warning", [LOG_LEVEL_NOTICE] = "notice",
        [LOG_LEVEL_INFO] = "info",   [LOG_LEVEL_DEBUG] = "debug",
};

void log_set_level(enum log_level level)
{
        max_level = level;
}

const char *log_level_word(enum log_level level)
{
        return words[level];
}

int log_level_from_word(const char *word)
{
        for (int level = LOG_LEVEL_ERROR; level <= LOG_LEVEL_DEBUG; level++)
                if (strcmp(words[level], word) == 0)
                        return level;
        return -EINVAL;
}

/* --- the journal ------------------------------------------------------------------------------------------------- */

/* Standard error may have been led elsewhere since the variable was set. */
static bool is_journal(void)
{
        const char *stream = getenv("JOURNAL_STREAM");
        unsigned long long device, inode;
        struct stat st;

        return stream && sscanf(stream, "%llu:%llu", &device, &inode) == 2 && fstat(STDERR_FILENO, &st) == 0 &&
               st.st_dev == device && st.st_ino == inode;
}

struct entry {
        struct iovec fields[8];
        int n;
        char text[2560];
        size_t used;
};

/* What does not fit is cut off. */
__attribute__((format(printf, 2, 3))) static void add_field(struct entry *entry, const char *format, ...)
{
        size_t room = sizeof(entry->text) - entry->used;
        char *at = entry->text + entry->used;
        va_list args;
        size_t n;

        va_start(args, format);
        n = (size_t)vsnprintf(at, room, format, args);
        va_end(args);
        if (n >= room)
                n = room - 1;
        entry->fields[entry->n++] = (struct iovec){ at, n };
        entry->used += n;
}

static bool send_entry(enum log_level level, const struct log_fields *fields, const char *text)
{
        struct entry entry = {};

        add_field(&entry, "MESSAGE=%s", text);
        add_field(&entry, "PRIORITY=%d", (int)level);
        add_field(&entry, "SYSLOG_IDENTIFIER=region-broker");
        if (fields->environment)
                add_field(&entry, "REGION_BROKER_ENVIRONMENT=%s", fields->environment);
        if (fields->region)
                add_field(&entry, "REGION_BROKER_REGION=%s", fields->region);
        if (fields->rule)
                add_field(&entry, "REGION_BROKER_RULE=%s", fields->rule);
        if (fields->pid)
                add_field(&entry, "REGION_BROKER_PID=%d", (int)fields->pid);
        if (fields->uid)
                add_field(&entry, "REGION_BROKER_UID=%u", *fields->uid);
        return sd_journal_sendv(entry.fields, entry.n) == 0;
}

/* --- lines ------------------------------------------------------------------------------------------------------- */

static void emit(enum log_level level, const struct log_fields *fields, const char *text)
{
        char line[1280];
        int n;

        if (is_journal() && send_entry(level, fields, text))
                return;
        n = snprintf(line, sizeof(line), "region-broker: %s\n", text);
        if (n >= (int)sizeof(line)) {
                n = sizeof(line);
                line[n - 1] = '\n';
        }
        /* nowhere to complain to when this fails */
        if (write(STDERR_FILENO, line, (size_t)n) < 0)
                return;
}

struct rate {
        int64_t interval_began;
        unsigned lines;
};

/* Room for one more line in this interval? Tells at the interval's end what was left out. */
static bool within_rate(enum log_level level)
{
        static struct rate rates[LOG_LEVEL_DEBUG + 1];
        struct rate *rate = &rates[level];
        struct timespec ts;
        char text[64];
        int64_t now;

        clock_gettime(CLOCK_MONOTONIC, &ts);
        now = ts.tv_sec * INT64_C(1000000) + ts.tv_nsec / 1000;
        if (rate->interval_began == 0 || now - rate->interval_began > LOG_INTERVAL_USEC) {
                if (rate->lines > LOG_BURST) {
                        snprintf(text, sizeof(text), "%u lines were left out", rate->lines - LOG_BURST);
                        emit(LOG_LEVEL_WARNING, LOG_FIELDS(), text);
                }
                *rate = (struct rate){ .interval_began = now };
        }
        return ++rate->lines <= LOG_BURST;
}

/* Paths and command names may hold what would end the line, or be an order to a terminal. */
static void make_plain(char *text)
{
        for (; *text; text++)
                if ((unsigned char)*text < 0x20 || *text == 0x7f)
                        *text = '?';
}

__attribute__((format(printf, 3, 0))) static void say(enum log_level level, const struct log_fields *fields,
                                                      const char *format, va_list args)
{
        bool is_ours = level == LOG_LEVEL_ERROR || level == LOG_LEVEL_NOTICE;
        char text[1200];

        if (level > max_level || (!is_ours && !within_rate(level)))
                return;
        vsnprintf(text, sizeof(text), format, args);
        make_plain(text);
        emit(level, fields, text);
}

void log_line(enum log_level level, const char *format, ...)
{
        va_list args;

        va_start(args, format);
        say(level, LOG_FIELDS(), format, args);
        va_end(args);
}

void log_line_of(enum log_level level, const struct log_fields *fields, const char *format, ...)
{
        va_list args;

        va_start(args, format);
        say(level, fields, format, args);
        va_end(args);
}
