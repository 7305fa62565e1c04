/* A session is a connection and a lock: whoever is inside asks, and waits for the answer, before the next one does. So
 * answers need no matching, and the lists of handles change with what the broker was told. When the connection is lost the
 * session is not: the next question takes it up again (reconnect.c). */

#include "client/session.h"

#include "client/arguments.h"
#include "client/environment.h"
#include "client/failure.h"
#include "client/inheritance.h"
#include "client/reconnect.h"

#include "proto/util.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#define TIMEOUT_USEC INT64_C(30000000)

#define SOCKET_NAME "region-broker/org.regionbroker"

/* --- coming and going -------------------------------------------------------------------------------------------- */

static struct region_broker *broker_free(struct region_broker *broker)
{
        reconnect_forget(broker);
        connection_close(&broker->connection);
        pthread_mutex_destroy(&broker->lock);
        free(broker->socket);
        free(broker);
        return NULL;
}

static enum region_result connect_to(const char *socket, struct region_broker **ret)
{
        static _Atomic int64_t last_number;
        struct region_broker *broker = calloc(1, sizeof(*broker));
        enum region_result r;

        if (!broker)
                return failure_note_memory();
        broker->pid = getpid();
        broker->number = ++last_number;
        broker->timeout_usec = TIMEOUT_USEC;
        LIST_INIT(&broker->envs);
        pthread_mutex_init(&broker->lock, NULL);
        broker->socket = strdup(socket);
        r = broker->socket ? connection_open(&broker->connection, socket, deadline_in(TIMEOUT_USEC))
                           : failure_note_memory();
        if (r != REGION_OK) {
                broker_free(broker);
                return r;
        }
        inheritance_add(broker);
        *ret = broker;
        return REGION_OK;
}

/* The user's own broker, where there is one. */
static enum region_result connect_to_own(struct region_broker **ret)
{
        const char *directory = secure_getenv("XDG_RUNTIME_DIR");
        owned(freep) char *socket = NULL;

        if (!directory || directory[0] != '/')
                return REGION_E_ABSENT;
        if (asprintf(&socket, "%s/" SOCKET_NAME, directory) < 0) {
                socket = NULL;
                return failure_note_memory();
        }
        return connect_to(socket, ret);
}

enum region_result region_broker_connect(const char *socket, struct region_broker **ret)
{
        const char *chosen = secure_getenv("REGION_BROKER_SOCKET");
        enum region_result r;

        if (socket)
                return connect_to(socket, ret);
        if (chosen && chosen[0] == '/')
                return connect_to(chosen, ret);
        if (chosen && chosen[0] != '\0')
                return failure_note(REGION_E_INVALID, "REGION_BROKER_SOCKET is '%s', which is not an absolute path",
                                    chosen);
        r = connect_to_own(ret);
        return r == REGION_E_ABSENT ? connect_to("/run/" SOCKET_NAME, ret) : r;
}

void region_broker_close(struct region_broker *broker)
{
        if (!broker)
                return;
        while (!LIST_EMPTY(&broker->envs))
                region_env_close(LIST_FIRST(&broker->envs));
        inheritance_remove(broker);
        broker_free(broker);
}

void region_broker_set_timeout(struct region_broker *broker, int64_t timeout_usec)
{
        broker->timeout_usec = timeout_usec > 0 ? timeout_usec : WAIT_FOREVER;
}

const char *region_broker_socket(const struct region_broker *broker)
{
        return broker->socket;
}

/* --- inside ------------------------------------------------------------------------------------------------------ */

bool broker_is_inherited(const struct region_broker *broker)
{
        return getpid() != broker->pid;
}

/* The lock itself does not know who has it: it has to be such that a child can unlock what its parent locked for it. */
bool broker_lock(struct region_broker *broker)
{
        if (broker->insider == pthread_self())
                return false;
        pthread_mutex_lock(&broker->lock);
        broker->insider = pthread_self();
        return true;
}

enum region_result broker_enter(struct region_broker *broker, struct region_broker **ret)
{
        enum region_result r;

        if (broker->torn)
                return failure_note(REGION_E_FORKED,
                                    "another thread was at work in this session when this process was forked; connect"
                                    " anew");
        if (!broker_lock(broker))
                return failure_note(REGION_E_INVALID,
                                    "the broker cannot be called from inside a function that a call was given");
        r = broker_is_inherited(broker) ? inheritance_take(broker) : REGION_OK;
        if (r != REGION_OK) {
                broker_leave(broker);
                return r;
        }
        *ret = broker;
        return REGION_OK;
}

void broker_leave(struct region_broker *broker)
{
        broker->insider = 0;
        pthread_mutex_unlock(&broker->lock);
}

void answer_clear(struct answer *answer)
{
        answer->reply = reply_free(answer->reply);
        arena_clear(&answer->arena);
}

static int64_t timeout_and(const struct region_broker *broker, int64_t wait_usec)
{
        int64_t sum;

        return __builtin_add_overflow(broker->timeout_usec, wait_usec, &sum) ? WAIT_FOREVER : sum;
}

enum region_result broker_receive(struct region_broker *broker, int64_t wait_usec, struct answer *answer)
{
        answer_clear(answer);
        return connection_receive(&broker->connection, deadline_in(timeout_and(broker, wait_usec)), &answer->reply);
}

