/* Prints what the tables of proto/ say, one fact a line, for contract.py to compare with the .varlink files:
 *
 *         method org.regionbroker.Ready [more] [unimplemented]
 *         method org.regionbroker.Ready in environment: string
 *         error org.regionbroker.NotReady
 *         error org.regionbroker.NotReady pid: ?int
 *         type RegionSpec name: string
 *         type Backing 1 file
 */

#include "proto/errors.h"
#include "proto/util.h"

#include <assert.h>
#include <stdio.h>

#define TYPES_MAX 64

/* The types met in fields, each once. */
static const struct arg_struct *structs[TYPES_MAX];
static const struct arg_enum *enums[TYPES_MAX];
static size_t n_structs, n_enums;

static void note_struct(const struct arg_struct *type)
{
        for (size_t i = 0; i < n_structs; i++)
                if (structs[i] == type)
                        return;
        assert(n_structs < TYPES_MAX);
        structs[n_structs++] = type;
}

static void note_enum(const struct arg_enum *type)
{
        for (size_t i = 0; i < n_enums; i++)
                if (enums[i] == type)
                        return;
        assert(n_enums < TYPES_MAX);
        enums[n_enums++] = type;
}

static const char *struct_name(const struct arg *arg)
{
        const struct arg_struct *type = arg->detail;

        note_struct(type);
        return type->name;
}

static const char *enum_name(const struct arg *arg)
{
        const struct arg_enum *type = arg->detail;

        note_enum(type);
        return type->name;
}

static void print_type(const struct arg *arg)
{
        printf("%s", arg->nullable ? "?" : "");
        switch (arg->kind) {
        case ARG_BOOL:
                printf("bool\n");
                return;
        case ARG_INT:
                printf("int\n");
                return;
        case ARG_STRING:
                printf("string\n");
                return;
        case ARG_ENUM:
                printf("%s\n", enum_name(arg));
                return;
        case ARG_STRUCT:
                printf("%s\n", struct_name(arg));
                return;
        case ARG_STRINGS:
                printf("[]string\n");
                return;
        case ARG_STRUCTS:
                printf("[]%s\n", struct_name(arg));
                return;
        case ARG_INT_MAP:
                printf("[string]int\n");
                return;
        }
}

static void print_fields(const char *what, const char *name, const char *side, const struct arg_struct *type)
{
        for (size_t i = 0; i < type->n; i++) {
                printf("%s %s %s%s: ", what, name, side, type->args[i].name);
                print_type(&type->args[i]);
        }
}

static void print_methods(void)
{
        for (size_t i = 0; i < n_method_types; i++) {
                const struct method_type *method = &method_types[i];

                assert(!method->args == !method->result);
                printf("method %s%s%s\n", method->name, method->requires_more ? " more" : "",
                       method->args ? "" : " unimplemented");
                if (!method->args)
                        continue;
                print_fields("method", method->name, "in ", method->args);
                print_fields("method", method->name, "out ", method->result);
        }
}

static void print_errors(void)
{
        for (int i = 1; i < N_WIRE_ERRORS; i++) {
                printf("error %s\n", error_types[i].name);
                print_fields("error", error_types[i].name, "", &error_types[i].fields);
        }
}

/* Goes on while types are found inside of types. */
static void print_types(void)
{
        for (size_t i = 0; i < n_structs; i++)
                print_fields("type", structs[i]->name, "", structs[i]);
        for (size_t i = 0; i < n_enums; i++)
                for (int value = 1; value <= enums[i]->n; value++)
                        printf("type %s %d %s\n", enums[i]->name, value, arg_enum_word(enums[i], value));
}

int main(void)
{
        print_methods();
        print_errors();
        print_types();
        return 0;
}
