/* Joining what is there: who may, what for, what they are told of it, and how often. */

#include "tests/support/broker.h"
#include "tests/support/check.h"

#include "proto/util.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/mman.h>

enum { SIZE = 4096 };

/* Makes an environment, ready, and stays in it. */
__attribute__((format(printf, 3, 4))) static void make(int peer, const char *name, const char *definition, ...)
{
        owned(varlink_clear) struct varlink_reply reply = {};
        owned(freep) char *text = NULL;
        va_list args;

        va_start(args, definition);
        ck_assert_int_ge(vasprintf(&text, definition, args), 0);
        va_end(args);
        varlink_ask(peer, &reply, "Open", "{'environment':'%s','create':'always','definition':{%s}}", name, text);
        ck_assert_reply(&reply, NULL);
        varlink_ask(peer, &reply, "Ready", "{'environment':'%s'}", name);
        ck_assert_reply(&reply, NULL);
}

#define TWO_REGIONS "'regions':[{'name':'a','size':4096},{'name':'b','size':5000,'type':'index'}]"

/* --- one process, many times ------------------------------------------------------------------------------------- */

START_TEST(a_session_that_joins_twice_is_one_member_with_two_grants)
{
        owned(varlink_clear) struct varlink_reply reply = {};
        int peer = broker_connect();
        char *first, *second;

        make(peer, "e", TWO_REGIONS);
        varlink_ask(peer, &reply, "Open", "{'environment':'e'}");
        ck_assert_reply(&reply, NULL);
        ck_assert_int_eq(varlink_number(&reply, "environment.attachments"), 1);
        first = broker_map(&reply, 1, SIZE, PROT_READ | PROT_WRITE);
        varlink_ask(peer, &reply, "Open", "{'environment':'e'}");
        ck_assert_reply(&reply, NULL);
        ck_assert_int_eq(varlink_number(&reply, "grants"), 2);
        second = broker_map(&reply, 1, SIZE, PROT_READ);
        first[7] = 'x';
        ck_assert_int_eq(second[7], 'x');
        munmap(first, SIZE);
        munmap(second, SIZE);

        varlink_ask(peer, &reply, "Describe", "{'environment':'e'}");
        ck_assert_int_eq(varlink_number(&reply, "attachments"), 2); /* one for each region */
        varlink_clear(&reply);
        varlink_ask(peer, &reply, "Detach", "{'environment':'e'}");
        ck_assert_reply(&reply, NULL);
        varlink_ask(peer, &reply, "Detach", "{'environment':'e'}");
        ck_assert_reply(&reply, "EnvironmentNotFound"); /* it went with its last holder */
        close(peer);
}
END_TEST

START_TEST(two_sessions_of_a_process_are_two_members)
{
        owned(varlink_clear) struct varlink_reply reply = {};
        int one = broker_connect(), other = broker_connect();

        make(one, "e", TWO_REGIONS);
        varlink_ask(other, &reply, "Open", "{'environment':'e'}");
        ck_assert_int_eq(varlink_number(&reply, "environment.attachments"), 2);
        close(one);
        broker_wait_for_statistic(other, "sessions", 1);
        varlink_ask(other, &reply, "Describe", "{'environment':'e'}");
        ck_assert_int_eq(varlink_number(&reply, "environment.attachments"), 1);
        close(other);
}
END_TEST

START_TEST(a_region_that_is_read_can_be_attached_for_writing_too)
{
        owned(varlink_clear) struct varlink_reply reply = {};
        int owner = broker_connect(), peer = broker_connect();

        make(owner, "e", TWO_REGIONS);
        varlink_ask(peer, &reply, "Open", "{'environment':'e','access':'read','regions':['a']}");
        ck_assert_value(&reply, "grants.0.access", "read");
        varlink_ask(peer, &reply, "Attach", "{'environment':'e','region':'a','access':'write'}");
        ck_assert_value(&reply, "grant.access", "write");
        ck_assert_int_eq(fcntl(reply.fds.fds[0], F_GETFL) & O_ACCMODE, O_RDWR);
        varlink_ask(peer, &reply, "Describe", "{'environment':'e'}");
        ck_assert_int_eq(varlink_number(&reply, "attachments"), 3);
        ck_assert(!strstr(reply.text, "\"read\""));
        varlink_ask(peer, &reply, "Attach", "{'environment':'e','region':'c'}");
        ck_assert_reply(&reply, "RegionNotFound");
        ck_assert_value(&reply, "region", "c");
        close(owner);
        close(peer);
}
END_TEST

