#pragma once

/* libregion: shared memory from the region broker.
 *
 * A program connects to the broker, opens an environment by name, maps its regions and works on them at memory speed;
 * the broker is asked again only to come, to go and to look. When the process dies, however it dies, the broker gives
 * the memory back as soon as nobody else can be using it.
 *
 * Calls block, each at most for the time that region_broker_set_timeout() allows or its own `wait_usec`. The library
 * starts no thread and brings no event loop. A session may be used from several threads: a lock inside lets one call at
 * a time pass, so a call that waits keeps the others of its session waiting; threads that must not wait for each other
 * open a session each. Handles of environments and regions belong to their session and share its lock; what does not
 * ask the broker (finding, mapping, looking at a handle) does not wait for it. A handle must not be closed while
 * another thread uses it.
 *
 * After fork(2) the child goes on with the handles that it inherited. Its first call on one that asks the broker
 * connects the child itself and says what it holds; from then on parent and child come and go without each other. A
 * child that makes no call is still seen as long as it has memory mapped, but its death is nobody's concern; if it only
 * closes, the broker is told nothing and the parent loses nothing. In a child region_env_role() is a member's. Two
 * things cannot be inherited: a session in which another thread was waiting for the broker at the fork, all calls on
 * which are REGION_E_FORKED (memory that is mapped stays; connect anew), and a private environment, whose memory the
 * child has as a copy: REGION_E_BUSY. After execve(2) nothing is left of sessions and handles; vfork(2) and
 * posix_spawn(3) harm nothing.
 *
 * A session outlives its broker. When that was restarted the next call connects again, waiting for it within the time of the
 * call, and the session is in its environments as it was; what is mapped stays mapped all the while. A call that was under
 * way is made again, unless it might then be done twice. A broker that knows nothing of an environment any more, since the
 * machine or its directory was cleared, makes the calls on that one REGION_E_NOT_FOUND.
 *
 * Every call that can fail returns an enum region_result, REGION_OK being 0; region_last_error() has the sentence for
 * people and the facts. Result pointers are written on success only. Strings handed out belong to the handle they were
 * asked of. Sizes are bytes, `_usec` is microseconds. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#ifdef __cplusplus
extern "C" {
#endif
#pragma GCC visibility push(default) /* these calls are what the library exports */

struct region_broker; /* a session with the broker */
struct region_env;    /* an environment that the session is a member of */
struct region;        /* a region of it that was granted, mapped or not */
struct region_named;  /* a named memory that the session has opened */

enum region_result {
        REGION_OK = 0,
        REGION_E_ABSENT,       /* no broker answers at the socket, also not in time; errnum says why */
        REGION_E_DISCONNECTED, /* the broker went away during the call, and whether it was done is not known */
        REGION_E_TIMEOUT,      /* the broker did not answer in time */
        REGION_E_FORKED,       /* the session was in use by another thread when this process was forked */
        REGION_E_PROTOCOL,     /* the broker answered what this library does not understand */
        REGION_E_UNSUPPORTED,  /* this broker does not know the call, or not yet */
        REGION_E_INVALID,      /* an argument is wrong; the message names it */
        REGION_E_MEMORY,       /* this process is out of memory */
        REGION_E_DENIED,       /* owner, group and mode of the environment do not allow it */
        REGION_E_NOT_FOUND,    /* no such environment */
        REGION_E_EXISTS,       /* the environment exists, and must not */
        REGION_E_NO_REGION,    /* no such region */
        REGION_E_REGION_EXISTS,
        REGION_E_NOT_READY, /* still initialised or repaired by another process when the wait ended */
        REGION_E_RECOVERY,  /* it needs recovery first */
        REGION_E_ROLE,      /* only the initializer or recoverer may do this */
        REGION_E_NOT_ATTACHED,
        REGION_E_BUSY,            /* held; pid and command name one holder */
        REGION_E_SCHEMA,          /* the environment has another layout */
        REGION_E_KEY_IN_USE,      /* the System V key is taken; pid and message name the holder */
        REGION_E_QUOTA,           /* a limit of the broker; the message says which, the use and the maximum */
        REGION_E_RESOURCE,        /* the machine refused: operation and errnum say what */
        REGION_E_NAMESPACE,       /* System V memory of another IPC namespace */
        REGION_E_NAME,            /* the name is not allowed */
        REGION_E_OWNER_DIED,      /* the mutex is locked, and its last owner, pid and command, died with it */
        REGION_E_NOT_RECOVERABLE, /* the mutex was given up after such a death */
        REGION_E_SIZE,            /* the named memory is smaller than was asked for */
};

