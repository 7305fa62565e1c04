/* Numbers: of the broker, and of one environment for those who know Berkeley DB's db_stat. */

#include "client/ctl/asking.h"
#include "client/ctl/print.h"
#include "client/ctl/values.h"
#include "proto/args.h"
#include "proto/util.h"

#include <inttypes.h>
#include <stdio.h>

static int print_map(const struct int_map *map, const char *name, const char *value, const struct options *options)
{
        const struct column columns[] = { { name, 0 }, { value, SCOLS_FL_RIGHT } };
        owned(table_clear) struct table table = { 0 };

        if (map->n == 0)
                return CTL_DONE;
        putchar('\n');
        table_begin(&table, columns, array_size(columns), !options->no_legend);
        for (size_t i = 0; i < map->n; i++) {
                const struct named_int *item = &map->items[i];

                table_add(&table, (const char *const[]){ item->name, number_text(item->value, TEXT) });
        }
        return table_print(&table);
}

static int print_totals(const struct statistics_result *statistics)
{
        owned(table_clear) struct table facts = { 0 };

        facts_begin(&facts);
        facts_add(&facts, "Version:", "%s", statistics->version);
        facts_add(&facts, "Up since:", "%s", time_text(statistics->started_usec, TEXT));
        facts_add(&facts, "Environments:", "%" PRId64, statistics->environments);
        facts_add(&facts, "Regions:", "%" PRId64, statistics->regions);
        facts_add(&facts, "Attachments:", "%" PRId64, statistics->attachments);
        facts_add(&facts, "Sessions:", "%" PRId64, statistics->sessions);
        facts_add(&facts, "Size:", "%s", size_text((uint64_t)statistics->bytes, TEXT));
        return table_print(&facts);
}

int print_statistics(const char *json, const struct options *options)
{
        owned(arena_clear) struct arena arena = { 0 };
        owned(reply_freep) struct reply *reply = NULL;
        struct statistics_result statistics;
        int r;

        r = read_reply(json, INTERFACE ".GetStatistics", &arena, &reply, &statistics);
        if (r == CTL_DONE)
                r = print_totals(&statistics);
        if (r == CTL_DONE)
                r = print_map(&statistics.limits, "LIMIT", "MAXIMUM", options);
        if (r == CTL_DONE)
                r = print_map(&statistics.counters, "COUNTER", "VALUE", options);
        return r;
}

int print_settings(const char *json, const struct options *options)
{
        const struct column columns[] = { { "SETTING", 0 }, { "VALUE", 0 }, { "SOURCE", 0 } };
        owned(arena_clear) struct arena arena = { 0 };
        owned(reply_freep) struct reply *reply = NULL;
        owned(table_clear) struct table table = { 0 };
        struct configuration_result configuration;
        const struct setting_view *settings;
        int r;

        r = read_reply(json, INTERFACE ".GetConfiguration", &arena, &reply, &configuration);
        if (r != CTL_DONE)
                return r;
        settings = configuration.settings.items;
        table_begin(&table, columns, array_size(columns), !options->no_legend);
        for (size_t i = 0; i < configuration.settings.n; i++) {
                const char *value = settings[i].value[0] != '\0' ? settings[i].value : NULL;

                table_add(&table, (const char *const[]){ settings[i].name, value, settings[i].source });
        }
        return table_print(&table);
}

/* --- one environment, in the form of db_stat -e --------------------------------------------------------------------- */

#define RULE "=-=-=-=-=-=-=-=-=-=-=-=-=-=-=-=-=-=-=-=-=-=-=-=-="

static void line(const char *label, const char *value)
{
        put_safe(value);
        printf("\t%s\n", label);
}

static void line_int(const char *label, int64_t value)
{
        line(label, number_text(value, TEXT));
}

static void line_opt(const char *label, const char *value)
{
        if (value != NULL)
                line(label, value);
}

