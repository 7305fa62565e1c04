/* What an environment may be called and be: every field of a definition beyond its bounds is refused by its name, and
 * nothing is left of the attempt. */

#include "tests/support/broker.h"
#include "tests/support/check.h"

#include "proto/util.h"

#include <stdio.h>
#include <sys/stat.h>

/* Nothing was made by what has been refused. */
static void check_nothing_is_left(int peer)
{
        static const char *const figures[] = { "environments", "regions", "attachments", "bytes" };

        for (size_t i = 0; i < array_size(figures); i++)
                ck_assert_int_eq(broker_statistic(peer, figures[i]), 0);
}

/* --- names ------------------------------------------------------------------------------------------------------- */

static char *repeat(const char *some, int times)
{
        size_t n = strlen(some);
        char *all = malloc(n * (size_t)times + 1);

        for (int i = 0; i < times; i++)
                memcpy(all + n * (size_t)i, some, n);
        all[n * (size_t)times] = '\0';
        return all;
}

struct name_row {
        const char *name; /* as in JSON */
        int times;
        const char *reason; /* part of it; NULL: it is allowed */
};

static const struct name_row names[] = {
        { "a", 1, NULL },
        { "a b.c-d_e", 1, NULL },
        { "a", 255, NULL },
        { "\xc3\xa4", 127, NULL },
        { ".", 1, NULL },
        { "..", 1, NULL },
        { "*?[", 1, NULL },
        { "\\\\", 255, NULL },
        { "", 1, "empty" },
        { "a", 256, "longer" },
        { "\xc3\xa4", 128, "longer" },
        { "a/b", 1, "slash" },
        { "a/", 1, "slash" },
        { "a\\u0001", 1, "control" },
        { "a\\n", 1, "control" },
        { "\\u007f", 1, "control" },
        { "a", 100000, "longer" },
};

START_TEST(an_environment_is_named_as_allowed)
{
        owned(varlink_clear) struct varlink_reply reply = {};
        const struct name_row *row = &names[_i];
        owned(freep) char *name = repeat(row->name, row->times);
        int peer = broker_connect();

        varlink_ask(peer, &reply, "Open", "{'environment':'%s','create':'always','definition':{'regions':[]}}", name);
        ck_assert_reply(&reply, row->reason ? "NameNotAllowed" : NULL);
        if (row->reason) {
                ck_assert_ptr_nonnull(varlink_value(&reply, "name"));
                ck_assert_ptr_nonnull(strstr(varlink_value(&reply, "reason"), row->reason));
                check_nothing_is_left(peer);
        }
        close(peer);
}
END_TEST

START_TEST(a_region_is_named_as_allowed)
{
        owned(varlink_clear) struct varlink_reply reply = {};
        const struct name_row *row = &names[_i];
        owned(freep) char *name = repeat(row->name, row->times);
        int peer = broker_connect();

        varlink_ask(peer, &reply, "Open",
                    "{'environment':'e','create':'always','definition':{'regions':[{'name':'%s','size':1}]}}", name);
        ck_assert_reply(&reply, row->reason ? "NameNotAllowed" : NULL);
        if (row->reason)
                check_nothing_is_left(peer);
        varlink_ask(peer, &reply, "Open", "{'environment':'f','create':'always','definition':{'regions':[]}}");
        ck_assert_reply(&reply, NULL);
        varlink_ask(peer, &reply, "AddRegion", "{'environment':'f','region':{'name':'%s','size':1}}", name);
        ck_assert_reply(&reply, row->reason ? "NameNotAllowed" : NULL);
        close(peer);
}
END_TEST

START_TEST(a_path_for_a_name_has_its_bounds_too)
{
        owned(varlink_clear) struct varlink_reply reply = {};
        owned(freep) char *long_path = repeat("/a", 2001);
        int peer = broker_connect();

        varlink_ask(peer, &reply, "Open", "{'environment':'%s'}", long_path);
        ck_assert_reply(&reply, SERVICE "InvalidParameter");
        ck_assert_value(&reply, "parameter", "environment");
        varlink_ask(peer, &reply, "Open", "{'environment':'%s'}", long_path + 2);
        ck_assert_reply(&reply, "EnvironmentNotFound");
        varlink_ask(peer, &reply, "Open",
                    "{'environment':'/tmp','create':'always','definition':{'home':'/','regions':[]}}");
        ck_assert_reply(&reply, SERVICE "InvalidParameter");
        ck_assert_value(&reply, "parameter", "environment");
        check_nothing_is_left(peer);
        close(peer);
}
END_TEST

/* --- definitions ------------------------------------------------------------------------------------------------- */

#define EMPTY "'regions':[]"
#define TEXT_255                                                        \
        "0123456789012345678901234567890123456789012345678901234567890" \
        "0123456789012345678901234567890123456789012345678901234567890" \
        "0123456789012345678901234567890123456789012345678901234567890" \
        "0123456789012345678901234567890123456789012345678901234567890" \
        "01234567890"
