#pragma once

#include "daemon/core/agenda.h"
#include "daemon/core/peer.h"
#include "proto/message.h"
#include "proto/stream.h"

#include <stdbool.h>
#include <sys/queue.h>
#include <uv.h>

struct exchange;
struct identity;
struct refusal;
struct server;
struct session_record;

/* One peer: its socket, and the one call that is being answered. Calls are answered strictly in their order, so while one
 * waits the next ones are left in the socket. */
struct session {
        struct server *server;
        struct peer peer;
        struct stream stream;
        struct exchange *exchange; /* the call that is being answered, or NULL */
        uv_poll_t poll;
        int polled;               /* the events that it is told of */
        struct agenda_item stall; /* when a peer that takes nothing, or has hung up, is given up */
        struct agenda_item retry; /* when descriptors that had to wait are sent again */
        int64_t retry_interval;   /* 0 while none wait */
        bool input_ended;         /* there is nothing more to read: half-closed, or what came was no Varlink */
        bool half_closed;         /* known while a call is under way, so that nobody asks again */
        bool hung_up;             /* it ends: by death, if that is told soon, else by leaving */
        LIST_ENTRY(session) in_server;
};

/* Takes the identity over, also on failure, and the socket where it succeeds. 0; REFUSED_QUOTA with its facts; -errno. */
int session_new(struct server *server, int fd, struct identity *identity, struct refusal *refusal);
/* Goes on with one of the broker before us, from its next session_step() on; ownership likewise. -ESTALE: the socket is not
 * its own; -errno. */
int session_resume(struct server *server, int fd, struct identity *identity, struct session_record *record);
/* It is over: leaves everything, and frees when the loop allows. */
void session_end(struct session *session, bool died);

/* Reads, answers and sends until it would block or the session ends, which frees it. */
void session_step(struct session *session);

/* Its connection is over: ends it, by death if that is told soon. May free it. */
void session_hang_up(struct session *session);

/* Its process has died: what is still in the socket is read and done; the answers are for nobody. Does not free it. */
void session_hear_out(struct session *session);

/* Queues one message for the peer; takes over text and descriptors. */
int session_send(struct session *session, struct text *text, struct fdset *fds);
/* From now on a call may come with one descriptor. */
void session_expect_fd(struct session *session);
/* So many answers wait to be read that no more should be made. */
bool session_is_congested(const struct session *session);
