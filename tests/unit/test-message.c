/* The envelope: which texts are calls and replies, and which have to end the connection. */

#include "proto/message.h"
#include "proto/util.h"
#include "tests/support/check.h"

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <string.h>

static int parse_call(const char *text, struct call **ret)
{
        struct fdset fds = {};

        return call_parse(text, strlen(text), &fds, ret);
}

static int parse_reply(const char *text, struct reply **ret)
{
        struct fdset fds = {};

        return reply_parse(text, strlen(text), &fds, ret);
}

/* `open`, `n` times `item`, `close`. */
static char *repeat(const char *open, size_t n, const char *item, const char *close)
{
        struct text text = {};
        size_t size;

        text_puts(&text, open);
        while (n-- > 0)
                text_puts(&text, item);
        text_put(&text, close, strlen(close) + 1);
        return text_take(&text, &size);
}

/* --- calls ------------------------------------------------------------------------------------------------------- */

START_TEST(calls_are_read_in_every_lawful_form)
{
        enum { ONEWAY = 1, MORE = 2, UPGRADE = 4, PARAMETERS = 8 };
        static const struct {
                const char *text;
                int what;
        } good[] = {
                { "{\"method\":\"a.b.C\"}", 0 },
                { "{\"method\":\"a.b.C\",\"parameters\":null}", 0 },
                { "{\"method\":\"a.b.C\",\"parameters\":{}}", PARAMETERS },
                { "{\"parameters\":{\"a\":1},\"method\":\"a.b.C\"}", PARAMETERS },
                { "{\"method\":\"a.b.C\",\"oneway\":true}", ONEWAY },
                { "{\"method\":\"a.b.C\",\"more\":true}", MORE },
                { "{\"method\":\"a.b.C\",\"upgrade\":true}", UPGRADE },
                { "{\"method\":\"a.b.C\",\"oneway\":false,\"more\":false,\"upgrade\":false}", 0 },
                { "{\"method\":\"a.b.C\",\"oneway\":false,\"more\":true,\"upgrade\":false}", MORE },
                { " \t\r\n{ \"method\" : \"a.b.C\" ,\n\"more\" : true } \n", MORE },
                { "{\"\\u006dethod\":\"a.b.\\u0043\"}", 0 },
                { "{\"method\":\"a.b.C\",\"org.example.trace\":{\"id\":[1]},\"a.b\":null}", 0 },
        };

        for (size_t i = 0; i < array_size(good); i++) {
                struct call *call;

                ck_assert_msg(parse_call(good[i].text, &call) == 0, "%s", good[i].text);
                ck_assert_str_eq(call->method, "a.b.C");
                ck_assert_int_eq(call->oneway, !!(good[i].what & ONEWAY));
                ck_assert_int_eq(call->more, !!(good[i].what & MORE));
                ck_assert_int_eq(call->upgrade, !!(good[i].what & UPGRADE));
                ck_assert_int_eq(call->parameters != NULL, !!(good[i].what & PARAMETERS));
                ck_assert_ptr_null(call_free(call));
        }
}
END_TEST

/* What is neither a call nor a reply. */
static const char *const broken[] = {
        "",
        " ",
        "{",
        "}",
        "{}}",
        "]",
        "null",
        "true",
        "1",
        "\"a\"",
        "[]",
        "[{\"method\":\"a.b.C\"}]",
        "{\"method\":\"a.b.C\"",
        "{\"method\":\"a.b.C\"}{}",
        "{\"method\":\"a.b.C\"} x",
        "{\"method\":\"a.b.C\",}",
        "{\"method\":\"a.b.C}",
        "{'method':'a.b.C'}",
        "{method:\"a.b.C\"}",
        "{\"method\":\"a.b.C\"]",
        "{\"method\":\"a.b.C\" // comment\n}",
        "{\"method\":\"a.b.C\",\"method\":\"a.b.C\"}",
        "{\"method\":\"a.b.C\",\"parameters\":{\"a\":1,\"a\":1}}",
        "{\"method\":\"a.b.C\",\"parameters\":{\"a\":{\"b\":1,\"\\u0062\":2}}}",
        "\xef\xbb\xbf{\"method\":\"a.b.C\"}",
        "{\"method\":\"a.b.\xff\"}",
        "{\"method\":\"a.b.\xc0\x80\"}",
        "{\"method\":\"a.b.\xed\xa0\x80\"}",
        "{\"method\":\"a.b.\xf5\x80\x80\x80\"}",
        "{\"method\":\"a.b.C\\ud800\"}",
        "{\"method\":\"a.b.C\\u0000\"}",
        "{\"method\":\"a.b.C\\x\"}",
        "{\"method\":\"a.b.C\n\"}",
        "{\"method\":\"a.b.C\",\"parameters\":{\"a\":01}}",
        "{\"method\":\"a.b.C\",\"parameters\":{\"a\":+1}}",
        "{\"method\":\"a.b.C\",\"parameters\":{\"a\":NaN}}",
        "{\"method\":\"a.b.C\",\"parameters\":{\"a\":1e999}}",
        "{\"method\":\"a.b.C\",\"parameters\":{\"a\":9223372036854775808}}",
        "{\"method\":\"a.b.C\",\"parameters\":{\"a\":-9223372036854775809}}",
        "{\"method\":\"a.b.C\",\"parameters\":[]}",
        "{\"method\":\"a.b.C\",\"parameters\":\"a\"}",
        "{\"method\":\"a.b.C\",\"parameters\":1}",
        "{\"method\":\"a.b.C\",\"parameters\":false}",
};

