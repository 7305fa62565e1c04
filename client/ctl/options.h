#pragma once

/* The command line as one struct; nothing is kept elsewhere. */

#include "client/libregion.h"

#include <stdbool.h>
#include <stddef.h>

enum json_mode { JSON_OFF, JSON_SHORT, JSON_PRETTY };

/* Groups of options. A verb's row says which of them it takes besides the global ones. */
enum option_group {
        OPTIONS_GLOBAL = 1,
        OPTIONS_DEFINITION = 2, /* what an environment is to be */
        OPTIONS_WAIT = 4,
        OPTIONS_HOLD = 8,
        OPTIONS_REMOVE = 16,
        OPTIONS_CALL = 32,
        OPTIONS_WATCH = 64,
};

struct options {
        const struct verb *verb;
        char *const *operands; /* what follows the verb, options taken out */
        size_t n_operands;

        char *socket; /* heap; NULL: where libregion looks */
        enum json_mode json;
        bool no_legend;
        bool quiet;

        bool create;
        bool read;
        bool force;
        bool more;
        int64_t since;                       /* --since; -1: not given */
        bool wait_given;                     /* --wait; its value is in `env` */
        const char *definition_option;       /* the first option given of that group, by its name; NULL: none */
        struct region_env_options env;       /* as given; the rest is left to the verb */
        struct region_subsystem_sizes sizes; /* which `env` points to */
};

/* Reads the command line into `ret`, which stays where it is. Everything in it but its socket belongs to argv. On
 * failure it has complained and returns the exit code. */
int options_parse(int argc, char **argv, struct options *ret);
void options_deinit(struct options *options);

/* The part of --help that lists the options. */
void options_help(void);
