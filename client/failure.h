#pragma once

/* The calling thread's latest failure, noted where it happens: a code, one sentence, and the facts. What the sentence
 * quotes may come from a peer; control characters in it become '?'. */

#include "client/libregion.h"

#include <stdint.h>

struct reply;

/* These return `code`, so that a line can fail by `return failure_note(…)`. The sentence says what to do next. */
__attribute__((format(printf, 2, 3))) enum region_result failure_note(enum region_result code, const char *format, ...);
/* `operation`, a string constant, failed with `errnum`; the sentence speaks of it by errno_text(). */
__attribute__((format(printf, 4, 5))) enum region_result failure_note_system(enum region_result code,
                                                                             const char *operation, int errnum,
                                                                             const char *format, ...);
enum region_result failure_note_memory(void);

/* What a call was about; NULL where it named none. */
struct asked {
        const char *environment;
        const char *region;
};

/* Notes what the broker answered instead of a result. */
enum region_result failure_note_refusal(const struct reply *reply, const struct asked *asked);
/* Adds facts to what was noted just now; 0 and NULL where there are none. */
void failure_add_facts(int64_t pid, const char *command, const char *operation, int errnum);

/* errno's sentence; never NULL, and safe in threads. */
const char *errno_text(int errnum);

/* Between the two nothing is noted: for what is tried on the way out of a failure that was noted already. */
void failure_hush(void);
void failure_unhush(void);
