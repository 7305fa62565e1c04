#pragma once

/* Structs against their JSON: what the tests of the tables and of the walk over them share. */

#include "proto/message.h"

#include <check.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define BROKER "org.regionbroker."
#define SERVICE "org.varlink.service."

static inline const struct arg_struct *json_args_of(const char *method)
{
        const struct method_type *type = method_type_find(method);

        ck_assert_ptr_nonnull(type);
        return type->args;
}

static inline const struct arg_struct *json_result_of(const char *method)
{
        const struct method_type *type = method_type_find(method);

        ck_assert_ptr_nonnull(type);
        return type->result;
}

/* Lets a reply carry the object, since that is how a peer's JSON gets in. */
static inline struct reply *json_parse(const char *object)
{
        struct text text = {};
        struct fdset fds = {};
        struct reply *reply;

        text_puts(&text, "{\"parameters\":");
        text_puts(&text, object);
        text_puts(&text, "}");
        ck_assert_int_eq(reply_parse(text.data, text.n, &fds, &reply), 0);
        text_clear(&text);
        return reply;
}

static inline char *json_write(const struct arg_struct *type, const void *value)
{
        struct text text = {};
        size_t n;

        args_write(&text, type, value);
        text_put(&text, "", 1);
        return text_take(&text, &n);
}

static inline void json_check_written(const struct arg_struct *type, const void *value, const char *json)
{
        char *written = json_write(type, value);

        ck_assert_str_eq(written, json);
        free(written);
}

/* What was written is read, and what was read is written again as it was. */
static inline void json_check_round_trip(const struct arg_struct *type, const void *value, const char *json)
{
        struct reply *reply = json_parse(json);
        struct arena arena = {};
        void *read = malloc(type->size + 1);
        const char *field = "none";

        json_check_written(type, value, json);
        memset(read, 0xff, type->size);
        ck_assert_msg(args_read(reply->parameters, type, ARGS_STRICT, &arena, read, &field) == 0, "%s: %s", type->name,
                      field);
        json_check_written(type, read, json);
        free(read);
        arena_clear(&arena);
        reply_free(reply);
}

static inline void json_check_refused(const struct arg_struct *type, enum args_flags flags, const char *json,
                                      const char *wanted)
{
        struct reply *reply = json_parse(json);
        struct arena arena = {};
        void *read = malloc(type->size + 1);
        const char *field = "none";

        ck_assert_msg(args_read(reply->parameters, type, flags, &arena, read, &field) == -EINVAL, "%s: %s is taken",
                      type->name, json);
        ck_assert_msg(strcmp(field, wanted) == 0, "%s: %s names %s", type->name, json, field);
        free(read);
        arena_clear(&arena);
        reply_free(reply);
}
