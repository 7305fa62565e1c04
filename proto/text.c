/* Bytes appended to one growing run, and the two JSON values whose spelling takes thought: integers and strings. */

#include "text.h"

#include <stdlib.h>
#include <string.h>
#include <sys/param.h>

#define REPLACEMENT "\xef\xbf\xbd" /* U+FFFD */

/* Most answers come to their size in two steps. */
static size_t grown(const struct text *text, size_t needed)
{
        size_t more = text->allocated < 4096 ? 4 * text->allocated : 2 * text->allocated;

        return MAX(needed, MAX(more, 256u));
}

char *text_extend_slowly(struct text *text, size_t n)
{
        size_t needed, allocated;
        char *data;

        if (text->failed || __builtin_add_overflow(text->n, n, &needed)) {
                text->failed = true;
                return NULL;
        }
        allocated = grown(text, needed);
        data = realloc(text->data, allocated);
        if (!data) {
                text->failed = true;
                return NULL;
        }
        text->data = data;
        text->allocated = allocated;
        return text_extend(text, n);
}

void text_put_word(struct text *text, const char *word)
{
        size_t n = strlen(word);
        char *end = text_extend(text, n + 2);

        if (!end)
                return;
        end[0] = '"';
        memcpy(end + 1, word, n);
        end[n + 1] = '"';
}

void text_put_name(struct text *text, char separator, const char *name)
{
        size_t n = strlen(name);
        char *end = text_extend(text, n + 4);

        if (!end)
                return;
        end[0] = separator;
        end[1] = '"';
        memcpy(end + 2, name, n);
        end[n + 2] = '"';
        end[n + 3] = ':';
}

void text_put_int(struct text *text, int64_t value)
{
        char digits[sizeof("-9223372036854775808") - 1];
        char *end = digits + sizeof(digits), *first = end;
        uint64_t rest = value < 0 ? -(uint64_t)value : (uint64_t)value;

        do
                *--first = (char)('0' + rest % 10);
        while (rest /= 10);
        if (value < 0)
                *--first = '-';
        text_put(text, first, (size_t)(end - first));
}

/* Bytes that a JSON string can hold as they are. */
static const bool plain[256] = {
        [' '] = true,
        ['!'] = true,
        ['#' ... '['] = true,
        [']' ... 0x7f] = true,
};

static size_t count_plain(const unsigned char *s)
{
        size_t n = 0;

        while (plain[s[n]])
                n++;
        return n;
}

/* How many of the bytes at `s` are one UTF-8 sequence, or the broken start of one. The limits of the second byte leave
 * out overlong forms, surrogates and what lies above U+10FFFF; the NUL at the end of a string continues nothing. */
static size_t utf8_sequence(const unsigned char *s, bool *ret_whole)
{
        size_t length = s[0] < 0xc2 || s[0] > 0xf4 ? 1 : s[0] < 0xe0 ? 2 : s[0] < 0xf0 ? 3 : 4;
        unsigned char low = s[0] == 0xe0 ? 0xa0 : s[0] == 0xf0 ? 0x90 : 0x80;
        unsigned char high = s[0] == 0xed ? 0x9f : s[0] == 0xf4 ? 0x8f : 0xbf;
        size_t n = 1;

        while (n < length && s[n] >= low && s[n] <= high) {
                low = 0x80;
                high = 0xbf;
                n++;
        }
        *ret_whole = length > 1 && n == length;
        return n;
}

/* What stands in a JSON string for a character that cannot. */
static void put_substitute(struct text *text, unsigned char c)
{
        static const char letters[0x80] = {
                ['\b'] = 'b', ['\f'] = 'f', ['\n'] = 'n', ['\r'] = 'r', ['\t'] = 't', ['"'] = '"', ['\\'] = '\\',
        };
        static const char hex[] = "0123456789abcdef";

        if (c >= 0x80)
                text_puts(text, REPLACEMENT);
        else if (letters[c])
                text_put(text, (char[]){ '\\', letters[c] }, 2);
        else
                text_put(text, (char[]){ '\\', 'u', '0', '0', hex[c >> 4], hex[c & 15] }, 6);
}

void text_put_string(struct text *text, const char *string)
{
        const unsigned char *s = (const unsigned char *)string;
        const unsigned char *run = s; /* from here to `s` all can be copied as it is */

        text_put(text, "\"", 1);
        for (;;) {
                bool whole = false;
                size_t n;

                s += count_plain(s);
                if (*s == '\0')
                        break;
                n = *s < 0x80 ? 1 : utf8_sequence(s, &whole);
                if (!whole) {
                        text_put(text, run, (size_t)(s - run));
                        put_substitute(text, *s);
                        run = s + n;
                }
                s += n;
        }
        text_put(text, run, (size_t)(s - run));
        text_put(text, "\"", 1);
}

bool text_failed(const struct text *text)
{
        return text->failed;
}

char *text_take(struct text *text, size_t *ret_n)
{
        char *data;

        if (text->failed)
                text_clear(text);
        data = text->data;
        *ret_n = text->n;
        *text = (struct text){};
        return data;
}

void text_clear(struct text *text)
{
        free(text->data);
        *text = (struct text){};
}
