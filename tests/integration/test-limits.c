/* Every bound that a peer can reach is met once, and told by its name; what was refused is possible again as soon as there
 * is room. */

#include "tests/support/broker.h"
#include "tests/support/check.h"

#include "client/libregion.h"
#include "proto/util.h"

#include <stdio.h>
#include <sys/socket.h>
#include <sys/stat.h>

static void start_with(const char *limit, const char *other)
{
        const char *const options[] = { "--limit", limit, other ? "--limit" : NULL, other, NULL };

        broker_start(options);
}

static void check_quota(const struct varlink_reply *reply, const char *limit, int64_t used, int64_t wanted,
                        int64_t maximum)
{
        ck_assert_reply(reply, "QuotaExceeded");
        ck_assert_value(reply, "limit", limit);
        ck_assert_int_eq(varlink_number(reply, "used"), used);
        ck_assert_int_eq(varlink_number(reply, "wanted"), wanted);
        ck_assert_int_eq(varlink_number(reply, "maximum"), maximum);
}

/* --- environments, regions, bytes -------------------------------------------------------------------------------- */

struct quota_row {
        const char *option;
        const char *first;  /* regions of an environment that is within the limit; NULL: there is none */
        const char *second; /* of one that is beyond it */
        const char *added;  /* or a region for the first that is */
        const char *limit;
        int64_t used, wanted, maximum;
        bool for_ever; /* it would not be within the limit without the first either */
};

#define REGION(name, size) "{'name':'" name "','size':" #size "}"

static const struct quota_row quotas[] = {
        { "regionBytes=8192", REGION("a", 8192), REGION("a", 8193), NULL, "regionBytes", 0, 8193, 8192, true },
        { "regionBytes=8192", REGION("a", 8192), NULL, REGION("b", 8193), "regionBytes", 0, 8193, 8192, true },
        { "regionsPerEnvironment=2", REGION("a", 1) "," REGION("b", 1),
          REGION("a", 1) "," REGION("b", 1) "," REGION("c", 1), NULL, "regionsPerEnvironment", 0, 3, 2, true },
        { "regionsPerEnvironment=2", REGION("a", 1) "," REGION("b", 1), NULL, REGION("c", 1), "regionsPerEnvironment",
          2, 1, 2, false },
        { "environmentsPerUser=1", "", "", NULL, "environmentsPerUser", 1, 1, 1, false },
        { "regionsPerUser=2", REGION("a", 1), REGION("a", 1) "," REGION("b", 1), NULL, "regionsPerUser", 1, 2, 2,
          false },
        { "regionsPerUser=1", REGION("a", 1), NULL, REGION("b", 1), "regionsPerUser", 1, 1, 1, false },
        { "bytesPerUser=16384", REGION("a", 8192), REGION("a", 4097) "," REGION("b", 1), NULL, "bytesPerUser", 8192,
          12288, 16384, false },
        { "bytesPerUser=16384", REGION("a", 8192), NULL, REGION("b", 8193), "bytesPerUser", 8192, 12288, 16384, false },
        { "bytesPerUser=16384", NULL, REGION("a", 16385), NULL, "bytesPerUser", 0, 20480, 16384, true },
};

static void ask_for_more(int peer, struct varlink_reply *reply, const struct quota_row *row)
{
        if (row->added)
                varlink_ask(peer, reply, "AddRegion", "{'environment':'first','region':%s}", row->added);
        else
                varlink_ask(peer, reply, "Open",
                            "{'environment':'second','create':'always','definition':{'regions':[%s]}}", row->second);
}