/* What went wrong in the calling thread's latest failed call. */
struct region_error {
        enum region_result code;
        const char *message;   /* one sentence, never NULL */
        int errnum;            /* the errno behind it, or 0 */
        const char *operation; /* the system call that failed, or NULL */
        pid_t pid;             /* the process the message speaks of, or 0 */
        const char *command;   /* its command name, or NULL */
};

/* The words of the contract. 0 is the default, which is said beside each field. */
enum region_backing {
        REGION_BACKING_FILE = 1, /* a file `__db.NNN` in the home */
        REGION_BACKING_POSIX,    /* an object under /dev/shm */
        REGION_BACKING_MEMFD,    /* an unnamed sealed memory file */
        REGION_BACKING_SYSV,     /* a System V segment whose key the broker assigned */
        REGION_BACKING_PRIVATE,  /* heap memory of this process alone */
};
enum region_access { REGION_READ = 1, REGION_WRITE };
enum region_create {
        REGION_CREATE_NEVER = 1, /* it must exist */
        REGION_CREATE_IF_ABSENT, /* join it or create it */
        REGION_CREATE_ALWAYS,    /* it must not exist */
};
enum region_lifetime {
        REGION_LIFETIME_CREATOR = 1, /* goes when the process that created it is gone */
        REGION_LIFETIME_ATTACHED,    /* goes when nobody holds it any more */
        REGION_LIFETIME_PERSISTENT,  /* stays until it is removed */
};
enum region_state {
        REGION_STATE_INITIALIZING = 1,
        REGION_STATE_READY,
        REGION_STATE_DIRTY,
        REGION_STATE_RECOVERING,
        REGION_STATE_RETIRED,
};
enum region_role { REGION_ROLE_MEMBER = 1, REGION_ROLE_INITIALIZER, REGION_ROLE_RECOVERER };
enum region_standing { REGION_CONNECTED = 1, REGION_INHERITED, REGION_RESUMED };

/* For `wait_usec`, where 0 waits as long as it takes. */
#define REGION_NO_WAIT (-1)

/* A region that is to be made. */
struct region_spec {
        const char *name;
        size_t size;                 /* rounded up to whole pages, huge ones with `hugetlb` */
        enum region_backing backing; /* 0: that of the environment */
        const char *type;            /* env, mutex, lock, log, mpool, txn or a word of your own; NULL: "user" */
        uint64_t reserved[4];        /* zero */
};

/* The regions that Berkeley DB makes for its subsystems (DB_INIT_LOCK and so on), to be asked for by a flag each. Any
 * of them brings `env` along, which is region number 1. They come before the program's own regions, in the order of
 * the sizes below, and have their name for name and type; of several caches the names are mpool1, mpool2, and so on. */
enum region_subsystem {
        REGION_SUBSYSTEM_MUTEX = 1 << 0,
        REGION_SUBSYSTEM_LOCK = 1 << 1,
        REGION_SUBSYSTEM_LOG = 1 << 2,
        REGION_SUBSYSTEM_MPOOL = 1 << 3,
        REGION_SUBSYSTEM_TXN = 1 << 4,
        REGION_SUBSYSTEM_ENV = 1 << 5, /* for env alone */
};

