/* The contract in C, row by row and in its order: the words of each enum, the fields of each type, what each method
 * takes and gives. tests/contract.py compares all of it with the two .varlink files. */

#include "tables.h"

/* clang-format off */

static const char *const backing_words[] = {
        [BACKING_FILE - 1] = "file",
        [BACKING_POSIX - 1] = "posix",
        [BACKING_MEMFD - 1] = "memfd",
        [BACKING_SYSV - 1] = "sysv",
        [BACKING_PRIVATE - 1] = "private",
};

static const char *const access_words[] = {
        [ACCESS_READ - 1] = "read",
        [ACCESS_WRITE - 1] = "write",
};

static const char *const create_words[] = {
        [CREATE_NEVER - 1] = "never",
        [CREATE_IF_ABSENT - 1] = "ifAbsent",
        [CREATE_ALWAYS - 1] = "always",
};

static const char *const lifetime_words[] = {
        [LIFETIME_CREATOR - 1] = "creator",
        [LIFETIME_ATTACHED - 1] = "attached",
        [LIFETIME_PERSISTENT - 1] = "persistent",
};

static const char *const state_words[] = {
        [STATE_INITIALIZING - 1] = "initializing",
        [STATE_READY - 1] = "ready",
        [STATE_DIRTY - 1] = "dirty",
        [STATE_RECOVERING - 1] = "recovering",
        [STATE_RETIRED - 1] = "retired",
};

static const char *const role_words[] = {
        [ROLE_MEMBER - 1] = "member",
        [ROLE_INITIALIZER - 1] = "initializer",
        [ROLE_RECOVERER - 1] = "recoverer",
};

static const char *const standing_words[] = {
        [STANDING_CONNECTED - 1] = "connected",
        [STANDING_INHERITED - 1] = "inherited",
        [STANDING_RESUMED - 1] = "resumed",
};

static const char *const event_kind_words[] = {
        [EVENT_KIND_CREATED - 1] = "created",
        [EVENT_KIND_READY - 1] = "ready",
        [EVENT_KIND_ATTACHED - 1] = "attached",
        [EVENT_KIND_DETACHED - 1] = "detached",
        [EVENT_KIND_DIED - 1] = "died",
        [EVENT_KIND_DIRTY - 1] = "dirty",
        [EVENT_KIND_RECOVERING - 1] = "recovering",
        [EVENT_KIND_RECOVERED - 1] = "recovered",
        [EVENT_KIND_REGION_ADDED - 1] = "regionAdded",
        [EVENT_KIND_REGION_DELETED - 1] = "regionDeleted",
        [EVENT_KIND_REMOVED - 1] = "removed",
        [EVENT_KIND_RECLAIMED - 1] = "reclaimed",
        [EVENT_KIND_RETIRED - 1] = "retired",
        [EVENT_KIND_REFUSED - 1] = "refused",
};

#define WORDS(name, e) { name, e##_words, array_size(e##_words) }

const struct arg_enum backing_type = WORDS("Backing", backing);
const struct arg_enum access_type = WORDS("Access", access);
const struct arg_enum create_type = WORDS("Create", create);
const struct arg_enum lifetime_type = WORDS("Lifetime", lifetime);
const struct arg_enum state_type = WORDS("State", state);
const struct arg_enum role_type = WORDS("Role", role);
const struct arg_enum standing_type = WORDS("Standing", standing);
const struct arg_enum event_kind_type = WORDS("EventKind", event_kind);

/* Types */

static const struct arg spec_fields[] = {
        { "name", STRING(spec, name) },
        { "type", OPT_STRING(spec, type) },
        { "size", INT(spec, size) },
        { "backing", OPT_ENUM(spec, backing, backing) },
};
static const struct arg_struct spec_type = TABLE("RegionSpec", spec);

static const struct arg definition_fields[] = {
        { "backing", OPT_ENUM(definition, backing, backing) },
        { "home", OPT_STRING(definition, home) },
        { "regionDirectory", OPT_STRING(definition, region_directory) },
        { "shmKey", OPT_INT(definition, shm_key) },
        { "mode", OPT_INT(definition, mode) },
        { "group", OPT_STRING(definition, group) },
        { "lifetime", OPT_ENUM(definition, lifetime, lifetime) },
        { "lingerUSec", OPT_INT(definition, linger_usec) },
        { "recovery", OPT_BOOL(definition, recovery) },
        { "schema", OPT_STRING(definition, schema) },
        { "reserve", OPT_BOOL(definition, reserve) },
        { "lock", OPT_BOOL(definition, lock) },
        { "hugePages", OPT_BOOL(definition, huge_pages) },
        { "hugetlb", OPT_BOOL(definition, hugetlb) },
        { "regions", STRUCTS(definition, regions, spec) },
};
static const struct arg_struct definition_type = TABLE("Definition", definition);

