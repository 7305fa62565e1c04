#pragma once

#include "daemon/broker.h"
#include "proto/arena.h"
#include "proto/terms.h"

/* What is true, in the words of the contract. All is made in the arena or points into the objects, and is to be written
 * before anything changes. NULL, or -ENOMEM, when memory runs out. */

struct region_view *report_region(struct arena *arena, const struct broker *broker, const struct region *region);
struct environment_view *report_environment(struct arena *arena, const struct broker *broker,
                                            const struct environment *environment);
/* Adds what the environment's System V segments take, which costs a look at all segments of the machine. */
void report_segments(struct environment_view *view);
/* The most attachments that one reply tells; how many there are is said beside them. */
enum { REPORT_ATTACHMENTS_MAX = 1000 };

/* Who holds it: all of the environment, or one region by name. In doubt, also who held it last. */
int report_attachments(struct arena *arena, const struct environment *environment, const char *region,
                       struct struct_array *ret);
/* Borrows all it says from the event. */
void report_event(const struct event *event, struct event_view *ret);
/* Whether a region is held though nobody is attached to it. */
bool report_is_inherited(const struct region *region);

/* How what exists differs from what was asked for; the schema is not compared here, it is refused. */
int report_differences(struct arena *arena, const struct broker *broker, const struct environment *environment,
                       const struct definition *definition, struct struct_array *ret);
/* What is in force. */
int report_settings(struct arena *arena, const struct broker *broker, const struct peer *peer,
                    struct struct_array *ret);
int report_statistics(struct arena *arena, const struct broker *broker, struct statistics_result *ret);
