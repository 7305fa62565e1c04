/* By which rules memory goes. What happens while something unknown holds it is in test-broker-doubt.c. */

#include "daemon/host/memory.h"
#include "proto/control.h"
#include "proto/util.h"
#include "tests/unit/broker-room.h"

#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

enum { SECOND = 1000000 };

static struct caller a, b;
static struct definition sheep; /* two regions of memfd memory */

static void setup(void)
{
        sheep = room_define(BACKING_MEMFD, 2);
}

static struct environment *create(struct caller *caller)
{
        return caller_create(caller, "sheep", &sheep);
}

static bool exists(void)
{
        return broker_find(&room, "sheep") != NULL;
}

/* --- rules ------------------------------------------------------------------------------------------------------- */

START_TEST(attached_it_goes_with_the_last_that_leaves)
{
        caller_connect(&a);
        caller_connect(&b);
        create(&a);
        ck_assert_int_eq(caller_join(&b, "sheep"), 0);
        caller_leave(&a);
        ck_assert(exists());
        caller_leave(&b);
        ck_assert(!exists());
        ck_assert_int_eq(room.counters.reclaimed, 1);
        ck_assert_int_eq(room.counters.reclaimed_regions, 2);
        ck_assert_int_eq(room.counters.reclaimed_bytes, 8192);
}
END_TEST

START_TEST(attached_it_goes_with_the_death_of_the_last)
{
        caller_start(&a);
        create(&a);
        caller_die(&a);
        ck_assert(!exists());
}
END_TEST

START_TEST(a_death_is_counted_on_the_control_page_and_a_leave_is_not)
{
        const struct control_page *page;

        caller_start(&a);
        caller_connect(&b);
        create(&b);
        page = mmap(NULL, CONTROL_SIZE, PROT_READ, MAP_SHARED, b.opened.control_fd, 0);
        ck_assert_ptr_ne(page, MAP_FAILED);
        ck_assert_int_eq(caller_join(&a, "sheep"), 0);
        caller_leave(&a);
        ck_assert_uint_eq(page->deaths, 0);
        caller_start(&a);
        ck_assert_int_eq(caller_join(&a, "sheep"), 0);
        caller_die(&a);
        ck_assert_uint_eq(page->deaths, 1);
        ck_assert_uint_eq(page->state, STATE_READY);
        caller_leave(&b);
        munmap((void *)(uintptr_t)page, CONTROL_SIZE);
}
END_TEST

START_TEST(lingering_it_stays_for_its_time_and_is_the_same_for_who_comes_back)
{
        const struct environment *environment;

        sheep.linger_usec = (struct opt_int){ true, 10 * SECOND };
        caller_connect(&a);
        caller_connect(&b);
        environment = create(&a);
        caller_leave(&a);
        room_pass(10 * SECOND - 1);
        ck_assert_int_eq(caller_join(&b, "sheep"), 0);
        ck_assert_ptr_eq(b.opened.environment, environment);
        room_pass(60 * SECOND); /* somebody has it: no time runs */
        ck_assert(exists());
        caller_leave(&b);
        room_pass(10 * SECOND - 1);
        ck_assert(exists());
        room_pass(1);
        ck_assert(!exists());
}
END_TEST

START_TEST(what_lingers_can_be_removed_at_once)
{
        sheep.linger_usec = (struct opt_int){ true, 10 * SECOND };
        caller_connect(&a);
        caller_connect(&b);
        create(&a);
        caller_leave(&a);
        ck_assert_int_eq(caller_remove(&b, "sheep", false, 0), 0);
        ck_assert_int_eq(broker_next_due(&room), -1);
        caller_leave(&b);
}
END_TEST

START_TEST(having_lingered_it_still_needs_the_proof)
{
        void *bytes;

        sheep.linger_usec = (struct opt_int){ true, SECOND };
        caller_connect(&a);
        create(&a);
        bytes = room_map(&a.opened.grants[0]);
        caller_leave(&a);
        room_pass(60 * SECOND);
        ck_assert(exists());
        munmap(bytes, 4096);
        room_hear_close();
        ck_assert(!exists());
}
END_TEST

