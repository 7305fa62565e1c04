/* Any JSON object as the parameters or the result of any method, or the fields of any error: the first byte says which,
 * the rest is the object. What is taken has to come back: written, read and written again it is the same text. */

#include "proto/message.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* 'A' is the first method's parameters, 'B' its result, and so on; 'b' is the first error. */
static const struct arg_struct *pick_type(uint8_t byte)
{
        size_t n;

        if (byte >= 'a')
                return &error_types[(byte - 'a') % N_WIRE_ERRORS].fields;
        n = (size_t)(byte - 'A') % (2 * n_method_types);
        return n % 2 == 0 ? method_types[n / 2].args : method_types[n / 2].result;
}

/* A reply with these bytes as its parameters, or NULL. */
static struct reply *parse_object(const void *bytes, size_t n)
{
        struct text text = {};
        struct fdset fds = {};
        struct reply *reply = NULL;

        text_puts(&text, "{\"parameters\":");
        text_put(&text, bytes, n);
        text_puts(&text, "}");
        reply_parse(text.data, text.n, &fds, &reply);
        text_clear(&text);
        return reply;
}

static void check_written(const struct arg_struct *type, const void *value)
{
        struct text first = {}, second = {};
        struct arena arena = {};
        void *read = malloc(type->size + 1);
        struct reply *reply;
        const char *field;

        args_write(&first, type, value);
        reply = parse_object(first.data, first.n);
        assert(reply);
        assert(args_read(reply->parameters, type, ARGS_STRICT, &arena, read, &field) == 0);
        args_write(&second, type, read);
        assert(first.n == second.n && memcmp(first.data, second.data, first.n) == 0);

        reply_free(reply);
        free(read);
        arena_clear(&arena);
        text_clear(&second);
        text_clear(&first);
}

static void check_read(const struct arg_struct *type, const struct json_t *object, enum args_flags flags)
{
        struct arena arena = {};
        void *read = malloc(type->size + 1);
        const char *field = NULL;

        if (args_read(object, type, flags, &arena, read, &field) == 0)
                check_written(type, read);
        else
                assert(field);
        free(read);
        arena_clear(&arena);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        const struct arg_struct *type;
        struct reply *reply;

        if (size == 0)
                return 0;
        type = pick_type(data[0]);
        reply = parse_object(data + 1, size - 1);
        if (type && reply) {
                check_read(type, reply->parameters, ARGS_STRICT);
                check_read(type, reply->parameters, 0);
        }
        reply_free(reply);
        return 0;
}
