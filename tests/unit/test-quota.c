#include "daemon/core/quota.h"
#include "proto/util.h"
#include "tests/support/check.h"

#include <errno.h>

/* --- limits ------------------------------------------------------------------------------------------------------ */

START_TEST(a_limit_can_be_set_to_its_least_and_its_most_and_no_further)
{
        for (unsigned i = 0; i < n_limits; i++) {
                const struct limit_row *row = &limit_rows[i];
                struct limits limits;

                limits_init(&limits);
                ck_assert_int_eq(*limits_at(&limits, i), row->preset);
                ck_assert_int_eq(limits_set(&limits, row->name, row->least), 0);
                ck_assert_int_eq(*limits_at(&limits, i), row->least);
                ck_assert_int_eq(limits_set(&limits, row->name, row->most), 0);
                ck_assert_int_eq(*limits_at(&limits, i), row->most);
                ck_assert_int_eq(limits_set(&limits, row->name, row->least - 1), -ERANGE);
                if (row->most < INT64_MAX)
                        ck_assert_int_eq(limits_set(&limits, row->name, row->most + 1), -ERANGE);
                ck_assert_int_eq(limits_set(&limits, row->name, INT64_MIN), -ERANGE);
                ck_assert_int_eq(*limits_at(&limits, i), row->most);
        }
}
END_TEST

START_TEST(each_limit_has_its_own_name_and_a_default_that_may_be_set)
{
        for (unsigned i = 0; i < n_limits; i++) {
                ck_assert_int_le(limit_rows[i].least, limit_rows[i].preset);
                ck_assert_int_le(limit_rows[i].preset, limit_rows[i].most);
                for (unsigned j = 0; j < i; j++)
                        ck_assert_str_ne(limit_rows[i].name, limit_rows[j].name);
        }
}
END_TEST

START_TEST(setting_one_limit_leaves_the_others)
{
        struct limits limits, before;

        limits_init(&limits);
        before = limits;
        ck_assert_int_eq(limits_set(&limits, "bytesPerUser", 123456), 0);
        ck_assert_int_eq(limits.bytes_per_user, 123456);
        limits.bytes_per_user = before.bytes_per_user;
        for (unsigned i = 0; i < n_limits; i++)
                ck_assert_int_eq(*limits_at(&limits, i), *limits_at(&before, i));
        ck_assert_ptr_eq(limits_at(&limits, 0), &limits.sessions);
        ck_assert_uint_eq(sizeof(limits), n_limits * sizeof(int64_t));
}
END_TEST

START_TEST(a_limit_that_does_not_exist_cannot_be_set)
{
        struct limits limits;

        limits_init(&limits);
        ck_assert_int_eq(limits_set(&limits, "bytes_per_user", 4096), -ENOENT);
        ck_assert_int_eq(limits_set(&limits, "bytesPerUse", 4096), -ENOENT);
        ck_assert_int_eq(limits_set(&limits, "", 4096), -ENOENT);
}
END_TEST

/* --- quotas ------------------------------------------------------------------------------------------------------ */

static int check(int64_t used, int64_t wanted, int64_t maximum)
{
        struct refusal refusal = {};
        int r = quota_check("sheep", used, wanted, maximum, &refusal);

        if (r == 0) {
                ck_assert_ptr_null(refusal.name);
                return 0;
        }
        ck_assert_int_eq(r, REFUSED_QUOTA);
        ck_assert_int_eq(refusal.code, REFUSED_QUOTA);
        ck_assert_str_eq(refusal.name, "sheep");
        ck_assert_int_eq(refusal.used, used);
        ck_assert_int_eq(refusal.wanted, wanted);
        ck_assert_int_eq(refusal.maximum, maximum);
        return r;
}

START_TEST(a_quota_is_met_exactly)
{
        ck_assert_int_eq(check(0, 10, 10), 0);
        ck_assert_int_eq(check(7, 3, 10), 0);
        ck_assert_int_eq(check(10, 0, 10), 0);
        ck_assert_int_eq(check(7, 4, 10), REFUSED_QUOTA);
        ck_assert_int_eq(check(10, 1, 10), REFUSED_QUOTA);
        ck_assert_int_eq(check(0, 11, 10), REFUSED_QUOTA);
}
END_TEST

START_TEST(sums_near_the_largest_number_do_not_wrap)
{
        ck_assert_int_eq(check(1, INT64_MAX, INT64_MAX), REFUSED_QUOTA);
        ck_assert_int_eq(check(INT64_MAX, 1, INT64_MAX), REFUSED_QUOTA);
        ck_assert_int_eq(check(INT64_MAX, INT64_MAX, INT64_MAX), REFUSED_QUOTA);
        ck_assert_int_eq(check(INT64_MAX - 1, 1, INT64_MAX), 0);
        ck_assert_int_eq(check(0, INT64_MAX, INT64_MAX), 0);
        ck_assert_int_eq(check(0, INT64_MAX, 4096), REFUSED_QUOTA);
}
END_TEST

static const struct limits small = {
        .environments_per_user = 2,
        .regions_per_user = 10,
        .bytes_per_user = 4096,
};

static void check_regions(int64_t environments, int64_t regions, int64_t bytes, const char *limit)
{
        const struct account account = { .environments = 1, .regions = 5, .bytes = 1024 };
        struct refusal refusal = {};
        int r = quota_check_regions(&account, &small, environments, regions, bytes, &refusal);

        ck_assert_int_eq(r, limit ? REFUSED_QUOTA : 0);
        if (limit)
                ck_assert_str_eq(refusal.name, limit);
}

START_TEST(environments_regions_and_bytes_are_counted_each_by_itself)
{
        check_regions(1, 5, 3072, NULL);
        check_regions(0, 0, 0, NULL);
        check_regions(2, 1, 1, "environmentsPerUser");
        check_regions(1, 6, 1, "regionsPerUser");
        check_regions(1, 1, 3073, "bytesPerUser");
        check_regions(1, 1, INT64_MAX, "bytesPerUser");
}
END_TEST

START_TEST(an_account_is_empty_when_nothing_at_all_is_charged_to_it)
{
        const struct account charged[] = {
                { .sessions = 1 }, { .environments = 1 }, { .regions = 1 }, { .bytes = 1 }, { .waiting = 1 },
        };

        ck_assert(account_is_empty(&(struct account){ .uid = 1000 }));
        for (size_t i = 0; i < array_size(charged); i++)
                ck_assert(!account_is_empty(&charged[i]));
}
END_TEST

int main(void)
{
        Suite *suite = suite_create("quota");
        TCase *limits = check_case(suite, "limits");
        TCase *quotas = check_case(suite, "quotas");

        tcase_add_test(limits, a_limit_can_be_set_to_its_least_and_its_most_and_no_further);
        tcase_add_test(limits, each_limit_has_its_own_name_and_a_default_that_may_be_set);
        tcase_add_test(limits, setting_one_limit_leaves_the_others);
        tcase_add_test(limits, a_limit_that_does_not_exist_cannot_be_set);

        tcase_add_test(quotas, a_quota_is_met_exactly);
        tcase_add_test(quotas, sums_near_the_largest_number_do_not_wrap);
        tcase_add_test(quotas, environments_regions_and_bytes_are_counted_each_by_itself);
        tcase_add_test(quotas, an_account_is_empty_when_nothing_at_all_is_charged_to_it);
        return check_run(suite);
}
