#pragma once

/* What the broker says of itself. */

#include "client/libregion.h"
#include "tests/support/daemon.h"
#include "tests/support/ipc.h"

struct books {
        int64_t environments, regions, attachments, sessions, bytes; /* now; `sessions` with the one that asks */
        int64_t deaths, created, joined, retired, reclaimed, reclaimed_regions, reclaimed_bytes;
};

bool books_read(struct books *books, struct region_broker *broker);

/* Whether what the test waits for has come. */
typedef bool books_condition(const struct books *books);
/* Nobody is attached and nobody connected but the one that asks. */
books_condition books_are_left;
/* And nothing is there any more. */
books_condition books_are_empty;

/* Reads them again and again until the condition holds; false when it did not in time, or they cannot be read. */
bool books_wait(struct books *books, struct region_broker *broker, struct daemon *daemon, books_condition *condition);

/* With empty books: what the broker has outside of them, when its threads are done. They close and detach large memory after
 * it is off the books; so a segment, or more descriptors than these, are waited for to go. As ipc_snapshot_take(). */
int books_close(struct ipc_snapshot *ret, const struct daemon *daemon, const char *names, int n_fds);