START_TEST(persistent_it_stays_without_anybody)
{
        sheep.lifetime = LIFETIME_PERSISTENT;
        caller_start(&a);
        create(&a);
        caller_die(&a);
        room_pass(INT64_C(1000) * SECOND);
        ck_assert(exists());
        ck_assert_int_eq(broker_next_due(&room), -1);
        caller_connect(&b);
        ck_assert_int_eq(caller_join(&b, "sheep"), 0);
        ck_assert_str_ne(b.opened.environment->creator->command, ""); /* still known */
        ck_assert(!b.opened.environment->creator->alive);
        caller_detach(&b, "sheep");
        ck_assert_int_eq(caller_remove(&b, "sheep", false, 0), 0);
        caller_leave(&b);
}
END_TEST

START_TEST(by_its_creator_it_is_retired_when_the_creator_dies_and_not_when_it_leaves)
{
        const struct environment *environment;

        sheep.lifetime = LIFETIME_CREATOR;
        caller_start(&a);
        caller_connect(&b);
        environment = create(&a);
        ck_assert_int_eq(caller_join(&b, "sheep"), 0);
        caller_hang_up(&a);
        room_settle();
        ck_assert_int_eq(environment->state, STATE_READY);
        child_kill(&a.child);
        room_hear_deaths();
        ck_assert(!exists());
        ck_assert_int_eq(environment->state, STATE_RETIRED);
        ck_assert_int_eq(room.registry.n_environments, 1); /* its other holder keeps it */
        caller_leave(&b);
        ck_assert_int_eq(room.registry.n_environments, 0);
}
END_TEST

START_TEST(by_its_creator_it_stays_without_anybody_while_the_creator_lives)
{
        sheep.lifetime = LIFETIME_CREATOR;
        caller_start(&a);
        create(&a);
        caller_hang_up(&a);
        ck_assert(exists());
        child_kill(&a.child);
        room_hear_deaths();
        ck_assert_int_eq(room.registry.n_environments, 0);
}
END_TEST

START_TEST(who_dies_takes_all_that_depends_on_it)
{
        static const char *const names[] = { "one", "two", "three", "four" };
        static const enum lifetime lifetimes[] = { LIFETIME_CREATOR, LIFETIME_ATTACHED, LIFETIME_CREATOR,
                                                   LIFETIME_PERSISTENT };

        caller_start(&a);
        for (size_t i = 0; i < array_size(names); i++) {
                sheep.lifetime = lifetimes[i];
                caller_create(&a, names[i], &sheep);
        }
        caller_die(&a);
        ck_assert_int_eq(room.registry.n_environments, 1);
        ck_assert_ptr_nonnull(broker_find(&room, "four"));
        caller_connect(&b);
        ck_assert_int_eq(caller_remove(&b, "four", false, 0), 0);
        caller_leave(&b);
}
END_TEST

/* --- private memory ---------------------------------------------------------------------------------------------- */

START_TEST(private_memory_is_in_doubt_until_its_process_dies)
{
        sheep = room_define(BACKING_PRIVATE, 1);
        caller_start(&a);
        create(&a);
        caller_hang_up(&a); /* which says nothing of its heap */
        ck_assert(exists());
        room_pass(60 * SECOND);
        ck_assert(exists());
        child_kill(&a.child);
        room_hear_deaths();
        ck_assert(!exists());
}
END_TEST

START_TEST(private_memory_that_was_given_up_goes_at_once)
{
        sheep = room_define(BACKING_PRIVATE, 2);
        caller_start(&a);
        create(&a);
        ck_assert_int_eq(caller_detach(&a, "sheep"), 0);
        ck_assert(!exists());
        caller_leave(&a);
}
END_TEST

START_TEST(the_process_of_private_memory_can_come_back_to_it)
{
        sheep = room_define(BACKING_PRIVATE, 1);
        caller_start_with_calls(&a, 2);
        create(&a);
        caller_hang_up(&a);
        ck_assert_int_eq(caller_answer(&b), 0);
        ck_assert_int_eq(caller_join(&b, "sheep"), 0);
        ck_assert_int_eq(caller_detach(&b, "sheep"), 0);
        ck_assert(!exists());
        caller_leave(&b);
        child_end(&a.child);
}
END_TEST

/* --- giving back ------------------------------------------------------------------------------------------------- */

static int given_back;

static void count_given_back(void *data, struct memory *memory)
{
        ck_assert_ptr_eq(data, &given_back);
        memory_release(memory);
        given_back++;
}

