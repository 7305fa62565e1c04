/* The life of an environment as programs see it that use the library: health, recovery, what happens, and fork(2). */

#include "tests/support/check.h"
#include "tests/support/child.h"
#include "tests/support/session.h"

#include "proto/util.h"

#include <pthread.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <sys/wait.h>

enum { GO = 1, DONE };

static const struct region_spec one_region[] = { { .name = "data", .size = 4096 } };
static const struct region_spec two_regions[] = { { .name = "data", .size = 4096 }, { .name = "more", .size = 4096 } };

static const struct region_env_options recoverable = {
        .create = REGION_CREATE_IF_ABSENT,
        .recovery = true,
        .regions = one_region,
        .n_regions = 1,
};
static const struct region_env_options plain = {
        .create = REGION_CREATE_IF_ABSENT,
        .regions = two_regions,
        .n_regions = 2,
};
static const struct region_env_options no_wait = { .wait_usec = REGION_NO_WAIT };

static char *map_data(struct region_env *env)
{
        return map_region(env, "data");
}

/* A member by a session of its own, until it is told to end, or killed. */
static void be_member(int channel, const void *options)
{
        struct region_broker *session = connect_session();
        struct region_env *env = open_env(session, "e", options);

        map_data(env)[0] = 'x';
        child_tell(channel, DONE);
        child_hear(channel);
        region_broker_close(session);
}

static void start_member(struct child *child)
{
        child_start(child, be_member, &recoverable);
        ck_assert_int_eq(child_hear(child->channel), DONE);
}

/* --- recovery ---------------------------------------------------------------------------------------------------- */

START_TEST(a_death_is_seen_without_a_call_and_repaired_by_a_member)
{
        struct region_broker *session, *other;
        struct region_env *env, *theirs, *unused;
        struct region_health health;
        struct child writer = {};

        start_member(&writer);
        session = connect_session();
        env = open_env(session, "e", &recoverable);
        ck_assert_int_eq(region_env_state(env), REGION_STATE_READY);
        child_kill(&writer);
        wait_for_state(env, REGION_STATE_DIRTY);
        region_env_health(env, &health);
        ck_assert_uint_eq(health.deaths, 1);
        ck_assert_uint_eq(health.generation, 1);

        check(region_env_recover(env, REGION_NO_WAIT));
        ck_assert_int_eq(region_env_role(env), REGION_ROLE_RECOVERER);
        ck_assert_int_eq(region_env_state(env), REGION_STATE_RECOVERING);
        other = connect_session();
        check_error(region_env_open(other, "e", &no_wait, &unused), REGION_E_NOT_READY);
        ck_assert_int_eq(map_data(env)[0], 'x');
        check(region_env_ready(env));
        ck_assert_int_eq(region_env_role(env), REGION_ROLE_MEMBER);
        region_env_health(env, &health);
        ck_assert_uint_eq(health.generation, 2);

        theirs = open_env(other, "e", &no_wait);
        check(region_env_recover(theirs, REGION_NO_WAIT)); /* there is nothing to do */
        ck_assert_int_eq(region_env_role(theirs), REGION_ROLE_MEMBER);
        region_broker_close(other);
        region_broker_close(session);
}
END_TEST

START_TEST(a_second_member_that_asks_waits_for_the_first_and_is_a_member)
{
        struct region_broker *one = NULL, *other = NULL;
        struct region_env *first, *second;
        struct child writer = {};

        start_member(&writer);
        one = connect_session();
        other = connect_session();
        first = open_env(one, "e", &recoverable);
        second = open_env(other, "e", &recoverable);
        child_kill(&writer);
        wait_for_state(first, REGION_STATE_DIRTY);
        check(region_env_recover(first, REGION_NO_WAIT));
        check_error(region_env_recover(second, REGION_NO_WAIT), REGION_E_NOT_READY);
        check_error(region_env_recover(second, 5000), REGION_E_NOT_READY);
        ck_assert_int_eq(region_env_role(second), REGION_ROLE_MEMBER);

        region_broker_close(one); /* the recoverer goes without ready */
        wait_for_state(second, REGION_STATE_DIRTY);
        check(region_env_recover(second, 0));
        ck_assert_int_eq(region_env_role(second), REGION_ROLE_RECOVERER);
        check(region_env_ready(second));
        region_broker_close(other);
}
END_TEST

