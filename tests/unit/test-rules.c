#include "daemon/core/peer.h"
#include "daemon/core/policy.h"
#include "daemon/core/rules.h"
#include "daemon/core/setting.h"
#include "proto/util.h"
#include "tests/support/check.h"

#include <errno.h>
#include <stdio.h>

enum { ALICE = 1001, BOB = 1002, CLUB = 2001, OTHERS = 2002 };

static gid_t clubs[] = { OTHERS, CLUB };
static const struct peer alice = { .uid = ALICE, .gid = ALICE, .groups = clubs, .n_groups = 2 };
static const struct peer bob = { .uid = BOB, .gid = CLUB };
static const struct peer stranger = { .uid = 1003, .gid = 1003 };
static const struct peer root = {};

static struct rules rules;

static void teardown(void)
{
        rules_deinit(&rules);
}

/* --- limits of users and groups ---------------------------------------------------------------------------------- */

static void set(bool is_group, id_t id, const char *limit, int64_t value)
{
        struct user_rule *rule = rules_user(&rules, is_group, id);

        ck_assert_ptr_nonnull(rule);
        some_limits_set(&rule->limits, (unsigned)limits_find(limit), value);
}

static int64_t limit_of(const struct peer *peer, uid_t uid, const char *limit)
{
        struct some_limits some;
        struct limits limits;

        limits_init(&limits);
        rules_limits_of(&rules, uid, peer, &some);
        some_limits_put_over(&some, &limits);
        return *limits_at(&limits, (unsigned)limits_find(limit));
}

START_TEST(the_user_counts_more_than_groups_and_the_last_group_more_than_others)
{
        set(false, ALICE, "bytesPerUser", 10000);
        set(true, OTHERS, "bytesPerUser", 20000);
        set(true, OTHERS, "regionsPerUser", 20);
        set(true, OTHERS, "watchesPerUser", 20);
        set(true, CLUB, "regionsPerUser", 30);
        set(true, CLUB, "bytesPerUser", 30000);

        ck_assert_int_eq(limit_of(&alice, ALICE, "bytesPerUser"), 10000);
        ck_assert_int_eq(limit_of(&alice, ALICE, "regionsPerUser"), 30);
        ck_assert_int_eq(limit_of(&alice, ALICE, "watchesPerUser"), 20);
        ck_assert_int_eq(limit_of(&bob, BOB, "bytesPerUser"), 30000);
        ck_assert_int_eq(limit_of(&bob, BOB, "watchesPerUser"), 256);
        ck_assert_int_eq(limit_of(&stranger, 1003, "bytesPerUser"), INT64_C(1) << 42);
}
END_TEST

START_TEST(of_one_whose_groups_are_not_known_the_user_alone_counts)
{
        set(false, ALICE, "bytesPerUser", 10000);
        set(true, CLUB, "regionsPerUser", 30);
        set(true, ALICE, "watchesPerUser", 5); /* a group of the same number */

        ck_assert_int_eq(limit_of(NULL, ALICE, "bytesPerUser"), 10000);
        ck_assert_int_eq(limit_of(NULL, ALICE, "regionsPerUser"), 131072);
        ck_assert_int_eq(limit_of(NULL, ALICE, "watchesPerUser"), 256);
}
END_TEST

START_TEST(a_rule_is_there_once)
{
        ck_assert_ptr_eq(rules_user(&rules, false, ALICE), rules_user(&rules, false, ALICE));
        ck_assert_ptr_ne(rules_user(&rules, false, ALICE), rules_user(&rules, true, ALICE));
        ck_assert_ptr_eq(rules_name(&rules, "db-"), rules_name(&rules, "db-"));
        ck_assert_uint_eq(rules.n_users, 2);
        ck_assert_uint_eq(rules.n_names, 1);
}
END_TEST

/* --- names ------------------------------------------------------------------------------------------------------- */

static bool may(const struct peer *peer, const char *name)
{
        return policy_may_use_name(peer, rules_reserving(&rules, name));
}

