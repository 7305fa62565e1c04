/* Open and Ready. Calls that have to wait are in test-broker-waiting.c. */

#include "proto/control.h"
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

/* --- creating and joining ---------------------------------------------------------------------------------------- */

START_TEST(who_creates_is_to_initialise)
{
        const struct environment *environment;

        caller_connect(&a);
        ck_assert_int_eq(caller_open(&a, "sheep", CREATE_IF_ABSENT, &sheep), 0);
        environment = a.opened.environment;
        ck_assert(a.opened.created);
        ck_assert_int_eq(a.opened.role, ROLE_INITIALIZER);
        ck_assert_int_eq(environment->state, STATE_INITIALIZING);
        ck_assert_uint_eq(environment->generation, 0);
        ck_assert_uint_eq(environment->n_members, 1);
        ck_assert_int_eq(environment->bytes, 8192);
        ck_assert_uint_eq(a.opened.n_grants, 2);
        for (size_t i = 0; i < 2; i++) {
                ck_assert_int_ge(a.opened.grants[i].fd, 0);
                ck_assert_int_eq(a.opened.grants[i].access, ACCESS_WRITE);
                ck_assert_uint_eq(a.opened.grants[i].region->n_attachments, 1);
        }
        ck_assert_int_eq(room.registry.n_attachments, 2);
        ck_assert_int_eq(caller_ready(&a, "sheep"), 0);
        ck_assert_int_eq(environment->state, STATE_READY);
        ck_assert_uint_eq(environment->generation, 1);
        caller_leave(&a);
}
END_TEST

START_TEST(who_joins_has_nothing_to_do)
{
        connect_all();
        caller_create(&a, "sheep", &sheep);
        ck_assert_int_eq(caller_join(&b, "sheep"), 0);
        ck_assert_int_eq(caller_open(&c, "sheep", CREATE_IF_ABSENT, &sheep), 0);
        ck_assert_int_eq(b.opened.role, ROLE_MEMBER);
        ck_assert(!c.opened.created);
        ck_assert_ptr_eq(b.opened.environment, a.opened.environment);
        ck_assert_uint_eq(a.opened.environment->n_members, 3);
        ck_assert_int_eq(room.counters.created, 1);
        ck_assert_int_eq(room.counters.joined, 2);
        leave_all();
}
END_TEST

START_TEST(the_control_page_shows_each_step)
{
        const struct control_page *page;

        caller_connect(&a);
        ck_assert_int_eq(caller_open(&a, "sheep", CREATE_ALWAYS, &sheep), 0);
        page = mmap(NULL, CONTROL_SIZE, PROT_READ, MAP_SHARED, a.opened.control_fd, 0);
        ck_assert_ptr_ne(page, MAP_FAILED);
        ck_assert_uint_eq(page->state, STATE_INITIALIZING);
        caller_ready(&a, "sheep");
        ck_assert_uint_eq(page->state, STATE_READY);
        ck_assert_uint_eq(page->generation, 1);
        ck_assert_int_eq(caller_remove(&a, "sheep", true, 0), 0);
        ck_assert_uint_eq(page->state, STATE_RETIRED);
        caller_leave(&a);
        munmap((void *)(uintptr_t)page, CONTROL_SIZE);
}
END_TEST

START_TEST(what_is_not_there_is_not_found_unless_it_may_be_created)
{
        caller_connect(&a);
        ck_assert_int_eq(caller_join(&a, "sheep"), REFUSED_NO_ENVIRONMENT);
        ck_assert_str_eq(a.request.refusal.name, "sheep");
        ck_assert_int_eq(caller_open(&a, "sheep", 0, &sheep), REFUSED_NO_ENVIRONMENT); /* never is the default */
        ck_assert_int_eq(caller_open(&a, "sheep", CREATE_IF_ABSENT, NULL), REFUSED_INVALID_PARAMETER);
        ck_assert_str_eq(a.request.refusal.name, "definition");
        caller_leave(&a);
}
END_TEST

START_TEST(what_must_be_new_must_not_be_there)
{
        connect_all();
        caller_create(&a, "sheep", &sheep);
        ck_assert_int_eq(caller_open(&b, "sheep", CREATE_ALWAYS, &sheep), REFUSED_ENVIRONMENT_EXISTS);
        ck_assert_ptr_eq(b.request.refusal.environment, a.opened.environment);
        leave_all();
}
END_TEST

START_TEST(what_something_unknown_still_holds_can_be_joined_and_its_name_taken)
{
        struct environment *old;
        void *bytes;

        connect_all();
        old = caller_create(&a, "sheep", &sheep);
        bytes = room_map(&a.opened.grants[0]);
        caller_leave(&a);
        ck_assert(old->in_doubt);
        ck_assert_int_eq(caller_join(&b, "sheep"), 0);
        ck_assert_ptr_eq(b.opened.environment, old);
        ck_assert(!old->in_doubt);
        ck_assert_int_eq(caller_open(&c, "sheep", CREATE_ALWAYS, &sheep), REFUSED_ENVIRONMENT_EXISTS);

        caller_leave(&b);
        ck_assert(old->in_doubt);
        ck_assert_int_eq(caller_open(&c, "sheep", CREATE_ALWAYS, &sheep), 0);
        ck_assert_ptr_ne(c.opened.environment, old);
        ck_assert_int_eq(old->state, STATE_RETIRED);
        ck_assert_ptr_eq(broker_find(&room, "sheep"), c.opened.environment);
        ck_assert_int_eq(room.registry.n_environments, 2);
        munmap(bytes, 4096);
        room_hear_close();
        ck_assert_int_eq(room.registry.n_environments, 1);
        caller_leave(&c);
}
END_TEST

