#include "daemon/core/registry.h"
#include "proto/util.h"
#include "tests/support/check.h"

#include <stdio.h>

enum { PAGE = 4096, UID = 1000 };

static struct registry registry;
static struct process creator;

static void setup(void)
{
        registry_init(&registry, 0x1234);
        LIST_INIT(&creator.created);
}

/* Not in the registry yet. */
static struct environment *make(const char *name, const char *home)
{
        const struct definition definition = {};
        struct environment *environment = environment_new(name, &definition, BACKING_MEMFD);

        ck_assert_ptr_nonnull(environment);
        environment->id = registry_next_id(&registry);
        environment->home = home ? strdup(home) : NULL;
        environment->creator = &creator;
        environment->account = registry_account(&registry, UID);
        ck_assert_ptr_nonnull(environment->account);
        return environment;
}

static struct environment *add(const char *name, const char *home)
{
        struct environment *environment = make(name, home);

        registry_add(&registry, environment);
        return environment;
}

static struct region *make_region(const char *name)
{
        struct region *region = region_new(&(struct spec){ .name = name, .size = PAGE }, BACKING_MEMFD);

        ck_assert_ptr_nonnull(region);
        region->size = PAGE;
        return region;
}

static struct region *add_region(struct environment *environment, const char *name)
{
        struct region *region = make_region(name);

        registry_add_region(&registry, environment, region);
        return region;
}

static void remove_region(struct region *region)
{
        registry_remove_region(&registry, region);
        region_free(region);
}

static void remove_it(struct environment *environment)
{
        while (!TAILQ_EMPTY(&environment->regions))
                remove_region(TAILQ_FIRST(&environment->regions));
        registry_remove(&registry, environment);
        environment_free(environment);
}

static void check_counts(int64_t environments, int64_t regions)
{
        const struct account *account = registry_account(&registry, UID);

        ck_assert_int_eq(registry.n_environments, environments);
        ck_assert_int_eq(registry.n_regions, regions);
        ck_assert_int_eq(registry.bytes, regions * PAGE);
        ck_assert_int_eq(account->environments, environments);
        ck_assert_int_eq(account->regions, regions);
        ck_assert_int_eq(account->bytes, regions * PAGE);
}

static void check_account_is_gone(void)
{
        ck_assert_ptr_null(RB_ROOT(&registry.accounts));
}

/* --- environments ------------------------------------------------------------------------------------------------ */

START_TEST(ids_are_never_given_twice)
{
        uint64_t last = 0;

        for (int i = 0; i < 1000; i++) {
                uint64_t id = registry_next_id(&registry);

                ck_assert_uint_gt(id, last);
                last = id;
        }
        ck_assert_uint_eq(registry.instance, 0x1234);
}
END_TEST

START_TEST(an_environment_is_found_by_its_name)
{
        struct environment *sheep, *goats;

        ck_assert_ptr_null(registry_find(&registry, "sheep"));
        sheep = add("sheep", NULL);
        goats = add("goats", NULL);
        ck_assert_ptr_eq(registry_find(&registry, "sheep"), sheep);
        ck_assert_ptr_eq(registry_find(&registry, "goats"), goats);
        ck_assert_ptr_null(registry_find(&registry, "shee"));
        ck_assert_ptr_null(registry_find(&registry, "sheep "));
        ck_assert_ptr_null(registry_find(&registry, ""));
        remove_it(sheep);
        ck_assert_ptr_null(registry_find(&registry, "sheep"));
        ck_assert_ptr_eq(registry_find(&registry, "goats"), goats);
        remove_it(goats);
}
END_TEST

START_TEST(an_environment_is_found_by_its_home)
{
        struct environment *sheep = add("sheep", "/srv/sheep"), *goats = add("goats", NULL);

        ck_assert_ptr_eq(registry_find_home(&registry, "/srv/sheep"), sheep);
        ck_assert_ptr_null(registry_find_home(&registry, "/srv"));
        ck_assert_ptr_null(registry_find_home(&registry, "goats"));
        ck_assert_ptr_null(registry_find(&registry, "/srv/sheep"));
        remove_it(sheep);
        ck_assert_ptr_null(registry_find_home(&registry, "/srv/sheep"));
        remove_it(goats);
}
END_TEST

START_TEST(a_retired_one_is_not_found_and_its_name_and_home_can_be_given_anew)
{
        struct environment *old = add("sheep", "/srv/sheep"), *young;

        registry_unname(&registry, old);
        registry_unname(&registry, old);
        ck_assert_ptr_null(registry_find(&registry, "sheep"));
        ck_assert_ptr_null(registry_find_home(&registry, "/srv/sheep"));
        young = add("sheep", "/srv/sheep");
        check_counts(2, 0);
        remove_it(old); /* takes nothing of the other's */
        ck_assert_ptr_eq(registry_find(&registry, "sheep"), young);
        ck_assert_ptr_eq(registry_find_home(&registry, "/srv/sheep"), young);
        remove_it(young);
}
END_TEST