/* 0 is the default, which is said beside each. A size of a subsystem that is not asked for has no effect. */
struct region_subsystem_sizes {
        size_t env;            /* 64 KiB */
        size_t mutex;          /* 256 KiB */
        size_t lock;           /* 512 KiB */
        size_t log;            /* 128 KiB */
        size_t mpool;          /* 256 KiB; of all caches together, which have equal parts, rounded up */
        size_t txn;            /* 64 KiB */
        unsigned mpool_caches; /* each is a region of its own: 1; at most 64 */
        uint64_t reserved[4];  /* zero */
};

/* How an environment is opened. Zero-initialised it joins what exists, for writing, waiting as long as it takes.
 * The part after `wait_usec` is used by the call that creates; a joiner may give it to be compared: another schema is
 * refused, other differences are told by region_env_difference(). */
struct region_env_options {
        enum region_create create; /* default: never */
        enum region_access access; /* default: write */
        const char *const *only;   /* attach these regions only, `n_only` of them; NULL: all */
        size_t n_only;
        int64_t wait_usec; /* for an initializer to be ready; 0: as long as it takes, or REGION_NO_WAIT */

        enum region_backing backing;   /* default: memfd, or what the broker's administrator chose */
        const char *home;              /* absolute directory of its files, and its second name */
        const char *region_directory;  /* absolute directory for file regions, where it is not the home */
        int32_t shm_key;               /* first System V key of a consecutive run; 0: the broker picks */
        mode_t mode;                   /* default: 0600 */
        const char *group;             /* default: the group of the process */
        enum region_lifetime lifetime; /* default: attached; persistent where the backing is file */
        int64_t linger_usec;           /* for `attached`: stay so long after the last holder */
        bool recovery;                 /* a death while attached for writing makes it dirty */
        const char *schema;            /* name and version of the layout */
        bool sparse;                   /* do not reserve the memory now; touching it may then fail with SIGBUS */
        bool lock;                     /* keep the pages out of swap */
        bool huge_pages;               /* insist on huge pages; what is not sparse has them where settings allow it */
        bool hugetlb;                  /* huge pages of the machine's pool; for memfd, sysv and private alone */
        const struct region_spec *regions;
        size_t n_regions;
        const struct region_subsystem_sizes *sizes; /* of subsystems; NULL: the defaults */
        unsigned subsystems;       /* of enum region_subsystem; what they make, `regions` must not name */
        bool ignore_configuration; /* do not read the file in the home, which see below */

        uint64_t reserved[6]; /* zero */
};

/* The home, that of the options or the one that names the environment, may have a file `region-environment.conf` with
 * settings of an administrator: region-environment.conf(5). A call that creates or compares reads it before it asks
 * the broker; what it says wins over the options, for creating and for comparing, and region_env_override() tells what
 * that was. The file has to be a regular one of root or of the effective user, which nobody else can write, of 64 KiB
 * at most; else, or where it says what cannot be, the call is REGION_E_INVALID, which names the file and what to do. A
 * program that runs with more rights than its caller (setuid) does not read it. */

/* What the broker tells of a region, an environment, an attachment. Fields may be added at the end. */
struct region_info {
        const char *id; /* never given to another region */
        const char *name;
        unsigned number;
        const char *type;
        size_t size;
        enum region_backing backing;
        int32_t shm_key; /* 0 unless sysv */
        int shm_id;      /* -1 unless sysv */
        const char *path;
        unsigned attachments;
        int64_t bytes_used; /* that it really takes now; -1 where unknown: sysv but by region_describe(), private */
        bool missing;       /* the broker lost it at a restart, and waits for one who has it to call */
};

