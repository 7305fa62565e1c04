/* The rules of the wire: what is answered and how, what is not answered, and what ends the connection. */

#include "tests/support/broker.h"
#include "tests/support/check.h"

#include "proto/util.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/socket.h>

#define GET_INFO "{'method':'org.varlink.service.GetInfo'}"
#define EMPTY_ENVIRONMENT "'create':'ifAbsent','definition':{'regions':[]}"

static void check_answers(int peer)
{
        owned(varlink_clear) struct varlink_reply reply = {};

        varlink_ask(peer, &reply, SERVICE "GetInfo", NULL);
        ck_assert_reply(&reply, NULL);
        ck_assert_value(&reply, "product", "region-broker");
}

/* --- what the broker says of itself ------------------------------------------------------------------------------ */

START_TEST(get_info_names_both_interfaces)
{
        owned(varlink_clear) struct varlink_reply reply = {};
        int peer = broker_connect();

        varlink_ask(peer, &reply, SERVICE "GetInfo", NULL);
        ck_assert_reply(&reply, NULL);
        for (size_t i = 0; i < 4; i++)
                ck_assert_ptr_nonnull(
                        varlink_value(&reply, "%s", (const char *[]){ "vendor", "product", "version", "url" }[i]));
        ck_assert_int_eq(varlink_number(&reply, "interfaces"), 2);
        ck_assert_value(&reply, "interfaces.0", "org.varlink.service");
        ck_assert_value(&reply, "interfaces.1", "org.regionbroker");
        close(peer);
}
END_TEST

static char *read_file(const char *path)
{
        owned(closep) int fd = open(path, O_RDONLY | O_CLOEXEC);
        char *text = calloc(1, 65536);

        ck_assert_msg(fd >= 0, "%s", path);
        ck_assert_int_gt(read(fd, text, 65535), 0);
        return text;
}

START_TEST(the_descriptions_are_the_files)
{
        static const char *const interfaces[] = { "org.varlink.service", "org.regionbroker" };
        owned(varlink_clear) struct varlink_reply reply = {};
        const char *source = getenv("SOURCE");
        int peer = broker_connect();

        ck_assert_ptr_nonnull(source);
        for (size_t i = 0; i < array_size(interfaces); i++) {
                owned(freep) char *path = NULL;
                owned(freep) char *text = NULL;

                ck_assert_int_ge(asprintf(&path, "%s/proto/%s.varlink", source, interfaces[i]), 0);
                text = read_file(path);
                varlink_ask(peer, &reply, SERVICE "GetInterfaceDescription", "{'interface':'%s'}", interfaces[i]);
                ck_assert_msg(varlink_has(&reply, "description", text), "%s is described otherwise", interfaces[i]);
        }
        varlink_ask(peer, &reply, SERVICE "GetInterfaceDescription", "{'interface':'org.example'}");
        ck_assert_reply(&reply, SERVICE "InterfaceNotFound");
        ck_assert_value(&reply, "interface", "org.example");
        close(peer);
}
END_TEST

/* --- methods ----------------------------------------------------------------------------------------------------- */

struct method_row {
        const char *method, *error, *member, *value;
};

static const struct method_row unknown_methods[] = {
        { "org.example.Do", SERVICE "InterfaceNotFound", "interface", "org.example" },
        { "org.regionbroker.sub.Open", SERVICE "InterfaceNotFound", "interface", "org.regionbroker.sub" },
        { "org.Open", SERVICE "InterfaceNotFound", "interface", "org" },
        { ".", SERVICE "InterfaceNotFound", "interface", "" },
        { "org.regionbroker.Close", SERVICE "MethodNotFound", "method", "org.regionbroker.Close" },
        { "org.regionbroker.", SERVICE "MethodNotFound", "method", "org.regionbroker." },
        { "org.regionbroker.open", SERVICE "MethodNotFound", "method", "org.regionbroker.open" },
        { "org.varlink.service.Ping", SERVICE "MethodNotFound", "method", "org.varlink.service.Ping" },
};

