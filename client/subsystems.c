/* The standard regions. One table has them in the order of their numbers, which programs may count on: env is always
 * the first, as Berkeley DB has it. */

#include "client/subsystems.h"

#include "client/environment.h"
#include "client/failure.h"

#include "proto/quantities.h"
#include "proto/util.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

struct row {
        enum region_subsystem flag;
        const char *name; /* and type */
        size_t size;      /* where its size lies in struct region_subsystem_sizes */
        size_t preset;    /* that size by default */
};

#define SIZE_OF(member) offsetof(struct region_subsystem_sizes, member)

static const struct row rows[] = {
        { REGION_SUBSYSTEM_ENV, "env", SIZE_OF(env), 64 << 10 },
        { REGION_SUBSYSTEM_MUTEX, "mutex", SIZE_OF(mutex), 256 << 10 },
        { REGION_SUBSYSTEM_LOCK, "lock", SIZE_OF(lock), 512 << 10 },
        { REGION_SUBSYSTEM_LOG, "log", SIZE_OF(log), 128 << 10 },
        { REGION_SUBSYSTEM_MPOOL, "mpool", SIZE_OF(mpool), 256 << 10 },
        { REGION_SUBSYSTEM_TXN, "txn", SIZE_OF(txn), 64 << 10 },
};

#define ALL ((REGION_SUBSYSTEM_ENV << 1) - 1)

static size_t *size_at(struct region_subsystem_sizes *sizes, const struct row *row)
{
        return (size_t *)(void *)((char *)sizes + row->size);
}

static size_t size_of(const struct subsystems *subsystems, const struct row *row)
{
        struct region_subsystem_sizes sizes = subsystems->sizes;
        size_t size = *size_at(&sizes, row);

        return size > 0 ? size : row->preset;
}

/* Of a kind; none but mpool has more than one. */
static unsigned number_of(const struct subsystems *subsystems, const struct row *row)
{
        unsigned caches = subsystems->sizes.mpool_caches;

        if (row->flag == REGION_SUBSYSTEM_ENV)
                return subsystems->wanted != 0;
        if (!(subsystems->wanted & row->flag))
                return 0;
        return row->flag == REGION_SUBSYSTEM_MPOOL && caches > 0 ? caches : 1;
}

/* --- what is wanted ---------------------------------------------------------------------------------------------- */

enum region_result subsystems_init(struct subsystems *subsystems, unsigned wanted,
                                   const struct region_subsystem_sizes *sizes)
{
        *subsystems = (struct subsystems){ .wanted = wanted };
        if (sizes)
                subsystems->sizes = *sizes;
        if (wanted & ~(unsigned)ALL)
                return failure_note(REGION_E_INVALID, "subsystems has 0x%x, which is none of enum region_subsystem",
                                    wanted & ~(unsigned)ALL);
        if (subsystems->sizes.mpool_caches > SUBSYSTEMS_CACHES_MAX)
                return failure_note(REGION_E_INVALID, "mpool_caches is %u; at most %d caches there can be",
                                    subsystems->sizes.mpool_caches, SUBSYSTEMS_CACHES_MAX);
        return reserved_check("region_subsystem_sizes", subsystems->sizes.reserved,
                              array_size(subsystems->sizes.reserved));
}

/* "64M*4": the number of caches is said of a cache alone, and stays what it was where it is not. */
static int read_size(struct region_subsystem_sizes *sizes, const struct row *row, const char *word)
{
        const char *star = row->flag == REGION_SUBSYSTEM_MPOOL ? strchr(word, '*') : NULL;
        size_t n = star ? (size_t)(star - word) : strlen(word), size;
        unsigned caches = sizes->mpool_caches;
        char text[VALUE_TEXT_MAX];
        int r;

        if (n >= sizeof(text))
                return -ERANGE;
        *(char *)mempcpy(text, word, n) = '\0';
        r = size_parse(text, &size);
        if (r == 0 && star)
                r = count_parse(star + 1, SUBSYSTEMS_CACHES_MAX, &caches);
        if (r < 0)
                return r;
        *size_at(sizes, row) = size;
        sizes->mpool_caches = caches;
        return 0;
}

static const struct row *row_find(const char *name, size_t n)
{
        for (size_t i = 0; i < array_size(rows); i++)
                if (strlen(rows[i].name) == n && memcmp(rows[i].name, name, n) == 0)
                        return &rows[i];
        return NULL;
}

int subsystems_add(struct subsystems *subsystems, const char *name, size_t n_name, const char *size)
{
        const struct row *row = row_find(name, n_name);
        int r;

        if (!row)
                return -ENOENT;
        r = size ? read_size(&subsystems->sizes, row, size) : 0;
        if (r == 0)
                subsystems->wanted |= row->flag;
        return r;
}

const char *subsystems_text(const struct subsystems *subsystems, const char *name, char *text)
{
        const struct row *row = row_find(name, strlen(name));
        unsigned n = row ? number_of(subsystems, row) : 0;
        char size[VALUE_TEXT_MAX];

        if (n == 0)
                return "absent";
        bytes_text(size_of(subsystems, row), size);
        if (n == 1)
                snprintf(text, SUBSYSTEM_TEXT_MAX, "%s", size);
        else
                snprintf(text, SUBSYSTEM_TEXT_MAX, "%s*%u", size, n);
        return text;
}

enum region_result region_subsystems_parse(const char *word, unsigned *subsystems, struct region_subsystem_sizes *sizes)
{
        struct subsystems read = { .wanted = *subsystems, .sizes = *sizes };
        size_t n = strcspn(word, "=");
        int r;

        r = subsystems_add(&read, word, n, word[n] ? word + n + 1 : NULL);
        if (r == -ENOENT)
                return failure_note(REGION_E_INVALID,
                                    "'%s' is no subsystem; expected " SUBSYSTEM_EXPECTED ", as in lock or lock=1M",
                                    word);
        if (r < 0)
                return failure_note(REGION_E_INVALID, "'%s' is %s; expected " SUBSYSTEM_SIZE_EXPECTED, word,
                                    r == -ERANGE ? "out of range" : "not understood");
        *subsystems = read.wanted;
        *sizes = read.sizes;
        return REGION_OK;
}

/* --- the regions ------------------------------------------------------------------------------------------------- */

size_t subsystems_count(const struct subsystems *subsystems)
{
        size_t n = 0;

        for (size_t i = 0; i < array_size(rows); i++)
                n += number_of(subsystems, &rows[i]);
        return n;
}

/* Caches have equal parts of what is wanted of all, rounded up. */
static enum region_result expand_row(const struct subsystems *subsystems, const struct row *row, struct spec *ret,
                                     struct arena *arena)
{
        unsigned n = number_of(subsystems, row);
        size_t size = size_of(subsystems, row);
        enum region_result r = REGION_OK;

        for (unsigned i = 0; i < n && r == REGION_OK; i++) {
                const struct region_spec region = {
                        .name = n == 1 ? row->name : arena_printf(arena, "%s%u", row->name, i + 1),
                        .type = row->name,
                        .size = size / n + (size % n > 0),
                };

                r = region.name ? spec_init(&ret[i], &region) : failure_note_memory();
        }
        return r;
}

enum region_result subsystems_expand(const struct subsystems *subsystems, struct spec *ret, struct arena *arena)
{
        enum region_result r = REGION_OK;

        for (size_t i = 0; i < array_size(rows) && r == REGION_OK; i++) {
                r = expand_row(subsystems, &rows[i], ret, arena);
                ret += number_of(subsystems, &rows[i]);
        }
        return r;
}