static const struct arg region_view_fields[] = {
        { "id", STRING(region_view, id) },
        { "name", STRING(region_view, name) },
        { "number", INT(region_view, number) },
        { "type", STRING(region_view, type) },
        { "size", INT(region_view, size) },
        { "backing", ENUM(region_view, backing, backing) },
        { "shmKey", OPT_INT(region_view, shm_key) },
        { "shmId", OPT_INT(region_view, shm_id) },
        { "ipcNamespace", OPT_INT(region_view, ipc_namespace) },
        { "path", OPT_STRING(region_view, path) },
        { "attachments", INT(region_view, attachments) },
        { "bytesUsed", OPT_INT(region_view, bytes_used) },
        { "missing", OPT_BOOL(region_view, missing) },
};
static const struct arg_struct region_view_type = TABLE("Region", region_view);

static const struct arg environment_view_fields[] = {
        { "id", STRING(environment_view, id) },
        { "name", STRING(environment_view, name) },
        { "generation", INT(environment_view, generation) },
        { "state", ENUM(environment_view, state, state) },
        { "uid", INT(environment_view, uid) },
        { "gid", INT(environment_view, gid) },
        { "mode", INT(environment_view, mode) },
        { "backing", ENUM(environment_view, backing, backing) },
        { "lifetime", ENUM(environment_view, lifetime, lifetime) },
        { "lingerUSec", OPT_INT(environment_view, linger_usec) },
        { "home", OPT_STRING(environment_view, home) },
        { "schema", OPT_STRING(environment_view, schema) },
        { "recovery", BOOL(environment_view, recovery) },
        { "reserve", OPT_BOOL(environment_view, reserve) },
        { "lock", OPT_BOOL(environment_view, lock) },
        { "hugePages", OPT_BOOL(environment_view, huge_pages) },
        { "hugetlb", OPT_BOOL(environment_view, hugetlb) },
        { "createdUSec", INT(environment_view, created_usec) },
        { "creatorPid", INT(environment_view, creator_pid) },
        { "creatorCommand", STRING(environment_view, creator_command) },
        { "attachments", INT(environment_view, attachments) },
        { "bytes", INT(environment_view, bytes) },
        { "regions", STRUCTS(environment_view, regions, region_view) },
        { "deaths", OPT_INT(environment_view, deaths) },
};
static const struct arg_struct environment_view_type = TABLE("Environment", environment_view);

static const struct arg grant_view_fields[] = {
        { "region", STRUCT(grant_view, region, region_view) },
        { "access", ENUM(grant_view, access, access) },
        { "regionFileDescriptor", OPT_INT(grant_view, region_fd) },
};
static const struct arg_struct grant_view_type = TABLE("Grant", grant_view);

static const struct arg difference_fields[] = {
        { "field", STRING(difference, field) },
        { "wanted", STRING(difference, wanted) },
        { "found", STRING(difference, found) },
};
static const struct arg_struct difference_type = TABLE("Difference", difference);

static const struct arg attachment_view_fields[] = {
        { "environment", STRING(attachment_view, environment) },
        { "region", OPT_STRING(attachment_view, region) },
        { "pid", INT(attachment_view, pid) },
        { "uid", INT(attachment_view, uid) },
        { "command", STRING(attachment_view, command) },
        { "access", ENUM(attachment_view, access, access) },
        { "sinceUSec", INT(attachment_view, since_usec) },
        { "standing", ENUM(attachment_view, standing, standing) },
};
const struct arg_struct attachment_view_type = TABLE("Attachment", attachment_view);

static const struct arg event_view_fields[] = {
        { "sequence", INT(event_view, sequence) },
        { "realtimeUSec", INT(event_view, realtime_usec) },
        { "kind", ENUM(event_view, kind, event_kind) },
        { "environment", STRING(event_view, environment) },
        { "region", OPT_STRING(event_view, region) },
        { "pid", OPT_INT(event_view, pid) },
        { "uid", OPT_INT(event_view, uid) },
        { "command", OPT_STRING(event_view, command) },
        { "writtenRegions", OPT_STRINGS(event_view, written_regions) },
        { "exitStatus", OPT_INT(event_view, exit_status) },
        { "signal", OPT_INT(event_view, signal) },
        { "reason", OPT_STRING(event_view, reason) },
        { "bytes", OPT_INT(event_view, bytes) },
};
static const struct arg_struct event_view_type = TABLE("Event", event_view);

