/* A session whose connection is lost, against brokers that say what the test prepared: what is asked again, and what is not. */

#include "tests/unit/fake-session.h"

#define RESUMED_MORE(role, regions)                                      \
        "{'parameters':{'environment':" ENVIRONMENT("shop", "memfd", "", \
                                                    regions) ",'role':'" role "','controlFileDescriptor':CONTROL}}"
#define RESUMED(role) RESUMED_MORE(role, STOCK)
#define RESUME_SHOP                                                                                           \
        "{'method':'org.regionbroker.Resume','parameters':{'environment':'shop','id':'e-1','access':'write'," \
        "'regions':['stock'],'session':1}}"
#define READY_SHOP "{'method':'org.regionbroker.Ready','parameters':{'environment':'shop'}}"
#define NOT_FOUND "{'error':'org.regionbroker.EnvironmentNotFound','parameters':{'environment':'shop'}}"

static struct region_broker *broker;
static struct region_env *env;

static void answer_open(const char *role)
{
        fake_expects(2);
        fake_answers_fd(strcmp(role, "member") == 0 ? SHOP("member") : SHOP("initializer"), fake_memory(STOCK_SIZE));
}

static void open_it(void)
{
        broker = start();
        env = open_shop(broker, NULL);
}

START_TEST(before_the_next_call_is_made_the_session_is_taken_up_again)
{
        answer_open("initializer");
        fake_hangs_up();
        fake_answers(RESUMED("initializer"));
        fake_answers("{'parameters':{'generation':1}}");
        open_it();
        check(region_env_ready(env));
        finish(broker);
        ck_assert_str_eq(fake_asked(1), RESUME_SHOP);
        ck_assert_str_eq(fake_asked(2), READY_SHOP);
        ck_assert_str_eq(fake_asked(3), DETACH_SHOP);
        ck_assert_ptr_null(fake_asked(4));
}
END_TEST

START_TEST(of_several_handles_of_an_environment_one_speaks_for_all)
{
        struct region_env *second;

        answer_open("member");
        fake_answers_fd(SHOP("member"), fake_memory(STOCK_SIZE));
        fake_hangs_up();
        fake_answers(RESUMED("member"));
        open_it();
        second = open_shop(broker, NULL);
        check(ping(broker));
        region_env_close(second);
        finish(broker);
        ck_assert_str_eq(fake_asked(2),
                         "{'method':'org.regionbroker.Resume','parameters':{'environment':'shop','id':'e-1',"
                         "'access':'write','regions':['stock','stock'],'session':1}}");
        ck_assert_str_eq(fake_asked(3), "{'method':'" PING "'}");
}
END_TEST

START_TEST(whose_answer_was_lost_is_asked_again)
{
        struct region *till;

        answer_open("member");
        fake_closes();
        fake_answers(RESUMED("member"));
        fake_answers_fd("{'parameters':{'grant':" GRANT(REGION("till", "2", "8192", "memfd", ""), "write", "0") "}}",
                        fake_memory(8192));
        open_it();
        check(region_env_add(env, &(struct region_spec){ .name = "till", .size = 1 }, &till));
        finish(broker);
        ck_assert_str_eq(fake_asked(1), fake_asked(3));
        ck_assert_str_eq(fake_asked(2), RESUME_SHOP);
}
END_TEST

START_TEST(a_ready_that_was_heard_is_done)
{
        answer_open("initializer");
        fake_closes();
        fake_answers(RESUMED("member"));
        fake_answers("{'error':'org.regionbroker.NotYourRole','parameters':{'environment':'shop','role':'member'}}");
        open_it();
        check(region_env_ready(env));
        finish(broker);
        ck_assert_str_eq(fake_asked(1), READY_SHOP);
        ck_assert_str_eq(fake_asked(3), READY_SHOP);
}
END_TEST

