#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Every bound that a peer can reach. One row each: field, its name in GetStatistics, for --limit and in configuration files,
 * the default, the least and the most that may be set, and why it is there. The name says what it counts: it ends with USec
 * where that is time, with PerUser where each user has a bound of their own, and has "ytes" in it where it is bytes. */
#define LIMITS(X)                                                                                             \
        /* each session costs a descriptor, each process one more */                                          \
        X(sessions, "sessions", 9000, 1, 100000)                                                              \
        X(sessions_per_user, "sessionsPerUser", 8000, 1, 100000)                                              \
        /* each environment costs a descriptor for its control page */                                        \
        X(environments_per_user, "environmentsPerUser", 16384, 1, 10000000)                                   \
        X(regions_per_user, "regionsPerUser", 131072, 1, 10000000)                                            \
        /* an Open answers with a descriptor for each and one for the control page; the kernel carries 253 */ \
        X(regions_per_environment, "regionsPerEnvironment", 250, 1, 250)                                      \
        X(bytes_per_user, "bytesPerUser", INT64_C(1) << 42, 4096, INT64_MAX)                                  \
        X(region_bytes, "regionBytes", INT64_C(1) << 40, 4096, INT64_C(1) << 46)                              \
        /* what all users together may have of the machine's memory: memfd, sysv and posix */                 \
        X(memory_bytes, "memoryBytes", INT64_C(1) << 50, 4096, INT64_MAX)                                     \
        /* a waiting Open or Remove keeps its parameters */                                                   \
        X(waiting_per_user, "waitingCallsPerUser", 8000, 1, 100000)                                           \
        X(watches_per_user, "watchesPerUser", 256, 1, 100000)                                                 \
        /* what Watch can replay and Explain can tell; a few hundred bytes each */                            \
        X(history_events, "historyEvents", 4096, 1, 10000000)                                                 \
        /* answers that a session has not read; it is not read from while more are waiting */                 \
        X(output_bytes, "outputBytes", 256 * 1024, 4096, 16 * 1024 * 1024)                                    \
        /* descriptors sent and not taken; those of all users count against our limit of open files */        \
        X(unread_fds_per_user, "unreadDescriptorsPerUser", 4096, 1, 1000000)                                  \
        /* a peer that takes none of its answers for so long is disconnected */                               \
        X(stall_usec, "stallUSec", 30 * 1000000, 10000, INT64_C(86400) * 1000000)                             \
        X(linger_usec, "lingerUSec", INT64_C(86400) * 1000000, 0, INT64_C(366) * 86400 * 1000000)

struct limits {
#define LIMIT_FIELD(field, name, preset, least, most) int64_t field;
        LIMITS(LIMIT_FIELD)
#undef LIMIT_FIELD
};

/* Of texts; they are what the contract can say, and not for setting. */
enum {
        NAME_MAX_BYTES = 255, /* environment, region, schema */
        TYPE_MAX_BYTES = 63,
        PATH_MAX_BYTES = 4000,
        COMMAND_MAX_BYTES = 15, /* what the kernel keeps of a command's name */
};

struct limit_row {
        const char *name;
        int64_t preset, least, most;
};

extern const struct limit_row limit_rows[];
extern const unsigned n_limits;

void limits_init(struct limits *limits);
int64_t *limits_at(struct limits *limits, unsigned row);
/* The row of that name, or -ENOENT. */
int limits_find(const char *name);
/* It is each user's own, and may be another one for some of them. */
bool limits_is_per_user(unsigned row);

/* A word as the value of a limit: a number; of bytes also with K, M, G or T, of time with us, ms, s, min, h or d. -EINVAL it
 * is no such word; -ERANGE outside of what may be set. */
int limits_parse(unsigned row, const char *word, int64_t *ret);
/* What it takes, for the sentence that refuses a word: fills `text`, of LIMIT_TEXT_MAX bytes, and returns it. */
enum { LIMIT_TEXT_MAX = 160 };
const char *limits_expected(unsigned row, char *text);
/* The value as limits_parse() takes it, in `text`, of VALUE_TEXT_MAX bytes. */
const char *limits_text(unsigned row, int64_t value, char *text);

/* Some of the limits, to be put over others. Zero-initialised there is none. */
struct some_limits {
        uint32_t given; /* a bit for each row */
        struct limits values;
};

void some_limits_set(struct some_limits *some, unsigned row, int64_t value);
bool some_limits_has(const struct some_limits *some, unsigned row);
/* All that `more` has, too; of each the last one counts. */
void some_limits_add(struct some_limits *some, const struct some_limits *more);
void some_limits_put_over(const struct some_limits *some, struct limits *limits);
