#pragma once

/* One session: who may call, one at a time, and a typed call as one question and its answer. */

#include "client/handles.h"

#include "proto/message.h"

/* Waiting without end, where a wait is asked for. */
#define WAIT_FOREVER INT64_MAX

/* Lets the caller in alone, to all that the session's lock guards; *ret is left by broker_leave(). In a child
 * of the process whose session it was, the session is made the child's first. REGION_E_FORKED: that cannot be.
 * REGION_E_INVALID: the caller is inside already. */
enum region_result broker_enter(struct region_broker *broker, struct region_broker **ret);
void broker_leave(struct region_broker *broker);
/* The lock alone, for who does not ask the broker. False: the caller is inside already. */
bool broker_lock(struct region_broker *broker);
/* Whether the session still is that of a process which this one is a child of. */
bool broker_is_inherited(const struct region_broker *broker);

/* An answer, and all that a result read from it points into. Zero-initialised it is empty. */
struct answer {
        struct reply *reply;
        struct arena arena;
};

void answer_clear(struct answer *answer);

/* The three are for callers who are inside. A question is asked by sending it, and each of its answers received: */
enum region_result broker_send(struct region_broker *broker, const struct method_type *method, const void *args);
/* waits for the broker's own time and `wait_usec` more. */
enum region_result broker_receive(struct region_broker *broker, int64_t wait_usec, struct answer *answer);
/* Reads a received answer into `ret`, the method's result struct. A refusal becomes its code. */
enum region_result answer_read(const struct method_type *method, const void *args, struct answer *answer, void *ret);

/* All of it, for a method that is answered once. `ret` may be NULL for a method without result. */
enum region_result broker_ask(struct region_broker *broker, const char *method, const void *args, int64_t wait_usec,
                              struct answer *answer, void *ret);

static inline void broker_leavep(struct region_broker **broker)
{
        if (*broker)
                broker_leave(*broker);
}
