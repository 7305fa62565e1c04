/* The walk over a table: what is read from JSON, what is refused and by which name, what is written. That the tables
 * themselves are right is test-tables.c's part. */

#include "proto/util.h"
#include "tests/support/check.h"
#include "tests/support/json.h"

#include <stdint.h>

/* --- reading ----------------------------------------------------------------------------------------------------- */

static const struct arg_struct *open_args_type(void)
{
        return json_args_of(BROKER "Open");
}

static void read_open(struct reply *reply, struct arena *arena, struct open_args *ret)
{
        const char *field;

        ck_assert_int_eq(args_read(reply->parameters, open_args_type(), ARGS_STRICT, arena, ret, &field), 0);
}

START_TEST(absent_and_null_are_the_same)
{
        static const char *const forms[] = {
                "{\"environment\":\"db\"}",
                "{\"environment\":\"db\",\"create\":null,\"access\":null,\"definition\":null,\"regions\":null,"
                "\"waitUSec\":null}",
        };

        for (size_t i = 0; i < array_size(forms); i++) {
                struct reply *reply = json_parse(forms[i]);
                struct arena arena = {};
                struct open_args args;

                read_open(reply, &arena, &args);
                ck_assert_str_eq(args.environment, "db");
                ck_assert_int_eq(args.create, 0);
                ck_assert_int_eq(args.access, 0);
                ck_assert_ptr_null(args.definition);
                ck_assert(!args.regions.given);
                ck_assert(!args.wait_usec.given);
                arena_clear(&arena);
                reply_free(reply);
        }
}
END_TEST

START_TEST(an_empty_array_is_not_an_absent_one)
{
        struct reply *reply = json_parse("{\"environment\":\"db\",\"regions\":[],\"definition\":{\"regions\":[]}}");
        struct arena arena = {};
        struct open_args args;

        read_open(reply, &arena, &args);
        ck_assert(args.regions.given);
        ck_assert_uint_eq(args.regions.n, 0);
        ck_assert(args.definition->regions.given);
        ck_assert_uint_eq(args.definition->regions.n, 0);
        arena_clear(&arena);
        reply_free(reply);
}
END_TEST

START_TEST(zero_and_false_are_not_absent)
{
        struct reply *reply = json_parse("{\"environment\":\"\",\"waitUSec\":0,"
                                         "\"definition\":{\"recovery\":false,\"home\":\"\",\"regions\":[]}}");
        struct arena arena = {};
        struct open_args args;

        read_open(reply, &arena, &args);
        ck_assert_str_eq(args.environment, "");
        ck_assert(args.wait_usec.given && args.wait_usec.value == 0);
        ck_assert(args.definition->recovery.given && !args.definition->recovery.value);
        ck_assert_str_eq(args.definition->home, "");
        arena_clear(&arena);
        reply_free(reply);
}
END_TEST

START_TEST(no_object_is_an_empty_one)
{
        struct arena arena = {};
        const char *field = "none";
        struct list_args list = { "old" };
        struct ready_args ready;

        ck_assert_int_eq(args_read(NULL, json_args_of(BROKER "List"), ARGS_STRICT, &arena, &list, &field), 0);
        ck_assert_ptr_null(list.pattern);
        ck_assert_int_eq(args_read(NULL, json_args_of(BROKER "GetStatistics"), ARGS_STRICT, &arena, NULL, &field), 0);
        ck_assert_int_eq(args_read(NULL, json_args_of(BROKER "Ready"), ARGS_STRICT, &arena, &ready, &field), -EINVAL);
        ck_assert_str_eq(field, "environment");
        arena_clear(&arena);
}
END_TEST

START_TEST(integers_are_taken_in_full_range)
{
        static const struct {
                const char *json;
                int64_t value;
        } numbers[] = {
                { "{\"generation\":9223372036854775807}", INT64_MAX },
                { "{\"generation\":-9223372036854775808}", INT64_MIN },
                { "{\"generation\":0}", 0 },
                { "{\"generation\":-1}", -1 },
        };
        const struct arg_struct *type = json_result_of(BROKER "Ready");

        for (size_t i = 0; i < array_size(numbers); i++) {
                struct reply *reply = json_parse(numbers[i].json);
                struct arena arena = {};
                struct ready_result result;
                const char *field;

                ck_assert_int_eq(args_read(reply->parameters, type, ARGS_STRICT, &arena, &result, &field), 0);
                ck_assert_int_eq(result.generation, numbers[i].value);
                json_check_written(type, &result, numbers[i].json);
                arena_clear(&arena);
                reply_free(reply);
        }
}
END_TEST