START_TEST(who_is_not_in_it_can_neither_attach_nor_detach)
{
        owned(varlink_clear) struct varlink_reply reply = {};
        int owner = broker_connect(), peer = broker_connect();

        make(owner, "e", TWO_REGIONS);
        varlink_ask(peer, &reply, "Attach", "{'environment':'e','region':'a'}");
        ck_assert_reply(&reply, "NotAttached");
        varlink_ask(peer, &reply, "Detach", "{'environment':'e'}");
        ck_assert_reply(&reply, "NotAttached");
        varlink_ask(peer, &reply, "AddRegion", "{'environment':'e','region':{'name':'c','size':1}}");
        ck_assert_reply(&reply, "NotAttached");
        varlink_ask(peer, &reply, "Open", "{'environment':'e','regions':[]}");
        varlink_ask(peer, &reply, "Detach", "{'environment':'e','region':'a'}");
        ck_assert_reply(&reply, "NotAttached");
        ck_assert_value(&reply, "region", "a");
        close(owner);
        close(peer);
}
END_TEST

/* --- what is told of it ------------------------------------------------------------------------------------------ */

START_TEST(another_schema_is_refused_and_both_are_named)
{
        owned(varlink_clear) struct varlink_reply reply = {};
        int owner = broker_connect(), peer = broker_connect();

        make(owner, "e", "'schema':'cache 3',%s", TWO_REGIONS);
        varlink_ask(peer, &reply, "Open", "{'environment':'e','definition':{'schema':'cache 4','regions':[]}}");
        ck_assert_reply(&reply, "SchemaMismatch");
        ck_assert_value(&reply, "environment", "e");
        ck_assert_value(&reply, "wanted", "cache 4");
        ck_assert_value(&reply, "found", "cache 3");
        ck_assert_value(&reply, "creatorCommand", "test-joining");
        varlink_ask(peer, &reply, "Open", "{'environment':'e','definition':{'schema':'cache 3','regions':[]}}");
        ck_assert_reply(&reply, NULL);
        varlink_ask(peer, &reply, "Open", "{'environment':'e'}"); /* who does not say trusts what there is */
        ck_assert_reply(&reply, NULL);

        make(owner, "without", TWO_REGIONS);
        varlink_ask(peer, &reply, "Open", "{'environment':'without','definition':{'schema':'cache 4','regions':[]}}");
        ck_assert_reply(&reply, "SchemaMismatch");
        ck_assert_value(&reply, "found", "");
        close(owner);
        close(peer);
}
END_TEST

struct difference_row {
        const char *definition; /* of the joiner */
        const char *field, *wanted, *found;
};

static const struct difference_row differences[] = {
        { "'regions':[]", NULL, NULL, NULL },
        { TWO_REGIONS, NULL, NULL, NULL },
        { "'backing':'memfd','mode':384,'lifetime':'attached','reserve':true,'regions':[]", NULL, NULL, NULL },
        { "'backing':'posix','regions':[]", "backing", "posix", "memfd" },
        { "'mode':432,'regions':[]", "mode", "432", "384" },
        { "'lifetime':'creator','regions':[]", "lifetime", "creator", "attached" },
        { "'lingerUSec':7,'regions':[]", "lingerUSec", "7", "0" },
        { "'recovery':true,'regions':[]", "recovery", "true", "false" },
        { "'reserve':false,'regions':[]", "reserve", "false", "true" },
        { "'lock':true,'regions':[]", "lock", "true", "false" },
        { "'hugePages':true,'regions':[]", "hugePages", "true", "false" },
        { "'hugetlb':true,'regions':[]", "hugetlb", "true", "false" },
        { "'home':'/','regions':[]", "home", "/", "" },
        { "'shmKey':77,'regions':[]", "shmKey", "77", "" },
        { "'regions':[{'name':'c','size':1}]", "regions.c", "present", "absent" },
        { "'regions':[{'name':'a','size':4097}]", "regions.a", "8192", "4096" },
        { "'regions':[{'name':'a','size':1}]", NULL, NULL, NULL },
        { "'regions':[{'name':'a','size':-1}]", "regions.a", "-1", "4096" },
        { "'regions':[{'name':'a','size':9223372036854775807}]", "regions.a", "9223372036854775807", "4096" },
        { "'regions':[{'name':'b','size':5000,'type':'log'}]", "regions.b", "log", "index" },
        { "'regions':[{'name':'a','size':4096,'backing':'sysv'}]", "regions.a", "sysv", "memfd" },
};

