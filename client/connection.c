/* One socket, one call at a time. The socket blocks while connecting, for a broker with a full backlog is busy and not
 * absent; from then on it does not, and poll(2) keeps the deadlines. */

#include "client/connection.h"

#include "client/failure.h"

#include "proto/util.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <time.h>

#define USEC_PER_SEC INT64_C(1000000)

enum { PAUSE_FIRST_USEC = 1000, PAUSE_LAST_USEC = 100 * 1000 };

static int64_t now(void)
{
        struct timespec time;

        clock_gettime(CLOCK_MONOTONIC, &time);
        return time.tv_sec * USEC_PER_SEC + time.tv_nsec / 1000;
}

int64_t deadline_in(int64_t usec)
{
        int64_t deadline;

        return __builtin_add_overflow(now(), usec, &deadline) ? DEADLINE_NEVER : deadline;
}

bool deadline_is_over(int64_t deadline)
{
        return now() >= deadline;
}

int64_t deadline_left(int64_t deadline)
{
        int64_t left = deadline - now();

        return left > 0 ? left : 0;
}

void deadline_pause(int64_t *pause, int64_t deadline)
{
        int64_t usec = deadline_left(deadline) < *pause ? deadline_left(deadline) : *pause;
        const struct timespec time = { usec / USEC_PER_SEC, usec % USEC_PER_SEC * 1000 };

        if (usec > 0)
                nanosleep(&time, NULL);
        *pause = *pause == 0 ? PAUSE_FIRST_USEC : *pause * 2 < PAUSE_LAST_USEC ? *pause * 2 : PAUSE_LAST_USEC;
}

/* --- connecting -------------------------------------------------------------------------------------------------- */

/* connect(2) within the deadline: 0 or -errno, -EAGAIN when it has passed. A signal starts a Unix socket's connect
 * anew. */
static int connect_until(int fd, const struct sockaddr_un *address, int64_t deadline)
{
        int64_t left;
        struct timeval timeout;
        int r;

        do {
                left = deadline_left(deadline) + 1; /* 0 would be for ever */
                timeout = (struct timeval){ left / USEC_PER_SEC, left % USEC_PER_SEC };
                if (setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &timeout, sizeof(timeout)) < 0)
                        return -errno;
                r = connect(fd, (const struct sockaddr *)address, sizeof(*address)) < 0 ? -errno : 0;
        } while (r == -EINTR);
        return r;
}

static enum region_result note_absent(const char *path, int errnum)
{
        if (errnum == EAGAIN)
                return failure_note_system(REGION_E_TIMEOUT, "connect", errnum,
                                           "the broker at %s had no room for another session in time; try again", path);
        return failure_note_system(REGION_E_ABSENT, "connect", errnum,
                                   "no broker answers at %s (%s); start region-broker,"
                                   " or point REGION_BROKER_SOCKET to another",
                                   path, errno_text(errnum));
}

enum region_result connection_open(struct connection *connection, const char *path, int64_t deadline)
{
        struct sockaddr_un address = { .sun_family = AF_UNIX };
        owned(closep) int fd = -1;
        int r;

        if (strlen(path) >= sizeof(address.sun_path))
                return failure_note(REGION_E_INVALID, "the path of a socket has at most %zu bytes, and '%s' has more",
                                    sizeof(address.sun_path) - 1, path);
        strcpy(address.sun_path, path);

        fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
        if (fd < 0)
                return failure_note_system(REGION_E_RESOURCE, "socket", errno, "no socket could be made (%s)",
                                           errno_text(errno));
        r = connect_until(fd, &address, deadline);
        connection->errnum = -r;
        if (r < 0)
                return note_absent(path, -r);
        if (fcntl(fd, F_SETFL, O_NONBLOCK) < 0)
                return failure_note_system(REGION_E_RESOURCE, "fcntl", errno, "the socket could not be set up (%s)",
                                           errno_text(errno));
        stream_init(&connection->stream, take_fd(fd), REPLY_MAX);
        connection->open = true;
        return REGION_OK;
}

void connection_close(struct connection *connection)
{
        /* a child may have a copy of the socket, which would be told of for ever */
        if (connection->polled)
                epoll_ctl(connection->epoll, EPOLL_CTL_DEL, connection->stream.fd, NULL);
        if (connection->open)
                stream_deinit(&connection->stream);
        connection->open = connection->polled = false;
}

