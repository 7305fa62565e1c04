#include "daemon/core/peer.h"
#include "daemon/host/deaths.h"
#include "proto/util.h"
#include "tests/support/check.h"
#include "tests/support/child.h"

#include <errno.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <sys/syscall.h>
#include <sys/wait.h>

static struct deaths deaths;

static void setup(void)
{
        ck_assert_int_eq(deaths_init(&deaths), 0);
}

static void teardown(void)
{
        deaths_deinit(&deaths);
        ck_assert_int_eq(deaths.fd, -1);
}

static void live(int channel, const void *data)
{
        (void)data;
        child_hear(channel);
}

/* A living child and what the broker knows of it. */
struct life {
        struct child child;
        struct process process;
};

static void begin(struct life *life)
{
        child_start(&life->child, live, NULL);
        life->process = (struct process){ .pid = life->child.pid,
                                          .pidfd = (int)syscall(SYS_pidfd_open, life->child.pid, 0) };
        ck_assert_int_ge(life->process.pidfd, 0);
        ck_assert_int_eq(deaths_add(&deaths, &life->process), 0);
}

static void end(struct life *life)
{
        close_fd(life->process.pidfd);
}

START_TEST(while_all_live_there_are_no_news)
{
        struct life life;

        ck_assert_ptr_null(deaths_next(&deaths));
        begin(&life);
        ck_assert_ptr_null(deaths_next(&deaths));
        deaths_remove(&deaths, &life.process);
        child_end(&life.child);
        end(&life);
}
END_TEST

START_TEST(a_death_is_news_before_anybody_has_waited_for_it)
{
        struct life life;

        begin(&life);
        kill(life.child.pid, SIGKILL);
        ck_assert(check_wait(deaths.fd, POLLIN));
        ck_assert_ptr_eq(deaths_next(&deaths), &life.process);
        child_kill(&life.child);
        end(&life);
}
END_TEST

START_TEST(a_death_is_told_once)
{
        struct life life;

        begin(&life);
        child_kill(&life.child);
        ck_assert_ptr_eq(deaths_next(&deaths), &life.process);
        ck_assert_ptr_null(deaths_next(&deaths));
        deaths_remove(&deaths, &life.process); /* it is not followed any more, and that does no harm */
        end(&life);
}
END_TEST

START_TEST(who_had_died_before_is_news_at_once)
{
        struct child child;
        struct process process = {};

        child_start(&child, live, NULL);
        process.pidfd = (int)syscall(SYS_pidfd_open, child.pid, 0);
        child_kill(&child);
        ck_assert_int_eq(deaths_add(&deaths, &process), 0);
        ck_assert_ptr_eq(deaths_next(&deaths), &process);
        close_fd(process.pidfd);
}
END_TEST

START_TEST(who_is_not_followed_any_more_dies_unheard)
{
        struct life life;

        begin(&life);
        deaths_remove(&deaths, &life.process);
        child_kill(&life.child);
        ck_assert_ptr_null(deaths_next(&deaths));
        end(&life);
}
END_TEST

START_TEST(each_of_many_deaths_is_told)
{
        struct life lives[20];
        const struct process *died;

        for (size_t i = 0; i < array_size(lives); i++) {
                begin(&lives[i]);
                lives[i].process.id = i;
        }
        for (size_t i = 0; i < array_size(lives); i += 2)
                child_kill(&lives[i].child);
        for (size_t i = 0; i < array_size(lives); i += 2) {
                died = deaths_next(&deaths);
                ck_assert_ptr_nonnull(died);
                ck_assert_uint_eq(died->id % 2, 0);
        }
        ck_assert_ptr_null(deaths_next(&deaths));
        for (size_t i = 1; i < array_size(lives); i += 2)
                child_end(&lives[i].child);
        for (size_t i = 0; i < array_size(lives); i++)
                end(&lives[i]);
}
END_TEST

START_TEST(of_two_that_died_one_can_be_let_go_unheard)
{
        struct life lives[2];
        const struct process *first;

        begin(&lives[0]);
        begin(&lives[1]);
        child_kill(&lives[0].child);
        child_kill(&lives[1].child);
        first = deaths_next(&deaths);
        deaths_remove(&deaths, first == &lives[0].process ? &lives[1].process : &lives[0].process);
        ck_assert_ptr_null(deaths_next(&deaths));
        end(&lives[0]);
        end(&lives[1]);
}
END_TEST

START_TEST(what_cannot_be_followed_is_an_error)
{
        struct process process = { .pidfd = -1 };

        ck_assert_int_eq(deaths_add(&deaths, &process), -EBADF);
}
END_TEST

/* --- coming ------------------------------------------------------------------------------------------------------ */

static pthread_t first_thread;
static int first_channel;

static void *go_on_alone(void *unused)
{
        pthread_join(first_thread, NULL);
        child_tell(first_channel, 0);
        child_hear(first_channel);
        _exit(EXIT_SUCCESS);
        return unused;
}

