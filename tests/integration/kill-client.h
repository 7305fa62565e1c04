#pragma once

#include "tests/integration/kill-stage.h"

/* A program that uses the broker as programs do, at random: it opens or creates environments, fills and checks their
 * pages, adds and deletes regions, forks children, passes descriptors on, and leaves or not. Each step is told as one byte
 * of enum step through `steps` before it is taken. */

/* In a child just forked. Does not return. */
_Noreturn void client_run(const struct stage *stage, unsigned number, int steps);
