#pragma once

#include "daemon/broker.h"

/* The declared environments, when the broker starts and each time that the files were read anew. */

/* Makes those that are to be there from the start. Of those that are there already it says in the log where they differ from
 * what is declared, and changes nothing; likewise why one could not be made. */
void declared_settle(struct broker *broker);
