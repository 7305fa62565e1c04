#pragma once

#include <sys/types.h>

/* Lines for the administrator: to the journal of systemd where standard error leads there, each with what it speaks of in
 * fields of its own; elsewhere to standard error, as "region-broker: text". */

enum log_level {
        LOG_LEVEL_ERROR = 3,
        LOG_LEVEL_WARNING = 4,
        LOG_LEVEL_NOTICE = 5,
        LOG_LEVEL_INFO = 6,
        LOG_LEVEL_DEBUG = 7
};

/* Lines of a greater level are left out. Default: info. */
void log_set_level(enum log_level level);
/* Its word. */
const char *log_level_word(enum log_level level);
/* "error", "warning", "notice", "info", "debug" -> level, or -EINVAL. */
int log_level_from_word(const char *word);

/* Peers can cause lines of all levels but error and notice: beyond LOG_BURST of one of them in LOG_INTERVAL_USEC they are
 * counted only. */
enum { LOG_BURST = 2000, LOG_INTERVAL_USEC = 5000000 };

__attribute__((format(printf, 2, 3))) void log_line(enum log_level level, const char *format, ...);

/* What a line speaks of, beside its words: the journal's fields REGION_BROKER_ENVIRONMENT and so on. Zero: none. */
struct log_fields {
        const char *environment, *region, *rule;
        pid_t pid;
        const uid_t *uid;
};
__attribute__((format(printf, 3, 4))) void log_line_of(enum log_level level, const struct log_fields *fields,
                                                       const char *format, ...);
#define LOG_FIELDS(...) (&(const struct log_fields){ __VA_ARGS__ })

#define log_error(...) log_line(LOG_LEVEL_ERROR, __VA_ARGS__)
#define log_warning(...) log_line(LOG_LEVEL_WARNING, __VA_ARGS__)
#define log_notice(...) log_line(LOG_LEVEL_NOTICE, __VA_ARGS__)
#define log_info(...) log_line(LOG_LEVEL_INFO, __VA_ARGS__)
#define log_debug(...) log_line(LOG_LEVEL_DEBUG, __VA_ARGS__)
