#pragma once

/* The socket to the broker: whole messages out and in, each within a deadline. Brings no loop: it waits in poll(2). */

#include "client/libregion.h"

#include "proto/message.h"
#include "proto/stream.h"
#include "proto/text.h"

#include <stdbool.h>
#include <stdint.h>

/* Deadlines are microseconds of CLOCK_MONOTONIC. */
#define DEADLINE_NEVER INT64_MAX

/* Zero-initialised it is closed. */
struct connection {
        bool open;
        bool heard;  /* when it was lost: the broker may have got what was sent last */
        int errnum;  /* why the last connecting failed */
        bool polled; /* by `epoll`, which is borrowed */
        int epoll;
        struct stream stream; /* while open */
};

/* Now and so much later; DEADLINE_NEVER where it is too far to count. */
int64_t deadline_in(int64_t usec);

int64_t deadline_left(int64_t deadline); /* 0 once it is over */
bool deadline_is_over(int64_t deadline);
/* Between attempts: sleeps for *pause, which is 0 the first time and grows, but not beyond the deadline. */
void deadline_pause(int64_t *pause, int64_t deadline);
/* Waits for a descriptor to have something to read: 0, -ETIMEDOUT, or -errno. */
int deadline_wait(int fd, int64_t deadline);

/* Connects the closed connection to the socket at `path`. REGION_E_ABSENT: nobody answers there. REGION_E_TIMEOUT: the
 * broker had no room until the deadline. REGION_E_INVALID: `path` is too long for a socket. */
enum region_result connection_open(struct connection *connection, const char *path, int64_t deadline);
/* Closes this process's end; also good for one that is closed. */
void connection_close(struct connection *connection);
/* Has an epoll instance tell of what comes, for as long as it is open. -errno. */
int connection_poll(struct connection *connection, int epoll);

/* Sends the text with the descriptors (NULL: none), taking both. That the broker has closed is not a failure yet: what it said
 * before can be received. */
enum region_result connection_send(struct connection *connection, struct text *text, struct fdset *fds,
                                   int64_t deadline);

/* Receives one message as a reply if all of it is there; else *ret is NULL. Fails as the next. */
enum region_result connection_take(struct connection *connection, struct reply **ret);
/* Receives one message as a reply. Every failure of this, of taking and of sending closes the connection, for what
 * comes next could not be matched to its call any more. */
enum region_result connection_receive(struct connection *connection, int64_t deadline, struct reply **ret);

/* Closes it and says so: `why` is a clause. */
enum region_result connection_break(struct connection *connection, enum region_result code, int errnum,
                                    const char *why);
