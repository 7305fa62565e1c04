#pragma once

#include "proto/terms.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Values as bytes, for the store and for files: numbers of eight bytes, least first; texts as their length, NULL being one
 * of all ones, and their bytes without a NUL. Each record begins with the version of its layout. */

/* Writing. Zero-initialised it is empty. */
struct record {
        uint8_t *bytes; /* owned */
        size_t n, allocated;
        bool failed; /* memory ran out; what is written then is lost */
};

void record_clear(struct record *record);
void record_put(struct record *record, uint64_t number);
void record_put_signed(struct record *record, int64_t number);
void record_put_text(struct record *record, const char *text);
void record_put_bytes(struct record *record, const void *bytes, size_t n); /* as a text, and may hold NULs */
void record_put_opt(struct record *record, const struct opt_int *number);

/* Reading, in the same order. What is not there is read as 0 or NULL, and notes a fault that stays. */
struct reading {
        const uint8_t *bytes;
        size_t n;
        bool fault;
};

uint64_t record_take(struct reading *reading);
int64_t record_take_signed(struct reading *reading);
/* A copy, for the caller to free. NULL without a fault is a NULL that was written. */
char *record_take_text(struct reading *reading);
/* A copy, with a NUL behind it; NULL where there are none. */
char *record_take_bytes(struct reading *reading, size_t *ret_n);
void record_take_opt(struct reading *reading, struct opt_int *ret);
/* All was there, and nothing is left. */
bool record_is_read(const struct reading *reading);
