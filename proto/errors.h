#pragma once

/* The error names on the wire, and what each of them carries. */

#include "args.h"

enum wire_error {
        ERROR_INTERFACE_NOT_FOUND = 1,
        ERROR_METHOD_NOT_FOUND,
        ERROR_METHOD_NOT_IMPLEMENTED,
        ERROR_INVALID_PARAMETER,
        ERROR_PERMISSION_DENIED,
        ERROR_EXPECTED_MORE,
        ERROR_EXPECTED_UPGRADE,
        ERROR_ENVIRONMENT_NOT_FOUND,
        ERROR_ENVIRONMENT_EXISTS,
        ERROR_REGION_NOT_FOUND,
        ERROR_REGION_EXISTS,
        ERROR_NOT_READY,
        ERROR_RECOVERY_REQUIRED,
        ERROR_NOT_YOUR_ROLE,
        ERROR_NOT_ATTACHED,
        ERROR_BUSY,
        ERROR_SCHEMA_MISMATCH,
        ERROR_KEY_IN_USE,
        ERROR_QUOTA_EXCEEDED,
        ERROR_RESOURCE_FAILURE,
        ERROR_WRONG_NAMESPACE,
        ERROR_NAME_NOT_ALLOWED,
        N_WIRE_ERRORS, /* not an error; counts them, itself included */
};

/* The fields of all errors together; each error's table takes those that are its own. */
struct error_fields {
        const char *interface, *method, *parameter; /* org.varlink.service */
        const char *environment, *region;
        enum state state;
        enum role role;
        struct opt_int maybe_pid; /* NotReady */
        int64_t pid;              /* RecoveryRequired, KeyInUse */
        const char *command;
        struct struct_array attachments; /* Busy: of struct attachment_view */
        const char *wanted_schema, *found_schema, *creator_command;
        int64_t shm_key, shm_id, uid;
        const char *limit;
        int64_t used, wanted, maximum;
        const char *operation, *errno_name, *message;
        const char *name, *reason;
};

struct error_type {
        const char *name; /* fully qualified */
        struct arg_struct fields;
};

/* Indexed by enum wire_error; row 0 is empty. */
extern const struct error_type error_types[N_WIRE_ERRORS];

/* 0 where the name is unknown. */
enum wire_error error_find(const char *name);
