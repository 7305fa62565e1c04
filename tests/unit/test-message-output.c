/* What we write: calls, replies, errors, and JSON as text. */

#include "proto/message.h"
#include "proto/util.h"
#include "tests/support/check.h"

#include <errno.h>
#include <string.h>

/* Compares, the closing NUL included. */
static void check_message(struct text *text, const char *wanted)
{
        ck_assert_str_eq(text->data, wanted);
        ck_assert_uint_eq(text->n, strlen(wanted) + 1);
        text_clear(text);
}

/* --- writing ----------------------------------------------------------------------------------------------------- */

START_TEST(calls_are_written)
{
        const struct method_type *list = method_type_find("org.regionbroker.List");
        const struct method_type *info = method_type_find("org.varlink.service.GetInfo");
        struct text text = {};

        call_write(&text, list, CALL_MORE, &(struct list_args){ "*" });
        check_message(&text, "{\"method\":\"org.regionbroker.List\",\"more\":true,\"parameters\":{\"pattern\":\"*\"}}");
        call_write(&text, list, CALL_ONEWAY, NULL);
        check_message(&text, "{\"method\":\"org.regionbroker.List\",\"oneway\":true}");
        call_write(&text, info, 0, NULL);
        check_message(&text, "{\"method\":\"org.varlink.service.GetInfo\"}");

        call_write_raw(&text, "a.b.C", CALL_MORE, "{\"x\": [1]}");
        check_message(&text, "{\"method\":\"a.b.C\",\"more\":true,\"parameters\":{\"x\": [1]}}");
        call_write_raw(&text, "a.\"b", 0, NULL);
        check_message(&text, "{\"method\":\"a.\\\"b\"}");
}
END_TEST

START_TEST(replies_are_written)
{
        const struct arg_struct *type = method_type_find("org.regionbroker.Ready")->result;
        const struct arg_struct *nothing = method_type_find("org.regionbroker.Detach")->result;
        struct text text = {};

        reply_write(&text, type, &(struct ready_result){ 3 }, false);
        check_message(&text, "{\"parameters\":{\"generation\":3}}");
        reply_write(&text, type, &(struct ready_result){ 3 }, true);
        check_message(&text, "{\"parameters\":{\"generation\":3},\"continues\":true}");
        reply_write(&text, nothing, NULL, false);
        check_message(&text, "{}");
        reply_write(&text, NULL, NULL, true);
        check_message(&text, "{\"continues\":true}");
}
END_TEST

START_TEST(errors_are_written)
{
        struct text text = {};

        error_write(&text, ERROR_REGION_NOT_FOUND, &(struct error_fields){ .environment = "e", .region = "r" });
        check_message(&text, "{\"error\":\"org.regionbroker.RegionNotFound\","
                             "\"parameters\":{\"environment\":\"e\",\"region\":\"r\"}}");
        error_write(&text, ERROR_PERMISSION_DENIED, NULL);
        check_message(&text, "{\"error\":\"org.varlink.service.PermissionDenied\"}");
        error_write(&text, ERROR_EXPECTED_MORE, &(struct error_fields){ .name = "not its field" });
        check_message(&text, "{\"error\":\"org.varlink.service.ExpectedMore\"}");
}
END_TEST

START_TEST(messages_can_follow_each_other_in_one_text)
{
        struct text text = {};

        reply_write(&text, NULL, NULL, true);
        reply_write(&text, NULL, NULL, false);
        ck_assert_uint_eq(text.n, sizeof("{\"continues\":true}") + sizeof("{}"));
        ck_assert_mem_eq(text.data, "{\"continues\":true}\0{}", text.n);
        text_clear(&text);
}
END_TEST

