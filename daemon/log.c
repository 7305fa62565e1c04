/* One write(2) a line, so that lines of several processes do not mix. */

#include "daemon/log.h"

#include <errno.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

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

static void emit(enum log_level level, const char *text)
{
        char line[1280];
        int n;

        if (getenv("JOURNAL_STREAM"))
                n = snprintf(line, sizeof(line), "<%d>%s\n", (int)level, text);
        else
                n = snprintf(line, sizeof(line), "region-broker: %s\n", text);
        if (n >= (int)sizeof(line)) {
                n = sizeof(line);
                line[n - 1] = '\n';
        }
        /* nowhere to complain to when this fails */
        if (write(STDERR_FILENO, line, (size_t)n) < 0)
                return;
}

/* Room for one more line in this interval? Tells at the interval's end what was left out. */
static bool within_rate(void)
{
        static int64_t interval_began;
        static unsigned lines;
        struct timespec ts;
        char text[64];
        int64_t now;

        clock_gettime(CLOCK_MONOTONIC, &ts);
        now = ts.tv_sec * INT64_C(1000000) + ts.tv_nsec / 1000;
        if (interval_began == 0 || now - interval_began > LOG_INTERVAL_USEC) {
                if (lines > LOG_BURST) {
                        snprintf(text, sizeof(text), "%u lines were left out", lines - LOG_BURST);
                        emit(LOG_LEVEL_WARNING, text);
                }
                interval_began = now;
                lines = 0;
        }
        return ++lines <= LOG_BURST;
}

/* Paths and command names may hold what would end the line, or be an order to a terminal. */
static void make_plain(char *text)
{
        for (; *text; text++)
                if ((unsigned char)*text < 0x20 || *text == 0x7f)
                        *text = '?';
}

void log_line(enum log_level level, const char *format, ...)
{
        char text[1200];
        va_list args;

        if (level > max_level || (level >= LOG_LEVEL_INFO && !within_rate()))
                return;
        va_start(args, format);
        vsnprintf(text, sizeof(text), format, args);
        va_end(args);
        make_plain(text);
        emit(level, text);
}
