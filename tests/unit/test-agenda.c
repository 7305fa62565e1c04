#include "daemon/core/agenda.h"
#include "proto/util.h"
#include "tests/support/check.h"

static struct agenda agenda;

/* An entry that writes down its letter when it is due. */
struct entry {
        struct agenda_item item;
        char letter;
};

static char said[32];

static void say(struct agenda_item *item, void *data)
{
        struct entry *entry = container_of(item, struct entry, item);

        ck_assert_ptr_eq(data, said);
        ck_assert_int_eq(item->at, 0); /* off the agenda while it is called, so that it can put itself on again */
        strncat(said, &entry->letter, 1);
}

static struct entry entry(char letter)
{
        return (struct entry){ .item.on_due = say, .letter = letter };
}

static void check_run_says(int64_t now, const char *letters)
{
        said[0] = '\0';
        agenda_run(&agenda, now, said);
        ck_assert_str_eq(said, letters);
}

START_TEST(an_empty_agenda_has_nothing_next)
{
        ck_assert_int_eq(agenda_next(&agenda), -1);
        check_run_says(INT64_MAX, "");
}
END_TEST

START_TEST(what_is_due_is_called_in_the_order_of_time)
{
        struct entry a = entry('a'), b = entry('b'), c = entry('c');

        agenda_set(&agenda, &c.item, 30);
        agenda_set(&agenda, &a.item, 10);
        agenda_set(&agenda, &b.item, 20);
        ck_assert_int_eq(agenda_next(&agenda), 10);
        check_run_says(9, "");
        check_run_says(20, "ab");
        ck_assert_int_eq(agenda_next(&agenda), 30);
        check_run_says(1000, "c");
        ck_assert_int_eq(agenda_next(&agenda), -1);
}
END_TEST

START_TEST(items_of_one_moment_are_all_called)
{
        struct entry entries[] = { entry('x'), entry('x'), entry('x'), entry('x') };

        for (size_t i = 0; i < array_size(entries); i++)
                agenda_set(&agenda, &entries[i].item, 7);
        agenda_cancel(&agenda, &entries[2].item);
        check_run_says(7, "xxx");
}
END_TEST

START_TEST(an_item_that_was_moved_is_called_at_its_new_time_only)
{
        struct entry a = entry('a'), b = entry('b');

        agenda_set(&agenda, &a.item, 10);
        agenda_set(&agenda, &b.item, 20);
        agenda_set(&agenda, &a.item, 30);
        check_run_says(20, "b");
        agenda_set(&agenda, &a.item, 25);
        ck_assert_int_eq(agenda_next(&agenda), 25);
        check_run_says(30, "a");
        check_run_says(30, "");
}
END_TEST

START_TEST(a_cancelled_item_is_not_called)
{
        struct entry a = entry('a'), b = entry('b');

        agenda_cancel(&agenda, &a.item); /* it is not on the agenda */
        agenda_set(&agenda, &a.item, 1);
        agenda_set(&agenda, &b.item, 1);
        agenda_cancel(&agenda, &a.item);
        agenda_cancel(&agenda, &a.item);
        check_run_says(1, "b");
}
END_TEST

START_TEST(a_moment_before_the_beginning_of_time_is_due_at_once)
{
        struct entry a = entry('a'), b = entry('b');

        agenda_set(&agenda, &a.item, 0);
        agenda_set(&agenda, &b.item, INT64_MIN);
        ck_assert_int_eq(agenda_next(&agenda), 1);
        agenda_cancel(&agenda, &a.item);
        check_run_says(1, "b");
}
END_TEST

static void say_and_come_again(struct agenda_item *item, void *data)
{
        say(item, data);
        agenda_set(&agenda, item, 100);
}

START_TEST(an_item_can_put_itself_on_the_agenda_again)
{
        struct entry a = entry('a');

        a.item.on_due = say_and_come_again;
        agenda_set(&agenda, &a.item, 10);
        check_run_says(99, "a");
        ck_assert_int_eq(agenda_next(&agenda), 100);
        agenda_cancel(&agenda, &a.item);
}
END_TEST

static struct entry *victim;

static void say_and_cancel_the_other(struct agenda_item *item, void *data)
{
        say(item, data);
        agenda_cancel(&agenda, &victim->item);
}

START_TEST(an_item_that_another_takes_off_is_not_called)
{
        struct entry a = entry('a'), b = entry('b');

        victim = &b;
        a.item.on_due = say_and_cancel_the_other;
        agenda_set(&agenda, &a.item, 1);
        agenda_set(&agenda, &b.item, 2);
        check_run_says(2, "a");
}
END_TEST

static int64_t last_at;
static unsigned calls;

static void check_order(struct agenda_item *item, void *data)
{
        int64_t *at = data;

        ck_assert_int_eq(item->at, 0);
        ck_assert_int_ge(*at, last_at);
        last_at = *at;
        calls++;
}

START_TEST(ten_thousand_items_keep_their_order)
{
        static struct agenda_item items[10000];
        uint32_t number = 1;
        int64_t next;

        for (size_t i = 0; i < array_size(items); i++) {
                number = number * 1664525 + 1013904223;
                items[i].on_due = check_order;
                agenda_set(&agenda, &items[i], number >> 20);
        }
        while ((next = agenda_next(&agenda)) >= 0)
                agenda_run(&agenda, next, &next);
        ck_assert_uint_eq(calls, array_size(items));
}
END_TEST

int main(void)
{
        Suite *suite = suite_create("agenda");
        TCase *tcase = check_case(suite, "agenda");

        tcase_add_test(tcase, an_empty_agenda_has_nothing_next);
        tcase_add_test(tcase, what_is_due_is_called_in_the_order_of_time);
        tcase_add_test(tcase, items_of_one_moment_are_all_called);
        tcase_add_test(tcase, an_item_that_was_moved_is_called_at_its_new_time_only);
        tcase_add_test(tcase, a_cancelled_item_is_not_called);
        tcase_add_test(tcase, a_moment_before_the_beginning_of_time_is_due_at_once);
        tcase_add_test(tcase, an_item_can_put_itself_on_the_agenda_again);
        tcase_add_test(tcase, an_item_that_another_takes_off_is_not_called);
        tcase_add_test(tcase, ten_thousand_items_keep_their_order);
        return check_run(suite);
}
