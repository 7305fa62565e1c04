/* Named memory: how long it stays, what deleting it leaves to whom, who may do what, and fork(2). */

#include "tests/integration/named-memory.h"

#include "tests/support/child.h"

#include "proto/util.h"

#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>

enum { GO = 1, DONE, OPENERS = 4, OPENINGS = 100, USER = 4321 };

enum { CREATE = REGION_NAMED_CREATE, MAKE = REGION_NAMED_CREATE | REGION_NAMED_EXCLUSIVE };

static struct region_broker *session;

static void setup(void)
{
        broker_setup();
        session = connect_session();
}

static void setup_for_all(void)
{
        broker_start_for_all();
        session = connect_session();
}

static void teardown(void)
{
        region_broker_close(session);
        broker_teardown();
}

static void wait_until_gone(const char *name)
{
        int peer = broker_connect();

        broker_wait_for_statistic(peer, "environments", 0);
        broker_wait_for_statistic(peer, "bytes", 0);
        refuse_open(session, name, 0, 0, REGION_E_NOT_FOUND);
        close(peer);
}

/* --- how long it stays ------------------------------------------------------------------------------------------- */

/* Makes it, or takes part in it, marks it and stays. */
static void make_and_stay(int channel, const void *flags)
{
        struct region_broker *own = connect_session();

        attach(open_named(own, "m", PAGE, *(const unsigned *)flags), 0)[0] = 'c';
        child_tell(channel, DONE);
        child_hear(channel);
        region_broker_close(own);
}

static void start_holder(struct child *child, unsigned flags)
{
        child_start(child, make_and_stay, &flags);
        ck_assert_int_eq(child_hear(child->channel), DONE);
}

START_TEST(it_stays_when_all_have_left_or_died)
{
        struct region_named *named;
        struct child maker = {};

        start_holder(&maker, MAKE);
        if (_i == 0)
                child_end(&maker);
        else
                child_kill(&maker);
        named = open_named(session, "m", PAGE, 0);
        ck_assert_int_eq(attach(named, 0)[0], 'c');
        region_named_close(named);
        check(region_named_delete(session, "m"));
        wait_until_gone("m");
}
END_TEST

START_TEST(a_temporary_one_goes_with_its_last_holder_also_a_killed_one)
{
        struct child maker = {}, other = {};

        start_holder(&maker, MAKE | REGION_NAMED_TEMPORARY);
        start_holder(&other, 0);
        child_kill(&maker);
        region_named_close(open_named(session, "m", PAGE, 0));
        child_kill(&other);
        wait_until_gone("m");
}
END_TEST

START_TEST(who_only_has_it_open_holds_it_too)
{
        struct region_named *named = open_named(session, "m", PAGE, MAKE | REGION_NAMED_TEMPORARY), *again;
        char *memory = attach(named, 0);

        memory[0] = 'x';
        check(region_named_detach(named, memory));
        again = open_named(session, "m", 0, 0);
        region_named_close(named);
        ck_assert_int_eq(attach(again, 0)[0], 'x');
        region_named_close(again);
        wait_until_gone("m");
}
END_TEST

/* --- deleting ---------------------------------------------------------------------------------------------------- */

START_TEST(what_is_deleted_stays_with_those_who_have_it)
{
        struct region_named *named = open_named(session, "m", PAGE, MAKE), *renewed;
        char *memory = attach(named, 0), *readable;
        struct child other = {};

        start_holder(&other, 0);
        check(region_named_delete(session, "m"));
        refuse_open(session, "m", 0, 0, REGION_E_NOT_FOUND);
        check_error(region_named_delete(session, "m"), REGION_E_NOT_FOUND);
        ck_assert_int_eq(memory[0], 'c');

        renewed = open_named(session, "m", 2 * PAGE, MAKE);
        ck_assert_int_eq(attach(renewed, 0)[0], 0);
        check(region_named_detach(named, memory));
        readable = attach(named, REGION_NAMED_READ_ONLY); /* it is the old one as before */
        ck_assert_int_eq(readable[0], 'c');
        attach(named, 0)[0] = 'd';
        ck_assert_int_eq(readable[0], 'd');
        ck_assert(!is_writable(readable));

        child_kill(&other);
        region_named_close(named);
        ck_assert_uint_eq(count_members(session, "m"), 1);
        region_named_close(renewed);
        check(region_named_delete(session, "m"));
        wait_until_gone("m");
}
END_TEST

