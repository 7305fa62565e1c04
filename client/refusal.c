/* What the broker says no with, as our code and one sentence. The sentences are written in the table below as people
 * read them: {field} is that field of the error, and what stands in [ ] is left out where a field inside is absent.
 * {askedEnvironment} and {askedRegion} are what the call named, for errors that do not say it. */

#include "client/failure.h"

#include "proto/errors.h"
#include "proto/message.h"
#include "proto/util.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

struct sentence {
        enum region_result code;
        const char *text;
};

/* clang-format off */
static const struct sentence sentences[N_WIRE_ERRORS] = {
        [ERROR_INTERFACE_NOT_FOUND] = { REGION_E_UNSUPPORTED,
                "what answers at the socket does not know the interface {interface}; is it the region broker?" },
        [ERROR_METHOD_NOT_FOUND] = { REGION_E_UNSUPPORTED,
                "this broker does not know {method}; it needs a newer version" },
        [ERROR_METHOD_NOT_IMPLEMENTED] = { REGION_E_UNSUPPORTED,
                "this broker cannot do {method} yet; it needs a newer version" },
        [ERROR_INVALID_PARAMETER] = { REGION_E_INVALID,
                "the broker does not accept what was given as '{parameter}'" },
        [ERROR_PERMISSION_DENIED] = { REGION_E_DENIED,
                "owner, group and mode[ of environment '{askedEnvironment}'] do not allow this; ask its owner" },
        [ERROR_EXPECTED_MORE] = { REGION_E_INVALID,
                "this method answers with several replies only; call it with `more`" },
        [ERROR_EXPECTED_UPGRADE] = { REGION_E_UNSUPPORTED,
                "this method leaves the protocol, which the library does not do" },
        [ERROR_ENVIRONMENT_NOT_FOUND] = { REGION_E_NOT_FOUND,
                "there is no environment '{environment}'; create it, or see `regionctl list` for those that exist" },
        [ERROR_ENVIRONMENT_EXISTS] = { REGION_E_EXISTS,
                "environment '{environment}' exists already; join it, or remove it first" },
        [ERROR_REGION_NOT_FOUND] = { REGION_E_NO_REGION,
                "environment '{environment}' has no region '{region}'; add it, or ask for one that it has" },
        [ERROR_REGION_EXISTS] = { REGION_E_REGION_EXISTS,
                "environment '{environment}' has a region '{region}' already; attach it, or take another name" },
        [ERROR_NOT_READY] = { REGION_E_NOT_READY,
                "environment '{environment}' is still {state}[ in process {pid}]; wait longer, or try again later" },
        [ERROR_RECOVERY_REQUIRED] = { REGION_E_RECOVERY,
                "environment '{environment}' needs recovery, for {command} (pid {pid}) died in it;"
                " open it for writing to repair it" },
        [ERROR_NOT_YOUR_ROLE] = { REGION_E_ROLE,
                "only the initializer or recoverer of environment '{environment}' may do this;"
                " this process is a {role} of it" },
        [ERROR_NOT_ATTACHED] = { REGION_E_NOT_ATTACHED,
                "this session has not attached[ region '{region}' of] environment '{environment}'; open it first" },
        [ERROR_BUSY] = { REGION_E_BUSY,
                "[region '{askedRegion}' of ]environment '{environment}' is held by {attachments};"
                " detach it there, or remove it with force" },
        [ERROR_SCHEMA_MISMATCH] = { REGION_E_SCHEMA,
                "environment '{environment}' has the layout '{found}' of {creatorCommand}, not '{wanted}';"
                " use the program that fits, or remove the environment" },
        [ERROR_KEY_IN_USE] = { REGION_E_KEY_IN_USE,
                "System V key {shmKey} is taken by segment {shmId} of uid {uid}, process {pid};"
                " ask for another key, or for 0 and the broker picks one" },
        [ERROR_QUOTA_EXCEEDED] = { REGION_E_QUOTA,
                "the broker's limit {limit} is {maximum}; {used} are in use and {wanted} more were wanted;"
                " give some back, or have the limit raised" },
        [ERROR_RESOURCE_FAILURE] = { REGION_E_RESOURCE,
                "the machine refused the broker {operation} ({errnoName}): {message}" },
        [ERROR_WRONG_NAMESPACE] = { REGION_E_NAMESPACE,
                "environment '{environment}' has System V memory of another IPC namespace;"
                " run in that namespace, or use another backing" },
        [ERROR_NAME_NOT_ALLOWED] = { REGION_E_NAME,
                "the name '{name}' is not allowed: {reason}" },
};

/* NotReady, with a state that says that it would be otherwise. */
static const struct sentence missing = { REGION_E_NOT_READY,
                "memory of environment '{environment}' is missing since the broker was started again, until one of its"
                " members that has it calls; wait longer, or try again later" };
/* clang-format on */

struct line {
        char text[512];
        size_t n;
};