int connection_poll(struct connection *connection, int epoll)
{
        struct epoll_event event = { .events = EPOLLIN };

        if (epoll_ctl(epoll, EPOLL_CTL_ADD, connection->stream.fd, &event) < 0)
                return -errno;
        connection->polled = true;
        connection->epoll = epoll;
        return 0;
}

/* --- messages ---------------------------------------------------------------------------------------------------- */

enum region_result connection_break(struct connection *connection, enum region_result code, int errnum, const char *why)
{
        connection_close(connection);
        failure_note(code, "%s; the connection is closed, and the next call makes a new one", why);
        failure_add_facts(0, NULL, NULL, errnum);
        return code;
}

static enum region_result break_lost(struct connection *connection, int errnum)
{
        if (errnum == ENOMEM)
                return connection_break(connection, REGION_E_MEMORY, errnum, "this process is out of memory");
        if (errnum == EPROTO || errnum == EMSGSIZE || errnum == EBADMSG || errnum == E2BIG)
                return connection_break(connection, REGION_E_PROTOCOL, errnum,
                                        "the broker sent what is not a reply to be understood");
        if (errnum == ECONNRESET) /* it had not read all that was sent */
                connection->heard = false;
        return connection_break(connection, REGION_E_DISCONNECTED, errnum,
                                "the broker closed the session or went away");
}

/* 0 when the socket has something to say, -ETIMEDOUT, or -errno. */
static int wait_for(int fd, short events, int64_t deadline)
{
        struct pollfd poll_fd = { .fd = fd, .events = events };
        int64_t left;
        struct timespec timeout;
        int r;

        do {
                left = deadline_left(deadline);
                timeout = (struct timespec){ left / USEC_PER_SEC, left % USEC_PER_SEC * 1000 };
                r = ppoll(&poll_fd, 1, deadline == DEADLINE_NEVER ? NULL : &timeout, NULL);
        } while (r < 0 && errno == EINTR);
        return r < 0 ? -errno : r == 0 ? -ETIMEDOUT : 0;
}

static enum region_result wait_or_break(struct connection *connection, short events, int64_t deadline)
{
        int r = wait_for(connection->stream.fd, events, deadline);

        if (r == -ETIMEDOUT)
                return connection_break(connection, REGION_E_TIMEOUT, 0, "the broker did not answer in time");
        return r < 0 ? break_lost(connection, -r) : REGION_OK;
}

enum region_result connection_send(struct connection *connection, struct text *text, struct fdset *fds,
                                   int64_t deadline)
{
        enum region_result result;
        char *data;
        size_t n;
        int r;

        if (text_failed(text))
                return failure_note_memory();
        if (text->n > MESSAGE_MAX)
                return failure_note(REGION_E_INVALID, "a call has at most %d bytes; ask for less at a time",
                                    MESSAGE_MAX);
        data = text_take(text, &n);
        r = stream_queue(&connection->stream, data, n, fds);
        if (r < 0)
                return failure_note_memory();
        for (;;) {
                r = stream_flush(&connection->stream);
                connection->heard = r == STREAM_DONE;
                if (r == STREAM_DONE || r == -EPIPE || r == -ECONNRESET)
                        return REGION_OK;
                if (r < 0)
                        return break_lost(connection, -r);
                result = wait_or_break(connection, POLLOUT, deadline);
                if (result != REGION_OK)
                        return result;
        }
}

int deadline_wait(int fd, int64_t deadline)
{
        return wait_for(fd, POLLIN, deadline);
}

enum region_result connection_take(struct connection *connection, struct reply **ret)
{
        owned(fdset_clear) struct fdset fds = {};
        owned(freep) char *text = NULL;
        size_t n;
        int r;

        *ret = NULL;
        r = stream_read(&connection->stream, &text, &n, &fds);
        if (r == STREAM_END)
                return break_lost(connection, 0);
        if (r == STREAM_MESSAGE)
                r = reply_parse(text, n, &fds, ret);
        return r < 0 ? break_lost(connection, -r) : REGION_OK;
}

enum region_result connection_receive(struct connection *connection, int64_t deadline, struct reply **ret)
{
        enum region_result r;

        r = connection_take(connection, ret);
        while (r == REGION_OK && !*ret) {
                r = wait_or_break(connection, POLLIN, deadline);
                if (r == REGION_OK)
                        r = connection_take(connection, ret);
        }
        return r;
}
