/* Regions as operands: NAME=SIZE[,BACKING]. */

#include "client/ctl/specs.h"

#include "client/ctl/print.h"
#include "client/ctl/verbs.h"
#include "proto/quantities.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

int backing_parse(const char *where, const char *word, enum region_backing *ret)
{
        *ret = region_backing_from_word(word);
        return *ret != 0 ? 0 : complain_value(where, word, -EINVAL, BACKING_EXPECTED);
}

/* The name is given to `ret` at once, so that specs_free() finds it also on failure. */
static int parse_spec(const char *word, struct region_spec *ret)
{
        char *name = strdup(word), *size, *backing;
        int r;

        if (name == NULL) {
                complain("out of memory");
                return CTL_REFUSED;
        }
        ret->name = name;
        size = strchr(name, '=');
        if (size == NULL || size == name) {
                complain("'%s' is not a region; expected NAME=SIZE or NAME=SIZE,BACKING", word);
                return CTL_USAGE;
        }
        *size++ = '\0';
        backing = strchr(size, ',');
        if (backing != NULL) {
                *backing++ = '\0';
                r = backing_parse(word, backing, &ret->backing);
                if (r != 0)
                        return r;
                if (ret->backing == REGION_BACKING_PRIVATE) {
                        complain("%s: one region alone cannot be private; --backing=private makes all so", word);
                        return CTL_USAGE;
                }
        }
        r = size_parse(size, &ret->size);
        return r < 0 ? complain_value(word, size, r, SIZE_EXPECTED) : 0;
}

static int check_unique(const struct region_spec *specs, size_t n)
{
        for (size_t i = 0; i < n; i++) {
                if (strcmp(specs[i].name, specs[n].name) == 0) {
                        complain("region '%s' is named twice", specs[n].name);
                        return CTL_USAGE;
                }
        }
        return 0;
}

int specs_parse(char *const *words, size_t n, struct region_spec **ret)
{
        struct region_spec *specs;
        int r;

        specs = calloc(n + 1, sizeof(*specs)); /* a row without a name ends it */
        if (specs == NULL) {
                complain("out of memory");
                return CTL_REFUSED;
        }
        for (size_t i = 0; i < n; i++) {
                r = parse_spec(words[i], &specs[i]);
                if (r == 0)
                        r = check_unique(specs, i);
                if (r != 0) {
                        specs_free(specs);
                        return r;
                }
        }
        *ret = specs;
        return 0;
}

void specs_free(struct region_spec *specs)
{
        for (struct region_spec *spec = specs; spec != NULL && spec->name != NULL; spec++)
                free((char *)spec->name);
        free(specs);
}
