#pragma once

/* The words of org.regionbroker in C: its enums and its types, plain and without code. Rooms that speak of an
 * environment's lifetime or a region's backing all mean these. Zero is always "not given": enums count from 1,
 * a NULL string or pointer is an absent one, the opt_ and array types say so in `given`.
 *
 * Nothing here owns anything: strings and arrays belong to the message or arena they were read from, or to the
 * object they describe. Sizes are bytes, names ending in _usec are microseconds. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

enum backing { BACKING_FILE = 1, BACKING_POSIX, BACKING_MEMFD, BACKING_SYSV, BACKING_PRIVATE };
enum access { ACCESS_READ = 1, ACCESS_WRITE };
enum create { CREATE_NEVER = 1, CREATE_IF_ABSENT, CREATE_ALWAYS };
enum lifetime { LIFETIME_CREATOR = 1, LIFETIME_ATTACHED, LIFETIME_PERSISTENT };
enum state { STATE_INITIALIZING = 1, STATE_READY, STATE_DIRTY, STATE_RECOVERING, STATE_RETIRED };
enum role { ROLE_MEMBER = 1, ROLE_INITIALIZER, ROLE_RECOVERER };
enum standing { STANDING_CONNECTED = 1, STANDING_INHERITED, STANDING_RESUMED };

enum event_kind {
        EVENT_KIND_CREATED = 1,
        EVENT_KIND_READY,
        EVENT_KIND_ATTACHED,
        EVENT_KIND_DETACHED,
        EVENT_KIND_DIED,
        EVENT_KIND_DIRTY,
        EVENT_KIND_RECOVERING,
        EVENT_KIND_RECOVERED,
        EVENT_KIND_REGION_ADDED,
        EVENT_KIND_REGION_DELETED,
        EVENT_KIND_REMOVED,
        EVENT_KIND_RECLAIMED,
        EVENT_KIND_RETIRED,
        EVENT_KIND_REFUSED,
};

struct opt_bool {
        bool given;
        bool value;
};

struct opt_int {
        bool given;
        int64_t value;
};

struct string_array {
        bool given;
        size_t n;
        const char **items;
};

/* Whether the string is among them, or none were given at all. */
static inline bool string_array_has(const struct string_array *array, const char *string)
{
        for (size_t i = 0; i < array->n; i++)
                if (strcmp(array->items[i], string) == 0)
                        return true;
        return !array->given;
}

/* Items of one struct type, one after the other; which type is said beside each use. */
struct struct_array {
        bool given;
        size_t n;
        void *items;
};

struct named_int {
        const char *name;
        int64_t value;
};

struct int_map {
        bool given;
        size_t n;
        struct named_int *items;
};

/* RegionSpec */
struct spec {
        const char *name;
        const char *type;
        int64_t size;
        enum backing backing;
};

/* Definition */
struct definition {
        enum backing backing;
        const char *home;
        const char *region_directory;
        struct opt_int shm_key;
        struct opt_int mode;
        const char *group;
        enum lifetime lifetime;
        struct opt_int linger_usec;
        struct opt_bool recovery;
        const char *schema;
        struct opt_bool reserve;
        struct opt_bool lock;
        struct opt_bool huge_pages;
        struct opt_bool hugetlb;
        struct struct_array regions; /* of struct spec */
};

/* Region */
struct region_view {
        const char *id;
        const char *name;
        int64_t number;
        const char *type;
        int64_t size;
        enum backing backing;
        struct opt_int shm_key;
        struct opt_int shm_id;
        struct opt_int ipc_namespace;
        const char *path;
        int64_t attachments;
        struct opt_int bytes_used;
        struct opt_bool missing;
};

/* Environment */
struct environment_view {
        const char *id;
        const char *name;
        int64_t generation;
        enum state state;
        int64_t uid;
        int64_t gid;
        int64_t mode;
        enum backing backing;
        enum lifetime lifetime;
        struct opt_int linger_usec;
        const char *home;
        const char *schema;
        bool recovery;
        struct opt_bool reserve;
        struct opt_bool lock;
        struct opt_bool huge_pages;
        struct opt_bool hugetlb;
        int64_t created_usec;
        int64_t creator_pid;
        const char *creator_command;
        int64_t attachments;
        int64_t bytes;
        struct struct_array regions; /* of struct region_view */
        struct opt_int deaths;
};

