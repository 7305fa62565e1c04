#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* A growing run of bytes into which JSON is written straight, without building a tree first. Zero-initialised it is
 * empty. When memory runs out it remembers so and ignores what follows: ask text_failed() once, at the end. */
struct text {
        char *data; /* heap; not terminated unless a NUL was put */
        size_t n;
        size_t allocated;
        bool failed;
};

void text_put(struct text *text, const void *bytes, size_t n);
void text_puts(struct text *text, const char *string);
void text_put_int(struct text *text, int64_t value);
/* As a JSON string in quotes. Bytes that are not UTF-8 (a command name may hold any) become U+FFFD. */
void text_put_string(struct text *text, const char *string);

bool text_failed(const struct text *text);
/* Gives up the bytes to the caller, who frees them; NULL if the text failed. It is empty and usable again. */
char *text_take(struct text *text, size_t *ret_n);
void text_clear(struct text *text);
