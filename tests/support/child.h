#pragma once

/* Processes that a test tells what to do and hears from, one number at a time. A child ends when it is told to, when its
 * test is gone, or when it is killed. */

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

/* Zero-initialised there is none. */
struct child {
        pid_t pid;
        int channel; /* the test's end */
};

/* What a child does; it ends with success on return. `channel` is its own end. */
typedef void child_run(int channel, const void *data);

/* Starts one that has of this process what a program executed by it would have: nothing that is close-on-exec. */
void child_start(struct child *child, child_run *run, const void *data);
/* Forks one that has everything. */
void child_fork(struct child *child, child_run *run, const void *data);
/* For a grandchild: the channel was made by the test with child_channel(), both ends open in the child. It goes on living
 * when its parent dies, and is the test's to end with child_end(). Returns its pid. */
pid_t child_leave_behind(int channel, child_run *run, const void *data);
/* Makes the two ends of a channel: the test's in child->channel, the other returned. The test process will inherit, and so
 * can wait for, whom its children leave behind. */
int child_channel(struct child *child);

/* Both work on either end. Hearing fails the test if nothing comes in time; in a child it ends it, quietly, when the test
 * hangs up. */
void child_tell(int channel, int64_t number);
int64_t child_hear(int channel);
/* The test's end: false when the child has hung up instead. */
bool child_listen(const struct child *child, int64_t *ret);

/* Waits for a child that was told to end, hanging up if need be; it has to end with success. */
void child_end(struct child *child);
/* Ends it by SIGKILL and waits for that. */
void child_kill(struct child *child);
