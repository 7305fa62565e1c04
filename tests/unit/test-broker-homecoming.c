/* Environments of files that come back: who may take them in, where, and what is told to whom. */

#include "daemon/host/memory.h"
#include "proto/util.h"
#include "tests/unit/broker-room.h"

#include <errno.h>
#include <fcntl.h>
#include <glob.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

enum { OWNER = 1234, STRANGER = 4321 };

static struct caller a;
static char *home;

static void make_home(void)
{
        home = room_path("home");
        ck_assert_int_eq(mkdir(home, 0755), 0);
}

static void remove_home(void)
{
        ck_assert_int_eq(rmdir(home), 0);
        free(home);
}

/* So that it is known by its home alone. */
static void unlink_it(void)
{
        owned(freep) char *pattern = room_path("home.*");
        glob_t found;

        ck_assert_int_eq(glob(pattern, 0, NULL, &found), 0);
        ck_assert_uint_eq(found.gl_pathc, 1);
        ck_assert_int_eq(unlink(found.gl_pathv[0]), 0);
        globfree(&found);
}

/* An environment in the home, of a broker that knows nothing of it any more. */
static void leave_behind(mode_t mode)
{
        struct definition definition = room_define(BACKING_FILE, 2);

        definition.home = home;
        definition.mode = (struct opt_int){ true, mode };
        caller_connect(&a);
        caller_create(&a, home, &definition);
        caller_leave(&a);
        unlink_it();
        room_restart();
        ck_assert_ptr_null(broker_find(&room, home));
        caller_connect(&a);
}

static void clear(void)
{
        caller_become(&a, 0, 0);
        ck_assert_int_eq(caller_join(&a, home), 0);
        ck_assert_int_eq(caller_detach(&a, home), 0);
        ck_assert_int_eq(caller_remove(&a, home, false, 0), 0);
        caller_leave(&a);
}

static void check_left_alone(int error, const char *words)
{
        ck_assert_int_eq(caller_join(&a, home), REFUSED_RESOURCE);
        ck_assert_int_eq(a.request.refusal.error, error);
        ck_assert_str_eq(a.request.refusal.operation, "read __db.environment");
        ck_assert_msg(strstr(a.request.refusal.reason, words), "%s", a.request.refusal.reason);
        ck_assert_int_eq(room.registry.n_environments, 0);
        ck_assert_int_eq(room.registry.n_regions, 0);
}

START_TEST(it_is_taken_in_where_homes_are_allowed_alone)
{
        struct rules rules = { .homes_given = true };
        struct limits limits;

        limits_init(&limits);
        leave_behind(0600);
        ck_assert_int_eq(rules_add_home(&rules, "/srv"), 0);
        broker_configure(&room, &limits, &rules, NULL);
        check_left_alone(EPERM, "configuration allows homes");
        ck_assert_int_eq(rules_add_home(&rules, home), 0);
        ck_assert_int_eq(caller_join(&a, home), 0);
        ck_assert_int_eq(caller_detach(&a, home), 0);
        clear();
        broker_configure(&room, &limits, &rules_none, NULL);
        rules_deinit(&rules);
}
END_TEST

/* Other files of the same size, in the place of its own. */
static void exchange_files(void)
{
        owned(freep) char *first = room_path("home/__db.001"), *second = room_path("home/__db.002"),
                          *third = room_path("home/third");

        ck_assert_int_eq(rename(first, third), 0);
        ck_assert_int_eq(rename(second, first), 0);
        ck_assert_int_eq(rename(third, second), 0);
}

START_TEST(a_copy_is_for_root_alone_and_why_for_those_who_may_write_there)
{
        leave_behind(0666);
        exchange_files();
        ck_assert_int_eq(chown(home, OWNER, OWNER), 0);
        caller_become(&a, OWNER, OWNER);
        check_left_alone(ESTALE, "are not those that were made for it");
        caller_become(&a, STRANGER, STRANGER);
        ck_assert_int_eq(caller_join(&a, home), REFUSED_NO_ENVIRONMENT);
        ck_assert_int_eq(room.registry.n_environments, 0);
        caller_become(&a, 0, 0);
        ck_assert_int_eq(caller_join(&a, home), 0);
        ck_assert_uint_eq(a.opened.environment->given.instance, 0);
        ck_assert_int_eq(caller_detach(&a, home), 0);
        clear();
}
END_TEST

START_TEST(who_may_write_there_or_not_joins_what_its_mode_allows)
{
        leave_behind(0644);
        caller_become(&a, STRANGER, STRANGER);
        ck_assert_int_eq(caller_join(&a, home), REFUSED_PERMISSION); /* to write; and it is known by now */
        ck_assert_int_eq(room.registry.n_environments, 1);
        ck_assert_uint_ne(broker_find(&room, home)->given.instance, 0);
        clear();
}
END_TEST

START_TEST(the_number_of_a_file_that_belongs_to_no_region_is_not_given)
{
        owned(freep) char *third = room_path("home/__db.003");
        const struct add_region_args args = { .environment = home,
                                              .region = &(struct spec){ .name = "more", .size = 1 } };
        struct grant grant;
        int fd;

        leave_behind(0600);
        fd = open(third, O_CREAT | O_EXCL | O_RDWR | O_CLOEXEC, 0600);
        ck_assert_int_ge(fd, 0);
        close(fd);
        ck_assert_int_eq(caller_join(&a, home), 0);
        ck_assert_int_eq(broker_add_region(&room, caller_request(&a), &args, &grant), 0);
        ck_assert_uint_eq(grant.region->number, 4);
        close(grant.fd);
        ck_assert_int_eq(caller_detach(&a, home), 0);
        clear();
        ck_assert_int_eq(unlink(third), 0); /* it was left alone */
}
END_TEST

int main(void)
{
        Suite *suite = suite_create("homecoming");
        TCase *tcase = room_case(suite, "homecoming", NULL);

        tcase_add_checked_fixture(tcase, make_home, remove_home);
        tcase_add_test(tcase, it_is_taken_in_where_homes_are_allowed_alone);
        if (geteuid() == 0)
                tcase_add_test(tcase, a_copy_is_for_root_alone_and_why_for_those_who_may_write_there);
        tcase_add_test(tcase, who_may_write_there_or_not_joins_what_its_mode_allows);
        tcase_add_test(tcase, the_number_of_a_file_that_belongs_to_no_region_is_not_given);
        return check_run(suite);
}
