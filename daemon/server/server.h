#pragma once

#include "daemon/broker.h"
#include "daemon/server/handover.h"
#include "daemon/server/manager.h"
#include "daemon/server/unread.h"

#include <stdbool.h>
#include <sys/queue.h>
#include <uv.h>

struct session;

enum { LISTENERS_MAX = 8 };

/* The loop around the broker: listening sockets, sessions, the news of deaths and closes, the clock. */
struct server {
        uv_loop_t *loop;
        struct broker *broker;
        uv_poll_t listeners[LISTENERS_MAX];
        int listening[LISTENERS_MAX]; /* owned */
        unsigned n_listeners;
        int reserve; /* a descriptor kept back, to turn callers away with when there are no more */
        uv_poll_t deaths, watch;
        int hang_ups; /* an epoll set of sockets of which nothing but the hang-up is still of interest; owned */
        uv_poll_t hang_ups_poll;
        uv_timer_t timer;
        uv_prepare_t settle;
        uv_signal_t signals[2];
        uint64_t last_connection;
        bool stopping;
        LIST_HEAD(, session) sessions;
        struct unread unread;
        struct manager manager;
        struct handover handover;
};

/* The sockets of a server, which it takes over. */
struct server_sockets {
        int listening[LISTENERS_MAX];
        unsigned n_listening;
        int given; /* a connection that is there from the beginning, and as long as which we serve; -1: none */
};

/* The time without anybody and the service manager were set by manager_init(), and who keeps sessions in `handover`. -errno. The broker stays the caller's; it is
 * given the server's thread pool for what takes long. */
int server_init(struct server *server, uv_loop_t *loop, struct broker *broker, struct server_sockets *sockets);
/* Ends all sessions that are not handed over, without a word to anybody, and closes all handles but those of the signals, which do nothing any more;
 * the loop then runs dry. `keep`: another broker goes on with what there is. Again is harmless. */
void server_stop(struct server *server, bool keep);
/* The very last: lets go of the signals, too, and ignores what still comes. */
void server_finish(struct server *server);

/* Tells a session whose peer has shut down its side, and waits for an answer, when it hangs up for good. Until then its
 * socket is readable all the time, so that it cannot be waited for in the loop. */
void server_await_hang_up(struct server *server, struct session *session);
void server_forget_hang_up(struct server *server, struct session *session);

/* The clock of this turn goes to the broker; first thing in every callback. */
void server_tick(struct server *server);

/* For broker_settings: hands memory to a thread of the pool, which gives it back. `data` is the loop. */
void server_give_back(void *data, struct memory *memory);
