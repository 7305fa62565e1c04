/* Numbers as people write them: what is taken, what is refused and how, and what is written comes back. */

#include "proto/quantities.h"

#include "proto/util.h"
#include "tests/support/check.h"

#include <errno.h>

static const struct {
        const char *word;
        int result;
        size_t bytes;
} sizes[] = {
        { "1", 0, 1 },
        { "4096", 0, 4096 },
        { "0064K", 0, 64 << 10 },
        { "12M", 0, 12 << 20 },
        { "3G", 0, (size_t)3 << 30 },
        { "2T", 0, (size_t)2 << 40 },
        { "9223372036854775807", 0, INT64_MAX },
        { "9223372036854775808", -ERANGE, 0 },
        { "8589934592G", -ERANGE, 0 },
        { "8388608T", -ERANGE, 0 },
        { "99999999999999999999999K", -ERANGE, 0 },
        { "0", -ERANGE, 0 },
        { "0M", -ERANGE, 0 },
        { "", -EINVAL, 0 },
        { "M", -EINVAL, 0 },
        { "-1", -EINVAL, 0 },
        { "+1", -EINVAL, 0 },
        { " 1", -EINVAL, 0 },
        { "1 ", -EINVAL, 0 },
        { "1k", -EINVAL, 0 },
        { "1KB", -EINVAL, 0 },
        { "1.5M", -EINVAL, 0 },
        { "0x10", -EINVAL, 0 },
};

START_TEST(a_size_is_taken_as_a_whole_or_not_at_all)
{
        char text[VALUE_TEXT_MAX];
        size_t bytes = 0;

        ck_assert_int_eq(size_parse(sizes[_i].word, &bytes), sizes[_i].result);
        ck_assert_uint_eq(bytes, sizes[_i].bytes);
        if (sizes[_i].result < 0)
                return;
        bytes = 0;
        ck_assert_int_eq(size_parse(bytes_text(sizes[_i].bytes, text), &bytes), 0);
        ck_assert_uint_eq(bytes, sizes[_i].bytes);
}
END_TEST

static const struct {
        const char *word;
        int result;
        int64_t usec;
        const char *text;
} durations[] = {
        { "0", 0, 0, "0us" },
        { "5", 0, 5000000, "5s" },
        { "7us", 0, 7, "7us" },
        { "1500ms", 0, 1500000, "1500ms" },
        { "120s", 0, 120000000, "2min" },
        { "2h", 0, INT64_C(7200000000), "2h" },
        { "48h", 0, INT64_C(172800000000), "2d" },
        { "106751991d", 0, INT64_C(106751991) * 86400 * 1000000, "106751991d" },
        { "366d", 0, INT64_C(366) * 86400 * 1000000, "366d" },
        { "90s", 0, 90000000, "90s" },
        { "106751992d", -ERANGE, -1, NULL },
        { "2m", -EINVAL, -1, NULL },
        { "-3s", -EINVAL, -1, NULL },
        { "", -EINVAL, -1, NULL },
        { "s", -EINVAL, -1, NULL },
        { "1.5s", -EINVAL, -1, NULL },
        { "1 s", -EINVAL, -1, NULL },
        { "soon", -EINVAL, -1, NULL },
};

START_TEST(a_duration_is_taken_and_written_exactly)
{
        char text[VALUE_TEXT_MAX];
        int64_t usec = -1, again;

        ck_assert_int_eq(duration_parse(durations[_i].word, &usec), durations[_i].result);
        ck_assert_int_eq(usec, durations[_i].usec);
        if (!durations[_i].text)
                return;
        ck_assert_str_eq(duration_text(usec, text), durations[_i].text);
        ck_assert_int_eq(duration_parse(text, &again), 0);
        ck_assert_int_eq(again, usec);
}
END_TEST

