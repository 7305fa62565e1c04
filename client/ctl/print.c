/* What regionctl says of environments. JSON is the broker's own text, never ours. */

#include "client/ctl/print.h"

#include "client/ctl/asking.h"
#include "client/ctl/values.h"
#include "proto/message.h"
#include "proto/util.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

void complain(const char *format, ...)
{
        va_list arguments;

        fflush(stdout); /* what was said before stands before */
        fputs("regionctl: ", stderr);
        va_start(arguments, format);
        vfprintf(stderr, format, arguments);
        va_end(arguments);
        fputc('\n', stderr);
}

int complain_value(const char *where, const char *word, int error, const char *expected)
{
        complain("%s: '%s' is %s; expected %s", where, word, error == -ERANGE ? "out of range" : "not understood",
                 expected);
        return CTL_USAGE;
}

void put_safe(const char *string)
{
        for (const unsigned char *p = (const unsigned char *)string; *p != '\0'; p++) {
                bool c1 = p[0] == 0xc2 && p[1] >= 0x80 && p[1] < 0xa0; /* U+0080 to U+009F */

                if (*p < ' ' || *p == 0x7f || c1)
                        printf("\\x%02x", *p);
                else
                        putchar(*p);
                if (c1)
                        printf("\\x%02x", *++p);
        }
}

int print_json(const char *json, enum json_mode mode)
{
        owned(text_clear) struct text text = { 0 };
        int r;

        r = json_reformat(json, mode == JSON_PRETTY, &text);
        if (r == -ENOMEM || text_failed(&text))
                return out_of_memory();
        if (r < 0) {
                complain("the broker's answer is not JSON");
                return CTL_FAILED;
        }
        fwrite(text.data, 1, text.n, stdout);
        putchar('\n');
        return CTL_DONE;
}

void environments_begin(struct table *table, const struct options *options)
{
        static const struct column columns[] = {
                { "NAME", 0 },
                { "STATE", 0 },
                { "OWNER", 0 },
                { "MODE", 0 },
                { "BACKING", 0 },
                { "LIFETIME", 0 },
                { "REGIONS", SCOLS_FL_RIGHT },
                { "SIZE", SCOLS_FL_RIGHT },
                { "HELD", SCOLS_FL_RIGHT },
                { "HOME", SCOLS_FL_WRAP },
        };

        table_begin(table, columns, array_size(columns), !options->no_legend);
}

void environments_add(struct table *table, const struct region_env_info *info)
{
        const char *const cells[] = {
                info->name,
                region_state_word(info->state),
                user_text(info->uid, TEXT),
                mode_text(info->mode, TEXT),
                region_backing_word(info->backing),
                region_lifetime_word(info->lifetime),
                number_text((int64_t)info->n_regions, TEXT),
                size_text(info->bytes, TEXT),
                number_text(info->attachments, TEXT),
                info->home,
        };

        table_add(table, cells);
}

int environments_print(const struct table *table, const struct options *options)
{
        if (!table->failed && scols_table_is_empty(table->scols) && !options->no_legend)
                puts("There are no environments.");
        return table_print(table);
}

static int print_environment(const struct region_env_info *info)
{
        owned(table_clear) struct table facts = { 0 };

        facts_begin(&facts);
        facts_add(&facts, "Environment:", "%s", info->name);
        facts_add(&facts, "Id:", "%s", info->id);
        facts_add(&facts, "State:", "%s, generation %" PRIu64, region_state_word(info->state), info->generation);
        facts_add(&facts, "Owner:", "%s:%s, mode %s", user_text(info->uid, TEXT), group_text(info->gid, TEXT),
                  mode_text(info->mode, TEXT));
        facts_add(&facts, "Backing:", "%s", region_backing_word(info->backing));
        if (info->linger_usec > 0)
                facts_add(&facts, "Lifetime:", "%s, lingers %s", region_lifetime_word(info->lifetime),
                          duration_text(info->linger_usec, TEXT));
        else
                facts_add(&facts, "Lifetime:", "%s", region_lifetime_word(info->lifetime));
        if (info->home != NULL)
                facts_add(&facts, "Home:", "%s", info->home);
        if (info->schema != NULL)
                facts_add(&facts, "Schema:", "%s", info->schema);
        facts_add(&facts, "Recovery:", "%s", info->recovery ? "yes" : "no");
        facts_add(&facts, "Created:", "%s by %s (pid %d)", time_text(info->created_usec, TEXT), info->creator_command,
                  (int)info->creator_pid);
        facts_add(&facts, "Size:", "%s in %zu %s", size_text(info->bytes, TEXT), info->n_regions,
                  regions_word(info->n_regions));
        return table_print(&facts);
}

/* Where else on the machine the region can be seen. */
static const char *where_text(const struct region_info *info, char *text)
{
        if (info->path != NULL || info->shm_id < 0)
                return info->path;
        snprintf(text, VALUE_TEXT_MAX, "key 0x%08x, id %d", (unsigned)info->shm_key, info->shm_id);
        return text;
}

