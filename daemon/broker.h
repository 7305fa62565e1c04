#pragma once

#include "daemon/core/history.h"
#include "daemon/core/registry.h"
#include "daemon/core/setting.h"
#include "daemon/host/deaths.h"
#include "daemon/host/identity.h"
#include "daemon/host/watch.h"
#include "daemon/keeping.h"
#include "daemon/ledger.h"
#include "daemon/sessions.h"
#include "proto/terms.h"

/* The verbs of the service. Each takes who asks and what for, and either does the whole of it or nothing.
 *
 * Results of verbs: 0 done; > 0 a refusal (enum refusal_code), its facts in request->refusal; < 0 -errno, memory ran out
 * for the bookkeeping. REFUSED_WAIT is no answer: the call is parked and comes back by broker_next_woken(), to be asked
 * again with the same request. */

struct counters {
        int64_t calls, refused, sessions, sessions_refused, deaths;
        int64_t created, joined, retired, removed, reclaimed, reclaimed_regions, reclaimed_bytes;
};

struct broker_settings {
        struct limits limits;
        const char *socket;            /* what references tell; NULL where there is none */
        const char *runtime_directory; /* for the ledger and what goes with it; NULL: nothing is kept */
        const char *state_directory;   /* for file regions of environments without a home; NULL: there is none */
        /* Gives memory back where that takes long, without making anybody wait; NULL: at once. */
        void (*give_back)(void *data, struct memory *memory);
        void *give_back_data;
        struct keeper keeper;
        /* Goes on with the sessions of the broker before us: what was written is true again, and nothing has followed from
         * what happened meanwhile. NULL: nobody does. */
        void (*take_up)(void *data);
        void *take_up_data;
};

struct broker {
        struct broker_settings settings;
        struct registry registry;
        struct agenda agenda;
        struct deaths deaths;
        struct watch watch;
        struct waiters woken, watchers;
        struct history history;
        struct counters counters;
        struct ledger ledger;
        struct session_records sessions_before; /* of the broker before us, until they are gone on with */
        const struct settings *told;            /* borrowed: what is in force, for those who ask; NULL: not known */
        uint64_t ipc_namespace;
        int64_t huge_page_size; /* of the pool; 0: there is none */
        int32_t next_key;       /* where to look for free System V keys */
        int64_t now;            /* CLOCK_MONOTONIC, of this turn of the loop */
        int64_t realtime;       /* CLOCK_REALTIME, likewise */
        int64_t started_usec;   /* realtime */
        bool held_back;         /* some of what lies in the places that we know of cannot be taken in yet */
        char why[512];          /* the sentence of a refusal that had to be put together */
        bool stopping;          /* sessions end because we do: that nothing follows from */
        bool keeps;             /* and another broker goes on with what there is */
        int keeper_failure;     /* of the latest that was to be kept, -errno; 0: none */
};

struct request {
        struct peer *peer;
        struct waiter waiter;
        int64_t until;         /* when to give up waiting, as broker->now; -1: never */
        bool again;            /* this is not the first attempt */
        bool watches;          /* it is charged as a watch */
        int64_t missed;        /* by the watch, and not told yet */
        uint64_t awaited_id;   /* Remove: of the environment it waits for */
        int64_t awaited_bytes; /* and its size */
        struct refusal refusal;
};

int broker_init(struct broker *broker, const struct broker_settings *settings); /* -errno */
/* What was configured is in force from now on, and stays where it is until the next time. What exists stays as it is. */
void broker_configure(struct broker *broker, const struct limits *limits, const struct rules *rules,
                      const struct settings *told);
/* Goes on with what the broker before left, the time being set. Before anybody is served. -errno, said so in the log. */
int broker_recover(struct broker *broker);
/* The sessions are about to be ended, because the service does. `keep`: all stays for the broker that comes after us; else
 * what lives in memory goes with its last holder, and persistent files stay. */
void broker_stop(struct broker *broker, bool keep);
/* No session is left. */
void broker_deinit(struct broker *broker);
/* What has changed is written down; before anything of it is sent to anybody. */
void broker_commit(struct broker *broker);

/* The time of this turn, from both clocks, in microseconds. */
void broker_set_time(struct broker *broker, int64_t monotonic, int64_t realtime);
/* When broker_run_due() has something to do, or -1. */
int64_t broker_next_due(const struct broker *broker);
void broker_run_due(struct broker *broker);
/* Handles the news of broker->watch.fd. */
void broker_run_watch(struct broker *broker);

/* A session begins: fills `peer`, which stays at its place. Takes the identity over, also on failure. REFUSED_QUOTA, or
 * -errno. */
