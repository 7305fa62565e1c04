#pragma once

#include "daemon/core/agenda.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>

struct leftover;
struct server;
struct session;

/* Descriptors that peers were sent and have not taken yet. */
struct unread {
        LIST_HEAD(, leftover) leftovers; /* of sessions that are over */
        struct agenda_item look;
        int64_t interval;
        int64_t settled_at;
};

/* The session ends: what its peer has not taken stays charged to its user until it is. */
void unread_keep(struct server *server, struct session *session);
/* Takes off the accounts what was read since. Asked again soon it does nothing. */
void unread_settle(struct server *server);
/* The service ends, and nothing is charged to anybody any more. */
void unread_deinit(struct server *server);
