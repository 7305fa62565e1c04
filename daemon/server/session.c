/* A session is driven by steps: each event of the loop only says that there may be something to do, and session_step() then
 * reads, answers and sends until it would block. What it waits for next is read off its state in update_poll(). */

#include "daemon/server/session.h"

#include "daemon/host/deaths.h"
#include "daemon/log.h"
#include "daemon/server/dispatch.h"
#include "daemon/server/server.h"
#include "proto/util.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/param.h>
#include <sys/socket.h>

enum {
        CALLS_A_STEP = 64,         /* calls of one session that are answered before others have their turn */
        HANG_UP_USEC = 250 * 1000, /* how long who hung up may live on and still have hung up because it dies */
        RETRY_FIRST_USEC = 1000,   /* between attempts to send descriptors that had to wait */
        RETRY_LAST_USEC = 256 * 1000,
};

static void on_closed(uv_handle_t *handle)
{
        free(container_of((uv_poll_t *)handle, struct session, poll));
}

/* Its hang-up is of no more interest. */
static void stop_listening(struct session *session)
{
        if (session->half_closed)
                server_forget_hang_up(session->server, session);
        session->half_closed = false;
}

void session_end(struct session *session, bool died)
{
        struct broker *broker = session->server->broker;

        session->exchange = exchange_free(session->exchange);
        agenda_cancel(&broker->agenda, &session->stall);
        agenda_cancel(&broker->agenda, &session->retry);
        LIST_REMOVE(session, in_server);
        stop_listening(session); /* the socket may outlive the session */
        uv_close((uv_handle_t *)&session->poll, on_closed);
        unread_keep(session->server, session);
        stream_deinit(&session->stream);
        broker_disconnect(broker, &session->peer, died);
}

bool session_is_congested(const struct session *session)
{
        return session->stream.n_output > (size_t)session->server->broker->settings.limits.output_bytes;
}

void session_expect_fd(struct session *session)
{
        session->stream.fds_max = 1;
}

int session_send(struct session *session, struct text *text, struct fdset *fds)
{
        size_t n;
        char *message;

        if (text_failed(text)) {
                text_clear(text);
                if (fds)
                        fdset_clear(fds);
                return -ENOMEM;
        }
        message = text_take(text, &n);
        return stream_queue(&session->stream, message, n, fds);
}

/* --- one step ---------------------------------------------------------------------------------------------------- */

/* What is read next, if anything: false when there is nothing to do but wait. */
static bool read_call(struct session *session)
{
        owned(fdset_clear) struct fdset fds = {};
        owned(freep) char *text = NULL;
        struct call *call;
        size_t n;
        int r;

        if (session->input_ended)
                return false;
        r = stream_read(&session->stream, &text, &n, &fds);
        if (r == STREAM_AGAIN)
                return false;
        if (r == STREAM_MESSAGE)
                r = call_parse(text, n, &fds, &call);
        else if (r == STREAM_END)
                session->input_ended = true;
        if (r < 0) {
                log_line_of(LOG_LEVEL_DEBUG, LOG_FIELDS(.pid = session->peer.process->pid, .uid = &session->peer.uid),
                            "session of %s (pid %d) sent what is not Varlink: %s", session->peer.process->command,
                            (int)session->peer.process->pid, strerror(-r));
                session->input_ended = true; /* earlier answers still go out */
        }
        if (session->input_ended)
                return false;
        call->refused_fds = session->stream.input_refused_fds;
        session->exchange = dispatch_begin(session, session->server->broker, call);
        return true;
}

/* Goes on with the call at hand, or takes the next; false when there is nothing to do but wait. */
static bool advance(struct session *session)
{
        if (session_is_congested(session))
                return false;
        if (!session->exchange)
                return read_call(session);
        if (!session->exchange->streaming)
                return false; /* parked: it is asked again by the server */
        if (dispatch_continue(session->exchange))
                session->exchange = exchange_free(session->exchange);
        return true;
}

