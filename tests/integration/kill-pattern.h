#pragma once

/* Memory that can be checked word by word by anybody, at any time. What belongs into a page follows from the ids of its
 * environment and region and from its number alone; so many may write it at once, and being killed in the middle leaves
 * every word either right or still zero. A page seen full has to stay full for whoever can still see it. */

#include "tests/integration/kill-stage.h"

#include <stddef.h>

enum { PATTERN_PAGE = 4096, PATTERN_PAGES_MAX = 512 };

struct mapping {
        volatile uint64_t *address; /* NULL: not mapped now */
        size_t size;
        uint64_t environment, region; /* made of their ids */
        char name[32];                /* for the complaint */
        uint64_t full[PATTERN_PAGES_MAX / 64];
        int fd;          /* -1 where there is none */
        bool is_private; /* heap memory: the broker need not know who has a copy */
};

/* What stands for an id of the broker's in a page; never 0. */
uint64_t pattern_key(const char *id);

/* `environment` and `region` are ids of the broker's. */
void mapping_init(struct mapping *mapping, const char *environment, const char *region, const char *name);

size_t mapping_pages(const struct mapping *mapping);
void mapping_fill_page(struct mapping *mapping, size_t page);
/* From here on the first `n` pages have to be full. */
void mapping_expect_full(struct mapping *mapping, size_t n);

/* Complains of the first wrong word, and counts. Full pages that it finds have to stay so from now on. */
bool mapping_verify(struct mapping *mapping, const struct stage *stage);
/* Likewise, for memory that is new and has to be zero. */
bool mapping_verify_zero(const struct mapping *mapping, const struct stage *stage);
