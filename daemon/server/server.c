/* The loop. Every callback tells the broker the time, notes what happened and steps the object concerned; what follows from
 * it for others (parked calls that may succeed now, the next deadline) is settled once, before the loop sleeps. */

#include "daemon/server/server.h"

#include "daemon/host/memory.h"
#include "daemon/log.h"
#include "daemon/server/declared.h"
#include "daemon/server/dispatch.h"
#include "daemon/server/session.h"
#include "proto/util.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>

/* Sessions accepted, and deaths dealt with, before others have their turn. */
enum { ACCEPTS_A_STEP = 64, DEATHS_A_STEP = 64 };

static const int stop_signals[] = { SIGTERM, SIGINT };

void server_tick(struct server *server)
{
        struct timespec ts;

        clock_gettime(CLOCK_REALTIME, &ts);
        broker_set_time(server->broker, (int64_t)(uv_hrtime() / 1000),
                        ts.tv_sec * INT64_C(1000000) + ts.tv_nsec / 1000);
}

/* --- giving back ------------------------------------------------------------------------------------------------- */

struct giving {
        uv_work_t work;
        struct memory *memory;
};

static void on_give(uv_work_t *work)
{
        memory_release(container_of(work, struct giving, work)->memory);
}

static void on_given(uv_work_t *work, int status)
{
        (void)status;
        free(container_of(work, struct giving, work));
}

void server_give_back(void *data, struct memory *memory)
{
        struct giving *giving = calloc(1, sizeof(*giving));

        if (giving)
                giving->memory = memory;
        if (!giving || uv_queue_work(data, &giving->work, on_give, on_given) < 0) {
                free(giving);
                memory_release(memory);
        }
}

/* --- sessions begin ---------------------------------------------------------------------------------------------- */

/* Says why there is no session, as the answer to the call that will come. */
static void turn_away(int fd, const struct refusal *refusal)
{
        owned(arena_clear) struct arena arena = {};
        struct text text = {};

        if (dispatch_write_refusal(&text, NULL, refusal, &arena) == 0 && !text_failed(&text))
                send(fd, text.data, text.n, MSG_DONTWAIT | MSG_NOSIGNAL);
        text_clear(&text);
}

static void welcome(struct server *server, int accepted)
{
        owned(closep) int fd = accepted;
        struct identity identity;
        struct refusal refusal = {};
        const char *operation;
        int r;

        r = identity_read(fd, &identity, &operation);
        if (r < 0) {
                refusal = (struct refusal){ .code = REFUSED_RESOURCE, .operation = operation, .error = -r };
                turn_away(fd, &refusal);
                log_warning("turned a caller away: %s: %s", operation, strerror(-r));
                return;
        }
        r = session_new(server, fd, &identity, &refusal);
        if (r == 0) {
                take_fd(fd);
                return;
        }
        if (r < 0)
                refusal = (struct refusal){ .code = REFUSED_RESOURCE, .operation = "accept", .error = -r };
        turn_away(fd, &refusal);
        log_info("turned a caller away: %s", r < 0 ? strerror(-r) : refusal.name);
}