START_TEST(what_is_not_there_cannot_be_deleted)
{
        check_error(region_named_delete(session, "m"), REGION_E_NOT_FOUND);
        check_error(region_named_delete(session, "/tmp/m"), REGION_E_NAME);
        check_error(region_named_delete(session, NULL), REGION_E_INVALID);
}
END_TEST

/* Opens it again and again while it is deleted, and finds in it what it puts there. */
static void open_often(int channel, const void *data)
{
        struct region_broker *own = connect_session();
        const int index = *(const int *)data;

        for (int i = 1; i <= OPENINGS; i++) {
                struct region_named *named = open_named(own, "m", PAGE, CREATE);

                ((atomic_int *)(void *)attach(named, 0))[index] = i;
                ck_assert_int_eq(((atomic_int *)(void *)attach(named, REGION_NAMED_READ_ONLY))[index], i);
                region_named_close(named);
        }
        child_tell(channel, DONE);
        region_broker_close(own);
}

static bool has_said(const struct child *child)
{
        struct pollfd ready = { .fd = child->channel, .events = POLLIN };

        return poll(&ready, 1, 0) > 0;
}

START_TEST(whoever_creates_gets_a_whole_memory_while_others_delete_it)
{
        struct child openers[OPENERS] = {};
        int deleted = 0, done = 0;

        for (int i = 0; i < OPENERS; i++)
                child_start(&openers[i], open_often, &i);
        while (done < OPENERS) {
                enum region_result result = region_named_delete(session, "m");

                ck_assert_msg(result == REGION_OK || result == REGION_E_NOT_FOUND, "%s", region_error_message());
                deleted += result == REGION_OK;
                if (has_said(&openers[done]))
                        ck_assert_int_eq(child_hear(openers[done++].channel), DONE);
        }
        ck_assert_int_gt(deleted, 0);
        for (int i = 0; i < OPENERS; i++)
                child_end(&openers[i]);
        region_named_close(open_named(session, "m", PAGE, CREATE));
        check(region_named_delete(session, "m"));
        wait_until_gone("m");
}
END_TEST

/* --- who may do what --------------------------------------------------------------------------------------------- */

static struct region_named *make_with_mode(struct region_broker *own, const char *name, mode_t mode)
{
        struct region_named *named = NULL;

        check(region_named_open(own, name, PAGE, MAKE, mode, &named));
        return named;
}

/* The memory `name` is for reading and nothing else. */
static void check_reader(struct region_broker *own, const char *name, unsigned flags)
{
        struct region_named *named = open_named(own, name, PAGE, flags);
        void *address = NULL;
        char *readable = attach(named, REGION_NAMED_READ_ONLY);

        ck_assert_int_eq(readable[0], 'x');
        ck_assert(!is_writable(readable));
        ck_assert_int_eq(mprotect(readable, PAGE, PROT_READ | PROT_WRITE), -1);
        check_error(region_named_attach(named, 0, &address), REGION_E_DENIED);
        ck_assert_ptr_nonnull(strstr(region_error_message(), "REGION_NAMED_READ_ONLY"));
        ck_assert_ptr_null(address);
        ck_assert_uint_eq(region_named_size(named), PAGE);
        region_named_close(named);
}

/* As one who is not root, for whom the bits of the owner count. */
static void use_as_owner(int channel, const void *unused)
{
        struct region_named *named, *none;
        struct region_broker *own;

        (void)channel, (void)unused;
        if (geteuid() == 0)
                broker_become(USER, USER);
        own = connect_session();
        named = make_with_mode(own, "m", 0400);
        attach(named, 0)[0] = 'x'; /* who makes it may fill it */
        check_reader(own, "m", 0);
        check_reader(own, "m", CREATE);
        region_named_close(named);
        check_reader(own, "m", 0);
        check(region_named_delete(own, "m"));

        check_error(region_named_open(own, "n", PAGE, MAKE, 0200, &none), REGION_E_DENIED);
        refuse_open(own, "n", 0, 0, REGION_E_NOT_FOUND);
        region_broker_close(own);
}