START_TEST(a_method_that_is_not_there_is_named)
{
        const struct method_row *row = &unknown_methods[_i];
        owned(varlink_clear) struct varlink_reply reply = {};
        int peer = broker_connect();

        varlink_ask(peer, &reply, row->method, "{'environment':'e'}");
        ck_assert_reply(&reply, row->error);
        ck_assert_value(&reply, row->member, row->value);
        check_answers(peer);
        close(peer);
}
END_TEST

START_TEST(a_method_without_an_interface_is_of_no_interface)
{
        owned(varlink_clear) struct varlink_reply reply = {};
        int peer = broker_connect();

        varlink_say(peer, "{'method':'Open'}");
        ck_assert(varlink_receive(peer, &reply));
        ck_assert_reply(&reply, SERVICE "InterfaceNotFound");
        varlink_say(peer, "{'method':''}");
        ck_assert(varlink_receive(peer, &reply));
        ck_assert_reply(&reply, SERVICE "InterfaceNotFound");
        close(peer);
}
END_TEST

static const char *const methods_without_parameters[] = { SERVICE "GetInfo", BROKER "GetStatistics" };
static const char *const no_parameters[] = { "", ",'parameters':{}", ",'parameters':null", ",'parameters': {  } " };

START_TEST(no_parameters_are_spelt_in_three_ways)
{
        owned(varlink_clear) struct varlink_reply reply = {};
        int peer = broker_connect();

        for (size_t i = 0; i < array_size(methods_without_parameters); i++)
                for (size_t j = 0; j < array_size(no_parameters); j++) {
                        varlink_say(peer, "{'method':'%s'%s}", methods_without_parameters[i], no_parameters[j]);
                        ck_assert(varlink_receive(peer, &reply));
                        ck_assert_reply(&reply, NULL);
                        varlink_say(peer, "{'more':true,'method':'" BROKER "List'%s}", no_parameters[j]);
                        ck_assert(varlink_receive(peer, &reply));
                        ck_assert_reply(&reply, "EnvironmentNotFound");
                }
        close(peer);
}
END_TEST

START_TEST(a_call_without_success_to_tell_is_answered_by_an_empty_object)
{
        owned(varlink_clear) struct varlink_reply reply = {};
        int peer = broker_connect();

        varlink_ask(peer, &reply, "Open", "{'environment':'e'," EMPTY_ENVIRONMENT "}");
        varlink_ask(peer, &reply, "Detach", "{'environment':'e'}");
        ck_assert(strcmp(reply.text, "{}") == 0 || strcmp(reply.text, "{\"parameters\":{}}") == 0);
        close(peer);
}
END_TEST

struct parameter_row {
        const char *method, *parameters, *parameter;
};

static const struct parameter_row bad_parameters[] = {
        { "Open", "{}", "environment" },
        { "Open", "{'environment':null}", "environment" },
        { "Open", "{'environment':1}", "environment" },
        { "Open", "{'environment':'e','unknown':1}", "unknown" },
        { "Open", "{'environment':'e','Create':'never'}", "Create" },
        { "Open", "{'environment':'e','create':'maybe'}", "create" },
        { "Open", "{'environment':'e','access':'execute'}", "access" },
        { "Open", "{'environment':'e','regions':'a'}", "regions" },
        { "Open", "{'environment':'e','regions':[1]}", "regions" },
        { "Open", "{'environment':'e','regions':[null]}", "regions" },
        { "Open", "{'environment':'e','waitUSec':'1'}", "waitUSec" },
        { "Open", "{'environment':'e','waitUSec':1.0}", "waitUSec" },
        { "Ready", "{}", "environment" },
        { "AddRegion", "{'environment':'e'}", "region" },
        { "AddRegion", "{'environment':'e','region':'a'}", "region" },
        { "AddRegion", "{'environment':'e','region':{'name':'a'}}", "region" },
        { "Attach", "{'environment':'e'}", "region" },
        { "Detach", "{'environment':'e','region':1}", "region" },
        { "DeleteRegion", "{'environment':'e','region':'a','force':1}", "force" },
        { "Remove", "{'environment':'e','force':'yes'}", "force" },
        { "Describe", "{}", "environment" },
        { "GetStatistics", "{'all':true}", "all" },
        { SERVICE "GetInfo", "{'all':true}", "all" },
        { SERVICE "GetInterfaceDescription", "{}", "interface" },
};

