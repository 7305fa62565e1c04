#include "daemon/core/environment.h"
#include "daemon/core/peer.h"
#include "daemon/core/policy.h"
#include "proto/util.h"
#include "tests/support/check.h"

enum { OWNER = 1000, GROUP = 2000, STRANGER = 3000, OTHER_GROUP = 4000 };

static gid_t extra_groups[] = { 5000, GROUP, 6000 };

static const struct peer root = { .uid = 0, .gid = 0 };
static const struct peer owner = { .uid = OWNER, .gid = OTHER_GROUP };
static const struct peer colleague = { .uid = STRANGER, .gid = GROUP };
static const struct peer late_colleague = {
        .uid = STRANGER,
        .gid = OTHER_GROUP,
        .groups = extra_groups,
        .n_groups = array_size(extra_groups),
};
static const struct peer stranger = { .uid = STRANGER, .gid = OTHER_GROUP };

static bool allows(const struct peer *peer, mode_t mode, int want)
{
        return policy_mode_allows(peer, OWNER, GROUP, mode, want);
}

static const int wants[] = { WANT_EXECUTE, WANT_WRITE, WANT_READ };

START_TEST(each_class_has_its_own_bits)
{
        for (size_t i = 0; i < array_size(wants); i++) {
                mode_t bit = (mode_t)wants[i];

                ck_assert(allows(&owner, bit << 6, wants[i]));
                ck_assert(allows(&colleague, bit << 3, wants[i]));
                ck_assert(allows(&late_colleague, bit << 3, wants[i]));
                ck_assert(allows(&stranger, bit, wants[i]));
        }
}
END_TEST

START_TEST(the_first_class_that_fits_decides_also_against)
{
        ck_assert(!allows(&owner, 0077, WANT_READ));
        ck_assert(!allows(&colleague, 0707, WANT_READ));
        ck_assert(!allows(&late_colleague, 0707, WANT_READ));
        ck_assert(!allows(&stranger, 0770, WANT_READ));
}
END_TEST

START_TEST(an_owner_in_the_group_is_still_the_owner)
{
        const struct peer both = { .uid = OWNER, .gid = GROUP };

        ck_assert(!allows(&both, 0070, WANT_READ));
        ck_assert(allows(&both, 0400, WANT_READ));
}
END_TEST

START_TEST(all_that_is_wanted_has_to_be_allowed)
{
        ck_assert(allows(&owner, 0600, WANT_READ | WANT_WRITE));
        ck_assert(!allows(&owner, 0400, WANT_READ | WANT_WRITE));
        ck_assert(!allows(&owner, 0200, WANT_READ | WANT_WRITE));
        ck_assert(!allows(&stranger, 0776, WANT_WRITE | WANT_EXECUTE));
}
END_TEST

START_TEST(bits_above_the_permissions_mean_nothing)
{
        ck_assert(!allows(&owner, 07000, WANT_EXECUTE));
        ck_assert(!allows(&stranger, 0100000, WANT_READ));
        ck_assert(allows(&stranger, 0100004, WANT_READ));
}
END_TEST

START_TEST(root_may_all)
{
        for (size_t i = 0; i < array_size(wants); i++)
                ck_assert(allows(&root, 0, wants[i]));
}
END_TEST

START_TEST(the_group_of_root_is_not_root)
{
        const struct peer wheel = { .uid = STRANGER, .gid = 0 };

        ck_assert(!allows(&wheel, 0, WANT_READ));
        ck_assert(!policy_mode_allows(&wheel, 0, 0, 0707, WANT_READ));
}
END_TEST

START_TEST(a_peer_is_in_its_first_group_and_in_the_others)
{
        ck_assert(policy_is_in_group(&colleague, GROUP));
        ck_assert(policy_is_in_group(&late_colleague, GROUP));
        ck_assert(policy_is_in_group(&late_colleague, OTHER_GROUP));
        ck_assert(policy_is_in_group(&late_colleague, 6000));
        ck_assert(!policy_is_in_group(&stranger, GROUP));
}
END_TEST

static struct environment with_mode(mode_t mode)
{
        return (struct environment){ .uid = OWNER, .gid = GROUP, .mode = mode };
}

START_TEST(writing_asks_for_reading_too)
{
        const struct environment both = with_mode(0660), read = with_mode(0440), write = with_mode(0220);

        ck_assert(policy_may_access(&colleague, &both, ACCESS_WRITE));
        ck_assert(policy_may_access(&colleague, &both, ACCESS_READ));
        ck_assert(policy_may_access(&colleague, &read, ACCESS_READ));
        ck_assert(!policy_may_access(&colleague, &read, ACCESS_WRITE));
        ck_assert(!policy_may_access(&colleague, &write, ACCESS_WRITE));
        ck_assert(!policy_may_access(&stranger, &both, ACCESS_READ));
}
END_TEST

START_TEST(only_the_owner_and_root_remove)
{
        const struct environment open = with_mode(0777), closed = with_mode(0);

        ck_assert(policy_may_remove(&owner, &closed));
        ck_assert(policy_may_remove(&root, &closed));
        ck_assert(!policy_may_remove(&colleague, &open));
        ck_assert(!policy_may_remove(&stranger, &open));
}
END_TEST

START_TEST(who_may_read_or_remove_sees_it)
{
        const struct environment closed = with_mode(0), group = with_mode(0040), write_only = with_mode(0222);

        ck_assert(policy_may_see(&owner, &closed));
        ck_assert(policy_may_see(&root, &closed));
        ck_assert(!policy_may_see(&colleague, &closed));
        ck_assert(policy_may_see(&late_colleague, &group));
        ck_assert(!policy_may_see(&stranger, &group));
        ck_assert(!policy_may_see(&stranger, &write_only));
}
END_TEST

int main(void)
{
        Suite *suite = suite_create("policy");
        TCase *modes = check_case(suite, "modes");
        TCase *environments = check_case(suite, "environments");

        tcase_add_test(modes, each_class_has_its_own_bits);
        tcase_add_test(modes, the_first_class_that_fits_decides_also_against);
        tcase_add_test(modes, an_owner_in_the_group_is_still_the_owner);
        tcase_add_test(modes, all_that_is_wanted_has_to_be_allowed);
        tcase_add_test(modes, bits_above_the_permissions_mean_nothing);
        tcase_add_test(modes, root_may_all);
        tcase_add_test(modes, the_group_of_root_is_not_root);
        tcase_add_test(modes, a_peer_is_in_its_first_group_and_in_the_others);

        tcase_add_test(environments, writing_asks_for_reading_too);
        tcase_add_test(environments, only_the_owner_and_root_remove);
        tcase_add_test(environments, who_may_read_or_remove_sees_it);
        return check_run(suite);
}