START_TEST(where_the_mode_permits_reading_only_it_is_opened_for_that)
{
        struct child owner = {};

        child_start(&owner, use_as_owner, NULL);
        child_end(&owner);
}
END_TEST

static void use_as_other(int channel, const void *unused)
{
        struct region_broker *own;

        (void)channel, (void)unused;
        broker_become(USER, USER);
        own = connect_session();
        check_reader(own, "readable", 0);
        check_reader(own, "readable", CREATE);
        refuse_open(own, "readable", PAGE, MAKE, REGION_E_EXISTS);
        refuse_open(own, "closed", PAGE, 0, REGION_E_NOT_FOUND);
        refuse_open(own, "closed", PAGE, CREATE, REGION_E_DENIED);
        attach(open_named(own, "writable", PAGE, 0), 0)[0] = 'y';
        check_error(region_named_delete(own, "writable"), REGION_E_DENIED);
        check_error(region_named_delete(own, "readable"), REGION_E_DENIED);
        check_error(region_named_delete(own, "closed"), REGION_E_NOT_FOUND);
        region_broker_close(own);
}

START_TEST(another_user_may_what_the_mode_says_and_never_delete)
{
        struct region_named *readable = make_with_mode(session, "readable", 0644);
        struct region_named *writable = make_with_mode(session, "writable", 0666);
        struct child other = {};

        attach(readable, 0)[0] = 'x';
        make_with_mode(session, "closed", 0600);
        child_start(&other, use_as_other, NULL);
        child_end(&other);
        ck_assert_int_eq(attach(writable, REGION_NAMED_READ_ONLY)[0], 'y');
}
END_TEST

/* --- fork -------------------------------------------------------------------------------------------------------- */

static struct region_named *inherited;
static char *inherited_memory;

static void go_on(int channel, const void *unused)
{
        char *readable;

        (void)unused;
        ck_assert_int_eq(inherited_memory[0], 'p');
        readable = attach(inherited, REGION_NAMED_READ_ONLY);
        inherited_memory[0] = 'c';
        ck_assert_int_eq(readable[0], 'c');
        check(region_named_detach(inherited, inherited_memory));
        child_tell(channel, DONE);
        child_hear(channel);
        ck_assert_int_eq(attach(inherited, 0)[0], 'd');
        child_tell(channel, DONE);
        child_hear(channel);
        region_broker_close(session);
}

START_TEST(a_child_goes_on_with_what_it_inherited)
{
        struct region_broker *other = connect_session();
        struct child child = {};

        inherited = open_named(session, "m", PAGE, MAKE | REGION_NAMED_TEMPORARY);
        inherited_memory = attach(inherited, 0);
        inherited_memory[0] = 'p';
        child_fork(&child, go_on, NULL);
        ck_assert_int_eq(child_hear(child.channel), DONE);
        ck_assert_int_eq(inherited_memory[0], 'c'); /* detached there alone */
        ck_assert_uint_eq(count_members(other, "m"), 2);
        inherited_memory[0] = 'd';
        region_named_close(inherited);
        child_tell(child.channel, GO);
        ck_assert_int_eq(child_hear(child.channel), DONE);
        ck_assert_uint_eq(count_members(other, "m"), 1);
        child_kill(&child);
        region_broker_close(other);
        wait_until_gone("m");
}
END_TEST

static void only_close(int channel, const void *unused)
{
        (void)channel, (void)unused;
        region_named_close(inherited);
        region_broker_close(session);
}

START_TEST(a_child_that_only_closes_takes_nothing_from_its_parent)
{
        struct child child = {};

        inherited = open_named(session, "m", PAGE, MAKE | REGION_NAMED_TEMPORARY);
        inherited_memory = attach(inherited, 0);
        inherited_memory[0] = 'p';
        child_fork(&child, only_close, NULL);
        child_end(&child);
        ck_assert_int_eq(inherited_memory[0], 'p');
        ck_assert_uint_eq(count_members(session, "m"), 1);
        attach(inherited, 0);
        region_named_close(inherited);
        wait_until_gone("m");
}
END_TEST