START_TEST(a_parameter_that_is_wrong_is_named)
{
        const struct parameter_row *row = &bad_parameters[_i];
        owned(varlink_clear) struct varlink_reply reply = {};
        int peer = broker_connect();

        varlink_ask(peer, &reply, row->method, "%s", row->parameters);
        ck_assert_reply(&reply, SERVICE "InvalidParameter");
        ck_assert_value(&reply, "parameter", row->parameter);
        check_answers(peer);
        close(peer);
}
END_TEST

/* --- flags ------------------------------------------------------------------------------------------------------- */

START_TEST(a_oneway_call_is_done_and_never_answered)
{
        owned(varlink_clear) struct varlink_reply reply = {};
        int peer = broker_connect(), other = broker_connect();

        varlink_say(peer,
                    "{'oneway':true,'method':'" BROKER "Open','parameters':{'environment':'e'," EMPTY_ENVIRONMENT "}}");
        varlink_say(peer, "{'oneway':true,'method':'" BROKER "Ready','parameters':{'environment':'e'}}");
        varlink_say(peer, "{'oneway':true,'method':'" BROKER "Ready','parameters':{'environment':'e'}}");
        varlink_say(peer, "{'oneway':true,'method':'" BROKER "Describe','parameters':{'environment':'absent'}}");
        varlink_say(peer, "{'oneway':true,'method':'" BROKER "Nothing'}");
        varlink_say(peer, "{'oneway':true,'method':'org.example.Nothing'}");
        varlink_say(peer, "{'oneway':true,'method':'" BROKER "Open','parameters':{'environment':7}}");
        check_answers(peer);
        varlink_ask(other, &reply, "Open", "{'environment':'e','waitUSec':0}");
        ck_assert_reply(&reply, NULL);
        ck_assert_value(&reply, "environment.generation", "1");
        close(peer);
        close(other);
}
END_TEST

START_TEST(a_oneway_call_that_waits_keeps_the_next_waiting)
{
        owned(varlink_clear) struct varlink_reply reply = {};
        int initializer = broker_connect(), peer = broker_connect(), watcher = broker_connect();
        int64_t calls;

        varlink_ask(initializer, &reply, "Open", "{'environment':'e'," EMPTY_ENVIRONMENT "}");
        calls = broker_statistic(watcher, "counters.calls");
        varlink_say(peer, "{'oneway':true,'method':'" BROKER "Open','parameters':{'environment':'e'}}");
        varlink_call(peer, "Detach", "{'environment':'e'}");
        broker_wait_for_calls(watcher, calls, 1);
        varlink_ask(initializer, &reply, "Ready", "{'environment':'e'}");
        ck_assert(varlink_receive(peer, &reply));
        ck_assert_reply(&reply, NULL); /* it was in it */
        close(initializer);
        close(peer);
        close(watcher);
}
END_TEST

START_TEST(an_upgrade_is_refused_and_the_connection_stays_what_it_is)
{
        owned(varlink_clear) struct varlink_reply reply = {};
        int peer = broker_connect();

        varlink_say(peer, "{'upgrade':true,'method':'org.varlink.service.GetInfo'}");
        ck_assert(varlink_receive(peer, &reply));
        ck_assert_ptr_nonnull(reply.error);
        varlink_say(peer, "{'upgrade':true,'method':'" BROKER "Open','parameters':{'environment':'e'," EMPTY_ENVIRONMENT
                          "}}");
        ck_assert(varlink_receive(peer, &reply));
        ck_assert_ptr_nonnull(reply.error);
        ck_assert_int_eq(broker_statistic(peer, "environments"), 0);
        check_answers(peer);
        close(peer);
}
END_TEST