/* One row per way to be wrong; the field is always one of the outermost. */
START_TEST(the_wrong_field_is_named)
{
        static const struct {
                const char *json;
                const char *field;
        } bad[] = {
                /* missing, or null where it must not be */
                { "{}", "environment" },
                { "{\"environment\":null}", "environment" },
                { "{\"environment\":\"e\",\"definition\":{}}", "definition" },
                { "{\"environment\":\"e\",\"definition\":{\"regions\":null}}", "definition" },
                { "{\"environment\":\"e\",\"definition\":{\"regions\":[{\"name\":\"a\"}]}}", "definition" },
                { "{\"environment\":\"e\",\"definition\":{\"regions\":[{\"name\":null,\"size\":1}]}}", "definition" },
                /* of the wrong type */
                { "{\"environment\":1}", "environment" },
                { "{\"environment\":[\"e\"]}", "environment" },
                { "{\"environment\":\"e\",\"create\":2}", "create" },
                { "{\"environment\":\"e\",\"create\":true}", "create" },
                { "{\"environment\":\"e\",\"definition\":[]}", "definition" },
                { "{\"environment\":\"e\",\"definition\":\"d\"}", "definition" },
                { "{\"environment\":\"e\",\"definition\":{\"regions\":{}}}", "definition" },
                { "{\"environment\":\"e\",\"definition\":{\"regions\":[null]}}", "definition" },
                { "{\"environment\":\"e\",\"definition\":{\"regions\":[[]]}}", "definition" },
                { "{\"environment\":\"e\",\"definition\":{\"regions\":[],\"lock\":1}}", "definition" },
                { "{\"environment\":\"e\",\"definition\":{\"regions\":[],\"lock\":\"true\"}}", "definition" },
                { "{\"environment\":\"e\",\"definition\":{\"regions\":[],\"home\":{}}}", "definition" },
                { "{\"environment\":\"e\",\"regions\":\"a\"}", "regions" },
                { "{\"environment\":\"e\",\"regions\":{}}", "regions" },
                { "{\"environment\":\"e\",\"regions\":[\"a\",1]}", "regions" },
                { "{\"environment\":\"e\",\"regions\":[null]}", "regions" },
                /* numbers that are no integers */
                { "{\"environment\":\"e\",\"waitUSec\":1.0}", "waitUSec" },
                { "{\"environment\":\"e\",\"waitUSec\":1e3}", "waitUSec" },
                { "{\"environment\":\"e\",\"waitUSec\":\"1\"}", "waitUSec" },
                { "{\"environment\":\"e\",\"waitUSec\":true}", "waitUSec" },
                /* not a word of the enum */
                { "{\"environment\":\"e\",\"create\":\"perhaps\"}", "create" },
                { "{\"environment\":\"e\",\"create\":\"\"}", "create" },
                { "{\"environment\":\"e\",\"create\":\"Never\"}", "create" },
                { "{\"environment\":\"e\",\"definition\":{\"backing\":\"tape\",\"regions\":[]}}", "definition" },
                /* unknown */
                { "{\"environment\":\"e\",\"colour\":\"red\"}", "colour" },
                { "{\"environment\":\"e\",\"colour\":null}", "colour" },
                { "{\"\":1,\"environment\":\"e\"}", "" },
                { "{\"environment\":\"e\",\"Environment\":\"e\"}", "Environment" },
                { "{\"environment\":\"e\",\"definition\":{\"regions\":[],\"colour\":1}}", "definition" },
                { "{\"environment\":\"e\",\"definition\":{\"regions\":[{\"name\":\"a\",\"size\":1,\"x\":1}]}}",
                  "definition" },
                /* what is wrong with a known field is told first */
                { "{\"colour\":1,\"environment\":1}", "environment" },
        };

        for (size_t i = 0; i < array_size(bad); i++)
                json_check_refused(open_args_type(), ARGS_STRICT, bad[i].json, bad[i].field);
}
END_TEST

START_TEST(wrong_fields_of_results_are_named)
{
        const struct arg_struct *statistics = json_result_of(BROKER "GetStatistics");
        const struct arg_struct *info = json_result_of(SERVICE "GetInfo");
        const struct arg_struct *describe = json_result_of(BROKER "Describe");

#define STATISTICS(limits)                                                                                        \
        "{\"version\":\"1\",\"startedUSec\":2,\"environments\":3,\"regions\":4,\"attachments\":5,\"sessions\":6," \
        "\"bytes\":7,\"limits\":" limits ",\"counters\":{}}"
        json_check_refused(statistics, 0, STATISTICS("{\"a\":1,\"b\":\"2\"}"), "limits");
        json_check_refused(statistics, 0, STATISTICS("{\"a\":null}"), "limits");
        json_check_refused(statistics, 0, STATISTICS("{\"a\":1.5}"), "limits");
        json_check_refused(statistics, 0, STATISTICS("[1]"), "limits");
        json_check_refused(statistics, 0, STATISTICS("null"), "limits");

        json_check_refused(info, 0, "{\"vendor\":\"v\",\"product\":\"p\",\"version\":\"1\",\"url\":\"u\"}",
                           "interfaces");
        json_check_refused(describe, 0, "{\"environment\":{\"recovery\":null},\"attachments\":[]}", "environment");
        json_check_refused(json_args_of(SERVICE "GetInfo"), ARGS_STRICT, "{\"a\":1}", "a");
}
END_TEST

