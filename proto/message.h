#pragma once

/* Text <-> call or reply: the only file that knows the keys of the envelope. */

#include "args.h"
#include "errors.h"
#include "fdset.h"

/* The largest call that is taken, and how many JSON values may be in one: jansson takes up to 78 times the text
 * in memory. */
#define MESSAGE_MAX (256 * 1024)
/* A client takes longer replies: an environment with all that is attached to it, every name as long as may be. */
#define REPLY_MAX (4 * 1024 * 1024)
#define MESSAGE_VALUES_MAX 32768
/* The contract nests 5 deep, the envelope included. */
#define MESSAGE_DEPTH_MAX 64

struct call {
        struct json_t *root; /* owns all below */
        const char *method;
        const struct json_t *parameters; /* NULL where there are none */
        bool oneway;
        bool more;
        bool upgrade;
        bool refused_fds; /* descriptors came with it, and were closed; set by whoever read it */
        struct fdset fds;
};

struct reply {
        struct json_t *root;
        const char *error; /* NULL: success */
        const struct json_t *parameters;
        bool continues;
        struct fdset fds;
};

/* Reads the envelope, and moves `fds` into the result; on failure they stay where they are. -EBADMSG: not a call (a
 * reply), or nested deeper than MESSAGE_DEPTH_MAX: the connection has to be closed; -E2BIG: more values than
 * MESSAGE_VALUES_MAX, likewise; -ENOMEM, for which -EBADMSG may be told too. */
int call_parse(const char *text, size_t n, struct fdset *fds, struct call **ret);
struct call *call_free(struct call *call);
/* Appends the call as text, for call_parse(), without a NUL: -ENOMEM. */
int call_text(const struct call *call, struct text *text);
int reply_parse(const char *text, size_t n, struct fdset *fds, struct reply **ret);
struct reply *reply_free(struct reply *reply);

enum call_flags { CALL_ONEWAY = 1, CALL_MORE = 2 };

/* Each appends one whole message, its NUL included. `args`, `result` may be NULL where there is nothing to say. */
void call_write(struct text *text, const struct method_type *method, enum call_flags flags, const void *args);
void reply_write(struct text *text, const struct arg_struct *type, const void *result, bool continues);
void error_write(struct text *text, enum wire_error error, const struct error_fields *fields);
/* For a caller that has its parameters as JSON already: an object, or NULL. */
void call_write_raw(struct text *text, const char *method, enum call_flags flags, const char *json_parameters);

/* JSON as text, for tools and for programs that speak the contract themselves. */

/* Appends the parameters in compact form, `{}` where there are none. -ENOMEM. */
int reply_parameters_text(const struct reply *reply, struct text *text);
/* Appends an object or array again, indented by 2 or in compact form. -EBADMSG: it is neither; -ENOMEM. */
int json_reformat(const char *json, bool pretty, struct text *text);
bool json_is_object(const char *json);
/* Appends one member of an object in compact form. -ENOENT: it has none of that name; -EBADMSG: no object; -ENOMEM. */
int json_write_member(const char *json, const char *name, struct text *text);

/* The contract as text, whole and with its comments; NULL for an interface that is not ours. */
const char *contract_description(const char *interface);
/* The interfaces, org.varlink.service first; NULL ends them. */
extern const char *const contract_interfaces[];

static inline void call_freep(struct call **call)
{
        call_free(*call);
}

static inline void reply_freep(struct reply **reply)
{
        reply_free(*reply);
}
