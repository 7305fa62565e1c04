#pragma once

#include "daemon/broker.h"

/* Memory that was the broker's before and is nobody's to find now: a memfd that no service manager kept. Those who were granted
 * it have it still, and each of them can bring it back. */

/* By this rule an environment goes whose memory nobody will bring back. */
#define MISSING_RULE "some of its memory did not outlive the broker before"

bool missing_is(const struct region *region);
/* Some of its memory is missing: nobody is let in who would need it. */
bool missing_is_any(const struct environment *environment);
/* Some of it is, and nobody is left who could bring it. */
bool missing_is_for_good(const struct environment *environment);
/* What the member says it has not, though we had granted it, it will not bring. */
void missing_let_go(struct broker *broker, struct member *member, const struct string_array *names);
/* Says how things stand, for the log. */
void missing_tell(const struct environment *environment);
