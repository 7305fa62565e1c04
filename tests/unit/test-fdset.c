#include "proto/fdset.h"
#include "proto/util.h"
#include "tests/support/check.h"

#include <errno.h>
#include <fcntl.h>

static int open_null(void)
{
        int fd = open("/dev/null", O_RDONLY | O_CLOEXEC);

        ck_assert_int_ge(fd, 0);
        return fd;
}

static bool is_open(int fd)
{
        return fcntl(fd, F_GETFD) >= 0;
}

static void push(struct fdset *set, int n)
{
        for (int i = 0; i < n; i++)
                ck_assert_int_eq(fdset_push(set, open_null()), (int)set->n - 1);
}

START_TEST(an_empty_set_holds_no_memory)
{
        struct fdset set = {};

        ck_assert_int_eq(fdset_take(&set, 0), -1);
        fdset_clear(&set);
        ck_assert_ptr_null(set.fds);
}
END_TEST

START_TEST(clearing_closes_what_was_not_taken)
{
        struct fdset set = {};
        int taken;

        push(&set, 3);
        taken = fdset_take(&set, 1);
        ck_assert_int_ge(taken, 0);
        fdset_clear(&set);
        ck_assert(is_open(taken));
        close_fd(taken);
}
END_TEST

START_TEST(a_descriptor_is_taken_once_and_its_neighbours_keep_their_index)
{
        struct fdset set = {};
        int first = open_null(), second = open_null();

        ck_assert_int_eq(fdset_push(&set, first), 0);
        ck_assert_int_eq(fdset_push(&set, second), 1);
        ck_assert_int_eq(fdset_take(&set, 0), first);
        ck_assert_int_eq(fdset_take(&set, 0), -1);
        ck_assert_int_eq(fdset_take(&set, 1), second);
        ck_assert_int_eq(fdset_take(&set, 2), -1);
        ck_assert_int_eq(fdset_take(&set, SIZE_MAX), -1);
        close_fd(first);
        close_fd(second);
        fdset_clear(&set);
}
END_TEST

START_TEST(a_full_set_closes_what_it_refuses)
{
        struct fdset set = {};
        int extra;

        push(&set, FDSET_MAX);
        extra = open_null();
        ck_assert_int_eq(fdset_push(&set, extra), -ENOBUFS);
        ck_assert(!is_open(extra));
        ck_assert_uint_eq(set.n, FDSET_MAX);
        fdset_clear(&set);
}
END_TEST

START_TEST(moving_leaves_an_empty_set_behind)
{
        struct fdset from = {}, to = {};
        int fd = open_null();

        fdset_push(&from, fd);
        fdset_move(&to, &from);
        ck_assert_uint_eq(from.n, 0);
        ck_assert_ptr_null(from.fds);
        fdset_clear(&from);
        ck_assert_int_eq(fdset_take(&to, 0), fd);
        close_fd(fd);
        fdset_clear(&to);
}
END_TEST

START_TEST(a_cleared_set_can_be_used_again)
{
        struct fdset set = {};

        push(&set, 20);
        fdset_clear(&set);
        push(&set, 5);
        ck_assert_uint_eq(set.n, 5);
        fdset_clear(&set);
}
END_TEST

int main(void)
{
        Suite *suite = suite_create("fdset");
        TCase *tcase = check_case(suite, "fdset");

        tcase_add_test(tcase, an_empty_set_holds_no_memory);
        tcase_add_test(tcase, clearing_closes_what_was_not_taken);
        tcase_add_test(tcase, a_descriptor_is_taken_once_and_its_neighbours_keep_their_index);
        tcase_add_test(tcase, a_full_set_closes_what_it_refuses);
        tcase_add_test(tcase, moving_leaves_an_empty_set_behind);
        tcase_add_test(tcase, a_cleared_set_can_be_used_again);
        return check_run(suite);
}
