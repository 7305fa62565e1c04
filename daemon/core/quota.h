#pragma once

#include "daemon/core/limits.h"
#include "daemon/core/refusal.h"
#include "daemon/core/tree.h"

#include <sys/types.h>

/* What one uid holds. */
struct account {
        uid_t uid;
        int64_t sessions;
        int64_t environments;
        int64_t regions;
        int64_t bytes;
        int64_t waiting;
        int64_t watches;
        int64_t unread_fds;     /* descriptors that were sent and perhaps not taken yet */
        struct some_limits own; /* where this user has others than all */
        RB_ENTRY(account) by_uid;
};

/* The limits of that user, which are those of all but for its own. */
struct limits account_limits(const struct account *account, const struct limits *limits);
/* May `wanted` more come on top of `used`? 0, or REFUSED_QUOTA with the limit's name and the figures. */
int quota_check(const char *limit, int64_t used, int64_t wanted, int64_t maximum, struct refusal *refusal);
/* May this uid have one more environment, or add to one, with so many regions of so many bytes altogether? `limits` are
 * those of all. */
int quota_check_regions(const struct account *account, const struct limits *limits, int64_t environments,
                        int64_t regions, int64_t bytes, struct refusal *refusal);
/* Nothing is charged to it any more. */
bool account_is_empty(const struct account *account);
