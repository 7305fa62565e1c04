/* Peers that mean no good, or are many. After each of them the broker serves the next, has no more descriptors open than
 * before, and has not grown. */

#include "tests/support/broker.h"
#include "tests/support/check.h"
#include "tests/support/ipc.h"
#include "tests/support/raw.h"

#include "proto/util.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/resource.h>

enum { MANY = 5000, MEMORY_MAX = 64 << 20 };

static const char get_info[] = "{\"method\":\"org.varlink.service.GetInfo\"}";

static int fds_before;

static void hostile_setup(void)
{
        broker_setup();
        fds_before = ipc_count_fds(broker.pid);
}

static void check_answers(int peer)
{
        owned(varlink_clear) struct varlink_reply reply = {};

        varlink_ask(peer, &reply, SERVICE "GetInfo", NULL);
        ck_assert_reply(&reply, NULL);
}

static void hostile_teardown(void)
{
        int peer = broker_connect();

        check_answers(peer);
        close(peer);
        broker_wait_for_fds(fds_before);
        if (!broker_is_sanitized())
                ck_assert_int_lt(broker_peak_memory(), MEMORY_MAX);
        broker_teardown();
}

/* Sends all of it if it is wanted, and does not mind if it is not. */
static void throw_at(int peer, const void *bytes, size_t n)
{
        struct timeval patience = { .tv_sec = CHECK_WAIT_MSEC / 1000 };
        const char *rest = bytes;
        ssize_t sent;

        ck_assert_int_eq(setsockopt(peer, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience)), 0);
        while (n > 0 && (sent = send(peer, rest, n, MSG_NOSIGNAL)) > 0) {
                rest += sent;
                n -= (size_t)sent;
        }
        ck_assert(n == 0 || errno != EAGAIN);
}

/* Whatever it has to say to what it got; then it has to close, without being asked again. */
static void check_closed(int peer)
{
        owned(varlink_clear) struct varlink_reply reply = {};

        shutdown(peer, SHUT_WR);
        while (varlink_receive(peer, &reply))
                ;
        close(peer);
}

/* It closes by itself. */
static void check_thrown_out(int peer)
{
        owned(varlink_clear) struct varlink_reply reply = {};

        ck_assert(!varlink_receive(peer, &reply));
        close(peer);
}

/* --- many -------------------------------------------------------------------------------------------------------- */

START_TEST(thousands_at_once_are_served)
{
        owned(varlink_clear) struct varlink_reply reply = {};
        static int peers[MANY];
        struct rlimit limit;

        ck_assert_int_eq(getrlimit(RLIMIT_NOFILE, &limit), 0);
        limit.rlim_cur = limit.rlim_max;
        ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &limit), 0);
        if (limit.rlim_max < MANY + 100) {
                fputs("test-hostile: thousands are not tried, for the limit of descriptors is too low\n", stderr);
                return;
        }
        for (size_t i = 0; i < MANY; i++) {
                peers[i] = broker_connect();
                varlink_send(peers[i], get_info, sizeof(get_info), NULL, 0);
        }
        for (size_t i = 0; i < MANY; i++) {
                ck_assert(varlink_receive(peers[i], &reply));
                ck_assert_reply(&reply, NULL);
        }
        ck_assert_int_eq(broker_statistic(peers[0], "sessions"), MANY);
        for (size_t i = 0; i < MANY; i++)
                close(peers[i]);
}
END_TEST

START_TEST(a_thousand_calls_in_one_write_are_answered_in_order)
{
        enum { CALLS = 1000 };
        owned(varlink_clear) struct varlink_reply reply = {};
        owned(freep) char *calls = malloc(CALLS * 100);
        int peer = broker_connect();
        char name[16];
        size_t n = 0;

        for (int i = 0; i < CALLS; i++)
                n += (size_t)sprintf(calls + n,
                                     "{\"method\":\"" BROKER "Describe\",\"parameters\":{\"environment\":\"%d\"}}", i) +
                     1;
        throw_at(peer, calls, n);
        for (int i = 0; i < CALLS; i++) {
                snprintf(name, sizeof(name), "%d", i);
                ck_assert(varlink_receive(peer, &reply));
                ck_assert_reply(&reply, "EnvironmentNotFound");
                ck_assert_value(&reply, "environment", name);
        }
        close(peer);
}
END_TEST

