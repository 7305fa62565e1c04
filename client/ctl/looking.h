#pragma once

/* The verbs that look and change nothing; each is the `run` of its row in verbs.c. */

#include "client/ctl/options.h"

int verb_status(struct options *options);
int verb_config(struct options *options);
int verb_list(struct options *options);
int verb_show(struct options *options);
int verb_explain(struct options *options);
int verb_stat(struct options *options);
int verb_watch(struct options *options);

/* What `show` prints as JSON; the exit code. */
int show_json(struct region_broker *broker, const char *name, enum json_mode mode);
