/* Named memory: what is asked of the broker for it, and what is made of answers that a real one gives seldom or never. */

#include "tests/unit/fake-session.h"

enum { MAKE = REGION_NAMED_CREATE | REGION_NAMED_EXCLUSIVE };

/* "m" as the broker opens it: its part, the access, and the index of its control page. */
#define MEMORY_IN(id) REGION_IN(id, "memory", "1", "8192", "memfd", "")
#define MEMORY MEMORY_IN("r-1")
#define NAMED(role, access, control)                                                                              \
        "{'parameters':{'environment':" ENVIRONMENT("m", "memfd", ",'schema':'named-memory-1'",                   \
                                                    MEMORY) ",'role':'" role "','controlFileDescriptor':" control \
                                                            ",'grants':[" GRANT(MEMORY, access,                   \
                                                                                "0") "],'differences':[]}}"
#define FOR_READING(id) "{'parameters':{'grant':" GRANT(MEMORY_IN(id), "read", "0") "}}"
#define DETACH "{'method':'org.regionbroker.Detach','parameters':{'environment':'m','id':'e-1'}}"
#define REFUSED(error) "{'error':'org.regionbroker." error "','parameters':{'environment':'m'}}"
#define DENIED "{'error':'org.varlink.service.PermissionDenied','parameters':{}}"

static struct region_broker *broker;

static int memory_for_reading(void)
{
        owned(closep) int fd = fake_memory(STOCK_SIZE);

        return reopen(fd, O_RDONLY);
}

/* The grants for writing and for reading, if all goes well. */
static void prepare_open(const char *role_text)
{
        fake_answers_fd(role_text, fake_memory(STOCK_SIZE));
        fake_answers_fd(FOR_READING("r-1"), memory_for_reading());
}

static void prepare_retired(void)
{
        const int fds[] = { fake_memory(STOCK_SIZE), fake_control(STATE_RETIRED) };

        fake_answers_fds(NAMED("member", "write", "1"), fds, array_size(fds));
        fake_answers("{}"); /* to the leaving */
}

static void refuse_open(unsigned flags, enum region_result code, const char *part)
{
        struct region_named *named = NULL;

        check_error(region_named_open(broker, "m", STOCK_SIZE, flags, 0, &named), code, part);
        ck_assert_ptr_null(named);
}

START_TEST(who_makes_it_defines_it_and_says_ready_at_once)
{
        struct region_named *named;

        prepare_open(NAMED("initializer", "write", "CONTROL"));
        fake_answers("{'parameters':{'generation':1}}");
        broker = start();
        check(region_named_open(broker, "m", 8000, MAKE | REGION_NAMED_TEMPORARY, 0640, &named));
        region_named_close(named);
        finish(broker);
        ck_assert_str_eq(fake_asked(0),
                         "{'method':'org.regionbroker.Open','parameters':{'environment':'m','create':'always',"
                         "'access':'write','definition':{'backing':'memfd','mode':416,'lifetime':'attached',"
                         "'schema':'named-memory-1','regions':[{'name':'memory','size':8000}]},'session':1}}");
        ck_assert_str_eq(fake_asked(1), "{'method':'org.regionbroker.Attach','parameters':{'environment':'m',"
                                        "'region':'memory','access':'read'}}");
        ck_assert_str_eq(fake_asked(2), "{'method':'org.regionbroker.Ready','parameters':{'environment':'m'}}");
        ck_assert_str_eq(fake_asked(3), DETACH);
        ck_assert_ptr_null(fake_asked(4));
}
END_TEST

START_TEST(who_opens_it_says_no_more_than_what_it_is)
{
        struct region_named *named;

        prepare_open(NAMED("member", "write", "CONTROL"));
        broker = start();
        check(region_named_open(broker, "m", 0, 0, 0666, &named));
        finish(broker);
        ck_assert_str_eq(fake_asked(0),
                         "{'method':'org.regionbroker.Open','parameters':{'environment':'m',"
                         "'access':'write','definition':{'schema':'named-memory-1','regions':[]},'session':1}}");
        ck_assert_str_eq(fake_asked(2), DETACH); /* with the session */
        ck_assert_ptr_null(fake_asked(3));
}
END_TEST

START_TEST(attaching_and_detaching_ask_nobody)
{
        struct region_named *named;
        void *address;

        prepare_open(NAMED("member", "write", "CONTROL"));
        fake_closes();
        broker = start();
        check(region_named_open(broker, "m", 0, 0, 0, &named));
        check_error(ping(broker), REGION_E_DISCONNECTED, "went away");
        for (int i = 0; i < 2; i++) {
                check(region_named_attach(named, i ? REGION_NAMED_READ_ONLY : 0, &address));
                check(region_named_detach(named, address));
        }
        finish(broker);
}
END_TEST