struct region_env_info {
        const char *id;
        const char *name;
        uint64_t generation;
        enum region_state state;
        uid_t uid;
        gid_t gid;
        mode_t mode;
        enum region_backing backing;
        enum region_lifetime lifetime;
        int64_t linger_usec;
        const char *home;
        const char *schema;
        bool recovery;
        int64_t created_usec; /* since 1970 */
        pid_t creator_pid;
        const char *creator_command;
        unsigned attachments;
        uint64_t bytes;
        const struct region_info *const *regions;
        size_t n_regions;
};

struct region_attachment {
        const char *environment;
        const char *region; /* NULL: the environment, and no region of it */
        pid_t pid;
        uid_t uid;
        const char *command;
        enum region_access access;
        int64_t since_usec; /* since 1970 */
        enum region_standing standing;
};

/* --- errors ------------------------------------------------------------------------------------------------------ */

/* The calling thread's latest failure; valid until its next call. Never NULL. */
const struct region_error *region_last_error(void);
/* Its sentence. */
const char *region_error_message(void);
/* The name of a result, as in "REGION_E_BUSY"; for logs. */
const char *region_result_name(enum region_result result);

/* --- sessions ---------------------------------------------------------------------------------------------------- */

/* Connects to the broker at `socket`; NULL: $REGION_BROKER_SOCKET, which must be an absolute path, else the user's own
 * ($XDG_RUNTIME_DIR/region-broker/org.regionbroker), else the system's (/run/region-broker/org.regionbroker). */
enum region_result region_broker_connect(const char *socket, struct region_broker **ret);
/* Leaves all environments as region_env_close() does, invalidating their handles, and frees the session. Takes NULL. */
void region_broker_close(struct region_broker *broker);
/* How long a call may take that does not wait for others; the default is 30 seconds, and 0 is as long as it takes. */
void region_broker_set_timeout(struct region_broker *broker, int64_t timeout_usec);
/* The path of the socket it is connected to. */
const char *region_broker_socket(const struct region_broker *broker);

/* Calls any method of the broker, also one that this library does not wrap. `parameters` is a JSON object or NULL.
 * `each` (may be NULL) is given the parameters of every reply as JSON; with `more` there may be several, and those
 * after the first are waited for as long as it takes. It must not call the broker; it returns false to stop, which
 * closes the session if replies are still to come. Descriptors that come along are closed. For programs that speak the
 * contract themselves. */
enum region_result region_broker_call(struct region_broker *broker, const char *method, const char *parameters,
                                      bool more, bool (*each)(const char *json, void *data), void *data);

/* --- environments ------------------------------------------------------------------------------------------------ */

/* Opens or creates the environment `name`, or the one whose home is the absolute path `name`, and attaches its
 * regions, in one round trip; NULL: the one of region_env_default_name(). Waits while another process initialises it;
 * should that one die, this call may take over its part: look at region_env_role(). An initializer finds its regions
 * zeroed and, unless sparse, reserved: a full memory is REGION_E_RESOURCE here, and nothing is left behind. It fills
 * them and calls region_env_ready(). A private environment is had once: the second opening is REGION_E_BUSY, in the
 * same process too. */
enum region_result region_env_open(struct region_broker *broker, const char *name,
                                   const struct region_env_options *options, struct region_env **ret);
/* The name that stands for NULL in opening, describing and explaining: $REGION_ENVIRONMENT, a name or the absolute
 * path of a home. REGION_E_INVALID where that is not set or empty; in a program that runs with more rights than its
 * caller (setuid) it counts as not set. *ret is a part of the process's environment. */
enum region_result region_env_default_name(const char **ret);
/* The initializer or recoverer says that the content is fit for use; those who wait go on. REGION_E_RECOVERY to a
 * recoverer: another process died meanwhile that had it attached for writing; look at it once more, then call again. */
enum region_result region_env_ready(struct region_env *env);
/* Unmaps all regions, detaches from the environment and frees the handle and those of its regions. Takes NULL. An
 * initializer that closes without having said ready gives its part to the next. */
void region_env_close(struct region_env *env);

