#pragma once

#include "daemon/core/limits.h"
#include "proto/terms.h"

#include <sys/types.h>

struct environment;
struct process;
struct region;

/* One thing that happened, with all that there is to say of it: the objects it speaks of may be gone. */
struct event {
        uint64_t sequence;
        int64_t realtime_usec;
        enum event_kind kind;
        char *environment;
        uint64_t environment_id;
        char *region; /* NULL: the environment as a whole */
        uid_t uid;    /* owner, group and mode of the environment: who may hear of it */
        gid_t gid;
        mode_t mode;
        bool by_process; /* the next three are given */
        pid_t process_pid;
        uid_t process_uid;
        char command[COMMAND_MAX_BYTES + 1];
        char **written; /* died: names of the regions it had attached for writing */
        size_t n_written;
        struct opt_int exit_status, signal;
        char *reason;
        struct opt_int bytes;
};

/* The latest events: a ring, found by their numbers. */
struct history {
        struct event **events; /* the one of sequence s is at s % size; NULL where memory had run out */
        size_t size;
        uint64_t last; /* sequence of the latest; 0 while there was none */
};

int history_init(struct history *history, size_t size); /* -ENOMEM */
void history_deinit(struct history *history);

/* Puts an event at the end, taking it over and forgetting the oldest; gives it its number. NULL (memory had run out)
 * leaves a gap, which those who read it are told of. */
void history_add(struct history *history, struct event *event);
/* Puts one back in its place, taking it over, where `last` has been set to the newest there was. */
void history_put_back(struct history *history, struct event *event);
/* The event of that number; NULL where it is forgotten, or still to come. */
const struct event *history_find(const struct history *history, uint64_t sequence);
/* The number of the oldest that can still be there. */
uint64_t history_first(const struct history *history);

/* NULL when memory runs out. Strings are copied; `region`, `process` and `reason` may be NULL. */
struct event *event_new(enum event_kind kind, const struct environment *environment, const char *region,
                        const struct process *process, const char *reason, int64_t realtime);
/* Notes what a process had attached for writing; does less when memory runs out. */
void event_add_written(struct event *event, const char *region);
/* Takes NULL. */
struct event *event_free(struct event *event);