START_TEST(a_difference_is_told_and_not_hidden)
{
        owned(varlink_clear) struct varlink_reply reply = {};
        const struct difference_row *row = &differences[_i];
        int owner = broker_connect(), peer = broker_connect();

        make(owner, "e", TWO_REGIONS);
        varlink_ask(peer, &reply, "Open", "{'environment':'e','create':'ifAbsent','definition':{%s}}", row->definition);
        ck_assert_reply(&reply, NULL);
        ck_assert_msg(varlink_number(&reply, "differences") == (row->field ? 1 : 0), "%s", reply.text);
        if (row->field) {
                ck_assert_value(&reply, "differences.0.field", row->field);
                ck_assert_value(&reply, "differences.0.wanted", row->wanted);
                ck_assert_value(&reply, "differences.0.found", row->found);
        }
        close(owner);
        close(peer);
}
END_TEST

START_TEST(all_differences_are_told_at_once)
{
        owned(varlink_clear) struct varlink_reply reply = {};
        int peer = broker_connect();

        make(peer, "e", TWO_REGIONS);
        varlink_ask(peer, &reply, "Open",
                    "{'environment':'e','definition':{'backing':'sysv','home':'/','mode':0,'lifetime':'persistent',"
                    "'lingerUSec':1,'recovery':true,'reserve':false,'lock':true,'hugePages':true,'hugetlb':true,"
                    "'regions':[{'name':'a','type':'x','size':1,'backing':'file'},"
                    "{'name':'b','type':'y','size':1,'backing':'posix'},{'name':'c','size':1}]}}");
        ck_assert_reply(&reply, NULL);
        ck_assert_int_eq(varlink_number(&reply, "differences"), 10 + 2 + 3 + 1);
        close(peer);
}
END_TEST

/* --- which regions ----------------------------------------------------------------------------------------------- */

struct filter_row {
        const char *regions;
        int grants; /* -1: refused */
        const char *error, *member, *value;
};

static const struct filter_row filters[] = {
        { "null", 2, NULL, NULL, NULL },
        { "[]", 0, NULL, NULL, NULL },
        { "['b']", 1, NULL, NULL, NULL },
        { "['b','a']", 2, NULL, NULL, NULL },
        { "['c']", -1, "RegionNotFound", "region", "c" },
        { "['a','a']", -1, SERVICE "InvalidParameter", "parameter", "regions" },
        { "['a','b','a']", -1, SERVICE "InvalidParameter", "parameter", "regions" },
        { "['']", -1, "RegionNotFound", "region", "" },
};