/* Asks to repair an environment that this process is in, where a death has left it dirty. REGION_OK with the role
 * recoverer: this process alone repairs it, then calls region_env_ready(), and is a member again. REGION_OK with
 * another role: there is nothing to repair, any more. REGION_E_NOT_READY, REGION_E_RECOVERY: another one repairs it
 * still, or has given up, when `wait_usec` (as in the options) was over. It needs the right to write, and regions that
 * this handle has for reading are repaired after region_env_attach() for writing. REGION_E_NOT_FOUND: it was removed
 * meanwhile. */
enum region_result region_env_recover(struct region_env *env, int64_t wait_usec);

/* What the process was to do when it opened the environment, or after region_env_recover(). */
enum region_role region_env_role(const struct region_env *env);
/* As the broker described it when it was opened. */
const struct region_env_info *region_env_info(const struct region_env *env);
/* The `index`-th difference between what was asked for and what exists, or false. */
bool region_env_difference(const struct region_env *env, size_t index, const char **ret_field, const char **ret_wanted,
                           const char **ret_found);

/* The `index`-th wish of the program that the configuration in the home has overridden, or false: which, what was
 * wanted, what is set instead, in the words of that file, and where, as PATH:LINE. What was not asked for is
 * "default", "absent" or what that comes to. */
bool region_env_override(const struct region_env *env, size_t index, const char **ret_field, const char **ret_wanted,
                         const char **ret_set, const char **ret_where);

/* Adds to `subsystems` and `sizes` what a word of people says: "lock", "lock=1M", "mpool=64M*4" for four caches;
 * without a number of caches that stays. REGION_E_INVALID: the message says what is expected, and nothing was changed. */
enum region_result region_subsystems_parse(const char *word, unsigned *subsystems,
                                           struct region_subsystem_sizes *sizes);

/* --- health ------------------------------------------------------------------------------------------------------ */

/* How an environment is, read from a page that the broker writes: no call, no lock, in every thread at any time, and
 * what the state costs is one load from memory. While the broker does not run it stays as it was. */
struct region_health {
        enum region_state state;
        uint64_t generation; /* one more each time the content was made anew or repaired */
        uint64_t deaths;     /* processes that died in it */
        uint32_t change;     /* another number after each change */
        bool draining;       /* a removal waits for this process to leave */
        uint64_t reserved[4];
};

enum region_state region_env_state(const struct region_env *env);
/* All of it at one moment. */
void region_env_health(const struct region_env *env, struct region_health *ret);
/* Sleeps until `change` is no more what region_env_health() told. `timeout_usec` 0: as long as it takes, or
 * REGION_NO_WAIT; over, it is REGION_E_TIMEOUT. Other calls on the environment do not wait for this one. */
enum region_result region_env_wait_change(struct region_env *env, uint32_t change, int64_t timeout_usec);

/* --- regions of an environment ----------------------------------------------------------------------------------- */

/* Makes one more region and attaches it for writing. */
enum region_result region_env_add(struct region_env *env, const struct region_spec *spec, struct region **ret);
/* Attaches a region that this handle does not have yet, or has for reading only; `access` 0: write. One that it has for
 * reading becomes writable: same handle, same descriptor, and same address if it is mapped. */
enum region_result region_env_attach(struct region_env *env, const char *name, enum region_access access,
                                     struct region **ret);
/* A region that is attached, by name, or in the order of their numbers from 0; NULL where there is none. */
struct region *region_env_find(const struct region_env *env, const char *name);
struct region *region_env_at(const struct region_env *env, size_t index);
/* Deletes a region; without `force` refused as REGION_E_BUSY while anybody holds it, this process included. */
enum region_result region_env_delete(struct region_env *env, const char *name, bool force);

/* Removes an environment, which has to be named. Held, it is REGION_E_BUSY, unless `wait_usec` lets the holders leave
 * in time (here 0 does not wait, like REGION_NO_WAIT; INT64_MAX waits as long as it takes); with `force` it loses its
 * name at once and its holders keep what they have mapped. *ret_bytes (may be NULL): its size. */