START_TEST(what_goes_beyond_a_quota_is_refused_with_the_figures)
{
        const struct quota_row *row = &quotas[_i];
        owned(varlink_clear) struct varlink_reply reply = {};
        int peer, other;

        start_with(row->option, NULL);
        peer = broker_connect();
        other = broker_connect();
        if (row->first)
                broker_open(other, &reply, "first", "'regions':[%s]", row->first);
        if (row->added)
                varlink_ask(peer, &reply, "Open", "{'environment':'first'}");
        ask_for_more(peer, &reply, row);
        check_quota(&reply, row->limit, row->used, row->wanted, row->maximum);
        ck_assert_int_eq(broker_statistic(peer, "environments"), row->first ? 1 : 0);
        varlink_clear(&reply);

        /* with the first, or its region, gone there is room */
        if (row->added) {
                varlink_ask(other, &reply, "DeleteRegion", "{'environment':'first','region':'a','force':true}");
                broker_detach(other, "first");
                varlink_ask(peer, &reply, "Detach", "{'environment':'first','region':'a'}");
                broker_wait_for_statistic(peer, "environments", 1);
        } else if (row->first) {
                broker_detach(other, "first");
        }
        ask_for_more(peer, &reply, row);
        ck_assert_reply(&reply, row->for_ever ? "QuotaExceeded" : NULL);
        close(peer);
        close(other);
}
END_TEST

START_TEST(a_quota_is_each_users_own)
{
        owned(varlink_clear) struct varlink_reply reply = {};
        const char *const options[] = { "--system", "--limit", "environmentsPerUser=1", NULL };
        struct child child;
        int peer, other;

        broker_start(options);
        ck_assert_int_eq(chmod(broker.directory, 0755), 0);
        peer = broker_connect();
        other = broker_connect_from(&child, 1);
        broker_open(peer, &reply, "e", "'mode':438,'regions':[]");
        broker_open(other, &reply, "f", "'regions':[]");
        varlink_ask(other, &reply, "Open", "{'environment':'g','create':'always','definition':{'regions':[]}}");
        check_quota(&reply, "environmentsPerUser", 1, 1, 1);
        varlink_ask(other, &reply, "Open", "{'environment':'e'}"); /* another's is not one's own */
        ck_assert_reply(&reply, NULL);
        child_kill(&child);
        close(peer);
        close(other);
}
END_TEST

START_TEST(what_somebody_adds_to_anothers_environment_is_charged_to_its_owner)
{
        owned(varlink_clear) struct varlink_reply reply = {};
        const char *const options[] = { "--system", "--limit", "regionsPerUser=2", NULL };
        struct child child;
        int peer, other;

        broker_start(options);
        ck_assert_int_eq(chmod(broker.directory, 0755), 0);
        peer = broker_connect();
        other = broker_connect_from(&child, 1);
        broker_open(peer, &reply, "e", "'mode':438,'regions':[%s]", REGION("a", 1));
        broker_open(other, &reply, "e", "'regions':[]");
        varlink_ask(other, &reply, "AddRegion", "{'environment':'e','region':%s}", REGION("b", 1));
        ck_assert_reply(&reply, NULL);
        varlink_ask(other, &reply, "AddRegion", "{'environment':'e','region':%s}", REGION("c", 1));
        check_quota(&reply, "regionsPerUser", 2, 1, 2);
        broker_open(other, &reply, "f", "'regions':[%s,%s]", REGION("a", 1), REGION("b", 1));
        child_kill(&child);
        close(peer);
        close(other);
}
END_TEST

/* What failed half-way is not charged for. */
START_TEST(what_was_not_made_takes_nothing_of_a_quota)
{
        owned(varlink_clear) struct varlink_reply reply = {};
        int peer;

        start_with("regionsPerUser=2", "environmentsPerUser=1");
        peer = broker_connect();
        for (int i = 0; i < 10; i++) {
                varlink_ask(
                        peer, &reply, "Open",
                        "{'environment':'e','create':'always','regions':['a','a'],'definition':{'regions':[%s,%s]}}",
                        REGION("a", 1), REGION("b", 1));
                ck_assert_reply(&reply, SERVICE "InvalidParameter");
                varlink_ask(peer, &reply, "Open",
                            "{'environment':'e','create':'always','definition':{'home':'/nowhere','regions':[%s]}}",
                            REGION("a", 1));
                ck_assert_reply(&reply, "ResourceFailure");
        }
        ck_assert_int_eq(broker_statistic(peer, "regions"), 0);
        broker_open(peer, &reply, "e", "'regions':[%s,%s]", REGION("a", 1), REGION("b", 1));
        close(peer);
}
END_TEST

