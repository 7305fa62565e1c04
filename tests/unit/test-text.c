/* text and arena: the memory that replies are written into. */

#include "proto/arena.h"
#include "proto/text.h"
#include "proto/util.h"
#include "tests/support/check.h"

#include <stdint.h>
#include <stdio.h>
#include <string.h>

#define FFFD "\xef\xbf\xbd"

static void check_text(struct text *text, const char *wanted)
{
        owned(freep) char *written = NULL;
        size_t n;

        ck_assert(!text_failed(text));
        text_put(text, "", 1);
        written = text_take(text, &n);
        ck_assert_str_eq(written, wanted);
        ck_assert_uint_eq(n, strlen(wanted) + 1);
        ck_assert_uint_eq(text->n, 0);
}

static void check_string(const char *string, const char *wanted)
{
        owned(text_clear) struct text text = {};

        text_put_string(&text, string);
        check_text(&text, wanted);
}

static void check_int(int64_t value, const char *wanted)
{
        owned(text_clear) struct text text = {};

        text_put_int(&text, value);
        check_text(&text, wanted);
}

START_TEST(what_is_put_stands_in_its_order)
{
        owned(text_clear) struct text text = {};

        text_puts(&text, "{");
        text_put_string(&text, "size");
        text_put(&text, ":!", 1);
        text_put_int(&text, 4096);
        text_put(&text, NULL, 0);
        text_puts(&text, "}");
        check_text(&text, "{\"size\":4096}");
        text_puts(&text, "again");
        check_text(&text, "again");
}
END_TEST

START_TEST(integers_are_written_in_full_range)
{
        check_int(0, "0");
        check_int(7, "7");
        check_int(-1, "-1");
        check_int(10, "10");
        check_int(-4096, "-4096");
        check_int(INT64_MAX, "9223372036854775807");
        check_int(INT64_MIN, "-9223372036854775808");
}
END_TEST

START_TEST(control_characters_quotes_and_backslashes_are_escaped)
{
        check_string("", "\"\"");
        check_string("plain /~\x7f", "\"plain /~\x7f\"");
        check_string("a\"b\\c", "\"a\\\"b\\\\c\"");
        check_string("\b\f\n\r\t", "\"\\b\\f\\n\\r\\t\"");
        check_string("\x01|\x1f\x0b", "\"\\u0001|\\u001f\\u000b\"");
}
END_TEST

START_TEST(utf8_passes_as_it_is)
{
        check_string("äöü € 𝄞", "\"äöü € 𝄞\"");
        check_string("\xc2\x80\xdf\xbf", "\"\xc2\x80\xdf\xbf\"");
        check_string("\xe0\xa0\x80\xed\x9f\xbf", "\"\xe0\xa0\x80\xed\x9f\xbf\"");
        check_string("\xee\x80\x80\xef\xbf\xbf", "\"\xee\x80\x80\xef\xbf\xbf\"");
        check_string("\xf0\x90\x80\x80\xf4\x8f\xbf\xbf", "\"\xf0\x90\x80\x80\xf4\x8f\xbf\xbf\"");
}
END_TEST

START_TEST(what_is_not_utf8_is_replaced)
{
        check_string("\x80", "\"" FFFD "\"");
        check_string("a\xff-\xfe", "\"a" FFFD "-" FFFD "\"");
        /* overlong */
        check_string("\xc0\xaf", "\"" FFFD FFFD "\"");
        check_string("\xe0\x9f\xbf", "\"" FFFD FFFD FFFD "\"");
        check_string("\xf0\x8f\xbf\xbf", "\"" FFFD FFFD FFFD FFFD "\"");
        /* a surrogate, and above U+10FFFF */
        check_string("\xed\xa0\x80", "\"" FFFD FFFD FFFD "\"");
        check_string("\xf4\x90\x80\x80", "\"" FFFD FFFD FFFD FFFD "\"");
        check_string("\xf5\x80", "\"" FFFD FFFD "\"");
        /* truncated: before other text, before another sequence, and at the end */
        check_string("\xc3x", "\"" FFFD "x\"");
        check_string("\xe2\x82\"", "\"" FFFD "\\\"\"");
        check_string("\xf0\x9d\x84\xc3\xa4", "\"" FFFD "ä\"");
        check_string("\xc3", "\"" FFFD "\"");
        check_string("\xe2\x82", "\"" FFFD "\"");
        check_string("\xf0\x9d\x84", "\"" FFFD "\"");
}
END_TEST

/* Every code point, encoded by the rule of the standard, passes; with any byte cut or changed to ASCII it does not. */
START_TEST(each_code_point_passes_and_its_broken_forms_do_not)
{
        for (uint32_t c = 0x80; c <= 0x10ffff; c += c < 0x10000 ? 1 : 257) {
                size_t n = c < 0x800 ? 2 : c < 0x10000 ? 3 : 4;
                char string[5] = {}, wanted[8];
                owned(text_clear) struct text text = {};

                for (size_t i = n - 1; i > 0; i--)
                        string[i] = (char)(0x80 | (c >> (6 * (n - 1 - i)) & 0x3f));
                string[0] = (char)(0xf00 >> n | c >> (6 * (n - 1)));
                text_put_string(&text, string);
                snprintf(wanted, sizeof(wanted), "\"%s\"", string);
                if (c < 0xd800 || c > 0xdfff)
                        ck_assert(text.n == n + 2 && memcmp(text.data, wanted, n + 2) == 0);
                else
                        ck_assert(text.n == 2 + 3 * strlen(FFFD));

                text_clear(&text);
                string[n - 1] = 'x';
                text_put_string(&text, string);
                ck_assert(text.data[text.n - 2] == 'x' && memmem(text.data, text.n, FFFD, strlen(FFFD)));
        }
}
END_TEST