static int print_regions(const struct region_env_info *env, const struct options *options)
{
        static const struct column columns[] = {
                { "NR", SCOLS_FL_RIGHT },
                { "REGION", 0 },
                { "TYPE", 0 },
                { "SIZE", SCOLS_FL_RIGHT },
                { "USED", SCOLS_FL_RIGHT },
                { "BACKING", 0 },
                { "HELD", SCOLS_FL_RIGHT },
                { "WHERE", SCOLS_FL_WRAP },
        };
        owned(table_clear) struct table table = { 0 };

        table_begin(&table, columns, array_size(columns), !options->no_legend);
        for (size_t i = 0; i < env->n_regions; i++) {
                const struct region_info *info = env->regions[i];
                const char *const cells[] = {
                        number_text(info->number, TEXT),
                        info->name,
                        info->type,
                        size_text(info->size, TEXT),
                        info->missing           ? "missing"
                        : info->bytes_used >= 0 ? size_text((uint64_t)info->bytes_used, TEXT)
                                                : NULL,
                        region_backing_word(info->backing),
                        number_text(info->attachments, TEXT),
                        where_text(info, TEXT),
                };

                table_add(&table, cells);
        }
        return table_print(&table);
}

/* The broker tells attachments region by region; people ask for processes. So they are sorted, and those that differ in
 * their region alone become one row. */
struct holding {
        const struct region_attachment *attachment;
        size_t order; /* in which the broker told it */
};

static int compare_holders(const struct region_attachment *a, const struct region_attachment *b)
{
        if (a->pid != b->pid)
                return a->pid < b->pid ? -1 : 1;
        if (a->standing != b->standing)
                return a->standing < b->standing ? -1 : 1;
        if (a->access != b->access)
                return a->access < b->access ? -1 : 1;
        return 0;
}

static int compare_holdings(const void *a, const void *b)
{
        const struct holding *holding_a = a, *holding_b = b;
        int r;

        r = compare_holders(holding_a->attachment, holding_b->attachment);
        return r != 0 ? r : holding_a->order < holding_b->order ? -1 : 1;
}

static struct holding *sort_holdings(const struct region_attachment *const *attachments, size_t n)
{
        struct holding *holdings = calloc(n, sizeof(*holdings));

        if (holdings == NULL)
                return NULL;
        for (size_t i = 0; i < n; i++)
                holdings[i] = (struct holding){ attachments[i], i };
        qsort(holdings, n, sizeof(*holdings), compare_holdings);
        return holdings;
}

/* The names of the regions that one holder has, from the first of its holdings on; returns how many those are. */
static size_t join_regions(const struct holding *holdings, size_t n, struct text *text)
{
        size_t i;

        for (i = 0; i < n && compare_holders(holdings[0].attachment, holdings[i].attachment) == 0; i++) {
                const char *region = holdings[i].attachment->region;

                if (region == NULL) /* it has the environment open, and none of its regions */
                        continue;
                text_puts(text, text->n > 0 ? ", " : "");
                text_puts(text, region);
        }
        text_puts(text, text->n > 0 ? "" : "-");
        text_put(text, "", 1);
        return i;
}

int print_attachments(const struct region_attachment *const *attachments, size_t n, const struct options *options)
{
        static const struct column columns[] = {
                { "PID", SCOLS_FL_RIGHT },
                { "COMMAND", 0 },
                { "USER", 0 },
                { "ACCESS", 0 },
                { "STANDING", 0 },
                { "SINCE", 0 },
                { "REGIONS", SCOLS_FL_WRAP },
        };
        owned(table_clear) struct table table = { 0 };
        owned(freep) struct holding *holdings = NULL;

        if (n == 0) {
                puts("Nobody holds it.");
                return CTL_DONE;
        }
        holdings = sort_holdings(attachments, n);
        if (holdings == NULL)
                return out_of_memory();
        table_begin(&table, columns, array_size(columns), !options->no_legend);
        for (size_t i = 0; i < n;) {
                const struct region_attachment *holder = holdings[i].attachment;
                owned(text_clear) struct text regions = { 0 };

                i += join_regions(&holdings[i], n - i, &regions);
                if (text_failed(&regions))
                        return out_of_memory();
                table_add(&table, (const char *const[]){
                                          number_text(holder->pid, TEXT),
                                          holder->command,
                                          user_text(holder->uid, TEXT),
                                          region_access_word(holder->access),
                                          region_standing_word(holder->standing),
                                          time_text(holder->since_usec, TEXT),
                                          regions.data,
                                  });
        }
        return table_print(&table);
}

int print_description(const struct region_description *description, const struct options *options)
{
        int r;

        r = print_environment(description->env);
        if (r == CTL_DONE && description->env->n_regions > 0) {
                putchar('\n');
                r = print_regions(description->env, options);
        }
        if (r == CTL_DONE) {
                putchar('\n');
                r = print_attachments(description->attachments, description->n_attachments, options);
        }
        return r;
}
