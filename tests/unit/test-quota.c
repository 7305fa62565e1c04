#include "daemon/core/quota.h"
#include "proto/quantities.h"
#include "proto/util.h"
#include "tests/support/check.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

/* --- limits ------------------------------------------------------------------------------------------------------ */

static int parse_number(unsigned row, int64_t value, int64_t *ret)
{
        char word[32];

        snprintf(word, sizeof(word), "%" PRId64, value);
        return limits_parse(row, word, ret);
}

START_TEST(a_limit_can_be_set_to_its_least_and_its_most_and_no_further)
{
        for (unsigned i = 0; i < n_limits; i++) {
                const struct limit_row *row = &limit_rows[i];
                struct limits limits;
                int64_t value = -7;

                limits_init(&limits);
                ck_assert_int_eq(*limits_at(&limits, i), row->preset);
                ck_assert_int_eq(parse_number(i, row->least, &value), 0);
                ck_assert_int_eq(value, row->least);
                ck_assert_int_eq(parse_number(i, row->most, &value), 0);
                ck_assert_int_eq(value, row->most);
                if (row->least > 0)
                        ck_assert_int_eq(parse_number(i, row->least - 1, &value), -ERANGE);
                if (row->most < INT64_MAX)
                        ck_assert_int_eq(parse_number(i, row->most + 1, &value), -ERANGE);
                ck_assert_int_eq(limits_parse(i, "9223372036854775808", &value), -ERANGE);
                ck_assert_int_eq(parse_number(i, INT64_MIN, &value), -EINVAL);
                ck_assert_int_eq(limits_parse(i, "", &value), -EINVAL);
                ck_assert_int_eq(value, row->most);
        }
}
END_TEST

/* Whatever it is, as it is shown it can be set again. */
START_TEST(a_limit_is_shown_as_it_can_be_set)
{
        for (unsigned i = 0; i < n_limits; i++) {
                const int64_t values[] = { limit_rows[i].least, limit_rows[i].preset, limit_rows[i].most,
                                           limit_rows[i].least + 1, limit_rows[i].most - 1 };

                for (size_t j = 0; j < array_size(values); j++) {
                        char text[VALUE_TEXT_MAX];
                        int64_t value;

                        ck_assert_int_eq(limits_parse(i, limits_text(i, values[j], text), &value), 0);
                        ck_assert_int_eq(value, values[j]);
                }
        }
}
END_TEST

static const struct {
        const char *name, *word;
        int r;
        int64_t value;
        const char *shown;
} words[] = {
        { "bytesPerUser", "4096", 0, 4096, "4K" },
        { "bytesPerUser", "64K", 0, 65536, "64K" },
        { "bytesPerUser", "3G", 0, INT64_C(3) << 30, "3G" },
        { "bytesPerUser", "2T", 0, INT64_C(2) << 40, "2T" },
        { "bytesPerUser", "3s", -EINVAL, 0, NULL },
        { "bytesPerUser", "1k", -EINVAL, 0, NULL },
        { "bytesPerUser", "1K ", -EINVAL, 0, NULL },
        { "bytesPerUser", "9999999T", -ERANGE, 0, NULL },
        { "outputBytes", "8K", 0, 8192, "8K" },
        { "sessions", "8K", -EINVAL, 0, NULL },
        { "sessions", "5s", -EINVAL, 0, NULL },
        { "sessions", "12", 0, 12, "12" },
        { "unreadDescriptorsPerUser", "1K", -EINVAL, 0, NULL },
        { "stallUSec", "1500000", 0, 1500000, "1500ms" },
        { "stallUSec", "20ms", 0, 20000, "20ms" },
        { "stallUSec", "2min", 0, 120000000, "2min" },
        { "stallUSec", "9ms", -ERANGE, 0, NULL },
        { "lingerUSec", "0", 0, 0, "0" },
        { "lingerUSec", "7d", 0, INT64_C(7) * 86400 * 1000000, "7d" },
        { "lingerUSec", "2K", -EINVAL, 0, NULL },
};

