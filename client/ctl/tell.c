/* What happened, and why: events as lines and as rows of a history, reasons as the sentences they are. */

#include "client/ctl/asking.h"
#include "client/ctl/print.h"
#include "client/ctl/values.h"
#include "proto/args.h"
#include "proto/util.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

/* Who did it; "-" where nobody did. */
static const char *who_text(struct arena *arena, const struct event_view *event)
{
        if (event->command == NULL)
                return "-";
        return arena_printf(arena, "%s (pid %" PRId64 ", %s)", event->command, event->pid.value,
                            user_text((uid_t)event->uid.value, TEXT));
}

static void put_part(struct text *text, const char *part)
{
        text_puts(text, text->n > 0 ? "; " : "");
        text_puts(text, part);
}

static void put_end(struct text *text, const struct event_view *event)
{
        char number[VALUE_TEXT_MAX];

        if (event->signal.given) {
                put_part(text, "killed by signal ");
                text_puts(text, number_text(event->signal.value, number));
                text_puts(text, " (");
                text_puts(text, strsignal((int)event->signal.value));
                text_puts(text, ")");
        } else if (event->exit_status.given) {
                put_part(text, "exit status ");
                text_puts(text, number_text(event->exit_status.value, number));
        }
        if (event->written_regions.n > 0)
                put_part(text, "was attached for writing to ");
        for (size_t i = 0; i < event->written_regions.n; i++) {
                text_puts(text, i > 0 ? ", " : "");
                text_puts(text, event->written_regions.items[i]);
        }
}

/* All else that there is to say; NULL: nothing. */
static const char *what_text(struct arena *arena, const struct event_view *event)
{
        owned(text_clear) struct text text = { 0 };

        if (event->region != NULL) {
                put_part(&text, "region ");
                text_puts(&text, event->region);
        }
        put_end(&text, event);
        if (event->reason != NULL)
                put_part(&text, event->reason);
        if (event->bytes.given)
                put_part(&text, size_text((uint64_t)event->bytes.value, TEXT));
        if (text.n == 0)
                return NULL;
        text_put(&text, "", 1);
        return text_failed(&text) ? NULL : arena_strdup(arena, text.data);
}

/* --- as it happens ----------------------------------------------------------------------------------------------- */

static void print_first(const struct watch_result *result, const char *environment)
{
        printf("watching ");
        put_safe(environment != NULL ? environment : "all environments");
        printf(" after event %" PRId64 "\n", result->sequence);
}

static int print_event(struct arena *arena, const struct event_view *event)
{
        const char *who = who_text(arena, event), *what = what_text(arena, event);

        if (who == NULL)
                return out_of_memory();
        printf("%s  %-13s  ", time_text(event->realtime_usec, TEXT), event_kind_word(event->kind));
        put_safe(event->environment);
        printf("  ");
        put_safe(who);
        if (what != NULL) {
                printf("  ");
                put_safe(what);
        }
        putchar('\n');
        return CTL_DONE;
}

int print_watched(const char *json, const char *environment, const struct options *options)
{
        owned(arena_clear) struct arena arena = { 0 };
        owned(reply_freep) struct reply *reply = NULL;
        struct watch_result result;
        int r;

        r = read_reply(json, INTERFACE ".Watch", &arena, &reply, &result);
        if (r != CTL_DONE)
                return r;
        if (result.missed.given)
                printf("%" PRId64 " events before this one are no longer remembered\n", result.missed.value);
        if (result.event != NULL)
                return print_event(&arena, result.event);
        if (!options->no_legend && !options->quiet)
                print_first(&result, environment);
        return CTL_DONE;
}

/* --- afterwards -------------------------------------------------------------------------------------------------- */

/* The contract's words as libregion's, in which the table of holders is written. */
static int print_holders(struct arena *arena, const struct struct_array *attachments, const struct options *options)
{
        const struct attachment_view *views = attachments->items;
        struct region_attachment *items = arena_alloc(arena, attachments->n, sizeof(*items));
        const struct region_attachment **pointers = arena_alloc(arena, attachments->n, sizeof(const void *));

        if (items == NULL || pointers == NULL)
                return out_of_memory();
        for (size_t i = 0; i < attachments->n; i++) {
                items[i] = (struct region_attachment){
                        .environment = views[i].environment,
                        .region = views[i].region,
                        .pid = (pid_t)views[i].pid,
                        .uid = (uid_t)views[i].uid,
                        .command = views[i].command,
                        .access = (enum region_access)views[i].access,
                        .since_usec = views[i].since_usec,
                        .standing = (enum region_standing)views[i].standing,
                };
                pointers[i] = &items[i];
        }
        return print_attachments(pointers, attachments->n, options);
}

static int print_history(struct arena *arena, const struct struct_array *history, const struct options *options)
{
        static const struct column columns[] = {
                { "TIME", 0 }, { "EVENT", 0 }, { "WHO", 0 }, { "WHAT", SCOLS_FL_WRAP }
        };
        const struct event_view *events = history->items;
        owned(table_clear) struct table table = { 0 };

        if (history->n == 0)
                return CTL_DONE;
        putchar('\n');
        table_begin(&table, columns, array_size(columns), !options->no_legend);
        for (size_t i = 0; i < history->n; i++) {
                const char *const cells[] = {
                        time_text(events[i].realtime_usec, TEXT),
                        event_kind_word(events[i].kind),
                        who_text(arena, &events[i]),
                        what_text(arena, &events[i]),
                };

                table_add(&table, cells);
        }
        return table_print(&table);
}

int print_explanation(const char *json, const struct options *options)
{
        owned(arena_clear) struct arena arena = { 0 };
        owned(reply_freep) struct reply *reply = NULL;
        struct explain_result result;
        int r;

        r = read_reply(json, INTERFACE ".Explain", &arena, &reply, &result);
        if (r != CTL_DONE)
                return r;
        for (size_t i = 0; i < result.reasons.n; i++) {
                put_safe(result.reasons.items[i]);
                putchar('\n');
        }
        putchar('\n');
        r = print_holders(&arena, &result.attachments, options);
        return r == CTL_DONE ? print_history(&arena, &result.history, options) : r;
}
