#include "daemon/host/watch.h"
#include "proto/util.h"
#include "tests/support/check.h"
#include "tests/support/child.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/mman.h>

enum { SIZE = 4096 };

static struct watch watch;
static int file; /* as the broker has it: a description of its own */

static int reopen(int fd, int flags)
{
        char path[64];
        int reopened;

        snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
        reopened = open(path, flags | O_CLOEXEC);
        ck_assert_int_ge(reopened, 0);
        return reopened;
}

static int make_file(void)
{
        int fd = memfd_create("watched", MFD_CLOEXEC);

        ck_assert_int_ge(fd, 0);
        ck_assert_int_eq(ftruncate(fd, SIZE), 0);
        return fd;
}

static void setup(void)
{
        ck_assert_int_eq(watch_init(&watch), 0);
        file = make_file();
}

static void teardown(void)
{
        watch_deinit(&watch);
        file = close_fd(file);
}

static int add(int fd)
{
        int wd = watch_add(&watch, fd);

        ck_assert_int_ge(wd, 0);
        return wd;
}

static void *map(void)
{
        int fd = reopen(file, O_RDWR);
        void *bytes = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

        ck_assert_ptr_ne(bytes, MAP_FAILED);
        close_fd(fd);
        return bytes;
}

static void live(int channel, const void *data)
{
        (void)data;
        child_hear(channel);
}

START_TEST(without_a_close_there_are_no_news)
{
        int fd;

        add(file);
        ck_assert_int_eq(watch_next(&watch), WATCH_NONE);
        fd = reopen(file, O_RDWR);
        ck_assert_int_eq(pwrite(fd, "x", 1, 0), 1);
        ck_assert_int_eq(watch_next(&watch), WATCH_NONE);
        close_fd(fd);
}
END_TEST

START_TEST(a_close_is_news_after_reading_and_after_writing)
{
        static const int flags[] = { O_RDONLY, O_RDWR };
        int wd = add(file);

        for (size_t i = 0; i < array_size(flags); i++) {
                close_fd(reopen(file, flags[i]));
                ck_assert(check_wait(watch.fd, POLLIN));
                ck_assert_int_eq(watch_next(&watch), wd);
                ck_assert_int_eq(watch_next(&watch), WATCH_NONE);
        }
}
END_TEST

START_TEST(a_duplicate_keeps_it_open)
{
        int wd = add(file), fd = reopen(file, O_RDONLY), duplicate = fcntl(fd, F_DUPFD_CLOEXEC, 0);

        close_fd(fd);
        ck_assert_int_eq(watch_next(&watch), WATCH_NONE);
        close_fd(duplicate);
        ck_assert_int_eq(watch_next(&watch), wd);
}
END_TEST

START_TEST(a_mapping_keeps_it_open)
{
        void *bytes = map();
        int wd = add(file);

        ck_assert_int_eq(watch_next(&watch), WATCH_NONE);
        munmap(bytes, SIZE);
        ck_assert_int_eq(watch_next(&watch), wd);
}
END_TEST

START_TEST(the_last_holder_may_be_a_forked_child)
{
        void *bytes = map();
        struct child child;
        int wd;

        child_fork(&child, live, NULL);
        wd = add(file);
        munmap(bytes, SIZE);
        ck_assert_int_eq(watch_next(&watch), WATCH_NONE);
        child_kill(&child);
        ck_assert(check_wait(watch.fd, POLLIN));
        ck_assert_int_eq(watch_next(&watch), wd);
        ck_assert_int_eq(watch_next(&watch), WATCH_NONE);
}
END_TEST

START_TEST(what_was_closed_before_the_watch_is_no_news)
{
        close_fd(reopen(file, O_RDWR));
        add(file);
        ck_assert_int_eq(watch_next(&watch), WATCH_NONE);
}
END_TEST

