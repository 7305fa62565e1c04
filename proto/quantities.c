/* Numbers as people write them, and back. One reader of digits under all parsers: it knows no sign, no blank and no
 * wrapping around, which strtoull(3) all let pass. */

#include "quantities.h"

#include "util.h"

#include <errno.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

struct unit {
        const char *word;
        uint64_t factor;
};

static const struct unit size_units[] = {
        { "", 1 }, { "K", 1 << 10 }, { "M", 1 << 20 }, { "G", 1 << 30 }, { "T", UINT64_C(1) << 40 },
};

static const struct unit duration_units[] = {
        { "us", 1 },
        { "ms", 1000 },
        { "s", 1000 * 1000 },
        { "", 1000 * 1000 },
        { "min", INT64_C(60) * 1000 * 1000 },
        { "h", INT64_C(3600) * 1000 * 1000 },
        { "d", INT64_C(86400) * 1000 * 1000 },
};

static int digit_value(char digit)
{
        if (digit >= '0' && digit <= '9')
                return digit - '0';
        if (digit >= 'a' && digit <= 'f')
                return digit - 'a' + 10;
        if (digit >= 'A' && digit <= 'F')
                return digit - 'A' + 10;
        return 16;
}

/* Reads digits up to the first character that is none. */
static int digits_parse(const char *word, unsigned base, const char **ret_rest, uint64_t *ret)
{
        bool too_large = false;
        uint64_t value = 0;
        const char *p;

        for (p = word; (unsigned)digit_value(*p) < base; p++)
                if (__builtin_mul_overflow(value, base, &value) ||
                    __builtin_add_overflow(value, (unsigned)digit_value(*p), &value))
                        too_large = true;
        if (p == word)
                return -EINVAL;
        *ret_rest = p;
        *ret = value;
        return too_large ? -ERANGE : 0;
}

static int quantity_parse(const char *word, const struct unit *units, size_t n_units, uint64_t *ret)
{
        const char *rest;
        uint64_t number;
        int r;

        r = digits_parse(word, 10, &rest, &number);
        if (r == -EINVAL)
                return r;
        for (size_t i = 0; i < n_units; i++) {
                if (strcmp(rest, units[i].word) != 0)
                        continue;
                if (r < 0 || __builtin_mul_overflow(number, units[i].factor, ret) || *ret > INT64_MAX)
                        return -ERANGE;
                return 0;
        }
        return -EINVAL;
}

int size_parse(const char *word, size_t *ret)
{
        uint64_t bytes;
        int r;

        r = quantity_parse(word, size_units, array_size(size_units), &bytes);
        if (r < 0)
                return r;
        if (bytes == 0 || bytes > SIZE_MAX)
                return -ERANGE;
        *ret = (size_t)bytes;
        return 0;
}

int duration_parse(const char *word, int64_t *ret_usec)
{
        uint64_t usec;
        int r;

        r = quantity_parse(word, duration_units, array_size(duration_units), &usec);
        if (r < 0)
                return r;
        *ret_usec = (int64_t)usec;
        return 0;
}

/* A bare number, nothing after it. */
static int digits_parse_all(const char *word, unsigned base, uint64_t max, uint64_t *ret)
{
        const char *rest;
        uint64_t value;
        int r;

        r = digits_parse(word, base, &rest, &value);
        if (r == -EINVAL || *rest != '\0')
                return -EINVAL;
        if (r < 0 || value > max)
                return -ERANGE;
        *ret = value;
        return 0;
}

int mode_parse(const char *word, mode_t *ret)
{
        uint64_t mode;
        int r;

        r = digits_parse_all(word, 8, 0777, &mode);
        if (r < 0)
                return r;
        if (mode == 0) /* to libregion it is the default, which is something else */
                return -ERANGE;
        *ret = (mode_t)mode;
        return 0;
}

int count_parse(const char *word, unsigned most, unsigned *ret)
{
        uint64_t count;
        int r;

        r = digits_parse_all(word, 10, most, &count);
        if (r < 0)
                return r;
        if (count == 0)
                return -ERANGE;
        *ret = (unsigned)count;
        return 0;
}

int number_parse(const char *word, int64_t *ret)
{
        uint64_t value;
        int r;

        r = digits_parse_all(word, 10, INT64_MAX, &value);
        if (r == 0)
                *ret = (int64_t)value;
        return r;
}

int key_parse(const char *word, int32_t *ret)
{
        bool hexadecimal = strncmp(word, "0x", 2) == 0;
        uint64_t key;
        int r;

        r = digits_parse_all(hexadecimal ? word + 2 : word, hexadecimal ? 16 : 10, INT32_MAX, &key);
        if (r < 0)
                return r;
        if (key == 0)
                return -ERANGE;
        *ret = (int32_t)key;
        return 0;
}

/* `units` begin with the smallest. One without a word is for parsing, unless there is no better. */
static const char *quantity_text(uint64_t value, const struct unit *units, size_t n_units, char *text)
{
        const struct unit *best = &units[0];

        for (size_t i = 0; i < n_units; i++)
                if (units[i].word[0] != '\0' && value % units[i].factor == 0 && value >= units[i].factor)
                        best = &units[i];
        snprintf(text, VALUE_TEXT_MAX, "%" PRIu64 "%s", value / best->factor, best->word);
        return text;
}

const char *bytes_text(uint64_t bytes, char *text)
{
        return quantity_text(bytes, size_units, array_size(size_units), text);
}

const char *duration_text(int64_t usec, char *text)
{
        return quantity_text((uint64_t)usec, duration_units, array_size(duration_units), text);
}