START_TEST(a_further_death_makes_the_recoverer_look_once_more)
{
        struct child one = {}, other = {};
        struct region_broker *session;
        struct region_health health;
        struct region_env *env;

        start_member(&one);
        start_member(&other);
        session = connect_session();
        env = open_env(session, "e", &recoverable);
        child_kill(&one);
        wait_for_state(env, REGION_STATE_DIRTY);
        check(region_env_recover(env, 0));
        region_env_health(env, &health);
        child_kill(&other);
        check(region_env_wait_change(env, health.change, (int64_t)CHECK_WAIT_MSEC * 1000));
        check_error(region_env_ready(env), REGION_E_RECOVERY);
        ck_assert_int_eq(region_env_role(env), REGION_ROLE_RECOVERER);
        check(region_env_ready(env));
        ck_assert_int_eq(region_env_state(env), REGION_STATE_READY);
        region_broker_close(session);
}
END_TEST

static void remove_it(int channel, const void *unused)
{
        struct region_broker *session = connect_session();

        (void)unused;
        child_hear(channel);
        check(region_env_remove(session, "e", false, INT64_MAX, NULL));
        child_tell(channel, DONE);
        region_broker_close(session);
}

START_TEST(a_removal_that_waits_is_seen)
{
        struct child remover = {};
        struct region_broker *session;
        struct region_health health;
        struct region_env *env;

        child_start(&remover, remove_it, NULL);
        session = connect_session();
        env = open_env(session, "e", &recoverable);
        region_env_health(env, &health);
        child_tell(remover.channel, GO);
        while (!health.draining) {
                check(region_env_wait_change(env, health.change, (int64_t)CHECK_WAIT_MSEC * 1000));
                region_env_health(env, &health);
        }
        region_env_close(env);
        ck_assert_int_eq(child_hear(remover.channel), DONE);
        child_end(&remover);
        region_broker_close(session);
}
END_TEST

/* --- what happens ------------------------------------------------------------------------------------------------ */

/* The next event of that kind. */
static const struct region_event *next_event(struct region_watch *watch, enum region_event_kind kind)
{
        const struct region_event *event;

        do
                check(region_watch_next(watch, (int64_t)CHECK_WAIT_MSEC * 1000, &event));
        while (event->kind != kind);
        return event;
}

START_TEST(a_watch_tells_a_life)
{
        const struct region_event *event;
        struct region_watch *watch;
        struct region_broker *session;
        struct region_env *env;
        struct child writer = {};
        pid_t pid;

        check(region_watch_open(broker.socket, "e", -1, &watch));
        start_member(&writer);
        session = connect_session();
        env = open_env(session, "e", &recoverable);
        pid = writer.pid;
        child_kill(&writer);
        event = next_event(watch, REGION_EVENT_CREATED);
        ck_assert_int_eq(event->pid, pid);
        ck_assert_str_eq(event->environment, "e");
        event = next_event(watch, REGION_EVENT_DIED);
        ck_assert_int_eq(event->pid, pid);
        ck_assert_uint_eq(event->n_written_regions, 1);
        ck_assert_str_eq(event->written_regions[0], "data");
        next_event(watch, REGION_EVENT_DIRTY);
        check(region_env_recover(env, 0));
        check(region_env_ready(env));
        next_event(watch, REGION_EVENT_RECOVERING);
        next_event(watch, REGION_EVENT_RECOVERED);
        region_broker_close(session);
        next_event(watch, REGION_EVENT_RECLAIMED);
        region_watch_close(watch);

        check(region_watch_open(broker.socket, NULL, 0, &watch)); /* all of it again */
        ck_assert_int_eq(next_event(watch, REGION_EVENT_CREATED)->pid, pid);
        next_event(watch, REGION_EVENT_RECLAIMED);
        region_watch_close(watch);
}
END_TEST

