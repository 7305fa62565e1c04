/* Descriptors that a peer was sent and does not read count against the broker's limit of open files. They hold up what else
 * goes to the same user; nobody's session ends for it, and nobody else waits. */

#include "tests/support/broker.h"
#include "tests/support/check.h"

#include "proto/util.h"

#include <grp.h>
#include <poll.h>
#include <stdio.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>

/* An Open of an environment of one region comes with two descriptors: its control page and the region. */
#define CALL "Open", "{'environment':'shop'}"

static void start(void)
{
        const char *const options[] = { "--limit", "unreadDescriptorsPerUser=8", NULL };

        broker_start(options);
}

/* By a session that is over: what another has read counts as unread until the broker looks again. */
static void make(int witness)
{
        owned(varlink_clear) struct varlink_reply reply = {};
        int maker = broker_connect();
        int64_t sessions;

        broker_open(maker, &reply, "shop", "'lifetime':'persistent','mode':%d,'regions':[{'name':'a','size':1}]", 0666);
        ck_assert_reply(&reply, NULL);
        sessions = broker_statistic(witness, "sessions");
        close(maker);
        broker_wait_for_statistic(witness, "sessions", sessions - 1);
}

/* One call at a time, each answered, as far as it goes, before the next is made. */
static void ask_without_reading(int peer, int other, int n)
{
        for (int i = 0; i < n; i++) {
                int64_t before = broker_statistic(other, "counters.calls");

                ck_assert(varlink_call(peer, CALL));
                broker_wait_for_calls(other, before, 1);
        }
}

static bool has_answer(int peer)
{
        struct pollfd pollfd = { .fd = peer, .events = POLLIN };

        return poll(&pollfd, 1, 0) > 0;
}

static void check_answer(int peer)
{
        owned(varlink_clear) struct varlink_reply reply = {};

        ck_assert(varlink_receive(peer, &reply));
        ck_assert_reply(&reply, NULL);
        ck_assert_uint_eq(reply.fds.n, 2);
}

/* One peer makes more calls than it may leave unread; the next of its user is answered once they are read. */
static void check_held_up(int calls)
{
        int peer = broker_connect(), other = broker_connect(), third = broker_connect();

        make(third);
        ask_without_reading(peer, third, calls);
        ask_without_reading(other, third, 1);
        if (has_answer(other)) {
                check_answer(other); /* tells what it says instead */
                ck_abort_msg("it was answered while the other left its answers unread");
        }

        for (int i = 0; i < calls; i++)
                check_answer(peer);
        check_answer(other);
        close(peer);
        close(other);
        close(third);
}

START_TEST(what_a_peer_does_not_read_holds_up_its_user_until_it_does)
{
        start();
        check_held_up(20);
}
END_TEST

START_TEST(what_was_not_read_counts_after_its_session_until_it_is_gone)
{
        int peer, other, third;

        start();
        peer = broker_connect();
        other = broker_connect();
        third = broker_connect();
        make(third);
        ask_without_reading(peer, third, 4);
        shutdown(peer, SHUT_WR);
        broker_wait_for_statistic(third, "sessions", 2);
        ask_without_reading(other, third, 1);
        ck_assert(!has_answer(other));

        for (int i = 0; i < 4; i++)
                check_answer(peer); /* it was sent, and is not lost */
        check_answer(other);

        ask_without_reading(other, third, 4);
        shutdown(other, SHUT_WR);
        broker_wait_for_statistic(third, "sessions", 1);
        ck_assert(varlink_call(third, CALL));
        close(other);
        check_answer(third);
        close(peer);
        close(third);
}
END_TEST

START_TEST(what_one_user_does_not_read_holds_up_no_other)
{
        const char *const options[] = { "--system", "--limit", "unreadDescriptorsPerUser=8", NULL };
        struct child child;
        int peer, other, third;

        if (geteuid() != 0) {
                fputs("test-unread: two users are not tried, for that takes root\n", stderr);
                return;
        }
        broker_start(options);
        ck_assert_int_eq(chmod(broker.directory, 0755), 0);
        peer = broker_connect();
        third = broker_connect();
        other = broker_connect_from(&child, 54321);
        make(third);
        ask_without_reading(peer, third, 20);
        ck_assert(varlink_call(other, CALL));
        check_answer(other);
        close(other);
        child_end(&child);
        close(peer);
        close(third);
}
END_TEST

/* Not root, which may send as many as it likes; a user that nothing else runs as, for it is the user who is counted. */
static bool become_ordinary(void)
{
        uid_t uid = 100000 + (uid_t)getpid();

        if (geteuid() != 0)
                return true;
        ck_assert_int_eq(setgroups(0, NULL), 0);
        ck_assert_int_eq(setresgid(uid, uid, uid), 0);
        ck_assert_int_eq(setresuid(uid, uid, uid), 0);
        return access(getenv("REGION_BROKER"), X_OK) == 0;
}

START_TEST(the_kernels_limit_holds_up_and_ends_no_session)
{
        struct rlimit few = { 64, 64 };

        if (!become_ordinary()) {
                fputs("test-unread: the kernel's limit is not tried, for the program is out of an ordinary user's reach\n",
                      stderr);
                return;
        }
        broker_start(NULL);
        ck_assert_int_eq(prlimit(broker.pid, RLIMIT_NOFILE, &few, NULL), 0);
        check_held_up(40);
}
END_TEST

int main(void)
{
        Suite *suite = suite_create("unread");
        TCase *tcase = check_case(suite, "unread");

        tcase_add_checked_fixture(tcase, NULL, broker_teardown);
        tcase_add_test(tcase, what_a_peer_does_not_read_holds_up_its_user_until_it_does);
        tcase_add_test(tcase, what_was_not_read_counts_after_its_session_until_it_is_gone);
        tcase_add_test(tcase, what_one_user_does_not_read_holds_up_no_other);
        tcase_add_test(tcase, the_kernels_limit_holds_up_and_ends_no_session);
        return check_run(suite);
}