START_TEST(a_ready_that_was_not_heard_is_refused_as_ever)
{
        answer_open("member");
        fake_hangs_up();
        fake_answers(RESUMED("member"));
        fake_answers("{'error':'org.regionbroker.NotYourRole','parameters':{'environment':'shop','role':'member'}}");
        open_it();
        check_error(region_env_ready(env), REGION_E_ROLE, "only the initializer");
        finish(broker);
}
END_TEST

START_TEST(what_could_be_done_twice_is_not_asked_again)
{
        answer_open("member");
        fake_closes();
        fake_answers(RESUMED("member"));
        open_it();
        switch (_i) {
        case 0:
                check_error(region_env_delete(env, "stock", true), REGION_E_DISCONNECTED, "is not known");
                break;
        case 1:
                check_error(region_env_remove(broker, "other", true, 0, NULL), REGION_E_DISCONNECTED, "is not known");
                break;
        default:
                check_error(ping(broker), REGION_E_DISCONNECTED, "is not known");
        }
        check(ping(broker)); /* the session goes on all the same */
        finish(broker);
        ck_assert_str_eq(fake_asked(2), RESUME_SHOP);
        ck_assert_str_eq(fake_asked(3), "{'method':'" PING "'}");
}
END_TEST

START_TEST(what_was_certainly_not_heard_is_asked_again_whatever_it_is)
{
        answer_open("member");
        fake_hangs_up();
        fake_answers(RESUMED("member"));
        fake_answers("{}");
        open_it();
        check(region_env_delete(env, "stock", true));
        finish(broker);
        ck_assert_str_eq(fake_asked(2), "{'method':'org.regionbroker.DeleteRegion','parameters':{'environment':'shop',"
                                        "'region':'stock','force':true}}");
}
END_TEST

START_TEST(a_remove_that_waits_means_the_one_that_was_there)
{
        uint64_t bytes;

        fake_expects(2);
        fake_answers("{'parameters':{'environment':" ENVIRONMENT("shop", "memfd", "", STOCK) ",'attachments':[]}}");
        fake_closes();
        fake_answers(NOT_FOUND);
        broker = start();
        check(region_env_remove(broker, "shop", false, INT64_C(3600000000), &bytes));
        ck_assert_uint_eq(bytes, 4096);
        finish(broker);
        ck_assert_str_eq(fake_asked(1), "{'method':'org.regionbroker.Remove','parameters':{'environment':'shop',"
                                        "'waitUSec':3600000000,'id':'e-1'}}");
        ck_assert_ptr_nonnull(strstr(fake_asked(2), "'id':'e-1'"));
}
END_TEST

static long long wait_in(const char *call)
{
        const char *found = strstr(call, "'waitUSec':");

        ck_assert_ptr_nonnull(found);
        return atoll(found + strlen("'waitUSec':"));
}

START_TEST(who_waits_goes_on_with_what_is_left)
{
        const struct region_env_options options = { .wait_usec = INT64_C(3600000000) };

        fake_expects(2);
        fake_closes();
        fake_answers_fd(SHOP("member"), fake_memory(STOCK_SIZE));
        broker = start();
        open_shop(broker, &options);
        finish(broker);
        ck_assert_int_eq(wait_in(fake_asked(0)), 3600000000);
        ck_assert_int_lt(wait_in(fake_asked(1)), 3600000000);
        ck_assert_int_gt(wait_in(fake_asked(1)), 0);
}
END_TEST

START_TEST(memory_that_the_broker_lost_is_offered)
{
        answer_open("member");
        fake_hangs_up();
        fake_answers(RESUMED_MORE("member", REGION("stock", "1", "8192", "memfd", ",'missing':true")));
        open_it();
        check(ping(broker));
        finish(broker);
        ck_assert_str_eq(fake_asked(2),
                         "{'method':'org.regionbroker.Offer','parameters':{'environment':'shop','id':'e-1',"
                         "'region':'stock','regionFileDescriptor':0}}");
        ck_assert_str_eq(fake_asked(3), "{'method':'" PING "'}");
}
END_TEST