/* A peer that takes nothing for long is given up: the answers it does not read are memory that others need. */
static void on_stall(struct agenda_item *item, void *data)
{
        struct session *session = container_of(item, struct session, stall);

        (void)data;
        if (session->hung_up && deaths_is_near(session->peer.process) > 0)
                return; /* on a busy machine that may take seconds; its pidfd will tell */
        if (!session->hung_up)
                log_line_of(LOG_LEVEL_INFO, LOG_FIELDS(.pid = session->peer.process->pid, .uid = &session->peer.uid),
                            "session of %s (pid %d) does not read its answers; disconnected",
                            session->peer.process->command, (int)session->peer.process->pid);
        session_end(session, false);
}

static void on_retry(struct agenda_item *item, void *data)
{
        struct session *session = container_of(item, struct session, retry);

        (void)data;
        unread_settle(session->server);
        session_step(session);
}

/* Descriptors have to wait for others to be taken, of which nothing tells. */
static void retry_later(struct session *session)
{
        struct broker *broker = session->server->broker;

        session->retry_interval = session->retry_interval ? MIN(session->retry_interval * 2, RETRY_LAST_USEC)
                                                          : RETRY_FIRST_USEC;
        session->retry.on_due = on_retry;
        agenda_set(&broker->agenda, &session->retry, broker->now + session->retry_interval);
}

/* Sends what can be sent; false when the peer is gone. */
static bool flush(struct session *session)
{
        struct broker *broker = session->server->broker;
        size_t before = session->stream.n_output;
        int r;

        broker_commit(broker);
        r = stream_flush(&session->stream);

        if (r < 0)
                return false;
        if (r == STREAM_HELD && session->retry.at == 0)
                retry_later(session);
        else if (r != STREAM_HELD)
                session->retry_interval = 0;
        if (r == STREAM_DONE || r == STREAM_HELD) /* held, it is not this peer that takes nothing */
                agenda_cancel(&broker->agenda, &session->stall);
        else if (session->stall.at == 0 || session->stream.n_output < before)
                agenda_set(&broker->agenda, &session->stall, broker->now + broker->settings.limits.stall_usec);
        return true;
}

static void on_event(uv_poll_t *poll, int status, int events);

/* Its call waits for others; nothing is read meanwhile. */
static bool is_parked(const struct session *session)
{
        return session->exchange && !session->exchange->streaming;
}

/* Each start and stop costs a system call or two, so only what differs is said. */
static void poll_for(struct session *session, int events)
{
        if (events == session->polled)
                return;
        session->polled = events;
        if (events)
                uv_poll_start(&session->poll, events, on_event);
        else
                uv_poll_stop(&session->poll); /* its call is parked; its process is followed all the same */
}

static void update_poll(struct session *session)
{
        bool parked = is_parked(session), held = session->retry_interval > 0, full = session_is_congested(session);
        bool reads = !session->exchange && !session->input_ended && !full;
        bool streams = session->exchange && !parked && !full;
        int events = 0;

        /* of calls that were read already nothing else tells */
        if (streams || (session->stream.n_output > 0 && !held) || (reads && stream_is_ahead(&session->stream)))
                events |= UV_WRITABLE;
        if (reads)
                events |= UV_READABLE;
        if (parked && !session->half_closed)
                events |= UV_DISCONNECT;
        poll_for(session, events);
}

/* Its connection is over. A process that dies hangs up before its pidfd tells of the death: one that left something behind
 * is given a moment, and all the time it needs if it is on its way out then, so that a death is not taken for an orderly
 * leave. */
void session_hang_up(struct session *session)
{
        struct broker *broker = session->server->broker;

        if (LIST_EMPTY(&session->peer.members)) {
                session_end(session, false);
                return;
        }
        stop_listening(session);
        session->hung_up = session->input_ended = true;
        session->exchange = exchange_free(session->exchange);
        poll_for(session, 0);
        agenda_cancel(&broker->agenda, &session->retry);
        shutdown(session->stream.fd, SHUT_RDWR);
        agenda_set(&broker->agenda, &session->stall, broker->now + HANG_UP_USEC);
}

