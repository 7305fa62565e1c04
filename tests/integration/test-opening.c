/* Opening: many at once and one initializer, whose part goes on when it dies or leaves; waiting and its ends; what each
 * kind of Open finds in each state. */

#include "tests/support/broker.h"
#include "tests/support/check.h"
#include "tests/support/child.h"

#include "proto/control.h"
#include "proto/util.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <time.h>

enum { OPENERS = 24, SIZE = 4096 };

#define ONE_REGION "'definition':{'regions':[{'name':'data','size':4096}]}"
#define CREATE_SHARED "{'environment':'shared','create':'ifAbsent'," ONE_REGION "}"

/* What the openers are told, and tell. */
enum { GO = 1, INITIALIZER, MEMBER };
enum leaving { BY_DEATH, BY_DETACH, BY_HANG_UP, N_LEAVINGS };

/* --- many at once ------------------------------------------------------------------------------------------------ */

static void initialise(int channel, int peer, struct varlink_reply *reply, enum leaving leaving)
{
        char *data = broker_map(reply, 1, SIZE, PROT_READ | PROT_WRITE);

        ck_assert_ptr_ne(data, MAP_FAILED);
        ck_assert_mem_eq(data, (char[SIZE]){}, SIZE); /* nothing of those who tried before */
        memset(data, 'x', SIZE / 2);
        child_tell(channel, INITIALIZER);
        if (child_hear(channel) != GO) { /* it is to leave in order; by death it is not asked */
                munmap(data, SIZE);
                if (leaving == BY_DETACH)
                        varlink_ask(peer, reply, "Detach", "{'environment':'shared'}");
                else
                        close(peer);
                child_hear(channel);
        }
        memset(data, 'y', SIZE);
        varlink_ask(peer, reply, "Ready", "{'environment':'shared'}");
        ck_assert_reply(reply, NULL);
        ck_assert_int_eq(varlink_number(reply, "generation"), 1);
}

static void be_member(int channel, const struct varlink_reply *reply)
{
        const char *data = broker_map(reply, 1, SIZE, PROT_READ);
        char wanted[SIZE];

        ck_assert_ptr_ne(data, MAP_FAILED);
        ck_assert_value(reply, "environment.state", "ready");
        memset(wanted, 'y', SIZE);
        ck_assert_mem_eq(data, wanted, SIZE);
        child_tell(channel, MEMBER);
}

static void open_shared(int channel, const void *leaving)
{
        owned(varlink_clear) struct varlink_reply reply = {};
        int peer = broker_connect();

        varlink_ask(peer, &reply, "Open", CREATE_SHARED);
        ck_assert_reply(&reply, NULL);
        if (varlink_has(&reply, "role", "initializer"))
                initialise(channel, peer, &reply, *(const enum leaving *)leaving);
        else
                be_member(channel, &reply);
        child_hear(channel); /* stays until the test hangs up */
}

static void start_openers(struct child *openers, enum leaving *leaving)
{
        int peer = broker_connect();
        int64_t calls = broker_statistic(peer, "counters.calls");

        for (int i = 0; i < OPENERS; i++)
                child_start(&openers[i], open_shared, leaving);
        broker_wait_for_calls(peer, calls, OPENERS);
        close(peer);
}

/* The one of the openers that says it is the initializer; all others are silent. */
static int find_initializer(const struct child *openers)
{
        struct pollfd channels[OPENERS];
        int found = -1;

        for (int i = 0; i < OPENERS; i++)
                channels[i] = (struct pollfd){ .fd = openers[i].pid ? openers[i].channel : -1, .events = POLLIN };
        ck_assert_int_gt(poll(channels, OPENERS, CHECK_WAIT_MSEC), 0);
        for (int i = 0; i < OPENERS; i++) {
                if (!channels[i].revents)
                        continue;
                ck_assert_int_eq(child_hear(openers[i].channel), INITIALIZER);
                ck_assert_int_eq(found, -1);
                found = i;
        }
        return found;
}

static void check_all_join(struct child *openers, int initializer)
{
        child_tell(openers[initializer].channel, GO);
        for (int i = 0; i < OPENERS; i++)
                if (openers[i].pid && i != initializer)
                        ck_assert_int_eq(child_hear(openers[i].channel), MEMBER);
        for (int i = 0; i < OPENERS; i++)
                if (openers[i].pid)
                        child_end(&openers[i]);
}

