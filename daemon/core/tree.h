#pragma once

/* The red-black trees of libbsd: macros alone, no library to link. */

#include <bsd/sys/cdefs.h>
#include <stddef.h>

#include <bsd/sys/tree.h>

/* The functions of one tree, private to a source file, which need not use all of them. */
#define TREE_GENERATE(name, type, field, compare) \
        RB_GENERATE_INTERNAL(name, type, field, compare, __attribute__((unused)) static)