START_TEST(a_message_may_come_byte_by_byte)
{
        owned(varlink_clear) struct varlink_reply reply = {};
        int peer = broker_connect(), other = broker_connect();

        for (size_t i = 0; i < sizeof(get_info); i++) {
                varlink_send(peer, get_info + i, 1, NULL, 0);
                if (i % 8 == 0)
                        check_answers(other); /* by then it has read it */
        }
        ck_assert(varlink_receive(peer, &reply));
        ck_assert_reply(&reply, NULL);
        close(peer);
        close(other);
}
END_TEST

START_TEST(who_comes_and_goes_costs_nothing)
{
        for (int i = 0; i < 2000; i++) {
                int peer = broker_connect();

                if (i % 4 == 1)
                        varlink_send(peer, "{", 1, NULL, 0);
                if (i % 4 == 2)
                        varlink_send(peer, get_info, sizeof(get_info), NULL, 0);
                if (i % 4 == 3)
                        varlink_call(peer, "Open",
                                     "{'environment':'e%d','create':'ifAbsent','definition':{'regions':["
                                     "{'name':'a','size':4096}]}}",
                                     i);
                close(peer); /* without having read a word */
        }
}
END_TEST

/* --- nonsense ---------------------------------------------------------------------------------------------------- */

static uint32_t random_state;

/* Numbers that are the same every time, for a failure to be repeated. */
static uint32_t next_random(void)
{
        random_state = random_state * 1664525u + 1013904223u;
        return random_state >> 8;
}

START_TEST(random_bytes_are_thrown_out)
{
        static const char bits[] = "{}[]\",:\\0truefalsn";
        char bytes[3000];

        random_state = (uint32_t)_i;
        for (int round = 0; round < 200; round++) {
                size_t n = next_random() % sizeof(bytes);
                int peer = broker_connect();

                for (size_t i = 0; i < n; i++)
                        bytes[i] = _i % 2 ? (char)next_random() : bits[next_random() % sizeof(bits)];
                throw_at(peer, bytes, n);
                check_closed(peer);
        }
}
END_TEST

/* Calls that are almost right: the parser goes further with them. */
static const char *const calls[] = {
        ("{\"method\":\"org.regionbroker.Open\",\"parameters\":{\"environment\":\"e\",\"create\":\"ifAbsent\",\"definition\":"
         "{\"mode\":432,\"regions\":[{\"name\":\"a\",\"size\":4096},{\"name\":\"b\",\"size\":8192,\"backing\":\"memfd\"}]}}}"),
        "{\"method\":\"org.regionbroker.Ready\",\"parameters\":{\"environment\":\"e\"}}",
        "{\"method\":\"org.regionbroker.Attach\",\"parameters\":{\"environment\":\"e\",\"region\":\"a\",\"access\":\"read\"}}",
        "{\"method\":\"org.regionbroker.Detach\",\"parameters\":{\"environment\":\"e\",\"region\":null}}",
        "{\"method\":\"org.regionbroker.Remove\",\"parameters\":{\"environment\":\"e\",\"force\":true}}",
        "{\"method\":\"org.regionbroker.List\",\"more\":true,\"parameters\":{\"pattern\":\"[a-z]*\"}}",
};

START_TEST(calls_with_a_few_bytes_wrong_do_no_harm)
{
        random_state = (uint32_t)_i;
        for (int round = 0; round < 60; round++) {
                int peer = broker_connect();

                for (size_t i = 0; i < array_size(calls); i++) {
                        size_t n = strlen(calls[i]) + 1;
                        char bytes[512];

                        memcpy(bytes, calls[i], n);
                        if (next_random() % 3 == 0)
                                bytes[next_random() % n] = (char)next_random();
                        throw_at(peer, bytes, n);
                }
                check_closed(peer);
        }
}
END_TEST

START_TEST(an_empty_message_is_thrown_out)
{
        int peer = broker_connect();

        throw_at(peer, "", 1);
        check_thrown_out(peer);
}
END_TEST

/* --- large ------------------------------------------------------------------------------------------------------- */

struct bulk_row {
        const char *head, *unit, *tail;
        size_t n; /* bytes of units */
        bool answered;
};

#define PARAMETERS "{\"method\":\"org.varlink.service.GetInfo\",\"parameters\":{\"a\":"