/* Methods */

static const struct arg open_args_fields[] = {
        { "environment", STRING(open_args, environment) },
        { "create", OPT_ENUM(open_args, create, create) },
        { "access", OPT_ENUM(open_args, access, access) },
        { "definition", OPT_STRUCT(open_args, definition, definition) },
        { "regions", OPT_STRINGS(open_args, regions) },
        { "waitUSec", OPT_INT(open_args, wait_usec) },
        { "session", OPT_INT(open_args, session) },
};

static const struct arg open_result_fields[] = {
        { "environment", STRUCT(open_result, environment, environment_view) },
        { "role", ENUM(open_result, role, role) },
        { "controlFileDescriptor", INT(open_result, control_fd) },
        { "grants", STRUCTS(open_result, grants, grant_view) },
        { "differences", STRUCTS(open_result, differences, difference) },
};

static const struct arg ready_args_fields[] = {
        { "environment", STRING(ready_args, environment) },
};

static const struct arg ready_result_fields[] = {
        { "generation", INT(ready_result, generation) },
};

static const struct arg add_region_args_fields[] = {
        { "environment", STRING(add_region_args, environment) },
        { "region", STRUCT(add_region_args, region, spec) },
};

static const struct arg attach_args_fields[] = {
        { "environment", STRING(attach_args, environment) },
        { "region", STRING(attach_args, region) },
        { "access", OPT_ENUM(attach_args, access, access) },
};

static const struct arg grant_result_fields[] = {
        { "grant", STRUCT(grant_result, grant, grant_view) },
};

static const struct arg detach_args_fields[] = {
        { "environment", STRING(detach_args, environment) },
        { "region", OPT_STRING(detach_args, region) },
        { "id", OPT_STRING(detach_args, id) },
};

static const struct arg delete_region_args_fields[] = {
        { "environment", STRING(delete_region_args, environment) },
        { "region", STRING(delete_region_args, region) },
        { "force", OPT_BOOL(delete_region_args, force) },
};

static const struct arg remove_args_fields[] = {
        { "environment", STRING(remove_args, environment) },
        { "force", OPT_BOOL(remove_args, force) },
        { "waitUSec", OPT_INT(remove_args, wait_usec) },
        { "id", OPT_STRING(remove_args, id) },
};

static const struct arg remove_result_fields[] = {
        { "bytes", INT(remove_result, bytes) },
};

static const struct arg list_args_fields[] = {
        { "pattern", OPT_STRING(list_args, pattern) },
};

static const struct arg environment_result_fields[] = {
        { "environment", STRUCT(environment_result, environment, environment_view) },
};

static const struct arg describe_args_fields[] = {
        { "environment", STRING(describe_args, environment) },
};

static const struct arg describe_result_fields[] = {
        { "environment", STRUCT(describe_result, environment, environment_view) },
        { "attachments", STRUCTS(describe_result, attachments, attachment_view) },
};

static const struct arg adopt_args_fields[] = {
        { "environment", STRING(adopt_args, environment) },
        { "access", OPT_ENUM(adopt_args, access, access) },
        { "regions", OPT_STRINGS(adopt_args, regions) },
        { "session", OPT_INT(adopt_args, session) },
};

static const struct arg resume_args_fields[] = {
        { "environment", STRING(resume_args, environment) },
        { "id", STRING(resume_args, id) },
        { "access", OPT_ENUM(resume_args, access, access) },
        { "regions", OPT_STRINGS(resume_args, regions) },
        { "session", OPT_INT(resume_args, session) },
};

static const struct arg resume_result_fields[] = {
        { "environment", STRUCT(resume_result, environment, environment_view) },
        { "role", ENUM(resume_result, role, role) },
        { "controlFileDescriptor", INT(resume_result, control_fd) },
};

static const struct arg offer_args_fields[] = {
        { "environment", STRING(offer_args, environment) },
        { "id", STRING(offer_args, id) },
        { "region", STRING(offer_args, region) },
        { "regionFileDescriptor", INT(offer_args, region_fd) },
};

static const struct arg explain_args_fields[] = {
        { "environment", STRING(explain_args, environment) },
        { "region", OPT_STRING(explain_args, region) },
};

static const struct arg explain_result_fields[] = {
        { "reasons", STRINGS(explain_result, reasons) },
        { "attachments", STRUCTS(explain_result, attachments, attachment_view) },
        { "history", STRUCTS(explain_result, history, event_view) },
};

