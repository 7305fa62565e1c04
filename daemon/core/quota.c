/* What each uid holds, against limits.h. */

#include "daemon/core/quota.h"

int quota_check(const char *limit, int64_t used, int64_t wanted, int64_t maximum, struct refusal *refusal)
{
        if (wanted <= maximum && used <= maximum - wanted)
                return 0;
        refusal->name = limit;
        refusal->used = used;
        refusal->wanted = wanted;
        refusal->maximum = maximum;
        return refusal->code = REFUSED_QUOTA;
}

struct limits account_limits(const struct account *account, const struct limits *limits)
{
        struct limits own = *limits;

        some_limits_put_over(&account->own, &own);
        return own;
}

int quota_check_regions(const struct account *account, const struct limits *limits, int64_t environments,
                        int64_t regions, int64_t bytes, struct refusal *refusal)
{
        const struct limits own = account_limits(account, limits);
        int r;

        r = quota_check("environmentsPerUser", account->environments, environments, own.environments_per_user, refusal);
        if (r != 0)
                return r;
        r = quota_check("regionsPerUser", account->regions, regions, own.regions_per_user, refusal);
        if (r != 0)
                return r;
        return quota_check("bytesPerUser", account->bytes, bytes, own.bytes_per_user, refusal);
}

bool account_is_empty(const struct account *account)
{
        return account->sessions == 0 && account->environments == 0 && account->regions == 0 && account->bytes == 0 &&
               account->waiting == 0 && account->watches == 0 && account->unread_fds == 0;
}