static const struct bulk_row bulks[] = {
        { "", "a", "", 1 << 20, false },
        { "", "a", "", 64 << 20, false },
        { "", " ", "", 1 << 20, false },
        { "{\"method\":\"", "a", "\"}", 1 << 20, false },
        { "{\"method\":\"", "a", "\"}", 200000, true },
        { "", "[", "", 100000, false },
        { "", "{\"a\":", "", 200000, false },
        { PARAMETERS, "[", "", 200000, false },
        { PARAMETERS "[", "{},", "{}]}}", 300 << 10, false },
        { PARAMETERS "[", "{},", "{}]}}", 250 << 10, false },
        { PARAMETERS "[", "1,", "1]}}", 250 << 10, false },
        { PARAMETERS "[", "\"\",", "1]}}", 250 << 10, false },
        { PARAMETERS "[", "1,", "1]}}", 40000, true },
        { PARAMETERS "\"", "\\u00e4", "\"}}", 200000, true },
};

static char *make_bulk(const struct bulk_row *row, size_t *ret_n)
{
        size_t unit = strlen(row->unit);
        char *bytes = malloc(strlen(row->head) + row->n + strlen(row->tail) + 1), *at;

        at = stpcpy(bytes, row->head);
        for (size_t done = 0; done + unit <= row->n; done += unit) {
                memcpy(at, row->unit, unit);
                at += unit;
        }
        at = stpcpy(at, row->tail);
        *ret_n = (size_t)(at - bytes) + 1;
        return bytes;
}

START_TEST(what_is_too_large_is_thrown_out_and_what_is_not_is_answered)
{
        const struct bulk_row *row = &bulks[_i];
        owned(varlink_clear) struct varlink_reply reply = {};
        owned(freep) char *bytes = NULL;
        int peer = broker_connect();
        size_t n;

        bytes = make_bulk(row, &n);
        throw_at(peer, bytes, n);
        if (!row->answered) {
                check_thrown_out(peer);
                return;
        }
        ck_assert(varlink_receive(peer, &reply));
        ck_assert_ptr_nonnull(reply.error);
        check_answers(peer);
        close(peer);
}
END_TEST

START_TEST(many_that_are_large_at_once_are_bounded)
{
        enum { PEERS = 50 };
        owned(freep) char *bytes = NULL;
        int peers[PEERS];
        size_t n;

        bytes = make_bulk(&bulks[9], &n);
        for (size_t i = 0; i < PEERS; i++)
                peers[i] = broker_connect();
        for (size_t i = 0; i < PEERS; i++)
                throw_at(peers[i], bytes, n);
        for (size_t i = 0; i < PEERS; i++)
                check_thrown_out(peers[i]);
}
END_TEST

/* Each keeps the beginning of a message open. */
START_TEST(messages_that_are_never_ended_are_bounded)
{
        enum { PEERS = 100 };
        owned(freep) char *bytes = calloc(1, 200000);
        int peers[PEERS];

        memset(bytes, ' ', 200000);
        for (size_t i = 0; i < PEERS; i++) {
                peers[i] = broker_connect();
                throw_at(peers[i], bytes, 200000);
        }
        for (size_t i = 0; i < PEERS; i++)
                close(peers[i]);
}
END_TEST

/* --- descriptors ------------------------------------------------------------------------------------------------- */

static void send_with(int peer, const void *bytes, size_t n, size_t n_fds)
{
        int fds[FDSET_MAX];

        for (size_t i = 0; i < n_fds; i++)
                fds[i] = i % 2 ? STDERR_FILENO : peer;
        ck_assert(varlink_send(peer, bytes, n, fds, n_fds));
}

/* As many as the kernel carries, and one. */
START_TEST(descriptors_with_a_call_are_refused_and_closed)
{
        owned(varlink_clear) struct varlink_reply reply = {};
        size_t n_fds = _i ? FDSET_MAX : 1;
        int peer = broker_connect();

        for (int i = 0; i < 20; i++) {
                send_with(peer, get_info, sizeof(get_info), n_fds);
                ck_assert(varlink_receive(peer, &reply));
                ck_assert_reply(&reply, SERVICE "InvalidParameter");
                ck_assert_value(&reply, "parameter", "fileDescriptors");
        }
        check_answers(peer);
        close(peer);
}
END_TEST

