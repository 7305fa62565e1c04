#pragma once

/* How the rows of tables.c and errors.c are written: the field as the contract has it, then its kind and the member
 * that holds it:
 *         { "shmKey", OPT_INT(definition, shm_key) }
 * OPT_ is the contract's `?`. A member whose C type is not that of the kind does not compile. A struct X of terms.h has
 * its rows in X_fields and, where other structs hold it, its table in X_type. */

#include "args.h"
#include "util.h"

#define INTERFACE_SERVICE "org.varlink.service."
#define INTERFACE_BROKER "org.regionbroker."

/* clang-format off */

#define OF_TYPE(s, member, c_type) __builtin_types_compatible_p(__typeof__(((struct s *)NULL)->member), c_type)
#define AT(s, member, c_type)                                                                     \
        (offsetof(struct s, member) + 0 * sizeof(struct {                                         \
                _Static_assert(OF_TYPE(s, member, c_type), #s "." #member " is no " #c_type);     \
                int unused;                                                                       \
        }))

#define BOOL(s, member) ARG_BOOL, false, AT(s, member, bool), NULL
#define OPT_BOOL(s, member) ARG_BOOL, true, AT(s, member, struct opt_bool), NULL
#define INT(s, member) ARG_INT, false, AT(s, member, int64_t), NULL
#define OPT_INT(s, member) ARG_INT, true, AT(s, member, struct opt_int), NULL
#define STRING(s, member) ARG_STRING, false, AT(s, member, const char *), NULL
#define OPT_STRING(s, member) ARG_STRING, true, AT(s, member, const char *), NULL
#define ENUM(s, member, e) ARG_ENUM, false, AT(s, member, enum e), &e##_type
#define OPT_ENUM(s, member, e) ARG_ENUM, true, AT(s, member, enum e), &e##_type
#define STRUCT(s, member, x) ARG_STRUCT, false, AT(s, member, const struct x *), &x##_type
#define OPT_STRUCT(s, member, x) ARG_STRUCT, true, AT(s, member, const struct x *), &x##_type
#define STRINGS(s, member) ARG_STRINGS, false, AT(s, member, struct string_array), NULL
#define OPT_STRINGS(s, member) ARG_STRINGS, true, AT(s, member, struct string_array), NULL
#define STRUCTS(s, member, x) ARG_STRUCTS, false, AT(s, member, struct struct_array), &x##_type
#define INT_MAP(s, member) ARG_INT_MAP, false, AT(s, member, struct int_map), NULL

/* The table over the rows X_fields of struct X, under its name in the contract. */
#define TABLE(name, x) { name, sizeof(struct x), x##_fields, array_size(x##_fields) }

/* clang-format on */

extern const struct arg_struct attachment_view_type;
