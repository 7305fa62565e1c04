#pragma once

#include "daemon/broker.h"

/* Saying what happened: into the history, and to those who watch. */

/* `region`, `process` and `reason` may be NULL; `bytes` < 0: none. */
void events_note(struct broker *broker, enum event_kind kind, const struct environment *environment, const char *region,
                 const struct process *process, const char *reason, int64_t bytes);
/* A process that was in the environment died: with how it ended and what it had attached for writing. */
void events_note_death(struct broker *broker, const struct member *member);

/* May this peer hear of it: as for the environment it speaks of. */
bool events_may_see(const struct peer *peer, const struct event *event);