START_TEST(descriptors_with_a_oneway_call_are_closed)
{
        static const char call[] = "{\"oneway\":true,\"method\":\"org.varlink.service.GetInfo\"}";
        int peer = broker_connect();

        for (int i = 0; i < 20; i++) {
                send_with(peer, call, sizeof(call), FDSET_MAX);
                check_answers(peer); /* by then it has taken them: of one user only so many may be on their way */
        }
        broker_wait_for_fds(fds_before + 2); /* the session and its process */
        close(peer);
}
END_TEST

START_TEST(descriptors_in_the_midst_of_a_message_end_the_connection)
{
        int peer = broker_connect(), other = broker_connect();

        varlink_send(peer, get_info, 5, NULL, 0);
        check_answers(other);
        send_with(peer, get_info + 5, sizeof(get_info) - 5, 3);
        check_thrown_out(peer);
        close(other);
}
END_TEST

/* A few peers could else take all descriptors of the broker, each with a message that it never ends; one of them is the
 * connection itself, which would never be seen to close. */
START_TEST(descriptors_of_a_message_that_never_ends_are_not_kept)
{
        enum { PEERS = 50 };
        int peers[PEERS], other = broker_connect();

        for (size_t i = 0; i < PEERS; i++) {
                peers[i] = broker_connect();
                send_with(peers[i], "{", 1, FDSET_MAX);
                check_answers(other);
        }
        broker_wait_for_fds(fds_before + PEERS + 1 + 1); /* the sessions and their process */
        for (size_t i = 0; i < PEERS; i++)
                close(peers[i]);
        broker_wait_for_statistic(other, "sessions", 1);
        close(other);
}
END_TEST

/* The kernel hands them out together. */
START_TEST(descriptors_go_with_their_own_message_of_several)
{
        owned(varlink_clear) struct varlink_reply reply = {};
        int peer = broker_connect();

        varlink_send(peer, get_info, sizeof(get_info), NULL, 0);
        send_with(peer, get_info, sizeof(get_info), 2);
        varlink_send(peer, get_info, sizeof(get_info), NULL, 0);
        for (int i = 0; i < 3; i++) {
                ck_assert(varlink_receive(peer, &reply));
                ck_assert_reply(&reply, i == 1 ? SERVICE "InvalidParameter" : NULL);
        }
        close(peer);
}
END_TEST

/* Its own connection, passed to the broker and left there: it would keep itself alive. */
START_TEST(a_connection_sent_through_itself_is_not_kept)
{
        for (int i = 0; i < 50; i++) {
                int peer = broker_connect();

                ck_assert(varlink_send(peer, get_info, sizeof(get_info), &peer, 1));
                close(peer);
        }
}
END_TEST

int main(void)
{
        Suite *suite = suite_create("hostile");
        TCase *tcase = check_case(suite, "hostile");

        tcase_add_checked_fixture(tcase, hostile_setup, hostile_teardown);
        tcase_add_test(tcase, thousands_at_once_are_served);
        tcase_add_test(tcase, a_thousand_calls_in_one_write_are_answered_in_order);
        tcase_add_test(tcase, a_message_may_come_byte_by_byte);
        tcase_add_test(tcase, who_comes_and_goes_costs_nothing);
        tcase_add_loop_test(tcase, random_bytes_are_thrown_out, 0, 4);
        tcase_add_loop_test(tcase, calls_with_a_few_bytes_wrong_do_no_harm, 0, 4);
        tcase_add_test(tcase, an_empty_message_is_thrown_out);
        tcase_add_loop_test(tcase, what_is_too_large_is_thrown_out_and_what_is_not_is_answered, 0,
                            (int)array_size(bulks));
        tcase_add_test(tcase, many_that_are_large_at_once_are_bounded);
        tcase_add_test(tcase, messages_that_are_never_ended_are_bounded);
        tcase_add_loop_test(tcase, descriptors_with_a_call_are_refused_and_closed, 0, 2);
        tcase_add_test(tcase, descriptors_with_a_oneway_call_are_closed);
        tcase_add_test(tcase, descriptors_in_the_midst_of_a_message_end_the_connection);
        tcase_add_test(tcase, descriptors_of_a_message_that_never_ends_are_not_kept);
        tcase_add_test(tcase, descriptors_go_with_their_own_message_of_several);
        tcase_add_test(tcase, a_connection_sent_through_itself_is_not_kept);
        return check_run(suite);
}