START_TEST(what_is_written_can_be_parsed)
{
        struct fdset fds = {};
        struct text text = {};
        struct call *call;
        struct reply *reply;

        call_write(&text, method_type_find("org.regionbroker.Ready"), CALL_ONEWAY, &(struct ready_args){ "\x01\"\\é" });
        ck_assert_int_eq(call_parse(text.data, text.n - 1, &fds, &call), 0);
        ck_assert_str_eq(call->method, "org.regionbroker.Ready");
        ck_assert(call->oneway && !call->more && call->parameters);
        call_free(call);
        text_clear(&text);

        for (int error = 1; error < N_WIRE_ERRORS; error++) {
                error_write(&text, (enum wire_error)error, &(struct error_fields){});
                ck_assert_int_eq(reply_parse(text.data, text.n - 1, &fds, &reply), 0);
                ck_assert_int_eq(error_find(reply->error), error);
                reply_free(reply);
                text_clear(&text);
        }
}
END_TEST

/* --- JSON as text ------------------------------------------------------------------------------------------------ */

static void check_reformat(const char *json, bool pretty, const char *wanted)
{
        struct text text = {};

        ck_assert_int_eq(json_reformat(json, pretty, &text), 0);
        text_put(&text, "", 1);
        check_message(&text, wanted);
}

START_TEST(json_is_reformatted_in_its_own_order)
{
        static const char json[] = " { \"b\" : [ 1 , \"\\u00e9\" ] ,\n \"a\" : { \"x\" : null } , \"c\" : [ ] } ";

        check_reformat(json, false, "{\"b\":[1,\"é\"],\"a\":{\"x\":null},\"c\":[]}");
        check_reformat(json, true,
                       "{\n  \"b\": [\n    1,\n    \"é\"\n  ],\n  \"a\": {\n    \"x\": null\n  },\n  \"c\": []\n}");
        check_reformat("[true,{}]", false, "[true,{}]");
}
END_TEST

START_TEST(what_is_not_json_is_not_reformatted)
{
        static const char *const bad[] = { "", "{", "{} {}", "1", "\"a\"", "{\"a\":1,\"a\":2}", "[\"\xff\"]" };
        struct text text = {};

        for (size_t i = 0; i < array_size(bad); i++)
                ck_assert_msg(json_reformat(bad[i], true, &text) == -EBADMSG, "%s", bad[i]);
        ck_assert_uint_eq(text.n, 0);
}
END_TEST

START_TEST(only_an_object_is_an_object)
{
        ck_assert(json_is_object("{}"));
        ck_assert(json_is_object(" {\"a\":[1]} "));
        ck_assert(!json_is_object("[]"));
        ck_assert(!json_is_object(""));
        ck_assert(!json_is_object("null"));
        ck_assert(!json_is_object("{},{}"));
        ck_assert(!json_is_object("{}}"));
}
END_TEST

START_TEST(parameters_of_a_reply_are_given_as_text)
{
        static const struct {
                const char *reply;
                const char *wanted;
        } rows[] = {
                { "{}", "{}" },
                { "{\"parameters\":null}", "{}" },
                { "{ \"parameters\" : { } }", "{}" },
                { "{\"parameters\": {\"b\": [1, 2], \"a\": {\"c\": -5}}}", "{\"b\":[1,2],\"a\":{\"c\":-5}}" },
        };

        for (size_t i = 0; i < array_size(rows); i++) {
                struct fdset fds = {};
                struct text text = {};
                struct reply *reply;

                ck_assert_int_eq(reply_parse(rows[i].reply, strlen(rows[i].reply), &fds, &reply), 0);
                ck_assert_int_eq(reply_parameters_text(reply, &text), 0);
                text_put(&text, "", 1);
                check_message(&text, rows[i].wanted);
                reply_free(reply);
        }
}
END_TEST

int main(void)
{
        Suite *suite = suite_create("message-output");
        TCase *writing = check_case(suite, "writing"), *json = check_case(suite, "json");

        tcase_add_test(writing, calls_are_written);
        tcase_add_test(writing, replies_are_written);
        tcase_add_test(writing, errors_are_written);
        tcase_add_test(writing, messages_can_follow_each_other_in_one_text);
        tcase_add_test(writing, what_is_written_can_be_parsed);

        tcase_add_test(json, json_is_reformatted_in_its_own_order);
        tcase_add_test(json, what_is_not_json_is_not_reformatted);
        tcase_add_test(json, only_an_object_is_an_object);
        tcase_add_test(json, parameters_of_a_reply_are_given_as_text);
        return check_run(suite);
}