START_TEST(an_environment_that_is_gone_is_explained)
{
        struct region_broker *session = connect_session();
        struct region_explanation *explanation;
        struct region_env *env = open_env(session, "e", &recoverable);

        check(region_explain(session, "e", NULL, &explanation));
        ck_assert_uint_ge(explanation->n_reasons, 1);
        ck_assert_uint_eq(explanation->n_attachments, 1);
        ck_assert_int_eq(explanation->attachments[0]->pid, getpid());
        region_explanation_free(explanation);
        region_env_close(env);
        check(region_explain(session, "e", NULL, &explanation));
        ck_assert_uint_ge(explanation->n_reasons, 1);
        ck_assert_uint_eq(explanation->n_attachments, 0);
        ck_assert_int_eq(explanation->events[explanation->n_events - 1]->kind, REGION_EVENT_RECLAIMED);
        region_explanation_free(explanation);
        check_error(region_explain(session, "never", NULL, &explanation), REGION_E_NOT_FOUND);
        region_broker_close(session);
}
END_TEST

/* --- fork -------------------------------------------------------------------------------------------------------- */

/* What a child inherits. */
static struct region_broker *inherited;
static struct region_env *inherited_env, *inherited_other;

static void open_inherited(const struct region_env_options *options)
{
        inherited = connect_session();
        inherited_env = open_env(inherited, "e", options);
}

/* Goes on with all it has, one step each time it is told to. */
static void go_on(int channel, const void *unused)
{
        struct region *more, *data = region_env_find(inherited_env, "data");
        char *address = region_address(data);

        (void)unused;
        ck_assert_int_eq(address[0], 'p');
        child_hear(channel);
        check(region_env_attach(inherited_env, "more", REGION_WRITE, &more));
        ck_assert_int_eq(region_env_role(inherited_env), REGION_ROLE_MEMBER);
        address[0] = 'c';
        child_tell(channel, DONE);
        child_hear(channel);
        region_env_close(inherited_env);
        child_tell(channel, DONE);
        child_hear(channel);
        region_broker_close(inherited);
}

START_TEST(a_child_goes_on_with_what_it_inherited)
{
        struct child child = {};
        char *address;

        open_inherited(&plain);
        address = map_data(inherited_env);
        address[0] = 'p';
        child_fork(&child, go_on, NULL);
        ck_assert_uint_eq(count_members(inherited, "e"), 1);
        child_tell(child.channel, GO);
        ck_assert_int_eq(child_hear(child.channel), DONE);
        ck_assert_int_eq(address[0], 'c');
        ck_assert_uint_eq(count_members(inherited, "e"), 2);
        child_tell(child.channel, GO);
        ck_assert_int_eq(child_hear(child.channel), DONE);
        ck_assert_uint_eq(count_members(inherited, "e"), 1);
        child_end(&child);
        ck_assert_uint_eq(count_members(inherited, "e"), 1);
        region_broker_close(inherited);
}
END_TEST

START_TEST(a_child_keeps_the_environment_when_its_parent_leaves)
{
        struct region_broker *session = connect_session();
        struct region_description *unused;
        struct child child = {};

        open_inherited(&plain);
        map_data(inherited_env)[0] = 'p';
        child_fork(&child, go_on, NULL);
        child_tell(child.channel, GO);
        ck_assert_int_eq(child_hear(child.channel), DONE);
        region_broker_close(inherited);
        ck_assert_uint_eq(count_members(session, "e"), 1);
        child_tell(child.channel, GO);
        ck_assert_int_eq(child_hear(child.channel), DONE);
        check_error(region_describe(session, "e", &unused), REGION_E_NOT_FOUND); /* it went with its last holder */
        child_end(&child);
        region_broker_close(session);
}
END_TEST

static void map_and_stay(int channel, const void *unused)
{
        (void)unused;
        map_data(inherited_env);
        child_tell(channel, DONE);
        child_hear(channel);
}

START_TEST(the_death_of_a_child_that_went_on_is_a_death)
{
        struct child child = {};

        open_inherited(&recoverable);
        child_fork(&child, map_and_stay, NULL);
        ck_assert_int_eq(child_hear(child.channel), DONE);
        child_kill(&child);
        wait_for_state(inherited_env, REGION_STATE_DIRTY);
        check(region_env_recover(inherited_env, 0));
        check(region_env_ready(inherited_env));
        region_broker_close(inherited);
}
END_TEST