START_TEST(a_long_string_grows_the_text)
{
        owned(freep) char *string = malloc(1000001), *wanted = malloc(1000003);

        memset(string, 'a', 1000000);
        string[1000000] = '\0';
        sprintf(wanted, "\"%s\"", string);
        check_string(string, wanted);
}
END_TEST

START_TEST(a_failed_text_stays_failed_and_gives_nothing_up)
{
        owned(text_clear) struct text text = {};
        volatile size_t too_much = SIZE_MAX;
        size_t n;

        text_puts(&text, "{");
        text_put(&text, "}", too_much);
        ck_assert(text_failed(&text));
        text_puts(&text, "}");
        text_put_string(&text, "\n\xff");
        text_put_int(&text, 1);
        ck_assert(text_failed(&text));
        ck_assert_ptr_null(text_take(&text, &n));
        ck_assert_uint_eq(n, 0);

        ck_assert(!text_failed(&text));
        text_puts(&text, "usable again");
        check_text(&text, "usable again");
}
END_TEST

START_TEST(arena_memory_is_zeroed_and_aligned)
{
        struct arena arena = {};

        for (size_t size = 1; size < 9000; size += size / 3 + 1) {
                char *memory = arena_alloc(&arena, 3, size);

                ck_assert_ptr_nonnull(memory);
                ck_assert_uint_eq((uintptr_t)memory % _Alignof(max_align_t), 0);
                for (size_t i = 0; i < 3 * size; i++)
                        ck_assert(memory[i] == 0);
                memset(memory, 0xff, 3 * size);
        }
        arena_clear(&arena);
        ck_assert_ptr_null(arena.blocks);
}
END_TEST

START_TEST(arena_objects_do_not_overlap_or_move)
{
        struct arena arena = {};
        char *names[2000];

        for (int i = 0; i < 2000; i++) {
                names[i] = arena_printf(&arena, "%s number %d", i % 100 == 0 ? "environment" : "region", i);
                if (i % 100 == 0)
                        memset(arena_alloc(&arena, 1, 10000), 0xff, 10000);
        }
        for (int i = 0; i < 2000; i++) {
                owned(freep) char *wanted = NULL;

                ck_assert_int_gt(asprintf(&wanted, "%s number %d", i % 100 == 0 ? "environment" : "region", i), 0);
                ck_assert_str_eq(names[i], wanted);
        }
        arena_clear(&arena);
}
END_TEST

START_TEST(an_arena_copies_strings)
{
        struct arena arena = {};
        char name[] = "pool", *copy = arena_strdup(&arena, name);

        name[0] = 't';
        ck_assert_str_eq(copy, "pool");
        ck_assert_str_eq(arena_strdup(&arena, ""), "");
        ck_assert_str_eq(arena_printf(&arena, "%s", ""), "");
        arena_clear(&arena);
}
END_TEST

START_TEST(an_array_of_none_is_not_null)
{
        struct arena arena = {};
        void *none = arena_alloc(&arena, 0, 8);

        ck_assert_ptr_nonnull(none);
        ck_assert_ptr_ne(arena_alloc(&arena, 0, 8), none);
        arena_clear(&arena);
}
END_TEST

START_TEST(an_array_that_overflows_is_refused)
{
        struct arena arena = {};
        volatile size_t n = SIZE_MAX / 2;

        ck_assert_ptr_null(arena_alloc(&arena, n, 3));
        ck_assert_ptr_null(arena_alloc(&arena, n + 2, 2));
        ck_assert_ptr_null(arena_alloc(&arena, n + 10, 1));
        ck_assert_ptr_null(arena.blocks);
        ck_assert_ptr_nonnull(arena_alloc(&arena, 3, 3));
        arena_clear(&arena);
}
END_TEST

int main(void)
{
        Suite *suite = suite_create("text");
        TCase *text = check_case(suite, "text"), *arena = check_case(suite, "arena");

        tcase_add_test(text, what_is_put_stands_in_its_order);
        tcase_add_test(text, integers_are_written_in_full_range);
        tcase_add_test(text, control_characters_quotes_and_backslashes_are_escaped);
        tcase_add_test(text, utf8_passes_as_it_is);
        tcase_add_test(text, what_is_not_utf8_is_replaced);
        tcase_add_test(text, each_code_point_passes_and_its_broken_forms_do_not);
        tcase_add_test(text, a_long_string_grows_the_text);
        tcase_add_test(text, a_failed_text_stays_failed_and_gives_nothing_up);

        tcase_add_test(arena, arena_memory_is_zeroed_and_aligned);
        tcase_add_test(arena, arena_objects_do_not_overlap_or_move);
        tcase_add_test(arena, an_arena_copies_strings);
        tcase_add_test(arena, an_array_of_none_is_not_null);
        tcase_add_test(arena, an_array_that_overflows_is_refused);
        return check_run(suite);
}
