/* Calls to Open that wait until an environment is ready, and what becomes of them when its initializer is lost. */

#include "tests/unit/broker-room.h"

#include <sys/mman.h>

static struct caller a, b, c;
static struct definition sheep; /* two regions of memfd memory */

static void setup(void)
{
        sheep = room_define(BACKING_MEMFD, 2);
}

static void connect_all(void)
{
        caller_connect(&a);
        caller_connect(&b);
        caller_connect(&c);
}

static void leave_all(void)
{
        caller_leave(&a);
        caller_leave(&b);
        caller_leave(&c);
}

/* --- waiting ----------------------------------------------------------------------------------------------------- */

START_TEST(the_others_wait_for_ready)
{
        connect_all();
        ck_assert_int_eq(caller_open(&a, "sheep", CREATE_IF_ABSENT, &sheep), 0);
        ck_assert_int_eq(caller_open(&b, "sheep", CREATE_IF_ABSENT, &sheep), REFUSED_WAIT);
        ck_assert_int_eq(caller_join(&c, "sheep"), REFUSED_WAIT);
        ck_assert_int_eq(a.peer.account->waiting, 2);
        caller_ready(&a, "sheep");
        ck_assert_int_eq(b.r, 0);
        ck_assert_int_eq(c.r, 0);
        ck_assert_int_eq(b.opened.role, ROLE_MEMBER);
        ck_assert_int_eq(a.peer.account->waiting, 0);
        leave_all();
}
END_TEST

START_TEST(the_initializer_itself_does_not_wait)
{
        caller_connect(&a);
        ck_assert_int_eq(caller_open(&a, "sheep", CREATE_IF_ABSENT, &sheep), 0);
        ck_assert_int_eq(caller_open(&a, "sheep", CREATE_IF_ABSENT, &sheep), 0);
        ck_assert_int_eq(a.opened.role, ROLE_INITIALIZER);
        ck_assert(!a.opened.created);
        caller_leave(&a);
}
END_TEST

START_TEST(who_does_not_wait_is_told_that_it_is_not_ready)
{
        const struct open_args args = { .environment = "sheep" };

        connect_all();
        ck_assert_int_eq(caller_open(&a, "sheep", CREATE_IF_ABSENT, &sheep), 0);
        ck_assert_int_eq(caller_open_as(&b, &args, 0), REFUSED_NOT_READY);
        ck_assert_ptr_eq(b.request.refusal.environment, a.opened.environment);
        ck_assert_int_eq(a.peer.account->waiting, 0);
        leave_all();
}
END_TEST

START_TEST(each_waits_for_its_own_time)
{
        const struct open_args args = { .environment = "sheep" };

        connect_all();
        ck_assert_int_eq(caller_open(&a, "sheep", CREATE_IF_ABSENT, &sheep), 0);
        ck_assert_int_eq(caller_open_as(&b, &args, 1000), REFUSED_WAIT);
        ck_assert_int_eq(caller_open_as(&c, &args, 5000), REFUSED_WAIT);
        room_pass(999);
        ck_assert_int_eq(b.r, REFUSED_WAIT);
        room_pass(1);
        ck_assert_int_eq(b.r, REFUSED_NOT_READY);
        ck_assert_int_eq(c.r, REFUSED_WAIT);
        caller_ready(&a, "sheep");
        ck_assert_int_eq(c.r, 0);
        ck_assert_int_eq(broker_next_due(&room), -1);
        leave_all();
}
END_TEST

START_TEST(a_caller_that_ends_while_it_waits_is_forgotten)
{
        connect_all();
        ck_assert_int_eq(caller_open(&a, "sheep", CREATE_IF_ABSENT, &sheep), 0);
        ck_assert_int_eq(caller_join(&b, "sheep"), REFUSED_WAIT);
        ck_assert_int_eq(caller_join(&c, "sheep"), REFUSED_WAIT);
        caller_leave(&b);
        ck_assert_int_eq(a.peer.account->waiting, 1);
        caller_ready(&a, "sheep");
        ck_assert_int_eq(c.r, 0);
        ck_assert_uint_eq(a.opened.environment->n_members, 2);
        caller_leave(&a);
        caller_leave(&c);
}
END_TEST

