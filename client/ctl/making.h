#pragma once

/* The verbs that make, hold and remove; each is the `run` of its row in verbs.c. */

struct options;

int verb_create(struct options *options);
int verb_hold(struct options *options);
int verb_remove(struct options *options);