/* For the one that creates it (0) and for one that joins (1). */
START_TEST(those_regions_are_granted_that_were_asked_for_in_that_order)
{
        owned(varlink_clear) struct varlink_reply reply = {};
        const struct filter_row *row = &filters[_i / 2];
        int owner = broker_connect(), peer = broker_connect();

        if (_i % 2 == 1)
                make(owner, "e", TWO_REGIONS);
        varlink_ask(peer, &reply, "Open", "{'environment':'e','create':'ifAbsent','regions':%s,'definition':{%s}}",
                    row->regions, TWO_REGIONS);
        ck_assert_reply(&reply, row->error);
        if (row->error) {
                ck_assert_value(&reply, row->member, row->value);
                ck_assert(!varlink_value(&reply, "environment") || varlink_has(&reply, "environment", "e"));
                /* and nothing came of it */
                ck_assert_int_eq(broker_statistic(peer, "environments"), _i % 2);
                ck_assert_int_eq(broker_statistic(peer, "attachments"), 2 * (_i % 2));
        } else {
                ck_assert_int_eq(varlink_number(&reply, "grants"), row->grants);
                ck_assert_uint_eq(reply.fds.n, (size_t)row->grants + 1);
                if (row->regions[0] == '[' && row->grants > 0)
                        ck_assert_value(&reply, "grants.0.region.name", "b");
        }
        close(owner);
        close(peer);
}
END_TEST

/* --- reading only ------------------------------------------------------------------------------------------------ */

START_TEST(a_reader_sees_what_is_written_and_cannot_write)
{
        owned(varlink_clear) struct varlink_reply reply = {};
        int owner = broker_connect(), peer = broker_connect();
        char *written;
        const char *read;

        make(owner, "e", TWO_REGIONS);
        varlink_ask(owner, &reply, "Attach", "{'environment':'e','region':'a'}");
        written = broker_map(&reply, 0, SIZE, PROT_READ | PROT_WRITE);
        varlink_ask(peer, &reply, "Open", "{'environment':'e','access':'read'}");
        ck_assert_reply(&reply, NULL);
        for (size_t i = 0; i < 2; i++)
                ck_assert_str_eq(varlink_value(&reply, "grants.%zu.access", i), "read");
        ck_assert_ptr_eq(broker_map(&reply, 1, SIZE, PROT_READ | PROT_WRITE), MAP_FAILED);
        ck_assert_int_eq(errno, EACCES);
        read = broker_map(&reply, 1, SIZE, PROT_READ);
        ck_assert_ptr_ne(read, MAP_FAILED);
        ck_assert_int_eq(mprotect((void *)(uintptr_t)read, SIZE, PROT_READ | PROT_WRITE), -1);
        strcpy(written, "hello");
        ck_assert_str_eq(read, "hello");
        munmap(written, SIZE);
        munmap((void *)(uintptr_t)read, SIZE);
        close(owner);
        close(peer);
}
END_TEST

/* --- two users --------------------------------------------------------------------------------------------------- */

enum { OWNER = 65534, FRIEND = 2, OTHER = 1 };

struct permission_row {
        unsigned mode;
        const char *owner, *friend, *other; /* what they may, of "rw" */
};

static const struct permission_row permissions[] = {
        { 0600, "rw", "", "" },     { 0640, "rw", "r", "" }, { 0660, "rw", "rw", "" }, { 0664, "rw", "rw", "r" },
        { 0666, "rw", "rw", "rw" }, { 0604, "rw", "", "r" }, { 0400, "r", "", "" },    { 0066, "", "rw", "rw" },
        { 0000, "", "", "" },       { 0620, "rw", "", "" },  { 0606, "rw", "", "rw" }, { 0777, "rw", "rw", "rw" },
};

static void check_allowed(int peer, unsigned mode, const char *who, const char *allowed)
{
        static const struct {
                char letter;
                const char *word;
        } accesses[] = { { 'r', "read" }, { 'w', "write" } };
        bool sees = strchr(allowed, 'r') || strcmp(who, "the owner") == 0;
        const char *refusal = sees ? SERVICE "PermissionDenied" : "EnvironmentNotFound";
        owned(varlink_clear) struct varlink_reply reply = {};

        for (size_t i = 0; i < array_size(accesses); i++) {
                varlink_ask(peer, &reply, "Open", "{'environment':'e','access':'%s','waitUSec':0}", accesses[i].word);
                ck_assert_msg(varlink_is(&reply, strchr(allowed, accesses[i].letter) ? NULL : refusal),
                              "%s with mode %o for %s: %s", who, mode, accesses[i].word, reply.text);
                if (!reply.error)
                        varlink_ask(peer, &reply, "Detach", "{'environment':'e'}");
        }
}

