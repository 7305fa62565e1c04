#pragma once

#include <stddef.h>

/* Memory that is given back in one go: what is read from a call or built for its reply lives exactly as long as the
 * call. Zero-initialised it is empty and holds no memory. */
struct arena {
        struct arena_block *blocks;
};

/* Zeroed, aligned for any object; NULL when memory runs out or `n * size` overflows. */
void *arena_alloc(struct arena *arena, size_t n, size_t size);
char *arena_strdup(struct arena *arena, const char *string);
__attribute__((format(printf, 2, 3))) char *arena_printf(struct arena *arena, const char *format, ...);
void arena_clear(struct arena *arena);
