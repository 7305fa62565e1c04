#pragma once

#include "daemon/core/agenda.h"
#include "proto/stream.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>
#include <sys/types.h>

struct account;
struct server;
struct session;

/* The socket of a session that is over, for as long as its peer has not taken all that it was sent. */
struct leftover {
        struct stream stream;
        struct account *account;
        LIST_ENTRY(leftover) link;
};

/* Descriptors that peers were sent and have not taken yet. */
struct unread {
        LIST_HEAD(, leftover) leftovers; /* of sessions that are over */
        struct agenda_item look;
        int64_t interval;
        int64_t settled_at;
};

/* The session ends: what its peer has not taken stays charged to its user until it is. */
void unread_keep(struct server *server, struct session *session);
/* The same of a session that was over in the broker before us. Takes the socket over, also on failure. -ENOMEM. */
int unread_take_up(struct server *server, int fd, uid_t uid, int64_t n_unread);
/* Takes off the accounts what was read since. Asked again soon it does nothing. */
void unread_settle(struct server *server);
/* The service ends, and nothing is charged to anybody any more. */
void unread_deinit(struct server *server);