START_TEST(an_environment_that_the_broker_does_not_know_is_gone_and_its_memory_stays)
{
        char *bytes;

        answer_open("member");
        fake_hangs_up();
        fake_answers(NOT_FOUND);
        open_it();
        bytes = map(region_env_at(env, 0), NULL);
        check_error(region_env_ready(env), REGION_E_NOT_FOUND, "does not know it");
        check_error(region_env_ready(env), REGION_E_NOT_FOUND, "does not know it");
        bytes[0] = 'x';
        check(ping(broker));
        finish(broker);
        ck_assert_str_eq(fake_asked(2), "{'method':'" PING "'}"); /* of it nothing is asked, nor is it left */
        ck_assert_ptr_null(fake_asked(3));
}
END_TEST

START_TEST(a_refusal_that_may_pass_is_told_and_tried_again)
{
        answer_open("member");
        fake_expects(3);
        fake_hangs_up();
        fake_says_and_closes("{'error':'org.regionbroker.QuotaExceeded','parameters':"
                             "{'limit':'sessions','used':3,'wanted':1,'maximum':3}}");
        fake_answers(RESUMED("member"));
        open_it();
        check_error(ping(broker), REGION_E_QUOTA, "the broker's limit sessions is 3");
        check(ping(broker));
        finish(broker);
}
END_TEST

START_TEST(the_page_is_the_one_that_the_broker_writes_now)
{
        answer_open("member");
        fake_hangs_up();
        fake_answers_fd("{'parameters':{'environment':" ENVIRONMENT(
                                "shop", "memfd", "", STOCK) ",'role':'member','controlFileDescriptor':0}}",
                        fake_control(STATE_DIRTY));
        open_it();
        ck_assert_int_eq(region_env_state(env), REGION_STATE_READY);
        check(ping(broker));
        ck_assert_int_eq(region_env_state(env), REGION_STATE_DIRTY);
        finish(broker);
}
END_TEST

START_TEST(a_leave_whose_answer_was_lost_is_told_again)
{
        answer_open("member");
        fake_closes();
        fake_answers(RESUMED("member"));
        open_it();
        region_env_close(env);
        finish(broker);
        ck_assert_str_eq(fake_asked(1), DETACH_SHOP);
        ck_assert_str_eq(fake_asked(2), RESUME_SHOP);
        ck_assert_str_eq(fake_asked(3), DETACH_SHOP);
        ck_assert_ptr_null(fake_asked(4));
}
END_TEST

int main(void)
{
        Suite *suite = suite_create("libregion-reconnect");
        TCase *tcase = fake_case(suite, "reconnect");

        tcase_add_test(tcase, before_the_next_call_is_made_the_session_is_taken_up_again);
        tcase_add_test(tcase, of_several_handles_of_an_environment_one_speaks_for_all);
        tcase_add_test(tcase, whose_answer_was_lost_is_asked_again);
        tcase_add_test(tcase, a_ready_that_was_heard_is_done);
        tcase_add_test(tcase, a_ready_that_was_not_heard_is_refused_as_ever);
        tcase_add_loop_test(tcase, what_could_be_done_twice_is_not_asked_again, 0, 3);
        tcase_add_test(tcase, what_was_certainly_not_heard_is_asked_again_whatever_it_is);
        tcase_add_test(tcase, a_remove_that_waits_means_the_one_that_was_there);
        tcase_add_test(tcase, who_waits_goes_on_with_what_is_left);
        tcase_add_test(tcase, memory_that_the_broker_lost_is_offered);
        tcase_add_test(tcase, an_environment_that_the_broker_does_not_know_is_gone_and_its_memory_stays);
        tcase_add_test(tcase, a_refusal_that_may_pass_is_told_and_tried_again);
        tcase_add_test(tcase, the_page_is_the_one_that_the_broker_writes_now);
        tcase_add_test(tcase, a_leave_whose_answer_was_lost_is_told_again);
        return check_run(suite);
}