int broker_connect(struct broker *broker, struct identity *identity, uint64_t connection, struct peer *peer,
                   struct refusal *refusal);
/* A session of the broker before us goes on, whatever the limits say now. -ESTALE: its socket belongs to another; -errno. */
int broker_reconnect(struct broker *broker, struct identity *identity, uint64_t connection, struct peer *peer,
                     const struct session_record *record);
/* And nothing can fail any more: what it was a member of is its own again. */
void broker_rejoin(struct peer *peer, const struct session_record *record);
/* It ends: by the death of its process, or an orderly leave. */
void broker_disconnect(struct broker *broker, struct peer *peer, bool died);
/* A process that died, for the news of broker->deaths.fd; NULL: no more. The caller ends its sessions, then calls
 * broker_bury(). */
struct process *broker_next_death(struct broker *broker);
void broker_bury(struct broker *broker, struct process *process);

/* Our own, with a reference for the caller: -errno. */
int broker_find_self(struct broker *broker, struct process **ret);
/* References to a process: while there are any, its death is followed. */
struct process *broker_retain_process(struct process *process);
void broker_release_process(struct broker *broker, struct process *process);

/* A parked call that is to be asked again; NULL where there is none. */
struct waiter *broker_next_woken(struct broker *broker);
/* It will not be asked again: its session ended. Harmless where it is not parked. */
void broker_unpark(struct broker *broker, struct waiter *waiter);

/* What one region was granted as. */
struct grant {
        struct region *region;
        enum access access;
        int fd; /* owned; -1 for sysv and private */
};

struct opened {
        struct environment *environment;
        enum role role;
        bool created;
        int control_fd; /* owned */
        struct grant *grants;
        size_t n_grants;
};
void opened_deinit(struct opened *opened);

int broker_open(struct broker *broker, struct request *request, const struct open_args *args, struct opened *ret);
int broker_ready(struct broker *broker, struct request *request, const char *name, uint64_t *ret_generation);
int broker_add_region(struct broker *broker, struct request *request, const struct add_region_args *args,
                      struct grant *ret);
int broker_attach(struct broker *broker, struct request *request, const struct attach_args *args, struct grant *ret);
int broker_detach(struct broker *broker, struct request *request, const struct detach_args *args);
int broker_delete_region(struct broker *broker, struct request *request, const struct delete_region_args *args);
int broker_remove(struct broker *broker, struct request *request, const struct remove_args *args, int64_t *ret_bytes);
/* By name, or by the path of its home, however that is spelt; NULL where there is none. */
struct environment *broker_find(struct broker *broker, const char *name);
/* That whose home had this path when it was made; by now the path may lead elsewhere. */
struct environment *broker_find_home(struct broker *broker, const char *path);
/* After fork(2): the caller says that it still holds what it inherited. It becomes a member that holds what it names or,
 * where it names nothing, all that it may. */
int broker_adopt(struct broker *broker, struct request *request, const struct adopt_args *args,
                 struct environment **ret);
/* After the connection was lost: the caller says that it is still a member of the environment with that id. */
struct resumed {
        struct environment *environment;
        enum role role;
        int control_fd; /* owned */
};
int broker_resume(struct broker *broker, struct request *request, const struct resume_args *args, struct resumed *ret);
/* Brings back the memory of a region that is missing, by `fd`, which stays the caller's. */
int broker_offer(struct broker *broker, struct request *request, const struct offer_args *args, int fd);
/* A watch begins, and ends with broker_unwatch(), which is harmless where none is. `since` < 0: from now on. */
int broker_watch(struct broker *broker, struct request *request, int64_t since, uint64_t *ret_cursor);
void broker_unwatch(struct request *request);
/* One that began in the broker before us goes on. */
void broker_go_on_watching(struct request *request);
/* The next event after *cursor that the peer may hear of, of that environment (NULL: of all), moving the cursor to it; NULL
 * where there is none yet. *ret_missed: so many before it are forgotten. */
const struct event *broker_next_event(struct broker *broker, struct request *request, const char *environment,
                                      uint64_t *cursor, int64_t *ret_missed);
/* Parks the watch until something happens: REFUSED_WAIT. */
int broker_await_event(struct broker *broker, struct request *request);
bool broker_may_hear(const struct request *request, const struct event *event, const char *environment);
/* One that the peer may see, for Describe. */
int broker_describe(struct broker *broker, struct request *request, const char *name, struct environment **ret);
/* The next after `*id` that the peer may see, for List; NULL after the last. */
struct environment *broker_list(struct broker *broker, const struct peer *peer, uint64_t id);