START_TEST(more_of_a_method_that_has_one_answer_is_that_answer)
{
        owned(varlink_clear) struct varlink_reply reply = {};
        int peer = broker_connect();

        varlink_say(peer, "{'more':true,'method':'org.varlink.service.GetInfo'}");
        ck_assert(varlink_receive(peer, &reply));
        ck_assert_reply(&reply, NULL);
        ck_assert(!reply.continues);
        ck_assert_ptr_null(strstr(reply.text, "\"continues\""));
        varlink_say(peer, "{'more':true,'method':'" BROKER "Describe','parameters':{'environment':'e'}}");
        ck_assert(varlink_receive(peer, &reply));
        ck_assert_reply(&reply, "EnvironmentNotFound");
        ck_assert(!reply.continues);
        check_answers(peer);
        close(peer);
}
END_TEST

START_TEST(a_list_needs_more)
{
        owned(varlink_clear) struct varlink_reply reply = {};
        int peer = broker_connect();

        varlink_ask(peer, &reply, "Open", "{'environment':'e'," EMPTY_ENVIRONMENT "}");
        varlink_ask(peer, &reply, "List", NULL);
        ck_assert_reply(&reply, SERVICE "ExpectedMore");
        varlink_say(peer, "{'oneway':true,'method':'" BROKER "List'}");
        varlink_say(peer, "{'more':false,'oneway':false,'upgrade':false,'method':'" BROKER "List'}");
        ck_assert(varlink_receive(peer, &reply));
        ck_assert_reply(&reply, SERVICE "ExpectedMore");
        close(peer);
}
END_TEST

START_TEST(a_list_is_of_those_that_fit_the_pattern)
{
        static const char *const patterns[][2] = {
                { "null", "a.1 a.2 b.1 " },
                { "'*'", "a.1 a.2 b.1 " },
                { "'a.*'", "a.1 a.2 " },
                { "'?.1'", "a.1 b.1 " },
                { "'[b]*'", "b.1 " },
                { "'c*'", "" },
                { "''", "" },
                { "'['", "" },
        };
        owned(varlink_clear) struct varlink_reply reply = {};
        int peer = broker_connect();
        char names[64];

        for (size_t i = 0; i < 3; i++)
                varlink_ask(peer, &reply, "Open", "{'environment':'%s'," EMPTY_ENVIRONMENT "}",
                            (const char *[]){ "a.1", "a.2", "b.1" }[i]);
        for (size_t i = 0; i < array_size(patterns); i++) {
                names[0] = '\0';
                varlink_say(peer, "{'more':true,'method':'" BROKER "List','parameters':{'pattern':%s}}",
                            patterns[i][0]);
                do {
                        ck_assert(varlink_receive(peer, &reply));
                        if (!reply.error)
                                strcat(strcat(names, varlink_value(&reply, "environment.name")), " ");
                } while (reply.continues);
                ck_assert_str_eq(names, patterns[i][1]);
                ck_assert_reply(&reply, names[0] ? NULL : "EnvironmentNotFound");
        }
        close(peer);
}
END_TEST

/* --- what is not Varlink ----------------------------------------------------------------------------------------- */

#define METHOD "'method':'org.varlink.service.GetInfo'"