START_TEST(a_limit_takes_the_units_of_what_it_counts)
{
        unsigned row = (unsigned)limits_find(words[_i].name);
        char text[VALUE_TEXT_MAX];
        int64_t value = -7;

        ck_assert_int_eq(limits_parse(row, words[_i].word, &value), words[_i].r);
        ck_assert_int_eq(value, words[_i].r == 0 ? words[_i].value : -7);
        if (words[_i].r == 0)
                ck_assert_str_eq(limits_text(row, value, text), words[_i].shown);
}
END_TEST

START_TEST(a_limit_tells_what_it_takes)
{
        char text[LIMIT_TEXT_MAX];

        ck_assert_str_eq(limits_expected((unsigned)limits_find("sessions"), text), "a whole number from 1 to 100000");
        ck_assert_str_eq(limits_expected((unsigned)limits_find("regionBytes"), text),
                         "a whole number of bytes, with K, M, G or T where that helps, from 4K to 64T");
        ck_assert_str_eq(limits_expected((unsigned)limits_find("stallUSec"), text),
                         "a whole number of microseconds, or one with us, ms, s, min, h or d, from 10ms to 1d");
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

START_TEST(a_limit_that_does_not_exist_is_not_found)
{
        for (unsigned i = 0; i < n_limits; i++)
                ck_assert_int_eq(limits_find(limit_rows[i].name), i);
        ck_assert_int_eq(limits_find("bytes_per_user"), -ENOENT);
        ck_assert_int_eq(limits_find("bytesPerUse"), -ENOENT);
        ck_assert_int_eq(limits_find(""), -ENOENT);
}
END_TEST

START_TEST(some_limits_go_over_others_and_leave_the_rest)
{
        unsigned sessions = (unsigned)limits_find("sessions"), bytes = (unsigned)limits_find("bytesPerUser");
        struct some_limits some = {}, more = {};
        struct limits limits, before;

        limits_init(&limits);
        before = limits;
        some_limits_put_over(&some, &limits);
        ck_assert_mem_eq(&limits, &before, sizeof(limits));
        some_limits_set(&some, sessions, 5);
        some_limits_set(&some, bytes, 4096);
        some_limits_set(&more, bytes, 8192);
        some_limits_add(&some, &more);
        some_limits_put_over(&some, &limits);
        ck_assert_int_eq(limits.sessions, 5);
        ck_assert_int_eq(limits.bytes_per_user, 8192);
        limits.sessions = before.sessions;
        limits.bytes_per_user = before.bytes_per_user;
        ck_assert_mem_eq(&limits, &before, sizeof(limits));
        ck_assert_uint_eq(sizeof(limits), n_limits * sizeof(int64_t));
}
END_TEST

START_TEST(only_limits_of_each_user_are_a_users_own)
{
        ck_assert(limits_is_per_user((unsigned)limits_find("bytesPerUser")));
        ck_assert(limits_is_per_user((unsigned)limits_find("waitingCallsPerUser")));
        ck_assert(!limits_is_per_user((unsigned)limits_find("sessions")));
        ck_assert(!limits_is_per_user((unsigned)limits_find("regionsPerEnvironment")));
        ck_assert(!limits_is_per_user((unsigned)limits_find("memoryBytes")));
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
        tcase_add_test(limits, a_limit_is_shown_as_it_can_be_set);
        tcase_add_loop_test(limits, a_limit_takes_the_units_of_what_it_counts, 0, array_size(words));
        tcase_add_test(limits, a_limit_tells_what_it_takes);
        tcase_add_test(limits, a_limit_that_does_not_exist_is_not_found);
        tcase_add_test(limits, some_limits_go_over_others_and_leave_the_rest);
        tcase_add_test(limits, only_limits_of_each_user_are_a_users_own);

        tcase_add_test(quotas, a_quota_is_met_exactly);
        tcase_add_test(quotas, sums_near_the_largest_number_do_not_wrap);
        tcase_add_test(quotas, environments_regions_and_bytes_are_counted_each_by_itself);
        tcase_add_test(quotas, an_account_is_empty_when_nothing_at_all_is_charged_to_it);
        return check_run(suite);
}