START_TEST(of_many_openers_one_initialises_and_the_others_join_what_it_made)
{
        struct child openers[OPENERS];
        enum leaving leaving = BY_DEATH;

        start_openers(openers, &leaving);
        check_all_join(openers, find_initializer(openers));
}
END_TEST

START_TEST(when_the_initializer_goes_exactly_one_other_takes_over_every_time)
{
        enum leaving leaving = (enum leaving)_i;
        struct child openers[OPENERS], gone[3];
        int initializer;

        start_openers(openers, &leaving);
        for (size_t i = 0; i < array_size(gone); i++) {
                initializer = find_initializer(openers);
                gone[i] = openers[initializer];
                openers[initializer].pid = 0;
                if (leaving == BY_DEATH)
                        child_kill(&gone[i]);
                else
                        child_tell(gone[i].channel, !GO);
        }
        check_all_join(openers, find_initializer(openers));
        for (size_t i = 0; i < array_size(gone) && leaving != BY_DEATH; i++)
                child_end(&gone[i]);
}
END_TEST

/* --- waiting ----------------------------------------------------------------------------------------------------- */

static int64_t now_usec(void)
{
        struct timespec now;

        clock_gettime(CLOCK_MONOTONIC, &now);
        return now.tv_sec * INT64_C(1000000) + now.tv_nsec / 1000;
}

/* Opens it and stays its initializer. */
static void open_as_initializer(int peer)
{
        owned(varlink_clear) struct varlink_reply reply = {};

        varlink_ask(peer, &reply, "Open", CREATE_SHARED);
        ck_assert_reply(&reply, NULL);
        ck_assert_value(&reply, "role", "initializer");
}

static void make_ready(int peer)
{
        owned(varlink_clear) struct varlink_reply reply = {};

        varlink_ask(peer, &reply, "Ready", "{'environment':'shared'}");
        ck_assert_reply(&reply, NULL);
}

START_TEST(who_does_not_wait_is_told_who_initialises)
{
        owned(varlink_clear) struct varlink_reply reply = {};
        int initializer = broker_connect(), peer = broker_connect();

        open_as_initializer(initializer);
        varlink_ask(peer, &reply, "Open", "{'environment':'shared','waitUSec':0}");
        ck_assert_reply(&reply, "NotReady");
        ck_assert_value(&reply, "environment", "shared");
        ck_assert_value(&reply, "state", "initializing");
        ck_assert_int_eq(varlink_number(&reply, "pid"), getpid());
        close(initializer);
        close(peer);
}
END_TEST

START_TEST(a_wait_ends_at_its_deadline_and_not_before)
{
        owned(varlink_clear) struct varlink_reply reply = {};
        int initializer = broker_connect(), peer = broker_connect();
        int64_t began = now_usec(), took;

        open_as_initializer(initializer);
        varlink_ask(peer, &reply, "Open", "{'environment':'shared','waitUSec':60000}");
        took = now_usec() - began;
        ck_assert_reply(&reply, "NotReady");
        ck_assert_int_ge(took, 60000);
        /* what was waited for is not spoilt by it */
        make_ready(initializer);
        varlink_ask(peer, &reply, "Open", "{'environment':'shared','waitUSec':0}");
        ck_assert_reply(&reply, NULL);
        close(initializer);
        close(peer);
}
END_TEST

static bool has_answer(int peer)
{
        struct pollfd answer = { .fd = peer, .events = POLLIN };

        return poll(&answer, 1, 0) > 0;
}

/* The later a call came, the sooner its wait is over; that of the first lasts an hour. */
START_TEST(of_many_waits_each_ends_at_its_own_deadline)
{
        owned(varlink_clear) struct varlink_reply reply = {};
        int initializer = broker_connect(), patient = broker_connect(), peers[8];
        int64_t calls = broker_statistic(initializer, "counters.calls"), began[array_size(peers)];

        open_as_initializer(initializer);
        varlink_call(patient, "Open", "{'environment':'shared','waitUSec':3600000000}");
        broker_wait_for_calls(initializer, calls, 2);
        for (unsigned i = 0; i < array_size(peers); i++) {
                peers[i] = broker_connect();
                began[i] = now_usec();
                varlink_call(peers[i], "Open", "{'environment':'shared','waitUSec':%u}", 40000 * (8 - i));
        }
        for (unsigned i = array_size(peers); i-- > 0;) {
                ck_assert(varlink_receive(peers[i], &reply));
                ck_assert_reply(&reply, "NotReady");
                ck_assert_int_ge(now_usec() - began[i], 40000 * (8 - i));
        }
        ck_assert(!has_answer(patient));
        make_ready(initializer);
        ck_assert(varlink_receive(patient, &reply));
        ck_assert_reply(&reply, NULL);
        for (unsigned i = 0; i < array_size(peers); i++)
                close(peers[i]);
        close(patient);
        close(initializer);
}
END_TEST

