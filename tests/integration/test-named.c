/* Named memory: what opening it finds, makes and refuses, and what attaching it gives. */

#include "tests/integration/named-memory.h"

#include "tests/support/child.h"

#include "proto/util.h"

#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>

enum { GO = 1, DONE, MANY = 8, ROUNDS = 20 };

enum { CREATE = REGION_NAMED_CREATE, MAKE = REGION_NAMED_CREATE | REGION_NAMED_EXCLUSIVE };

static struct region_broker *session;

static void setup(void)
{
        broker_setup();
        session = connect_session();
}

static void teardown(void)
{
        region_broker_close(session);
        broker_teardown();
}

/* --- opening ----------------------------------------------------------------------------------------------------- */

static void read_and_answer(int channel, const void *unused)
{
        struct region_broker *own = connect_session();
        struct region_named *named = open_named(own, "m", 0, 0);
        char *memory = attach(named, 0);

        (void)unused;
        ck_assert_uint_eq(region_named_size(named), 2 * PAGE);
        ck_assert_int_eq(memory[5000], 'p');
        memory[5000] = 'c';
        child_tell(channel, DONE);
        child_hear(channel);
        region_broker_close(own);
}

START_TEST(what_one_process_makes_another_finds_by_its_name)
{
        struct region_named *named = open_named(session, "m", 5001, MAKE);
        char *memory = attach(named, 0);
        struct child other = {};

        ck_assert_uint_eq(region_named_size(named), 2 * PAGE);
        for (size_t i = 0; i < region_named_size(named); i++)
                ck_assert_int_eq(memory[i], 0);
        memory[5000] = 'p';
        child_start(&other, read_and_answer, NULL);
        ck_assert_int_eq(child_hear(other.channel), DONE);
        ck_assert_int_eq(memory[5000], 'c');
        ck_assert_uint_eq(count_members(session, "m"), 2);
        child_end(&other);
        region_named_close(named);
}
END_TEST

START_TEST(it_is_an_environment_to_those_who_look)
{
        struct region_named *named;
        struct region_description *description;

        check(region_named_open(session, "m", 1, CREATE, 0640, &named));
        check(region_describe(session, "m", &description));
        ck_assert_uint_eq(description->env->n_regions, 1);
        ck_assert_int_eq(description->env->state, REGION_STATE_READY);
        ck_assert_int_eq(description->env->lifetime, REGION_LIFETIME_PERSISTENT);
        ck_assert_int_eq(description->env->mode, 0640);
        ck_assert_int_eq(description->env->regions[0]->bytes_used, PAGE);
        region_description_free(description);
        region_named_close(named);

        named = open_named(session, "t", 1, CREATE | REGION_NAMED_TEMPORARY);
        check(region_describe(session, "t", &description));
        ck_assert_int_eq(description->env->lifetime, REGION_LIFETIME_ATTACHED);
        ck_assert_int_eq(description->env->mode, 0600);
        region_description_free(description);
        region_named_close(named);
}
END_TEST

START_TEST(without_create_there_has_to_be_one)
{
        refuse_open(session, "m", PAGE, 0, REGION_E_NOT_FOUND);
        refuse_open(session, "m", 0, 0, REGION_E_NOT_FOUND);
        region_named_close(open_named(session, "m", PAGE, CREATE));
        region_named_close(open_named(session, "m", PAGE, 0));
}
END_TEST

START_TEST(create_takes_what_is_there_and_exclusive_does_not)
{
        struct region_named *named = open_named(session, "m", PAGE, MAKE);
        struct region_named *again;

        attach(named, 0)[0] = 'x';
        refuse_open(session, "m", PAGE, MAKE, REGION_E_EXISTS);
        again = open_named(session, "m", PAGE, CREATE);
        ck_assert_int_eq(attach(again, 0)[0], 'x');
        region_named_close(named);
        ck_assert_uint_eq(count_members(session, "m"), 1);
        region_named_close(again);
        ck_assert_uint_eq(count_members(session, "m"), 0);
        refuse_open(session, "m", PAGE, MAKE, REGION_E_EXISTS);
}
END_TEST