#define TEXT_63 "012345678901234567890123456789012345678901234567890123456789012"

static const char *const bad_definitions[] = {
        "null",
        "17",
        "[]",
        "{}", /* regions has to be there, be it empty */
        "{'regions':null}",
        "{'regions':{}}",
        "{'regions':[],'unknown':1}",
        "{'regions':[null]}",
        "{'regions':[1]}",

        "{'backing':'heap'," EMPTY "}",
        "{'backing':''," EMPTY "}",
        "{'backing':1," EMPTY "}",
        "{'home':'relative'," EMPTY "}",
        "{'home':''," EMPTY "}",
        "{'home':7," EMPTY "}",
        "{'regionDirectory':'relative'," EMPTY "}",
        "{'regionDirectory':''," EMPTY "}",
        "{'shmKey':0," EMPTY "}",
        "{'shmKey':-1," EMPTY "}",
        "{'shmKey':2147483648," EMPTY "}",
        "{'shmKey':9223372036854775807," EMPTY "}",
        "{'shmKey':2147483647,'backing':'sysv','regions':[{'name':'a','size':1},{'name':'b','size':1}]}",
        "{'shmKey':'1'," EMPTY "}",
        "{'shmKey':1.5," EMPTY "}",
        "{'mode':-1," EMPTY "}",
        "{'mode':512," EMPTY "}",
        "{'mode':4294967296," EMPTY "}",
        "{'mode':'0600'," EMPTY "}",
        "{'group':'no such group'," EMPTY "}",
        "{'group':''," EMPTY "}",
        "{'group':'-1'," EMPTY "}",
        "{'group':'4294967295'," EMPTY "}",
        "{'group':'18446744073709551617'," EMPTY "}",
        "{'group':0," EMPTY "}",
        "{'lifetime':'forever'," EMPTY "}",
        "{'lingerUSec':-1," EMPTY "}",
        "{'recovery':1," EMPTY "}",
        "{'schema':'" TEXT_255 "+'," EMPTY "}",
        "{'schema':1," EMPTY "}",
        "{'reserve':'yes'," EMPTY "}",
        "{'lock':0," EMPTY "}",
        "{'hugePages':[]," EMPTY "}",
        "{'hugetlb':1," EMPTY "}",
        "{'backing':'private','lifetime':'persistent'," EMPTY "}",

        "{'regions':[{'size':1}]}",
        "{'regions':[{'name':'a'}]}",
        "{'regions':[{'name':'a','size':null}]}",
        "{'regions':[{'name':'a','size':0}]}",
        "{'regions':[{'name':'a','size':-1}]}",
        "{'regions':[{'name':'a','size':-9223372036854775808}]}",
        "{'regions':[{'name':'a','size':4096.0}]}",
        "{'regions':[{'name':'a','size':'4096'}]}",
        "{'regions':[{'name':'a','size':1,'backing':'heap'}]}",
        "{'regions':[{'name':'a','size':1,'backing':'private'}]}",
        "{'backing':'private','regions':[{'name':'a','size':1,'backing':'memfd'}]}",
        "{'regions':[{'name':'a','size':1,'type':'" TEXT_63 "+'}]}",
        "{'regions':[{'name':'a','size':1,'type':1}]}",
        "{'regions':[{'name':'a','size':1,'unknown':1}]}",
        "{'regions':[{'name':'a','size':1},{'name':'a','size':1}]}",
};

START_TEST(a_bad_definition_is_refused_by_name)
{
        owned(varlink_clear) struct varlink_reply reply = {};
        int peer = broker_connect();

        varlink_ask(peer, &reply, "Open", "{'environment':'e','create':'always','definition':%s}", bad_definitions[_i]);
        ck_assert_reply(&reply, SERVICE "InvalidParameter");
        ck_assert_value(&reply, "parameter", "definition");
        check_nothing_is_left(peer);
        close(peer);
}
END_TEST

/* Just within the bounds. */
static const char *const good_definitions[] = {
        "{" EMPTY "}",
        "{'backing':null,'home':null,'regionDirectory':null,'shmKey':null,'mode':null,'group':null,'lifetime':null,"
        "'lingerUSec':null,'recovery':null,'schema':null,'reserve':null,'lock':null,'hugePages':null,"
        "'hugetlb':null," EMPTY "}",
        "{'shmKey':2147483646," EMPTY "}",
        "{'mode':0," EMPTY "}",
        "{'mode':511," EMPTY "}",
        "{'lingerUSec':0," EMPTY "}",
        "{'lingerUSec':86400000000," EMPTY "}",
        "{'recovery':false," EMPTY "}",
        "{'schema':'" TEXT_255 "'," EMPTY "}",
        "{'schema':''," EMPTY "}",
        "{'regions':[{'name':'a','size':1,'type':'" TEXT_63 "'}]}",
        "{'regions':[{'name':'a','size':1,'type':''}]}",
        "{'regions':[{'name':'a','size':1099511627776}]}", /* regionBytes */
        "{'regions':[{'name':'a','size':1},{'name':'A','size':1}]}",
        "{'backing':'private','lifetime':'creator','regions':[{'name':'a','size':1,'backing':'private'}]}",
};