START_TEST(lingering_has_a_bound)
{
        owned(varlink_clear) struct varlink_reply reply = {};
        int peer;

        start_with("lingerUSec=1000", NULL);
        peer = broker_connect();
        varlink_ask(peer, &reply, "Open",
                    "{'environment':'e','create':'always','definition':{'lingerUSec':1001,'regions':[]}}");
        check_quota(&reply, "lingerUSec", 0, 1001, 1000);
        broker_open(peer, &reply, "e", "'lingerUSec':1000,'regions':[]");
        close(peer);
}
END_TEST

START_TEST(the_limits_are_told)
{
        owned(varlink_clear) struct varlink_reply reply = {};
        int peer;

        start_with("sessions=17", "stallUSec=123456");
        peer = broker_connect();
        varlink_ask(peer, &reply, "GetStatistics", NULL);
        ck_assert_value(&reply, "limits.sessions", "17");
        ck_assert_value(&reply, "limits.stallUSec", "123456");
        ck_assert_value(&reply, "limits.regionsPerEnvironment", "250");
        ck_assert_int_eq(varlink_number(&reply, "limits"), 15);
        close(peer);
}
END_TEST

/* As many regions as one reply can carry descriptors for. */
START_TEST(an_environment_of_the_most_regions_comes_in_one_reply)
{
        owned(varlink_clear) struct varlink_reply reply = {};
        owned(freep) char *regions = calloc(251, 32);
        int peer;

        broker_setup();
        peer = broker_connect();
        for (int i = 0; i < 251; i++)
                sprintf(regions + strlen(regions), "%s{'name':'%d','size':1}", i ? "," : "", i);
        varlink_ask(peer, &reply, "Open", "{'environment':'e','create':'always','definition':{'regions':[%s]}}",
                    regions);
        check_quota(&reply, "regionsPerEnvironment", 0, 251, 250);
        *strrchr(regions, '{') = '\0';
        *strrchr(regions, ',') = '\0';
        broker_open(peer, &reply, "e", "'regions':[%s]", regions);
        ck_assert_int_eq(varlink_number(&reply, "grants"), 250);
        ck_assert_uint_eq(reply.fds.n, 251);
        close(peer);
}
END_TEST

/* --- waiting calls ----------------------------------------------------------------------------------------------- */

START_TEST(calls_that_wait_have_a_bound)
{
        owned(varlink_clear) struct varlink_reply reply = {};
        int initializer, one, other, peer;
        int64_t calls;

        start_with("waitingCallsPerUser=2", NULL);
        initializer = broker_connect();
        one = broker_connect();
        other = broker_connect();
        peer = broker_connect();
        varlink_ask(initializer, &reply, "Open", "{'environment':'e','create':'always','definition':{'regions':[]}}");
        calls = broker_statistic(peer, "counters.calls");
        varlink_call(one, "Open", "{'environment':'e'}");
        varlink_call(other, "Remove", "{'environment':'e','waitUSec':3600000000}");
        broker_wait_for_calls(peer, calls, 2);
        varlink_ask(peer, &reply, "Open", "{'environment':'e'}");
        check_quota(&reply, "waitingCallsPerUser", 2, 1, 2);
        varlink_ask(peer, &reply, "Remove", "{'environment':'e','waitUSec':3600000000}");
        check_quota(&reply, "waitingCallsPerUser", 2, 1, 2);
        varlink_ask(peer, &reply, "Open", "{'environment':'e','waitUSec':0}"); /* this one does not wait */
        ck_assert_reply(&reply, "NotReady");

        close(one);
        broker_wait_for_statistic(peer, "sessions", 3);
        varlink_ask(peer, &reply, "Open", "{'environment':'e','waitUSec':1000}");
        ck_assert_reply(&reply, "NotReady");
        close(initializer);
        close(other);
        close(peer);
}
END_TEST

/* --- sessions ---------------------------------------------------------------------------------------------------- */

/* In all, or of one user. */
static const char *const session_limits[] = { "sessions", "sessionsPerUser" };

