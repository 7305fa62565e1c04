/* The walk over a table: once to read a JSON object into the struct it describes, once to write the struct as JSON.
 *
 * Absent is zero in C. Where zero is a value too (bool, int) or means empty (the arrays), the nullable form says
 * `given` in its first member; is_given() and the readers below are all that know of this. */

#include "args.h"

#include "util.h"

#include <errno.h>
#include <jansson.h>
#include <string.h>

_Static_assert(offsetof(struct opt_bool, given) == 0, "is_given() looks there");
_Static_assert(offsetof(struct opt_int, given) == 0, "is_given() looks there");
_Static_assert(offsetof(struct string_array, given) == 0, "is_given() looks there");
_Static_assert(offsetof(struct struct_array, given) == 0, "is_given() looks there");
_Static_assert(offsetof(struct int_map, given) == 0, "is_given() looks there");
_Static_assert(sizeof(enum state) == sizeof(int), "enums are read and written as int");

const struct method_type *method_type_find(const char *name)
{
        for (size_t i = 0; i < n_method_types; i++)
                if (strcmp(method_types[i].name, name) == 0)
                        return &method_types[i];
        return NULL;
}

int arg_enum_find(const struct arg_enum *type, const char *word)
{
        for (int i = 0; i < type->n; i++)
                if (strcmp(type->words[i], word) == 0)
                        return i + 1;
        return 0;
}

const char *arg_enum_word(const struct arg_enum *type, int value)
{
        return value > 0 && value <= type->n ? type->words[value - 1] : "?";
}

const char *backing_word(enum backing backing)
{
        return arg_enum_word(&backing_type, (int)backing);
}

const char *access_word(enum access access)
{
        return arg_enum_word(&access_type, (int)access);
}

const char *lifetime_word(enum lifetime lifetime)
{
        return arg_enum_word(&lifetime_type, (int)lifetime);
}

const char *state_word(enum state state)
{
        return arg_enum_word(&state_type, (int)state);
}

const char *role_word(enum role role)
{
        return arg_enum_word(&role_type, (int)role);
}

const char *standing_word(enum standing standing)
{
        return arg_enum_word(&standing_type, (int)standing);
}

const char *event_kind_word(enum event_kind kind)
{
        return arg_enum_word(&event_kind_type, (int)kind);
}

/* --- reading ----------------------------------------------------------------------------------------------------- */

/* What all readers of one object share. */
struct reader {
        enum args_flags flags;
        struct arena *arena;
};

static int read_fields(const struct reader *reader, const json_t *object, const struct arg_struct *type, void *ret,
                       const char **ret_field);

static int read_bool(const struct arg *arg, const json_t *json, void *at)
{
        if (!json_is_boolean(json))
                return -EINVAL;
        if (arg->nullable)
                *(struct opt_bool *)at = (struct opt_bool){ true, json_is_true(json) };
        else
                *(bool *)at = json_is_true(json);
        return 0;
}

static int read_int(const struct arg *arg, const json_t *json, void *at)
{
        if (!json_is_integer(json))
                return -EINVAL;
        if (arg->nullable)
                *(struct opt_int *)at = (struct opt_int){ true, json_integer_value(json) };
        else
                *(int64_t *)at = json_integer_value(json);
        return 0;
}

static int read_string(const json_t *json, const char **ret)
{
        if (!json_is_string(json))
                return -EINVAL;
        *ret = json_string_value(json);
        return 0;
}

static int read_enum(const struct arg_enum *type, const json_t *json, int *ret)
{
        if (!json_is_string(json))
                return -EINVAL;
        *ret = arg_enum_find(type, json_string_value(json));
        return *ret == 0 ? -EINVAL : 0;
}

static int read_object(const struct reader *reader, const json_t *json, const struct arg_struct *type, void *at)
{
        const char *inner_field; /* not told: it is the outermost one that counts */

        if (!json_is_object(json))
                return -EINVAL;
        return read_fields(reader, json, type, at, &inner_field);
}

