/* Sessions and processes, finding and listing, and what a user may have. */

#include "proto/util.h"
#include "tests/unit/broker-room.h"

#include <errno.h>
#include <sys/stat.h>
#include <unistd.h>

static struct caller a, b, c;
static struct definition sheep; /* two regions of memfd memory */

static void setup(void)
{
        sheep = room_define(BACKING_MEMFD, 2);
}

/* --- sessions ---------------------------------------------------------------------------------------------------- */

START_TEST(sessions_of_one_process_share_it)
{
        const struct process *process;

        caller_connect(&a);
        caller_connect(&b);
        process = a.peer.process;
        ck_assert_ptr_eq(b.peer.process, process);
        ck_assert_uint_eq(process->references, 2);
        ck_assert_int_eq(process->pid, getpid());
        ck_assert(process->alive);
        ck_assert_ptr_eq(a.peer.account, b.peer.account);
        ck_assert_int_eq(a.peer.account->sessions, 2);
        ck_assert_uint_ne(a.peer.connection, b.peer.connection);
        caller_leave(&a);
        ck_assert_uint_eq(process->references, 1);
        caller_leave(&b);
}
END_TEST

START_TEST(sessions_of_two_processes_do_not)
{
        caller_start(&a);
        caller_start(&b);
        ck_assert_ptr_ne(a.peer.process, b.peer.process);
        ck_assert_int_eq(a.peer.process->pid, a.child.pid);
        ck_assert_int_eq(room.registry.n_sessions, 2);
        caller_leave(&a);
        caller_leave(&b);
}
END_TEST

START_TEST(no_more_sessions_begin_than_there_may_be)
{
        struct refusal refusal;

        room.settings.limits.sessions = 1;
        caller_connect(&a);
        ck_assert_int_eq(caller_try(&b, &refusal), REFUSED_QUOTA);
        ck_assert_str_eq(refusal.name, "sessions");
        ck_assert_int_eq(refusal.used, 1);
        ck_assert_int_eq(refusal.maximum, 1);
        ck_assert_int_eq(room.counters.sessions_refused, 1);
        caller_leave(&a);
        caller_connect(&b);
        caller_leave(&b);
}
END_TEST

START_TEST(no_more_sessions_begin_than_a_user_may_have)
{
        struct refusal refusal;

        room.settings.limits.sessions_per_user = 1;
        caller_connect(&a);
        ck_assert_int_eq(caller_try(&b, &refusal), REFUSED_QUOTA);
        ck_assert_str_eq(refusal.name, "sessionsPerUser");
        caller_become(&a, geteuid() + 1, 1);
        caller_connect(&b); /* it is another user's now */
        caller_leave(&a);
        caller_leave(&b);
}
END_TEST

START_TEST(a_death_ends_all_sessions_of_the_process)
{
        caller_start_with_calls(&a, 3);
        ck_assert_int_eq(caller_answer(&b), 0);
        ck_assert_int_eq(caller_answer(&c), 0);
        caller_create(&a, "sheep", &sheep);
        ck_assert_int_eq(caller_join(&b, "sheep"), 0);
        caller_die(&a);
        ck_assert_int_eq(room.registry.n_sessions, 0);
        ck_assert_int_eq(room.registry.n_environments, 0);
        ck_assert_int_eq(room.counters.deaths, 1);
}
END_TEST

START_TEST(a_creator_is_remembered_for_as_long_as_what_it_created)
{
        const struct process *creator;

        sheep.lifetime = LIFETIME_PERSISTENT;
        caller_start(&a);
        creator = a.peer.process;
        caller_create(&a, "sheep", &sheep);
        caller_leave(&a);
        ck_assert_uint_eq(creator->references, 1);
        ck_assert(!creator->alive);
        ck_assert_int_eq(creator->pidfd, -1);
        caller_connect(&b);
        ck_assert_int_eq(caller_remove(&b, "sheep", false, 0), 0);
        caller_leave(&b); /* the room sees that no process is left */
}
END_TEST

/* It had called before it died, and is answered only after its death was dealt with. */
START_TEST(who_is_known_to_be_dead_gets_no_session)
{
        sheep.lifetime = LIFETIME_PERSISTENT; /* so that the process is remembered */
        caller_start_with_calls(&a, 2);
        caller_create(&a, "sheep", &sheep);
        caller_die(&a);
        ck_assert_int_eq(caller_answer(&b), -ESRCH);
        ck_assert_int_eq(room.registry.n_sessions, 0);

        caller_connect(&c);
        ck_assert_int_eq(caller_remove(&c, "sheep", false, 0), 0);
        caller_leave(&c);
}
END_TEST

