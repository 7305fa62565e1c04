/* A message becomes a call of a method's function, and what that returns becomes exactly one final reply. This file alone
 * gives refusals their names on the wire. */

#include "daemon/server/dispatch.h"

#include "daemon/log.h"
#include "daemon/server/report.h"
#include "daemon/server/session.h"
#include "proto/util.h"

#include <errno.h>
#include <string.h>

/* --- refusals ---------------------------------------------------------------------------------------------------- */

static const enum wire_error names[] = {
        [REFUSED_INVALID_PARAMETER] = ERROR_INVALID_PARAMETER,
        [REFUSED_PERMISSION] = ERROR_PERMISSION_DENIED,
        [REFUSED_NO_ENVIRONMENT] = ERROR_ENVIRONMENT_NOT_FOUND,
        [REFUSED_ENVIRONMENT_EXISTS] = ERROR_ENVIRONMENT_EXISTS,
        [REFUSED_NO_REGION] = ERROR_REGION_NOT_FOUND,
        [REFUSED_REGION_EXISTS] = ERROR_REGION_EXISTS,
        [REFUSED_NOT_READY] = ERROR_NOT_READY,
        [REFUSED_RECOVERY] = ERROR_RECOVERY_REQUIRED,
        [REFUSED_NOT_YOUR_ROLE] = ERROR_NOT_YOUR_ROLE,
        [REFUSED_NOT_ATTACHED] = ERROR_NOT_ATTACHED,
        [REFUSED_BUSY] = ERROR_BUSY,
        [REFUSED_SCHEMA] = ERROR_SCHEMA_MISMATCH,
        [REFUSED_KEY_IN_USE] = ERROR_KEY_IN_USE,
        [REFUSED_QUOTA] = ERROR_QUOTA_EXCEEDED,
        [REFUSED_RESOURCE] = ERROR_RESOURCE_FAILURE,
        [REFUSED_NAMESPACE] = ERROR_WRONG_NAMESPACE,
        [REFUSED_NAME] = ERROR_NAME_NOT_ALLOWED,
};

static const char *resource_message(const struct refusal *refusal)
{
        const char *text = refusal->reason ? refusal->reason : strerrordesc_np(refusal->error);

        return text ? text : "unknown error";
}

/* The facts by their names in the contract; each error takes the fields that are its own. */
static int fill_fields(struct arena *arena, const struct call *call, const struct refusal *refusal,
                       struct error_fields *fields)
{
        const struct environment *environment = refusal->environment;
        const char *errno_name = strerrorname_np(refusal->error);
        const struct member *at_work;

        *fields = (struct error_fields){
                .parameter = refusal->name,
                .method = call ? call->method : NULL,
                .environment = environment ? environment->name : refusal->name,
                .region = refusal->region,
                .role = refusal->role,
                .wanted_schema = refusal->schema,
                .shm_key = refusal->shm_key,
                .shm_id = refusal->shm_id,
                .uid = refusal->shm_uid,
                .pid = refusal->shm_pid,
                .limit = refusal->name,
                .used = refusal->used,
                .wanted = refusal->wanted,
                .maximum = refusal->maximum,
                .operation = refusal->operation,
                .errno_name = errno_name ? errno_name : "EUNKNOWN",
                .message = resource_message(refusal),
                .name = refusal->name,
                .reason = refusal->reason,
        };
        if (!environment)
                return 0;
        fields->state = environment->state;
        fields->found_schema = environment->schema ? environment->schema : "";
        fields->creator_command = environment->creator->command;
        at_work = environment->initializer ? environment->initializer : environment->recoverer;
        if (at_work)
                fields->maybe_pid = (struct opt_int){ true, at_work->peer->process->pid };
        if (refusal->code == REFUSED_RECOVERY) {
                fields->pid = environment->culprit.pid;
                fields->command = environment->culprit.command;
        }
        if (refusal->code != REFUSED_BUSY)
                return 0;
        return report_attachments(arena, environment, refusal->region, &fields->attachments);
}

int dispatch_write_refusal(struct text *text, const struct call *call, const struct refusal *refusal,
                           struct arena *arena)
{
        struct error_fields fields;
        int r = fill_fields(arena, call, refusal, &fields);