static int read_struct(const struct reader *reader, const json_t *json, const struct arg_struct *type, void *at)
{
        void *object;
        int r;

        object = arena_alloc(reader->arena, 1, type->size);
        if (!object)
                return -ENOMEM;
        r = read_object(reader, json, type, object);
        if (r < 0)
                return r;
        /* `at` is a pointer to a struct whose type is not known here. */
        memcpy(at, &object, sizeof(object));
        return 0;
}

static int read_strings(const struct reader *reader, const json_t *json, struct string_array *ret)
{
        int r;

        if (!json_is_array(json))
                return -EINVAL;
        ret->items = arena_alloc(reader->arena, json_array_size(json), sizeof(*ret->items));
        if (!ret->items)
                return -ENOMEM;
        for (; ret->n < json_array_size(json); ret->n++) {
                r = read_string(json_array_get(json, ret->n), &ret->items[ret->n]);
                if (r < 0)
                        return r;
        }
        ret->given = true;
        return 0;
}

static int read_structs(const struct reader *reader, const json_t *json, const struct arg_struct *type,
                        struct struct_array *ret)
{
        int r;

        if (!json_is_array(json))
                return -EINVAL;
        ret->items = arena_alloc(reader->arena, json_array_size(json), type->size);
        if (!ret->items)
                return -ENOMEM;
        for (; ret->n < json_array_size(json); ret->n++) {
                r = read_object(reader, json_array_get(json, ret->n), type, (char *)ret->items + ret->n * type->size);
                if (r < 0)
                        return r;
        }
        ret->given = true;
        return 0;
}

static int read_int_map(const struct reader *reader, json_t *json, struct int_map *ret)
{
        const char *name;
        json_t *value;

        if (!json_is_object(json))
                return -EINVAL;
        ret->items = arena_alloc(reader->arena, json_object_size(json), sizeof(*ret->items));
        if (!ret->items)
                return -ENOMEM;
        json_object_foreach(json, name, value) {
                if (!json_is_integer(value))
                        return -EINVAL;
                ret->items[ret->n++] = (struct named_int){ name, json_integer_value(value) };
        }
        ret->given = true;
        return 0;
}

static int read_value(const struct reader *reader, const struct arg *arg, json_t *json, void *at)
{
        switch (arg->kind) {
        case ARG_BOOL:
                return read_bool(arg, json, at);
        case ARG_INT:
                return read_int(arg, json, at);
        case ARG_STRING:
                return read_string(json, at);
        case ARG_ENUM:
                return read_enum(arg->detail, json, at);
        case ARG_STRUCT:
                return read_struct(reader, json, arg->detail, at);
        case ARG_STRINGS:
                return read_strings(reader, json, at);
        case ARG_STRUCTS:
                return read_structs(reader, json, arg->detail, at);
        case ARG_INT_MAP:
                return read_int_map(reader, json, at);
        }
        abort();
}

static bool type_has(const struct arg_struct *type, const char *name)
{
        for (size_t i = 0; i < type->n; i++)
                if (strcmp(type->args[i].name, name) == 0)
                        return true;
        return false;
}

static const char *find_unknown(const json_t *object, const struct arg_struct *type)
{
        const char *name;
        json_t *value;

        /* jansson has no iterator for a const object */
        json_object_foreach((json_t *)object, name, value)
                if (!type_has(type, name))
                        return name;
        return NULL;
}

static int read_fields(const struct reader *reader, const json_t *object, const struct arg_struct *type, void *ret,
                       const char **ret_field)
{
        size_t n_known = 0;

        for (size_t i = 0; i < type->n; i++) {
                const struct arg *arg = &type->args[i];
                json_t *value = json_object_get(object, arg->name);
                int r = 0;

                if (value)
                        n_known++;
                if (value && !json_is_null(value))
                        r = read_value(reader, arg, value, (char *)ret + arg->offset);
                else if (!arg->nullable)
                        r = -EINVAL;
                if (r < 0) {
                        *ret_field = arg->name;
                        return r;
                }
        }

        if ((reader->flags & ARGS_STRICT) && n_known < json_object_size(object)) {
                *ret_field = find_unknown(object, type);
                return -EINVAL;
        }
        return 0;
}

