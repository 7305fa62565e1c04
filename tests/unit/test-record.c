/* Values as bytes, and back; what is damaged is noticed and harmless. */

#include "daemon/host/record.h"

#include "proto/util.h"
#include "tests/support/check.h"

static struct record record;

static void clear(void)
{
        record_clear(&record);
}

static void fill(void)
{
        record_put(&record, 1);
        record_put(&record, UINT64_MAX);
        record_put_signed(&record, INT64_MIN);
        record_put_text(&record, "text");
        record_put_text(&record, "");
        record_put_text(&record, NULL);
        record_put_opt(&record, &(struct opt_int){ true, -7 });
        record_put_opt(&record, &(struct opt_int){});
        record_put_bytes(&record, "a\0b", 3);
        record_put_bytes(&record, NULL, 0);
}

static bool read_all(struct reading *reading)
{
        owned(freep) char *text = NULL, *empty = NULL, *none = NULL, *bytes = NULL, *no_bytes = NULL;
        struct opt_int given, missing;
        size_t n, n_none;
        bool same = record_take(reading) == 1 && record_take(reading) == UINT64_MAX &&
                    record_take_signed(reading) == INT64_MIN;

        text = record_take_text(reading);
        empty = record_take_text(reading);
        none = record_take_text(reading);
        record_take_opt(reading, &given);
        record_take_opt(reading, &missing);
        bytes = record_take_bytes(reading, &n);
        no_bytes = record_take_bytes(reading, &n_none);
        same = same && n == 3 && memcmp(bytes, "a\0b", 4) == 0 && !no_bytes && n_none == 0;
        return same && text && strcmp(text, "text") == 0 && empty && !*empty && !none && given.given &&
               given.value == -7 && !missing.given;
}

START_TEST(what_is_put_is_taken)
{
        struct reading reading;

        fill();
        reading = (struct reading){ record.bytes, record.n, false };
        ck_assert(!record.failed);
        ck_assert(read_all(&reading));
        ck_assert(record_is_read(&reading));
}
END_TEST

START_TEST(numbers_are_written_with_the_least_byte_first)
{
        static const uint8_t wanted[] = { 2, 1, 0, 0, 0, 0, 0, 0 };

        record_put(&record, 0x0102);
        ck_assert_uint_eq(record.n, sizeof(wanted));
        ck_assert_mem_eq(record.bytes, wanted, sizeof(wanted));
}
END_TEST

START_TEST(what_is_cut_short_is_noticed)
{
        fill();
        for (size_t n = 0; n < record.n; n++) {
                struct reading reading = { record.bytes, n, false };

                read_all(&reading);
                ck_assert(!record_is_read(&reading));
        }
}
END_TEST

START_TEST(what_is_too_long_is_noticed)
{
        struct reading reading;

        fill();
        record_put(&record, 0);
        reading = (struct reading){ record.bytes, record.n, false };
        ck_assert(read_all(&reading));
        ck_assert(!record_is_read(&reading));
}
END_TEST

START_TEST(a_text_longer_than_all_there_is_is_noticed)
{
        static const uint8_t lies[] = { 0xfe, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 'a', 'b' };
        struct reading reading = { lies, sizeof(lies), false };

        ck_assert_ptr_null(record_take_text(&reading));
        ck_assert(reading.fault);
}
END_TEST

START_TEST(a_nul_inside_of_a_text_is_noticed)
{
        static const uint8_t lies[] = { 3, 0, 0, 0, 0, 0, 0, 0, 'a', 0, 'b' };
        struct reading reading = { lies, sizeof(lies), false };
        owned(freep) char *text = NULL;

        text = record_take_text(&reading);
        ck_assert(reading.fault);
}
END_TEST

int main(void)
{
        Suite *suite = suite_create("record");
        TCase *tcase = check_case(suite, "record");

        tcase_add_checked_fixture(tcase, NULL, clear);
        tcase_add_test(tcase, what_is_put_is_taken);
        tcase_add_test(tcase, numbers_are_written_with_the_least_byte_first);
        tcase_add_test(tcase, what_is_cut_short_is_noticed);
        tcase_add_test(tcase, what_is_too_long_is_noticed);
        tcase_add_test(tcase, a_text_longer_than_all_there_is_is_noticed);
        tcase_add_test(tcase, a_nul_inside_of_a_text_is_noticed);
        return check_run(suite);
}