START_TEST(one_that_never_had_a_name_does_not_take_it_from_another)
{
        struct environment *named = add("sheep", NULL), *nameless = make("sheep", NULL);

        registry_add_nameless(&registry, nameless);
        check_counts(2, 0);
        ck_assert_ptr_eq(registry_find(&registry, "sheep"), named);
        ck_assert_ptr_eq(registry_after(&registry, named->id), nameless);
        remove_it(nameless);
        ck_assert_ptr_eq(registry_find(&registry, "sheep"), named);
        remove_it(named);
}
END_TEST

START_TEST(all_are_listed_in_the_order_of_their_ids)
{
        struct environment *a, *b, *c;

        ck_assert_ptr_null(registry_after(&registry, 0));
        c = add("c", NULL);
        a = add("a", NULL);
        b = add("b", NULL);
        registry_unname(&registry, a);
        ck_assert_ptr_eq(registry_after(&registry, 0), c);
        ck_assert_ptr_eq(registry_after(&registry, c->id), a);
        ck_assert_ptr_eq(registry_after(&registry, a->id), b);
        ck_assert_ptr_null(registry_after(&registry, b->id));
        remove_it(a);
        ck_assert_ptr_eq(registry_after(&registry, c->id), b);
        remove_it(b);
        remove_it(c);
        ck_assert_ptr_null(registry_after(&registry, 0));
}
END_TEST

START_TEST(a_creator_knows_what_it_created)
{
        struct environment *a = add("a", NULL), *b = add("b", NULL);

        ck_assert_ptr_eq(LIST_FIRST(&creator.created), b);
        ck_assert_ptr_eq(LIST_NEXT(b, in_process), a);
        remove_it(b);
        ck_assert_ptr_eq(LIST_FIRST(&creator.created), a);
        remove_it(a);
        ck_assert(LIST_EMPTY(&creator.created));
}
END_TEST

START_TEST(a_thousand_environments_are_found_each_by_its_name)
{
        char name[16];

        for (int i = 0; i < 1000; i++) {
                snprintf(name, sizeof(name), "n%d", i * 7919 % 1000);
                add(name, NULL);
        }
        check_counts(1000, 0);
        for (int i = 0; i < 1000; i++) {
                snprintf(name, sizeof(name), "n%d", i);
                ck_assert_str_eq(registry_find(&registry, name)->name, name);
        }
        while (registry_after(&registry, 0))
                remove_it(registry_after(&registry, 0));
        check_account_is_gone();
}
END_TEST

/* --- what is charged --------------------------------------------------------------------------------------------- */

START_TEST(regions_are_charged_as_they_come_and_go)
{
        struct environment *environment = make("sheep", NULL);
        struct region *late;

        environment_add_region(environment, make_region("a"));
        environment_add_region(environment, make_region("b"));
        check_counts(0, 0);
        registry_add(&registry, environment);
        check_counts(1, 2);
        late = add_region(environment, "c");
        check_counts(1, 3);
        ck_assert_int_eq(environment->bytes, 3 * PAGE);
        remove_region(late);
        check_counts(1, 2);
        remove_it(environment);
        check_account_is_gone();
}
END_TEST

START_TEST(a_region_can_go_from_one_environment_to_another)
{
        struct environment *from = add("from", NULL), *to = add("to", NULL);
        struct region *region = add_region(from, "sheep");

        registry_remove_region(&registry, region);
        ck_assert_ptr_null(region->environment);
        check_counts(2, 0);
        registry_add_region(&registry, to, region);
        ck_assert_ptr_eq(region->environment, to);
        ck_assert_ptr_null(environment_find_region(from, "sheep"));
        ck_assert_ptr_eq(environment_find_region(to, "sheep"), region);
        check_counts(2, 1);
        remove_it(from);
        remove_it(to);
}
END_TEST

START_TEST(numbers_of_regions_are_not_given_twice)
{
        struct environment *environment = add("sheep", NULL);
        struct region *second;

        ck_assert_uint_eq(add_region(environment, "a")->number, 1);
        second = add_region(environment, "b");
        ck_assert_uint_eq(second->number, 2);
        remove_region(second);
        ck_assert_uint_eq(add_region(environment, "b")->number, 3);
        ck_assert_str_eq(TAILQ_FIRST(&environment->regions)->name, "a");
        remove_it(environment);
}
END_TEST