/* There are no more descriptors: with the one kept back the caller is at least told so, instead of waiting unheard. */
static void turn_away_without_descriptors(struct server *server, int listening)
{
        const struct refusal refusal = { .code = REFUSED_RESOURCE, .operation = "accept", .error = EMFILE };
        int fd;

        server->reserve = close_fd(server->reserve);
        fd = accept4(listening, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
        if (fd >= 0)
                turn_away(fd, &refusal);
        close_fd(fd);
        server->reserve = open("/dev/null", O_RDONLY | O_CLOEXEC);
        log_warning("turned a caller away: no more descriptors");
}

static void on_connection(uv_poll_t *poll, int status, int events)
{
        struct server *server = poll->data;
        int listening = server->listening[poll - server->listeners];
        int fd;

        (void)status;
        (void)events;
        server_tick(server);
        for (int i = 0; i < ACCEPTS_A_STEP; i++) {
                fd = accept4(listening, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
                if (fd >= 0)
                        welcome(server, fd);
                else if (errno == EMFILE || errno == ENFILE)
                        turn_away_without_descriptors(server, listening);
                else if (errno != EINTR && errno != ECONNABORTED)
                        return;
        }
}

/* --- news -------------------------------------------------------------------------------------------------------- */

/* A process died. What it had still said is heard first: it may have detached in order with its last breath. */
static void on_deaths(uv_poll_t *poll, int status, int events)
{
        struct server *server = poll->data;
        struct process *process;
        struct peer *peer;

        (void)status;
        (void)events;
        server_tick(server);
        for (int i = 0; i < DEATHS_A_STEP && (process = broker_next_death(server->broker)); i++) {
                log_line_of(LOG_LEVEL_DEBUG, LOG_FIELDS(.pid = process->pid, .uid = &process->uid), "%s (pid %d) died",
                            process->command, (int)process->pid);
                LIST_FOREACH(peer, &process->peers, in_process)
                        session_hear_out(container_of(peer, struct session, peer));
                while ((peer = LIST_FIRST(&process->peers)))
                        session_end(container_of(peer, struct session, peer), true);
                broker_bury(server->broker, process);
        }
}

static void on_watch(uv_poll_t *poll, int status, int events)
{
        struct server *server = poll->data;

        (void)status;
        (void)events;
        server_tick(server);
        broker_run_watch(server->broker);
}

void server_await_hang_up(struct server *server, struct session *session)
{
        struct epoll_event event = { .events = 0, .data.ptr = session }; /* hang-ups are told without asking */

        epoll_ctl(server->hang_ups, EPOLL_CTL_ADD, session->stream.fd, &event);
}

void server_forget_hang_up(struct server *server, struct session *session)
{
        epoll_ctl(server->hang_ups, EPOLL_CTL_DEL, session->stream.fd, NULL);
}

static void on_hang_ups(uv_poll_t *poll, int status, int events)
{
        struct server *server = poll->data;
        struct epoll_event event;

        (void)status;
        (void)events;
        server_tick(server);
        while (epoll_wait(server->hang_ups, &event, 1, 0) == 1)
                session_hang_up(event.data.ptr);
}

static void on_timer(uv_timer_t *timer)
{
        struct server *server = timer->data;

        server_tick(server);
        broker_run_due(server->broker);
}

static void on_signal(uv_signal_t *signal, int number)
{
        struct server *server = signal->data;

        bool keep = number == SIGTERM;

        if (!server->stopping)
                log_notice("stopping on %s; %s", strsignal(number),
                           keep ? "what there is stays for the next start"
                                : "what lives in memory goes with its holders");
        server_stop(server, keep);
}

/* Asks parked calls again that may succeed now, then sets the clock. */
static void on_settle(uv_prepare_t *prepare)
{
        struct server *server = prepare->data;
        struct exchange *exchange;
        struct session *session;
        struct waiter *waiter;
        int64_t due, now;

        server_tick(server);
        while ((waiter = broker_next_woken(server->broker))) {
                exchange = container_of(waiter, struct exchange, request.waiter);
                session = exchange->session;
                if (dispatch_continue(exchange))
                        session->exchange = exchange_free(exchange);
                session_step(session); /* also where it is parked again: a watch has told something */
        }
        broker_commit(server->broker);
        if (manager_settle(server)) {
                log_notice("stopping, for nobody needs it; what there is stays for the next start");
                server_stop(server, true);
                return;
        }
        due = broker_next_due(server->broker);
        if (due < 0) {
                uv_timer_stop(&server->timer);
                return;
        }
        now = server->broker->now;
        uv_update_time(server->loop);
        uv_timer_start(&server->timer, on_timer, due > now ? (uint64_t)(due - now + 999) / 1000 : 0, 0);
}

/* --- beginning and end ------------------------------------------------------------------------------------------- */

static int poll_for_ever(struct server *server, uv_poll_t *poll, int fd, uv_poll_cb callback)
{
        int r = uv_poll_init(server->loop, poll, fd);

        if (r < 0)
                return r;
        poll->data = server;
        return uv_poll_start(poll, UV_READABLE, callback);
}

static int follow_signals(struct server *server)
{
        int r = 0;

        for (unsigned i = 0; i < array_size(stop_signals) && r == 0; i++) {
                r = uv_signal_init(server->loop, &server->signals[i]);
                server->signals[i].data = server;
                if (r == 0)
                        r = uv_signal_start(&server->signals[i], on_signal, stop_signals[i]);
        }
        return r;
}

static int listen_to(struct server *server, const struct server_sockets *sockets)
{
        int r = 0;

        for (unsigned i = 0; i < sockets->n_listening && r == 0; i++) {
                server->listening[i] = sockets->listening[i];
                server->n_listeners++;
                r = poll_for_ever(server, &server->listeners[i], sockets->listening[i], on_connection);
        }
        return r;
}

static int follow_news(struct server *server)
{
        struct broker *broker = server->broker;
        int r;

        r = poll_for_ever(server, &server->deaths, broker->deaths.fd, on_deaths);
        if (r == 0)
                r = poll_for_ever(server, &server->watch, broker->watch.fd, on_watch);
        if (r == 0)
                r = poll_for_ever(server, &server->hang_ups_poll, server->hang_ups, on_hang_ups);
        if (r == 0)
                r = uv_timer_init(server->loop, &server->timer);
        if (r == 0)
                r = uv_prepare_init(server->loop, &server->settle);
        return r == 0 ? follow_signals(server) : r;
}

static int begin(struct server *server, int given)
{
        int r;

        server->timer.data = server->settle.data = server;
        server_tick(server);
        r = broker_recover(server->broker);
        if (r < 0)
                return r;
        declared_settle(server->broker);
        handover_go_on(server);
        server->manager.serves_given = given >= 0;
        if (given >= 0)
                welcome(server, given);
        manager_begin(server);
        return uv_prepare_start(&server->settle, on_settle);
}

int server_init(struct server *server, uv_loop_t *loop, struct broker *broker, struct server_sockets *sockets)
{
        int r;

        server->loop = loop;
        server->broker = broker;
        LIST_INIT(&server->sessions);
        LIST_INIT(&server->unread.leftovers);
        dispatch_init();
        server->reserve = open("/dev/null", O_RDONLY | O_CLOEXEC);
        server->hang_ups = epoll_create1(EPOLL_CLOEXEC);
        if (server->reserve < 0 || server->hang_ups < 0)
                return -errno;
        r = listen_to(server, sockets);
        if (r == 0)
                r = follow_news(server);
        return r == 0 ? begin(server, take_fd(sockets->given)) : r;
}

static void close_handle(uv_handle_t *handle, void *data)
{
        (void)data;
        if (!uv_is_closing(handle))
                uv_close(handle, NULL);
}

/* Without its handle a signal would end the process where it stands, names and keys left behind. */
static void close_unless_signal(uv_handle_t *handle, void *data)
{
        if (handle->type == UV_SIGNAL)
                uv_unref(handle);
        else
                close_handle(handle, data);
}

void server_stop(struct server *server, bool keep)
{
        struct session *session;

        if (server->stopping)
                return;
        server->stopping = true;
        server_tick(server);
        manager_end(server);
        if (keep)
                handover_give(server);
        broker_stop(server->broker, keep);
        while ((session = LIST_FIRST(&server->sessions)))
                session_end(session, false);
        unread_deinit(server);
        uv_walk(server->loop, close_unless_signal, NULL);
        for (unsigned i = 0; i < server->n_listeners; i++)
                server->listening[i] = close_fd(server->listening[i]);
        server->reserve = close_fd(server->reserve);
        server->hang_ups = close_fd(server->hang_ups);
}

void server_finish(struct server *server)
{
        sigset_t stopping;

        sigemptyset(&stopping);
        for (unsigned i = 0; i < array_size(stop_signals); i++)
                sigaddset(&stopping, stop_signals[i]);
        /* closing its handle makes a signal deadly again */
        sigprocmask(SIG_BLOCK, &stopping, NULL);
        uv_walk(server->loop, close_handle, NULL);
        uv_run(server->loop, UV_RUN_DEFAULT);
        for (unsigned i = 0; i < array_size(stop_signals); i++)
                signal(stop_signals[i], SIG_IGN);
}
