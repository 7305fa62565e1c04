#pragma once

#include "daemon/configuration.h"

/* What the sections and keys of a configuration file mean. */

/* One key of one line. */
struct entry {
        struct configuration *configuration;
        const char *file;
        unsigned line;
        const char *section;
        const char *argument; /* [section argument]; NULL: there is none */
        const char *key, *value;
        void *data; /* of whoever takes it */
};

/* Says what is wrong with it. */
__attribute__((format(printf, 2, 3))) void entry_wrong(const struct entry *entry, const char *format, ...);
/* Puts it where it counts, or complains. */
void sections_take(const struct entry *entry);
/* All names are known that are reserved: writes the sentences for those who may not have them. -ENOMEM. */
int sections_write_reasons(struct configuration *configuration);