static const struct {
        size_t size;
        unsigned flags;
        enum region_result result;
} sizes[] = {
        { 0, 0, REGION_OK },
        { 1, 0, REGION_OK },
        { 2 * PAGE, 0, REGION_OK }, /* in whole pages */
        { 2 * PAGE, CREATE, REGION_OK },
        { 2 * PAGE + 1, 0, REGION_E_SIZE },
        { 2 * PAGE + 1, CREATE, REGION_E_SIZE },
        { SIZE_MAX, 0, REGION_E_SIZE },
        { 3 * PAGE, MAKE, REGION_E_EXISTS },
        { 0, CREATE, REGION_E_INVALID },
        { SIZE_MAX, CREATE, REGION_E_INVALID },
};

START_TEST(the_size_is_what_is_there_or_less)
{
        struct region_named *made = open_named(session, "m", PAGE + 1, MAKE), *named = NULL;
        enum region_result result = region_named_open(session, "m", sizes[_i].size, sizes[_i].flags, 0, &named);

        check_error(result, sizes[_i].result);
        if (result == REGION_E_SIZE)
                ck_assert_ptr_nonnull(strstr(region_error_message(), "has 8192 bytes"));
        if (result == REGION_OK)
                ck_assert_uint_eq(region_named_size(named), 2 * PAGE);
        region_named_close(named);
        ck_assert_uint_eq(count_members(session, "m"), 1);
        region_named_close(made);
}
END_TEST

static const struct {
        const char *name;
        unsigned flags;
        mode_t mode;
        enum region_result result;
        const char *said;
} wrong_arguments[] = {
        { "m", CREATE | 0x40, 0600, REGION_E_INVALID, "0x40" },
        { "m", CREATE | REGION_NAMED_READ_ONLY, 0600, REGION_E_INVALID, "0x8" },
        { "m", REGION_NAMED_EXCLUSIVE, 0600, REGION_E_INVALID, "REGION_NAMED_CREATE" },
        { "m", CREATE, 01600, REGION_E_INVALID, "01600" },
        { NULL, CREATE, 0600, REGION_E_INVALID, "the name of the memory is missing" },
        { "", CREATE, 0600, REGION_E_NAME, "empty" },
        { "/tmp/m", CREATE, 0600, REGION_E_NAME, "directories" },
        { "tmp/m", CREATE, 0600, REGION_E_NAME, "slash" },
};

START_TEST(what_makes_no_sense_is_refused)
{
        struct region_named *named;

        check_error(region_named_open(session, wrong_arguments[_i].name, PAGE, wrong_arguments[_i].flags,
                                      wrong_arguments[_i].mode, &named),
                    wrong_arguments[_i].result);
        ck_assert_msg(strstr(region_error_message(), wrong_arguments[_i].said), "%s", region_error_message());
        refuse_open(session, "m", 0, 0, REGION_E_NOT_FOUND);
}
END_TEST

static const struct region_spec specs[] = { { .name = "memory", .size = PAGE }, { .name = "b", .size = PAGE } };

/* Those that are not what they seem to be have the schema of named memory. */
static const struct {
        struct region_env_options options;
        bool ready;
} others[] = {
        { { .n_regions = 1 }, true },
        { { .n_regions = 1 }, false }, /* nobody waits for it */
        { { .n_regions = 1, .schema = "mine" }, true },
        { { .n_regions = 2, .schema = "named-memory-1" }, true },
        { { .n_regions = 0, .schema = "named-memory-1" }, true },
        { { .n_regions = 1, .schema = "named-memory-1", .recovery = true }, true },
        { { .n_regions = 1, .schema = "named-memory-1", .backing = REGION_BACKING_POSIX }, true },
};

START_TEST(another_environment_is_not_taken_for_named_memory)
{
        struct region_env_options options = others[_i].options;
        struct region_env *env;

        options.create = REGION_CREATE_ALWAYS;
        options.regions = specs;
        check(region_env_open(session, "m", &options, &env));
        if (others[_i].ready)
                check(region_env_ready(env));
        refuse_open(session, "m", 0, 0, REGION_E_INVALID);
        refuse_open(session, "m", PAGE, CREATE, REGION_E_INVALID);
        refuse_open(session, "m", PAGE, MAKE, REGION_E_EXISTS);
        check_error(region_named_delete(session, "m"), REGION_E_INVALID);
        ck_assert_uint_eq(count_members(session, "m"), 1);
        region_env_close(env);
}
END_TEST

