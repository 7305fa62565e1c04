#pragma once

#include "daemon/core/agenda.h"

#include <stdbool.h>
#include <stdint.h>

struct notify;
struct server;

/* What the service manager hears from the loop, and the end of a broker that nobody needs. */
struct manager {
        struct notify *notify; /* borrowed */
        struct agenda_item status, alive, idle;
        int64_t told_usec; /* when it was told of our state last */
        int64_t idle_usec; /* how long to stay without sessions and environments; -1: for ever */
        bool serves_given; /* connections were passed to us: without them, and any other, it is over */
        bool is_over;      /* the time without anybody has passed */
        int64_t told[4];   /* what that was */
};

void manager_init(struct manager *manager, struct notify *notify, int64_t idle_usec);
/* We serve. What was kept for a broker before us and belongs to nothing is dropped, said so in the log. */
void manager_begin(struct server *server);
/* At the end of each turn of the loop: true when the broker is to end, for nobody needs it. */
bool manager_settle(struct server *server);
void manager_end(struct server *server);
