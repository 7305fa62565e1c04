#include "daemon/core/environment.h"
#include "daemon/core/history.h"
#include "daemon/core/peer.h"
#include "tests/support/check.h"

enum { SIZE = 4 };

static struct environment shop = { .id = 7, .name = (char[]){ "shop" }, .uid = 1000, .gid = 100, .mode = 0640 };
static struct process clerk = { .id = 90, .pid = 4711, .uid = 1001, .command = "clerk" };

static struct event *make(const char *region)
{
        struct event *event = event_new(EVENT_KIND_ATTACHED, &shop, region, &clerk, NULL, 5);

        ck_assert_ptr_nonnull(event);
        return event;
}

static void fill(struct history *history, int n)
{
        for (int i = 0; i < n; i++)
                history_add(history, make(NULL));
}

static void begin(struct history *history)
{
        ck_assert_int_eq(history_init(history, SIZE), 0);
}

/* --- the ring ---------------------------------------------------------------------------------------------------- */

START_TEST(an_empty_history_has_no_event)
{
        struct history history;

        begin(&history);
        ck_assert_uint_eq(history.last, 0);
        ck_assert_uint_eq(history_first(&history), 1);
        ck_assert_ptr_null(history_find(&history, 0));
        ck_assert_ptr_null(history_find(&history, 1));
        history_deinit(&history);
}
END_TEST

START_TEST(events_are_numbered_from_one_and_found_by_their_numbers)
{
        struct history history;
        struct event *events[SIZE];

        begin(&history);
        for (int i = 0; i < SIZE; i++)
                history_add(&history, events[i] = make(NULL));
        ck_assert_uint_eq(history.last, SIZE);
        ck_assert_uint_eq(history_first(&history), 1);
        for (int i = 0; i < SIZE; i++) {
                ck_assert_ptr_eq(history_find(&history, (uint64_t)i + 1), events[i]);
                ck_assert_uint_eq(events[i]->sequence, (uint64_t)i + 1);
        }
        history_deinit(&history);
}
END_TEST

START_TEST(a_full_history_forgets_the_oldest)
{
        struct history history;

        begin(&history);
        for (uint64_t n = SIZE + 1; n < 10 * SIZE; n++) {
                fill(&history, (int)(n - history.last));
                ck_assert_uint_eq(history_first(&history), n - SIZE + 1);
                ck_assert_ptr_null(history_find(&history, n - SIZE));
                for (uint64_t s = n - SIZE + 1; s <= n; s++)
                        ck_assert_uint_eq(history_find(&history, s)->sequence, s);
        }
        history_deinit(&history);
}
END_TEST

START_TEST(what_is_still_to_come_is_not_found)
{
        struct history history;

        begin(&history);
        fill(&history, 3 * SIZE);
        ck_assert_ptr_null(history_find(&history, 3 * SIZE + 1));
        ck_assert_ptr_null(history_find(&history, 4 * SIZE)); /* the same place in the ring as the latest */
        ck_assert_ptr_null(history_find(&history, UINT64_MAX));
        history_deinit(&history);
}
END_TEST

START_TEST(an_event_that_memory_did_not_suffice_for_leaves_a_gap)
{
        struct history history;

        begin(&history);
        fill(&history, SIZE);
        history_add(&history, NULL);
        ck_assert_uint_eq(history.last, SIZE + 1);
        ck_assert_ptr_null(history_find(&history, SIZE + 1));
        fill(&history, SIZE);
        ck_assert_uint_eq(history_find(&history, SIZE + 2)->sequence, SIZE + 2);
        history_deinit(&history);
}
END_TEST

START_TEST(a_history_of_one_keeps_the_latest)
{
        struct history history;

        ck_assert_int_eq(history_init(&history, 1), 0);
        fill(&history, 3);
        ck_assert_uint_eq(history_first(&history), 3);
        ck_assert_uint_eq(history_find(&history, 3)->sequence, 3);
        history_deinit(&history);
}
END_TEST

/* --- events ------------------------------------------------------------------------------------------------------ */

START_TEST(an_event_outlives_what_it_speaks_of)
{
        char name[] = "short", region[] = "data", reason[] = "because";
        struct environment environment = { .id = 3, .name = name, .uid = 1, .gid = 2, .mode = 0604 };
        struct process process = { .pid = 12, .uid = 34, .command = "worker" };
        struct event *event = event_new(EVENT_KIND_RECLAIMED, &environment, region, &process, reason, 1234);

        ck_assert_ptr_nonnull(event);
        memset(name, 'x', sizeof(name) - 1);
        memset(region, 'x', sizeof(region) - 1);
        memset(reason, 'x', sizeof(reason) - 1);
        memset(&process, 0, sizeof(process));
        ck_assert_str_eq(event->environment, "short");
        ck_assert_str_eq(event->region, "data");
        ck_assert_str_eq(event->reason, "because");
        ck_assert_str_eq(event->command, "worker");
        ck_assert(event->by_process);
        ck_assert_int_eq(event->process_pid, 12);
        ck_assert_uint_eq(event->process_uid, 34);
        ck_assert_uint_eq(event->environment_id, 3);
        ck_assert_uint_eq(event->uid, 1);
        ck_assert_uint_eq(event->gid, 2);
        ck_assert_uint_eq(event->mode, 0604);
        ck_assert_int_eq(event->realtime_usec, 1234);
        ck_assert_int_eq(event->kind, EVENT_KIND_RECLAIMED);
        event_free(event);
}
END_TEST

START_TEST(what_is_not_given_stays_away)
{
        struct event *event = event_new(EVENT_KIND_DIRTY, &shop, NULL, NULL, NULL, 0);

        ck_assert_ptr_nonnull(event);
        ck_assert_ptr_null(event->region);
        ck_assert_ptr_null(event->reason);
        ck_assert(!event->by_process);
        ck_assert(!event->bytes.given && !event->signal.given && !event->exit_status.given);
        ck_assert_uint_eq(event->n_written, 0);
        event_free(event);
}
END_TEST

START_TEST(written_regions_are_kept_in_their_order)
{
        struct event *event = make(NULL);
        char name[] = "r0";

        for (int i = 0; i < 10; i++) {
                name[1] = (char)('0' + i);
                event_add_written(event, name);
        }
        ck_assert_uint_eq(event->n_written, 10);
        for (int i = 0; i < 10; i++)
                ck_assert_int_eq(event->written[i][1], '0' + i);
        event_free(event);
}
END_TEST

START_TEST(freeing_nothing_is_harmless)
{
        ck_assert_ptr_null(event_free(NULL));
}
END_TEST

int main(void)
{
        Suite *suite = suite_create("history");
        TCase *ring = check_case(suite, "ring"), *events = check_case(suite, "events");

        tcase_add_test(ring, an_empty_history_has_no_event);
        tcase_add_test(ring, events_are_numbered_from_one_and_found_by_their_numbers);
        tcase_add_test(ring, a_full_history_forgets_the_oldest);
        tcase_add_test(ring, what_is_still_to_come_is_not_found);
        tcase_add_test(ring, an_event_that_memory_did_not_suffice_for_leaves_a_gap);
        tcase_add_test(ring, a_history_of_one_keeps_the_latest);

        tcase_add_test(events, an_event_outlives_what_it_speaks_of);
        tcase_add_test(events, what_is_not_given_stays_away);
        tcase_add_test(events, written_regions_are_kept_in_their_order);
        tcase_add_test(events, freeing_nothing_is_harmless);
        return check_run(suite);
}
