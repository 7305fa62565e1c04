#pragma once

#include "proto/terms.h"

struct environment;

/* Every well-formed "no" the service can say. A function that refuses returns one of these (they are positive; errno
 * values are negative) and fills in the facts. */
enum refusal_code {
        REFUSED_WAIT = 1, /* not an answer: the call has been parked and is tried again when it may succeed */
        REFUSED_INVALID_PARAMETER,
        REFUSED_PERMISSION,
        REFUSED_NO_ENVIRONMENT,
        REFUSED_ENVIRONMENT_EXISTS,
        REFUSED_NO_REGION,
        REFUSED_REGION_EXISTS,
        REFUSED_NOT_READY,
        REFUSED_RECOVERY,
        REFUSED_NOT_YOUR_ROLE,
        REFUSED_NOT_ATTACHED,
        REFUSED_BUSY,
        REFUSED_SCHEMA,
        REFUSED_KEY_IN_USE,
        REFUSED_QUOTA,
        REFUSED_RESOURCE,
        REFUSED_NAMESPACE,
        REFUSED_NAME,
};

/* The facts of one refusal; which of them count is said by its code. What is pointed at lives until the reply is
 * written, which happens before anything else changes. */
struct refusal {
        enum refusal_code code;
        const char *name;   /* the environment as the caller called it; or the field, limit or name at fault */
        const char *region; /* for Busy: that region alone */
        const char *reason; /* for a name that is not allowed; for a resource in place of what errno says, or NULL */
        struct environment *environment; /* where it exists and the caller may know */
        enum role role;
        const char *schema;
        int64_t used, wanted, maximum;
        int64_t shm_key, shm_id, shm_uid, shm_pid;
        const char *operation; /* the system call that failed */
        int error;             /* and its errno, positive */
};

/* Says no: notes the code beside the facts and returns it. */
static inline int refuse(struct refusal *refusal, enum refusal_code code)
{
        return (int)(refusal->code = code);
}

/* The same for what the machine refused: the system call, and its -errno. */
static inline int refuse_resource(struct refusal *refusal, const char *operation, int r)
{
        refusal->operation = operation;
        refusal->error = -r;
        return refuse(refusal, REFUSED_RESOURCE);
}