START_TEST(deleted_while_it_is_opened_it_is_made_anew)
{
        struct region_named *named;

        prepare_retired();
        prepare_open(NAMED("initializer", "write", "CONTROL"));
        fake_answers("{'parameters':{'generation':1}}");
        broker = start();
        check(region_named_open(broker, "m", STOCK_SIZE, REGION_NAMED_CREATE, 0, &named));
        finish(broker);
        ck_assert_str_eq(fake_asked(1), DETACH);
}
END_TEST

START_TEST(deleted_while_it_is_opened_it_is_not_found_without_create)
{
        prepare_retired();
        broker = start();
        refuse_open(0, REGION_E_NOT_FOUND, "'m' was deleted while it was opened");
        finish(broker);
        ck_assert_ptr_null(fake_asked(2));
}
END_TEST

START_TEST(a_grant_of_another_region_is_not_taken)
{
        fake_answers_fd(NAMED("member", "write", "CONTROL"), fake_memory(STOCK_SIZE));
        fake_answers_fd(FOR_READING("r-2"), memory_for_reading());
        broker = start();
        refuse_open(REGION_NAMED_CREATE, REGION_E_PROTOCOL, "another region");
        finish(broker);
        ck_assert_str_eq(fake_asked(2), DETACH);
}
END_TEST

START_TEST(what_cannot_be_made_ready_is_left)
{
        prepare_open(NAMED("initializer", "write", "CONTROL"));
        fake_answers("{'error':'org.regionbroker.NotYourRole','parameters':{'environment':'m','role':'member'}}");
        broker = start();
        refuse_open(REGION_NAMED_CREATE, REGION_E_ROLE, "is a member of it");
        finish(broker);
        ck_assert_str_eq(fake_asked(3), DETACH);
}
END_TEST

START_TEST(denied_writing_it_is_opened_for_reading)
{
        struct region_named *named;
        void *address;

        fake_answers(DENIED);
        fake_answers_fd(NAMED("member", "read", "CONTROL"), memory_for_reading());
        broker = start();
        check(region_named_open(broker, "m", STOCK_SIZE, _i ? REGION_NAMED_CREATE : 0, 0, &named));
        check_error(region_named_attach(named, 0, &address), REGION_E_DENIED, "mode 0600");
        finish(broker);
        ck_assert_str_eq(fake_asked(1),
                         "{'method':'org.regionbroker.Open','parameters':{'environment':'m',"
                         "'access':'read','definition':{'schema':'named-memory-1','regions':[]},'session':1}}");
        ck_assert_str_eq(fake_asked(2), DETACH);
}
END_TEST

START_TEST(where_making_is_denied_the_tries_end)
{
        fake_answers(DENIED);
        for (int i = 0; i < 4; i++) {
                fake_answers(REFUSED("EnvironmentNotFound"));
                fake_answers(DENIED);
        }
        broker = start();
        refuse_open(REGION_NAMED_CREATE, REGION_E_DENIED, "ask its owner");
        finish(broker);
        ck_assert_ptr_null(fake_asked(9));
}
END_TEST

START_TEST(another_layout_is_no_named_memory)
{
        fake_answers("{'error':'org.regionbroker.SchemaMismatch','parameters':{'environment':'m',"
                     "'wanted':'named-memory-1','found':'v1','creatorCommand':'maker'}}");
        broker = start();
        refuse_open(MAKE, REGION_E_INVALID, "'m' is no named memory");
        finish(broker);
}
END_TEST

int main(void)
{
        Suite *suite = suite_create("libregion-named");
        TCase *opening = fake_case(suite, "opening");

        tcase_add_test(opening, who_makes_it_defines_it_and_says_ready_at_once);
        tcase_add_test(opening, who_opens_it_says_no_more_than_what_it_is);
        tcase_add_test(opening, attaching_and_detaching_ask_nobody);
        tcase_add_test(opening, deleted_while_it_is_opened_it_is_made_anew);
        tcase_add_test(opening, deleted_while_it_is_opened_it_is_not_found_without_create);
        tcase_add_test(opening, a_grant_of_another_region_is_not_taken);
        tcase_add_test(opening, what_cannot_be_made_ready_is_left);
        tcase_add_loop_test(opening, denied_writing_it_is_opened_for_reading, 0, 2);
        tcase_add_test(opening, where_making_is_denied_the_tries_end);
        tcase_add_test(opening, another_layout_is_no_named_memory);
        return check_run(suite);
}