START_TEST(each_file_has_a_watch_of_its_own)
{
        int other = make_file(), wd = add(file), other_wd = add(other);

        ck_assert_int_ne(wd, other_wd);
        ck_assert_int_eq(add(file), wd); /* again is the same */
        close_fd(reopen(other, O_RDONLY));
        close_fd(reopen(file, O_RDONLY));
        ck_assert_int_eq(watch_next(&watch), other_wd);
        ck_assert_int_eq(watch_next(&watch), wd);
        ck_assert_int_eq(watch_next(&watch), WATCH_NONE);
        close_fd(other);
}
END_TEST

START_TEST(more_news_than_are_read_at_once_come_one_by_one)
{
        enum { ROUNDS = 1000 };
        int other = make_file(), wd = add(file), other_wd = add(other);

        for (int i = 0; i < ROUNDS; i++) {
                close_fd(reopen(file, O_RDONLY));
                close_fd(reopen(other, O_RDONLY));
        }
        for (int i = 0; i < ROUNDS; i++) {
                ck_assert_int_eq(watch_next(&watch), wd);
                ck_assert_int_eq(watch_next(&watch), other_wd);
        }
        ck_assert_int_eq(watch_next(&watch), WATCH_NONE);
        close_fd(other);
}
END_TEST

START_TEST(a_removed_watch_has_no_news_of_the_file)
{
        int wd = add(file), next;

        watch_remove(&watch, wd);
        close_fd(reopen(file, O_RDWR));
        while ((next = watch_next(&watch)) !=
               WATCH_NONE) /* the kernel tells of the removal itself, under the old number */
                ck_assert_int_eq(next, wd);
        ck_assert_int_ne(add(file), wd); /* which is not given to another */
}
END_TEST

START_TEST(the_same_news_in_a_row_are_told_once)
{
        int wd = add(file);

        for (int i = 0; i < 100; i++)
                close_fd(reopen(file, O_RDWR));
        ck_assert_int_eq(watch_next(&watch), wd);
        ck_assert_int_eq(watch_next(&watch), WATCH_NONE);
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

START_TEST(news_that_were_lost_are_told_as_lost)
{
        int most = most_news(), wd = add(file), told = 0, next;

        if (most < 0 || most > 100000)
                return;                       /* it would take too long to have so many */
        for (int i = 0; i <= most / 2; i++) { /* two different ones in turn, as the same are told once */
                close_fd(reopen(file, O_RDONLY));
                close_fd(reopen(file, O_RDWR));
        }
        while ((next = watch_next(&watch)) == wd)
                told++;
        ck_assert_int_eq(next, WATCH_LOST);
        ck_assert_int_eq(told, most);
        ck_assert_int_eq(watch_next(&watch), WATCH_NONE);

        close_fd(reopen(file, O_RDONLY)); /* and then it goes on */
        ck_assert_int_eq(watch_next(&watch), wd);
}
END_TEST

START_TEST(what_is_not_open_cannot_be_watched)
{
        int fd = make_file();

        close_fd(fd);
        ck_assert_int_eq(watch_add(&watch, fd), -ENOENT);
}
END_TEST

int main(void)
{
        Suite *suite = suite_create("watch");
        TCase *tcase = check_case(suite, "watch");

        tcase_add_checked_fixture(tcase, setup, teardown);
        tcase_add_test(tcase, without_a_close_there_are_no_news);
        tcase_add_test(tcase, a_close_is_news_after_reading_and_after_writing);
        tcase_add_test(tcase, a_duplicate_keeps_it_open);
        tcase_add_test(tcase, a_mapping_keeps_it_open);
        tcase_add_test(tcase, the_last_holder_may_be_a_forked_child);
        tcase_add_test(tcase, what_was_closed_before_the_watch_is_no_news);
        tcase_add_test(tcase, each_file_has_a_watch_of_its_own);
        tcase_add_test(tcase, more_news_than_are_read_at_once_come_one_by_one);
        tcase_add_test(tcase, a_removed_watch_has_no_news_of_the_file);
        tcase_add_test(tcase, the_same_news_in_a_row_are_told_once);
        tcase_add_test(tcase, news_that_were_lost_are_told_as_lost);
        tcase_add_test(tcase, what_is_not_open_cannot_be_watched);
        return check_run(suite);
}
