#pragma once

#include "daemon/broker.h"

/* Parks a call at an environment, or refuses: 0 may not wait (no time is left), REFUSED_WAIT, REFUSED_QUOTA. */
int waiting_park(struct broker *broker, struct request *request, struct environment *environment, bool creates,
                 bool removes);
/* Parks a watch until something happens, or refuses: REFUSED_WAIT. */
int waiting_park_watch(struct broker *broker, struct request *request);
void waiting_wake_watchers(struct broker *broker);

/* All calls parked there are to be asked again. Those that could create go first: when the environment has gone, one
 * of them makes it anew, and the others find it. */
void waiting_wake_all(struct broker *broker, struct environment *environment);
/* Those that wait for it to be free. */
void waiting_wake_removers(struct broker *broker, struct environment *environment);
/* Nobody waits for it to be free any more: lets openers in again. */
void waiting_end_drain(struct broker *broker, struct environment *environment);