START_TEST(one_session_too_many_is_told_so_at_the_door)
{
        owned(varlink_clear) struct varlink_reply reply = {};
        owned(freep) char *option = NULL;
        struct region_broker *session;
        struct region_env *env;
        int peers[3], extra;

        ck_assert_int_ge(asprintf(&option, "%s=%zu", session_limits[_i], array_size(peers)), 0);
        start_with(option, NULL);
        for (size_t i = 0; i < array_size(peers); i++)
                peers[i] = broker_connect();
        ck_assert_int_eq(broker_statistic(peers[2], "sessions"), 3);

        extra = broker_connect(); /* before it has said anything */
        ck_assert(varlink_receive(extra, &reply));
        check_quota(&reply, session_limits[_i], 3, 1, 3);
        ck_assert(!varlink_receive(extra, &reply));
        close(extra);

        ck_assert_int_eq(region_broker_connect(broker.socket, &session), REGION_OK);
        ck_assert_int_eq(region_env_open(session, "e", NULL, &env), REGION_E_QUOTA);
        ck_assert_ptr_nonnull(strstr(region_error_message(), session_limits[_i]));
        region_broker_close(session);
        ck_assert_int_eq(broker_statistic(peers[2], "counters.sessionsRefused"), 2);

        close(peers[0]);
        broker_wait_for_statistic(peers[2], "sessions", 2);
        peers[0] = broker_connect();
        ck_assert_int_eq(broker_statistic(peers[0], "sessions"), 3);
        for (size_t i = 0; i < array_size(peers); i++)
                close(peers[i]);
}
END_TEST

START_TEST(the_sessions_of_one_user_leave_room_for_another)
{
        owned(varlink_clear) struct varlink_reply reply = {};
        const char *const options[] = { "--system", "--limit", "sessionsPerUser=1", NULL };
        struct child child, second;
        int peer, other, extra;

        broker_start(options);
        ck_assert_int_eq(chmod(broker.directory, 0755), 0);
        peer = broker_connect();
        ck_assert_int_eq(broker_statistic(peer, "sessions"), 1);
        other = broker_connect_from(&child, 1);
        ck_assert_int_eq(broker_statistic(other, "sessions"), 2);
        extra = broker_connect_from(&second, 1);
        ck_assert(varlink_receive(extra, &reply));
        check_quota(&reply, "sessionsPerUser", 1, 1, 1);
        child_kill(&child);
        child_kill(&second);
        close(peer);
        close(other);
        close(extra);
}
END_TEST

/* --- who does not read ------------------------------------------------------------------------------------------- */

enum { DESCRIPTIONS = 500 }; /* of more than 9000 bytes each */

static char *many_calls(size_t *ret_n)
{
        static const char call[] = "{\"method\":\"org.varlink.service.GetInterfaceDescription\","
                                   "\"parameters\":{\"interface\":\"org.regionbroker\"}}";
        char *calls = malloc(sizeof(call) * DESCRIPTIONS);

        for (size_t i = 0; i < DESCRIPTIONS; i++)
                memcpy(calls + i * sizeof(call), call, sizeof(call));
        *ret_n = sizeof(call) * DESCRIPTIONS;
        return calls;
}

/* Sends what the socket takes. */
static void send_some(int peer, const char **bytes, size_t *n)
{
        ssize_t sent = *n > 0 ? send(peer, *bytes, *n, MSG_DONTWAIT | MSG_NOSIGNAL) : 0;

        if (sent > 0) {
                *bytes += sent;
                *n -= (size_t)sent;
        }
}

START_TEST(who_never_reads_is_disconnected_and_costs_little_until_then)
{
        owned(freep) char *calls = NULL;
        int64_t before;
        const char *rest;
        int peer, other;
        size_t n;

        start_with("outputBytes=65536", "stallUSec=300000");
        peer = broker_connect();
        other = broker_connect();
        before = broker_statistic(other, "sessions") == 2 ? broker_memory() : 0;
        rest = calls = many_calls(&n);
        while (!daemon_has_line(&broker, "does not read its answers")) {
                send_some(peer, &rest, &n);
                broker_statistic(other, "sessions"); /* others are served meanwhile */
        }
        if (!broker_is_sanitized())
                ck_assert_int_lt(broker_memory() - before, 4 << 20);
        ck_assert_int_eq(broker_statistic(other, "sessions"), 1);
        close(peer);
        close(other);
}
END_TEST

