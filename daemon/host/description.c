/* The format, one fact a line, "word: value", in this order; the first line is the version:
 *
 *         region-broker environment 1
 *         id: 5f3c9a1be0d2c477-17        as the contract has it
 *         broker: 5f3c9a1be0d2c477       the instance of who wrote this
 *         name: shop
 *         home: /srv/shop                where it has one
 *         directory: /srv/regions        of its files, where this is not in the same
 *         schema: shop\0403              where it has one
 *         owner: 1000 1000 0640          uid, gid, mode
 *         created: 1790000000000000      microseconds since 1970
 *         generation: 3
 *         deaths: 1
 *         recovery: yes                  yes or no, as the next ones
 *         reserve: yes
 *         lock: no
 *         huge-pages: no
 *         writing: no                    processes may be attached for writing
 *         last-number: 2                 the highest that a region ever had
 *         region: 1 5f3c9a1be0d2c477-18 4096 6160 1790000000000000000 stock user
 *                                        number, id, size, the inode of its file and when that was born, name, type
 *         stray: ...                     as a region: a file that is removed if it is there
 *         sum: 0123456789abcdef          FNV-1a of all bytes before this line, 64 bits
 *
 * In texts a space, a backslash and what is no character to print stand as \ooo, as in fstab(5). */

#include "daemon/host/description.h"

#include "proto/util.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define FIRST_WORDS "region-broker environment "
#define FIRST_LINE FIRST_WORDS "1\n"

enum { SUM_BYTES = 5 + 16 + 1 };

/* Against bytes that were lost or changed, by nobody who wants to deceive: who could has to be kept out in another way. */
uint64_t description_sum(const char *text, size_t n)
{
        uint64_t hash = UINT64_C(0xcbf29ce484222325);

        for (size_t i = 0; i < n; i++)
                hash = (hash ^ (unsigned char)text[i]) * UINT64_C(0x100000001b3);
        return hash;
}

/* --- printing ---------------------------------------------------------------------------------------------------- */

static void put_text(FILE *file, const char *text)
{
        for (const unsigned char *c = (const unsigned char *)text; *c; c++)
                if (*c <= ' ' || *c == 0x7f || *c == '\\')
                        fprintf(file, "\\%03o", *c);
                else
                        fputc(*c, file);
}

static void put_line(FILE *file, const char *word, const char *text)
{
        if (!text)
                return;
        fprintf(file, "%s: ", word);
        put_text(file, text);
        fputc('\n', file);
}

static void put_choice(FILE *file, const char *word, bool is_so)
{
        put_line(file, word, is_so ? "yes" : "no");
}

static void put_region(FILE *file, const struct described_region *region)
{
        fprintf(file, "%s: %u %016" PRIx64 "-%" PRIu64 " %" PRId64 " %" PRIu64 " %" PRId64 " ",
                region->stray ? "stray" : "region", region->number, region->id.instance, region->id.number,
                region->size, region->file.inode, region->file.born_nsec);
        put_text(file, region->name);
        fputc(' ', file);
        put_text(file, region->type);
        fputc('\n', file);
}

static void put_all(FILE *file, const struct description *description)
{
        fprintf(file, FIRST_LINE "id: %016" PRIx64 "-%" PRIu64 "\nbroker: %016" PRIx64 "\n", description->id.instance,
                description->id.number, description->broker);
        put_line(file, "name", description->name);
        put_line(file, "home", description->home);
        put_line(file, "directory", description->directory);
        put_line(file, "schema", description->schema);
        fprintf(file, "owner: %u %u %04o\ncreated: %" PRId64 "\ngeneration: %" PRIu64 "\ndeaths: %" PRIu64 "\n",
                description->uid, description->gid, description->mode, description->created_usec,
                description->generation, description->deaths);
        put_choice(file, "recovery", description->recovery);
        put_choice(file, "reserve", description->reserve);
        put_choice(file, "lock", description->lock);
        put_choice(file, "huge-pages", description->huge_pages);
        put_choice(file, "writing", description->writing);
        fprintf(file, "last-number: %u\n", description->last_number);
        for (size_t i = 0; i < description->n_regions; i++)
                put_region(file, &description->regions[i]);
}

char *description_print(const struct description *description, size_t *ret_n)
{
        char *text = NULL;
        FILE *file = open_memstream(&text, ret_n);

        if (!file)
                return NULL;
        put_all(file, description);
        if (fflush(file) == 0)
                fprintf(file, "sum: %016" PRIx64 "\n", description_sum(text, *ret_n));
        if (fclose(file) == 0)
                return text;
        free(text);
        return NULL;
}

/* --- parsing ----------------------------------------------------------------------------------------------------- */

/* Line by line. After a fault nothing more is taken. */
struct parser {
        char *rest;
        unsigned line; /* of `rest` */
        char *why;
        int error; /* -errno; 0: none */
};

