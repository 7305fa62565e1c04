#pragma once

#include "fdset.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/queue.h>

/* A non-blocking stream socket as whole messages, each ended by one NUL and owning the descriptors that came with its
 * first byte. Knows no JSON and no loop. Holds no buffer while nothing is under way. */

struct stream_ahead;

enum {
        STREAM_AGAIN = 0,   /* the socket would block: poll, then call again */
        STREAM_MESSAGE = 1, /* a whole message was read */
        STREAM_END = 2,     /* the peer has shut down its side between two messages */
        STREAM_DONE = 3,    /* all that was queued is out */
        STREAM_HELD = 4,    /* descriptors have to wait until others that were sent are taken */
};

struct stream {
        int fd;                 /* owned */
        bool input_refused_fds; /* some came with the message at hand, or the last one read, and were closed */
        bool dry;               /* nothing waited behind what was read at last */
        size_t fds_max;         /* FDSET_MAX; where a message has more, all of them are closed at once */
        size_t message_max;     /* bytes of one incoming message, its NUL not counted */

        char *input; /* the message that is coming in, or NULL */
        size_t n_input;
        size_t input_allocated;
        struct fdset input_fds;
        struct stream_ahead *ahead; /* what follows it and was read with it, where no descriptors are taken; or NULL */

        STAILQ_HEAD(, stream_output) output; /* messages not yet wholly sent */
        size_t n_output;                     /* bytes in them not yet sent */

        /* descriptors that were sent and perhaps not taken yet; several streams may share a tally, which outlives them */
        int64_t *tally; /* NULL: nobody counts */
        int64_t tally_max;
        int64_t n_unread; /* this one's part */
};

/* Takes ownership of `fd`, which is non-blocking. The stream must not move in memory afterwards. */
void stream_init(struct stream *stream, int fd, size_t message_max);
/* Closes the socket and all descriptors that are under way. */
void stream_deinit(struct stream *stream);

/* Reads one message: STREAM_MESSAGE, STREAM_AGAIN or STREAM_END. On STREAM_MESSAGE the text (NUL-terminated, `n`
 * without the NUL) is the caller's to free and its descriptors are moved into the empty set `fds`.
 * Errors: -EMSGSIZE the message exceeds message_max; -EPROTO the peer broke the framing: an empty message, the end of
 * the stream or descriptors inside of one, or more descriptors than can be taken; -ECONNRESET; -ENOMEM. After an error
 * the stream can still be flushed, but not read. */
int stream_read(struct stream *stream, char **ret_text, size_t *ret_n, struct fdset *fds);
/* Bytes were read that belong to the next messages: no poll tells of those. */
bool stream_is_ahead(const struct stream *stream);
/* The last read took all there was. */
bool stream_was_emptied(const struct stream *stream);

/* Appends one message. Takes ownership of `text` (`n` bytes, the ending NUL included) and of all in `fds` (may be
 * NULL), also on failure: -ENOMEM. The descriptors go out with the first byte and are closed then. */
int stream_queue(struct stream *stream, char *text, size_t n, struct fdset *fds);

/* Sends what the socket takes: STREAM_DONE, STREAM_AGAIN, STREAM_HELD, or -EPIPE, -ECONNRESET and whatever else
 * sendmsg(2) says. Where it is held, by the tally or because the kernel lets this user send no more, nothing tells when to
 * try again. */
int stream_flush(struct stream *stream);
/* What is under way, for another process that is to go on with the socket: copies of what was read and is in no message that
 * was handed out, from `refused` on of messages that descriptors came with (n: none), and of what is still to be sent. NULL
 * where there is nothing. -EBUSY: descriptors have to be sent with it; -ENOMEM. */
int stream_copy_input(const struct stream *stream, char **ret, size_t *ret_n, size_t *ret_refused);
int stream_copy_output(const struct stream *stream, char **ret, size_t *ret_n);
/* There: this was read, before anything else. -ENOMEM. */
int stream_go_on(struct stream *stream, const char *bytes, size_t n, size_t refused);

/* Takes off the tally what the peer has read. True if there is nothing that it has not. */
bool stream_settle(struct stream *stream);
