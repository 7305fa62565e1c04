#pragma once

struct bags;
struct server;

/* The sessions of living clients outlast an orderly stop under a service manager that keeps descriptors: it has their sockets
 * until the next broker goes on with them, and what is under way in them is in the ledger. */

struct handover {
        struct bags *bags; /* borrowed; NULL: there is no such manager */
};

/* Before the broker stops: nothing is read from then on. A session that cannot be kept is ended with all the others, which is
 * said in the log; what those had that are kept is no longer counted here. */
void handover_give(struct server *server);
/* Takes up what the broker before us gave; for broker_settings.take_up. `data` is the server. */
void handover_take(void *data);
/* They go on: what they have said is heard, and what waited waits again. */
void handover_go_on(struct server *server);