int args_read(const struct json_t *object, const struct arg_struct *type, enum args_flags flags, struct arena *arena,
              void *ret, const char **ret_field)
{
        const struct reader reader = { flags, arena };

        if (type->size > 0)
                memset(ret, 0, type->size);
        return read_fields(&reader, object, type, ret, ret_field);
}

/* --- writing ----------------------------------------------------------------------------------------------------- */

static const void *load_pointer(const void *at)
{
        const void *pointer;

        memcpy(&pointer, at, sizeof(pointer));
        return pointer;
}

static bool load_bool(const struct arg *arg, const void *at)
{
        return arg->nullable ? ((const struct opt_bool *)at)->value : *(const bool *)at;
}

static int64_t load_int(const struct arg *arg, const void *at)
{
        return arg->nullable ? ((const struct opt_int *)at)->value : *(const int64_t *)at;
}

static bool is_given(const struct arg *arg, const void *at)
{
        switch (arg->kind) {
        case ARG_STRING:
        case ARG_STRUCT:
                return load_pointer(at);
        case ARG_ENUM:
                return *(const int *)at != 0;
        case ARG_BOOL:
        case ARG_INT:
        case ARG_STRINGS:
        case ARG_STRUCTS:
        case ARG_INT_MAP:
                return !arg->nullable || *(const bool *)at;
        }
        abort();
}

static void write_strings(struct text *text, const struct string_array *array)
{
        for (size_t i = 0; i < array->n; i++) {
                text_puts(text, i == 0 ? "[" : ",");
                text_put_string(text, array->items[i]);
        }
        text_puts(text, array->n == 0 ? "[]" : "]");
}

static void write_structs(struct text *text, const struct arg_struct *type, const struct struct_array *array)
{
        for (size_t i = 0; i < array->n; i++) {
                text_puts(text, i == 0 ? "[" : ",");
                args_write(text, type, (const char *)array->items + i * type->size);
        }
        text_puts(text, array->n == 0 ? "[]" : "]");
}

static void write_int_map(struct text *text, const struct int_map *map)
{
        for (size_t i = 0; i < map->n; i++) {
                text_puts(text, i == 0 ? "{" : ",");
                text_put_string(text, map->items[i].name);
                text_puts(text, ":");
                text_put_int(text, map->items[i].value);
        }
        text_puts(text, map->n == 0 ? "{}" : "}");
}

static void write_value(struct text *text, const struct arg *arg, const void *at)
{
        switch (arg->kind) {
        case ARG_BOOL:
                text_puts(text, load_bool(arg, at) ? "true" : "false");
                return;
        case ARG_INT:
                text_put_int(text, load_int(arg, at));
                return;
        case ARG_STRING:
                text_put_string(text, load_pointer(at));
                return;
        case ARG_ENUM:
                text_put_word(text, arg_enum_word(arg->detail, *(const int *)at));
                return;
        case ARG_STRUCT:
                args_write(text, arg->detail, load_pointer(at));
                return;
        case ARG_STRINGS:
                write_strings(text, at);
                return;
        case ARG_STRUCTS:
                write_structs(text, arg->detail, at);
                return;
        case ARG_INT_MAP:
                write_int_map(text, at);
                return;
        }
        abort();
}

void args_write(struct text *text, const struct arg_struct *type, const void *value)
{
        char separator = '{';

        for (size_t i = 0; i < type->n; i++) {
                const struct arg *arg = &type->args[i];
                const void *at = (const char *)value + arg->offset;

                if (!is_given(arg, at))
                        continue;
                text_put_name(text, separator, arg->name);
                write_value(text, arg, at);
                separator = ',';
        }
        text_puts(text, separator == '{' ? "{}" : "}");
}
