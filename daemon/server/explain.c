/* Reasons as sentences: one each for all that keeps an environment, or for what ended it. */

#include "daemon/server/explain.h"

#include "daemon/missing.h"
#include "daemon/server/dispatch.h"
#include "daemon/server/report.h"
#include "proto/args.h"
#include "proto/util.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/param.h>
#include <time.h>

/* Reasons on their way; `failed` once memory ran out. */
struct reasons {
        struct arena *arena;
        const char **items;
        size_t n, allocated;
        bool failed;
};

__attribute__((format(printf, 2, 3))) static void say(struct reasons *reasons, const char *format, ...)
{
        char sentence[1024];
        va_list args;

        if (reasons->failed || reasons->n == reasons->allocated)
                return;
        va_start(args, format);
        vsnprintf(sentence, sizeof(sentence), format, args);
        va_end(args);
        reasons->items[reasons->n] = arena_strdup(reasons->arena, sentence);
        if (reasons->items[reasons->n])
                reasons->n++;
        else
                reasons->failed = true;
}

static int reasons_init(struct reasons *reasons, struct arena *arena, size_t n)
{
        *reasons = (struct reasons){ .arena = arena, .allocated = n };
        reasons->items = arena_alloc(arena, n, sizeof(*reasons->items));
        return reasons->items ? 0 : -ENOMEM;
}

/* --- why it is still there --------------------------------------------------------------------------------------- */

enum { CAUSE_SIZE = 80 };

/* Why it needs repair. Who died with the machine is not known. */
static const char *write_cause(const struct environment *environment, char cause[CAUSE_SIZE])
{
        if (environment->culprit.pid == 0)
                return "the machine stopped while it was attached for writing";
        snprintf(cause, CAUSE_SIZE, "%s (pid %d) died while attached for writing", environment->culprit.command,
                 (int)environment->culprit.pid);
        return cause;
}

static void say_state(struct reasons *reasons, const struct environment *environment)
{
        const struct process *at_work;
        char cause[CAUSE_SIZE];

        switch (environment->state) {
        case STATE_INITIALIZING:
                if (!environment->initializer) {
                        say(reasons, "It is declared; the first to open it for writing initialises it.");
                        break;
                }
                at_work = environment->initializer->peer->process;
                say(reasons, "It is being initialised by %s (pid %d); others wait for that.", at_work->command,
                    (int)at_work->pid);
                break;
        case STATE_DIRTY:
                say(reasons, "%s; the next to open it for writing repairs it.", write_cause(environment, cause));
                break;
        case STATE_RECOVERING:
                at_work = environment->recoverer->peer->process;
                say(reasons, "%s (pid %d) repairs it, because %s.", at_work->command, (int)at_work->pid,
                    write_cause(environment, cause));
                break;
        case STATE_RETIRED:
                say(reasons, "It has lost its name and goes with its last holder: %s.", environment->rule);
                break;
        case STATE_READY:
                break;
        }
        if (environment->draining)
                say(reasons, "A call of Remove waits for its holders to leave; nobody new is let in.");
}

static void say_lifetime(struct reasons *reasons, const struct broker *broker, const struct environment *environment)
{
        const struct process *creator = environment->creator;

        if (environment->state == STATE_RETIRED)
                return;
        if (environment->lifetime == LIFETIME_PERSISTENT)
                say(reasons, "Its lifetime is persistent: it stays until it is removed.");
        else if (environment->lifetime == LIFETIME_CREATOR)
                say(reasons, "Its lifetime is creator: it stays while %s (pid %d) lives.", creator->command,
                    (int)creator->pid);
        else if (environment->n_members == 0 && environment->linger_until > broker->now)
                say(reasons, "Nobody is attached to it; it lingers for another %" PRId64 " ms.",
                    (environment->linger_until - broker->now + 999) / 1000);
}

static void say_holders(struct reasons *reasons, const struct environment *environment, const char *only)
{
        const struct region *region;

        TAILQ_FOREACH(region, &environment->regions, in_environment)
                if (missing_is(region) && (!only || strcmp(region->name, only) == 0))
                        say(reasons,
                            "Region %s is missing since the broker before ended; the first to call of those attached to it "
                            "brings it back, and others wait for that.",
                            region->name);
        if (environment->n_members > 0 && !only)
                say(reasons,
                    environment->n_members == 1 ? "%u process is attached to it." : "%u processes are attached to it.",
                    environment->n_members);
        TAILQ_FOREACH(region, &environment->regions, in_environment) {
                if (only && strcmp(region->name, only) != 0)
                        continue;
                if (only && region->n_attachments > 0)
                        say(reasons,
                            region->n_attachments == 1 ? "%u process is attached to it."
                                                       : "%u processes are attached to it.",
                            region->n_attachments);
                if (!report_is_inherited(region))
                        continue;
                if (region->departed.pid)
                        say(reasons,
                            "Region %s is held by a process that the broker did not grant it to: a child of one that it did, or one "
                            "that was passed the descriptor. The last that was attached is %s (pid %d).",
                            region->name, region->departed.command, (int)region->departed.pid);
                else
                        say(reasons, "Region %s is held by a process that the broker did not grant it to.",
                            region->name);
        }
}