START_TEST(unparking_what_does_not_wait_is_harmless)
{
        caller_connect(&a);
        caller_request(&a);
        broker_unpark(&room, &a.request.waiter);
        caller_leave(&a);
}
END_TEST

START_TEST(the_beginning_is_remembered)
{
        ck_assert_int_eq(room.started_usec, room.realtime);
        room_pass(1000);
        ck_assert_int_eq(room.started_usec, room.realtime - 1000);
}
END_TEST

/* --- finding ----------------------------------------------------------------------------------------------------- */

static int describe(struct caller *caller, const char *name, struct environment **ret)
{
        return broker_describe(&room, caller_request(caller), name, ret);
}

START_TEST(an_environment_is_found_by_its_name_and_by_its_home_however_spelt)
{
        owned(freep) char *home = room_path("home"), *link = room_path("link"), *spelt = room_path(".//home/");
        struct environment *environment, *found;

        ck_assert_int_eq(mkdir(home, 0700), 0);
        ck_assert_int_eq(symlink(home, link), 0);
        sheep.home = link;
        caller_connect(&a);
        environment = caller_create(&a, "sheep", &sheep);
        ck_assert_str_eq(environment->home, home);
        ck_assert_ptr_eq(broker_find(&room, "sheep"), environment);
        ck_assert_ptr_eq(broker_find(&room, home), environment);
        ck_assert_ptr_eq(broker_find(&room, link), environment);
        ck_assert_ptr_eq(broker_find(&room, spelt), environment);
        ck_assert_ptr_null(broker_find(&room, room_state()));
        ck_assert_ptr_null(broker_find(&room, "/no/such/directory"));
        ck_assert_int_eq(describe(&a, spelt, &found), 0);
        ck_assert_ptr_eq(found, environment);
        ck_assert_int_eq(caller_detach(&a, link), 0);
        caller_leave(&a);
        unlink(link);
        rmdir(home);
}
END_TEST

START_TEST(a_home_that_was_removed_is_found_by_its_old_path)
{
        owned(freep) char *home = room_path("home");
        owned(freep) char *reference = room_path("home/__db.001");

        ck_assert_int_eq(mkdir(home, 0700), 0);
        sheep.home = home;
        caller_connect(&a);
        caller_create(&a, "sheep", &sheep);
        unlink(reference);
        ck_assert_int_eq(rmdir(home), 0);
        ck_assert_ptr_nonnull(broker_find(&room, home));
        ck_assert_int_eq(caller_detach(&a, home), 0);
        caller_leave(&a);
}
END_TEST

START_TEST(only_what_one_may_see_is_described_and_listed)
{
        struct environment *mine, *theirs, *open, *found;

        caller_connect(&a);
        caller_connect(&b);
        caller_become(&a, 1000, 1000);
        caller_become(&b, 1001, 1001);
        mine = caller_create(&a, "mine", &sheep);
        theirs = caller_create(&b, "theirs", &sheep);
        sheep.mode = (struct opt_int){ true, 0604 };
        open = caller_create(&b, "open", &sheep);

        ck_assert_int_eq(describe(&a, "mine", &found), 0);
        ck_assert_ptr_eq(found, mine);
        ck_assert_int_eq(describe(&a, "theirs", &found), REFUSED_NO_ENVIRONMENT);
        ck_assert_str_eq(a.request.refusal.name, "theirs");
        ck_assert_int_eq(describe(&a, "open", &found), 0);
        ck_assert_int_eq(describe(&a, "nosuch", &found), REFUSED_NO_ENVIRONMENT);

        ck_assert_ptr_eq(broker_list(&room, &a.peer, 0), mine);
        ck_assert_ptr_eq(broker_list(&room, &a.peer, mine->id), open);
        ck_assert_ptr_null(broker_list(&room, &a.peer, open->id));
        ck_assert_ptr_eq(broker_list(&room, &b.peer, 0), theirs);
        caller_leave(&a);
        caller_leave(&b);
}
END_TEST