START_TEST(a_caller_that_ends_after_it_was_woken_is_forgotten)
{
        uint64_t generation;

        connect_all();
        ck_assert_int_eq(caller_open(&a, "sheep", CREATE_IF_ABSENT, &sheep), 0);
        ck_assert_int_eq(caller_join(&b, "sheep"), REFUSED_WAIT);
        ck_assert_int_eq(caller_join(&c, "sheep"), REFUSED_WAIT);
        ck_assert_int_eq(broker_ready(&room, caller_request(&a), "sheep", &generation), 0);
        ck_assert_uint_eq(generation, 1);
        caller_leave(&b); /* nothing was asked again yet */
        room_settle();
        ck_assert_int_eq(c.r, 0);
        caller_leave(&a);
        caller_leave(&c);
}
END_TEST

START_TEST(no_more_calls_wait_than_a_user_may_have)
{
        connect_all();
        room.settings.limits.waiting_per_user = 1;
        ck_assert_int_eq(caller_open(&a, "sheep", CREATE_IF_ABSENT, &sheep), 0);
        ck_assert_int_eq(caller_join(&b, "sheep"), REFUSED_WAIT);
        ck_assert_int_eq(caller_join(&c, "sheep"), REFUSED_QUOTA);
        ck_assert_str_eq(c.request.refusal.name, "waitingCallsPerUser");
        caller_become(&c, 1000, 1000);
        ck_assert_int_eq(caller_join(&c, "sheep"), REFUSED_NO_ENVIRONMENT);
        caller_ready(&a, "sheep");
        ck_assert_int_eq(b.r, 0);
        leave_all();
}
END_TEST

/* --- the initializer is lost ------------------------------------------------------------------------------------- */

START_TEST(of_those_that_wait_one_makes_it_anew_when_the_initializer_leaves)
{
        const struct environment *first;
        uint64_t id;

        connect_all();
        ck_assert_int_eq(caller_open(&a, "sheep", CREATE_IF_ABSENT, &sheep), 0);
        first = a.opened.environment;
        id = first->id;
        ck_assert_int_eq(caller_open(&b, "sheep", CREATE_IF_ABSENT, &sheep), REFUSED_WAIT);
        ck_assert_int_eq(caller_open(&c, "sheep", CREATE_IF_ABSENT, &sheep), REFUSED_WAIT);
        caller_leave(&a);
        ck_assert_int_eq(b.r, 0); /* the first that waited */
        ck_assert_int_eq(b.opened.role, ROLE_INITIALIZER);
        ck_assert(b.opened.created);
        ck_assert_uint_ne(b.opened.environment->id, id);
        ck_assert_int_eq(c.r, REFUSED_WAIT);
        ck_assert_int_eq(room.counters.created, 2);

        caller_leave(&b);
        ck_assert_int_eq(c.r, 0);
        ck_assert_int_eq(c.opened.role, ROLE_INITIALIZER);
        ck_assert_int_eq(caller_ready(&c, "sheep"), 0);
        caller_leave(&c);
}
END_TEST

START_TEST(who_cannot_create_waits_for_who_can)
{
        connect_all();
        ck_assert_int_eq(caller_open(&a, "sheep", CREATE_IF_ABSENT, &sheep), 0);
        ck_assert_int_eq(caller_join(&b, "sheep"), REFUSED_WAIT);
        ck_assert_int_eq(caller_open(&c, "sheep", CREATE_IF_ABSENT, &sheep), REFUSED_WAIT);
        caller_leave(&a);
        ck_assert_int_eq(c.r, 0);
        ck_assert_int_eq(c.opened.role, ROLE_INITIALIZER);
        ck_assert_int_eq(b.r, REFUSED_WAIT);
        caller_ready(&c, "sheep");
        ck_assert_int_eq(b.r, 0);
        ck_assert_int_eq(b.opened.role, ROLE_MEMBER);
        caller_leave(&b);
        caller_leave(&c);
}
END_TEST

