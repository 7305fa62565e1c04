#include "daemon/resuming.h"

#include "daemon/lifecycle.h"
#include "proto/util.h"

#include <string.h>

struct peer *resuming_peer(struct process *process)
{
        struct peer *peer = process->resumed;

        if (peer)
                return peer;
        peer = calloc(1, sizeof(*peer));
        if (!peer)
                return NULL;
        peer->process = broker_retain_process(process);
        peer->uid = process->uid;
        LIST_INIT(&peer->members);
        return process->resumed = peer;
}

static void free_peer(struct peer *peer)
{
        peer->process->resumed = NULL;
        free(peer);
}

/* The caller has a reference to the process as well, so that it stays. */
static bool move(struct member *member, struct peer *peer)
{
        struct peer *from = member->peer;

        LIST_REMOVE(member, in_peer);
        member->peer = peer;
        LIST_INSERT_HEAD(&peer->members, member, in_peer);
        change_touch(&member->change);
        if (from == from->process->resumed && LIST_EMPTY(&from->members)) {
                from->process->references--;
                free_peer(from);
        }
        return true;
}

/* That of the session, among what another peer of its process has. */
static struct member *find_own(const struct peer *other, const struct peer *peer, const struct environment *environment)
{
        struct member *member;

        LIST_FOREACH(member, &other->members, in_peer)
                if (member->environment == environment && member->session == peer->session)
                        return member;
        return NULL;
}

bool resuming_join(struct peer *peer, const struct environment *environment)
{
        const struct peer *kept = peer->process->resumed;
        struct member *member = kept ? find_own(kept, peer, environment) : NULL;

        return member && !member_find(peer, environment) && move(member, peer);
}

bool resuming_take_over(struct peer *peer, const struct environment *environment)
{
        const struct peer *other;
        struct member *member;

        if (resuming_join(peer, environment))
                return true;
        if (peer->session == 0 || member_find(peer, environment))
                return false;
        LIST_FOREACH(other, &peer->process->peers, in_process) {
                member = other != peer && other->session == peer->session ? find_own(other, peer, environment) : NULL;
                if (member)
                        return move(member, peer);
        }
        return false;
}

bool resuming_join_named(struct peer *peer, const char *name)
{
        struct member *member;

        if (!peer->process->resumed)
                return false;
        LIST_FOREACH(member, &peer->process->resumed->members, in_peer)
                if (strcmp(member->environment->name, name) == 0 && resuming_join(peer, member->environment))
                        return true;
        return false;
}

bool resuming_join_numbered(struct peer *peer, uint64_t environment, uint64_t number)
{
        struct member *member;

        if (!peer->process->resumed)
                return false;
        LIST_FOREACH(member, &peer->process->resumed->members, in_peer)
                if (member->environment->id == environment && member->change.tombstone->second == number)
                        break;
        if (!member || member_find(peer, member->environment))
                return false;
        peer->session = member->session;
        return move(member, peer);
}

void resuming_end(struct broker *broker, struct process *process)
{
        struct peer *peer = process->resumed;

        if (!peer)
                return;
        while (!LIST_EMPTY(&peer->members))
                lifecycle_leave(broker, LIST_FIRST(&peer->members), true);
        free_peer(peer);
        broker_release_process(broker, process);
}

void resuming_forget(struct broker *broker, struct process *process)
{
        struct peer *peer = process->resumed;

        if (!peer)
                return;
        while (!LIST_EMPTY(&peer->members))
                member_leave(LIST_FIRST(&peer->members));
        free_peer(peer);
        broker_release_process(broker, process);
}