START_TEST(what_was_retired_is_listed_but_not_found)
{
        const struct environment *environment;
        struct environment *found;

        caller_connect(&a);
        environment = caller_create(&a, "sheep", &sheep);
        ck_assert_int_eq(caller_remove(&a, "sheep", true, 0), 0);
        ck_assert_int_eq(describe(&a, "sheep", &found), REFUSED_NO_ENVIRONMENT);
        ck_assert_ptr_eq(broker_list(&room, &a.peer, 0), environment);
        caller_leave(&a);
        caller_connect(&b);
        ck_assert_ptr_null(broker_list(&room, &b.peer, 0));
        caller_leave(&b);
}
END_TEST

/* --- what a user may have ---------------------------------------------------------------------------------------- */

static void check_quota(struct caller *caller, const char *name, const char *limit)
{
        ck_assert_int_eq(caller_open(caller, name, CREATE_IF_ABSENT, &sheep), REFUSED_QUOTA);
        ck_assert_str_eq(caller->request.refusal.name, limit);
        ck_assert_ptr_null(broker_find(&room, name));
}

/* Sets one of the limits to what `n` environments take; _i says which. */
static const char *allow(int which, int n)
{
        struct limits *limits = &room.settings.limits;

        switch (which) {
        case 0:
                limits->environments_per_user = n;
                return "environmentsPerUser";
        case 1:
                limits->regions_per_user = 2 * n + 1; /* one is not enough for two regions */
                return "regionsPerUser";
        default:
                limits->bytes_per_user = 8192 * n + 4096;
                return "bytesPerUser";
        }
}

START_TEST(a_user_has_no_more_than_is_allowed_and_others_are_not_concerned)
{
        const char *limit = allow(_i, 2);

        caller_connect(&a);
        caller_connect(&b);
        caller_become(&b, geteuid() + 1, 1);
        caller_create(&a, "one", &sheep);
        caller_create(&a, "two", &sheep);
        check_quota(&a, "three", limit);
        caller_create(&b, "three", &sheep);
        ck_assert_int_eq(caller_detach(&a, "two"), 0);
        caller_create(&a, "four", &sheep);
        check_quota(&a, "five", limit);
        caller_leave(&a);
        caller_leave(&b);
}
END_TEST

START_TEST(what_is_kept_by_something_unknown_is_still_charged)
{
        const char *limit = allow(_i, 1);
        void *bytes;

        caller_connect(&a);
        caller_create(&a, "one", &sheep);
        bytes = room_map(&a.opened.grants[0]);
        ck_assert_int_eq(caller_detach(&a, "one"), 0);
        check_quota(&a, "two", limit);
        room_unmap(TAILQ_FIRST(&broker_find(&room, "one")->regions), bytes);
        room_hear_close();
        caller_create(&a, "two", &sheep);
        caller_leave(&a);
}
END_TEST

int main(void)
{
        Suite *suite = suite_create("broker");
        TCase *sessions = room_case(suite, "sessions", setup);
        TCase *finding = room_case(suite, "finding", setup);
        TCase *quotas = room_case(suite, "quotas", setup);

        tcase_add_test(sessions, sessions_of_one_process_share_it);
        tcase_add_test(sessions, sessions_of_two_processes_do_not);
        tcase_add_test(sessions, no_more_sessions_begin_than_there_may_be);
        tcase_add_test(sessions, no_more_sessions_begin_than_a_user_may_have);
        tcase_add_test(sessions, a_death_ends_all_sessions_of_the_process);
        tcase_add_test(sessions, a_creator_is_remembered_for_as_long_as_what_it_created);
        tcase_add_test(sessions, who_is_known_to_be_dead_gets_no_session);
        tcase_add_test(sessions, unparking_what_does_not_wait_is_harmless);
        tcase_add_test(sessions, the_beginning_is_remembered);

        tcase_add_test(finding, an_environment_is_found_by_its_name_and_by_its_home_however_spelt);
        tcase_add_test(finding, a_home_that_was_removed_is_found_by_its_old_path);
        tcase_add_test(finding, only_what_one_may_see_is_described_and_listed);
        tcase_add_test(finding, what_was_retired_is_listed_but_not_found);

        tcase_add_loop_test(quotas, a_user_has_no_more_than_is_allowed_and_others_are_not_concerned, 0, 3);
        tcase_add_loop_test(quotas, what_is_kept_by_something_unknown_is_still_charged, 0, 3);
        return check_run(suite);
}