START_TEST(where_nobody_can_create_it_is_gone)
{
        connect_all();
        ck_assert_int_eq(caller_open(&a, "sheep", CREATE_IF_ABSENT, &sheep), 0);
        ck_assert_int_eq(caller_join(&b, "sheep"), REFUSED_WAIT);
        caller_leave(&a);
        ck_assert_int_eq(b.r, REFUSED_NO_ENVIRONMENT);
        caller_leave(&b);
        caller_leave(&c);
}
END_TEST

START_TEST(the_death_of_the_initializer_is_the_same_as_its_leaving)
{
        caller_start(&a);
        caller_connect(&b);
        ck_assert_int_eq(caller_open(&a, "sheep", CREATE_IF_ABSENT, &sheep), 0);
        ck_assert_int_eq(caller_open(&b, "sheep", CREATE_IF_ABSENT, &sheep), REFUSED_WAIT);
        caller_die(&a);
        ck_assert_int_eq(b.r, 0);
        ck_assert_int_eq(b.opened.role, ROLE_INITIALIZER);
        ck_assert_int_eq(room.counters.deaths, 1);
        caller_leave(&b);
}
END_TEST

START_TEST(detaching_before_ready_gives_the_part_up)
{
        connect_all();
        ck_assert_int_eq(caller_open(&a, "sheep", CREATE_IF_ABSENT, &sheep), 0);
        ck_assert_int_eq(caller_open(&b, "sheep", CREATE_IF_ABSENT, &sheep), REFUSED_WAIT);
        ck_assert_int_eq(caller_detach(&a, "sheep"), 0);
        ck_assert_int_eq(b.opened.role, ROLE_INITIALIZER);
        ck_assert_int_eq(caller_open(&a, "sheep", CREATE_IF_ABSENT, &sheep), REFUSED_WAIT);
        caller_ready(&b, "sheep");
        ck_assert_int_eq(a.r, 0);
        leave_all();
}
END_TEST

START_TEST(a_half_made_environment_that_is_held_is_never_joined)
{
        const struct environment *half;
        void *bytes;

        connect_all();
        ck_assert_int_eq(caller_open(&a, "sheep", CREATE_IF_ABSENT, &sheep), 0);
        half = a.opened.environment;
        bytes = room_map(&a.opened.grants[0]);
        ck_assert_int_eq(caller_open(&b, "sheep", CREATE_IF_ABSENT, &sheep), REFUSED_WAIT);
        caller_leave(&a);
        ck_assert_int_eq(half->state, STATE_RETIRED); /* something of the initializer still maps it */
        ck_assert_ptr_ne(b.opened.environment, half);
        ck_assert_int_eq(room.registry.n_environments, 2);
        ck_assert_uint_eq(half->n_regions, 1); /* the region that nobody maps has gone */
        munmap(bytes, 4096);
        room_hear_close();
        ck_assert_int_eq(room.registry.n_environments, 1);
        caller_leave(&b);
        caller_leave(&c);
}
END_TEST

int main(void)
{
        Suite *suite = suite_create("broker-waiting");
        TCase *waiting = room_case(suite, "waiting", setup);
        TCase *election = room_case(suite, "election", setup);

        tcase_add_test(waiting, the_others_wait_for_ready);
        tcase_add_test(waiting, the_initializer_itself_does_not_wait);
        tcase_add_test(waiting, who_does_not_wait_is_told_that_it_is_not_ready);
        tcase_add_test(waiting, each_waits_for_its_own_time);
        tcase_add_test(waiting, a_caller_that_ends_while_it_waits_is_forgotten);
        tcase_add_test(waiting, a_caller_that_ends_after_it_was_woken_is_forgotten);
        tcase_add_test(waiting, no_more_calls_wait_than_a_user_may_have);

        tcase_add_test(election, of_those_that_wait_one_makes_it_anew_when_the_initializer_leaves);
        tcase_add_test(election, who_cannot_create_waits_for_who_can);
        tcase_add_test(election, where_nobody_can_create_it_is_gone);
        tcase_add_test(election, the_death_of_the_initializer_is_the_same_as_its_leaving);
        tcase_add_test(election, detaching_before_ready_gives_the_part_up);
        tcase_add_test(election, a_half_made_environment_that_is_held_is_never_joined);
        return check_run(suite);
}