START_TEST(a_deadline_beyond_the_end_of_time_waits_for_ever)
{
        owned(varlink_clear) struct varlink_reply reply = {};
        int initializer = broker_connect(), peer = broker_connect();
        int64_t calls = broker_statistic(initializer, "counters.calls");

        open_as_initializer(initializer);
        varlink_call(peer, "Open", "{'environment':'shared','waitUSec':%lld}", (long long)INT64_MAX);
        broker_wait_for_calls(initializer, calls, 2);
        make_ready(initializer);
        ck_assert(varlink_receive(peer, &reply));
        ck_assert_reply(&reply, NULL);
        close(initializer);
        close(peer);
}
END_TEST

START_TEST(a_wait_of_less_than_nothing_is_refused)
{
        owned(varlink_clear) struct varlink_reply reply = {};
        int peer = broker_connect();

        open_as_initializer(peer);
        varlink_ask(peer, &reply, "Open", "{'environment':'shared','waitUSec':-1}");
        ck_assert_reply(&reply, SERVICE "InvalidParameter");
        ck_assert_value(&reply, "parameter", "waitUSec");
        varlink_ask(peer, &reply, "Remove", "{'environment':'shared','waitUSec':-1}");
        ck_assert_reply(&reply, SERVICE "InvalidParameter");
        ck_assert_value(&reply, "parameter", "waitUSec");
        close(peer);
}
END_TEST

static void wait_in_open(int channel, const void *data)
{
        owned(varlink_clear) struct varlink_reply reply = {};
        int peer = broker_connect();

        (void)data;
        varlink_ask(peer, &reply, "Open", CREATE_SHARED);
        ck_assert_reply(&reply, NULL);
        child_tell(channel, varlink_has(&reply, "role", "initializer") ? INITIALIZER : MEMBER);
        child_hear(channel);
}

START_TEST(a_waiter_that_dies_or_hangs_up_while_it_waits_is_passed_over)
{
        int initializer = broker_connect(), impatient = broker_connect(), watcher = broker_connect();
        int64_t calls = broker_statistic(watcher, "counters.calls");
        struct child dying, next;

        open_as_initializer(initializer);
        varlink_call(impatient, "Open", CREATE_SHARED);
        broker_wait_for_calls(watcher, calls, 2);
        calls = broker_statistic(watcher, "counters.calls");
        child_start(&dying, wait_in_open, NULL);
        broker_wait_for_calls(watcher, calls, 1);
        calls = broker_statistic(watcher, "counters.calls");
        child_start(&next, wait_in_open, NULL);
        broker_wait_for_calls(watcher, calls, 1);

        child_kill(&dying);
        close(impatient);
        broker_wait_for_statistic(watcher, "sessions", 3);
        close(initializer);
        ck_assert_int_eq(child_hear(next.channel), INITIALIZER);
        child_end(&next);
        close(watcher);
}
END_TEST

START_TEST(a_waiter_that_only_shuts_its_side_down_still_gets_its_answer)
{
        owned(varlink_clear) struct varlink_reply reply = {};
        int initializer = broker_connect(), peer = broker_connect();
        int64_t calls = broker_statistic(initializer, "counters.calls");

        open_as_initializer(initializer);
        varlink_call(peer, "Open", "{'environment':'shared'}");
        broker_wait_for_calls(initializer, calls, 2);
        shutdown(peer, SHUT_WR);
        broker_statistic(initializer, "sessions");
        make_ready(initializer);
        ck_assert(varlink_receive(peer, &reply));
        ck_assert_reply(&reply, NULL);
        ck_assert(!varlink_receive(peer, &reply));
        close(initializer);
        close(peer);
}
END_TEST

START_TEST(a_waiter_that_shuts_its_side_down_and_hangs_up_later_is_passed_over)
{
        int initializer = broker_connect(), peer = broker_connect();
        int64_t calls = broker_statistic(initializer, "counters.calls");

        open_as_initializer(initializer);
        varlink_call(peer, "Open", "{'environment':'shared'}");
        broker_wait_for_calls(initializer, calls, 2);
        shutdown(peer, SHUT_WR);
        broker_statistic(initializer, "sessions");
        close(peer);
        broker_wait_for_statistic(initializer, "sessions", 1);
        close(initializer);
}
END_TEST

