#pragma once

#include "daemon/host/record.h"

#include <sys/queue.h>
#include <sys/types.h>

struct broker;

/* Sessions as they are written down on an orderly stop, for the broker that comes after us and goes on with them. Their
 * sockets are with the service manager meanwhile. */

/* A call that waits, or has more to say: what it asked for, and how far it is. */
struct call_record {
        char *text; /* owned; NULL: none */
        bool refused_fds;
        int64_t until; /* CLOCK_MONOTONIC, which goes on as long as the machine runs; -1: never */
        bool again;
        bool watches;
        int64_t missed;
        uint64_t awaited_id;
        int64_t awaited_bytes;
        uint64_t cursor;
};

struct member_key {
        uint64_t environment, number;
};

struct session_record {
        uint64_t number;     /* by which its socket is found */
        uint64_t process_id; /* whose it has to be */
        uid_t uid;
        bool is_over;     /* there are only descriptors that were not taken */
        bool input_ended; /* nothing more is to be read */
        int64_t n_unread; /* descriptors that were not taken */
        char *input;      /* what was read and not answered yet; owned, or NULL */
        size_t n_input;
        size_t refused; /* stream_copy_input() */
        char *output;   /* what was not sent yet; owned, or NULL */
        size_t n_output;
        struct member_key *members; /* owned */
        size_t n_members;
        struct call_record call;
        TAILQ_ENTRY(session_record) link;
};

TAILQ_HEAD(session_records, session_record);

/* What all of them may have in messages under way: peers decide how much that is, and the ledger is in memory. */
enum { SESSIONS_MAX_BYTES = 16 * 1024 * 1024 };

/* Takes NULL. */
struct session_record *session_record_free(struct session_record *record);
/* Frees all. */
void session_records_clear(struct session_records *records);

/* Writes all of them, in their order, after what has changed. -errno: none is written. */
int sessions_write(struct broker *broker, const struct session_records *records);
/* One that was written, which is read once: it comes to broker->sessions_before. One that cannot be read, as another version
 * may have written it, is lost alone, and that is said in the log. -ENOMEM. */
int sessions_read(struct broker *broker, uint64_t number, struct reading *reading);