START_TEST(what_is_no_call_is_refused)
{
        static const char *const bad[] = {
                "{}",
                "{\"parameters\":{}}",
                "{\"error\":\"a.b.C\"}",
                "{\"method\":null}",
                "{\"method\":1}",
                "{\"method\":[\"a.b.C\"]}",
                "{\"method\":{}}",
                "{\"Method\":\"a.b.C\"}",
                "{\"method\":\"a.b.C\",\"more\":1}",
                "{\"method\":\"a.b.C\",\"more\":null}",
                "{\"method\":\"a.b.C\",\"more\":\"true\"}",
                "{\"method\":\"a.b.C\",\"oneway\":0}",
                "{\"method\":\"a.b.C\",\"upgrade\":{}}",
                "{\"method\":\"a.b.C\",\"oneway\":true,\"more\":true}",
                "{\"method\":\"a.b.C\",\"oneway\":true,\"upgrade\":true}",
                "{\"method\":\"a.b.C\",\"more\":true,\"upgrade\":true}",
                "{\"method\":\"a.b.C\",\"oneway\":true,\"more\":true,\"upgrade\":true}",
                "{\"method\":\"a.b.C\",\"continues\":false}",
                "{\"method\":\"a.b.C\",\"colour\":1}",
                "{\"method\":\"a.b.C\",\"\":1}",
        };
        struct call *call = NULL;

        for (size_t i = 0; i < array_size(broken); i++)
                ck_assert_msg(parse_call(broken[i], &call) == -EBADMSG, "%s", broken[i]);
        for (size_t i = 0; i < array_size(bad); i++)
                ck_assert_msg(parse_call(bad[i], &call) == -EBADMSG, "%s", bad[i]);
        ck_assert_ptr_null(call);
}
END_TEST

START_TEST(a_nul_inside_of_a_message_is_refused)
{
        static const char text[] = "{\"method\":\"a.b.C\"}\0{}";
        static const char inside[] = "{\"method\":\"a.\0b.C\"}";
        struct fdset fds = {};
        struct call *call;

        ck_assert_int_eq(call_parse(text, sizeof(text) - 1, &fds, &call), -EBADMSG);
        ck_assert_int_eq(call_parse(inside, sizeof(inside) - 1, &fds, &call), -EBADMSG);
}
END_TEST

START_TEST(a_call_owns_the_descriptors_that_came_with_it)
{
        static const char good[] = "{\"method\":\"a.b.C\"}", bad[] = "{}";
        struct fdset fds = {};
        struct call *call;
        int fd = open("/dev/null", O_RDONLY | O_CLOEXEC);

        ck_assert_int_eq(fdset_push(&fds, fd), 0);
        ck_assert_int_eq(call_parse(bad, strlen(bad), &fds, &call), -EBADMSG);
        ck_assert_uint_eq(fds.n, 1);
        ck_assert_int_eq(call_parse(good, strlen(good), &fds, &call), 0);
        ck_assert_uint_eq(fds.n, 0);
        ck_assert_uint_eq(call->fds.n, 1);
        ck_assert_int_eq(call->fds.fds[0], fd);
        call_free(call);
        ck_assert_int_eq(fcntl(fd, F_GETFD), -1);
}
END_TEST

