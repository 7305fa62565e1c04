/* Who is attached to what: the links between sessions, environments and regions. */

#include "daemon/core/member.h"

#include "daemon/core/environment.h"
#include "daemon/core/peer.h"
#include "daemon/core/region.h"

#include <string.h>

struct member *member_new(struct peer *peer, struct environment *environment, enum access access, int64_t realtime)
{
        struct member *member = calloc(1, sizeof(*member));

        if (!member || change_init(&member->change, CHANGE_MEMBER) < 0) {
                free(member);
                return NULL;
        }
        member->peer = peer;
        member->session = peer->session;
        member->environment = environment;
        member->access = access;
        member->since_usec = realtime;
        LIST_INIT(&member->attachments);
        return member;
}

struct attachment *attachment_new(struct member *member, struct region *region, enum access access, int64_t realtime)
{
        struct attachment *attachment = calloc(1, sizeof(*attachment));

        if (!attachment)
                return NULL;
        attachment->member = member;
        attachment->region = region;
        attachment->access = access;
        attachment->since_usec = realtime;
        return attachment;
}

struct member *member_free(struct member *member)
{
        if (!member)
                return NULL;
        change_end(&member->change);
        free(member);
        return NULL;
}

void member_join(struct member *member)
{
        struct environment *environment = member->environment;

        LIST_INSERT_HEAD(&member->peer->members, member, in_peer);
        TAILQ_INSERT_TAIL(&environment->members, member, in_environment);
        environment->n_members++;
        if (environment->change.changes)
                change_follow(&member->change, environment->change.changes, environment->id, 0);
}

void attachment_join(struct attachment *attachment)
{
        LIST_INSERT_HEAD(&attachment->member->attachments, attachment, in_member);
        LIST_INSERT_HEAD(&attachment->region->attachments, attachment, in_region);
        attachment->region->n_attachments++;
        if (attachment->region->backing == BACKING_PRIVATE)
                attachment->region->privately_held = true;
        change_touch(&attachment->member->change);
}

struct member *member_find(const struct peer *peer, const struct environment *environment)
{
        struct member *member;

        LIST_FOREACH(member, &peer->members, in_peer)
                if (member->environment == environment)
                        return member;
        return NULL;
}

struct attachment *attachment_find(const struct member *member, const struct region *region)
{
        struct attachment *attachment;

        LIST_FOREACH(attachment, &member->attachments, in_member)
                if (attachment->region == region)
                        return attachment;
        return NULL;
}

struct attachment *attachment_find_named(const struct member *member, const char *name)
{
        struct attachment *attachment;

        LIST_FOREACH(attachment, &member->attachments, in_member)
                if (strcmp(attachment->region->name, name) == 0)
                        return attachment;
        return NULL;
}

void departed_note(struct departed *departed, const struct member *member, enum access access, int64_t since_usec)
{
        const struct process *process = member->peer->process;

        departed->pid = process->pid;
        departed->uid = process->uid;
        memcpy(departed->command, process->command, sizeof(departed->command));
        departed->access = access;
        departed->since_usec = since_usec;
}

bool member_writes(const struct member *member)
{
        const struct attachment *attachment;

        LIST_FOREACH(attachment, &member->attachments, in_member)
                if (attachment->access == ACCESS_WRITE)
                        return true;
        return false;
}

struct attachment *attachment_leave(struct attachment *attachment)
{
        if (!attachment)
                return NULL;
        departed_note(&attachment->region->departed, attachment->member, attachment->access, attachment->since_usec);
        change_touch(&attachment->member->change);
        change_touch(&attachment->region->environment->change); /* who departed, and what it said it let go of */
        LIST_REMOVE(attachment, in_member);
        LIST_REMOVE(attachment, in_region);
        attachment->region->n_attachments--;
        free(attachment);
        return NULL;
}

struct member *member_leave(struct member *member)
{
        while (!LIST_EMPTY(&member->attachments))
                attachment_leave(LIST_FIRST(&member->attachments));
        LIST_REMOVE(member, in_peer);
        TAILQ_REMOVE(&member->environment->members, member, in_environment);
        member->environment->n_members--;
        if (member->environment->initializer == member)
                member->environment->initializer = NULL;
        if (member->environment->recoverer == member)
                member->environment->recoverer = NULL;
        return member_free(member);
}