/* It asks nothing, so the broker does not know of it. */
static void only_hold(int channel, const void *unused)
{
        (void)unused;
        child_hear(channel);
        ck_assert_int_eq(inherited_memory[0], 'p');
        child_tell(channel, DONE);
        child_hear(channel);
}

START_TEST(what_a_silent_child_has_mapped_is_not_taken_away)
{
        struct child child = {};

        inherited = open_named(session, "m", PAGE, MAKE | REGION_NAMED_TEMPORARY);
        inherited_memory = attach(inherited, 0);
        inherited_memory[0] = 'p';
        child_fork(&child, only_hold, NULL);
        region_named_close(inherited);
        child_tell(child.channel, GO);
        ck_assert_int_eq(child_hear(child.channel), DONE);
        ck_assert_uint_eq(count_members(session, "m"), 0); /* there it is */
        child_kill(&child);
        wait_until_gone("m");
}
END_TEST

static void attach_deleted(int channel, const void *unused)
{
        (void)unused;
        child_hear(channel);
        ck_assert_int_eq(attach(inherited, 0)[0], 'p');
        ck_assert_int_eq(attach(inherited, REGION_NAMED_READ_ONLY)[0], 'p');
        child_tell(channel, DONE);
        child_hear(channel);
        region_broker_close(session);
}

START_TEST(a_child_attaches_what_was_deleted_meanwhile)
{
        struct child child = {};
        char *memory;

        inherited = open_named(session, "m", PAGE, MAKE);
        memory = attach(inherited, 0);
        memory[0] = 'p';
        child_fork(&child, attach_deleted, NULL);
        check(region_named_delete(session, "m"));
        region_named_close(inherited);
        child_tell(child.channel, GO);
        ck_assert_int_eq(child_hear(child.channel), DONE);
        child_end(&child);
        wait_until_gone("m");
}
END_TEST

int main(void)
{
        Suite *suite = suite_create("named-life");
        TCase *staying = check_case(suite, "staying"), *deleting = check_case(suite, "deleting");
        TCase *rights = check_case(suite, "rights"), *forking = check_case(suite, "fork");
        TCase *users;

        tcase_add_checked_fixture(staying, setup, teardown);
        tcase_add_loop_test(staying, it_stays_when_all_have_left_or_died, 0, 2);
        tcase_add_test(staying, a_temporary_one_goes_with_its_last_holder_also_a_killed_one);
        tcase_add_test(staying, who_only_has_it_open_holds_it_too);

        tcase_add_checked_fixture(deleting, setup, teardown);
        tcase_add_test(deleting, what_is_deleted_stays_with_those_who_have_it);
        tcase_add_test(deleting, what_is_not_there_cannot_be_deleted);
        tcase_add_test(deleting, whoever_creates_gets_a_whole_memory_while_others_delete_it);

        tcase_add_checked_fixture(rights, geteuid() == 0 ? setup_for_all : setup, teardown);
        tcase_add_test(rights, where_the_mode_permits_reading_only_it_is_opened_for_that);

        tcase_add_checked_fixture(forking, setup, teardown);
        tcase_add_test(forking, a_child_goes_on_with_what_it_inherited);
        tcase_add_test(forking, a_child_that_only_closes_takes_nothing_from_its_parent);
        tcase_add_test(forking, what_a_silent_child_has_mapped_is_not_taken_away);
        tcase_add_test(forking, a_child_attaches_what_was_deleted_meanwhile);

        if (geteuid() != 0) {
                fputs("test-named-life: users are not tried, for that takes root\n", stderr);
                return check_run(suite);
        }
        users = check_case(suite, "users");
        tcase_add_checked_fixture(users, setup_for_all, teardown);
        tcase_add_test(users, another_user_may_what_the_mode_says_and_never_delete);
        return check_run(suite);
}
