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
        bool repeated; /* a broker that went away may have done already what was asked */
};

void answer_clear(struct answer *answer);

/* What follows is for callers who are inside. */

/* What is asked. Where the connection is lost before the answer, the session is taken up again on another one, and it is asked
 * once more, unless it might then be done twice: REGION_E_DISCONNECTED. */
struct question {
        const struct method_type *method; /* NULL: one that is not known here, of `raw` */
        const void *args;
        struct opt_int *wait; /* among the args, where the broker is to wait: told anew, each time what is left of it */
        struct region_env *env; /* that is meant by its name: not asked of another that has it by then */
        struct {
                const char *method, *parameters; /* JSON, or NULL */
                bool more;
        } raw;
};

/* Asks it, and receives its first answer, refusal or not. */
enum region_result broker_begin(struct region_broker *broker, const struct question *question, struct answer *answer);
/* Receives a further one, waiting for the broker's own time and `wait_usec` more. */
enum region_result broker_receive(struct region_broker *broker, int64_t wait_usec, struct answer *answer);
/* Reads a received answer into `ret`, the method's result struct. A refusal becomes its code. */
enum region_result answer_read(const struct method_type *method, const void *args, struct answer *answer, void *ret);

/* All of it, for a method that is answered once. `ret` may be NULL for a method without result. */
enum region_result broker_put(struct region_broker *broker, const struct question *question, struct answer *answer,
                              void *ret);
/* The same in short: a method alone, or one that means an environment by its name. */
enum region_result broker_ask(struct region_broker *broker, const char *method, const void *args, struct answer *answer,
                              void *ret);
enum region_result environment_ask(struct region_env *env, const char *method, const void *args, struct answer *answer,
                                   void *ret);

/* Sends a call with the descriptors (NULL: none), taking them, and receives its answer, on this connection or not at all. */
enum region_result broker_try(struct region_broker *broker, const struct method_type *method, const void *args,
                              struct fdset *fds, int64_t deadline, struct answer *answer);

static inline void broker_leavep(struct region_broker **broker)
{
        if (*broker)
                broker_leave(*broker);
}
