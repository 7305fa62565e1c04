#pragma once

#include "daemon/core/limits.h"
#include "daemon/log.h"

#include <stdbool.h>
#include <stdint.h>

enum { LISTEN_MAX = 8, CONFIG_MAX = 8, IDLE_NOT_SAID = -2 };

/* What the command line and the environment ask for. */
struct options {
        bool system; /* for all users of the machine; else for one */
        const char *listen[LISTEN_MAX];
        unsigned n_listen;
        bool listen_by_default;  /* none was named: it is that in the runtime directory */
        char *runtime_directory; /* owned, as the ones below; where the socket is by default */
        char *state_directory;
        char *default_socket;
        int64_t idle_usec;               /* how long to stay without anybody; -1: for ever; or IDLE_NOT_SAID */
        bool runtime_given, state_given; /* else they are where they are by default */
        const char *config[CONFIG_MAX];  /* files to read instead of the standard ones */
        unsigned n_config;
        bool no_config;           /* none at all */
        const char *environments; /* where they are declared, instead of the standard directories */
        bool check_config;        /* say what is wrong with them, and nothing else */
        char *config_directory;   /* of this user, or of the system; owned. NULL: there is none */
        bool level_given;
        enum log_level log_level;
        struct some_limits limits; /* those that were given */
};

/* Reads them all. 0: go on; 1: done, help or version were asked for and printed; -EINVAL: wrong, and said so on standard
 * error; -ENOMEM. */
int options_read(struct options *options, int argc, char **argv);
void options_deinit(struct options *options);
