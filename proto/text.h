#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* A growing run of bytes into which JSON is written straight, without building a tree first. Zero-initialised it is
 * empty. When memory runs out it remembers so and ignores what follows: ask text_failed() once, at the end. */
struct text {
        char *data; /* heap; not terminated unless a NUL was put */
        size_t n;
        size_t allocated;
        bool failed;
};

/* Room was short: makes it, or fails. */
char *text_extend_slowly(struct text *text, size_t n);

/* The next `n` bytes, to be written by the caller; NULL once memory has run out. */
static inline char *text_extend(struct text *text, size_t n)
{
        if (__builtin_expect(n > text->allocated - text->n || text->failed, 0))
                return text_extend_slowly(text, n);
        text->n += n;
        return text->data + text->n - n;
}

static inline void text_put(struct text *text, const void *bytes, size_t n)
{
        char *end = n > 0 ? text_extend(text, n) : NULL;

        if (end)
                memcpy(end, bytes, n);
}

static inline void text_puts(struct text *text, const char *string)
{
        text_put(text, string, strlen(string));
}

/* Words of our own, which need no escapes, in quotes; a name with what stands before it and a colon. */
void text_put_word(struct text *text, const char *word);
void text_put_name(struct text *text, char separator, const char *name);
void text_put_int(struct text *text, int64_t value);
/* As a JSON string in quotes. Bytes that are not UTF-8 (a command name may hold any) become U+FFFD. */
void text_put_string(struct text *text, const char *string);

bool text_failed(const struct text *text);
/* Gives up the bytes to the caller, who frees them; NULL if the text failed. It is empty and usable again. */
char *text_take(struct text *text, size_t *ret_n);
void text_clear(struct text *text);
