#pragma once

/* The machine's pool of huge pages, for the one test that has it: others wait for their turn. What is added to it goes
 * again with pool_leave() or with the test, however that ends. */

#include <stdbool.h>
#include <stdint.h>

/* Waits for the turn. True if `pages` of them are free then; root adds what is missing, if the machine has it. Else says
 * why on standard error: the test is to be left out. */
bool pool_take(int64_t pages);
void pool_leave(void);

/* Free, and promised to nobody. */
int64_t pool_free(void);
/* Waits, within bounds, until so many are. */
void pool_wait_for_free(int64_t wanted);
/* The size of one. */
int64_t pool_page_size(void);
/* More may be made at need than the pool has; then nothing is ever too much. */
bool pool_is_open_ended(void);
/* This process may have System V segments of it. */
bool pool_has_segments(void);
