#pragma once

/* Lines for the administrator, on standard error: "<level>text" under systemd, "region-broker: text" elsewhere. */

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

/* Peers can cause lines of level info and below: beyond LOG_BURST of them in LOG_INTERVAL_USEC they are counted only. */
enum { LOG_BURST = 2000, LOG_INTERVAL_USEC = 5000000 };

__attribute__((format(printf, 2, 3))) void log_line(enum log_level level, const char *format, ...);

#define log_error(...) log_line(LOG_LEVEL_ERROR, __VA_ARGS__)
#define log_warning(...) log_line(LOG_LEVEL_WARNING, __VA_ARGS__)
#define log_notice(...) log_line(LOG_LEVEL_NOTICE, __VA_ARGS__)
#define log_info(...) log_line(LOG_LEVEL_INFO, __VA_ARGS__)
#define log_debug(...) log_line(LOG_LEVEL_DEBUG, __VA_ARGS__)
