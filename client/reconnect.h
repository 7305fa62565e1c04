#pragma once

/* A session whose connection was lost goes on, on another one. */

#include "client/session.h"

/* For callers inside, with the connection closed. Connects it, waiting until the deadline for a broker that is just being
 * started again; an impatient session does not wait. REGION_E_ABSENT: none came. */
enum region_result reconnect_wait(struct region_broker *broker, int64_t deadline);
/* The same, and takes up again what the session had: its environments, with what it has of them. One that this broker knows
 * nothing of is `gone` from then on. */
enum region_result reconnect(struct region_broker *broker, int64_t deadline);

/* Brings back what this process has of the environment and the broker lost. Fails only with the connection. */
enum region_result reconnect_offer(struct region_env *env, const struct environment_view *view, int64_t deadline);

/* The broker could not be told that the session left the region, or the environment where `region` is NULL: it is told when it
 * is back. */
void reconnect_remember(struct region_env *env, const char *region);
/* Forgets all that was to be told. */
void reconnect_forget(struct region_broker *broker);