START_TEST(a_call_is_written_as_it_was_read)
{
        static const char call_of_all[] = "{\"method\":\"a.b.C\",\"more\":true,\"parameters\":{\"x\":[1,\"\\n\",null]}}";
        owned(text_clear) struct text text = {};
        struct call *call;

        ck_assert_int_eq(parse_call(call_of_all, &call), 0);
        ck_assert_int_eq(call_text(call, &text), 0);
        ck_assert_uint_eq(text.n, strlen(call_of_all));
        ck_assert_mem_eq(text.data, call_of_all, text.n);
        call_free(call);
}
END_TEST

/* --- replies ----------------------------------------------------------------------------------------------------- */

START_TEST(replies_are_read_leniently)
{
        static const struct {
                const char *text;
                const char *error;
                bool parameters;
                bool continues;
        } good[] = {
                { "{}", NULL, false, false },
                { "{\"parameters\":null}", NULL, false, false },
                { "{\"parameters\":{}}", NULL, true, false },
                { "{\"parameters\":{\"a\":1},\"continues\":true}", NULL, true, true },
                { "{\"continues\":false}", NULL, false, false },
                { "{\"error\":\"a.b.C\"}", "a.b.C", false, false },
                { "{\"error\":\"a.b.C\",\"parameters\":{},\"continues\":false}", "a.b.C", true, false },
                { "{\"parameters\":{},\"colour\":\"red\",\"a.b\":1}", NULL, true, false },
        };

        for (size_t i = 0; i < array_size(good); i++) {
                struct reply *reply;

                ck_assert_msg(parse_reply(good[i].text, &reply) == 0, "%s", good[i].text);
                if (good[i].error)
                        ck_assert_str_eq(reply->error, good[i].error);
                else
                        ck_assert_ptr_null(reply->error);
                ck_assert_int_eq(reply->parameters != NULL, good[i].parameters);
                ck_assert_int_eq(reply->continues, good[i].continues);
                ck_assert_ptr_null(reply_free(reply));
        }
}
END_TEST

START_TEST(what_is_no_reply_is_refused)
{
        static const char *const bad[] = {
                "{\"error\":1}",
                "{\"error\":null}",
                "{\"continues\":1}",
                "{\"continues\":null}",
                "{\"continues\":\"true\"}",
                "{\"parameters\":[]}",
                "{\"parameters\":\"a\"}",
                "{\"error\":\"a.b.C\",\"continues\":true}",
        };
        struct reply *reply = NULL;

        for (size_t i = 0; i < array_size(broken); i++)
                ck_assert_msg(parse_reply(broken[i], &reply) == -EBADMSG, "%s", broken[i]);
        for (size_t i = 0; i < array_size(bad); i++)
                ck_assert_msg(parse_reply(bad[i], &reply) == -EBADMSG, "%s", bad[i]);
        ck_assert_ptr_null(reply);
}
END_TEST

START_TEST(a_reply_owns_the_descriptors_that_came_with_it)
{
        struct fdset fds = {};
        struct reply *reply;
        int fd = open("/dev/null", O_RDONLY | O_CLOEXEC);

        ck_assert_int_eq(fdset_push(&fds, fd), 0);
        ck_assert_int_eq(reply_parse("{", 1, &fds, &reply), -EBADMSG);
        ck_assert_uint_eq(fds.n, 1);
        ck_assert_int_eq(reply_parse("{}", 2, &fds, &reply), 0);
        ck_assert_uint_eq(fds.n, 0);
        ck_assert_int_eq(reply->fds.fds[0], fd);
        reply_free(reply);
        ck_assert_int_eq(fcntl(fd, F_GETFD), -1);
}
END_TEST

START_TEST(freeing_nothing_is_fine)
{
        ck_assert_ptr_null(call_free(NULL));
        ck_assert_ptr_null(reply_free(NULL));
}
END_TEST

/* --- bounds ------------------------------------------------------------------------------------------------------ */

static int parse_nested(size_t depth, const char *open, const char *close)
{
        /* the envelope and its parameters are the first two levels */
        char *head = repeat("{\"method\":\"a.b.C\",\"parameters\":{\"a\":", depth - 2, open, "1");
        char *text = repeat(head, depth - 2, close, "}}");
        struct call *call = NULL;
        int r = parse_call(text, &call);

        call_free(call);
        free(text);
        free(head);
        return r;
}

START_TEST(nesting_is_bounded)
{
        ck_assert_int_eq(parse_nested(MESSAGE_DEPTH_MAX, "[", "]"), 0);
        ck_assert_int_eq(parse_nested(MESSAGE_DEPTH_MAX + 1, "[", "]"), -EBADMSG);
        ck_assert_int_eq(parse_nested(70, "[", "]"), -EBADMSG);
        ck_assert_int_eq(parse_nested(MESSAGE_DEPTH_MAX, "{\"a\":", "}"), 0);
        ck_assert_int_eq(parse_nested(MESSAGE_DEPTH_MAX + 1, "{\"a\":", "}"), -EBADMSG);
}
END_TEST

