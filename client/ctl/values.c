/* Numbers as words for people. */

#include "client/ctl/values.h"

#include <inttypes.h>
#include <stdio.h>
#include <time.h>

const char *regions_word(size_t n)
{
        return n == 1 ? "region" : "regions";
}

const char *size_text(uint64_t bytes, char *text)
{
        static const char units[] = "BKMGTPE";
        uint64_t tenths;
        int unit = 0;

        while (unit < 6 && bytes >> (10 * unit) >= 1024)
                unit++;
        if (unit == 0) {
                snprintf(text, VALUE_TEXT_MAX, "%" PRIu64 "B", bytes);
                return text;
        }
        tenths = ((bytes >> (10 * unit - 10)) * 10 + 512) / 1024;
        if (tenths == 10240 && unit < 6) { /* 1048575 is 1M, not 1024K */
                tenths = 10;
                unit++;
        }
        if (tenths % 10 == 0)
                snprintf(text, VALUE_TEXT_MAX, "%" PRIu64 "%c", tenths / 10, units[unit]);
        else
                snprintf(text, VALUE_TEXT_MAX, "%" PRIu64 ".%" PRIu64 "%c", tenths / 10, tenths % 10, units[unit]);
        return text;
}

const char *time_text(int64_t usec_since_1970, char *text)
{
        time_t seconds = (time_t)(usec_since_1970 / 1000000);
        struct tm tm;

        if (localtime_r(&seconds, &tm) == NULL || strftime(text, VALUE_TEXT_MAX, "%F %T", &tm) == 0)
                snprintf(text, VALUE_TEXT_MAX, "?");
        return text;
}