START_TEST(owner_group_and_mode_decide_as_for_a_file)
{
        const struct permission_row *row = &permissions[_i];
        owned(varlink_clear) struct varlink_reply reply = {};
        struct child children[3];
        int owner, friend, other, root = broker_connect();

        owner = broker_connect_as(&children[0], OWNER, OWNER);
        friend = broker_connect_as(&children[1], FRIEND, OWNER);
        other = broker_connect_as(&children[2], OTHER, OTHER);
        make(owner, "e", "'mode':%u,'lifetime':'persistent','regions':[]", row->mode);
        varlink_ask(owner, &reply, "Detach", "{'environment':'e'}");

        check_allowed(owner, row->mode, "the owner", row->owner);
        check_allowed(friend, row->mode, "one of the group", row->friend);
        check_allowed(other, row->mode, "another", row->other);
        check_allowed(root, row->mode, "root", "rw");

        for (size_t i = 0; i < array_size(children); i++)
                child_kill(&children[i]);
        close(owner);
        close(friend);
        close(other);
        close(root);
}
END_TEST

START_TEST(who_may_not_read_does_not_see_it)
{
        owned(varlink_clear) struct varlink_reply reply = {};
        struct child children[2];
        int owner, other;

        owner = broker_connect_from(&children[0], OWNER);
        other = broker_connect_from(&children[1], OTHER);
        make(owner, "secret", "'mode':384,'regions':[{'name':'a','size':1}]");
        make(owner, "public", "'mode':420,'regions':[{'name':'a','size':1}]");
        varlink_call(other, "List", NULL);
        varlink_say(other, "{'method':'" BROKER "List','more':true}");
        ck_assert(varlink_receive(other, &reply));
        ck_assert_reply(&reply, SERVICE "ExpectedMore");
        ck_assert(varlink_receive(other, &reply));
        ck_assert_value(&reply, "environment.name", "public");
        ck_assert(!reply.continues);
        varlink_ask(other, &reply, "Describe", "{'environment':'secret'}");
        ck_assert_reply(&reply, "EnvironmentNotFound");
        varlink_ask(other, &reply, "Remove", "{'environment':'secret','force':true}");
        ck_assert_reply(&reply, "EnvironmentNotFound");
        varlink_ask(other, &reply, "DeleteRegion", "{'environment':'secret','region':'a','force':true}");
        ck_assert_reply(&reply, "EnvironmentNotFound");
        varlink_ask(other, &reply, "Detach", "{'environment':'secret'}");
        ck_assert_reply(&reply, "EnvironmentNotFound");

        for (size_t i = 0; i < array_size(children); i++)
                child_kill(&children[i]);
        close(owner);
        close(other);
}
END_TEST

START_TEST(a_reader_of_another_users_environment_changes_nothing_of_it)
{
        owned(varlink_clear) struct varlink_reply reply = {};
        struct child children[2];
        int owner, other;

        owner = broker_connect_from(&children[0], OWNER);
        other = broker_connect_from(&children[1], OTHER);
        make(owner, "e", "'mode':420,'regions':[{'name':'a','size':1}]");
        varlink_ask(other, &reply, "Open", "{'environment':'e','access':'read'}");
        ck_assert_reply(&reply, NULL);
        varlink_ask(other, &reply, "Attach", "{'environment':'e','region':'a','access':'write'}");
        ck_assert_reply(&reply, SERVICE "PermissionDenied");
        varlink_ask(other, &reply, "AddRegion", "{'environment':'e','region':{'name':'b','size':1}}");
        ck_assert_reply(&reply, SERVICE "PermissionDenied");
        varlink_ask(other, &reply, "DeleteRegion", "{'environment':'e','region':'a','force':true}");
        ck_assert_reply(&reply, SERVICE "PermissionDenied");
        varlink_ask(other, &reply, "Remove", "{'environment':'e','force':true}");
        ck_assert_reply(&reply, SERVICE "PermissionDenied");
        varlink_ask(other, &reply, "Describe", "{'environment':'e'}");
        ck_assert_int_eq(varlink_number(&reply, "attachments"), 2);

        for (size_t i = 0; i < array_size(children); i++)
                child_kill(&children[i]);
        close(owner);
        close(other);
}
END_TEST