static const struct arg watch_args_fields[] = {
        { "environment", OPT_STRING(watch_args, environment) },
        { "since", OPT_INT(watch_args, since) },
        { "instance", OPT_STRING(watch_args, instance) },
};

static const struct arg watch_result_fields[] = {
        { "event", OPT_STRUCT(watch_result, event, event_view) },
        { "sequence", INT(watch_result, sequence) },
        { "missed", OPT_INT(watch_result, missed) },
        { "instance", OPT_STRING(watch_result, instance) },
};

static const struct arg statistics_result_fields[] = {
        { "version", STRING(statistics_result, version) },
        { "startedUSec", INT(statistics_result, started_usec) },
        { "environments", INT(statistics_result, environments) },
        { "regions", INT(statistics_result, regions) },
        { "attachments", INT(statistics_result, attachments) },
        { "sessions", INT(statistics_result, sessions) },
        { "bytes", INT(statistics_result, bytes) },
        { "limits", INT_MAP(statistics_result, limits) },
        { "counters", INT_MAP(statistics_result, counters) },
};

static const struct arg setting_view_fields[] = {
        { "name", STRING(setting_view, name) },
        { "value", STRING(setting_view, value) },
        { "source", STRING(setting_view, source) },
};
static const struct arg_struct setting_view_type = TABLE("Setting", setting_view);

static const struct arg configuration_result_fields[] = {
        { "settings", STRUCTS(configuration_result, settings, setting_view) },
};

static const struct arg info_result_fields[] = {
        { "vendor", STRING(info_result, vendor) },
        { "product", STRING(info_result, product) },
        { "version", STRING(info_result, version) },
        { "url", STRING(info_result, url) },
        { "interfaces", STRINGS(info_result, interfaces) },
};

static const struct arg description_args_fields[] = {
        { "interface", STRING(description_args, interface) },
};

static const struct arg description_result_fields[] = {
        { "description", STRING(description_result, description) },
};

#define IN(method, x) &(const struct arg_struct)TABLE(method, x)
#define OUT(method, x) &(const struct arg_struct)TABLE(method " reply", x)
#define NO_IN(method) &(const struct arg_struct){ .name = method }
#define NO_OUT(method) &(const struct arg_struct){ .name = method " reply" }

#define SERVICE_METHOD(method, in, out) { INTERFACE_SERVICE method, in, out, false }
#define METHOD(method, in, out) { INTERFACE_BROKER method, in, out, false }
#define METHOD_MORE(method, in, out) { INTERFACE_BROKER method, in, out, true }

const struct method_type method_types[] = {
        SERVICE_METHOD("GetInfo", NO_IN("GetInfo"), OUT("GetInfo", info_result)),
        SERVICE_METHOD("GetInterfaceDescription", IN("GetInterfaceDescription", description_args),
                       OUT("GetInterfaceDescription", description_result)),

        METHOD("Open", IN("Open", open_args), OUT("Open", open_result)),
        METHOD("Ready", IN("Ready", ready_args), OUT("Ready", ready_result)),
        METHOD("AddRegion", IN("AddRegion", add_region_args), OUT("AddRegion", grant_result)),
        METHOD("Attach", IN("Attach", attach_args), OUT("Attach", grant_result)),
        METHOD("Detach", IN("Detach", detach_args), NO_OUT("Detach")),
        METHOD("Adopt", IN("Adopt", adopt_args), OUT("Adopt", environment_result)),
        METHOD("Resume", IN("Resume", resume_args), OUT("Resume", resume_result)),
        METHOD("Offer", IN("Offer", offer_args), NO_OUT("Offer")),
        METHOD("DeleteRegion", IN("DeleteRegion", delete_region_args), NO_OUT("DeleteRegion")),
        METHOD("Remove", IN("Remove", remove_args), OUT("Remove", remove_result)),
        METHOD_MORE("List", IN("List", list_args), OUT("List", environment_result)),
        METHOD("Describe", IN("Describe", describe_args), OUT("Describe", describe_result)),
        METHOD("Explain", IN("Explain", explain_args), OUT("Explain", explain_result)),
        METHOD_MORE("Watch", IN("Watch", watch_args), OUT("Watch", watch_result)),
        METHOD("GetStatistics", NO_IN("GetStatistics"), OUT("GetStatistics", statistics_result)),
        METHOD("GetConfiguration", NO_IN("GetConfiguration"), OUT("GetConfiguration", configuration_result)),
};

const size_t n_method_types = array_size(method_types);