START_TEST(a_definition_at_its_bounds_is_taken)
{
        owned(varlink_clear) struct varlink_reply reply = {};
        int peer = broker_connect();

        varlink_ask(peer, &reply, "Open", "{'environment':'e','create':'always','definition':%s}",
                    good_definitions[_i]);
        ck_assert_reply(&reply, NULL);
        ck_assert_value(&reply, "role", "initializer");
        close(peer);
}
END_TEST

START_TEST(a_group_may_be_given_by_its_number)
{
        owned(varlink_clear) struct varlink_reply reply = {};
        int peer = broker_connect();

        varlink_ask(peer, &reply, "Open", "{'environment':'e','create':'always','definition':{'group':'%u'," EMPTY "}}",
                    getegid());
        ck_assert_reply(&reply, NULL);
        ck_assert_int_eq(varlink_number(&reply, "environment.gid"), getegid());
        close(peer);
}
END_TEST

START_TEST(what_is_not_said_is_as_the_contract_says)
{
        owned(varlink_clear) struct varlink_reply reply = {};
        int peer = broker_connect();

        varlink_ask(peer, &reply, "Open",
                    "{'environment':'e','create':'always','definition':{'regions':[{'name':'a','size':1}]}}");
        ck_assert_reply(&reply, NULL);
        ck_assert_value(&reply, "environment.backing", "memfd");
        ck_assert_value(&reply, "environment.lifetime", "attached");
        ck_assert_value(&reply, "environment.mode", "384");
        ck_assert_value(&reply, "environment.recovery", "false");
        ck_assert_value(&reply, "environment.reserve", "true");
        ck_assert_value(&reply, "environment.state", "initializing");
        ck_assert_value(&reply, "environment.generation", "0");
        ck_assert_int_eq(varlink_number(&reply, "environment.creatorPid"), getpid());
        ck_assert_value(&reply, "environment.creatorCommand", "test-definition");
        ck_assert_value(&reply, "environment.regions.0.size", "4096");
        ck_assert_value(&reply, "environment.regions.0.number", "1");
        ck_assert_value(&reply, "environment.bytes", "4096");
        ck_assert_value(&reply, "grants.0.access", "write");
        ck_assert_ptr_null(varlink_value(&reply, "environment.home"));
        ck_assert_ptr_null(varlink_value(&reply, "environment.schema"));
        close(peer);
}
END_TEST

/* --- what fails when half of it is made -------------------------------------------------------------------------- */

START_TEST(what_cannot_be_made_whole_is_not_made_in_part)
{
        owned(varlink_clear) struct varlink_reply reply = {};
        owned(freep) char *taken = NULL;
        int peer = broker_connect();
        struct stat st;

        /* the second file of three stands there already, and is not ours */
        ck_assert_int_ge(asprintf(&taken, "%s/__db.002", broker.directory), 0);
        ck_assert_int_eq(mkdir(taken, 0700), 0);
        varlink_ask(peer, &reply, "Open",
                    "{'environment':'e','create':'always','definition':{'home':'%s','regions':["
                    "{'name':'a','size':1,'backing':'file'},{'name':'b','size':1,'backing':'file'},"
                    "{'name':'c','size':1,'backing':'sysv'}]}}",
                    broker.directory);
        ck_assert_reply(&reply, "ResourceFailure");
        ck_assert_value(&reply, "errnoName", "EEXIST");
        check_nothing_is_left(peer);
        ck_assert_int_eq(stat(taken, &st), 0);
        taken[strlen(taken) - 1] = '1';
        ck_assert_int_eq(stat(taken, &st), -1);
        close(peer);
}
END_TEST

int main(void)
{
        Suite *suite = suite_create("definitions");
        TCase *tcase = check_case(suite, "definitions");

        tcase_add_checked_fixture(tcase, broker_setup, broker_teardown);
        tcase_add_loop_test(tcase, an_environment_is_named_as_allowed, 0, (int)array_size(names));
        tcase_add_loop_test(tcase, a_region_is_named_as_allowed, 0, (int)array_size(names));
        tcase_add_test(tcase, a_path_for_a_name_has_its_bounds_too);
        tcase_add_loop_test(tcase, a_bad_definition_is_refused_by_name, 0, (int)array_size(bad_definitions));
        tcase_add_loop_test(tcase, a_definition_at_its_bounds_is_taken, 0, (int)array_size(good_definitions));
        tcase_add_test(tcase, a_group_may_be_given_by_its_number);
        tcase_add_test(tcase, what_is_not_said_is_as_the_contract_says);
        tcase_add_test(tcase, what_cannot_be_made_whole_is_not_made_in_part);
        return check_run(suite);
}
