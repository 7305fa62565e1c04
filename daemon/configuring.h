#pragma once

#include "daemon/broker.h"
#include "daemon/configuration.h"
#include "daemon/options.h"

/* What the files say and what the command line says over it. -ENOMEM; nothing is complained of yet. */
int configuring_read(const struct options *options, struct configuration *ret);
/* Says in the log what is wrong in the files. */
void configuring_complain(const struct configuration *configuration);
/* For --check-config: says on standard output what is wrong, or that nothing is. Whether nothing is. */
bool configuring_check(const struct configuration *configuration);

/* Puts it in force. It stays the caller's, and where it is. */
void configuring_apply(const struct configuration *configuration, struct broker *broker);
/* Reads the files anew and puts what they say in force, in place of `current`. Where a file cannot be read all stays as it
 * was, for what it said would be lost: -EAGAIN; -ENOMEM. Either way the log says so. */
int configuring_reload(const struct options *options, struct configuration *current, struct broker *broker);