enum region_result region_env_remove(struct region_broker *broker, const char *name, bool force, int64_t wait_usec,
                                     uint64_t *ret_bytes);

/* --- regions ----------------------------------------------------------------------------------------------------- */

/* Maps the region, at `hint` if that address is free, else where the kernel likes; NULL: no wish. Mapped already, it
 * says where. Without a hint what has 2 MiB or more comes to lie where huge pages fit. Read-only where attached for
 * reading. Of a file the kernel is told MADV_RANDOM, which spares the first touch a long read-ahead; a program that reads
 * in order says otherwise by madvise(2). */
enum region_result region_map(struct region *region, void *hint, void **ret);
/* Unmaps it; it stays attached and can be mapped again. */
void region_unmap(struct region *region);
/* Unmaps and detaches it, and frees the handle in any case: a failure says that the broker could not be told. Takes
 * NULL. */
enum region_result region_detach(struct region *region);

void *region_address(const struct region *region); /* NULL while unmapped */
size_t region_size(const struct region *region);
enum region_access region_access(const struct region *region);
const struct region_info *region_info(const struct region *region);
/* The descriptor behind it, for passing on or mapping parts; -1 for sysv and private. It stays the library's. Its size
 * cannot be changed by it. */
int region_fd(const struct region *region);

/* --- looking ----------------------------------------------------------------------------------------------------- */

/* Calls `each` for every environment that the caller may see and whose name fits the glob(7) `pattern` (NULL: all).
 * What it is given is valid during that call. It must not call the broker; it returns false to stop. */
enum region_result region_list(struct region_broker *broker, const char *pattern,
                               bool (*each)(const struct region_env_info *info, void *data), void *data);

struct region_description {
        const struct region_env_info *env;
        const struct region_attachment *const *attachments;
        size_t n_attachments;
};

/* One environment and who holds it; NULL: that of region_env_default_name(). Free it with region_description_free(),
 * which takes NULL. */
enum region_result region_describe(struct region_broker *broker, const char *name, struct region_description **ret);
void region_description_free(struct region_description *description);

/* --- named memory ------------------------------------------------------------------------------------------------- */

/* One piece of memory under a name, for programs that need no more: five calls with the meaning of NSPR's named shared
 * memory (docs/from-nspr.md). It is an environment of that name with one region, so the calls above that look, and
 * regionctl(1), show it as one; the calls below refuse any other environment with REGION_E_INVALID, and NULL for a
 * name too: REGION_ENVIRONMENT is not looked at. */
enum region_named_flags {
        REGION_NAMED_CREATE = 1,    /* open: make it if there is none */
        REGION_NAMED_EXCLUSIVE = 2, /* with CREATE: REGION_E_EXISTS if there is one; of several makers one succeeds */
        REGION_NAMED_TEMPORARY = 4, /* with CREATE: what is made goes with its last holder */
        REGION_NAMED_READ_ONLY = 8, /* attach: for reading, which the kernel enforces */
};

/* Opens the named memory `name`, which has no slash; nothing of it is mapped yet. `size`: REGION_E_SIZE if it has less;
 * 0 takes what it has, and is REGION_E_INVALID with CREATE. `flags`: of the above, those for open. Whoever makes it
 * gives it the size, rounded up to whole pages, zeroed and reserved, so that a full memory is REGION_E_RESOURCE here
 * and nothing is left behind; and the permission bits `mode`, 0 being 0600 and the umask left alone. It stays until it
 * is deleted or the machine stops, unless TEMPORARY. Others who open it meanwhile wait until it is reserved. It is
 * opened for reading and writing, or for reading where the mode permits no more; REGION_E_DENIED where not even that.
 * REGION_E_NOT_FOUND: there is none, and no CREATE. */
enum region_result region_named_open(struct region_broker *broker, const char *name, size_t size, unsigned flags,
                                     mode_t mode, struct region_named **ret);