/* What does not fit is cut off. */
__attribute__((format(printf, 2, 3))) static void line_add(struct line *line, const char *format, ...)
{
        va_list arguments;
        int n;

        va_start(arguments, format);
        n = vsnprintf(line->text + line->n, sizeof(line->text) - line->n, format, arguments);
        va_end(arguments);
        if (n > 0)
                line->n = (size_t)n < sizeof(line->text) - line->n ? line->n + (size_t)n : sizeof(line->text) - 1;
}

static void line_cut(struct line *line, size_t n)
{
        line->n = n;
        line->text[n] = '\0';
}

static const struct attachment_view *first_attachment(const struct error_fields *fields)
{
        return fields->attachments.n > 0 ? fields->attachments.items : NULL;
}

static void line_add_holders(struct line *line, const struct error_fields *fields)
{
        const struct attachment_view *first = first_attachment(fields);

        if (!first) {
                line_add(line, "another process");
                return;
        }
        line_add(line, "%s (pid %" PRIi64 ")", first->command, first->pid);
        if (fields->attachments.n > 1)
                line_add(line, " and %zu more", fields->attachments.n - 1);
}

static void line_add_string(struct line *line, const char *string)
{
        line_add(line, "%s", string ? string : "?");
}

/* False where the field is absent; a '?' stands for it then. */
static bool line_add_arg(struct line *line, const struct arg *arg, const struct error_fields *fields)
{
        const void *member = (const char *)fields + arg->offset;
        const char *string;

        switch (arg->kind) {
        case ARG_STRING:
                string = *(const char *const *)member;
                line_add_string(line, string);
                return string != NULL;
        case ARG_ENUM:
                string = arg->detail == &state_type ? state_word(*(const enum state *)member)
                                                    : role_word(*(const enum role *)member);
                line_add_string(line, string);
                return true;
        case ARG_INT:
                line_add(line, "%" PRIi64,
                         arg->nullable ? ((const struct opt_int *)member)->value : *(const int64_t *)member);
                return !arg->nullable || ((const struct opt_int *)member)->given;
        case ARG_STRUCTS:
                line_add_holders(line, fields);
                return true;
        default:
                line_add_string(line, NULL);
                return false;
        }
}

static bool is_name(const char *string, const char *name, size_t n)
{
        return strlen(string) == n && memcmp(string, name, n) == 0;
}

static bool line_add_field(struct line *line, const char *name, size_t n, const struct arg_struct *type,
                           const struct error_fields *fields, const struct asked *asked)
{
        const char *string = is_name("askedRegion", name, n) ? asked->region : asked->environment;

        for (size_t i = 0; i < type->n; i++)
                if (is_name(type->args[i].name, name, n))
                        return line_add_arg(line, &type->args[i], fields);
        line_add_string(line, string);
        return string != NULL;
}

static void line_add_sentence(struct line *line, const char *text, const struct arg_struct *type,
                              const struct error_fields *fields, const struct asked *asked)
{
        size_t group = 0, n;
        bool complete = true;

        for (; *text; text++) {
                switch (*text) {
                case '[':
                        group = line->n;
                        complete = true;
                        break;
                case ']':
                        if (!complete)
                                line_cut(line, group);
                        break;
                case '{':
                        n = strcspn(++text, "}");
                        complete &= line_add_field(line, text, n, type, fields, asked);
                        text += n;
                        break;
                default:
                        line_add(line, "%c", *text);
                }
        }
}

/* The number of an errno by its name; 0 where this machine has none of that name. */
static int errno_find(const char *name)
{
        enum { ERRNO_MAX = 133 };

        for (int errnum = 1; name && errnum <= ERRNO_MAX; errnum++) {
                const char *candidate = strerrorname_np(errnum);

                if (candidate && strcmp(candidate, name) == 0)
                        return errnum;
        }
        return 0;
}

static void add_facts(const struct error_fields *fields)
{
        const struct attachment_view *holder = first_attachment(fields);
        int64_t pid = holder ? holder->pid : fields->maybe_pid.given ? fields->maybe_pid.value : fields->pid;

        failure_add_facts(pid, holder ? holder->command : fields->command, fields->operation,
                          errno_find(fields->errno_name));
}

enum region_result failure_note_refusal(const struct reply *reply, const struct asked *asked)
{
        owned(arena_clear) struct arena arena = {};
        enum wire_error error = error_find(reply->error);
        const struct arg_struct *type = &error_types[error].fields;
        const struct sentence *sentence = &sentences[error];
        struct error_fields fields;
        struct line line = {};
        const char *unused;

        if (error == 0)
                return failure_note(REGION_E_PROTOCOL,
                                    "the broker answered the error '%s', which this library does not know; update it",
                                    reply->error);
        /* the error counts, also where its facts cannot be read */
        if (args_read(reply->parameters, type, 0, &arena, &fields, &unused) != 0)
                memset(&fields, 0, sizeof(fields));
        if (error == ERROR_NOT_READY && fields.state == STATE_READY)
                sentence = &missing;
        line_add_sentence(&line, sentence->text, type, &fields, asked);
        failure_note(sentence->code, "%s", line.text);
        add_facts(&fields);
        return sentence->code;
}