__attribute__((format(printf, 2, 3))) static void fault(struct parser *parser, const char *format, ...)
{
        va_list args;

        if (parser->error < 0)
                return;
        parser->error = -EBADMSG;
        va_start(args, format);
        vsnprintf(parser->why, DESCRIPTION_WHY_SIZE, format, args);
        va_end(args);
}

/* The value of the line that comes next, if it has this word. */
static bool take_if(struct parser *parser, const char *word, char **ret)
{
        size_t n = strlen(word);

        if (parser->error < 0 || strncmp(parser->rest, word, n) != 0 || strncmp(parser->rest + n, ": ", 2) != 0)
                return false;
        if (!strchr(parser->rest, '\n')) /* the last one is cut off */
                return false;
        *ret = strsep(&parser->rest, "\n") + n + 2;
        parser->line++;
        return true;
}

static char *take(struct parser *parser, const char *word)
{
        char *value = NULL;

        if (!take_if(parser, word, &value))
                fault(parser, "line %u is not \"%s: ...\"", parser->line, word);
        return value;
}

/* The next word of a value, up to a space. */
static char *take_word(struct parser *parser, char **value)
{
        char *word = parser->error < 0 ? NULL : strsep(value, " ");

        if (!word || !*word)
                fault(parser, "a value is missing in line %u", parser->line - 1);
        return parser->error < 0 ? NULL : word;
}

static uint64_t take_number(struct parser *parser, char **value, int base, uint64_t most)
{
        const char *word = take_word(parser, value);
        unsigned long long number;
        char *end;

        if (!word)
                return 0;
        errno = 0;
        number = strtoull(word, &end, base);
        if (strspn(word, "0123456789abcdef") != strlen(word) || *end || errno || number > most)
                fault(parser, "\"%.40s\" in line %u is no number that can stand there", word, parser->line - 1);
        return number;
}

static void end_line(struct parser *parser, const char *value)
{
        if (value)
                fault(parser, "line %u goes on after its end", parser->line - 1);
}

static uint64_t take_number_line(struct parser *parser, const char *word, int base, uint64_t most)
{
        char *value = take(parser, word);
        uint64_t number = take_number(parser, &value, base, most);

        end_line(parser, value);
        return number;
}

static bool take_choice(struct parser *parser, const char *word)
{
        const char *value = take(parser, word);
        bool is_so = value && strcmp(value, "yes") == 0;

        if (value && !is_so && strcmp(value, "no") != 0)
                fault(parser, "line %u is neither yes nor no", parser->line - 1);
        return is_so;
}

static struct given_id take_id(struct parser *parser, char **value)
{
        struct given_id id = {};
        char *word = take_word(parser, value);

        if (!word)
                return id;
        if (strlen(word) < 18 || word[16] != '-') {
                fault(parser, "\"%.40s\" in line %u is no id", word, parser->line - 1);
                return id;
        }
        word[16] = ' ';
        id.instance = take_number(parser, &word, 16, UINT64_MAX);
        id.number = take_number(parser, &word, 10, UINT64_MAX);
        if (id.instance == 0 || id.number == 0)
                fault(parser, "an id in line %u is 0", parser->line - 1);
        return id;
}

static bool is_octal(char c)
{
        return c >= '0' && c <= '7';
}

/* In its own place. False: what stands there was not written by put_text(). */
static bool unescape(char *text)
{
        char *to = text;

        for (const char *c = text; *c; to++) {
                if (*c != '\\') {
                        *to = *c++;
                        continue;
                }
                if (!is_octal(c[1]) || !is_octal(c[2]) || !is_octal(c[3]) || c[1] > '3')
                        return false;
                *to = (char)((c[1] - '0') << 6 | (c[2] - '0') << 3 | (c[3] - '0'));
                if (!*to)
                        return false;
                c += 4;
        }
        *to = '\0';
        return true;
}

static char *copy_text(struct parser *parser, char *value)
{
        char *copy;

        if (!value || parser->error < 0)
                return NULL;
        if (strchr(value, ' ') || !unescape(value)) {
                fault(parser, "the text in line %u has what has to be written as \\ooo", parser->line - 1);
                return NULL;
        }
        copy = strdup(value);
        if (!copy)
                parser->error = -ENOMEM;
        return copy;
}

static char *take_text(struct parser *parser, const char *word)
{
        return copy_text(parser, take(parser, word));
}

static char *take_text_if(struct parser *parser, const char *word)
{
        char *value = NULL;

        return take_if(parser, word, &value) ? copy_text(parser, value) : NULL;
}

static void take_owner(struct parser *parser, struct description *ret)
{
        char *value = take(parser, "owner");

        ret->uid = (uid_t)take_number(parser, &value, 10, UINT32_MAX - 1);
        ret->gid = (gid_t)take_number(parser, &value, 10, UINT32_MAX - 1);
        ret->mode = (mode_t)take_number(parser, &value, 8, 0777);
        end_line(parser, value);
}

