#pragma once

/* Parameters <-> C structs. Every struct of terms.h that travels has one table saying which field of the contract lies
 * where; reading and writing JSON are each one walk over such a table. tests/contract.py compares all tables with
 * org.regionbroker.varlink. */

#include "arena.h"
#include "terms.h"
#include "text.h"

#include <stdbool.h>
#include <stddef.h>

struct json_t;

/* How a field looks in JSON, and in C: */
enum arg_kind {
        ARG_BOOL,    /* bool; nullable: struct opt_bool */
        ARG_INT,     /* int64_t; nullable: struct opt_int */
        ARG_STRING,  /* const char * */
        ARG_ENUM,    /* an enum counted from 1; detail: const struct arg_enum * */
        ARG_STRUCT,  /* const struct X *; detail: const struct arg_struct * */
        ARG_STRINGS, /* struct string_array */
        ARG_STRUCTS, /* struct struct_array; detail: const struct arg_struct * */
        ARG_INT_MAP, /* struct int_map */
};

struct arg {
        const char *name;
        enum arg_kind kind;
        bool nullable;
        size_t offset;
        const void *detail;
};

struct arg_enum {
        const char *name;         /* of the type in the contract */
        const char *const *words; /* in the order of the C enum, whose first value is 1 */
        int n;
};

struct arg_struct {
        const char *name; /* of the type or error in the contract; of a method's side: "Open", "Open reply" */
        size_t size;
        const struct arg *args;
        size_t n;
};

/* One row per method of the contract, in its order, those of org.varlink.service first. A side without fields has a
 * table of none; both sides are NULL where the contract has a method that is not implemented yet. */
struct method_type {
        const char *name; /* fully qualified */
        const struct arg_struct *args;
        const struct arg_struct *result;
        bool requires_more;
};

extern const struct method_type method_types[];
extern const size_t n_method_types;

/* NULL where the contract has no such method. */
const struct method_type *method_type_find(const char *name);

/* The word of an enum's value, for people and for JSON; "?" where there is none. */
const char *backing_word(enum backing backing);
const char *access_word(enum access access);
const char *lifetime_word(enum lifetime lifetime);
const char *state_word(enum state state);
const char *role_word(enum role role);
const char *standing_word(enum standing standing);
const char *event_kind_word(enum event_kind kind);
const char *arg_enum_word(const struct arg_enum *type, int value);
/* The value of a word; 0 where there is none. */
int arg_enum_find(const struct arg_enum *type, const char *word);
extern const struct arg_enum backing_type, access_type, create_type, lifetime_type, state_type, role_type,
        standing_type, event_kind_type;

enum args_flags {
        ARGS_STRICT = 1, /* a field that is not in the table is an error: what a service does with parameters */
};

/* Fills `ret` (zeroed by this call) from a JSON object; NULL stands for an empty one. Strings point into the object,
 * arrays and structs into the arena: both have to outlive `ret`.
 * Errors: -EINVAL a field is missing, of the wrong type, not a word of its enum, or unknown: *ret_field names the
 * top-level field; it may point into the object. -ENOMEM. */
int args_read(const struct json_t *object, const struct arg_struct *type, enum args_flags flags, struct arena *arena,
              void *ret, const char **ret_field);

/* Appends the struct as a JSON object, leaving out what is absent; an array or map is absent only where it is nullable.
 * `value` may be NULL for a table without fields. */
void args_write(struct text *text, const struct arg_struct *type, const void *value);
