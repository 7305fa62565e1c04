#include "daemon/host/lock.h"
#include "proto/util.h"
#include "tests/support/child.h"
#include "tests/support/scratch.h"

#include <errno.h>
#include <fcntl.h>

static char *lock_path;

static void setup(void)
{
        lock_path = scratch_path("lock");
}

static void teardown(void)
{
        unlink(lock_path);
        free(lock_path);
}

static void take_and_tell(int channel, const void *data)
{
        pid_t holder = 0;
        int fd = lock_take(scratch, &holder);

        (void)data;
        child_tell(channel, fd < 0 ? fd : 0);
        child_tell(channel, holder);
        child_hear(channel);
}

START_TEST(a_lock_is_taken_once_and_says_by_whom)
{
        pid_t holder = 0;
        int fd = lock_take(scratch, &holder);
        struct child child;

        ck_assert_int_ge(fd, 0);
        ck_assert_int_eq(holder, 0);
        ck_assert(fcntl(fd, F_GETFD) & FD_CLOEXEC);
        child_start(&child, take_and_tell, NULL);
        ck_assert_int_eq(child_hear(child.channel), -EBUSY);
        ck_assert_int_eq(child_hear(child.channel), getpid());
        child_end(&child);
        close_fd(fd);
}
END_TEST

START_TEST(the_next_can_take_it_when_it_is_let_go)
{
        pid_t holder = 0;

        close_fd(lock_take(scratch, &holder));
        close_fd(lock_take(scratch, &holder));
        ck_assert_int_eq(holder, 0);
}
END_TEST

START_TEST(death_lets_it_go)
{
        struct child child;
        pid_t holder = 0;
        int fd;

        child_start(&child, take_and_tell, NULL);
        ck_assert_int_eq(child_hear(child.channel), 0);
        ck_assert_int_eq(lock_take(scratch, &holder), -EBUSY);
        ck_assert_int_eq(holder, child.pid);
        child_kill(&child);
        fd = lock_take(scratch, &holder);
        ck_assert_int_ge(fd, 0);
        close_fd(fd);
}
END_TEST

START_TEST(what_an_older_one_wrote_does_not_come_into_it)
{
        FILE *file = fopen(lock_path, "we");
        pid_t holder = 0;
        char text[64] = "";
        struct child child;
        int fd;

        fprintf(file, "%040d\n", 1);
        fclose(file);
        fd = lock_take(scratch, &holder);
        ck_assert_int_ge(fd, 0);
        ck_assert_int_gt(pread(fd, text, sizeof(text) - 1, 0), 0);
        ck_assert_int_eq(strtol(text, NULL, 10), getpid());
        ck_assert_ptr_null(strstr(text, "0000"));

        ck_assert_int_eq(ftruncate(fd, 0), 0); /* nor does nonsense */
        child_start(&child, take_and_tell, NULL);
        ck_assert_int_eq(child_hear(child.channel), -EBUSY);
        ck_assert_int_eq(child_hear(child.channel), 0);
        child_end(&child);
        close_fd(fd);
}
END_TEST

START_TEST(a_link_in_its_place_is_not_followed)
{
        owned(freep) char *target = scratch_path("target");
        struct stat st;
        pid_t holder;

        ck_assert_int_eq(symlink(target, lock_path), 0);
        ck_assert_int_eq(lock_take(scratch, &holder), -ELOOP);
        ck_assert_int_lt(stat(target, &st), 0);
}
END_TEST

START_TEST(without_a_directory_there_is_none)
{
        owned(freep) char *missing = scratch_path("missing");
        pid_t holder;

        ck_assert_int_eq(lock_take(missing, &holder), -ENOENT);
}
END_TEST

int main(void)
{
        Suite *suite = suite_create("lock");
        TCase *tcase = check_case(suite, "lock");

        scratch_add(tcase);
        tcase_add_checked_fixture(tcase, setup, teardown);
        tcase_add_test(tcase, a_lock_is_taken_once_and_says_by_whom);
        tcase_add_test(tcase, the_next_can_take_it_when_it_is_let_go);
        tcase_add_test(tcase, death_lets_it_go);
        tcase_add_test(tcase, what_an_older_one_wrote_does_not_come_into_it);
        tcase_add_test(tcase, a_link_in_its_place_is_not_followed);
        tcase_add_test(tcase, without_a_directory_there_is_none);
        return check_run(suite);
}