/* Its calls are answered, and there were no more when it was looked for them: should some have come since, the loop
 * tells. */
static bool is_done(const struct session *session)
{
        return !session->exchange && stream_was_emptied(&session->stream);
}

void session_step(struct session *session)
{
        for (int i = 0; i < CALLS_A_STEP && advance(session) && !is_done(session); i++)
                ;
        if (!flush(session) || (session->input_ended && !session->exchange && session->stream.n_output == 0))
                session_hang_up(session);
        else
                update_poll(session);
}

void session_hear_out(struct session *session)
{
        for (int i = 0; i < CALLS_A_STEP && advance(session); i++)
                ;
}

/* While a call is parked nothing is read, so that a peer which has gone is not seen there. One that has only shut down its
 * side still wants its answer. */
static bool has_left(struct session *session)
{
        struct pollfd pollfd = { .fd = session->stream.fd };

        poll(&pollfd, 1, 0);
        if (pollfd.revents & (POLLHUP | POLLERR))
                return true;
        session->half_closed = true;
        server_await_hang_up(session->server, session);
        return false;
}

static void on_event(uv_poll_t *poll, int status, int events)
{
        struct session *session = container_of(poll, struct session, poll);

        server_tick(session->server);
        if (status < 0)
                session->polled = 0; /* libuv has stopped by itself */
        if (is_parked(session) && (status < 0 || events & UV_DISCONNECT) && has_left(session))
                session_hang_up(session);
        else
                session_step(session);
}

/* --- beginning --------------------------------------------------------------------------------------------------- */

/* Its peer is known to the broker. On failure it is freed. */
static int begin(struct session *session, struct server *server, int fd)
{
        int r = uv_poll_init(server->loop, &session->poll, fd);

        if (r < 0) {
                broker_disconnect(server->broker, &session->peer, false);
                free(session);
                return r; /* libuv's errors are errno values */
        }
        session->server = server;
        session->stall.on_due = on_stall;
        stream_init(&session->stream, fd, MESSAGE_MAX);
        session->stream.tally = &session->peer.account->unread_fds;
        session->stream.tally_max =
                account_limits(session->peer.account, &server->broker->settings.limits).unread_fds_per_user;
        session->stream.fds_max = 0; /* peers could pile them up in unfinished messages */
        LIST_INSERT_HEAD(&server->sessions, session, in_server);
        return 0;
}

int session_new(struct server *server, int fd, struct identity *identity, struct refusal *refusal)
{
        struct session *session = calloc(1, sizeof(*session));
        int r;

        if (!session) {
                identity_deinit(identity);
                return -ENOMEM;
        }
        r = broker_connect(server->broker, identity, ++server->last_connection, &session->peer, refusal);
        if (r != 0) {
                free(session);
                return r;
        }
        r = begin(session, server, fd);
        if (r == 0)
                update_poll(session);
        return r;
}

/* What was under way moves out of the record. */
static void put_back(struct session *session, struct session_record *record)
{
        struct stream *stream = &session->stream;

        broker_rejoin(&session->peer, record);
        session->input_ended = record->input_ended;
        stream->n_unread = record->n_unread;
        *stream->tally += record->n_unread;
        if (stream_go_on(stream, record->input, record->n_input, record->refused) < 0)
                session->input_ended = true;
        if (record->output && stream_queue(stream, take_ptr(record->output), record->n_output, NULL) < 0)
                session->input_ended = true; /* the next answers must not take their place */
        else if (record->call.text)
                session->exchange = dispatch_resume(session, session->server->broker, &record->call);
}

int session_resume(struct server *server, int fd, struct identity *identity, struct session_record *record)
{
        struct session *session = calloc(1, sizeof(*session));
        int r;

        if (!session) {
                identity_deinit(identity);
                return -ENOMEM;
        }
        r = broker_reconnect(server->broker, identity, ++server->last_connection, &session->peer, record);
        if (r < 0) {
                free(session);
                return r;
        }
        r = begin(session, server, fd);
        if (r == 0)
                put_back(session, record);
        return r;
}