static int parse_values(size_t n, const char *value)
{
        char *text = repeat("{\"parameters\":{\"a\":[1", n, value, "]}}");
        struct reply *reply = NULL;
        int r = parse_reply(text, &reply);

        reply_free(reply);
        free(text);
        return r;
}

START_TEST(values_are_bounded)
{
        const size_t n_others = 4; /* the envelope, its parameters, the array, the first in it */

        ck_assert_int_eq(parse_values(MESSAGE_VALUES_MAX - n_others, ",1"), 0);
        ck_assert_int_eq(parse_values(MESSAGE_VALUES_MAX - n_others + 1, ",1"), -E2BIG);
        ck_assert_int_eq(parse_values(40000, ",1"), -E2BIG);
        ck_assert_int_eq(parse_values(40000, ",\"\""), -E2BIG);
        ck_assert_int_eq(parse_values(40000, ",{}"), -E2BIG);
}
END_TEST

START_TEST(what_stands_in_strings_does_not_count)
{
        char *commas = repeat("{\"parameters\":{\"a\":\"", 40000, ",{[\\\"", "\"}}");
        char *closing = repeat("{\"parameters\":{\"a\":\"\\\\", 100, "}]", "\"}}");
        char *many = repeat("{\"parameters\":{\"a\":[\"\\\\\"", 40000, ",\"\\\"\"", "]}}");
        struct reply *reply;

        ck_assert_int_eq(parse_reply(commas, &reply), 0);
        reply_free(reply);
        ck_assert_int_eq(parse_reply(closing, &reply), 0);
        reply_free(reply);
        ck_assert_int_eq(parse_reply(many, &reply), -E2BIG);
        free(commas);
        free(closing);
        free(many);
}
END_TEST

/* --- memory ------------------------------------------------------------------------------------------------------ */

static int allocations_left;

static void *scarce_malloc(size_t size)
{
        return allocations_left-- > 0 ? malloc(size) : NULL;
}

/* Whichever allocation fails, nothing is left behind. jansson cannot always tell it from a fault of the text. */
START_TEST(running_out_of_memory_fails_the_parse_alone)
{
        static const char text[] =
                "{\"method\":\"a.b.C\",\"parameters\":{\"a\":[1,2.5,\"a long string, longer than most\","
                "true,null,{\"b\":{}}],\"c\":-1,\"d\":\"\\u00e9\"},\"more\":true}";
        int n = 0, n_told = 0, r;

        json_set_alloc_funcs(scarce_malloc, free);
        do {
                struct call *call = NULL;

                allocations_left = n++;
                r = parse_call(text, &call);
                ck_assert(r == -ENOMEM || r == -EBADMSG || r == 0);
                ck_assert_int_eq(r == 0, call != NULL);
                n_told += r == -ENOMEM;
                call_free(call);
        } while (r < 0);
        json_set_alloc_funcs(malloc, free);
        ck_assert_int_gt(n, 10);
        ck_assert_int_gt(n_told, n / 2);
}
END_TEST

int main(void)
{
        Suite *suite = suite_create("message");
        TCase *calls = check_case(suite, "calls"), *replies = check_case(suite, "replies");
        TCase *bounds = check_case(suite, "bounds");

        tcase_add_test(calls, calls_are_read_in_every_lawful_form);
        tcase_add_test(calls, what_is_no_call_is_refused);
        tcase_add_test(calls, a_nul_inside_of_a_message_is_refused);
        tcase_add_test(calls, a_call_is_written_as_it_was_read);
        tcase_add_test(calls, a_call_owns_the_descriptors_that_came_with_it);

        tcase_add_test(replies, replies_are_read_leniently);
        tcase_add_test(replies, what_is_no_reply_is_refused);
        tcase_add_test(replies, a_reply_owns_the_descriptors_that_came_with_it);
        tcase_add_test(replies, freeing_nothing_is_fine);

        tcase_add_test(bounds, nesting_is_bounded);
        tcase_add_test(bounds, values_are_bounded);
        tcase_add_test(bounds, what_stands_in_strings_does_not_count);
        tcase_add_test(bounds, running_out_of_memory_fails_the_parse_alone);
        return check_run(suite);
}
