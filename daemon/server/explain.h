#pragma once

#include "proto/terms.h"

struct exchange;

/* The history of one environment that Explain tells at the most. */
enum { EXPLAIN_EVENTS_MAX = 200 };

/* Why it is still there, or why it is gone: 0, a refusal, or -ENOMEM. All is made in the exchange's arena. */
int explain(struct exchange *exchange, const struct explain_args *args, struct explain_result *ret);
