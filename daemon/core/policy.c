/* Permission, as for a file. */

#include "daemon/core/policy.h"

#include "daemon/core/environment.h"
#include "daemon/core/peer.h"
#include "daemon/core/rules.h"

bool policy_is_in_group(const struct peer *peer, gid_t gid)
{
        if (peer->gid == gid)
                return true;
        for (size_t i = 0; i < peer->n_groups; i++)
                if (peer->groups[i] == gid)
                        return true;
        return false;
}

bool policy_mode_allows(const struct peer *peer, uid_t uid, gid_t gid, mode_t mode, int want)
{
        int bits;

        if (peer->uid == 0)
                return true;
        if (peer->uid == uid)
                bits = mode >> 6;
        else if (policy_is_in_group(peer, gid))
                bits = mode >> 3;
        else
                bits = mode;
        return (bits & want) == want;
}

bool policy_may_use_name(const struct peer *peer, const struct name_rule *rule)
{
        if (!rule || peer->uid == 0 || (rule->owner.given && (uid_t)rule->owner.value == peer->uid))
                return true;
        return rule->group.given && policy_is_in_group(peer, (gid_t)rule->group.value);
}

bool policy_may_access(const struct peer *peer, const struct environment *environment, enum access access)
{
        int want = access == ACCESS_WRITE ? WANT_READ | WANT_WRITE : WANT_READ;

        return policy_mode_allows(peer, environment->uid, environment->gid, environment->mode, want);
}

bool policy_may_remove(const struct peer *peer, const struct environment *environment)
{
        return peer->uid == 0 || peer->uid == environment->uid;
}

bool policy_may_see(const struct peer *peer, const struct environment *environment)
{
        return policy_may_remove(peer, environment) || policy_may_access(peer, environment, ACCESS_READ);
}
