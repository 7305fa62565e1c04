#pragma once

/* A real broker for a test, in a fresh directory of its own. Whatever becomes of the test, also when it is killed, a
 * guardian process stops the broker and removes the directory once the process that started them is gone.
 *
 * What goes wrong is told on standard error, with the broker's log; the function then answers false. */

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#define DAEMON_WAIT_MSEC 60000 /* for anything; far more than it needs, also under a sanitizer on a busy machine */

/* Zero-initialised there is none. */
struct daemon {
        char directory[80]; /* holds all it has; empty: not made yet */
        char socket[96];    /* where it listens */
        pid_t pid;          /* 0 while it does not run */

        int pidfd;
        int log_fd; /* what it writes on standard error; non-blocking */
        char *log;  /* what was read of that since it was started or daemon_forget_log(), terminated */
        size_t n_log;
        pid_t guardian;
};

/* Runs the program that the environment variable REGION_BROKER names, for one user, and waits until it listens. `options`
 * (may be NULL) are more of its options, up to a NULL. After daemon_stop() or daemon_kill() it is started again in the
 * same directory. */
bool daemon_start(struct daemon *daemon, const char *const *options);

/* Asks it to stop by SIGINT and waits for its end; true if it exited with success. */
bool daemon_stop(struct daemon *daemon);
/* Ends it by SIGKILL, and waits for that. */
void daemon_kill(struct daemon *daemon);
/* Stops it if it still runs, removes the directory and empties the struct. Harmless on an empty one. */
void daemon_deinit(struct daemon *daemon);

/* Waits for a line of its log that contains the text; one that is there already counts too. */
bool daemon_wait_for_line(struct daemon *daemon, const char *text);
/* Looks without waiting. A test that lasts should look now and then: a full pipe would halt the broker. */
bool daemon_has_line(struct daemon *daemon, const char *text);
/* From here on only lines count that are read later. */
void daemon_forget_log(struct daemon *daemon);
