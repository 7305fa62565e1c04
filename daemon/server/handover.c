/* What a peer has said and nobody has read is still in its socket, and goes with it. The rest is written down: what was read
 * and not answered yet, answers that were not sent yet, what a call that waits asked for. That is asked again then, as it is
 * here whenever there is hope for it. Not kept is a session that has descriptors to send.
 *
 * All records are written before the first socket is given away. Killed in between, we leave records without sockets, or
 * sockets without records: the next broker drops both, and the clients see the end of their connection. */

#include "daemon/server/handover.h"

#include "daemon/host/bag.h"
#include "daemon/log.h"
#include "daemon/server/dispatch.h"
#include "daemon/server/server.h"
#include "daemon/server/session.h"
#include "proto/util.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

/* What was given, and what not, with the first reason. */
struct outcome {
        unsigned n, failed;
        int error;
};

static void count(struct outcome *outcome, int r)
{
        if (r == 0) {
                outcome->n++;
                return;
        }
        if (outcome->failed++ == 0)
                outcome->error = r;
}

static void write_name(const struct session_record *record, char ret[BAG_NAME_MAX + 1])
{
        snprintf(ret, BAG_NAME_MAX + 1, "s%" PRIu32, (uint32_t)record->number);
}

/* --- giving ------------------------------------------------------------------------------------------------------ */

/* A record, and the stream that it is about. */
struct gift {
        struct session_record *record;
        struct stream *stream;
};

struct giving {
        struct server *server;
        struct session_records records;
        struct gift *gifts;
        size_t n_gifts;
        size_t bytes;
        uint64_t low, high; /* the numbers that were given last */
        struct outcome outcome;
};

static int describe_members(const struct session *session, struct session_record *record)
{
        const struct member *member;
        size_t n = 0;

        LIST_FOREACH(member, &session->peer.members, in_peer)
                n++;
        record->members = calloc(n + 1, sizeof(*record->members));
        if (!record->members)
                return -ENOMEM;
        LIST_FOREACH(member, &session->peer.members, in_peer)
                record->members[record->n_members++] = (struct member_key){ member->environment->id,
                                                                            member->change.tombstone->second };
        return 0;
}

static int describe_traffic(struct session *session, struct session_record *record)
{
        struct stream *stream = &session->stream;
        int r;

        if (session->hung_up) /* nothing is under way any more */
                return 0;
        if (stream->n_output > 0)
                stream_flush(stream); /* what goes wrong is for the next one to find */
        r = stream_copy_input(stream, &record->input, &record->n_input, &record->refused);
        return r == 0 ? stream_copy_output(stream, &record->output, &record->n_output) : r;
}

static int describe(struct session *session, struct session_record *record)
{
        int r;

        record->process_id = session->peer.process->id;
        record->uid = session->peer.uid;
        record->input_ended = session->input_ended;
        r = describe_members(session, record);
        if (r == 0)
                r = describe_traffic(session, record);
        if (r == 0 && session->exchange)
                r = dispatch_describe(session->exchange, &record->call);
        return r;
}

static int check_size(struct giving *giving, const struct session_record *record)
{
        size_t n = record->n_input + record->n_output + (record->call.text ? strlen(record->call.text) : 0);

        if (n > SESSIONS_MAX_BYTES - giving->bytes)
                return -ENOSPC;
        giving->bytes += n;
        return 0;
}

/* They are taken up by their numbers, each before those of the one before it: first all who wait for an environment to be
 * free, for they keep others out of it, then the others as they are. */
static void add(struct giving *giving, struct session_record *record, struct stream *stream, bool removes)
{
        record->number = removes ? ++giving->high : --giving->low;
        record->n_unread = stream->n_unread;
        TAILQ_INSERT_TAIL(&giving->records, record, link);
        giving->gifts[giving->n_gifts++] = (struct gift){ record, stream };
}

static void add_session(struct giving *giving, struct session *session)
{
        struct session_record *record = calloc(1, sizeof(*record));
        int r = record ? describe(session, record) : -ENOMEM;

        if (r == 0)
                r = check_size(giving, record);
        if (r == 0) {
                add(giving, record, &session->stream, session->exchange && session->exchange->request.waiter.removes);
                return;
        }
        session_record_free(record);
        count(&giving->outcome, r);
}

