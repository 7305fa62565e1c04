#pragma once

/* The one broker that a test speaks to, as fixtures of libcheck, and a few things that many tests ask of it. */

#include "tests/support/child.h"
#include "tests/support/daemon.h"
#include "tests/support/varlink.h"

extern struct daemon broker;

/* Starts it with options of its own, up to a NULL. */
void broker_start(const char *const *options);
/* Fixture: starts it with none. */
void broker_setup(void);
/* Fixture: it still lives, it stops in order, no sanitizer had anything to say, and it left no System V segment. */
void broker_teardown(void);

/* A path in the directory that it has for this test, and that path as a new directory. The caller frees it. */
__attribute__((format(printf, 1, 2))) char *broker_path(const char *format, ...);
char *broker_make_directory(const char *name);

int broker_connect(void);
/* A session of another process, which lives until the child is ended or killed; the socket is this one's to speak through.
 * As another user (and group of the same number) if `uid` is not 0, for which this process has to be root and the broker
 * to be reachable for all: see broker_start_for_all(). */
int broker_connect_from(struct child *child, uid_t uid);
/* The same for a user that is in another group. */
int broker_connect_as(struct child *child, uid_t uid, gid_t gid);
/* Makes this process one of another user for good, for which it has to be root. */
void broker_become(uid_t uid, gid_t gid);
/* Starts a broker that serves all users. */
void broker_start_for_all(void);
/* One of the numbers that GetStatistics tells, by its path. Itself it counts as one call. */
int64_t broker_statistic(int peer, const char *path);
/* Waits, within bounds, until that number is what is wanted. */
void broker_wait_for_statistic(int peer, const char *path, int64_t wanted);
/* Waits until `n` calls of other sessions have arrived since `before`, which was "counters.calls" as told to this one. */
void broker_wait_for_calls(int peer, int64_t before, int64_t n);

/* From here on it does nothing, and what is sent to it meanwhile it finds all at once. */
void broker_pause(void);
void broker_resume(void);

/* Waits until it has no more descriptors open than this. What it gives back in another thread it closes there. */
void broker_wait_for_fds(int wanted);

/* Bytes of memory that the broker has written now, and the most of all sorts that it ever had at one time. */
int64_t broker_memory(void);
int64_t broker_peak_memory(void);
/* Built with the address sanitizer, which takes memory of its own. */
bool broker_is_sanitized(void);

/* Opens the environment, creating it as this definition says (without its braces) if need be, and says Ready where that is
 * its part. */
__attribute__((format(printf, 4, 5))) void broker_open(int peer, struct varlink_reply *reply, const char *environment,
                                                       const char *definition, ...);
/* Leaves it, expecting no refusal. */
void broker_detach(int peer, const char *environment);

/* Maps a descriptor of a reply, at its index in it, for `protection` as mmap(2); MAP_FAILED and errno. The descriptor stays
 * in the reply. */
void *broker_map(const struct varlink_reply *reply, size_t index, size_t size, int protection);
/* Maps the grant at this path ("grants.0", "grant"), whatever its backing, all of it and as it was granted. */
void *broker_map_grant(const struct varlink_reply *reply, const char *path);
/* Either way of mapping. */
void broker_unmap(void *address, size_t size);