static void take_id_line(struct parser *parser, struct description *ret)
{
        char *value = take(parser, "id");

        ret->id = take_id(parser, &value);
        end_line(parser, value);
}

static void take_region(struct parser *parser, char *value, bool stray, struct description *ret)
{
        struct described_region *region = &ret->regions[ret->n_regions];
        unsigned before = ret->n_regions > 0 ? region[-1].number : 0;

        if (ret->n_regions == DESCRIPTION_MAX_REGIONS) {
                fault(parser, "line %u is one region more than there can be", parser->line - 1);
                return;
        }
        ret->n_regions++;
        region->stray = stray;
        region->number = (unsigned)take_number(parser, &value, 10, INT32_MAX);
        region->id = take_id(parser, &value);
        region->size = (int64_t)take_number(parser, &value, 10, INT64_MAX);
        region->file.inode = take_number(parser, &value, 10, UINT64_MAX);
        region->file.born_nsec = (int64_t)take_number(parser, &value, 10, INT64_MAX);
        region->name = copy_text(parser, take_word(parser, &value));
        if (!value)
                fault(parser, "a value is missing in line %u", parser->line - 1);
        region->type = copy_text(parser, value); /* it may be empty */
        if (region->size == 0 || region->number == 0 || (!stray && region->number > ret->last_number))
                fault(parser, "a size or a number in line %u cannot be", parser->line - 1);
        if (!stray && region->number <= before)
                fault(parser, "line %u is out of order", parser->line - 1);
}

static void take_regions(struct parser *parser, struct description *ret)
{
        char *value;

        while (take_if(parser, "region", &value))
                take_region(parser, value, false, ret);
        while (take_if(parser, "stray", &value))
                take_region(parser, value, true, ret);
        if (parser->error == 0 && *parser->rest)
                fault(parser, "line %u has nothing to say there", parser->line);
}

static void take_all(struct parser *parser, struct description *ret)
{
        take_id_line(parser, ret);
        ret->broker = take_number_line(parser, "broker", 16, UINT64_MAX);
        ret->name = take_text(parser, "name");
        ret->home = take_text_if(parser, "home");
        ret->directory = take_text_if(parser, "directory");
        ret->schema = take_text_if(parser, "schema");
        take_owner(parser, ret);
        ret->created_usec = (int64_t)take_number_line(parser, "created", 10, INT64_MAX);
        ret->generation = take_number_line(parser, "generation", 10, UINT64_MAX);
        ret->deaths = take_number_line(parser, "deaths", 10, UINT64_MAX);
        ret->recovery = take_choice(parser, "recovery");
        ret->reserve = take_choice(parser, "reserve");
        ret->lock = take_choice(parser, "lock");
        ret->huge_pages = take_choice(parser, "huge-pages");
        ret->writing = take_choice(parser, "writing");
        ret->last_number = (unsigned)take_number_line(parser, "last-number", 10, INT32_MAX);
        take_regions(parser, ret);
}

/* Its first line, its end, and all between as it was written. */
static void check_whole(struct parser *parser, const char *text, size_t n)
{
        char line[SUM_BYTES + 1];

        if (strncmp(text, FIRST_LINE, strlen(FIRST_LINE)) != 0) {
                if (strncmp(text, FIRST_WORDS, strlen(FIRST_WORDS)) == 0)
                        fault(parser, "it is of another version than 1");
                else
                        fault(parser, "it does not begin with \"" FIRST_WORDS "1\"");
                return;
        }
        if (n < strlen(FIRST_LINE) + SUM_BYTES) {
                fault(parser, "it ends too soon");
                return;
        }
        snprintf(line, sizeof(line), "sum: %016" PRIx64 "\n", description_sum(text, n - SUM_BYTES));
        if (memchr(text, '\0', n) || memcmp(text + n - SUM_BYTES, line, SUM_BYTES) != 0)
                fault(parser, "its sum does not fit: it was cut off, damaged or edited");
}

int description_parse(const char *text, size_t n, struct description *ret, char *why)
{
        owned(description_clear) struct description description = {};
        owned(freep) char *copy = calloc(1, n + 1);
        struct parser parser = { .line = 2, .why = why };

        description.regions = calloc(DESCRIPTION_MAX_REGIONS, sizeof(*description.regions));
        if (!copy || !description.regions)
                return -ENOMEM;
        memcpy(copy, text, n);
        check_whole(&parser, text, n);
        if (parser.error < 0)
                return parser.error;
        copy[n - SUM_BYTES] = '\0';
        parser.rest = copy + strlen(FIRST_LINE);
        take_all(&parser, &description);
        if (parser.error < 0)
                return parser.error;
        *ret = description;
        description = (struct description){};
        return 0;
}

void description_clear(struct description *description)
{
        for (size_t i = 0; i < description->n_regions; i++) {
                free(description->regions[i].type);
                free(description->regions[i].name);
        }
        free(description->regions);
        free(description->name);
        free(description->home);
        free(description->directory);
        free(description->schema);
        *description = (struct description){};
}
