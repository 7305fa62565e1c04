#pragma once

/* The broker without a server: callers ask its verbs directly, time is made up, and what the loop would do is done when the
 * test says so. A test ends with nothing left in the broker; that is checked after each. */

#include "daemon/broker.h"
#include "tests/support/check.h"
#include "tests/support/child.h"

#include <stdbool.h>

extern struct broker room;
const char *room_state(void);      /* its state directory, which is empty again in the end */
char *room_path(const char *name); /* of something in it, which the caller frees */

/* A new case of the suite, each test of which has a room of its own, and then `setup`, which may be NULL. */
TCase *room_case(Suite *suite, const char *name, SFun setup);

/* The broker ends, and another begins. */
void room_restart(void);
/* Where its ledger is. */
const char *room_runtime(void);
/* The law: what is written down is what is true, and who reads it knows the same. Writes what has changed first. */
void room_check_ledger(void);

/* One session, and the one call that it may have parked. Zero-initialised it is none. */
struct caller {
        struct peer peer;
        struct request request;
        struct child child; /* its process; pid 0: the test itself */
        int socket;         /* the broker's end */
        int own_end;        /* the other, where the test itself is the process; else -1 */
        enum { ASKS_NOTHING, ASKS_OPEN, ASKS_REMOVE } asks;
        struct open_args open_args;
        struct remove_args remove_args;
        int r;                /* what the last call came to: 0, a refusal, REFUSED_WAIT, or -errno */
        struct opened opened; /* by the last Open */
        int64_t bytes;        /* by the last Remove */
};

/* --- callers ----------------------------------------------------------------------------------------------------- */

/* A session of the test's own process. */
void caller_connect(struct caller *caller);
/* A session of a process of its own, which lives until it is told otherwise. */
void caller_start(struct caller *caller);
/* The same with more than one connection, the others being for caller_answer(). */
void caller_start_with_calls(struct caller *caller, int n);
/* A further session of whoever has called before; what broker_connect() said. */
int caller_answer(struct caller *caller);
/* A refused connection: what broker_connect() said; nothing is left of the caller. */
int caller_try(struct caller *caller, struct refusal *refusal);
/* Makes it somebody else for what it asks from now on. */
void caller_become(struct caller *caller, uid_t uid, gid_t gid);
/* An orderly end of the session alone; what follows from it is not settled yet. */
void caller_hang_up(struct caller *caller);
/* An orderly end of the session, and of its process. */
void caller_leave(struct caller *caller);
/* Its process is killed, and the broker hears of it. */
void caller_die(struct caller *caller);

/* --- what they ask ----------------------------------------------------------------------------------------------- */

/* A fresh request for a verb that does not wait. */
struct request *caller_request(struct caller *caller);
/* Opens, waiting as long as it takes. What was opened is closed with the next call. */
int caller_open(struct caller *caller, const char *name, enum create create, const struct definition *definition);
/* The same with all that can be said. `wait`: microseconds from now; -1: as long as it takes. */
int caller_open_as(struct caller *caller, const struct open_args *args, int64_t wait);
int caller_join(struct caller *caller, const char *name);
int caller_ready(struct caller *caller, const char *name);
/* Closes what it opened, and says so. */
int caller_detach(struct caller *caller, const char *name);
/* `wait`: 0 does not wait. */
int caller_remove(struct caller *caller, const char *name, bool force, int64_t wait);

/* Opens, as its creator, and says that it is ready; fails the test if that is not possible. */
struct environment *caller_create(struct caller *caller, const char *name, const struct definition *definition);

/* --- the loop ---------------------------------------------------------------------------------------------------- */

/* Parked calls that may succeed now are asked again. All that is called after a verb or an event does so, too. */
void room_settle(void);
/* Time passes, and what falls due in it is done in its order. */
void room_pass(int64_t usec);
/* What died is buried. */
void room_hear_deaths(void);
/* Waits until something that is watched was closed. */
void room_hear_close(void);

/* --- definitions ------------------------------------------------------------------------------------------------- */

/* One region "r1", or two, "r1" and "r2", of one page each, and nothing else said. */
struct definition room_define(enum backing backing, size_t n_regions);

/* Maps a region as a client does, keeping nothing else; a caller's own process ends with it. */
void *room_map(const struct grant *grant);
void room_unmap(const struct region *region, void *bytes);
