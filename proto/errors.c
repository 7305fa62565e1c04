/* One row per error, in the order of the contract: its name, and which of struct error_fields travel with it. */

#include "errors.h"

#include "tables.h"

#include <string.h>

/* clang-format off */

#define ENVIRONMENT { "environment", STRING(error_fields, environment) }
#define REGION { "region", STRING(error_fields, region) }

#define FIELDS(...) (const struct arg[]){ __VA_ARGS__ }
#define N_FIELDS(...) (sizeof(FIELDS(__VA_ARGS__)) / sizeof(struct arg))
#define ERROR(interface, error, ...) \
        { interface error, { error, sizeof(struct error_fields), FIELDS(__VA_ARGS__), N_FIELDS(__VA_ARGS__) } }
#define SERVICE_ERROR(error, ...) ERROR(INTERFACE_SERVICE, error, __VA_ARGS__)
#define BROKER_ERROR(error, ...) ERROR(INTERFACE_BROKER, error, __VA_ARGS__)

const struct error_type error_types[N_WIRE_ERRORS] = {
        [ERROR_INTERFACE_NOT_FOUND] =
                SERVICE_ERROR("InterfaceNotFound", { "interface", STRING(error_fields, interface) }),
        [ERROR_METHOD_NOT_FOUND] =
                SERVICE_ERROR("MethodNotFound", { "method", STRING(error_fields, method) }),
        [ERROR_METHOD_NOT_IMPLEMENTED] =
                SERVICE_ERROR("MethodNotImplemented", { "method", STRING(error_fields, method) }),
        [ERROR_INVALID_PARAMETER] =
                SERVICE_ERROR("InvalidParameter", { "parameter", STRING(error_fields, parameter) }),
        [ERROR_PERMISSION_DENIED] = SERVICE_ERROR("PermissionDenied"),
        [ERROR_EXPECTED_MORE] = SERVICE_ERROR("ExpectedMore"),
        [ERROR_EXPECTED_UPGRADE] = SERVICE_ERROR("ExpectedUpgrade"),

        [ERROR_ENVIRONMENT_NOT_FOUND] = BROKER_ERROR("EnvironmentNotFound", ENVIRONMENT),
        [ERROR_ENVIRONMENT_EXISTS] = BROKER_ERROR("EnvironmentExists", ENVIRONMENT),
        [ERROR_REGION_NOT_FOUND] = BROKER_ERROR("RegionNotFound", ENVIRONMENT, REGION),
        [ERROR_REGION_EXISTS] = BROKER_ERROR("RegionExists", ENVIRONMENT, REGION),
        [ERROR_NOT_READY] =
                BROKER_ERROR("NotReady", ENVIRONMENT,
                             { "state", ENUM(error_fields, state, state) },
                             { "pid", OPT_INT(error_fields, maybe_pid) }),
        [ERROR_RECOVERY_REQUIRED] =
                BROKER_ERROR("RecoveryRequired", ENVIRONMENT,
                             { "pid", INT(error_fields, pid) },
                             { "command", STRING(error_fields, command) }),
        [ERROR_NOT_YOUR_ROLE] =
                BROKER_ERROR("NotYourRole", ENVIRONMENT, { "role", ENUM(error_fields, role, role) }),
        [ERROR_NOT_ATTACHED] =
                BROKER_ERROR("NotAttached", ENVIRONMENT, { "region", OPT_STRING(error_fields, region) }),
        [ERROR_BUSY] =
                BROKER_ERROR("Busy", ENVIRONMENT,
                             { "attachments", STRUCTS(error_fields, attachments, attachment_view) }),
        [ERROR_SCHEMA_MISMATCH] =
                BROKER_ERROR("SchemaMismatch", ENVIRONMENT,
                             { "wanted", STRING(error_fields, wanted_schema) },
                             { "found", STRING(error_fields, found_schema) },
                             { "creatorCommand", STRING(error_fields, creator_command) }),
        [ERROR_KEY_IN_USE] =
                BROKER_ERROR("KeyInUse",
                             { "shmKey", INT(error_fields, shm_key) },
                             { "shmId", INT(error_fields, shm_id) },
                             { "uid", INT(error_fields, uid) },
                             { "pid", INT(error_fields, pid) }),
        [ERROR_QUOTA_EXCEEDED] =
                BROKER_ERROR("QuotaExceeded",
                             { "limit", STRING(error_fields, limit) },
                             { "used", INT(error_fields, used) },
                             { "wanted", INT(error_fields, wanted) },
                             { "maximum", INT(error_fields, maximum) }),
        [ERROR_RESOURCE_FAILURE] =
                BROKER_ERROR("ResourceFailure",
                             { "operation", STRING(error_fields, operation) },
                             { "errnoName", STRING(error_fields, errno_name) },
                             { "message", STRING(error_fields, message) }),
        [ERROR_WRONG_NAMESPACE] = BROKER_ERROR("WrongNamespace", ENVIRONMENT),
        [ERROR_NAME_NOT_ALLOWED] =
                BROKER_ERROR("NameNotAllowed",
                             { "name", STRING(error_fields, name) },
                             { "reason", STRING(error_fields, reason) }),
};

/* clang-format on */

enum wire_error error_find(const char *name)
{
        for (int i = 1; i < N_WIRE_ERRORS; i++)
                if (strcmp(error_types[i].name, name) == 0)
                        return (enum wire_error)i;
        return 0;
}
