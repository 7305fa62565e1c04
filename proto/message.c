/* The envelope around a call and around a reply.
 *
 * A peer's text is counted before jansson sees it, since the tree can be many times its size. What is read here stays
 * inside that tree: `method`, `error` and `parameters` point into it. What is written goes straight into the text. */

#include "message.h"

#include "util.h"

#include <errno.h>
#include <jansson.h>
#include <string.h>

/* Of the string that opens at `i`, its closing quote; `n` or beyond where there is none. */
static size_t string_end(const char *text, size_t n, size_t i)
{
        for (i++; i < n && text[i] != '"'; i++)
                if (text[i] == '\\')
                        i++;
        return i;
}

/* Counts values and nesting. Text that is not JSON may be counted wrongly, but jansson gives up on it no later than the
 * count goes wrong. */
static int check_bounds(const char *text, size_t n)
{
        size_t n_values = 1;
        int depth = 0;

        for (size_t i = 0; i < n; i++) {
                switch (text[i]) {
                case '"':
                        i = string_end(text, n, i);
                        break;
                case '{':
                case '[':
                        n_values++;
                        if (++depth > MESSAGE_DEPTH_MAX)
                                return -EBADMSG;
                        break;
                case '}':
                case ']':
                        if (--depth < 0)
                                return -EBADMSG;
                        break;
                case ',':
                        n_values++;
                        break;
                }
                if (n_values > MESSAGE_VALUES_MAX)
                        return -E2BIG;
        }
        return 0;
}

/* An object or an array. */
static int parse_json(const char *text, size_t n, json_t **ret)
{
        json_error_t error;
        json_t *json;

        json = json_loadb(text, n, JSON_REJECT_DUPLICATES, &error);
        /* jansson finds no words when memory runs out, or mistakes it for a fault of the text */
        if (!json)
                return error.text[0] == '\0' ? -ENOMEM : -EBADMSG;
        *ret = json;
        return 0;
}

static int parse_message(const char *text, size_t n, json_t **ret)
{
        json_t *root;
        int r;

        r = check_bounds(text, n);
        if (r < 0)
                return r;
        r = parse_json(text, n, &root);
        if (r < 0)
                return r;
        if (!json_is_object(root)) {
                json_decref(root);
                return -EBADMSG;
        }
        *ret = root;
        return 0;
}

static int read_string(const json_t *json, const char **ret)
{
        if (!json_is_string(json))
                return -EBADMSG;
        *ret = json_string_value(json);
        return 0;
}

static int read_flag(const json_t *json, bool *ret)
{
        if (!json_is_boolean(json))
                return -EBADMSG;
        *ret = json_is_true(json);
        return 0;
}

static int read_parameters(const json_t *json, const json_t **ret)
{
        if (json_is_null(json))
                return 0;
        if (!json_is_object(json))
                return -EBADMSG;
        *ret = json;
        return 0;
}

/* --- calls ------------------------------------------------------------------------------------------------------- */

static int call_read_member(struct call *call, const char *key, const json_t *value)
{
        if (strcmp(key, "method") == 0)
                return read_string(value, &call->method);
        if (strcmp(key, "parameters") == 0)
                return read_parameters(value, &call->parameters);
        if (strcmp(key, "oneway") == 0)
                return read_flag(value, &call->oneway);
        if (strcmp(key, "more") == 0)
                return read_flag(value, &call->more);
        if (strcmp(key, "upgrade") == 0)
                return read_flag(value, &call->upgrade);
        /* with a dot it is somebody's extension, which is to be ignored */
        return strchr(key, '.') ? 0 : -EBADMSG;
}

static int call_read(struct call *call)
{
        const char *key;
        json_t *value;
        int r;

        json_object_foreach(call->root, key, value) {
                r = call_read_member(call, key, value);
                if (r < 0)
                        return r;
        }
        if (!call->method || call->oneway + call->more + call->upgrade > 1)
                return -EBADMSG;
        return 0;
}

int call_parse(const char *text, size_t n, struct fdset *fds, struct call **ret)
{
        owned(call_freep) struct call *call = NULL;
        int r;

        call = calloc(1, sizeof(*call));
        if (!call)
                return -ENOMEM;
        r = parse_message(text, n, &call->root);
        if (r < 0)
                return r;
        r = call_read(call);
        if (r < 0)
                return r;
        fdset_move(&call->fds, fds);
        *ret = take_ptr(call);
        return 0;
}

struct call *call_free(struct call *call)
{
        if (!call)
                return NULL;
        fdset_clear(&call->fds);
        json_decref(call->root);
        free(call);
        return NULL;
}

/* --- replies ----------------------------------------------------------------------------------------------------- */