static const char *const not_varlink[] = {
        "",
        " ",
        "GetInfo",
        "{",
        "}",
        "{}",
        "[]",
        "null",
        "1",
        "'text'",
        "[{" METHOD "}]",
        "{" METHOD "}x",
        "{" METHOD "}{" METHOD "}",
        "{" METHOD ",}",
        "{" METHOD "," METHOD "}",
        "{'method':null}",
        "{'method':1}",
        "{'method':['a']}",
        "{'method':'a\\u0000b'}",
        "{'method':'\xff'}",
        "{'method':'\\ud800'}",
        "{'parameters':{}}",
        "{" METHOD ",'parameters':[]}",
        "{" METHOD ",'parameters':'x'}",
        "{" METHOD ",'parameters':1}",
        "{" METHOD ",'parameters':{'a':9223372036854775808}}",
        "{" METHOD ",'parameters':{'a':1e999}}",
        "{" METHOD ",'parameters':{'a':NaN}}",
        "{" METHOD ",'parameters':{'a':01}}",
        "{" METHOD ",'parameters':{'a':1,'a':1}}",
        "{" METHOD ",'oneway':1}",
        "{" METHOD ",'more':'true'}",
        "{" METHOD ",'more':null}",
        "{" METHOD ",'oneway':true,'more':true}",
        "{" METHOD ",'oneway':true,'upgrade':true}",
        "{" METHOD ",'more':true,'upgrade':true}",
        "{" METHOD ",'unknown':1}",
        "{'error':'org.regionbroker.Busy','parameters':{}}",
        "{'parameters':{},'continues':false}",
};

START_TEST(what_is_not_varlink_ends_the_connection_after_what_came_before_was_answered)
{
        owned(varlink_clear) struct varlink_reply reply = {};
        int peer = broker_connect();

        varlink_say(peer, GET_INFO);
        varlink_say(peer, "%s", not_varlink[_i]);
        varlink_say(peer, GET_INFO);
        ck_assert(varlink_receive(peer, &reply));
        ck_assert_reply(&reply, NULL);
        ck_assert_msg(!varlink_receive(peer, &reply), "%s: %s", not_varlink[_i], reply.text);
        close(peer);
}
END_TEST

static const char *const still_varlink[] = {
        " { 'method' : 'org.varlink.service.GetInfo' } ",
        "\n\t{" METHOD "}\r\n",
        "{'parameters':{}," METHOD "}",
        "{" METHOD ",'org.example.extension':{'any':[1,2]}}",
        "{'method':'org.varlink.service.\\u0047etInfo'}",
        "{" METHOD ",'oneway':false,'more':false,'upgrade':false}",
};

START_TEST(what_is_spelt_otherwise_is_varlink_too)
{
        owned(varlink_clear) struct varlink_reply reply = {};
        int peer = broker_connect();

        varlink_say(peer, "%s", still_varlink[_i]);
        ck_assert(varlink_receive(peer, &reply));
        ck_assert_reply(&reply, NULL);
        ck_assert_value(&reply, "product", "region-broker");
        close(peer);
}
END_TEST

START_TEST(names_are_told_as_they_were_given)
{
        static const char *const names[][2] = {
                { "\\u00e4\\u20ac", "\xc3\xa4\xe2\x82\xac" }, /* ä€ */
                { "a\\\"b\\\\c", "a\"b\\c" },
                { "\xf0\x9f\x98\x80", "\xf0\x9f\x98\x80" },
        };
        owned(varlink_clear) struct varlink_reply reply = {};
        int peer = broker_connect();

        for (size_t i = 0; i < array_size(names); i++) {
                varlink_ask(peer, &reply, "Open", "{'environment':'%s'," EMPTY_ENVIRONMENT "}", names[i][0]);
                ck_assert_reply(&reply, NULL);
                ck_assert_value(&reply, "environment.name", names[i][1]);
        }
        close(peer);
}
END_TEST

/* --- ends -------------------------------------------------------------------------------------------------------- */

