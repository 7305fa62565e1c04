/* What is due, but held by something that the broker knows nothing of. */

#include "daemon/host/memory.h"
#include "proto/util.h"
#include "tests/unit/broker-room.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/mman.h>

enum { MSEC = 1000, SECOND = 1000 * MSEC };

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

START_TEST(in_doubt_it_stays_as_a_whole_and_goes_when_the_kernel_tells_of_the_last_close)
{
        const struct environment *environment;
        void *bytes;

        caller_connect(&a);
        environment = create(&a);
        bytes = room_map(&a.opened.grants[1]);
        caller_leave(&a);
        ck_assert(environment->in_doubt);
        ck_assert_uint_eq(environment->n_regions, 2); /* it can still be joined */
        ck_assert_int_lt(environment_find_region(environment, "r1")->watch, 0);
        ck_assert_int_ge(environment_find_region(environment, "r2")->watch, 0);
        room_pass(600 * SECOND);
        ck_assert(exists());
        ck_assert_int_eq(broker_next_due(&room), -1); /* nothing is done but waiting */
        munmap(bytes, 4096);
        room_hear_close();
        ck_assert(!exists());
}
END_TEST

static void hold(int channel, const void *data)
{
        (void)data;
        child_hear(channel);
}

START_TEST(a_forked_child_is_such_a_holder)
{
        const struct memory *memory;
        struct child child;
        int64_t begun = 0;
        void *bytes;

        caller_connect(&a);
        memory = TAILQ_FIRST(&create(&a)->regions)->memory;
        bytes = room_map(&a.opened.grants[0]);
        child_fork(&child, hold, NULL);
        munmap(bytes, 4096);
        caller_leave(&a);
        ck_assert(exists());
        child_kill(&child);            /* closes what it had inherited, the other descriptors too */
        while (memory_is_held(memory)) /* by who looks at it in /proc in that moment */
                ck_assert(check_pause(&begun));
        room_hear_close();
        room_pass(2 * SECOND);
        ck_assert(!exists());
}
END_TEST

START_TEST(a_close_that_is_not_the_last_is_followed_by_looks_and_then_by_the_next_event)
{
        void *first, *second;

        caller_connect(&a);
        create(&a);
        first = room_map(&a.opened.grants[0]);
        ck_assert_int_eq(caller_join(&a, "sheep"), 0); /* another description of the same */
        second = room_map(&a.opened.grants[0]);
        caller_leave(&a);
        room_pass(600 * SECOND);
        munmap(first, 4096);
        room_hear_close();
        ck_assert(exists());
        ck_assert_int_eq(broker_next_due(&room), room.now + MSEC);
        room_pass(60 * SECOND); /* for so long the close of a last one may go on after it was told */
        ck_assert_int_gt(broker_next_due(&room), room.now);
        room_pass(600 * SECOND);
        ck_assert_int_eq(broker_next_due(&room), -1);
        munmap(second, 4096);
        room_hear_close();
        ck_assert(!exists());
}
END_TEST

START_TEST(segments_are_looked_at_ever_more_slowly)
{
        const struct region *region;
        int64_t interval, last = 0;
        void *bytes;

        sheep = room_define(BACKING_SYSV, 1);
        caller_connect(&a);
        region = TAILQ_FIRST(&create(&a)->regions);
        bytes = room_map(&a.opened.grants[0]);
        caller_leave(&a);
        for (int i = 0; i < 20; i++) {
                interval = broker_next_due(&room) - room.now;
                ck_assert_int_ge(interval, last);
                ck_assert_int_le(interval, 5 * SECOND);
                last = interval;
                room_pass(interval);
        }
        ck_assert_int_eq(last, 5 * SECOND);
        room_unmap(region, bytes);
        room_pass(5 * SECOND - 1);
        ck_assert(exists());
        room_pass(1);
        ck_assert(!exists());
}
END_TEST