/* Maps it, each time at another address, for writing or for reading side by side. REGION_E_DENIED: for writing, where
 * it could be opened for reading only. One that was deleted meanwhile can still be attached. */
enum region_result region_named_attach(struct region_named *named, unsigned flags, void **ret);
/* Unmaps what was attached at that address. REGION_E_NOT_ATTACHED: `address` was not given by attaching with this
 * handle, or is detached already; nothing is done. */
enum region_result region_named_detach(struct region_named *named, void *address);
/* Its whole size. */
size_t region_named_size(const struct region_named *named);
/* Detaches all that is attached still, lets go of the memory and frees the handle. Takes NULL. */
void region_named_close(struct region_named *named);
/* Takes the name away at once; the owner may, and root. Whoever has it open keeps it, and it goes with the last of
 * them. Who opens the name from then on gets another memory, or none. */
enum region_result region_named_delete(struct region_broker *broker, const char *name);

/* --- what happens ------------------------------------------------------------------------------------------------ */

enum region_event_kind {
        REGION_EVENT_CREATED = 1,
        REGION_EVENT_READY,
        REGION_EVENT_ATTACHED,
        REGION_EVENT_DETACHED,
        REGION_EVENT_DIED,
        REGION_EVENT_DIRTY,
        REGION_EVENT_RECOVERING,
        REGION_EVENT_RECOVERED,
        REGION_EVENT_REGION_ADDED,
        REGION_EVENT_REGION_DELETED,
        REGION_EVENT_REMOVED,
        REGION_EVENT_RECLAIMED,
        REGION_EVENT_RETIRED,
        REGION_EVENT_REFUSED,
};

/* Fields may be added at the end. */
struct region_event {
        int64_t sequence;      /* grows */
        int64_t realtime_usec; /* since 1970 */
        enum region_event_kind kind;
        const char *environment;
        const char *region;                 /* NULL: the environment */
        pid_t pid;                          /* 0: nobody */
        uid_t uid;                          /* (uid_t)-1: nobody */
        const char *command;                /* NULL: nobody */
        const char *const *written_regions; /* died: what it had attached for writing */
        size_t n_written_regions;
        int exit_status;    /* died: -1 where the kernel does not tell */
        int signal;         /* died: by which, or 0 */
        const char *reason; /* one sentence: by which rule; or NULL */
        int64_t bytes;      /* -1: none to speak of */
        uint64_t missed;    /* in a watch: so many before this one are not remembered any more */
};

struct region_watch; /* of one thread at a time, and of the process that opened it: in its child REGION_E_FORKED */

/* Watches all that the caller may see, or one environment. `since` < 0: what happens from now on; else what is
 * remembered after that sequence number comes first, so that a watch goes on where another ended. It is a session of
 * its own; `socket` as in region_broker_connect(). */
enum region_result region_watch_open(const char *socket, const char *environment, int64_t since,
                                     struct region_watch **ret);
/* To poll for reading, the same for as long as the watch lives, which stays its owner and the only one to read. */
int region_watch_fd(const struct region_watch *watch);
/* Calls `each` for all events that are there, without waiting for more. The event is valid during that call. `each`
 * returns false to stop: the rest stays for the next time. Over a restart of the broker the watch goes on after its last
 * event; REGION_E_DISCONNECTED, once: it counts anew and what happened in between is not known; REGION_E_ABSENT: it has
 * been away for as long as a call may take, and is looked for on. */
enum region_result region_watch_dispatch(struct region_watch *watch,
                                         bool (*each)(const struct region_event *event, void *data), void *data);
/* Waits for one event, valid until the next call on the watch. `timeout_usec` 0: as long as it takes, or
 * REGION_NO_WAIT; over, it is REGION_E_TIMEOUT, and the watch goes on. */