START_TEST(who_writes_but_does_not_own_it_cannot_remove_it)
{
        owned(varlink_clear) struct varlink_reply reply = {};
        struct child children[2];
        int owner, other;

        owner = broker_connect_from(&children[0], OWNER);
        other = broker_connect_from(&children[1], OTHER);
        make(owner, "e", "'mode':438,'lifetime':'persistent','regions':[]");
        varlink_ask(owner, &reply, "Detach", "{'environment':'e'}");
        varlink_ask(other, &reply, "Remove", "{'environment':'e'}");
        ck_assert_reply(&reply, SERVICE "PermissionDenied");
        varlink_ask(owner, &reply, "Remove", "{'environment':'e'}");
        ck_assert_reply(&reply, NULL);

        for (size_t i = 0; i < array_size(children); i++)
                child_kill(&children[i]);
        close(owner);
        close(other);
}
END_TEST

START_TEST(an_environment_is_given_only_to_a_group_that_its_owner_is_in)
{
        owned(varlink_clear) struct varlink_reply reply = {};
        struct child child;
        int owner = broker_connect_as(&child, FRIEND, OWNER), root = broker_connect();

        make(owner, "number", "'group':'65534','regions':[]");
        make(owner, "name", "'group':'nogroup','regions':[]");
        varlink_ask(owner, &reply, "Describe", "{'environment':'name'}");
        ck_assert_int_eq(varlink_number(&reply, "environment.gid"), 65534);
        ck_assert_int_eq(varlink_number(&reply, "environment.uid"), FRIEND);
        varlink_ask(owner, &reply, "Open",
                    "{'environment':'e','create':'always','definition':{'group':'1','regions':[]}}");
        ck_assert_reply(&reply, SERVICE "PermissionDenied");
        make(root, "roots", "'group':'1','regions':[]");
        child_kill(&child);
        close(owner);
        close(root);
}
END_TEST

int main(void)
{
        Suite *suite = suite_create("joining");
        TCase *tcase = check_case(suite, "joining");
        TCase *users = check_case(suite, "users");

        tcase_add_checked_fixture(tcase, broker_setup, broker_teardown);
        tcase_add_test(tcase, a_session_that_joins_twice_is_one_member_with_two_grants);
        tcase_add_test(tcase, two_sessions_of_a_process_are_two_members);
        tcase_add_test(tcase, a_region_that_is_read_can_be_attached_for_writing_too);
        tcase_add_test(tcase, who_is_not_in_it_can_neither_attach_nor_detach);
        tcase_add_test(tcase, another_schema_is_refused_and_both_are_named);
        tcase_add_loop_test(tcase, a_difference_is_told_and_not_hidden, 0, (int)array_size(differences));
        tcase_add_test(tcase, all_differences_are_told_at_once);
        tcase_add_loop_test(tcase, those_regions_are_granted_that_were_asked_for_in_that_order, 0,
                            2 * (int)array_size(filters));
        tcase_add_test(tcase, a_reader_sees_what_is_written_and_cannot_write);

        if (geteuid() != 0) {
                fputs("test-joining: users are not tried, for that takes root\n", stderr);
                return check_run(suite);
        }
        tcase_add_checked_fixture(users, broker_start_for_all, broker_teardown);
        tcase_add_loop_test(users, owner_group_and_mode_decide_as_for_a_file, 0, (int)array_size(permissions));
        tcase_add_test(users, who_may_not_read_does_not_see_it);
        tcase_add_test(users, a_reader_of_another_users_environment_changes_nothing_of_it);
        tcase_add_test(users, who_writes_but_does_not_own_it_cannot_remove_it);
        tcase_add_test(users, an_environment_is_given_only_to_a_group_that_its_owner_is_in);
        return check_run(suite);
}
