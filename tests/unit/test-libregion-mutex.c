/* The mutex in shared memory, with processes that die. */

#include "client/libregion.h"
#include "proto/util.h"
#include "tests/support/check.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/wait.h>

/* What processes share in a test. */
static struct shared {
        struct region_mutex mutex;
        int64_t count;
} * shared;

static void setup(void)
{
        shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
        ck_assert_ptr_ne(shared, MAP_FAILED);
        ck_assert_int_eq(region_mutex_init(&shared->mutex), REGION_OK);
}

static void teardown(void)
{
        munmap(shared, sizeof(*shared));
}

static void check(enum region_result result)
{
        ck_assert_msg(result == REGION_OK, "%s: %s", region_result_name(result), region_error_message());
}

static void check_error(enum region_result result, enum region_result code)
{
        ck_assert_msg(result == code, "%s and not %s", region_result_name(result), region_result_name(code));
        ck_assert_int_eq(region_last_error()->code, code);
}

/* A process that locks, says so, and ends by what the test does to it. */
static pid_t start_holder(void)
{
        char byte;
        int ends[2];
        pid_t child;

        ck_assert_int_eq(pipe(ends), 0);
        child = fork();
        if (child == 0) {
                if (region_mutex_lock(&shared->mutex) != REGION_OK || write(ends[1], "", 1) != 1)
                        _exit(1);
                for (;;)
                        pause();
        }
        close(ends[1]);
        ck_assert_int_eq(read(ends[0], &byte, 1), 1);
        close(ends[0]);
        return child;
}

static void end(pid_t child)
{
        kill(child, SIGKILL);
        ck_assert_int_eq(waitpid(child, NULL, 0), child);
}

/* Locks as the successor of a dead one. */
static void inherit(void)
{
        end(start_holder());
        check_error(region_mutex_lock(&shared->mutex), REGION_E_OWNER_DIED);
}

/* --- alive ------------------------------------------------------------------------------------------------------- */

START_TEST(who_has_it_is_known)
{
        struct region_mutex_info info;

        check(region_mutex_look(&shared->mutex, &info));
        ck_assert_int_eq(info.pid, 0);
        check(region_mutex_lock(&shared->mutex));
        check(region_mutex_look(&shared->mutex, &info));
        ck_assert_int_eq(info.pid, getpid());
        ck_assert_str_eq(info.command, "test-libregion-");
        check(region_mutex_unlock(&shared->mutex));
        check(region_mutex_look(&shared->mutex, &info));
        ck_assert_int_eq(info.pid, 0);
        ck_assert_uint_eq(info.recovered, 0);
}
END_TEST

START_TEST(who_comes_in_vain_is_told_who_has_it)
{
        pid_t holder = start_holder();

        check_error(region_mutex_trylock(&shared->mutex), REGION_E_BUSY);
        ck_assert_int_eq(region_last_error()->pid, holder);
        check_error(region_mutex_timedlock(&shared->mutex, 2000), REGION_E_TIMEOUT);
        ck_assert_int_eq(region_last_error()->pid, holder);
        ck_assert_str_eq(region_last_error()->command, "test-libregion-");
        check_error(region_mutex_destroy(&shared->mutex), REGION_E_BUSY);
        end(holder);
}
END_TEST

START_TEST(mistakes_are_told)
{
        struct region_mutex none = {};

        check_error(region_mutex_unlock(&shared->mutex), REGION_E_INVALID);
        check_error(region_mutex_consistent(&shared->mutex), REGION_E_INVALID);
        check(region_mutex_lock(&shared->mutex));
        check_error(region_mutex_lock(&shared->mutex), REGION_E_INVALID);
        check_error(region_mutex_consistent(&shared->mutex), REGION_E_INVALID);
        check(region_mutex_unlock(&shared->mutex));
        check_error(region_mutex_timedlock(&shared->mutex, -1), REGION_E_INVALID);

        check_error(region_mutex_lock(&none), REGION_E_INVALID);
        check_error(region_mutex_lock(NULL), REGION_E_INVALID);
        check_error(region_mutex_init((struct region_mutex *)(void *)((char *)shared + 8)), REGION_E_INVALID);
        check(region_mutex_destroy(&shared->mutex));
        check_error(region_mutex_lock(&shared->mutex), REGION_E_INVALID);
}
END_TEST

static void *unlock(void *mutex)
{
        return region_mutex_unlock(mutex) == REGION_E_INVALID ? mutex : NULL;
}

START_TEST(another_thread_cannot_unlock_it)
{
        struct region_mutex_info info;
        pthread_t thread;
        void *result;

        check(region_mutex_lock(&shared->mutex));
        ck_assert_int_eq(pthread_create(&thread, NULL, unlock, &shared->mutex), 0);
        pthread_join(thread, &result);
        ck_assert_ptr_nonnull(result);
        check(region_mutex_look(&shared->mutex, &info));
        ck_assert_int_eq(info.pid, getpid());
        check(region_mutex_unlock(&shared->mutex));
}
END_TEST

START_TEST(a_child_does_not_have_what_its_parent_locked)
{
        int status;
        pid_t child;

        check(region_mutex_lock(&shared->mutex));
        child = fork();
        if (child == 0)
                _exit(region_mutex_unlock(&shared->mutex) == REGION_E_INVALID &&
                                      region_mutex_trylock(&shared->mutex) == REGION_E_BUSY &&
                                      region_last_error()->pid == getppid()
                              ? 0
                              : 1);
        ck_assert_int_eq(waitpid(child, &status, 0), child);
        ck_assert_int_eq(status, 0);
        check(region_mutex_unlock(&shared->mutex));
}
END_TEST

