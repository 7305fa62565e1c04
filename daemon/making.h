#pragma once

#include "daemon/broker.h"

/* Makes the memory of one region as its environment wants it; private regions have none. 0, a refusal, or -EEXIST: its
 * System V key is taken. */
int making_make(struct broker *broker, struct request *request, const struct environment *environment,
                struct region *region);
/* Gives it its name, where it has one. 0 or a refusal; then the memory is still to be released. */
int making_name(struct request *request, struct region *region);