static int say_why_there(struct exchange *exchange, const struct environment *environment, const char *region,
                         struct explain_result *ret)
{
        struct reasons reasons;
        int r;

        r = reasons_init(&reasons, &exchange->arena, 2 * (size_t)environment->n_regions + 8);
        if (r < 0)
                return r;
        say_state(&reasons, environment);
        say_lifetime(&reasons, exchange->broker, environment);
        say_holders(&reasons, environment, region);
        if (reasons.n == 0)
                say(&reasons, "Nobody holds it; it is about to go.");
        ret->reasons = (struct string_array){ true, reasons.n, reasons.items };
        r = report_attachments(&exchange->arena, environment, region, &ret->attachments);
        return reasons.failed ? -ENOMEM : r;
}

/* --- what happened ----------------------------------------------------------------------------------------------- */

static bool concerns(const struct event *event, const char *region)
{
        return !region || !event->region || strcmp(event->region, region) == 0;
}

/* The latest events of that name, the newest last. */
static int tell_history(struct exchange *exchange, const struct explain_args *args, const char *name,
                        struct explain_result *ret)
{
        const struct history *history = &exchange->broker->history;
        struct event_view *views = arena_alloc(&exchange->arena, EXPLAIN_EVENTS_MAX, sizeof(*views));
        const struct event *event;
        size_t n = 0;

        if (!views)
                return -ENOMEM;
        for (uint64_t s = history->last; s >= history_first(history) && n < EXPLAIN_EVENTS_MAX; s--) {
                event = history_find(history, s);
                if (event && broker_may_hear(&exchange->request, event, name) && concerns(event, args->region))
                        report_event(event, &views[EXPLAIN_EVENTS_MAX - ++n]);
        }
        ret->history = (struct struct_array){ true, n, views + EXPLAIN_EVENTS_MAX - n };
        return 0;
}

static void say_when(char *text, size_t size, int64_t realtime_usec)
{
        time_t seconds = (time_t)(realtime_usec / 1000000);
        struct tm tm;

        gmtime_r(&seconds, &tm);
        strftime(text, size, "%Y-%m-%d %H:%M:%S UTC", &tm);
}

/* A retired one cannot be asked for by its name, and what it held may still be held. */
static void say_end(struct reasons *reasons, const struct event_view *last)
{
        const char *by = last->reason ? ", by the rule: " : "", *rule = last->reason ? last->reason : "";
        char when[64];

        say_when(when, sizeof(when), last->realtime_usec);
        if (last->kind == EVENT_KIND_RETIRED)
                say(reasons, "It lost its name at %s%s%s; its memory goes with its last holder.", when, by, rule);
        else
                say(reasons, "It is gone: %s at %s%s%s.", event_kind_word(last->kind), when, by, rule);
}

/* From what is remembered: the last thing that ended it. */
static int say_why_gone(struct exchange *exchange, const struct event_view *last, struct explain_result *ret)
{
        struct reasons reasons;

        if (reasons_init(&reasons, &exchange->arena, 1) < 0)
                return -ENOMEM;
        say_end(&reasons, last);
        ret->reasons = (struct string_array){ true, reasons.n, reasons.items };
        ret->attachments = (struct struct_array){ .given = true };
        return reasons.failed ? -ENOMEM : 0;
}

/* The latest event that deleted the region; NULL where none is remembered. */
static const struct event_view *find_deletion(const struct explain_result *result, const char *region)
{
        const struct event_view *events = result->history.items;

        for (size_t i = result->history.n; i > 0; i--)
                if (events[i - 1].kind == EVENT_KIND_REGION_DELETED && strcmp(events[i - 1].region, region) == 0)
                        return &events[i - 1];
        return NULL;
}

static int explain_gone(struct exchange *exchange, const struct explain_args *args, struct explain_result *ret)
{
        const struct event_view *events;
        int r = tell_history(exchange, args, args->environment, ret);

        if (r < 0)
                return r;
        if (ret->history.n == 0) {
                exchange->request.refusal.name = args->environment;
                return refuse(&exchange->request.refusal, REFUSED_NO_ENVIRONMENT);
        }
        events = ret->history.items;
        return say_why_gone(exchange, &events[ret->history.n - 1], ret);
}

int explain(struct exchange *exchange, const struct explain_args *args, struct explain_result *ret)
{
        struct environment *environment;
        const struct event_view *deletion;
        int r;

        r = broker_describe(exchange->broker, &exchange->request, args->environment, &environment);
        if (r == REFUSED_NO_ENVIRONMENT)
                return explain_gone(exchange, args, ret);
        if (r != 0)
                return r;
        r = tell_history(exchange, args, environment->name, ret);
        if (r < 0)
                return r;
        if (!args->region || environment_find_region(environment, args->region))
                return say_why_there(exchange, environment, args->region, ret);
        deletion = find_deletion(ret, args->region);
        if (deletion)
                return say_why_gone(exchange, deletion, ret);
        exchange->request.refusal.name = environment->name;
        exchange->request.refusal.region = args->region;
        return refuse(&exchange->request.refusal, REFUSED_NO_REGION);
}