START_TEST(who_reads_slowly_gets_every_answer)
{
        owned(varlink_clear) struct varlink_reply reply = {};
        owned(freep) char *calls = NULL;
        const char *rest;
        int64_t before;
        int peer;
        size_t n;

        start_with("outputBytes=65536", "stallUSec=86400000000"); /* this test may be the slow one */
        peer = broker_connect();
        before = broker_peak_memory();
        rest = calls = many_calls(&n);
        for (int i = 0; i < DESCRIPTIONS; i++) {
                send_some(peer, &rest, &n);
                ck_assert(varlink_receive(peer, &reply));
                ck_assert_reply(&reply, NULL);
        }
        ck_assert_uint_eq(n, 0);
        if (!broker_is_sanitized())
                ck_assert_int_lt(broker_peak_memory() - before, 4 << 20);
        close(peer);
}
END_TEST

START_TEST(a_list_is_as_long_as_it_is_whoever_reads_it_how_slowly)
{
        enum { ENVIRONMENTS = 500 };
        owned(varlink_clear) struct varlink_reply reply = {};
        char name[16];
        int maker, peer;

        start_with("outputBytes=4096", "stallUSec=86400000000");
        maker = broker_connect();
        peer = broker_connect();
        for (int i = 0; i < ENVIRONMENTS; i++) {
                snprintf(name, sizeof(name), "e%03d", i);
                broker_open(maker, &reply, name, "'regions':[%s,%s,%s]", REGION("a", 1), REGION("b", 1),
                            REGION("c", 1));
                varlink_clear(&reply);
        }
        varlink_say(peer, "{'method':'" BROKER "List','more':true}");
        for (int i = 0; i < ENVIRONMENTS; i++) {
                ck_assert(varlink_receive(peer, &reply));
                snprintf(name, sizeof(name), "e%03d", i);
                ck_assert_value(&reply, "environment.name", name);
                ck_assert(reply.continues == (i < ENVIRONMENTS - 1));
                if (i == 0)
                        broker_detach(maker, "e498"); /* in the midst of it: no socket has room for so many */
                if (i == 497)
                        i++;
        }
        close(maker);
        close(peer);
}
END_TEST

int main(void)
{
        Suite *suite = suite_create("limits");
        TCase *tcase = check_case(suite, "limits");
        TCase *users = check_case(suite, "users");

        tcase_add_checked_fixture(tcase, NULL, broker_teardown);
        tcase_add_loop_test(tcase, what_goes_beyond_a_quota_is_refused_with_the_figures, 0, (int)array_size(quotas));
        tcase_add_test(tcase, what_was_not_made_takes_nothing_of_a_quota);
        tcase_add_test(tcase, lingering_has_a_bound);
        tcase_add_test(tcase, the_limits_are_told);
        tcase_add_test(tcase, an_environment_of_the_most_regions_comes_in_one_reply);
        tcase_add_test(tcase, calls_that_wait_have_a_bound);
        tcase_add_loop_test(tcase, one_session_too_many_is_told_so_at_the_door, 0, (int)array_size(session_limits));
        tcase_add_test(tcase, who_never_reads_is_disconnected_and_costs_little_until_then);
        tcase_add_test(tcase, who_reads_slowly_gets_every_answer);
        tcase_add_test(tcase, a_list_is_as_long_as_it_is_whoever_reads_it_how_slowly);

        if (geteuid() != 0) {
                fputs("test-limits: users are not tried, for that takes root\n", stderr);
                return check_run(suite);
        }
        tcase_add_checked_fixture(users, NULL, broker_teardown);
        tcase_add_test(users, a_quota_is_each_users_own);
        tcase_add_test(users, what_somebody_adds_to_anothers_environment_is_charged_to_its_owner);
        tcase_add_test(users, the_sessions_of_one_user_leave_room_for_another);
        return check_run(suite);
}
