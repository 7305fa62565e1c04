#pragma once

#include "daemon/core/environment.h"
#include "daemon/core/history.h"
#include "daemon/core/peer.h"
#include "daemon/host/memory.h"
#include "daemon/host/record.h"

/* The layouts of what is kept. Each record begins with its version; one of another version is not read. */

/* A process as it is kept: enough to find it again, and no other. */
struct process_record {
        uint64_t id;
        pid_t pid;
        uid_t uid;
        char command[COMMAND_MAX_BYTES + 1];
};

/* What holds for all of the ledger. */
struct ledger_record {
        char *boot;             /* owned; of another boot nothing is left but files */
        uint64_t ipc_namespace; /* in which System V ids mean something */
        uint64_t instance;
        uint64_t last_id, last_member, last_event;
        int32_t next_key;
};

void ledger_record_put(struct record *record, const struct ledger_record *ledger);
int ledger_record_take(struct reading *reading, struct ledger_record *ret); /* -EBADMSG */
void ledger_record_clear(struct ledger_record *ledger);

/* An environment with its regions, and without its members. */
void environment_record_put(struct record *record, const struct environment *environment);

struct environment_record {
        struct environment *environment; /* its regions have no memory yet, and it is in no registry. Owned */
        struct memory_trace *traces;     /* where the memory of each is, in their order. Owned */
        size_t n_traces;
        struct process_record creator;
        uint64_t initializer, recoverer; /* numbers of members; 0: nobody */
};

int environment_record_take(struct reading *reading, struct environment_record *ret); /* -EBADMSG, -ENOMEM */
void environment_record_clear(struct environment_record *record);

/* One member, and what it was granted. */
void member_record_put(struct record *record, const struct member *member);

struct grant_record {
        uint64_t region; /* its id */
        enum access access;
        int64_t since_usec;
};

struct member_record {
        struct process_record process;
        int64_t session;
        gid_t gid;
        enum access access;
        int64_t since_usec;
        struct grant_record *grants; /* owned */
        size_t n_grants;
};

void member_record_clear(struct member_record *member);
int member_record_take(struct reading *reading, struct member_record *ret); /* -EBADMSG, -ENOMEM */

void event_record_put(struct record *record, const struct event *event);
int event_record_take(struct reading *reading, struct event **ret); /* -EBADMSG */
