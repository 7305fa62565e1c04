/* Remove: at once, by force, and waiting for the holders to leave. */

#include "daemon/host/memory.h"
#include "proto/control.h"
#include "tests/unit/broker-room.h"

#include <sys/mman.h>
#include <unistd.h>

enum { SECOND = 1000000 };

static struct caller a, b, c;
static struct definition sheep; /* two regions of memfd memory */

static void setup(void)
{
        sheep = room_define(BACKING_MEMFD, 2);
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

static struct environment *create(void)
{
        return caller_create(&a, "sheep", &sheep);
}

static bool exists(void)
{
        return broker_find(&room, "sheep") != NULL;
}

/* --- at once ----------------------------------------------------------------------------------------------------- */

START_TEST(what_nobody_holds_is_removed_at_once)
{
        sheep.lifetime = LIFETIME_PERSISTENT;
        create();
        caller_leave(&a);
        ck_assert(exists());
        ck_assert_int_eq(caller_remove(&b, "sheep", false, 0), 0);
        ck_assert_int_eq(b.bytes, 8192);
        ck_assert(!exists());
        ck_assert_int_eq(room.counters.removed, 1);
        ck_assert_int_eq(room.counters.reclaimed_bytes, 8192);
        ck_assert_int_eq(caller_remove(&b, "sheep", false, 0), REFUSED_NO_ENVIRONMENT);
        caller_leave(&b);
        caller_leave(&c);
}
END_TEST

START_TEST(what_is_held_is_busy_also_by_oneself)
{
        const struct environment *environment = create();

        ck_assert_int_eq(caller_remove(&b, "sheep", false, 0), REFUSED_BUSY);
        ck_assert_ptr_eq(b.request.refusal.environment, environment);
        ck_assert_int_eq(caller_remove(&a, "sheep", false, 0), REFUSED_BUSY);
        ck_assert(!environment->draining);
        ck_assert(exists());
        leave_all();
}
END_TEST

START_TEST(what_something_unknown_maps_is_busy)
{
        void *bytes;

        sheep.lifetime = LIFETIME_PERSISTENT;
        create();
        bytes = room_map(&a.opened.grants[1]);
        caller_leave(&a);
        ck_assert_int_eq(caller_remove(&b, "sheep", false, 0), REFUSED_BUSY);
        munmap(bytes, 4096);
        ck_assert_int_eq(caller_remove(&b, "sheep", false, 0), 0);
        caller_leave(&b);
        caller_leave(&c);
}
END_TEST

START_TEST(only_the_owner_removes_and_who_may_not_see_it_is_not_told_of_it)
{
        sheep.mode = (struct opt_int){ true, 0666 };
        create();
        caller_become(&b, 1000, 1000);
        ck_assert_int_eq(caller_remove(&b, "sheep", true, 0), REFUSED_PERMISSION);
        a.opened.environment->mode = 0600;
        ck_assert_int_eq(caller_remove(&b, "sheep", true, 0), REFUSED_NO_ENVIRONMENT);
        ck_assert_str_eq(b.request.refusal.name, "sheep");
        ck_assert(exists());
        leave_all();
}
END_TEST

/* --- by force ---------------------------------------------------------------------------------------------------- */

START_TEST(by_force_it_loses_its_name_and_its_holders_keep_what_they_have)
{
        const struct environment *environment = create();

        ck_assert_int_eq(caller_join(&b, "sheep"), 0);
        ck_assert_int_eq(caller_remove(&c, "sheep", true, 0), 0);
        ck_assert_int_eq(c.bytes, 8192);
        ck_assert(!exists());
        ck_assert_int_eq(environment->state, STATE_RETIRED);
        ck_assert_int_eq(room.registry.n_environments, 1);
        ck_assert_int_eq(caller_join(&c, "sheep"), REFUSED_NO_ENVIRONMENT);
        caller_create(&c, "sheep", &sheep); /* the name can be given anew */
        ck_assert_int_eq(room.registry.n_environments, 2);
        caller_leave(&a);
        ck_assert_int_eq(room.registry.n_environments, 2);
        caller_leave(&b);
        ck_assert_int_eq(room.registry.n_environments, 1);
        caller_leave(&c);
}
END_TEST

START_TEST(a_holder_can_leave_by_name_what_was_retired)
{
        create();
        ck_assert_int_eq(caller_remove(&b, "sheep", true, 0), 0);
        ck_assert_int_eq(caller_ready(&a, "sheep"), REFUSED_NOT_YOUR_ROLE);
        ck_assert_int_eq(caller_detach(&b, "sheep"), REFUSED_NO_ENVIRONMENT);
        ck_assert_int_eq(caller_detach(&a, "sheep"), 0);
        ck_assert_int_eq(room.registry.n_environments, 0);
        leave_all();
}
END_TEST

START_TEST(a_region_of_a_retired_one_goes_with_its_own_last_holder)
{
        const struct environment *environment = create();

        ck_assert_int_eq(caller_remove(&b, "sheep", true, 0), 0);
        ck_assert_uint_eq(environment->n_regions, 2);
        close(a.opened.grants[0].fd);
        a.opened.grants[0].fd = -1;
        ck_assert_int_eq(broker_detach(&room, caller_request(&a),
                                       &(struct detach_args){ .environment = "sheep", .region = "r1" }),
                         0);
        ck_assert_uint_eq(environment->n_regions, 1);
        ck_assert_int_eq(room.registry.bytes, 4096);
        leave_all();
}
END_TEST

START_TEST(who_waits_for_ready_of_what_is_removed_creates_it_anew)
{
        ck_assert_int_eq(caller_open(&a, "sheep", CREATE_IF_ABSENT, &sheep), 0);
        ck_assert_int_eq(caller_open(&b, "sheep", CREATE_IF_ABSENT, &sheep), REFUSED_WAIT);
        ck_assert_int_eq(caller_remove(&c, "sheep", true, 0), 0);
        ck_assert_int_eq(b.r, 0);
        ck_assert_int_eq(b.opened.role, ROLE_INITIALIZER);
        ck_assert_int_eq(caller_ready(&a, "sheep"), REFUSED_NOT_YOUR_ROLE);
        leave_all();
}
END_TEST

/* --- waiting for the holders ------------------------------------------------------------------------------------- */

START_TEST(it_goes_when_the_last_holder_leaves_and_nobody_new_is_let_in)
{
        create();
        ck_assert_int_eq(caller_remove(&b, "sheep", false, SECOND), REFUSED_WAIT);
        ck_assert(a.opened.environment->draining);
        ck_assert_int_eq(caller_join(&c, "sheep"), REFUSED_WAIT);
        ck_assert_uint_eq(a.opened.environment->n_members, 1);
        caller_leave(&a);
        ck_assert_int_eq(b.r, 0);
        ck_assert_int_eq(b.bytes, 8192);
        ck_assert_int_eq(c.r, REFUSED_NO_ENVIRONMENT);
        caller_leave(&b);
        caller_leave(&c);
}
END_TEST

START_TEST(the_holders_are_told_on_the_control_page)
{
        const struct control_page *page;

        create();
        page = mmap(NULL, CONTROL_SIZE, PROT_READ, MAP_SHARED, a.opened.control_fd, 0);
        ck_assert_ptr_ne(page, MAP_FAILED);
        ck_assert_uint_eq(page->flags, 0);
        ck_assert_int_eq(caller_remove(&b, "sheep", false, SECOND), REFUSED_WAIT);
        ck_assert_uint_eq(page->flags, CONTROL_DRAINING);
        room_pass(SECOND);
        ck_assert_int_eq(b.r, REFUSED_BUSY);
        ck_assert_uint_eq(page->flags, 0);
        munmap((void *)(uintptr_t)page, CONTROL_SIZE);
        leave_all();
}
END_TEST

START_TEST(after_its_time_it_is_busy_and_who_was_kept_out_comes_in)
{
        create();
        ck_assert_int_eq(caller_remove(&b, "sheep", false, SECOND), REFUSED_WAIT);
        ck_assert_int_eq(caller_join(&c, "sheep"), REFUSED_WAIT);
        room_pass(SECOND - 1);
        ck_assert_int_eq(b.r, REFUSED_WAIT);
        room_pass(1);
        ck_assert_int_eq(b.r, REFUSED_BUSY);
        ck_assert_int_eq(c.r, 0);
        ck_assert(!a.opened.environment->draining);
        leave_all();
}
END_TEST

START_TEST(who_leaves_while_it_waits_to_remove_lets_the_others_in_again)
{
        create();
        ck_assert_int_eq(caller_remove(&b, "sheep", false, SECOND), REFUSED_WAIT);
        ck_assert_int_eq(caller_join(&c, "sheep"), REFUSED_WAIT);
        caller_leave(&b);
        ck_assert_int_eq(c.r, 0);
        ck_assert(!a.opened.environment->draining);
        caller_leave(&a);
        caller_leave(&c);
}
END_TEST

START_TEST(who_leaves_after_it_was_woken_to_remove_lets_the_others_in_again)
{
        sheep.lifetime = LIFETIME_PERSISTENT;
        create();
        ck_assert_int_eq(caller_remove(&b, "sheep", false, SECOND), REFUSED_WAIT);
        ck_assert_int_eq(caller_join(&c, "sheep"), REFUSED_WAIT);
        caller_hang_up(&a); /* which wakes the remover; but before it is asked again: */
        caller_hang_up(&b);
        room_settle();
        ck_assert_int_eq(c.r, 0);
        ck_assert(!c.opened.environment->draining);
        ck_assert_int_eq(caller_detach(&c, "sheep"), 0);
        ck_assert_int_eq(caller_remove(&c, "sheep", false, 0), 0);
        caller_leave(&c);
}
END_TEST

START_TEST(it_drains_until_the_last_of_those_that_wait_gives_up)
{
        create();
        ck_assert_int_eq(caller_remove(&b, "sheep", false, SECOND), REFUSED_WAIT);
        ck_assert_int_eq(caller_remove(&c, "sheep", false, 2 * SECOND), REFUSED_WAIT);
        room_pass(SECOND);
        ck_assert_int_eq(b.r, REFUSED_BUSY);
        ck_assert_int_eq(c.r, REFUSED_WAIT);
        ck_assert(a.opened.environment->draining);
        caller_leave(&a);
        ck_assert_int_eq(c.r, 0);
        caller_leave(&b);
        caller_leave(&c);
}
END_TEST

START_TEST(all_that_wait_to_remove_it_have_removed_it)
{
        create();
        ck_assert_int_eq(caller_remove(&b, "sheep", false, SECOND), REFUSED_WAIT);
        ck_assert_int_eq(caller_remove(&c, "sheep", false, SECOND), REFUSED_WAIT);
        caller_leave(&a);
        ck_assert_int_eq(b.r, 0);
        ck_assert_int_eq(c.r, 0);
        ck_assert_int_eq(b.bytes, 8192);
        ck_assert_int_eq(c.bytes, 8192);
        caller_leave(&b);
        caller_leave(&c);
}
END_TEST

START_TEST(what_was_to_stay_goes_too_when_its_holders_leave)
{
        sheep.lifetime = LIFETIME_PERSISTENT;
        create();
        ck_assert_int_eq(caller_remove(&b, "sheep", false, SECOND), REFUSED_WAIT);
        caller_leave(&a);
        ck_assert_int_eq(b.r, 0);
        ck_assert(!exists());
        caller_leave(&b);
        caller_leave(&c);
}
END_TEST

/* _i: of memory with events and of memory without. */
START_TEST(it_waits_for_what_is_unknown_as_well)
{
        const struct region *region;
        void *bytes;

        sheep = room_define(_i ? BACKING_SYSV : BACKING_MEMFD, 1);
        sheep.lifetime = LIFETIME_PERSISTENT;
        region = TAILQ_FIRST(&create()->regions);
        bytes = room_map(&a.opened.grants[0]);
        caller_leave(&a);
        ck_assert_int_eq(caller_remove(&b, "sheep", false, 60 * SECOND), REFUSED_WAIT);
        room_pass(10 * SECOND);
        ck_assert_int_eq(b.r, REFUSED_WAIT);
        room_unmap(region, bytes);
        if (!_i)
                room_hear_close();
        room_pass(5 * SECOND);
        ck_assert_int_eq(b.r, 0);
        ck_assert_int_eq(b.bytes, 4096);
        caller_leave(&b);
        caller_leave(&c);
}
END_TEST

START_TEST(a_new_one_of_the_same_name_is_not_what_was_to_be_removed)
{
        create();
        ck_assert_int_eq(caller_remove(&b, "sheep", false, SECOND), REFUSED_WAIT);
        caller_hang_up(&a); /* and before the remover is asked again: */
        ck_assert_int_eq(caller_open(&c, "sheep", CREATE_IF_ABSENT, &sheep), 0);
        room_settle();
        ck_assert_int_eq(b.r, 0);
        ck_assert_int_eq(b.bytes, 8192);
        ck_assert(!c.opened.environment->draining);
        ck_assert(exists());
        caller_leave(&b);
        caller_leave(&c);
}
END_TEST

START_TEST(what_becomes_free_without_anybody_waiting_is_not_removed)
{
        struct environment *environment;
        void *bytes;

        sheep.lifetime = LIFETIME_PERSISTENT;
        environment = create();
        bytes = room_map(&a.opened.grants[0]);
        caller_leave(&a);
        ck_assert_int_eq(caller_remove(&b, "sheep", false, SECOND), REFUSED_WAIT);
        caller_leave(&b);
        munmap(bytes, 4096);
        room_hear_close();
        room_pass(10 * SECOND);
        ck_assert(exists());
        ck_assert(!environment->draining);
        ck_assert_int_eq(caller_remove(&c, "sheep", false, 0), 0);
        caller_leave(&c);
}
END_TEST

START_TEST(a_remover_that_may_not_wait_again_lets_the_others_in)
{
        void *bytes;

        room.settings.limits.waiting_per_user = 1;
        sheep.lifetime = LIFETIME_PERSISTENT;
        create();
        bytes = room_map(&a.opened.grants[0]);
        ck_assert_int_eq(caller_remove(&b, "sheep", false, SECOND), REFUSED_WAIT);
        caller_hang_up(&a); /* wakes the remover; and before it is asked again another takes its place: */
        ck_assert_int_eq(caller_join(&c, "sheep"), REFUSED_WAIT);
        room_settle();
        ck_assert_int_eq(b.r, REFUSED_QUOTA);
        ck_assert_int_eq(c.r, 0);
        munmap(bytes, 4096);
        caller_leave(&c);
        ck_assert_int_eq(caller_remove(&b, "sheep", false, 0), 0);
        caller_leave(&b);
}
END_TEST

START_TEST(a_drained_initializer_can_still_finish)
{
        ck_assert_int_eq(caller_open(&a, "sheep", CREATE_IF_ABSENT, &sheep), 0);
        ck_assert_int_eq(caller_open(&c, "sheep", CREATE_IF_ABSENT, &sheep), REFUSED_WAIT);
        ck_assert_int_eq(caller_remove(&b, "sheep", false, SECOND), REFUSED_WAIT);
        ck_assert_int_eq(caller_ready(&a, "sheep"), 0);
        ck_assert_int_eq(c.r, REFUSED_WAIT);
        caller_leave(&a);
        ck_assert_int_eq(b.r, 0);
        ck_assert_int_eq(c.r, 0);
        ck_assert_int_eq(c.opened.role, ROLE_INITIALIZER);
        caller_leave(&b);
        caller_leave(&c);
}
END_TEST

static void add_immediate(Suite *suite)
{
        TCase *tcase = room_case(suite, "at once and by force", setup);

        tcase_add_test(tcase, what_nobody_holds_is_removed_at_once);
        tcase_add_test(tcase, what_is_held_is_busy_also_by_oneself);
        tcase_add_test(tcase, what_something_unknown_maps_is_busy);
        tcase_add_test(tcase, only_the_owner_removes_and_who_may_not_see_it_is_not_told_of_it);
        tcase_add_test(tcase, by_force_it_loses_its_name_and_its_holders_keep_what_they_have);
        tcase_add_test(tcase, a_holder_can_leave_by_name_what_was_retired);
        tcase_add_test(tcase, a_region_of_a_retired_one_goes_with_its_own_last_holder);
        tcase_add_test(tcase, who_waits_for_ready_of_what_is_removed_creates_it_anew);
}

static void add_waiting(Suite *suite)
{
        TCase *tcase = room_case(suite, "waiting for the holders", setup);

        tcase_add_test(tcase, it_goes_when_the_last_holder_leaves_and_nobody_new_is_let_in);
        tcase_add_test(tcase, the_holders_are_told_on_the_control_page);
        tcase_add_test(tcase, after_its_time_it_is_busy_and_who_was_kept_out_comes_in);
        tcase_add_test(tcase, who_leaves_while_it_waits_to_remove_lets_the_others_in_again);
        tcase_add_test(tcase, who_leaves_after_it_was_woken_to_remove_lets_the_others_in_again);
        tcase_add_test(tcase, it_drains_until_the_last_of_those_that_wait_gives_up);
        tcase_add_test(tcase, all_that_wait_to_remove_it_have_removed_it);
        tcase_add_test(tcase, what_was_to_stay_goes_too_when_its_holders_leave);
        tcase_add_loop_test(tcase, it_waits_for_what_is_unknown_as_well, 0, 2);
        tcase_add_test(tcase, a_new_one_of_the_same_name_is_not_what_was_to_be_removed);
        tcase_add_test(tcase, what_becomes_free_without_anybody_waiting_is_not_removed);
        tcase_add_test(tcase, a_remover_that_may_not_wait_again_lets_the_others_in);
        tcase_add_test(tcase, a_drained_initializer_can_still_finish);
}

int main(void)
{
        Suite *suite = suite_create("broker-removal");

        add_immediate(suite);
        add_waiting(suite);
        return check_run(suite);
}