START_TEST(who_cannot_create_is_told_that_there_is_nothing_once_the_initializer_has_gone)
{
        owned(varlink_clear) struct varlink_reply reply = {};
        int initializer = broker_connect(), peer = broker_connect(), watcher = broker_connect();
        int64_t calls = broker_statistic(watcher, "counters.calls");

        open_as_initializer(initializer);
        varlink_call(peer, "Open", "{'environment':'shared'}");
        broker_wait_for_calls(watcher, calls, 2);
        close(initializer);
        ck_assert(varlink_receive(peer, &reply));
        ck_assert_reply(&reply, "EnvironmentNotFound");
        close(watcher);
        close(peer);
}
END_TEST

/* --- roles ------------------------------------------------------------------------------------------------------- */

START_TEST(only_the_initializer_says_ready_and_says_it_once)
{
        owned(varlink_clear) struct varlink_reply reply = {};
        int initializer = broker_connect(), peer = broker_connect();

        varlink_ask(peer, &reply, "Ready", "{'environment':'shared'}");
        ck_assert_reply(&reply, "EnvironmentNotFound");
        open_as_initializer(initializer);
        varlink_ask(peer, &reply, "Ready", "{'environment':'shared'}");
        ck_assert_reply(&reply, "NotAttached");
        make_ready(initializer);
        varlink_ask(peer, &reply, "Open", "{'environment':'shared'}");
        varlink_ask(peer, &reply, "Ready", "{'environment':'shared'}");
        ck_assert_reply(&reply, "NotYourRole");
        ck_assert_value(&reply, "role", "member");
        varlink_ask(initializer, &reply, "Ready", "{'environment':'shared'}");
        ck_assert_reply(&reply, "NotYourRole");
        close(initializer);
        close(peer);
}
END_TEST

START_TEST(the_initializer_that_opens_again_is_still_the_initializer)
{
        owned(varlink_clear) struct varlink_reply reply = {};
        int peer = broker_connect();

        open_as_initializer(peer);
        varlink_ask(peer, &reply, "Open", "{'environment':'shared','waitUSec':0}");
        ck_assert_reply(&reply, NULL);
        ck_assert_value(&reply, "role", "initializer");
        make_ready(peer);
        varlink_ask(peer, &reply, "Open", "{'environment':'shared','waitUSec':0}");
        ck_assert_value(&reply, "role", "member");
        close(peer);
}
END_TEST

START_TEST(the_control_page_shows_every_state)
{
        owned(varlink_clear) struct varlink_reply reply = {};
        int initializer = broker_connect();
        const struct control_page *page;
        uint32_t change;

        varlink_ask(initializer, &reply, "Open", CREATE_SHARED);
        page = broker_map(&reply, (size_t)varlink_number(&reply, "controlFileDescriptor"), CONTROL_SIZE, PROT_READ);
        ck_assert_ptr_ne(page, MAP_FAILED);
        ck_assert_ptr_eq(broker_map(&reply, 0, CONTROL_SIZE, PROT_READ | PROT_WRITE), MAP_FAILED);
        ck_assert_uint_eq(page->magic, CONTROL_MAGIC);
        ck_assert_uint_eq(page->version, CONTROL_VERSION);
        ck_assert_uint_eq(page->state, 1);
        ck_assert_uint_eq(page->generation, 0);
        change = page->change;
        make_ready(initializer);
        ck_assert_uint_eq(page->state, 2);
        ck_assert_uint_eq(page->generation, 1);
        ck_assert_uint_gt(page->change, change);
        change = page->change;
        varlink_ask(initializer, &reply, "Remove", "{'environment':'shared','force':true}");
        ck_assert_uint_eq(page->state, 5);
        ck_assert_uint_gt(page->change, change);
        munmap((void *)(uintptr_t)page, CONTROL_SIZE);
        close(initializer);
}
END_TEST

/* --- what each kind of Open finds in each state ------------------------------------------------------------------ */

enum found { ABSENT, INITIALIZING, READY, UNATTENDED, ABANDONED, RETIRED, N_FOUND };