        if (r < 0)
                return r;
        error_write(text, names[refusal->code], &fields);
        return 0;
}

/* --- replies ----------------------------------------------------------------------------------------------------- */

int exchange_reply(struct exchange *exchange, const void *result, struct fdset *fds, bool continues)
{
        struct text text = {};

        if (exchange->call->oneway) {
                if (fds)
                        fdset_clear(fds);
                return 0;
        }
        reply_write(&text, exchange->method->type->result, result, continues);
        return session_send(exchange->session, &text, fds);
}

int exchange_error(struct exchange *exchange, enum wire_error error, const struct error_fields *fields)
{
        struct text text = {};

        exchange->broker->counters.refused++;
        if (exchange->call->oneway)
                return 0;
        error_write(&text, error, fields);
        return session_send(exchange->session, &text, NULL);
}

static int reply_refusal(struct exchange *exchange)
{
        struct text text = {};
        int r;

        exchange->broker->counters.refused++;
        if (exchange->call->oneway)
                return 0;
        r = dispatch_write_refusal(&text, exchange->call, &exchange->request.refusal, &exchange->arena);
        if (r < 0) {
                text_clear(&text);
                return r;
        }
        return session_send(exchange->session, &text, NULL);
}

/* Memory ran out: says so if there is some for that. */
static void reply_failure(struct exchange *exchange, int error)
{
        exchange->request.refusal = (struct refusal){
                .code = REFUSED_RESOURCE,
                .operation = exchange->method->name,
                .error = -error,
        };
        log_error("%s failed: %s", exchange->method->name, strerror(-error));
        reply_refusal(exchange);
}

/* --- calls ------------------------------------------------------------------------------------------------------- */

void dispatch_init(void)
{
        for (size_t i = 0; i < n_methods; i++)
                methods[i].type = method_type_find(methods[i].name);
}

static struct method *find_method(const char *name)
{
        for (size_t i = 0; i < n_methods; i++)
                if (strcmp(methods[i].name, name) == 0)
                        return &methods[i];
        return NULL;
}

/* The part of a qualified name before its last dot is one of our interfaces. */
static bool is_our_interface(const char *method, size_t n)
{
        for (const char *const *interface = contract_interfaces; *interface; interface++)
                if (strlen(*interface) == n && strncmp(*interface, method, n) == 0)
                        return true;
        return false;
}

static int refuse_unknown(struct exchange *exchange)
{
        const struct call *call = exchange->call;
        const char *dot = strrchr(call->method, '.');
        size_t n = dot ? (size_t)(dot - call->method) : strlen(call->method);
        struct error_fields fields = { .method = call->method };
        owned(freep) char *interface = NULL;

        if (method_type_find(call->method))
                return exchange_error(exchange, ERROR_METHOD_NOT_IMPLEMENTED, &fields);
        if (dot && is_our_interface(call->method, n))
                return exchange_error(exchange, ERROR_METHOD_NOT_FOUND, &fields);
        interface = strndup(call->method, n);
        if (!interface)
                return -ENOMEM;
        fields.interface = interface;
        return exchange_error(exchange, ERROR_INTERFACE_NOT_FOUND, &fields);
}

static int read_parameters(struct exchange *exchange, const char **ret_field)
{
        const struct arg_struct *type = exchange->method->type->args;

        *ret_field = "fileDescriptors";
        if (exchange->call->refused_fds || (exchange->call->fds.n > 0 && !exchange->method->takes_fd))
                return -EINVAL;
        exchange->args = arena_alloc(&exchange->arena, 1, type->size);
        if (!exchange->args)
                return -ENOMEM;
        return args_read(exchange->call->parameters, type, ARGS_STRICT, &exchange->arena, exchange->args, ret_field);
}

enum { ANSWERED = 1 };