static void end_first_thread(int channel, const void *unused)
{
        pthread_t thread;

        (void)unused;
        first_thread = pthread_self();
        first_channel = channel;
        pthread_create(&thread, NULL, go_on_alone, NULL);
        pthread_exit(NULL);
}

START_TEST(no_death_is_near_while_any_thread_goes_on)
{
        struct life life;

        begin(&life);
        ck_assert_int_eq(deaths_is_near(&life.process), 0);
        deaths_remove(&deaths, &life.process);
        child_end(&life.child);
        end(&life);

        child_start(&life.child, end_first_thread, NULL);
        life.process = (struct process){ .pid = life.child.pid,
                                         .pidfd = (int)syscall(SYS_pidfd_open, life.child.pid, 0) };
        ck_assert_int_eq(child_hear(life.child.channel), 0);
        ck_assert_int_eq(deaths_is_near(&life.process), 0);
        child_end(&life.child);
        end(&life);
}
END_TEST

START_TEST(of_the_dead_it_is_near)
{
        struct life life;

        begin(&life);
        kill(life.child.pid, SIGKILL);
        ck_assert(check_wait(deaths.fd, POLLIN));
        ck_assert_int_eq(deaths_is_near(&life.process), 1);
        child_kill(&life.child);
        ck_assert_int_eq(deaths_is_near(&life.process), 1);
        end(&life);
}
END_TEST

/* As in another pid namespace, or where /proc hides others' processes. */
START_TEST(of_who_cannot_be_seen_it_is_not_known)
{
        struct life life;

        begin(&life);
        life.process.pid = INT_MAX;
        ck_assert_int_lt(deaths_is_near(&life.process), 0);
        deaths_remove(&deaths, &life.process);
        child_end(&life.child);
        end(&life);
}
END_TEST

/* --- past -------------------------------------------------------------------------------------------------------- */

static void exit_with(int channel, const void *status)
{
        child_hear(channel);
        _exit(*(const int *)status);
}

/* By a signal, or with a status. */
static void begin_and_end(struct life *life, bool killed)
{
        static const int status = 7;
        siginfo_t end;

        child_start(&life->child, exit_with, &status);
        life->process = (struct process){ .pid = life->child.pid,
                                          .uid = geteuid(),
                                          .pidfd = (int)syscall(SYS_pidfd_open, life->child.pid, 0) };
        if (killed)
                kill(life->child.pid, SIGKILL);
        else
                child_tell(life->child.channel, 0);
        ck_assert_int_eq(waitid(P_PID, (id_t)life->child.pid, &end, WEXITED | WNOWAIT), 0);
}

static void check_told(const struct process *process, bool killed)
{
        ck_assert_int_eq(process->signal.given, killed);
        ck_assert_int_eq(process->exit_status.given, !killed);
        ck_assert_int_eq(killed ? process->signal.value : process->exit_status.value, killed ? SIGKILL : 7);
}

START_TEST(how_it_ended_is_told_until_somebody_waits_for_it)
{
        struct life life;

        begin_and_end(&life, _i);
        deaths_read_exit(&life.process);
        check_told(&life.process, _i);
        child_kill(&life.child);
        end(&life);
}
END_TEST

/* Newer kernels keep it for who has a descriptor of it. */
START_TEST(how_it_ended_is_told_afterwards_or_not_at_all)
{
        struct life life;

        begin_and_end(&life, _i);
        child_kill(&life.child);
        deaths_read_exit(&life.process);
        if (life.process.signal.given || life.process.exit_status.given)
                check_told(&life.process, _i);
        end(&life);
}
END_TEST

int main(void)
{
        Suite *suite;
        TCase *tcase;

        if (check_on_valgrind())
                return 77; /* skipped: it does not know pidfd_open(2) */
        suite = suite_create("deaths");
        tcase = check_case(suite, "deaths");
        tcase_add_checked_fixture(tcase, setup, teardown);
        tcase_add_test(tcase, while_all_live_there_are_no_news);
        tcase_add_test(tcase, a_death_is_news_before_anybody_has_waited_for_it);
        tcase_add_test(tcase, a_death_is_told_once);
        tcase_add_test(tcase, who_had_died_before_is_news_at_once);
        tcase_add_test(tcase, who_is_not_followed_any_more_dies_unheard);
        tcase_add_test(tcase, each_of_many_deaths_is_told);
        tcase_add_test(tcase, of_two_that_died_one_can_be_let_go_unheard);
        tcase_add_test(tcase, what_cannot_be_followed_is_an_error);
        tcase_add_test(tcase, no_death_is_near_while_any_thread_goes_on);
        tcase_add_test(tcase, of_the_dead_it_is_near);
        tcase_add_test(tcase, of_who_cannot_be_seen_it_is_not_known);
        tcase_add_loop_test(tcase, how_it_ended_is_told_until_somebody_waits_for_it, 0, 2);
        tcase_add_loop_test(tcase, how_it_ended_is_told_afterwards_or_not_at_all, 0, 2);
        return check_run(suite);
}
