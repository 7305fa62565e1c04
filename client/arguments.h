#pragma once

#include "client/libregion.h"

#include "proto/args.h"

#include <stdbool.h>

bool arguments_is_utf8(const char *string);

/* Finds what would be lost on the wire, so that the broker could not refuse it: strings that are missing or not UTF-8,
 * and enum values without a word. REGION_E_INVALID names the field. */
enum region_result arguments_check(const struct arg_struct *type, const void *value);
