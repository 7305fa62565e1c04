/* Asking the broker: what is common to all verbs. JSON comes through raw calls, so that it is the broker's own. */

#include "client/ctl/asking.h"

#include "client/ctl/print.h"
#include "proto/util.h"

#include <errno.h>
#include <stdarg.h>
#include <string.h>

static int exit_code(enum region_result result)
{
        switch (result) {
        case REGION_OK:
                return CTL_DONE;
        case REGION_E_ABSENT:
        case REGION_E_DISCONNECTED:
        case REGION_E_TIMEOUT:
                return CTL_NO_BROKER;
        case REGION_E_INVALID:
                return CTL_USAGE;
        case REGION_E_NOT_FOUND:
        case REGION_E_NO_REGION:
                return CTL_NOT_FOUND;
        case REGION_E_BUSY:
        case REGION_E_NOT_READY:
        case REGION_E_KEY_IN_USE:
                return CTL_BUSY;
        case REGION_E_DENIED:
        case REGION_E_NAME:
                return CTL_DENIED;
        case REGION_E_MEMORY:
        case REGION_E_QUOTA:
        case REGION_E_RESOURCE:
                return CTL_REFUSED;
        default:
                return CTL_FAILED;
        }
}

int fail(void)
{
        complain("%s", region_error_message());
        return exit_code(region_last_error()->code);
}

int out_of_memory(void)
{
        complain("out of memory");
        return CTL_REFUSED;
}

int broker_open(const struct options *options, struct region_broker **ret)
{
        return region_broker_connect(options->socket, ret) == REGION_OK ? CTL_DONE : fail();
}

int named_environment(const struct options *options, const char **ret)
{
        if (options->n_operands == 0)
                return region_env_default_name(ret) == REGION_OK ? CTL_DONE : fail();
        *ret = options->operands[0];
        return CTL_DONE;
}

int write_parameters(struct text *text, const char *member, const char *value, ...)
{
        const char *separator = "{";
        va_list pairs;

        va_start(pairs, value);
        while (member != NULL) {
                if (value != NULL) {
                        text_puts(text, separator);
                        text_put_string(text, member);
                        text_puts(text, ":");
                        text_put_string(text, value);
                        separator = ",";
                }
                member = va_arg(pairs, const char *);
                value = member != NULL ? va_arg(pairs, const char *) : NULL;
        }
        va_end(pairs);
        text_puts(text, text->n == 0 ? "{" : "");
        text_put(text, "}", sizeof("}"));
        return text_failed(text) ? out_of_memory() : CTL_DONE;
}

static bool keep_reply(const char *json, void *data)
{
        text_put(data, json, strlen(json) + 1);
        return true;
}

int call_once(struct region_broker *broker, const char *method, const char *parameters, struct text *reply)
{
        if (region_broker_call(broker, method, parameters, false, keep_reply, reply) != REGION_OK)
                return fail();
        return text_failed(reply) ? out_of_memory() : CTL_DONE;
}

/* The room that reads JSON reads whole replies. */
static int parse_parameters(const char *json, struct reply **ret)
{
        owned(text_clear) struct text envelope = { 0 };

        text_puts(&envelope, "{\"parameters\":");
        text_puts(&envelope, json);
        text_puts(&envelope, "}");
        return text_failed(&envelope) ? -ENOMEM : reply_parse(envelope.data, envelope.n, &(struct fdset){ 0 }, ret);
}

int read_reply(const char *json, const char *method, struct arena *arena, struct reply **ret_reply, void *ret)
{
        const char *field;
        int r;

        r = parse_parameters(json, ret_reply);
        if (r == 0)
                r = args_read((*ret_reply)->parameters, method_type_find(method)->result, 0, arena, ret, &field);
        if (r == -ENOMEM)
                return out_of_memory();
        if (r < 0) {
                complain("the broker's answer to %s is not understood", method);
                return CTL_FAILED;
        }
        return CTL_DONE;
}