/* The string that a call has under that name, or NULL. */
static const char *find_string(const struct arg_struct *type, const void *args, const char *name)
{
        for (size_t i = 0; type && i < type->n; i++)
                if (type->args[i].kind == ARG_STRING && strcmp(type->args[i].name, name) == 0)
                        return *(const char *const *)(const void *)((const char *)args + type->args[i].offset);
        return NULL;
}

static enum region_result note_refusal(const struct method_type *method, const void *args, const struct reply *reply)
{
        const struct asked asked = {
                .environment = find_string(method->args, args, "environment"),
                .region = find_string(method->args, args, "region"),
        };

        return failure_note_refusal(reply, &asked);
}

enum region_result answer_read(const struct method_type *method, const void *args, struct answer *answer, void *ret)
{
        const char *field;
        int r;

        if (answer->reply->error)
                return note_refusal(method, args, answer->reply);
        if (!method->result || !ret)
                return REGION_OK;
        r = args_read(answer->reply->parameters, method->result, 0, &answer->arena, ret, &field);
        if (r == -EINVAL)
                return failure_note(
                        REGION_E_PROTOCOL,
                        "the broker's answer to %s makes no sense in '%s'; do broker and library fit together?",
                        method->name, field);
        return r < 0 ? failure_note_memory() : REGION_OK;
}

/* --- asking ------------------------------------------------------------------------------------------------------ */

enum region_result broker_try(struct region_broker *broker, const struct method_type *method, const void *args,
                              struct fdset *fds, int64_t deadline, struct answer *answer)
{
        owned(text_clear) struct text text = {};
        enum region_result r;

        call_write(&text, method, 0, args);
        r = connection_send(&broker->connection, &text, fds, deadline);
        return r == REGION_OK ? connection_receive(&broker->connection, deadline, &answer->reply) : r;
}

static enum region_result try_question(struct region_broker *broker, const struct question *question, int64_t deadline,
                                       struct answer *answer)
{
        const struct method_type *method = question->method;
        owned(text_clear) struct text text = {};
        enum region_result r;

        if (method)
                call_write(&text, method, method->requires_more ? CALL_MORE : 0, question->args);
        else
                call_write_raw(&text, question->raw.method, question->raw.more ? CALL_MORE : 0,
                               question->raw.parameters);
        r = connection_send(&broker->connection, &text, NULL, deadline);
        return r == REGION_OK ? connection_receive(&broker->connection, deadline, &answer->reply) : r;
}

/* Done twice it is as if done once, or the broker knows that it was done. Who deletes by a name alone could meet another one of
 * that name; of a method that we do not know nothing is known. */
static bool may_be_repeated(const struct question *question)
{
        if (!question->method || strcmp(question->method->name, "org.regionbroker.DeleteRegion") == 0)
                return false;
        if (strcmp(question->method->name, "org.regionbroker.Remove") == 0)
                return ((const struct remove_args *)question->args)->id;
        return true;
}

static enum region_result note_unknown(void)
{
        return failure_note(
                REGION_E_DISCONNECTED,
                "the broker went away during the call, and whether it did what was asked is not known; look,"
                " and call again");
}

/* The session is there again, and so is what is asked about. */
static enum region_result take_up(struct region_broker *broker, const struct question *question, int64_t deadline)
{
        enum region_result r = reconnect(broker, deadline);

        return r == REGION_OK && question->env ? environment_check_named(question->env) : r;
}

enum region_result broker_begin(struct region_broker *broker, const struct question *question, struct answer *answer)
{
        struct opt_int *wait = question->wait;
        int64_t wait_usec = !wait ? 0 : wait->given ? wait->value : WAIT_FOREVER;
        int64_t until = deadline_in(wait_usec), deadline = deadline_in(timeout_and(broker, wait_usec));
        int64_t pause = 0;
        enum region_result r;

        r = question->method && question->method->args ? arguments_check(question->method->args, question->args)
                                                       : REGION_OK;
        while (r == REGION_OK) {
                answer_clear(answer);
                if (!broker->connection.open) {
                        r = take_up(broker, question, deadline);
                        if (wait && wait->given && until != DEADLINE_NEVER)
                                wait->value = deadline_left(until);
                }
                if (r == REGION_OK)
                        r = try_question(broker, question, deadline, answer);
                if (r != REGION_E_DISCONNECTED || broker->connection.open)
                        return r;
                if (broker->connection.heard && !may_be_repeated(question))
                        return note_unknown();
                if (deadline_is_over(deadline))
                        return r;
                answer->repeated |= broker->connection.heard;
                deadline_pause(&pause, deadline); /* should it be this question that it does not survive */
                r = REGION_OK;
        }
        return r;
}

enum region_result broker_put(struct region_broker *broker, const struct question *question, struct answer *answer,
                              void *ret)
{
        enum region_result r;

        r = broker_begin(broker, question, answer);
        if (r != REGION_OK)
                return r;
        if (answer->reply->continues)
                return connection_break(&broker->connection, REGION_E_PROTOCOL, 0,
                                        "the broker announced more answers than one");
        return answer_read(question->method, question->args, answer, ret);
}

enum region_result broker_ask(struct region_broker *broker, const char *method, const void *args, struct answer *answer,
                              void *ret)
{
        return broker_put(broker, &(struct question){ .method = method_type_find(method), .args = args }, answer, ret);
}

enum region_result environment_ask(struct region_env *env, const char *method, const void *args, struct answer *answer,
                                   void *ret)
{
        const struct question question = { .method = method_type_find(method), .args = args, .env = env };

        return broker_put(env->broker, &question, answer, ret);
}