START_TEST(only_what_is_large_is_given_back_elsewhere)
{
        struct spec specs[] = { { .name = "large", .size = 256 * 1024 + 1 }, { .name = "small", .size = 256 * 1024 } };

        room.settings.give_back = count_given_back;
        room.settings.give_back_data = &given_back;
        sheep.regions = (struct struct_array){ true, 2, specs };
        caller_connect(&a);
        create(&a);
        caller_leave(&a);
        ck_assert(!exists());
        ck_assert_int_eq(given_back, 1);
}
END_TEST

/* --- the end of the broker --------------------------------------------------------------------------------------- */

/* One without members, which nothing has become of as the broker is stopping. */
static const struct memory *leave_behind(const char *name, enum backing backing, enum lifetime lifetime)
{
        struct definition definition = room_define(backing, 1);
        struct environment *environment;

        definition.lifetime = lifetime;
        room.stopping = false;
        caller_connect(&a);
        environment = caller_create(&a, name, &definition);
        room.stopping = true;
        caller_leave(&a);
        ck_assert_ptr_nonnull(broker_find(&room, name));
        return TAILQ_FIRST(&environment->regions)->memory;
}

static bool has_name(const char *path)
{
        struct stat st;

        return stat(path, &st) == 0;
}

START_TEST(at_the_end_what_is_left_loses_its_name_and_files_that_are_to_stay_do_stay)
{
        const struct memory *posix = leave_behind("posix", BACKING_POSIX, LIFETIME_PERSISTENT);
        const struct memory *file = leave_behind("file", BACKING_FILE, LIFETIME_ATTACHED);
        const struct memory *lasting = leave_behind("lasting", BACKING_FILE, LIFETIME_PERSISTENT);
        const struct region *segment;
        char *gone[] = { strdup(memory_path(posix)), strdup(memory_path(file)) }, *stays = strdup(memory_path(lasting));
        struct key_holder holder;
        int32_t key;

        leave_behind("segment", BACKING_SYSV, LIFETIME_PERSISTENT);
        segment = TAILQ_FIRST(&broker_find(&room, "segment")->regions);
        key = segment->shm_key;
        ck_assert(memory_find_key(key, &holder));

        room_restart();
        ck_assert(!memory_find_key(key, &holder));
        for (size_t i = 0; i < array_size(gone); i++) {
                ck_assert_msg(!has_name(gone[i]), "%s is still there", gone[i]);
                free(gone[i]);
        }
        ck_assert(has_name(stays));
        caller_connect(&a);
        ck_assert_int_eq(caller_remove(&a, "lasting", false, 0), 0); /* the next broker knows it */
        ck_assert(!has_name(stays));
        caller_leave(&a);
        free(stays);
}
END_TEST

int main(void)
{
        Suite *suite = suite_create("broker-reclaim");
        TCase *rules = room_case(suite, "rules", setup);
        TCase *private_memory = room_case(suite, "private memory", setup);
        TCase *giving = room_case(suite, "giving back", setup);
        TCase *the_end = room_case(suite, "the end of the broker", setup);

        tcase_add_test(rules, attached_it_goes_with_the_last_that_leaves);
        tcase_add_test(rules, attached_it_goes_with_the_death_of_the_last);
        tcase_add_test(rules, a_death_is_counted_on_the_control_page_and_a_leave_is_not);
        tcase_add_test(rules, lingering_it_stays_for_its_time_and_is_the_same_for_who_comes_back);
        tcase_add_test(rules, what_lingers_can_be_removed_at_once);
        tcase_add_test(rules, having_lingered_it_still_needs_the_proof);
        tcase_add_test(rules, persistent_it_stays_without_anybody);
        tcase_add_test(rules, by_its_creator_it_is_retired_when_the_creator_dies_and_not_when_it_leaves);
        tcase_add_test(rules, by_its_creator_it_stays_without_anybody_while_the_creator_lives);
        tcase_add_test(rules, who_dies_takes_all_that_depends_on_it);

        tcase_add_test(private_memory, private_memory_is_in_doubt_until_its_process_dies);
        tcase_add_test(private_memory, private_memory_that_was_given_up_goes_at_once);
        tcase_add_test(private_memory, the_process_of_private_memory_can_come_back_to_it);

        tcase_add_test(the_end, at_the_end_what_is_left_loses_its_name_and_files_that_are_to_stay_do_stay);

        tcase_add_test(giving, only_what_is_large_is_given_back_elsewhere);
        return check_run(suite);
}
