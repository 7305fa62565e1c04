#pragma once

/* What the verbs share: a session, a raw call, and how a failure of libregion becomes an exit code. */

#include "client/ctl/options.h"
#include "client/ctl/verbs.h"
#include "proto/message.h"

#include <stdbool.h>

#define INTERFACE "org.regionbroker"

/* Connects as the options say; the exit code. */
int broker_open(const struct options *options, struct region_broker **ret);

/* The environment that the first operand names, or that of region_env_default_name() where there is none; the exit
 * code. */
int named_environment(const struct options *options, const char **ret);

/* Says what libregion says of the call that just failed; the exit code. */
int fail(void);
int out_of_memory(void);

/* The parameters of a call as JSON: from pairs of a member and its value, ended by NULL; a pair without a value is
 * left out. The exit code. */
__attribute__((sentinel)) int write_parameters(struct text *text, const char *member, const char *value, ...);

/* Asks for one reply: its parameters as a string in `reply`. The exit code. */
int call_once(struct region_broker *broker, const char *method, const char *parameters, struct text *reply);

/* The parameters of a reply, as libregion hands them out, as the struct of the method's result. `ret` points into the
 * arena and the reply; the caller frees both, also on failure. The exit code. */
int read_reply(const char *json, const char *method, struct arena *arena, struct reply **ret_reply, void *ret);

static inline void broker_closep(struct region_broker **broker)
{
        region_broker_close(*broker);
}
