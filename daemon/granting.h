#pragma once

#include "daemon/broker.h"

/* Giving regions to a session: first all that can fail, then what cannot. */
struct granting {
        struct member *member; /* the session's; made here if `is_new` */
        bool is_new;
        enum access access;
        struct attachment **attachments; /* one per grant; made here where it is not in a list yet */
        size_t n;
};

/* Opens the memory of each region in `grants` for the caller, filling in access and descriptor, and prepares what has to
 * be written down. 0, a refusal or -ENOMEM; then nothing is left but descriptors in `grants`, which their owner closes. */
int granting_plan(struct broker *broker, struct request *request, struct environment *environment, enum access access,
                  struct grant *grants, size_t n, struct granting *ret);
/* Makes it true; cannot fail. */
void granting_apply(struct broker *broker, struct granting *granting);

/* The membership of the caller in the environment of that id; NULL where there is none. */
struct member *granting_find_member_by_id(struct broker *broker, struct request *request, const char *id);
/* The environment of that name, which the caller is a member of: REFUSED_NO_ENVIRONMENT, REFUSED_NOT_ATTACHED. */
int granting_find_member(struct broker *broker, struct request *request, const char *name,
                         struct environment **ret_environment, struct member **ret_member);
