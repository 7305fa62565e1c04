/* The table of limits.h as data. */

#include "daemon/core/limits.h"

#include "proto/quantities.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

const struct limit_row limit_rows[] = {
#define LIMIT_ROW(field, name, preset, least, most) { name, preset, least, most },
        LIMITS(LIMIT_ROW)
#undef LIMIT_ROW
};

const unsigned n_limits = sizeof(limit_rows) / sizeof(limit_rows[0]);

static_assert(sizeof(limit_rows) / sizeof(limit_rows[0]) <= 32, "struct some_limits has a bit for each");

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

int limits_find(const char *name)
{
        for (unsigned i = 0; i < n_limits; i++)
                if (strcmp(limit_rows[i].name, name) == 0)
                        return (int)i;
        return -ENOENT;
}

static bool ends_with(const char *name, const char *end)
{
        size_t n = strlen(name), n_end = strlen(end);

        return n >= n_end && strcmp(name + n - n_end, end) == 0;
}

bool limits_is_per_user(unsigned row)
{
        return ends_with(limit_rows[row].name, "PerUser");
}

static bool is_time(unsigned row)
{
        return ends_with(limit_rows[row].name, "USec");
}

static bool is_bytes(unsigned row)
{
        return strstr(limit_rows[row].name, "ytes") != NULL;
}

/* A bare number is in the unit that the name says, also where it is time. */
static int parse(unsigned row, const char *word, int64_t *ret)
{
        size_t size;
        int r = number_parse(word, ret);

        if (r != -EINVAL)
                return r;
        if (is_time(row))
                return duration_parse(word, ret);
        if (!is_bytes(row))
                return r;
        r = size_parse(word, &size);
        if (r == 0)
                *ret = (int64_t)size;
        return r;
}

int limits_parse(unsigned row, const char *word, int64_t *ret)
{
        const struct limit_row *limit = &limit_rows[row];
        int64_t value;
        int r = parse(row, word, &value);

        if (r < 0)
                return r;
        if (value < limit->least || value > limit->most)
                return -ERANGE;
        *ret = value;
        return 0;
}

const char *limits_text(unsigned row, int64_t value, char *text)
{
        if (is_bytes(row))
                return bytes_text((uint64_t)value, text);
        if (is_time(row) && value > 0)
                return duration_text(value, text);
        snprintf(text, VALUE_TEXT_MAX, "%" PRId64, value);
        return text;
}

const char *limits_expected(unsigned row, char *text)
{
        char least[VALUE_TEXT_MAX], most[VALUE_TEXT_MAX];

        snprintf(text, LIMIT_TEXT_MAX, "a whole number%s from %s to %s",
                 is_bytes(row)  ? " of bytes, with K, M, G or T where that helps,"
                 : is_time(row) ? " of microseconds, or one with us, ms, s, min, h or d,"
                                : "",
                 limits_text(row, limit_rows[row].least, least), limits_text(row, limit_rows[row].most, most));
        return text;
}

void some_limits_set(struct some_limits *some, unsigned row, int64_t value)
{
        some->given |= UINT32_C(1) << row;
        *limits_at(&some->values, row) = value;
}

bool some_limits_has(const struct some_limits *some, unsigned row)
{
        return some->given & UINT32_C(1) << row;
}

void some_limits_add(struct some_limits *some, const struct some_limits *more)
{
        some->given |= more->given;
        some_limits_put_over(more, &some->values);
}

void some_limits_put_over(const struct some_limits *some, struct limits *limits)
{
        struct some_limits copy = *some;

        for (unsigned i = 0; i < n_limits; i++)
                if (some_limits_has(some, i))
                        *limits_at(limits, i) = *limits_at(&copy.values, i);
}