enum region_result region_watch_next(struct region_watch *watch, int64_t timeout_usec, const struct region_event **ret);
/* Of the latest event that was told, or of the latest before the watch began. */
int64_t region_watch_sequence(const struct region_watch *watch);
/* Takes NULL. */
void region_watch_close(struct region_watch *watch);

struct region_explanation {
        const char *const *reasons; /* each one sentence */
        size_t n_reasons;
        const struct region_attachment *const *attachments;
        size_t n_attachments;
        const struct region_event *const *events; /* the newest last */
        size_t n_events;
};

/* Why an environment, or a region of it, is still there; or why it is gone. `name` NULL: as above. Free it with
 * region_explanation_free(), which takes NULL. */
enum region_result region_explain(struct region_broker *broker, const char *name, const char *region,
                                  struct region_explanation **ret);
void region_explanation_free(struct region_explanation *explanation);

/* --- a mutex in shared memory ------------------------------------------------------------------------------------- */

/* A mutex between processes that outlives its owner: who locks it after a process died with it, or a thread ended with
 * it, is told so, and of which process. It lies in a region, at a multiple of 64 bytes, zeroed until it is initialised,
 * once, by the initializer (or anew by the recoverer, when nobody uses it). Not recursive. Memory with a mutex that
 * this thread has locked must not be unmapped. It needs no broker and no handle. The calls return what is said here,
 * and REGION_E_INVALID: it is none, or locked by this thread, or not locked by it.
 *
 * There is no semaphore and no read-write lock. The kernel hands on what has one owner; of a semaphore's count, or of
 * the number of readers, nobody can tell which part a dead process had, and so its share cannot be given back. Build
 * them from this mutex and memory under it, where each holder writes down who it is. */
struct region_mutex {
        uint64_t opaque[16];
} __attribute__((aligned(64)));

struct region_mutex_info {
        pid_t pid;          /* the owner, as its own pid namespace counts; 0: nobody, or just coming or going */
        char command[16];   /* its command */
        uint64_t recovered; /* how often it was made consistent after a death */
        uint64_t reserved[4];
};

enum region_result region_mutex_init(struct region_mutex *mutex);
/* REGION_E_OWNER_DIED: it is locked by this thread, and what it protects may be half changed. The dead is in
 * region_last_error(), its pid 0 if it died in the moment of locking or unlocking. Repair it, then call
 * region_mutex_consistent(). If instead it is unlocked, it is given up: all further locking is
 * REGION_E_NOT_RECOVERABLE, until it is initialised anew. */
enum region_result region_mutex_lock(struct region_mutex *mutex);
/* REGION_E_BUSY and REGION_E_TIMEOUT name the owner. */
enum region_result region_mutex_trylock(struct region_mutex *mutex);
enum region_result region_mutex_timedlock(struct region_mutex *mutex, int64_t timeout_usec);
enum region_result region_mutex_consistent(struct region_mutex *mutex);
enum region_result region_mutex_unlock(struct region_mutex *mutex);
/* Nobody may use it from then on. REGION_E_BUSY: somebody has it. */
enum region_result region_mutex_destroy(struct region_mutex *mutex);
/* Who has it at the moment. */
enum region_result region_mutex_look(const struct region_mutex *mutex, struct region_mutex_info *ret);

/* --- words -------------------------------------------------------------------------------------------------------- */

/* The words of the contract for an enum's value ("memfd", "ready", …); "?" where there is none. And back: 0. */
const char *region_backing_word(enum region_backing backing);
const char *region_access_word(enum region_access access);
const char *region_lifetime_word(enum region_lifetime lifetime);
const char *region_state_word(enum region_state state);
const char *region_role_word(enum region_role role);
const char *region_standing_word(enum region_standing standing);
const char *region_event_word(enum region_event_kind kind);
enum region_backing region_backing_from_word(const char *word);
enum region_lifetime region_lifetime_from_word(const char *word);

#pragma GCC visibility pop
#ifdef __cplusplus
}
#endif