START_TEST(bytes_are_written_exactly_in_the_largest_unit)
{
        char text[VALUE_TEXT_MAX];

        ck_assert_str_eq(bytes_text(0, text), "0");
        ck_assert_str_eq(bytes_text(1023, text), "1023");
        ck_assert_str_eq(bytes_text(1024, text), "1K");
        ck_assert_str_eq(bytes_text((1 << 20) + 1024, text), "1025K");
        ck_assert_str_eq(bytes_text((size_t)5 << 40, text), "5T");
}
END_TEST

START_TEST(a_mode_is_octal_and_not_nothing)
{
        mode_t mode = 07777;

        ck_assert_int_eq(mode_parse("0", &mode), -ERANGE);
        ck_assert_int_eq(mode_parse("1777", &mode), -ERANGE);
        ck_assert_int_eq(mode_parse("888", &mode), -EINVAL);
        ck_assert_int_eq(mode_parse("rw", &mode), -EINVAL);
        ck_assert_uint_eq(mode, 07777);
        ck_assert_int_eq(mode_parse("660", &mode), 0);
        ck_assert_uint_eq(mode, 0660);
        ck_assert_int_eq(mode_parse("0777", &mode), 0);
        ck_assert_uint_eq(mode, 0777);
}
END_TEST

START_TEST(a_key_is_decimal_or_hexadecimal_and_not_nothing)
{
        int32_t key = -1;

        ck_assert_int_eq(key_parse("0", &key), -ERANGE);
        ck_assert_int_eq(key_parse("0x80000000", &key), -ERANGE);
        ck_assert_int_eq(key_parse("0x", &key), -EINVAL);
        ck_assert_int_eq(key_parse("-5", &key), -EINVAL);
        ck_assert_int_eq(key_parse("5x", &key), -EINVAL);
        ck_assert_int_eq(key, -1);
        ck_assert_int_eq(key_parse("0x7fffffff", &key), 0);
        ck_assert_int_eq(key, INT32_MAX);
        ck_assert_int_eq(key_parse("99", &key), 0);
        ck_assert_int_eq(key, 99);
}
END_TEST

START_TEST(a_count_has_a_bound_and_is_not_nothing)
{
        unsigned count = 7;

        ck_assert_int_eq(count_parse("0", 64, &count), -ERANGE);
        ck_assert_int_eq(count_parse("65", 64, &count), -ERANGE);
        ck_assert_int_eq(count_parse("18446744073709551617", 64, &count), -ERANGE);
        ck_assert_int_eq(count_parse("", 64, &count), -EINVAL);
        ck_assert_int_eq(count_parse("4K", 64, &count), -EINVAL);
        ck_assert_uint_eq(count, 7);
        ck_assert_int_eq(count_parse("64", 64, &count), 0);
        ck_assert_uint_eq(count, 64);
}
END_TEST

START_TEST(a_number_is_decimal_and_may_be_nothing)
{
        int64_t number = -1;

        ck_assert_int_eq(number_parse("1K", &number), -EINVAL);
        ck_assert_int_eq(number_parse("9223372036854775808", &number), -ERANGE);
        ck_assert_int_eq(number_parse("12", &number), 0);
        ck_assert_int_eq(number, 12);
        ck_assert_int_eq(number_parse("0", &number), 0);
        ck_assert_int_eq(number, 0);
}
END_TEST

int main(void)
{
        Suite *suite = suite_create("quantities");
        TCase *quantities = check_case(suite, "quantities");

        tcase_add_loop_test(quantities, a_size_is_taken_as_a_whole_or_not_at_all, 0, (int)array_size(sizes));
        tcase_add_test(quantities, bytes_are_written_exactly_in_the_largest_unit);
        tcase_add_loop_test(quantities, a_duration_is_taken_and_written_exactly, 0, (int)array_size(durations));
        tcase_add_test(quantities, a_mode_is_octal_and_not_nothing);
        tcase_add_test(quantities, a_key_is_decimal_or_hexadecimal_and_not_nothing);
        tcase_add_test(quantities, a_count_has_a_bound_and_is_not_nothing);
        tcase_add_test(quantities, a_number_is_decimal_and_may_be_nothing);

        return check_run(suite);
}
