/* A session is a connection and a lock: whoever is inside asks, and waits for the answer, before the next one does. So
 * answers need no matching, and the lists of handles change with what the broker was told. */

#include "client/session.h"

#include "client/arguments.h"
#include "client/environment.h"
#include "client/failure.h"
#include "client/inheritance.h"

#include "proto/util.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#define TIMEOUT_USEC INT64_C(30000000)

#define SOCKET_NAME "region-broker/org.regionbroker"

/* --- coming and going -------------------------------------------------------------------------------------------- */

static struct region_broker *broker_free(struct region_broker *broker)
{
        connection_close(&broker->connection);
        pthread_mutex_destroy(&broker->lock);
        free(broker->socket);
        free(broker);
        return NULL;
}

static enum region_result connect_to(const char *socket, struct region_broker **ret)
{
        struct region_broker *broker = calloc(1, sizeof(*broker));
        enum region_result r;

        if (!broker)
                return failure_note_memory();
        broker->pid = getpid();
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

enum region_result broker_send(struct region_broker *broker, const struct method_type *method, const void *args)
{
        owned(text_clear) struct text text = {};
        enum region_result r;

        r = method->args ? arguments_check(method->args, args) : REGION_OK;
        if (r != REGION_OK)
                return r;
        call_write(&text, method, method->requires_more ? CALL_MORE : 0, args);
        return connection_send(&broker->connection, &text, deadline_in(broker->timeout_usec));
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

enum region_result broker_ask(struct region_broker *broker, const char *method, const void *args, int64_t wait_usec,
                              struct answer *answer, void *ret)
{
        const struct method_type *type = method_type_find(method);
        enum region_result r;

        r = broker_send(broker, type, args);
        if (r != REGION_OK)
                return r;
        r = broker_receive(broker, wait_usec, answer);
        if (r != REGION_OK)
                return r;
        if (answer->reply->continues)
                return connection_break(&broker->connection, REGION_E_PROTOCOL, 0,
                                        "the broker announced more answers than one");
        return answer_read(type, args, answer, ret);
}