START_TEST(a_full_memory_is_an_error_at_open_and_leaves_nothing)
{
        static const char *const options[] = { "--limit", "regionBytes=70368744177664", "--limit",
                                               "bytesPerUser=70368744177664", NULL };

        region_broker_close(session);
        ck_assert(daemon_stop(&broker));
        ck_assert(daemon_start(&broker, options));
        session = connect_session();
        refuse_open(session, "m", (size_t)64 << 40, CREATE, REGION_E_RESOURCE);
        refuse_open(session, "m", (size_t)65 << 40, CREATE, REGION_E_QUOTA);
        refuse_open(session, "m", 0, 0, REGION_E_NOT_FOUND);
        region_named_close(open_named(session, "m", PAGE, MAKE));
}
END_TEST

/* --- races ------------------------------------------------------------------------------------------------------- */

/* Opens a memory after another each time it is told to, and says how that went. */
static void open_in_rounds(int channel, const void *flags)
{
        struct region_broker *own = connect_session();
        struct region_named *named;
        char name[16];

        for (int round = 0; round < ROUNDS; round++) {
                enum region_result result;

                child_hear(channel);
                snprintf(name, sizeof(name), "m%d", round);
                result = region_named_open(own, name, PAGE, *(const unsigned *)flags, 0, &named);
                if (result == REGION_OK)
                        atomic_fetch_add((atomic_int *)(void *)attach(named, 0), 1);
                child_tell(channel, result);
        }
        child_hear(channel);
        region_broker_close(own);
}

/* How many of the children were let in, in one round, and that the others were told why not. */
static int count_winners(struct child *children)
{
        int winners = 0;

        for (int i = 0; i < MANY; i++)
                child_tell(children[i].channel, GO);
        for (int i = 0; i < MANY; i++) {
                int64_t result = child_hear(children[i].channel);

                ck_assert_msg(result == REGION_OK || result == REGION_E_EXISTS, "%s",
                              region_result_name((enum region_result)result));
                winners += result == REGION_OK;
        }
        return winners;
}

static void race(unsigned flags, int winners)
{
        struct child children[MANY] = {};
        struct region_named *named;
        char name[16];

        for (int i = 0; i < MANY; i++)
                child_start(&children[i], open_in_rounds, &flags);
        for (int round = 0; round < ROUNDS; round++) {
                ck_assert_int_eq(count_winners(children), winners);
                snprintf(name, sizeof(name), "m%d", round);
                named = open_named(session, name, PAGE, 0);
                ck_assert_int_eq(*(atomic_int *)(void *)attach(named, REGION_NAMED_READ_ONLY), winners);
                region_named_close(named);
        }
        for (int i = 0; i < MANY; i++)
                child_end(&children[i]);
}

START_TEST(of_many_processes_that_create_exclusively_one_succeeds)
{
        race(MAKE, 1);
}
END_TEST

START_TEST(many_processes_that_create_have_the_same_memory)
{
        race(CREATE, MANY);
}
END_TEST

static void *make_in_thread(void *shared)
{
        struct region_broker *own = shared ? shared : connect_session();
        struct region_named *named;
        bool won = region_named_open(own, "m", PAGE, MAKE, 0, &named) == REGION_OK;

        if (won)
                region_named_close(named);
        else if (region_last_error()->code != REGION_E_EXISTS)
                abort();
        if (!shared)
                region_broker_close(own);
        return won ? session : NULL;
}

START_TEST(of_many_threads_that_create_exclusively_one_succeeds)
{
        pthread_t threads[MANY];
        int winners = 0;
        void *result;

        for (int i = 0; i < MANY; i++)
                ck_assert_int_eq(pthread_create(&threads[i], NULL, make_in_thread, _i ? session : NULL), 0);
        for (int i = 0; i < MANY; i++) {
                pthread_join(threads[i], &result);
                winners += result != NULL;
        }
        ck_assert_int_eq(winners, 1);
}
END_TEST

/* --- attaching --------------------------------------------------------------------------------------------------- */

START_TEST(attached_again_it_has_another_address)
{
        struct region_named *named = open_named(session, "m", PAGE, CREATE);
        char *one = attach(named, 0), *other = attach(named, 0);

        ck_assert_ptr_ne(one, other);
        one[0] = 'x';
        ck_assert_int_eq(other[0], 'x');
        check(region_named_detach(named, one));
        ck_assert(!is_mapped(one));
        ck_assert_int_eq(other[0], 'x');
        check(region_named_detach(named, other));
        ck_assert_uint_eq(count_members(session, "m"), 1); /* it is open still */
        one = attach(named, 0);
        ck_assert_int_eq(one[0], 'x');
        region_named_close(named);
}
END_TEST