/* Finds the method and reads its parameters: 0, ANSWERED already with an error, or -errno. */
static int read_call(struct exchange *exchange)
{
        const struct call *call = exchange->call;
        struct error_fields fields = { .method = call->method };
        enum wire_error error = 0;
        int r = 0;

        exchange->method = find_method(call->method);
        if (!exchange->method) {
                r = refuse_unknown(exchange);
                return r < 0 ? r : ANSWERED;
        }
        if (call->upgrade) /* nothing here leaves Varlink */
                error = ERROR_METHOD_NOT_IMPLEMENTED;
        else if (exchange->method->type->requires_more && !call->more)
                error = ERROR_EXPECTED_MORE;
        else
                r = read_parameters(exchange, &fields.parameter);
        if (r == -EINVAL)
                error = ERROR_INVALID_PARAMETER;
        if (error == 0)
                return r;
        r = exchange_error(exchange, error, &fields);
        return r < 0 ? r : ANSWERED;
}

/* With its parameters read; NULL when it is answered already. Takes the call over. */
static struct exchange *exchange_new(struct session *session, struct broker *broker, struct call *call)
{
        struct exchange *exchange = calloc(1, sizeof(*exchange));
        int r;

        if (!exchange) {
                call_free(call);
                session->input_ended = true; /* no answer can be given, and the next must not take its place */
                return NULL;
        }
        exchange->session = session;
        exchange->broker = broker;
        exchange->call = call;
        exchange->request.peer = &session->peer;
        r = read_call(exchange);
        if (r < 0)
                session->input_ended = true;
        return r != 0 ? exchange_free(exchange) : exchange;
}

struct exchange *dispatch_begin(struct session *session, struct broker *broker, struct call *call)
{
        struct exchange *exchange;

        broker->counters.calls++;
        exchange = exchange_new(session, broker, call);
        return exchange && dispatch_continue(exchange) ? exchange_free(exchange) : exchange;
}

int dispatch_describe(const struct exchange *exchange, struct call_record *ret)
{
        const struct request *request = &exchange->request;
        owned(text_clear) struct text text = {};
        size_t n;

        call_text(exchange->call, &text);
        text_put(&text, "", 1);
        ret->text = text_take(&text, &n);
        if (!ret->text)
                return -ENOMEM;
        ret->refused_fds = exchange->call->refused_fds;
        ret->until = request->until;
        ret->again = request->again;
        ret->watches = request->watches;
        ret->missed = request->missed;
        ret->awaited_id = request->awaited_id;
        ret->awaited_bytes = request->awaited_bytes;
        ret->cursor = exchange->cursor;
        return 0;
}

struct exchange *dispatch_resume(struct session *session, struct broker *broker, const struct call_record *record)
{
        struct exchange *exchange;
        struct fdset none = {};
        struct call *call;

        if (call_parse(record->text, strlen(record->text), &none, &call) < 0) {
                session->input_ended = true;
                return NULL;
        }
        call->refused_fds = record->refused_fds;
        exchange = exchange_new(session, broker, call);
        if (!exchange)
                return NULL;
        exchange->request.until = record->until;
        exchange->request.again = record->again;
        exchange->request.missed = record->missed;
        exchange->request.awaited_id = record->awaited_id;
        exchange->request.awaited_bytes = record->awaited_bytes;
        exchange->cursor = record->cursor;
        exchange->streaming = true;
        if (record->watches)
                broker_go_on_watching(&exchange->request);
        return exchange;
}

bool dispatch_continue(struct exchange *exchange)
{
        int r;

        exchange->request.refusal = (struct refusal){};
        r = exchange->method->run(exchange);
        exchange->streaming = r == METHOD_CONTINUES;
        if (r == REFUSED_WAIT || r == METHOD_CONTINUES) {
                exchange->request.again = true;
                return false;
        }
        if (r > 0)
                r = reply_refusal(exchange);
        if (r < 0) { /* half-done or unanswered: the session goes, and with it what it was granted */
                reply_failure(exchange, r);
                exchange->session->input_ended = true;
        }
        return true;
}

struct exchange *exchange_free(struct exchange *exchange)
{
        if (!exchange)
                return NULL;
        broker_unpark(exchange->broker, &exchange->request.waiter);
        broker_unwatch(&exchange->request);
        call_free(exchange->call);
        arena_clear(&exchange->arena);
        free(exchange);
        return NULL;
}
