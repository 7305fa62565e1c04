#pragma once

/* Numbers as words for people; the way back is in proto/quantities.h. */

#include "proto/quantities.h"

/* "region" or "regions" */
const char *regions_word(size_t n);

/* Each fills `text`, of VALUE_TEXT_MAX bytes, and returns it. */
const char *size_text(uint64_t bytes, char *text);          /* 4K, 12.5M: rounded to one decimal */
const char *time_text(int64_t usec_since_1970, char *text); /* local: 2024-02-29 23:59:59 */