START_TEST(the_death_of_a_child_that_only_reads_harms_nothing)
{
        static const struct region_env_options reading = { .access = REGION_READ };
        struct region_broker *session = connect_session();
        struct child child = {};
        struct region_health health;

        open_env(session, "e", &recoverable);
        open_inherited(&reading);
        child_fork(&child, map_and_stay, NULL);
        ck_assert_int_eq(child_hear(child.channel), DONE);
        region_env_health(inherited_env, &health);
        child_kill(&child);
        check(region_env_wait_change(inherited_env, health.change, (int64_t)CHECK_WAIT_MSEC * 1000));
        ck_assert_uint_eq(count_members(session, "e"), 2); /* by now all is known */
        ck_assert_int_eq(region_env_state(inherited_env), REGION_STATE_READY);
        region_broker_close(inherited);
        region_broker_close(session);
}
END_TEST

START_TEST(a_child_holds_only_the_regions_that_it_inherited)
{
        static const char *const only_data[] = { "data" };
        static const struct region_env_options one_of_two = { .only = only_data, .n_only = 1 };
        struct region_broker *session = connect_session();
        struct region_description *description;
        struct child child = {};

        open_env(session, "e", &plain);
        open_inherited(&one_of_two);
        child_fork(&child, map_and_stay, NULL);
        ck_assert_int_eq(child_hear(child.channel), DONE);
        check(region_describe(session, "e", &description));
        ck_assert_uint_eq(description->n_attachments, 4);
        for (size_t i = 0; i < description->n_attachments; i++)
                if (description->attachments[i]->pid == child.pid)
                        ck_assert_str_eq(description->attachments[i]->region, "data");
        region_description_free(description);
        child_end(&child);
        region_broker_close(inherited);
        region_broker_close(session);
}
END_TEST

static void have_a_copy(int channel, const void *unused)
{
        struct region *data = region_env_find(inherited_env, "data");
        void *address;

        (void)channel, (void)unused;
        ck_assert_int_eq(*(char *)region_address(data), 'p');
        check_error(region_map(data, NULL, &address), REGION_E_BUSY);
        check_error(region_env_recover(inherited_env, 0), REGION_E_BUSY);
        ck_assert_ptr_nonnull(strstr(region_error_message(), "private"));
        *(char *)region_address(data) = 'c';
        region_broker_close(inherited);
}

START_TEST(a_private_environment_is_not_inherited)
{
        static const struct region_env_options private = {
                .create = REGION_CREATE_ALWAYS,
                .backing = REGION_BACKING_PRIVATE,
                .regions = one_region,
                .n_regions = 1,
        };
        struct child child = {};
        char *address;

        open_inherited(&private);
        address = map_data(inherited_env);
        address[0] = 'p';
        child_fork(&child, have_a_copy, NULL);
        child_end(&child);
        ck_assert_int_eq(address[0], 'p');
        ck_assert_uint_eq(count_members(inherited, "e"), 1);
        region_broker_close(inherited);
}
END_TEST

static void adopt_both(int channel, const void *unused)
{
        struct region *region;

        (void)unused;
        child_hear(channel);
        check_error(region_env_attach(inherited_other, "more", 0, &region), REGION_E_NOT_FOUND);
        check_error(region_env_attach(inherited_env, "none", 0, &region), REGION_E_NO_REGION);
        child_tell(channel, DONE);
        child_hear(channel);
}

START_TEST(a_child_does_not_take_a_new_environment_for_the_one_it_inherited)
{
        struct region_broker *session = connect_session();
        struct child child = {};

        open_inherited(&plain);
        inherited_other = open_env(inherited, "other", &plain);
        child_fork(&child, adopt_both, NULL);
        check(region_env_remove(session, "other", true, 0, NULL));
        open_env(session, "other", &plain);
        child_tell(child.channel, GO);
        ck_assert_int_eq(child_hear(child.channel), DONE);
        ck_assert_uint_eq(count_members(session, "other"), 1);
        ck_assert_uint_eq(count_members(session, "e"), 2);
        child_end(&child);
        region_broker_close(inherited);
        region_broker_close(session);
}
END_TEST

