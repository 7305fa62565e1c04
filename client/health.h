#pragma once

/* The control page of an environment as this process sees it: mapped for reading, written by the broker. */

#include "client/libregion.h"

#include "proto/control.h"
#include "proto/fdset.h"

/* Maps the page that came with an answer, taking its descriptor out of `fds`. REGION_E_PROTOCOL: it is no control page,
 * or one that could be cut off below us, or of another version. `name`: of the environment, for sentences. */
enum region_result health_map(const char *name, int64_t index, struct fdset *fds, const struct control_page **ret);
/* The page that came with a later answer, and mostly is the same, is mapped in the place of the other as well. */
enum region_result health_replace(const char *name, const struct control_page *page, const struct control_page *fresh);
/* Takes NULL. */
void health_unmap(const struct control_page *page);