static int reply_read(struct reply *reply)
{
        const json_t *error = json_object_get(reply->root, "error");
        const json_t *parameters = json_object_get(reply->root, "parameters");
        const json_t *continues = json_object_get(reply->root, "continues");
        int r = 0;

        if (error)
                r = read_string(error, &reply->error);
        if (r == 0 && parameters)
                r = read_parameters(parameters, &reply->parameters);
        if (r == 0 && continues)
                r = read_flag(continues, &reply->continues);
        if (r == 0 && reply->error && reply->continues)
                r = -EBADMSG; /* an error is the last of its call */
        return r;
}

int reply_parse(const char *text, size_t n, struct fdset *fds, struct reply **ret)
{
        owned(reply_freep) struct reply *reply = NULL;
        int r;

        reply = calloc(1, sizeof(*reply));
        if (!reply)
                return -ENOMEM;
        r = parse_message(text, n, &reply->root);
        if (r < 0)
                return r;
        r = reply_read(reply);
        if (r < 0)
                return r;
        fdset_move(&reply->fds, fds);
        *ret = take_ptr(reply);
        return 0;
}

struct reply *reply_free(struct reply *reply)
{
        if (!reply)
                return NULL;
        fdset_clear(&reply->fds);
        json_decref(reply->root);
        free(reply);
        return NULL;
}

/* --- writing ----------------------------------------------------------------------------------------------------- */

static void write_end(struct text *text)
{
        text_put(text, "}", sizeof("}")); /* and the NUL that ends a message */
}

static void write_method(struct text *text, const char *method, enum call_flags flags)
{
        text_puts(text, "{\"method\":");
        text_put_string(text, method);
        if (flags & CALL_ONEWAY)
                text_puts(text, ",\"oneway\":true");
        if (flags & CALL_MORE)
                text_puts(text, ",\"more\":true");
}

void call_write(struct text *text, const struct method_type *method, enum call_flags flags, const void *args)
{
        write_method(text, method->name, flags);
        if (args) {
                text_puts(text, ",\"parameters\":");
                args_write(text, method->args, args);
        }
        write_end(text);
}

void call_write_raw(struct text *text, const char *method, enum call_flags flags, const char *json_parameters)
{
        write_method(text, method, flags);
        if (json_parameters) {
                text_puts(text, ",\"parameters\":");
                text_puts(text, json_parameters);
        }
        write_end(text);
}

void reply_write(struct text *text, const struct arg_struct *type, const void *result, bool continues)
{
        const char *separator = "";

        text_puts(text, "{");
        if (result) {
                text_puts(text, "\"parameters\":");
                args_write(text, type, result);
                separator = ",";
        }
        if (continues) {
                text_puts(text, separator);
                text_puts(text, "\"continues\":true");
        }
        write_end(text);
}

void error_write(struct text *text, enum wire_error error, const struct error_fields *fields)
{
        const struct error_type *type = &error_types[error];

        text_puts(text, "{\"error\":");
        text_put_string(text, type->name);
        if (fields && type->fields.n > 0) {
                text_puts(text, ",\"parameters\":");
                args_write(text, &type->fields, fields);
        }
        write_end(text);
}

/* --- JSON as text ------------------------------------------------------------------------------------------------ */

static int put_json(const char *bytes, size_t n, void *text)
{
        text_put(text, bytes, n);
        return 0;
}

static int dump_json(const json_t *json, size_t flags, struct text *text)
{
        if (json_dump_callback(json, put_json, text, flags) < 0)
                return -ENOMEM;
        return text_failed(text) ? -ENOMEM : 0;
}

int call_text(const struct call *call, struct text *text)
{
        return dump_json(call->root, JSON_COMPACT, text);
}

int reply_parameters_text(const struct reply *reply, struct text *text)
{
        if (reply->parameters)
                return dump_json(reply->parameters, JSON_COMPACT, text);
        text_puts(text, "{}");
        return text_failed(text) ? -ENOMEM : 0;
}

int json_reformat(const char *json, bool pretty, struct text *text)
{
        json_t *root;
        int r;

        r = parse_json(json, strlen(json), &root);
        if (r < 0)
                return r;
        r = dump_json(root, pretty ? JSON_INDENT(2) : JSON_COMPACT, text);
        json_decref(root);
        return r;
}

#undef json_is_object /* jansson's macro; from here on the name is ours */

bool json_is_object(const char *json)
{
        json_t *root;

        if (parse_message(json, strlen(json), &root) < 0)
                return false;
        json_decref(root);
        return true;
}

int json_write_member(const char *json, const char *name, struct text *text)
{
        const json_t *member;
        json_t *root;
        int r;

        r = parse_message(json, strlen(json), &root);
        if (r < 0)
                return r;
        member = json_object_get(root, name);
        r = member ? dump_json(member, JSON_COMPACT | JSON_ENCODE_ANY, text) : -ENOENT;
        json_decref(root);
        return r;
}