START_TEST(who_shuts_down_its_side_is_answered_to_the_end)
{
        owned(varlink_clear) struct varlink_reply reply = {};
        int peer = broker_connect();

        for (int i = 0; i < 100; i++)
                varlink_say(peer, GET_INFO);
        shutdown(peer, SHUT_WR);
        for (int i = 0; i < 100; i++) {
                ck_assert(varlink_receive(peer, &reply));
                ck_assert_reply(&reply, NULL);
        }
        ck_assert(!varlink_receive(peer, &reply));
        close(peer);
}
END_TEST

START_TEST(who_shuts_down_its_side_in_the_midst_of_a_message_is_answered_what_was_whole)
{
        owned(varlink_clear) struct varlink_reply reply = {};
        int peer = broker_connect();

        varlink_say(peer, GET_INFO);
        varlink_send(peer, "{\"method\":", 10, NULL, 0);
        shutdown(peer, SHUT_WR);
        ck_assert(varlink_receive(peer, &reply));
        ck_assert_reply(&reply, NULL);
        ck_assert(!varlink_receive(peer, &reply));
        close(peer);
}
END_TEST

START_TEST(a_half_closed_list_comes_to_its_end)
{
        owned(varlink_clear) struct varlink_reply reply = {};
        int maker = broker_connect(), peer = broker_connect(), n = 0;

        for (int i = 0; i < 50; i++)
                varlink_ask(maker, &reply, "Open", "{'environment':'e%d'," EMPTY_ENVIRONMENT "}", i);
        varlink_say(peer, "{'more':true,'method':'" BROKER "List'}");
        varlink_say(peer, GET_INFO);
        shutdown(peer, SHUT_WR);
        do {
                ck_assert(varlink_receive(peer, &reply));
                n++;
        } while (reply.continues);
        ck_assert_int_eq(n, 50);
        ck_assert(varlink_receive(peer, &reply));
        ck_assert_value(&reply, "product", "region-broker");
        ck_assert(!varlink_receive(peer, &reply));
        close(maker);
        close(peer);
}
END_TEST

int main(void)
{
        Suite *suite = suite_create("protocol");
        TCase *tcase = check_case(suite, "protocol");

        tcase_add_checked_fixture(tcase, broker_setup, broker_teardown);
        tcase_add_test(tcase, get_info_names_both_interfaces);
        tcase_add_test(tcase, the_descriptions_are_the_files);
        tcase_add_loop_test(tcase, a_method_that_is_not_there_is_named, 0, (int)array_size(unknown_methods));
        tcase_add_test(tcase, a_method_without_an_interface_is_of_no_interface);
        tcase_add_test(tcase, no_parameters_are_spelt_in_three_ways);
        tcase_add_test(tcase, a_call_without_success_to_tell_is_answered_by_an_empty_object);
        tcase_add_loop_test(tcase, a_parameter_that_is_wrong_is_named, 0, (int)array_size(bad_parameters));
        tcase_add_test(tcase, a_oneway_call_is_done_and_never_answered);
        tcase_add_test(tcase, a_oneway_call_that_waits_keeps_the_next_waiting);
        tcase_add_test(tcase, an_upgrade_is_refused_and_the_connection_stays_what_it_is);
        tcase_add_test(tcase, more_of_a_method_that_has_one_answer_is_that_answer);
        tcase_add_test(tcase, a_list_needs_more);
        tcase_add_test(tcase, a_list_is_of_those_that_fit_the_pattern);
        tcase_add_loop_test(tcase, what_is_not_varlink_ends_the_connection_after_what_came_before_was_answered, 0,
                            (int)array_size(not_varlink));
        tcase_add_loop_test(tcase, what_is_spelt_otherwise_is_varlink_too, 0, (int)array_size(still_varlink));
        tcase_add_test(tcase, names_are_told_as_they_were_given);
        tcase_add_test(tcase, who_shuts_down_its_side_is_answered_to_the_end);
        tcase_add_test(tcase, who_shuts_down_its_side_in_the_midst_of_a_message_is_answered_what_was_whole);
        tcase_add_test(tcase, a_half_closed_list_comes_to_its_end);
        return check_run(suite);
}