START_TEST(a_creation_that_fails_leaves_nothing_charged)
{
        const char *names[] = { "r1", "nosuch" }, *twice[] = { "r1", "r1" };
        struct open_args args = {
                .environment = "sheep",
                .create = CREATE_IF_ABSENT,
                .definition = &sheep,
                .regions = { true, 2, names },
        };

        caller_connect(&a);
        ck_assert_int_eq(caller_open_as(&a, &args, -1), REFUSED_NO_REGION);
        ck_assert_str_eq(a.request.refusal.name, "sheep");
        ck_assert_str_eq(a.request.refusal.region, "nosuch");
        args.regions.items = twice;
        ck_assert_int_eq(caller_open_as(&a, &args, -1), REFUSED_INVALID_PARAMETER);
        ck_assert_str_eq(a.request.refusal.name, "regions");
        ck_assert_ptr_null(broker_find(&room, "sheep"));
        ck_assert_int_eq(a.peer.account->environments, 0);
        ck_assert_int_eq(a.peer.account->regions, 0);
        ck_assert_int_eq(a.peer.account->bytes, 0);
        caller_leave(&a);
}
END_TEST

START_TEST(only_the_regions_asked_for_are_granted)
{
        const char *names[] = { "r2" };
        struct open_args args = { .environment = "sheep", .access = ACCESS_READ, .regions = { true, 1, names } };

        connect_all();
        caller_create(&a, "sheep", &sheep);
        ck_assert_int_eq(caller_open_as(&b, &args, -1), 0);
        ck_assert_uint_eq(b.opened.n_grants, 1);
        ck_assert_str_eq(b.opened.grants[0].region->name, "r2");
        ck_assert_int_eq(b.opened.grants[0].access, ACCESS_READ);
        args.regions.n = 0;
        ck_assert_int_eq(caller_open_as(&c, &args, -1), 0);
        ck_assert_uint_eq(c.opened.n_grants, 0);
        ck_assert_int_ge(c.opened.control_fd, 0);
        ck_assert_uint_eq(a.opened.environment->n_members, 3);
        leave_all();
}
END_TEST

START_TEST(opening_again_keeps_what_one_has_and_raises_the_access)
{
        const struct open_args reading = { .environment = "sheep", .access = ACCESS_READ };
        const struct environment *environment;
        struct member *member;

        connect_all();
        environment = caller_create(&a, "sheep", &sheep);
        ck_assert_int_eq(caller_open_as(&b, &reading, -1), 0);
        member = member_find(&b.peer, environment);
        ck_assert_int_eq(attachment_find(member, b.opened.grants[0].region)->access, ACCESS_READ);
        ck_assert_int_eq(caller_join(&b, "sheep"), 0);
        ck_assert_ptr_eq(member_find(&b.peer, environment), member);
        ck_assert_uint_eq(environment->n_members, 2);
        ck_assert_uint_eq(b.opened.grants[0].region->n_attachments, 2);
        ck_assert_int_eq(attachment_find(member, b.opened.grants[0].region)->access, ACCESS_WRITE);
        ck_assert_int_eq(caller_open_as(&b, &reading, -1), 0);
        ck_assert_int_eq(attachment_find(member, b.opened.grants[0].region)->access, ACCESS_WRITE);
        ck_assert_int_eq(b.opened.grants[0].access, ACCESS_READ); /* what was granted now is as asked for */
        leave_all();
}
END_TEST

START_TEST(another_layout_is_refused_and_none_is_taken)
{
        struct definition other = sheep;

        connect_all();
        sheep.schema = "sheep 1";
        caller_create(&a, "sheep", &sheep);
        other.schema = "sheep 2";
        ck_assert_int_eq(caller_open(&b, "sheep", CREATE_IF_ABSENT, &other), REFUSED_SCHEMA);
        ck_assert_str_eq(b.request.refusal.schema, "sheep 2");
        ck_assert_str_eq(b.request.refusal.environment->schema, "sheep 1");
        ck_assert_int_eq(caller_join(&b, "sheep"), 0);
        ck_assert_int_eq(caller_open(&c, "sheep", CREATE_IF_ABSENT, &sheep), 0);
        leave_all();
}
END_TEST

START_TEST(a_layout_where_there_is_none_is_another_layout)
{
        struct definition other = sheep;

        connect_all();
        caller_create(&a, "sheep", &sheep);
        other.schema = "sheep 1";
        ck_assert_int_eq(caller_open(&b, "sheep", CREATE_IF_ABSENT, &other), REFUSED_SCHEMA);
        ck_assert_ptr_null(b.request.refusal.environment->schema);
        leave_all();
}
END_TEST