static void add_leftover(struct giving *giving, struct leftover *leftover)
{
        struct session_record *record = calloc(1, sizeof(*record));

        if (!record) /* its descriptors will be counted no more */
                return;
        record->uid = leftover->account->uid;
        record->is_over = true;
        add(giving, record, &leftover->stream, false);
}

static int collect(struct giving *giving)
{
        struct server *server = giving->server;
        struct leftover *leftover;
        struct session *session;
        size_t n = 0;

        LIST_FOREACH(session, &server->sessions, in_server)
                n++;
        LIST_FOREACH(leftover, &server->unread.leftovers, link)
                n++;
        giving->low = giving->high = n + 1;
        giving->gifts = calloc(n + 1, sizeof(*giving->gifts));
        if (!giving->gifts)
                return -ENOMEM;
        LIST_FOREACH(session, &server->sessions, in_server)
                add_session(giving, session);
        LIST_FOREACH(leftover, &server->unread.leftovers, link)
                add_leftover(giving, leftover);
        return 0;
}

static int give(struct giving *giving, const struct gift *gift)
{
        char name[BAG_NAME_MAX + 1];
        int r;

        write_name(gift->record, name);
        r = bags_hand_on(giving->server->handover.bags, name, gift->stream->fd);
        if (r < 0)
                return r;
        /* else it would be shut down, for what its peer has not taken */
        *gift->stream->tally -= gift->stream->n_unread;
        gift->stream->n_unread = 0;
        return 0;
}

void handover_give(struct server *server)
{
        struct giving giving = { .server = server };
        int r;

        if (!server->handover.bags || !server->broker->ledger.store)
                return;
        TAILQ_INIT(&giving.records);
        broker_commit(server->broker); /* before answers are sent */
        r = collect(&giving);
        if (r == 0 && giving.n_gifts > 0)
                r = sessions_write(server->broker, &giving.records);
        for (size_t i = 0; i < giving.n_gifts; i++)
                count(&giving.outcome, r < 0 ? r : give(&giving, &giving.gifts[i]));
        if (giving.outcome.failed > 0)
                log_warning("%u sessions do not outlast the restart: %s", giving.outcome.failed,
                            strerror(-giving.outcome.error));
        session_records_clear(&giving.records);
        free(giving.gifts);
}

/* --- taking ------------------------------------------------------------------------------------------------------ */

static int take_socket(struct server *server, const struct session_record *record)
{
        char name[BAG_NAME_MAX + 1];
        struct kept *kept;
        int fd;

        if (!server->handover.bags)
                return -ENOENT;
        write_name(record, name);
        fd = bags_take(server->handover.bags, name, &kept);
        if (fd < 0)
                return -ENOENT;
        bags_drop(server->handover.bags, kept);
        return fd;
}

static int take(struct server *server, struct session_record *record)
{
        owned(closep) int fd = take_socket(server, record);
        struct identity identity;
        const char *operation;
        int r;

        if (fd < 0)
                return fd;
        if (record->is_over)
                return unread_take_up(server, take_fd(fd), record->uid, record->n_unread);
        r = identity_read(fd, &identity, &operation);
        if (r == 0)
                r = session_resume(server, fd, &identity, record);
        if (r == 0)
                take_fd(fd);
        return r;
}

void handover_take(void *data)
{
        struct server *server = data;
        struct session_records *records = &server->broker->sessions_before;
        struct session_record *record;
        struct outcome outcome = {};

        TAILQ_FOREACH(record, records, link)
                count(&outcome, take(server, record));
        if (outcome.n > 0)
                log_notice("went on with %u sessions", outcome.n);
        if (outcome.failed > 0)
                log_warning("%u sessions of the broker before are lost: %s", outcome.failed, strerror(-outcome.error));
        session_records_clear(records);
}

void handover_go_on(struct server *server)
{
        struct session *session, *next;

        for (session = LIST_FIRST(&server->sessions); session; session = next) {
                next = LIST_NEXT(session, in_server);
                session_step(session);
        }
}
