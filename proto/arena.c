/* A list of blocks that are filled from front to back and never moved. The block at the head is the one with the most
 * room left, so one large object does not waste what the small ones still have. */

#include "arena.h"

#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/param.h>

#define BLOCK_SIZE 4000 /* with its header and malloc's own a little under one page */

struct arena_block {
        struct arena_block *next;
        size_t used;
        size_t size;
        max_align_t data[];
};

static size_t block_room(const struct arena_block *block)
{
        return block ? block->size - block->used : 0;
}

static struct arena_block *arena_add_block(struct arena *arena, size_t bytes)
{
        size_t size = MAX(bytes, (size_t)BLOCK_SIZE);
        struct arena_block *block = malloc(sizeof(*block) + size);
        struct arena_block *head = arena->blocks;

        if (!block)
                return NULL;
        block->used = 0;
        block->size = size;
        if (block_room(head) > size - bytes) {
                block->next = head->next;
                head->next = block;
        } else {
                block->next = head;
                arena->blocks = block;
        }
        return block;
}

void *arena_alloc(struct arena *arena, size_t n, size_t size)
{
        struct arena_block *block = arena->blocks;
        size_t bytes;
        void *memory;

        if (__builtin_mul_overflow(n, size, &bytes) || bytes > PTRDIFF_MAX)
                return NULL;
        bytes = roundup(MAX(bytes, 1u), _Alignof(max_align_t)); /* an array of none is not NULL either */
        if (block_room(block) < bytes) {
                block = arena_add_block(arena, bytes);
                if (!block)
                        return NULL;
        }
        memory = (char *)block->data + block->used;
        block->used += bytes;
        return memset(memory, 0, bytes); /* most of a block is never used */
}

char *arena_strdup(struct arena *arena, const char *string)
{
        size_t size = strlen(string) + 1;
        char *copy = arena_alloc(arena, size, 1);

        if (copy)
                memcpy(copy, string, size);
        return copy;
}

char *arena_printf(struct arena *arena, const char *format, ...)
{
        va_list args;
        char *string;
        int n;

        va_start(args, format);
        n = vsnprintf(NULL, 0, format, args);
        va_end(args);
        if (n < 0)
                return NULL;
        string = arena_alloc(arena, (size_t)n + 1, 1);
        if (!string)
                return NULL;
        va_start(args, format);
        vsnprintf(string, (size_t)n + 1, format, args);
        va_end(args);
        return string;
}

void arena_clear(struct arena *arena)
{
        struct arena_block *next;

        for (struct arena_block *block = arena->blocks; block; block = next) {
                next = block->next;
                free(block);
        }
        arena->blocks = NULL;
}