START_TEST(owner_group_and_mode_decide_who_joins)
{
        const struct open_args reading = { .environment = "sheep", .access = ACCESS_READ };

        connect_all();
        sheep.mode = (struct opt_int){ true, 0640 };
        caller_become(&a, 1000, 2000);
        caller_become(&b, 1001, 2000);
        caller_become(&c, 1002, 2002);
        caller_create(&a, "sheep", &sheep);
        ck_assert_int_eq(caller_join(&b, "sheep"), REFUSED_PERMISSION); /* for writing */
        ck_assert_int_eq(caller_open_as(&b, &reading, -1), 0);
        ck_assert_int_eq(caller_open_as(&c, &reading, -1), REFUSED_NO_ENVIRONMENT); /* it may not see it */
        ck_assert_str_eq(c.request.refusal.name, "sheep");
        ck_assert_ptr_null(c.request.refusal.environment);
        ck_assert_int_eq(caller_open(&c, "sheep", CREATE_IF_ABSENT, &sheep), REFUSED_PERMISSION);
        caller_become(&c, 0, 0);
        ck_assert_int_eq(caller_join(&c, "sheep"), 0);
        leave_all();
}
END_TEST

START_TEST(private_memory_is_for_one_process)
{
        struct definition wolf = room_define(BACKING_PRIVATE, 1);
        const struct environment *environment;

        caller_start(&a);
        caller_connect(&b);
        environment = caller_create(&a, "wolf", &wolf);
        ck_assert_int_eq(a.opened.grants[0].fd, -1);
        ck_assert_int_eq(caller_open(&b, "wolf", CREATE_IF_ABSENT, &wolf), REFUSED_BUSY);
        ck_assert_ptr_eq(b.request.refusal.environment, environment);
        caller_leave(&a);
        ck_assert_int_eq(caller_join(&b, "wolf"), REFUSED_NO_ENVIRONMENT);
        caller_leave(&b);
}
END_TEST

/* --- Ready ------------------------------------------------------------------------------------------------------- */

START_TEST(only_the_initializer_says_ready_and_only_once)
{
        connect_all();
        ck_assert_int_eq(caller_ready(&a, "sheep"), REFUSED_NO_ENVIRONMENT);
        ck_assert_int_eq(caller_open(&a, "sheep", CREATE_IF_ABSENT, &sheep), 0);
        ck_assert_int_eq(caller_ready(&b, "sheep"), REFUSED_NOT_ATTACHED);
        ck_assert_int_eq(caller_ready(&a, "sheep"), 0);
        ck_assert_int_eq(caller_ready(&a, "sheep"), REFUSED_NOT_YOUR_ROLE);
        ck_assert_int_eq(a.request.refusal.role, ROLE_MEMBER);
        ck_assert_int_eq(caller_join(&b, "sheep"), 0);
        ck_assert_int_eq(caller_ready(&b, "sheep"), REFUSED_NOT_YOUR_ROLE);
        ck_assert_uint_eq(a.opened.environment->generation, 1);
        leave_all();
}
END_TEST

START_TEST(who_may_not_see_it_is_not_told_that_it_is_there)
{
        connect_all();
        caller_create(&a, "sheep", &sheep);
        caller_become(&b, 1000, 1000);
        ck_assert_int_eq(caller_ready(&b, "sheep"), REFUSED_NO_ENVIRONMENT);
        ck_assert_int_eq(caller_detach(&b, "sheep"), REFUSED_NO_ENVIRONMENT);
        leave_all();
}
END_TEST

int main(void)
{
        Suite *suite = suite_create("broker-opening");
        TCase *joining = room_case(suite, "creating and joining", setup);
        TCase *ready = room_case(suite, "ready", setup);

        tcase_add_test(joining, who_creates_is_to_initialise);
        tcase_add_test(joining, who_joins_has_nothing_to_do);
        tcase_add_test(joining, the_control_page_shows_each_step);
        tcase_add_test(joining, what_is_not_there_is_not_found_unless_it_may_be_created);
        tcase_add_test(joining, what_must_be_new_must_not_be_there);
        tcase_add_test(joining, what_something_unknown_still_holds_can_be_joined_and_its_name_taken);
        tcase_add_test(joining, a_creation_that_fails_leaves_nothing_charged);
        tcase_add_test(joining, only_the_regions_asked_for_are_granted);
        tcase_add_test(joining, opening_again_keeps_what_one_has_and_raises_the_access);
        tcase_add_test(joining, another_layout_is_refused_and_none_is_taken);
        tcase_add_test(joining, a_layout_where_there_is_none_is_another_layout);
        tcase_add_test(joining, owner_group_and_mode_decide_who_joins);
        tcase_add_test(joining, private_memory_is_for_one_process);

        tcase_add_test(ready, only_the_initializer_says_ready_and_only_once);
        tcase_add_test(ready, who_may_not_see_it_is_not_told_that_it_is_there);
        return check_run(suite);
}