/* Grant */
struct grant_view {
        const struct region_view *region;
        enum access access;
        struct opt_int region_fd; /* an index into the descriptors of the message */
};

/* Difference */
struct difference {
        const char *field;
        const char *wanted;
        const char *found;
};

/* Attachment */
struct attachment_view {
        const char *environment;
        const char *region;
        int64_t pid;
        int64_t uid;
        const char *command;
        enum access access;
        int64_t since_usec;
        enum standing standing;
};

/* Event */
struct event_view {
        int64_t sequence;
        int64_t realtime_usec;
        enum event_kind kind;
        const char *environment;
        const char *region;
        struct opt_int pid;
        struct opt_int uid;
        const char *command;
        struct string_array written_regions;
        struct opt_int exit_status;
        struct opt_int signal;
        const char *reason;
        struct opt_int bytes;
};

/* Parameters and results of the methods, named after them. A method without a result has none. */

struct open_args {
        const char *environment;
        enum create create;
        enum access access;
        const struct definition *definition;
        struct string_array regions;
        struct opt_int wait_usec;
        struct opt_int session;
};

struct open_result {
        const struct environment_view *environment;
        enum role role;
        int64_t control_fd;              /* an index into the descriptors of the message */
        struct struct_array grants;      /* of struct grant_view */
        struct struct_array differences; /* of struct difference */
};

struct ready_args {
        const char *environment;
};

struct ready_result {
        int64_t generation;
};

struct add_region_args {
        const char *environment;
        const struct spec *region;
};

struct attach_args {
        const char *environment;
        const char *region;
        enum access access;
};

/* of AddRegion and of Attach */
struct grant_result {
        const struct grant_view *grant;
};

struct detach_args {
        const char *environment;
        const char *region;
        const char *id;
};

struct delete_region_args {
        const char *environment;
        const char *region;
        struct opt_bool force;
};

struct remove_args {
        const char *environment;
        struct opt_bool force;
        struct opt_int wait_usec;
        const char *id;
};

struct remove_result {
        int64_t bytes;
};

struct list_args {
        const char *pattern;
};

/* of Adopt and of List */
struct environment_result {
        const struct environment_view *environment;
};

struct describe_args {
        const char *environment;
};

struct describe_result {
        const struct environment_view *environment;
        struct struct_array attachments; /* of struct attachment_view */
};

struct adopt_args {
        const char *environment;
        enum access access;
        struct string_array regions;
        struct opt_int session;
};

struct resume_args {
        const char *environment;
        const char *id;
        enum access access;
        struct string_array regions;
        struct opt_int session;
};

struct resume_result {
        const struct environment_view *environment;
        enum role role;
        int64_t control_fd; /* as in Open */
};

struct offer_args {
        const char *environment;
        const char *id;
        const char *region;
        int64_t region_fd; /* an index into the descriptors of the message */
};

struct explain_args {
        const char *environment;
        const char *region;
};

struct explain_result {
        struct string_array reasons;
        struct struct_array attachments; /* of struct attachment_view */
        struct struct_array history;     /* of struct event_view */
};

struct watch_args {
        const char *environment;
        struct opt_int since;
        const char *instance;
};

struct watch_result {
        const struct event_view *event;
        int64_t sequence;
        struct opt_int missed;
        const char *instance;
};

struct statistics_result {
        const char *version;
        int64_t started_usec;
        int64_t environments;
        int64_t regions;
        int64_t attachments;
        int64_t sessions;
        int64_t bytes;
        struct int_map limits;
        struct int_map counters;
};

struct setting_view {
        const char *name;
        const char *value;
        const char *source;
};

struct configuration_result {
        struct struct_array settings; /* of struct setting_view */
};

/* org.varlink.service */

struct info_result {
        const char *vendor;
        const char *product;
        const char *version;
        const char *url;
        struct string_array interfaces;
};

struct description_args {
        const char *interface;
};

struct description_result {
        const char *description;
};