START_TEST(a_client_passes_over_unknown_fields)
{
        struct reply *reply = json_parse("{\"future\":[1,{}],\"generation\":7}");
        struct arena arena = {};
        struct ready_result result;
        const char *field;

        ck_assert_int_eq(args_read(reply->parameters, json_result_of(BROKER "Ready"), 0, &arena, &result, &field), 0);
        ck_assert_int_eq(result.generation, 7);
        json_check_refused(json_result_of(BROKER "Ready"), ARGS_STRICT, "{\"future\":[1,{}],\"generation\":7}",
                           "future");
        json_check_refused(json_result_of(BROKER "Ready"), 0, "{\"future\":[1,{}]}", "generation");
        arena_clear(&arena);
        reply_free(reply);
}
END_TEST

/* --- writing ----------------------------------------------------------------------------------------------------- */

START_TEST(an_enum_value_out_of_range_is_not_taken_for_a_word)
{
        struct attach_args args = { "db", "a", (enum access)77 };

        json_check_written(json_args_of(BROKER "Attach"), &args,
                           "{\"environment\":\"db\",\"region\":\"a\",\"access\":\"?\"}");
        json_check_refused(json_args_of(BROKER "Attach"), 0,
                           "{\"environment\":\"db\",\"region\":\"a\",\"access\":\"?\"}", "access");
}
END_TEST

/* --- strings ----------------------------------------------------------------------------------------------------- */

static uint32_t next_random(uint32_t *state)
{
        *state = *state * 1664525 + 1013904223;
        return *state >> 8;
}

static size_t put_utf8(char *at, uint32_t c)
{
        static const unsigned char leads[] = { 0, 0xc0, 0xe0, 0xf0 };
        size_t n_more = c < 0x80 ? 0 : c < 0x800 ? 1 : c < 0x10000 ? 2 : 3;

        *at = (char)(leads[n_more] | c >> (6 * n_more));
        for (size_t i = 1; i <= n_more; i++)
                at[i] = (char)(0x80 | (c >> (6 * (n_more - i)) & 0x3f));
        return n_more + 1;
}

static uint32_t random_character(uint32_t *state)
{
        static const uint32_t ends[] = { 0x80, 0x800, 0x10000, 0x110000 };
        uint32_t c = next_random(state) % ends[next_random(state) % array_size(ends)];

        return c == 0 || (c >= 0xd800 && c < 0xe000) ? '"' : c;
}

START_TEST(strings_of_any_characters_come_back)
{
        const struct arg_struct *type = json_args_of(BROKER "Ready");
        uint32_t state = 1;

        for (int round = 0; round < 2000; round++) {
                char string[4 * 40 + 1];
                size_t n = 0;
                struct reply *reply;
                struct arena arena = {};
                struct ready_args read;
                const char *field;
                char *json;

                for (uint32_t left = next_random(&state) % 40; left > 0; left--)
                        n += put_utf8(string + n, random_character(&state));
                string[n] = '\0';

                json = json_write(type, &(struct ready_args){ string });
                reply = json_parse(json);
                ck_assert_int_eq(args_read(reply->parameters, type, ARGS_STRICT, &arena, &read, &field), 0);
                ck_assert_str_eq(read.environment, string);
                arena_clear(&arena);
                reply_free(reply);
                free(json);
        }
}
END_TEST

START_TEST(bytes_that_are_not_utf8_still_make_a_message)
{
        uint32_t state = 2;

        for (int round = 0; round < 2000; round++) {
                char bytes[41] = "";
                char *json;

                for (uint32_t n = next_random(&state) % 40, i = 0; i < n; i++)
                        bytes[i] = (char)(1 + next_random(&state) % 255);
                json = json_write(json_args_of(BROKER "Ready"), &(struct ready_args){ bytes });
                reply_free(json_parse(json));
                free(json);
        }
}
END_TEST

int main(void)
{
        Suite *suite = suite_create("args");
        TCase *reading = check_case(suite, "reading"), *writing = check_case(suite, "writing");

        tcase_add_test(reading, absent_and_null_are_the_same);
        tcase_add_test(reading, an_empty_array_is_not_an_absent_one);
        tcase_add_test(reading, zero_and_false_are_not_absent);
        tcase_add_test(reading, no_object_is_an_empty_one);
        tcase_add_test(reading, integers_are_taken_in_full_range);
        tcase_add_test(reading, the_wrong_field_is_named);
        tcase_add_test(reading, wrong_fields_of_results_are_named);
        tcase_add_test(reading, a_client_passes_over_unknown_fields);

        tcase_add_test(writing, an_enum_value_out_of_range_is_not_taken_for_a_word);
        tcase_add_test(writing, strings_of_any_characters_come_back);
        tcase_add_test(writing, bytes_that_are_not_utf8_still_make_a_message);
        return check_run(suite);
}
