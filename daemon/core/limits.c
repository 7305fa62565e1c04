/* The table of limits.h as data. */

#include "daemon/core/limits.h"

#include <errno.h>
#include <string.h>

const struct limit_row limit_rows[] = {
#define LIMIT_ROW(field, name, preset, least, most) { name, preset, least, most },
        LIMITS(LIMIT_ROW)
#undef LIMIT_ROW
};

const unsigned n_limits = sizeof(limit_rows) / sizeof(limit_rows[0]);

int64_t *limits_at(struct limits *limits, unsigned row)
{
        /* struct limits is made of the same rows, an int64_t each */
        return (int64_t *)(void *)limits + row;
}

void limits_init(struct limits *limits)
{
        for (unsigned i = 0; i < n_limits; i++)
                *limits_at(limits, i) = limit_rows[i].preset;
}

int limits_set(struct limits *limits, const char *name, int64_t value)
{
        for (unsigned i = 0; i < n_limits; i++) {
                if (strcmp(limit_rows[i].name, name) != 0)
                        continue;
                if (value < limit_rows[i].least || value > limit_rows[i].most)
                        return -ERANGE;
                *limits_at(limits, i) = value;
                return 0;
        }
        return -ENOENT;
}
