/* A watch is a session that asked one question whose answers never end. It is not shared: whoever has it reads it.
 *
 * What its owner polls is an epoll instance, which stays the same while connections come and go under it. When the broker went
 * away a timer in it takes the place of the connection, so that its owner calls again and we look for the broker; nobody is
 * kept waiting for that. Found again, it is asked to go on after the last event that was told. */

#include "client/failure.h"
#include "client/info.h"
#include "client/reconnect.h"
#include "client/session.h"

#include "proto/util.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/timerfd.h>
#include <unistd.h>

enum { RETRY_FIRST_USEC = 1000, RETRY_LAST_USEC = 256 * 1000 };

struct region_watch {
        struct region_broker *broker; /* its own */
        char *environment;            /* NULL: all */
        char *instance;               /* of the broker that counts the events, or NULL */
        int64_t sequence;
        int poll_fd, timer_fd;
        int64_t retry_usec;   /* until the next look for the broker */
        int64_t give_up;      /* when to say that there is none; 0 while it is there */
        struct answer answer; /* the latest, which the event below was made of */
        const struct region_event *event;
};

/* --- coming and going -------------------------------------------------------------------------------------------- */

void region_watch_close(struct region_watch *watch)
{
        if (!watch)
                return;
        answer_clear(&watch->answer);
        if (watch->broker && broker_is_inherited(watch->broker))
                watch->broker->connection.polled = false; /* that is the parent's, for whom it is to stay */
        region_broker_close(watch->broker);
        close_fd(watch->poll_fd);
        close_fd(watch->timer_fd);
        free(watch->environment);
        free(watch->instance);
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

static struct watch_args args_since(const struct region_watch *watch, int64_t since)
{
        return (struct watch_args){
                .environment = watch->environment,
                .since = { .given = since >= 0, .value = since },
                .instance = watch->instance,
        };
}

/* The first answer says who counts. Between two that count there are events that nobody can tell any more. */
static enum region_result check_instance(struct region_watch *watch, const char *instance)
{
        bool known = watch->instance;

        if (!instance || (known && strcmp(watch->instance, instance) == 0))
                return REGION_OK;
        free(watch->instance);
        watch->instance = strdup(instance);
        if (!watch->instance)
                return failure_note_memory();
        if (known)
                return failure_note(
                        REGION_E_DISCONNECTED,
                        "the broker was begun anew, and what happened in between is not known; the watch goes"
                        " on with what it remembers");
        return REGION_OK;
}

/* What was received becomes an event, or none: the first answer only says that the watch stands. */
static enum region_result read_answer(struct region_watch *watch)
{
        const struct watch_args args = args_since(watch, -1);
        struct watch_result result;
        enum region_result r;

        watch->event = NULL;
        r = answer_read(method(), &args, &watch->answer, &result);
        if (r == REGION_OK && result.event)
                r = info_of_event(&watch->answer.arena, result.event, result.missed.value, &watch->event);
        if (r != REGION_OK)
                return r;
        watch->sequence = result.sequence;
        return check_instance(watch, result.instance);
}

static enum region_result begin(struct region_watch *watch, int64_t since)
{
        const struct watch_args args = args_since(watch, since);
        const struct question question = { .method = method(), .args = &args };
        enum region_result r;

        r = broker_begin(watch->broker, &question, &watch->answer);
        return r == REGION_OK ? read_answer(watch) : r;
}

static enum region_result note_unpolled(int errnum)
{
        return failure_note_system(REGION_E_RESOURCE, "epoll_ctl", errnum, "the watch cannot be polled (%s)",
                                   errno_text(errnum));
}

/* What its owner polls: the connection, and the timer. */
static enum region_result make_poll(struct region_watch *watch)
{
        struct epoll_event event = { .events = EPOLLIN };
        int r;

        watch->poll_fd = epoll_create1(EPOLL_CLOEXEC);
        watch->timer_fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
        if (watch->poll_fd < 0 || watch->timer_fd < 0 ||
            epoll_ctl(watch->poll_fd, EPOLL_CTL_ADD, watch->timer_fd, &event) < 0)
                return note_unpolled(errno);
        r = connection_poll(&watch->broker->connection, watch->poll_fd);
        return r < 0 ? note_unpolled(-r) : REGION_OK;
}

enum region_result region_watch_open(const char *socket, const char *environment, int64_t since,
                                     struct region_watch **ret)
{
        owned(watch_closep) struct region_watch *watch = calloc(1, sizeof(*watch));
        enum region_result r;

        if (!watch)
                return failure_note_memory();
        watch->poll_fd = watch->timer_fd = -1;
        watch->environment = environment ? strdup(environment) : NULL;
        if (environment && !watch->environment)
                return failure_note_memory();
        r = region_broker_connect(socket, &watch->broker);
        if (r == REGION_OK)
                r = begin(watch, since);
        if (r == REGION_OK)
                r = make_poll(watch);
        if (r == REGION_OK)
                *ret = take_ptr(watch);
        return r;
}

/* --- going on ---------------------------------------------------------------------------------------------------- */

static void set_timer(struct region_watch *watch, int64_t usec)
{
        const struct itimerspec when = { .it_value = { usec / 1000000, usec % 1000000 * 1000 } };

        timerfd_settime(watch->timer_fd, 0, &when, NULL); /* 0 stops it; set anew it is not ready any more */
}

/* There is none at the moment. Said only once that has been so for as long as a call may take, and then from the beginning. */
static enum region_result look_later(struct region_watch *watch, enum region_result why)
{
        if (watch->give_up == 0) {
                watch->give_up = deadline_in(watch->broker->timeout_usec);
                watch->retry_usec = RETRY_FIRST_USEC;
        }
        set_timer(watch, watch->retry_usec);
        watch->retry_usec = watch->retry_usec * 2 < RETRY_LAST_USEC ? watch->retry_usec * 2 : RETRY_LAST_USEC;
        if (!deadline_is_over(watch->give_up))
                return REGION_OK;
        watch->give_up = 0;
        return why;
}

static enum region_result ask_to_go_on(struct region_watch *watch)
{
        const struct watch_args args = args_since(watch, watch->sequence);
        owned(text_clear) struct text text = {};
        int r;

        set_timer(watch, 0);
        r = connection_poll(&watch->broker->connection, watch->poll_fd);
        if (r < 0) {
                connection_close(&watch->broker->connection);
                return note_unpolled(-r);
        }
        call_write(&text, method(), CALL_MORE, &args);
        return connection_send(&watch->broker->connection, &text, NULL, deadline_in(watch->broker->timeout_usec));
}

/* Leaves the connection closed where the broker is not there yet. */
static enum region_result go_on(struct region_watch *watch)
{
        enum region_result r;

        watch->broker->impatient = true;
        r = reconnect_wait(watch->broker, deadline_in(0));
        watch->broker->impatient = false;
        return r == REGION_OK ? ask_to_go_on(watch) : look_later(watch, r);
}

/* --- events ------------------------------------------------------------------------------------------------------ */

int region_watch_fd(const struct region_watch *watch)
{
        return watch->poll_fd;
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
        return REGION_OK;
}

/* One answer, if it is there. */
static enum region_result take_answer(struct region_watch *watch)
{
        struct connection *connection = &watch->broker->connection;
        enum region_result r;

        answer_clear(&watch->answer);
        r = connection_take(connection, &watch->answer.reply);
        if (r == REGION_E_DISCONNECTED)
                return REGION_OK; /* looked for at once */
        if (r != REGION_OK || !watch->answer.reply)
                return r;
        watch->give_up = 0;
        r = read_answer(watch);
        if (!watch->answer.reply->continues)
                connection_close(connection); /* no more will come */
        return r;
}

/* The next event that is there already, or NULL in watch->event. A broker that was lost is looked for once. */
static enum region_result take(struct region_watch *watch)
{
        struct connection *connection = &watch->broker->connection;
        enum region_result r = REGION_OK;
        bool looked = false;

        watch->event = NULL;
        do {
                if (!connection->open) {
                        r = looked ? look_later(watch, REGION_E_DISCONNECTED) : go_on(watch);
                        looked = true;
                }
                if (r != REGION_OK || !connection->open)
                        return r;
                r = take_answer(watch);
        } while (r == REGION_OK && !watch->event && (watch->answer.reply || !connection->open));
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
        int waited;

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
                waited = deadline_wait(watch->poll_fd, deadline);
                if (waited == -ETIMEDOUT)
                        return failure_note(REGION_E_TIMEOUT, "nothing came in that time");
                if (waited < 0)
                        return failure_note_system(REGION_E_RESOURCE, "poll", -waited,
                                                   "the watch cannot be waited for (%s)", errno_text(-waited));
        }
}