/* In whole units, the largest first: 1GB 1MB 24KB 512B */
static void line_size(const char *label, int64_t bytes)
{
        static const struct {
                const char *word;
                int64_t size;
        } units[] = { { "GB", 1 << 30 }, { "MB", 1 << 20 }, { "KB", 1 << 10 }, { "B", 1 } };
        const char *separator = "";

        for (size_t i = 0; i < array_size(units); i++) {
                if (bytes < units[i].size)
                        continue;
                printf("%s%" PRId64 "%s", separator, bytes / units[i].size, units[i].word);
                bytes %= units[i].size;
                separator = " ";
        }
        printf("%s\t%s\n", *separator == '\0' ? "0" : "", label);
}

static const char *key_text(int64_t key, char *text)
{
        snprintf(text, VALUE_TEXT_MAX, "0x%08" PRIx64, (uint64_t)key);
        return text;
}

static void stat_environment(const struct environment_view *env)
{
        puts("Environment:");
        line("Name", env->name);
        line("Environment ID", env->id);
        line("State", state_word(env->state));
        line_int("Generation", env->generation);
        line("Owner", user_text((uid_t)env->uid, TEXT));
        line("Group", group_text((gid_t)env->gid, TEXT));
        line("Mode", mode_text((mode_t)env->mode, TEXT));
        line("Backing", backing_word(env->backing));
        line("Lifetime", lifetime_word(env->lifetime));
        if (env->linger_usec.given)
                line("Linger", duration_text(env->linger_usec.value, TEXT));
        line_opt("Home directory", env->home);
        line_opt("Schema", env->schema);
        line("Recovery", env->recovery ? "yes" : "no");
        line("Creation time", time_text(env->created_usec, TEXT));
        line("Created by", env->creator_command);
        line_int("Creator's process ID", env->creator_pid);
        line_int("Attached processes", env->attachments);
        if (env->deaths.given)
                line_int("Processes that died while attached", env->deaths.value);
        line_int("Regions", (int64_t)env->regions.n);
        line_size("Total size", env->bytes);
}

static void stat_region(const struct region_view *region)
{
        printf(RULE "\nRegion ");
        put_safe(region->name);
        puts(":");
        line_int("Region number", region->number);
        line("Region ID", region->id);
        line("Type", region->type);
        line("Backing", backing_word(region->backing));
        if (region->shm_key.given)
                line("Segment key", key_text(region->shm_key.value, TEXT));
        if (region->shm_id.given)
                line_int("Segment ID", region->shm_id.value);
        line_opt("Path", region->path);
        line_size("Size", region->size);
        if (region->bytes_used.given)
                line_size("Size in use", region->bytes_used.value);
        line_int("Attached processes", region->attachments);
}

static int compare_pids(const void *a, const void *b)
{
        const struct attachment_view *view_a = a, *view_b = b;

        return (view_a->pid > view_b->pid) - (view_a->pid < view_b->pid);
}

/* Each process once, whatever it has attached. */
static void stat_processes(const struct struct_array *attachments)
{
        struct attachment_view *views = attachments->items;

        if (attachments->n == 0)
                return;
        puts(RULE "\nProcesses:");
        qsort(views, attachments->n, sizeof(*views), compare_pids);
        for (size_t i = 0; i < attachments->n; i++) {
                if (i > 0 && views[i].pid == views[i - 1].pid)
                        continue;
                printf("%" PRId64 "\t", views[i].pid);
                put_safe(views[i].command);
                printf(", %s\n", standing_word(views[i].standing));
        }
}

int print_stat(const char *json)
{
        owned(arena_clear) struct arena arena = { 0 };
        owned(reply_freep) struct reply *reply = NULL;
        const struct region_view *regions;
        struct describe_result result;
        int r;

        r = read_reply(json, INTERFACE ".Describe", &arena, &reply, &result);
        if (r != CTL_DONE)
                return r;
        stat_environment(result.environment);
        regions = result.environment->regions.items;
        for (size_t i = 0; i < result.environment->regions.n; i++)
                stat_region(&regions[i]);
        stat_processes(&result.attachments);
        return CTL_DONE;
}