enum { PROCESSES = 3, ROUNDS = 20000 };

static void count(void)
{
        for (int i = 0; i < ROUNDS; i++) {
                if (region_mutex_lock(&shared->mutex) != REGION_OK)
                        _exit(1);
                shared->count++;
                if (region_mutex_unlock(&shared->mutex) != REGION_OK)
                        _exit(1);
        }
        _exit(0);
}

START_TEST(it_keeps_processes_apart)
{
        int status;

        for (int i = 0; i < PROCESSES; i++)
                if (fork() == 0)
                        count();
        for (int i = 0; i < PROCESSES; i++) {
                ck_assert_int_gt(wait(&status), 0);
                ck_assert_int_eq(status, 0);
        }
        ck_assert_int_eq(shared->count, PROCESSES * ROUNDS);
}
END_TEST

/* --- death ------------------------------------------------------------------------------------------------------- */

START_TEST(the_next_owner_is_told_who_died)
{
        pid_t holder = start_holder();
        struct region_mutex_info info;

        end(holder);
        check_error(region_mutex_lock(&shared->mutex), REGION_E_OWNER_DIED);
        ck_assert_int_eq(region_last_error()->pid, holder);
        ck_assert_str_eq(region_last_error()->command, "test-libregion-");
        check(region_mutex_look(&shared->mutex, &info));
        ck_assert_int_eq(info.pid, getpid());
        check(region_mutex_consistent(&shared->mutex));
        check(region_mutex_unlock(&shared->mutex));
        check(region_mutex_lock(&shared->mutex));
        check(region_mutex_look(&shared->mutex, &info));
        ck_assert_uint_eq(info.recovered, 1);
        check(region_mutex_unlock(&shared->mutex));
}
END_TEST

static void *wait_for_it(void *mutex)
{
        enum region_result r = region_mutex_lock(mutex);

        return r == REGION_E_OWNER_DIED && region_last_error()->pid > 0 &&
                               region_mutex_consistent(mutex) == REGION_OK && region_mutex_unlock(mutex) == REGION_OK
                       ? mutex
                       : NULL;
}

START_TEST(who_waits_gets_it_when_its_owner_dies)
{
        pid_t holder = start_holder();
        pthread_t thread;
        void *result;

        ck_assert_int_eq(pthread_create(&thread, NULL, wait_for_it, &shared->mutex), 0);
        end(holder);
        pthread_join(thread, &result);
        ck_assert_ptr_nonnull(result);
}
END_TEST

START_TEST(trying_and_waiting_inherit_it_too)
{
        end(start_holder());
        check_error(region_mutex_trylock(&shared->mutex), REGION_E_OWNER_DIED);
        check(region_mutex_consistent(&shared->mutex));
        check(region_mutex_unlock(&shared->mutex));
        end(start_holder());
        check_error(region_mutex_timedlock(&shared->mutex, 1000000), REGION_E_OWNER_DIED);
        check(region_mutex_consistent(&shared->mutex));
        check(region_mutex_unlock(&shared->mutex));
}
END_TEST

START_TEST(what_is_not_repaired_is_given_up)
{
        inherit();
        check(region_mutex_unlock(&shared->mutex));
        check_error(region_mutex_lock(&shared->mutex), REGION_E_NOT_RECOVERABLE);
        check_error(region_mutex_trylock(&shared->mutex), REGION_E_NOT_RECOVERABLE);
        check(region_mutex_init(&shared->mutex));
        check(region_mutex_lock(&shared->mutex));
        check(region_mutex_unlock(&shared->mutex));
}
END_TEST

START_TEST(an_heir_that_dies_too_is_followed)
{
        pid_t heir;
        int status;

        end(start_holder());
        heir = fork();
        if (heir == 0)
                _exit(region_mutex_lock(&shared->mutex) == REGION_E_OWNER_DIED ? 0 : 1);
        ck_assert_int_eq(waitpid(heir, &status, 0), heir);
        ck_assert_int_eq(status, 0);
        check_error(region_mutex_lock(&shared->mutex), REGION_E_OWNER_DIED);
        ck_assert_int_eq(region_last_error()->pid, heir);
        check(region_mutex_consistent(&shared->mutex));
        check(region_mutex_unlock(&shared->mutex));
}
END_TEST

START_TEST(one_whose_owner_died_can_be_destroyed)
{
        end(start_holder());
        check(region_mutex_destroy(&shared->mutex));
}
END_TEST

int main(void)
{
        Suite *suite = suite_create("libregion-mutex");
        TCase *alive = check_case(suite, "alive"), *death = check_case(suite, "death");

        tcase_add_checked_fixture(alive, setup, teardown);
        tcase_add_test(alive, who_has_it_is_known);
        tcase_add_test(alive, who_comes_in_vain_is_told_who_has_it);
        tcase_add_test(alive, mistakes_are_told);
        tcase_add_test(alive, another_thread_cannot_unlock_it);
        tcase_add_test(alive, a_child_does_not_have_what_its_parent_locked);
        tcase_add_test(alive, it_keeps_processes_apart);
        tcase_add_checked_fixture(death, setup, teardown);
        tcase_add_test(death, the_next_owner_is_told_who_died);
        tcase_add_test(death, who_waits_gets_it_when_its_owner_dies);
        tcase_add_test(death, trying_and_waiting_inherit_it_too);
        tcase_add_test(death, what_is_not_repaired_is_given_up);
        tcase_add_test(death, an_heir_that_dies_too_is_followed);
        tcase_add_test(death, one_whose_owner_died_can_be_destroyed);
        return check_run(suite);
}
