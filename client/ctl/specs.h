#pragma once

/* Regions as the command line names them. */

#include "client/libregion.h"

#include <stddef.h>

/* `where`: the option or operand that has the word. Complains and returns the exit code. */
int backing_parse(const char *where, const char *word, enum region_backing *ret);

/* The regions named by operands NAME=SIZE[,BACKING], heap; complains and returns the exit code. */
int specs_parse(char *const *words, size_t n, struct region_spec **ret);
/* Takes NULL. */
void specs_free(struct region_spec *specs);
