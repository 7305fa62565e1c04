#pragma once

/* What the broker tells (proto/terms.h) as what the library tells (libregion.h). All copies live in the arena. */

#include "client/libregion.h"

#include "proto/arena.h"
#include "proto/terms.h"

/* REGION_E_PROTOCOL where a number cannot be what it says to be; REGION_E_MEMORY. */
enum region_result info_of_region(struct arena *arena, const struct region_view *view, const struct region_info **ret);
enum region_result info_of_environment(struct arena *arena, const struct environment_view *view,
                                       const struct region_env_info **ret);
enum region_result info_of_attachment(struct arena *arena, const struct attachment_view *view,
                                      const struct region_attachment **ret);

/* `missed`: as region_event has it. */
enum region_result info_of_event(struct arena *arena, const struct event_view *view, int64_t missed,
                                 const struct region_event **ret);
enum region_result info_of_attachments(struct arena *arena, const struct struct_array *views,
                                       const struct region_attachment *const **ret);
/* Strings, ended by a NULL that does not count. */
enum region_result info_of_strings(struct arena *arena, const struct string_array *strings, const char *const **ret);

/* Copies strings and all. NULL when memory runs out. */
const struct struct_array *info_copy_differences(struct arena *arena, const struct struct_array *differences);