/* The environment in that state, by `peer`; what `mapped` is keeps it held. */
static void *bring_about(enum found found, int peer)
{
        owned(varlink_clear) struct varlink_reply reply = {};
        const char *lifetime = found == UNATTENDED ? "persistent" : "attached";
        void *mapped;

        if (found == ABSENT)
                return NULL;
        varlink_ask(peer, &reply, "Open",
                    "{'environment':'shared','create':'always','definition':"
                    "{'lifetime':'%s','regions':[{'name':'data','size':4096}]}}",
                    lifetime);
        ck_assert_reply(&reply, NULL);
        if (found == INITIALIZING)
                return NULL;
        mapped = found == ABANDONED ? broker_map(&reply, 1, SIZE, PROT_READ) : NULL;
        make_ready(peer);
        if (found == UNATTENDED || found == ABANDONED)
                varlink_ask(peer, &reply, "Detach", "{'environment':'shared'}");
        if (found == RETIRED)
                varlink_ask(peer, &reply, "Remove", "{'environment':'shared','force':true}");
        ck_assert_reply(&reply, NULL);
        return mapped;
}

/* Either a role or an error. */
static const char *const expected[N_FOUND][3] = {
        [ABSENT] = { "EnvironmentNotFound", "initializer", "initializer" },
        [INITIALIZING] = { "NotReady", "NotReady", "EnvironmentExists" },
        [READY] = { "member", "member", "EnvironmentExists" },
        [UNATTENDED] = { "member", "member", "EnvironmentExists" },
        [ABANDONED] = { "member", "member", "initializer" },
        [RETIRED] = { "EnvironmentNotFound", "initializer", "initializer" },
};

START_TEST(an_open_joins_creates_or_is_refused_as_the_state_says)
{
        static const char *const creates[] = { "never", "ifAbsent", "always" };
        owned(varlink_clear) struct varlink_reply reply = {};
        enum found found = (enum found)(_i / 3);
        int holder = broker_connect(), peer = broker_connect();
        void *mapped = bring_about(found, holder);
        const char *answer;

        varlink_ask(peer, &reply, "Open", "{'environment':'shared','create':'%s','waitUSec':0," ONE_REGION "}",
                    creates[_i % 3]);
        answer = reply.error ? reply.error + strlen(BROKER) : varlink_value(&reply, "role");
        ck_assert_str_eq(answer, expected[found][_i % 3]);
        if (reply.error)
                ck_assert_value(&reply, "environment", "shared");
        if (mapped)
                munmap(mapped, SIZE);
        close(holder);
        close(peer);
}
END_TEST

START_TEST(creating_needs_a_definition)
{
        owned(varlink_clear) struct varlink_reply reply = {};
        int peer = broker_connect();

        for (int i = 0; i < 2; i++) {
                varlink_ask(peer, &reply, "Open", "{'environment':'shared','create':'%s'}", i ? "always" : "ifAbsent");
                ck_assert_reply(&reply, SERVICE "InvalidParameter");
                ck_assert_value(&reply, "parameter", "definition");
        }
        close(peer);
}
END_TEST

int main(void)
{
        Suite *suite = suite_create("opening");
        TCase *tcase = check_case(suite, "opening");

        tcase_add_checked_fixture(tcase, broker_setup, broker_teardown);
        tcase_add_test(tcase, of_many_openers_one_initialises_and_the_others_join_what_it_made);
        tcase_add_loop_test(tcase, when_the_initializer_goes_exactly_one_other_takes_over_every_time, 0, N_LEAVINGS);
        tcase_add_test(tcase, who_does_not_wait_is_told_who_initialises);
        tcase_add_test(tcase, a_wait_ends_at_its_deadline_and_not_before);
        tcase_add_test(tcase, of_many_waits_each_ends_at_its_own_deadline);
        tcase_add_test(tcase, a_deadline_beyond_the_end_of_time_waits_for_ever);
        tcase_add_test(tcase, a_wait_of_less_than_nothing_is_refused);
        tcase_add_test(tcase, a_waiter_that_dies_or_hangs_up_while_it_waits_is_passed_over);
        tcase_add_test(tcase, a_waiter_that_only_shuts_its_side_down_still_gets_its_answer);
        tcase_add_test(tcase, a_waiter_that_shuts_its_side_down_and_hangs_up_later_is_passed_over);
        tcase_add_test(tcase, who_cannot_create_is_told_that_there_is_nothing_once_the_initializer_has_gone);
        tcase_add_test(tcase, only_the_initializer_says_ready_and_says_it_once);
        tcase_add_test(tcase, the_initializer_that_opens_again_is_still_the_initializer);
        tcase_add_test(tcase, the_control_page_shows_every_state);
        tcase_add_loop_test(tcase, an_open_joins_creates_or_is_refused_as_the_state_says, 0, 3 * N_FOUND);
        tcase_add_test(tcase, creating_needs_a_definition);
        return check_run(suite);
}
