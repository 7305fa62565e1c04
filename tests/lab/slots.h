#pragma once

/* What clients fill their slots of a region with, so that anybody can tell whether it is as they left it. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { SLOT_BYTES = 4096, SLOT_WORDS = SLOT_BYTES / sizeof(uint64_t) };

static inline uint64_t slot_word(unsigned slot, size_t i)
{
        return (slot + 1) * UINT64_C(0x9e3779b97f4a7c15) + i;
}

static inline void slot_fill(uint64_t *words, unsigned slot)
{
        for (size_t i = 0; i < SLOT_WORDS; i++)
                words[i] = slot_word(slot, i);
}

static inline bool slot_is_well(const uint64_t *words, unsigned slot)
{
        for (size_t i = 0; i < SLOT_WORDS; i++)
                if (words[i] != slot_word(slot, i))
                        return false;
        return true;
}