START_TEST(retired_its_regions_go_one_by_one)
{
        const struct environment *environment;
        void *first, *second;

        caller_connect(&a);
        environment = create(&a);
        first = room_map(&a.opened.grants[0]);
        second = room_map(&a.opened.grants[1]);
        ck_assert_int_eq(caller_remove(&a, "sheep", true, 0), 0);
        caller_leave(&a);
        ck_assert_uint_eq(environment->n_regions, 2);
        munmap(second, 4096);
        room_hear_close();
        ck_assert_uint_eq(environment->n_regions, 1);
        ck_assert_str_eq(TAILQ_FIRST(&environment->regions)->name, "r1");
        ck_assert_int_eq(room.registry.bytes, 4096);
        munmap(first, 4096);
        room_hear_close();
        ck_assert_int_eq(room.registry.n_environments, 0);
}
END_TEST

START_TEST(who_comes_back_ends_the_doubt)
{
        const struct environment *environment;
        void *bytes;

        caller_connect(&a);
        caller_connect(&b);
        environment = create(&a);
        bytes = room_map(&a.opened.grants[0]);
        caller_leave(&a);
        ck_assert_int_eq(caller_join(&b, "sheep"), 0);
        ck_assert(!environment->in_doubt);
        ck_assert_ptr_null(RB_ROOT(&room.registry.watched));
        munmap(bytes, 4096);
        broker_run_watch(&room); /* an old event, perhaps: of nothing that is watched */
        ck_assert(exists());
        caller_leave(&b);
        ck_assert(!exists());
}
END_TEST

static int most_news(void)
{
        FILE *limit = fopen("/proc/sys/fs/inotify/max_queued_events", "re");
        int n = -1;

        if (!limit)
                return -1;
        if (fscanf(limit, "%d", &n) != 1)
                n = -1;
        fclose(limit);
        return n;
}

START_TEST(when_news_were_lost_all_that_is_in_doubt_is_looked_at)
{
        const struct definition goats = room_define(BACKING_POSIX, 1);
        void *bytes[2];
        char *path;
        int most = most_news();

        if (most < 0 || most > 100000)
                return; /* it would take too long to lose any */
        caller_connect(&a);
        create(&a);
        bytes[0] = room_map(&a.opened.grants[0]);
        caller_create(&a, "goats", &goats);
        bytes[1] = room_map(&a.opened.grants[0]);
        path = strdup(memory_path(a.opened.grants[0].region->memory));
        caller_leave(&a);
        for (int i = 0; i <= most / 2; i++) { /* two different events in turn, as the same are told once */
                close_fd(open(path, O_RDONLY | O_CLOEXEC));
                close_fd(open(path, O_RDWR | O_CLOEXEC));
        }
        munmap(bytes[0], 4096); /* of which there is no news any more */
        room_hear_close();
        ck_assert(!exists());
        ck_assert_ptr_nonnull(broker_find(&room, "goats"));
        munmap(bytes[1], 4096);
        room_hear_close();
        ck_assert_int_eq(room.registry.n_environments, 0);
        free(path);
}
END_TEST

int main(void)
{
        Suite *suite = suite_create("broker-doubt");
        TCase *doubt = room_case(suite, "doubt", setup);

        tcase_add_test(doubt, in_doubt_it_stays_as_a_whole_and_goes_when_the_kernel_tells_of_the_last_close);
        tcase_add_test(doubt, a_forked_child_is_such_a_holder);
        tcase_add_test(doubt, a_close_that_is_not_the_last_is_followed_by_looks_and_then_by_the_next_event);
        tcase_add_test(doubt, segments_are_looked_at_ever_more_slowly);
        tcase_add_test(doubt, retired_its_regions_go_one_by_one);
        tcase_add_test(doubt, who_comes_back_ends_the_doubt);
        tcase_add_test(doubt, when_news_were_lost_all_that_is_in_doubt_is_looked_at);
        return check_run(suite);
}