static void come_early(int channel, const void *unused)
{
        struct region *data = region_env_find(inherited_env, "data");
        void *address;

        (void)unused;
        check_error(region_map(data, NULL, &address), REGION_E_NOT_READY);
        check_error(region_env_ready(inherited_env), REGION_E_NOT_READY);
        child_tell(channel, DONE);
        child_hear(channel);
        check(region_map(data, NULL, &address));
        region_broker_close(inherited);
}

START_TEST(the_child_of_an_initializer_comes_in_when_it_is_ready)
{
        struct child child = {};

        inherited = connect_session();
        check(region_env_open(inherited, "e", &plain, &inherited_env));
        child_fork(&child, come_early, NULL);
        ck_assert_int_eq(child_hear(child.channel), DONE);
        check(region_env_ready(inherited_env));
        child_tell(child.channel, GO);
        child_end(&child);
        region_broker_close(inherited);
}
END_TEST

static void be_grandchild(int channel, const void *unused)
{
        (void)unused;
        map_data(inherited_env)[0] = 'g';
        child_tell(channel, DONE);
        child_hear(channel);
        region_broker_close(inherited);
}

/* With or without a call of its own before. */
static void have_child(int channel, const void *calls)
{
        struct child child = {};

        if (calls)
                map_data(inherited_env);
        child_fork(&child, be_grandchild, NULL);
        ck_assert_int_eq(child_hear(child.channel), DONE);
        child_tell(channel, DONE);
        child_hear(channel);
        child_tell(child.channel, GO);
        child_end(&child);
        region_broker_close(inherited);
}

START_TEST(a_grandchild_goes_on_as_well)
{
        struct child child = {};

        open_inherited(&plain);
        map_data(inherited_env)[0] = 'p';
        child_fork(&child, have_child, _i ? "calls" : NULL);
        ck_assert_int_eq(child_hear(child.channel), DONE);
        ck_assert_int_eq(map_data(inherited_env)[0], 'g');
        ck_assert_uint_eq(count_members(inherited, "e"), _i ? 3 : 2);
        child_tell(child.channel, GO);
        child_end(&child);
        ck_assert_uint_eq(count_members(inherited, "e"), 1);
        region_broker_close(inherited);
}
END_TEST

static void *map_in_thread(void *data)
{
        void *address;

        for (int i = 0; i < 20; i++)
                if (region_map(data, NULL, &address) != REGION_OK ||
                    region_broker_call(inherited, "org.regionbroker.GetStatistics", NULL, false, NULL, NULL) !=
                            REGION_OK)
                        return NULL;
        return data;
}

static void use_threads(int channel, const void *unused)
{
        pthread_t threads[4];
        void *result;

        (void)channel, (void)unused;
        for (size_t i = 0; i < array_size(threads); i++)
                ck_assert_int_eq(pthread_create(&threads[i], NULL, map_in_thread, region_env_at(inherited_env, 0)), 0);
        for (size_t i = 0; i < array_size(threads); i++) {
                pthread_join(threads[i], &result);
                ck_assert_ptr_nonnull(result);
        }
        region_broker_close(inherited);
}

START_TEST(threads_of_a_child_come_in_together)
{
        struct child child = {};

        open_inherited(&plain);
        child_fork(&child, use_threads, NULL);
        child_end(&child);
        region_broker_close(inherited);
}
END_TEST

static bool enough;

static void *look_often(void *unused)
{
        while (!__atomic_load_n(&enough, __ATOMIC_RELAXED))
                region_env_find(inherited_env, "data");
        return unused;
}

static void map_once(int channel, const void *unused)
{
        (void)channel, (void)unused;
        map_data(inherited_env);
        region_broker_close(inherited);
}

START_TEST(a_child_of_a_process_whose_threads_look_at_handles_is_not_disturbed)
{
        pthread_t thread;

        open_inherited(&plain);
        ck_assert_int_eq(pthread_create(&thread, NULL, look_often, NULL), 0);
        for (int i = 0; i < 20; i++) {
                struct child child = {};

                child_fork(&child, map_once, NULL);
                child_end(&child);
        }
        __atomic_store_n(&enough, true, __ATOMIC_RELAXED);
        pthread_join(thread, NULL);
        region_broker_close(inherited);
}
END_TEST

