#include "client/arguments.h"

#include "client/failure.h"

/* The length of the UTF-8 sequence that a byte begins, 0 where none begins with it; and what its second byte may be:
 * the limits leave out overlong forms, surrogates and what lies above U+10FFFF. */
static size_t sequence(unsigned char first, unsigned char *ret_low, unsigned char *ret_high)
{
        *ret_low = first == 0xe0 ? 0xa0 : first == 0xf0 ? 0x90 : 0x80;
        *ret_high = first == 0xed ? 0x9f : first == 0xf4 ? 0x8f : 0xbf;
        if (first < 0x80)
                return 1;
        return first < 0xc2 || first > 0xf4 ? 0 : first < 0xe0 ? 2 : first < 0xf0 ? 3 : 4;
}

bool arguments_is_utf8(const char *string)
{
        const unsigned char *s = (const unsigned char *)string;
        unsigned char low, high;

        while (*s) {
                size_t n = sequence(*s++, &low, &high);

                if (n == 0)
                        return false;
                for (; n > 1; n--, s++, low = 0x80, high = 0xbf)
                        if (*s < low || *s > high)
                                return false;
        }
        return true;
}

static enum region_result check_string(const char *string, bool nullable, const struct arg_struct *type,
                                       const struct arg *arg)
{
        if (!string && !nullable)
                return failure_note(REGION_E_INVALID, "%s: '%s' is missing", type->name, arg->name);
        if (string && !arguments_is_utf8(string))
                return failure_note(REGION_E_INVALID, "%s: '%s' is not UTF-8", type->name, arg->name);
        return REGION_OK;
}

static enum region_result check_strings(const struct string_array *strings, const struct arg_struct *type,
                                        const struct arg *arg)
{
        enum region_result r = REGION_OK;

        for (size_t i = 0; i < strings->n && r == REGION_OK; i++)
                r = check_string(strings->items[i], false, type, arg);
        return r;
}

static enum region_result check_structs(const struct struct_array *structs, const struct arg_struct *type)
{
        enum region_result r = REGION_OK;

        for (size_t i = 0; i < structs->n && r == REGION_OK; i++)
                r = arguments_check(type, (const char *)structs->items + i * type->size);
        return r;
}

static enum region_result check_enum(int value, const struct arg_struct *type, const struct arg *arg)
{
        const struct arg_enum *words = arg->detail;

        if (value >= (arg->nullable ? 0 : 1) && value <= words->n)
                return REGION_OK;
        return failure_note(REGION_E_INVALID, "%s: '%s' cannot be %d", type->name, arg->name, value);
}

static enum region_result check_arg(const struct arg_struct *type, const struct arg *arg, const void *member)
{
        const void *value;

        switch (arg->kind) {
        case ARG_STRING:
                return check_string(*(const char *const *)member, arg->nullable, type, arg);
        case ARG_ENUM:
                return check_enum(*(const int *)member, type, arg);
        case ARG_STRUCT:
                value = *(const void *const *)member;
                return value ? arguments_check(arg->detail, value) : REGION_OK;
        case ARG_STRINGS:
                return check_strings(member, type, arg);
        case ARG_STRUCTS:
                return check_structs(member, arg->detail);
        default:
                return REGION_OK; /* every number can be said */
        }
}

enum region_result arguments_check(const struct arg_struct *type, const void *value)
{
        enum region_result r = REGION_OK;

        for (size_t i = 0; i < type->n && r == REGION_OK; i++)
                r = check_arg(type, &type->args[i], (const char *)value + type->args[i].offset);
        return r;
}
