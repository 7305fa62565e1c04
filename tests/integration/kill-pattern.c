/* A page: the key of the environment, that of the region, its own number, words mixed from these, and a sum of all before
 * it. None of them is zero. */

#include "tests/integration/kill-pattern.h"

#include <inttypes.h>
#include <stdio.h>

enum { WORDS = PATTERN_PAGE / sizeof(uint64_t) };

uint64_t pattern_key(const char *id)
{
        uint64_t key = 0;

        while (*id)
                key = dice_mix(key ^ (unsigned char)*id++);
        return key | 1;
}

void mapping_init(struct mapping *mapping, const char *environment, const char *region, const char *name)
{
        *mapping = (struct mapping){
                .environment = pattern_key(environment),
                .region = pattern_key(region),
                .fd = -1,
        };
        snprintf(mapping->name, sizeof(mapping->name), "%s", name);
}

size_t mapping_pages(const struct mapping *mapping)
{
        return mapping->size / PATTERN_PAGE;
}

static void compose_page(const struct mapping *mapping, size_t page, uint64_t *words)
{
        uint64_t sum = words[0] = mapping->environment;

        sum += words[1] = mapping->region;
        sum += words[2] = page + 1;
        for (size_t i = 3; i < WORDS - 1; i++)
                sum += words[i] = dice_mix(mapping->environment ^ mapping->region ^ (page << 16 | i)) | 1;
        words[WORDS - 1] = sum | 1;
}

void mapping_fill_page(struct mapping *mapping, size_t page)
{
        uint64_t words[WORDS];

        compose_page(mapping, page, words);
        for (size_t i = 0; i < WORDS; i++)
                mapping->address[page * WORDS + i] = words[i];
}

static bool is_full(const struct mapping *mapping, size_t page)
{
        return mapping->full[page / 64] >> page % 64 & 1;
}

static void set_full(struct mapping *mapping, size_t page)
{
        mapping->full[page / 64] |= UINT64_C(1) << page % 64;
}

void mapping_expect_full(struct mapping *mapping, size_t n)
{
        for (size_t page = 0; page < n; page++)
                set_full(mapping, page);
}

static bool complain(const struct mapping *mapping, const struct stage *stage, size_t page, size_t word, uint64_t found,
                     uint64_t wanted)
{
        stage->tally->pages_wrong++;
        stage_complain(stage, "region %s, page %zu of %zu, word %zu is %016" PRIx64 ", should be %016" PRIx64 "%s",
                       mapping->name, page, mapping_pages(mapping), word, found, wanted,
                       found == 0 && wanted != 0 ? "; it has to be full" : "");
        return false;
}

static bool verify_page(struct mapping *mapping, const struct stage *stage, size_t page)
{
        bool full = is_full(mapping, page);
        uint64_t words[WORDS];
        size_t zeros = 0;

        compose_page(mapping, page, words);
        for (size_t i = 0; i < WORDS; i++) {
                uint64_t found = mapping->address[page * WORDS + i];

                if (found == 0 && !full)
                        zeros++;
                else if (found != words[i])
                        return complain(mapping, stage, page, i, found, words[i]);
        }
        if (zeros == 0)
                set_full(mapping, page);
        return true;
}

bool mapping_verify(struct mapping *mapping, const struct stage *stage)
{
        size_t pages = mapping_pages(mapping);

        for (size_t page = 0; page < pages; page++)
                if (!verify_page(mapping, stage, page))
                        return false;
        stage->tally->pages_verified += pages;
        return true;
}

bool mapping_verify_zero(const struct mapping *mapping, const struct stage *stage)
{
        for (size_t i = 0; i < mapping_pages(mapping) * WORDS; i++)
                if (mapping->address[i] != 0)
                        return complain(mapping, stage, i / WORDS, i % WORDS, mapping->address[i], 0);
        stage->tally->pages_verified += mapping_pages(mapping);
        return true;
}