START_TEST(an_account_lives_for_as_long_as_something_is_charged_to_it)
{
        struct account *account = registry_account(&registry, UID);

        ck_assert_ptr_eq(registry_account(&registry, UID), account);
        ck_assert_ptr_ne(registry_account(&registry, UID + 1), account);
        registry_release_account(&registry, registry_account(&registry, UID + 1));
        account->waiting++;
        registry_release_account(&registry, account);
        ck_assert_ptr_eq(registry_account(&registry, UID), account);
        account->waiting--;
        registry_release_account(&registry, account);
        registry_release_account(&registry, NULL);
        check_account_is_gone();
}
END_TEST

START_TEST(the_last_environment_of_a_user_takes_the_account_along)
{
        remove_it(add("sheep", NULL));
        check_account_is_gone();
}
END_TEST

/* --- watches and processes --------------------------------------------------------------------------------------- */

START_TEST(a_watch_finds_its_region)
{
        struct environment *environment = add("sheep", NULL);
        struct region *a = add_region(environment, "a"), *b = add_region(environment, "b");

        ck_assert_int_eq(a->watch, -1);
        ck_assert_ptr_null(registry_find_watched(&registry, 1));
        registry_watch(&registry, a, 7);
        registry_watch(&registry, b, 1);
        ck_assert_ptr_eq(registry_find_watched(&registry, 7), a);
        ck_assert_ptr_eq(registry_find_watched(&registry, 1), b);
        ck_assert_ptr_null(registry_find_watched(&registry, -1));
        registry_unwatch(&registry, a);
        registry_unwatch(&registry, a);
        ck_assert_ptr_null(registry_find_watched(&registry, 7));
        ck_assert_int_eq(a->watch, -1);
        registry_unwatch(&registry, b);
        remove_it(environment);
}
END_TEST

START_TEST(a_watch_stays_with_a_region_that_moves)
{
        struct environment *from = add("from", NULL), *to = add("to", NULL);
        struct region *region = add_region(from, "sheep");

        registry_watch(&registry, region, 1);
        registry_remove_region(&registry, region);
        registry_add_region(&registry, to, region);
        ck_assert_ptr_eq(registry_find_watched(&registry, 1), region);
        registry_unwatch(&registry, region);
        remove_it(from);
        remove_it(to);
}
END_TEST

START_TEST(a_process_is_found_by_its_id_and_not_by_its_pid)
{
        struct process a = { .id = 1000, .pid = 42 }, b = { .id = UINT64_MAX, .pid = 42 };

        registry_add_process(&registry, &a);
        registry_add_process(&registry, &b);
        ck_assert_ptr_eq(registry_find_process(&registry, 1000), &a);
        ck_assert_ptr_eq(registry_find_process(&registry, UINT64_MAX), &b);
        ck_assert_ptr_null(registry_find_process(&registry, 42));
        registry_remove_process(&registry, &a);
        ck_assert_ptr_null(registry_find_process(&registry, 1000));
        registry_remove_process(&registry, &b);
}
END_TEST

int main(void)
{
        Suite *suite = suite_create("registry");
        TCase *environments = check_case(suite, "environments");
        TCase *charged = check_case(suite, "charged");
        TCase *others = check_case(suite, "watches and processes");

        tcase_add_checked_fixture(environments, setup, NULL);
        tcase_add_test(environments, ids_are_never_given_twice);
        tcase_add_test(environments, an_environment_is_found_by_its_name);
        tcase_add_test(environments, an_environment_is_found_by_its_home);
        tcase_add_test(environments, a_retired_one_is_not_found_and_its_name_and_home_can_be_given_anew);
        tcase_add_test(environments, one_that_never_had_a_name_does_not_take_it_from_another);
        tcase_add_test(environments, all_are_listed_in_the_order_of_their_ids);
        tcase_add_test(environments, a_creator_knows_what_it_created);
        tcase_add_test(environments, a_thousand_environments_are_found_each_by_its_name);

        tcase_add_checked_fixture(charged, setup, NULL);
        tcase_add_test(charged, regions_are_charged_as_they_come_and_go);
        tcase_add_test(charged, a_region_can_go_from_one_environment_to_another);
        tcase_add_test(charged, numbers_of_regions_are_not_given_twice);
        tcase_add_test(charged, an_account_lives_for_as_long_as_something_is_charged_to_it);
        tcase_add_test(charged, the_last_environment_of_a_user_takes_the_account_along);

        tcase_add_checked_fixture(others, setup, NULL);
        tcase_add_test(others, a_watch_finds_its_region);
        tcase_add_test(others, a_watch_stays_with_a_region_that_moves);
        tcase_add_test(others, a_process_is_found_by_its_id_and_not_by_its_pid);
        return check_run(suite);
}