/* --- other ways -------------------------------------------------------------------------------------------------- */

/* How many descriptors a program finds that this process executes. */
static int count_descriptors_of_program(void)
{
        const char *arguments[] = { "/bin/sh", "-c", "exit $(ls /proc/self/fd | wc -l)", NULL };
        int status;
        pid_t child;

        ck_assert_int_eq(posix_spawn(&child, arguments[0], NULL, NULL, (char **)(uintptr_t)arguments, NULL), 0);
        ck_assert_int_eq(waitpid(child, &status, 0), child);
        ck_assert(WIFEXITED(status));
        return WEXITSTATUS(status);
}

START_TEST(a_program_that_is_executed_gets_nothing_and_takes_nothing)
{
        int before = count_descriptors_of_program();

        open_inherited(&recoverable);
        map_data(inherited_env);
        ck_assert_int_eq(count_descriptors_of_program(), before);
        ck_assert_uint_eq(count_members(inherited, "e"), 1);
        ck_assert_int_eq(region_env_state(inherited_env), REGION_STATE_READY);
        region_broker_close(inherited);
}
END_TEST

static void find_no_broker(int channel, const void *unused)
{
        void *address;

        (void)unused;
        child_hear(channel);
        check_error(region_map(region_env_at(inherited_env, 0), NULL, &address), REGION_E_ABSENT);
        region_broker_close(inherited);
}

START_TEST(a_child_without_a_broker_is_told_so)
{
        struct child child = {};

        open_inherited(&plain);
        child_fork(&child, find_no_broker, NULL);
        ck_assert(daemon_stop(&broker));
        child_tell(child.channel, GO);
        child_end(&child);
        region_broker_close(inherited);
        ck_assert(daemon_start(&broker, NULL));
}
END_TEST

int main(void)
{
        Suite *suite = suite_create("libregion-life");
        TCase *recovery = check_case(suite, "recovery"), *happens = check_case(suite, "what happens");
        TCase *forking = check_case(suite, "fork"), *other = check_case(suite, "other ways");
        TCase *all[] = { recovery, happens, forking, other };

        for (size_t i = 0; i < array_size(all); i++)
                tcase_add_checked_fixture(all[i], broker_setup, broker_teardown);
        tcase_add_test(recovery, a_death_is_seen_without_a_call_and_repaired_by_a_member);
        tcase_add_test(recovery, a_second_member_that_asks_waits_for_the_first_and_is_a_member);
        tcase_add_test(recovery, a_further_death_makes_the_recoverer_look_once_more);
        tcase_add_test(recovery, a_removal_that_waits_is_seen);
        tcase_add_test(happens, a_watch_tells_a_life);
        tcase_add_test(happens, an_environment_that_is_gone_is_explained);
        tcase_add_test(forking, a_child_goes_on_with_what_it_inherited);
        tcase_add_test(forking, a_child_keeps_the_environment_when_its_parent_leaves);
        tcase_add_test(forking, the_death_of_a_child_that_went_on_is_a_death);
        tcase_add_test(forking, the_death_of_a_child_that_only_reads_harms_nothing);
        tcase_add_test(forking, a_child_holds_only_the_regions_that_it_inherited);
        tcase_add_test(forking, a_private_environment_is_not_inherited);
        tcase_add_test(forking, a_child_does_not_take_a_new_environment_for_the_one_it_inherited);
        tcase_add_test(forking, the_child_of_an_initializer_comes_in_when_it_is_ready);
        tcase_add_loop_test(forking, a_grandchild_goes_on_as_well, 0, 2);
        tcase_add_test(forking, threads_of_a_child_come_in_together);
        tcase_add_test(forking, a_child_of_a_process_whose_threads_look_at_handles_is_not_disturbed);
        tcase_add_test(other, a_program_that_is_executed_gets_nothing_and_takes_nothing);
        tcase_add_test(other, a_child_without_a_broker_is_told_so);
        return check_run(suite);
}
