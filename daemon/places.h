#pragma once

#include "daemon/broker.h"

/* Where environments may lie that come back (homecoming.h). */

/* At the start: all that the state directory leads to. What cannot be taken in is reported and left alone. */
void places_look_at_all(struct broker *broker);
/* What lies at the home of an environment that is to be opened or made, or has its name (`home` NULL: none is said). 0: it is
 * known from now on, or there is nothing; REFUSED_RESOURCE: it is left alone, in words for who may make an environment there.
 * -ENOMEM. */
int places_look_for(struct broker *broker, struct request *request, const char *name, const char *home);
