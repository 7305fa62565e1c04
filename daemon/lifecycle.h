#pragma once

#include "daemon/broker.h"

/* What happens to an environment as its members come and go. */

/* Writes down what it is, then shows it to its members. */
void lifecycle_show(struct broker *broker, struct environment *environment);
/* Its content is fit for use, made anew or repaired by `process`: those who wait go on. */
void lifecycle_set_ready(struct broker *broker, struct environment *environment, const struct process *process);
/* This member alone repairs it. */
void lifecycle_set_recovering(struct broker *broker, struct member *recoverer);
/* Its content is as a member needs it who did not make it: neither being made nor in need of repair. */
bool lifecycle_is_open_to(const struct environment *environment, const struct member *member);
/* The refusal where it is not: REFUSED_RECOVERY, or REFUSED_NOT_READY. */
int lifecycle_refuse(struct request *request, struct environment *environment);
/* Nobody new is let in, and the members are told. */
void lifecycle_set_draining(struct broker *broker, struct environment *environment, bool draining);
/* Its memory loses its name or key, which is written down to happen; those who were granted it keep it. */
void lifecycle_unname_region(struct broker *broker, struct region *region);
/* It loses its name, its keys and its files' names at once; what its holders have mapped stays with them, and each
 * region goes on its own proof. `rule` says why. May free it. */
void lifecycle_retire(struct broker *broker, struct environment *environment, const char *rule);
/* A member leaves, in an orderly way or by dying. May free the environment. */
void lifecycle_leave(struct broker *broker, struct member *member, bool died);
/* It lets go of one region. May free the region's environment, unless the member is in it. */
void lifecycle_let_go(struct broker *broker, struct attachment *attachment, bool said_so);
