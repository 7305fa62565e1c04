/* What happened lately, for those who watch and those who ask why. */

#include "daemon/core/history.h"

#include "daemon/core/environment.h"
#include "daemon/core/peer.h"
#include "proto/util.h"

#include <errno.h>
#include <string.h>

int history_init(struct history *history, size_t size)
{
        *history = (struct history){ .events = calloc(size, sizeof(*history->events)), .size = size };
        return history->events ? 0 : -ENOMEM;
}

void history_deinit(struct history *history)
{
        for (size_t i = 0; history->events && i < history->size; i++)
                event_free(history->events[i]);
        free(history->events);
        *history = (struct history){};
}

void history_add(struct history *history, struct event *event)
{
        struct event **place = &history->events[++history->last % history->size];

        event_free(*place);
        *place = event;
        if (event)
                event->sequence = history->last;
}

void history_put_back(struct history *history, struct event *event)
{
        struct event **place = &history->events[event->sequence % history->size];

        if (event->sequence < history_first(history) || event->sequence > history->last) {
                event_free(event);
                return;
        }
        event_free(*place);
        *place = event;
}

uint64_t history_first(const struct history *history)
{
        return history->last > history->size ? history->last - history->size + 1 : 1;
}

const struct event *history_find(const struct history *history, uint64_t sequence)
{
        if (sequence < history_first(history) || sequence > history->last)
                return NULL;
        return history->events[sequence % history->size];
}

static bool copy(char **ret, const char *string)
{
        if (!string)
                return true;
        *ret = strdup(string);
        return *ret != NULL;
}

struct event *event_new(enum event_kind kind, const struct environment *environment, const char *region,
                        const struct process *process, const char *reason, int64_t realtime)
{
        struct event *event = calloc(1, sizeof(*event));

        if (!event)
                return NULL;
        event->realtime_usec = realtime;
        event->kind = kind;
        event->environment_id = environment->id;
        event->uid = environment->uid;
        event->gid = environment->gid;
        event->mode = environment->mode;
        if (process) {
                event->by_process = true;
                event->process_pid = process->pid;
                event->process_uid = process->uid;
                memcpy(event->command, process->command, sizeof(event->command));
        }
        if (!copy(&event->environment, environment->name) || !copy(&event->region, region) ||
            !copy(&event->reason, reason))
                return event_free(event);
        return event;
}

void event_add_written(struct event *event, const char *region)
{
        char **written = realloc(event->written, (event->n_written + 1) * sizeof(*written));

        if (!written)
                return;
        event->written = written;
        if (copy(&written[event->n_written], region))
                event->n_written++;
}

struct event *event_free(struct event *event)
{
        if (!event)
                return NULL;
        for (size_t i = 0; i < event->n_written; i++)
                free(event->written[i]);
        free(event->written);
        free(event->environment);
        free(event->region);
        free(event->reason);
        free(event);
        return NULL;
}