START_TEST(attached_for_reading_beside_writing_it_cannot_be_made_writable)
{
        struct region_named *named = open_named(session, "m", PAGE, CREATE);
        char *writable = attach(named, 0), *readable = attach(named, REGION_NAMED_READ_ONLY);

        ck_assert_ptr_ne(writable, readable);
        writable[0] = 'x';
        ck_assert_int_eq(readable[0], 'x');
        ck_assert(is_writable(writable));
        ck_assert(!is_writable(readable));
        ck_assert_int_eq(mprotect(readable, PAGE, PROT_READ | PROT_WRITE), -1);
        ck_assert_int_eq(errno, EACCES);
        check(region_named_detach(named, writable));
        ck_assert_int_eq(readable[0], 'x');
        check(region_named_detach(named, readable));
        region_named_close(named);
}
END_TEST

START_TEST(only_what_attaching_gave_is_detached)
{
        struct region_named *named = open_named(session, "m", 2 * PAGE, CREATE);
        struct region_named *other = open_named(session, "m", 0, 0);
        char *own = attach(named, 0), *theirs = attach(other, 0), *gone = attach(named, REGION_NAMED_READ_ONLY);

        check(region_named_detach(named, gone));
        check_error(region_named_detach(named, gone), REGION_E_NOT_ATTACHED);
        check_error(region_named_detach(named, NULL), REGION_E_NOT_ATTACHED);
        check_error(region_named_detach(named, own + PAGE), REGION_E_NOT_ATTACHED);
        check_error(region_named_detach(named, theirs), REGION_E_NOT_ATTACHED);
        check_error(region_named_detach(named, &gone), REGION_E_NOT_ATTACHED);
        ck_assert(is_mapped(own) && is_mapped(theirs));
        region_named_close(named);
        ck_assert(is_mapped(theirs));
        region_named_close(other);
}
END_TEST

START_TEST(closing_detaches_all)
{
        struct region_named *named = open_named(session, "m", PAGE, CREATE);
        char *one = attach(named, 0), *other = attach(named, REGION_NAMED_READ_ONLY);

        if (_i == 0)
                region_named_close(named);
        else
                region_broker_close(take_ptr(session));
        ck_assert(!is_mapped(one) && !is_mapped(other));
        region_named_close(NULL);
}
END_TEST

START_TEST(flags_that_attaching_does_not_know_are_refused)
{
        struct region_named *named = open_named(session, "m", PAGE, CREATE);
        void *address = NULL;

        check_error(region_named_attach(named, 0x40, &address), REGION_E_INVALID);
        check_error(region_named_attach(named, REGION_NAMED_CREATE, &address), REGION_E_INVALID);
        ck_assert_ptr_null(address);
        region_named_close(named);
}
END_TEST

int main(void)
{
        Suite *suite = suite_create("named");
        TCase *opening = check_case(suite, "opening"), *races = check_case(suite, "races");
        TCase *attaching = check_case(suite, "attaching");
        TCase *all[] = { opening, races, attaching };

        for (size_t i = 0; i < array_size(all); i++)
                tcase_add_checked_fixture(all[i], setup, teardown);
        tcase_add_test(opening, what_one_process_makes_another_finds_by_its_name);
        tcase_add_test(opening, it_is_an_environment_to_those_who_look);
        tcase_add_test(opening, without_create_there_has_to_be_one);
        tcase_add_test(opening, create_takes_what_is_there_and_exclusive_does_not);
        tcase_add_loop_test(opening, the_size_is_what_is_there_or_less, 0, (int)array_size(sizes));
        tcase_add_loop_test(opening, what_makes_no_sense_is_refused, 0, (int)array_size(wrong_arguments));
        tcase_add_loop_test(opening, another_environment_is_not_taken_for_named_memory, 0, (int)array_size(others));
        tcase_add_test(opening, a_full_memory_is_an_error_at_open_and_leaves_nothing);
        tcase_add_test(races, of_many_processes_that_create_exclusively_one_succeeds);
        tcase_add_test(races, many_processes_that_create_have_the_same_memory);
        tcase_add_loop_test(races, of_many_threads_that_create_exclusively_one_succeeds, 0, 2);
        tcase_add_test(attaching, attached_again_it_has_another_address);
        tcase_add_test(attaching, attached_for_reading_beside_writing_it_cannot_be_made_writable);
        tcase_add_test(attaching, only_what_attaching_gave_is_detached);
        tcase_add_loop_test(attaching, closing_detaches_all, 0, 2);
        tcase_add_test(attaching, flags_that_attaching_does_not_know_are_refused);
        return check_run(suite);
}
