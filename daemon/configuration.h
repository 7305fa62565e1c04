#pragma once

#include "daemon/core/rules.h"
#include "daemon/core/setting.h"
#include "daemon/log.h"

#include <stdbool.h>

struct entry;

/* What the files of the administrator and the command line say. A line that is wrong is complained of and counts for
 * nothing; all the others count. Zero-initialised it holds nothing. */
struct configuration {
        struct limits limits;
        struct rules rules;
        enum log_level level;
        struct settings settings; /* all of the above as people write it, and where each comes from */
        char **complaints;        /* FILE:LINE: what is wrong; owned */
        size_t n_complaints;
        size_t n_wrong;          /* with those that were too many to keep */
        unsigned n_files;        /* that were read */
        unsigned n_unread_files; /* that were there, or were asked for, and could not be */
        bool failed;             /* memory ran out */
};

/* All defaults. */
void configuration_init(struct configuration *configuration);
void configuration_deinit(struct configuration *configuration);

/* Reads one more file, over what was read before. */
void configuration_read(struct configuration *configuration, const char *path);
/* Reads the standard ones, where they exist: region-broker.conf in the first of these directories (up to a NULL), then
 * region-broker.conf.d/NAME.conf in all of them. */
void configuration_read_standard(struct configuration *configuration, const char *const *directories);
/* One that is read in another way: each key goes to `take`, with `data` in its entry. False where it could not be read. */
bool configuration_read_keys(struct configuration *configuration, const char *path,
                             void (*take)(const struct entry *entry), void *data);
/* The same as it is said of those: a file or a directory that cannot be read, and why, as -errno. */
void configuration_complain_file(struct configuration *configuration, const char *path, int r);
/* Over all files: what the command line says. */
void configuration_set_limits(struct configuration *configuration, const struct some_limits *limits);
void configuration_set_level(struct configuration *configuration, enum log_level level);
/* Notes what is in force, for those who ask. */
void configuration_note(struct configuration *configuration, const char *name, const char *value, const char *source);
__attribute__((format(printf, 2, 3))) void configuration_complain(struct configuration *configuration,
                                                                  const char *format, ...);
/* The same for what is said of a declared environment. */
void configuration_note_of(struct configuration *configuration, const struct declaration *of, const char *name,
                           const char *value, const char *source);
/* Nothing more is read. */
void configuration_finish(struct configuration *configuration);

/* What cannot change while the broker runs stays as it was, in `next`, which is to come after it; what that is is said in
 * the log. */
void configuration_carry_over(const struct configuration *before, struct configuration *next);
