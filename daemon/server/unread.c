/* The kernel counts descriptors under way against the sender's limit of open files, and once that is reached lets no more
 * pass, to nobody. A peer that asks and never reads could so keep all others from theirs. Each user may therefore have only
 * so many under way; what goes beyond waits until some were taken. Closing our side would not take them back: what the peer
 * was sent stays under way until it reads, or closes its own. So the socket is kept for as long, and shut. */

#include "daemon/server/unread.h"

#include "daemon/server/server.h"
#include "daemon/server/session.h"
#include "proto/util.h"

#include <stdlib.h>
#include <sys/param.h>
#include <sys/socket.h>

enum {
        SETTLE_USEC = 10 * 1000, /* between two looks at everybody */
        LOOK_FIRST_USEC = 10 * 1000,
        LOOK_LAST_USEC = 1000 * 1000,
};

static void leftover_free(struct server *server, struct leftover *leftover)
{
        LIST_REMOVE(leftover, link);
        stream_deinit(&leftover->stream);
        registry_release_account(&server->broker->registry, leftover->account);
        free(leftover);
}

static void settle_leftovers(struct server *server)
{
        struct leftover *leftover, *next;

        for (leftover = LIST_FIRST(&server->unread.leftovers); leftover; leftover = next) {
                next = LIST_NEXT(leftover, link);
                if (stream_settle(&leftover->stream))
                        leftover_free(server, leftover);
        }
}

static void look_later(struct server *server)
{
        struct unread *unread = &server->unread;

        if (LIST_EMPTY(&unread->leftovers))
                agenda_cancel(&server->broker->agenda, &unread->look);
        else
                agenda_set(&server->broker->agenda, &unread->look, server->broker->now + unread->interval);
}

static void on_look(struct agenda_item *item, void *data)
{
        struct server *server = container_of(item, struct server, unread.look);

        (void)data;
        settle_leftovers(server);
        server->unread.interval = MIN(server->unread.interval * 2, LOOK_LAST_USEC);
        look_later(server);
}

static void begin(struct server *server, struct leftover *leftover, struct account *account, int64_t n_unread)
{
        leftover->stream.tally = &account->unread_fds;
        leftover->stream.n_unread = n_unread;
        leftover->account = account;
        LIST_INSERT_HEAD(&server->unread.leftovers, leftover, link);
        server->unread.interval = LOOK_FIRST_USEC;
        server->unread.look.on_due = on_look;
        look_later(server);
}

void unread_keep(struct server *server, struct session *session)
{
        struct stream *stream = &session->stream;
        struct leftover *leftover;

        if (stream_settle(stream))
                return;
        leftover = calloc(1, sizeof(*leftover));
        if (!leftover)
                return;
        shutdown(stream->fd, SHUT_RDWR);
        stream_init(&leftover->stream, take_fd(stream->fd), 0);
        begin(server, leftover, session->peer.account, stream->n_unread);
        stream->n_unread = 0;
}

int unread_take_up(struct server *server, int fd, uid_t uid, int64_t n_unread)
{
        struct leftover *leftover = calloc(1, sizeof(*leftover));
        struct account *account = leftover ? registry_account(&server->broker->registry, uid) : NULL;

        if (!account) {
                free(leftover);
                close_fd(fd);
                return -ENOMEM;
        }
        stream_init(&leftover->stream, fd, 0);
        account->unread_fds += n_unread;
        begin(server, leftover, account, n_unread);
        return 0;
}

void unread_settle(struct server *server)
{
        struct session *session;

        if (server->broker->now < server->unread.settled_at + SETTLE_USEC)
                return;
        server->unread.settled_at = server->broker->now;
        LIST_FOREACH(session, &server->sessions, in_server)
                stream_settle(&session->stream);
        settle_leftovers(server);
        look_later(server);
}

void unread_deinit(struct server *server)
{
        while (!LIST_EMPTY(&server->unread.leftovers))
                leftover_free(server, LIST_FIRST(&server->unread.leftovers));
        look_later(server);
}