START_TEST(the_longest_prefix_decides)
{
        rules_name(&rules, "db-x-")->group = (struct opt_int){ true, CLUB };
        rules_name(&rules, "db-")->owner = (struct opt_int){ true, ALICE };
        rules_name(&rules, "db-y-");

        ck_assert(may(&alice, "db-") && may(&alice, "db-a") && !may(&bob, "db-a") && !may(&stranger, "db-a"));
        ck_assert(may(&alice, "db-x-1") && may(&bob, "db-x-1") && !may(&stranger, "db-x-1"));
        ck_assert(!may(&alice, "db-y-1") && !may(&bob, "db-y-1"));
        ck_assert(may(&root, "db-a") && may(&root, "db-x-1") && may(&root, "db-y-1"));
        ck_assert(may(&stranger, "db") && may(&stranger, "DB-a") && may(&stranger, "a-db-"));
}
END_TEST

/* --- homes ------------------------------------------------------------------------------------------------------- */

static const struct {
        const char *path;
        bool allowed;
} homes[] = {
        { "/srv/a", true },   { "/srv/a/b/c", true }, { "/srv", false },           { "/", false },
        { "/srv2/a", false }, { "/home/x/db", true }, { "/home/x/db/deep", true }, { "/home/x/db2", false },
        { "/home/x", false }, { "/var/data3", true }, { "/var/data33", false },    { "/opt", true },
        { "/opt/any", true }, { "/optional", false },
};

START_TEST(a_home_is_an_allowed_directory_or_below_one)
{
        ck_assert(rules_allow_home(&rules, homes[_i].path));
        rules.homes_given = true;
        ck_assert(!rules_allow_home(&rules, homes[_i].path));
        ck_assert_int_eq(rules_add_home(&rules, "/srv/*"), 0);
        ck_assert_int_eq(rules_add_home(&rules, "/home/?/db"), 0);
        ck_assert_int_eq(rules_add_home(&rules, "/var/data[0-9]"), 0);
        ck_assert_int_eq(rules_add_home(&rules, "/opt"), 0);
        ck_assert_int_eq(rules_allow_home(&rules, homes[_i].path), homes[_i].allowed);
        rules_forget_homes(&rules);
        ck_assert(!rules_allow_home(&rules, homes[_i].path));
}
END_TEST

/* --- settings ---------------------------------------------------------------------------------------------------- */

START_TEST(a_setting_is_there_once_and_the_last_counts)
{
        owned(settings_deinit) struct settings settings = {};

        ck_assert_int_eq(settings_put(&settings, "a", "1", "default"), 0);
        ck_assert_int_eq(settings_put(&settings, "b", "2", "default"), 0);
        ck_assert_int_eq(settings_put(&settings, "a", "3", "file:1"), 0);
        ck_assert_uint_eq(settings.n, 2);
        ck_assert_str_eq(settings_find(&settings, "a")->value, "3");
        ck_assert_str_eq(settings_find(&settings, "a")->source, "file:1");
        ck_assert_ptr_null(settings_find(&settings, "c"));
}
END_TEST

START_TEST(no_more_settings_are_kept_than_one_message_can_tell)
{
        owned(settings_deinit) struct settings settings = {};
        char long_value[1024], name[16];
        int r = 0;

        memset(long_value, '\x01', sizeof(long_value) - 1);
        long_value[sizeof(long_value) - 1] = '\0';
        for (int i = 0; r == 0; i++) {
                ck_assert_int_lt(i, 1000);
                snprintf(name, sizeof(name), "%d", i);
                r = settings_put(&settings, name, long_value, "x");
        }
        ck_assert_int_eq(r, -E2BIG);
        ck_assert_uint_le(settings.n * 6 * (sizeof(long_value) - 1), SETTINGS_COST_MAX);
        ck_assert_int_eq(settings_put(&settings, "0", "short", "x"), 0); /* and with that there is room */
        ck_assert_int_eq(settings_put(&settings, name, long_value, "x"), 0);
}
END_TEST

int main(void)
{
        Suite *suite = suite_create("rules");
        TCase *tcase = check_case(suite, "rules");

        tcase_add_checked_fixture(tcase, NULL, teardown);
        tcase_add_test(tcase, the_user_counts_more_than_groups_and_the_last_group_more_than_others);
        tcase_add_test(tcase, of_one_whose_groups_are_not_known_the_user_alone_counts);
        tcase_add_test(tcase, a_rule_is_there_once);
        tcase_add_test(tcase, the_longest_prefix_decides);
        tcase_add_loop_test(tcase, a_home_is_an_allowed_directory_or_below_one, 0, array_size(homes));
        tcase_add_test(tcase, a_setting_is_there_once_and_the_last_counts);
        tcase_add_test(tcase, no_more_settings_are_kept_than_one_message_can_tell);
        return check_run(suite);
}
