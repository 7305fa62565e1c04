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
        if (LIST_EMPTY(&from->members)) {
                from->process->references--;
                free_peer(from);
        }
        return true;
}

bool resuming_join(struct peer *peer, const struct environment *environment)
{
        struct member *member = peer->process->resumed ? member_find(peer->process->resumed, environment) : NULL;

        return member && !member_find(peer, environment) && move(member, peer);
}

bool resuming_join_named(struct peer *peer, const char *name)
{
        struct member *member;

        if (!peer->process->resumed)
                return false;
        LIST_FOREACH(member, &peer->process->resumed->members, in_peer)
                if (strcmp(member->environment->name, name) == 0)
                        return resuming_join(peer, member->environment);
        return false;
}

bool resuming_join_by_id(struct broker *broker, struct peer *peer, const char *id)
{
        char own[REGISTRY_ID_SIZE];
        struct member *member;

        if (!peer->process->resumed)
                return false;
        LIST_FOREACH(member, &peer->process->resumed->members, in_peer) {
                registry_write_id(&broker->registry, member->environment->id, &member->environment->given, own);
                if (strcmp(own, id) == 0)
                        return resuming_join(peer, member->environment);
        }
        return false;
}

bool resuming_join_numbered(struct peer *peer, uint64_t environment, uint64_t number)
{
        struct member *member;

        if (!peer->process->resumed)
                return false;
        LIST_FOREACH(member, &peer->process->resumed->members, in_peer)
                if (member->environment->id == environment && member->change.tombstone->second == number)
                        return !member_find(peer, member->environment) && move(member, peer);
        return false;
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
