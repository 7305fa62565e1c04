/* A watch is a session that asked one question whose answers never end. It is not shared: whoever has it reads it. */

#include "client/failure.h"
#include "client/info.h"
#include "client/session.h"

#include "proto/util.h"

#include <inttypes.h>
#include <string.h>

struct region_watch {
        struct region_broker *broker; /* its own */
        char *environment;            /* NULL: all */
        struct watch_args args;
        int64_t sequence;
        struct answer answer; /* the latest, which the event below was made of */
        const struct region_event *event;
};

/* --- coming and going -------------------------------------------------------------------------------------------- */

void region_watch_close(struct region_watch *watch)
{
        if (!watch)
                return;
        answer_clear(&watch->answer);
        region_broker_close(watch->broker);
        free(watch->environment);
        free(watch);
}

static void watch_closep(struct region_watch **watch)
{
        region_watch_close(*watch);
}

static const struct method_type *method(void)
{
        return method_type_find("org.regionbroker.Watch");
}

/* What was received becomes an event, or none: the first answer only says that the watch stands. */
static enum region_result read_answer(struct region_watch *watch)
{
        struct watch_result result;
        enum region_result r;

        watch->event = NULL;
        r = answer_read(method(), &watch->args, &watch->answer, &result);
        if (r == REGION_OK && result.event)
                r = info_of_event(&watch->answer.arena, result.event, result.missed.value, &watch->event);
        if (r == REGION_OK)
                watch->sequence = result.sequence;
        return r;
}

static enum region_result begin(struct region_watch *watch)
{
        enum region_result r;

        r = broker_send(watch->broker, method(), &watch->args);
        if (r == REGION_OK)
                r = broker_receive(watch->broker, 0, &watch->answer);
        return r == REGION_OK ? read_answer(watch) : r;
}

enum region_result region_watch_open(const char *socket, const char *environment, int64_t since,
                                     struct region_watch **ret)
{
        owned(watch_closep) struct region_watch *watch = calloc(1, sizeof(*watch));
        enum region_result r;

        if (!watch)
                return failure_note_memory();
        watch->environment = environment ? strdup(environment) : NULL;
        if (environment && !watch->environment)
                return failure_note_memory();
        watch->args = (struct watch_args){
                .environment = watch->environment,
                .since = { .given = since >= 0, .value = since },
        };
        r = region_broker_connect(socket, &watch->broker);
        if (r == REGION_OK)
                r = begin(watch);
        if (r == REGION_OK)
                *ret = take_ptr(watch);
        return r;
}

/* --- events ------------------------------------------------------------------------------------------------------ */

int region_watch_fd(const struct region_watch *watch)
{
        return watch->broker->connection.open ? watch->broker->connection.stream.fd : -1;
}

int64_t region_watch_sequence(const struct region_watch *watch)
{
        return watch->sequence;
}

/* A child would take from its parent what it reads. */
static enum region_result check_usable(const struct region_watch *watch)
{
        if (broker_is_inherited(watch->broker))
                return failure_note(REGION_E_FORKED,
                                    "this watch belongs to the parent of this process; open one of its own");
        if (!watch->broker->connection.open)
                return failure_note(REGION_E_DISCONNECTED, "the watch has ended; open another, since event %" PRId64,
                                    watch->sequence);
        return REGION_OK;
}

/* The next event that is there already, or NULL in watch->event. */
static enum region_result take(struct region_watch *watch)
{
        enum region_result r;

        watch->event = NULL;
        do {
                answer_clear(&watch->answer);
                r = connection_take(&watch->broker->connection, &watch->answer.reply);
                if (r != REGION_OK || !watch->answer.reply)
                        return r;
                r = read_answer(watch);
                if (r != REGION_OK || !watch->answer.reply->continues)
                        connection_close(&watch->broker->connection); /* no more will come */
        } while (r == REGION_OK && !watch->event && watch->broker->connection.open);
        return r;
}

enum region_result region_watch_dispatch(struct region_watch *watch,
                                         bool (*each)(const struct region_event *event, void *data), void *data)
{
        enum region_result r;

        do {
                r = check_usable(watch);
                if (r == REGION_OK)
                        r = take(watch);
        } while (r == REGION_OK && watch->event && each(watch->event, data));
        return r;
}

enum region_result region_watch_next(struct region_watch *watch, int64_t timeout_usec, const struct region_event **ret)
{
        int64_t deadline;
        enum region_result r;

        if (timeout_usec < 0 && timeout_usec != REGION_NO_WAIT)
                return failure_note(REGION_E_INVALID, "timeout_usec is neither a time, nor 0, nor REGION_NO_WAIT");
        deadline = timeout_usec == 0 ? DEADLINE_NEVER : deadline_in(timeout_usec == REGION_NO_WAIT ? 0 : timeout_usec);
        for (;;) {
                r = check_usable(watch);
                if (r == REGION_OK)
                        r = take(watch);
                if (r == REGION_OK && watch->event)
                        *ret = watch->event;
                if (r != REGION_OK || watch->event)
                        return r;
                if (watch->broker->connection.open)
                        r = connection_wait(&watch->broker->connection, deadline);
                if (r != REGION_OK)
                        return r;
        }
}
