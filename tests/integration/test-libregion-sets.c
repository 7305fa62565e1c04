/* The standard regions as the broker makes them: numbers, names, types, files, and what a joiner is told. */

#include "tests/support/session.h"

#include "proto/util.h"

#include <stdio.h>
#include <sys/stat.h>

static const struct region_subsystem_sizes sizes = { .lock = 12288, .mpool = 20000, .mpool_caches = 2 };
static const struct region_spec own = { .name = "own", .size = 4096, .backing = REGION_BACKING_MEMFD };

static const struct region_env_options every_subsystem = {
        .create = REGION_CREATE_IF_ABSENT,
        .backing = REGION_BACKING_FILE,
        .lifetime = REGION_LIFETIME_ATTACHED,
        .subsystems = REGION_SUBSYSTEM_MUTEX | REGION_SUBSYSTEM_LOCK | REGION_SUBSYSTEM_LOG | REGION_SUBSYSTEM_MPOOL |
                      REGION_SUBSYSTEM_TXN,
        .sizes = &sizes,
        .regions = &own,
        .n_regions = 1,
};

static const struct {
        const char *name, *type;
        size_t size;
} wanted[] = {
        { "env", "env", 64 << 10 },  { "mutex", "mutex", 256 << 10 }, { "lock", "lock", 12288 },
        { "log", "log", 128 << 10 }, { "mpool1", "mpool", 12288 },    { "mpool2", "mpool", 12288 },
        { "txn", "txn", 64 << 10 },  { "own", "user", 4096 },
};

static void check_file(const char *home, unsigned number, const struct region_info *info)
{
        owned(freep) char *path = NULL;
        struct stat st;

        ck_assert_int_ge(asprintf(&path, "%s/__db.%03u", home, number), 0);
        ck_assert_str_eq(info->path, path);
        ck_assert_int_eq(stat(path, &st), 0);
        ck_assert_uint_eq((size_t)st.st_size, info->size);
}

START_TEST(subsystems_are_files_in_the_order_of_their_numbers)
{
        struct region_broker *session = connect_session();
        struct region_env *env = open_env(session, broker.directory, &every_subsystem);

        ck_assert_uint_eq(region_env_info(env)->n_regions, array_size(wanted));
        for (unsigned i = 0; i < array_size(wanted); i++) {
                const struct region_info *info = region_info(region_env_at(env, i));

                ck_assert_uint_eq(info->number, i + 1);
                ck_assert_str_eq(info->name, wanted[i].name);
                ck_assert_str_eq(info->type, wanted[i].type);
                ck_assert_uint_eq(info->size, wanted[i].size);
                if (info->backing == REGION_BACKING_FILE)
                        check_file(broker.directory, i + 1, info);
                else
                        ck_assert_uint_eq(i + 1, array_size(wanted));
        }
        region_broker_close(session);
}
END_TEST

START_TEST(caches_are_memory_of_their_own)
{
        struct region_broker *session = connect_session();
        struct region_env *env = open_env(session, "e", &every_subsystem);
        void *first, *second;

        check(region_map(region_env_find(env, "mpool1"), NULL, &first));
        check(region_map(region_env_find(env, "mpool2"), NULL, &second));
        memset(first, 'x', 12288);
        ck_assert_int_eq(((char *)second)[0], 0);
        ck_assert_int_eq(((char *)second)[12287], 0);
        region_broker_close(session);
}
END_TEST

START_TEST(who_joins_with_the_same_set_is_told_no_difference_and_with_another_one_which)
{
        struct region_broker *session = connect_session(), *other = connect_session();
        struct region_env_options options = every_subsystem;
        struct region_env *env = open_env(session, "e", &every_subsystem);
        const char *field, *asked, *found;

        ck_assert(!region_env_difference(open_env(other, "e", &every_subsystem), 0, &field, &asked, &found));
        region_broker_close(other);

        other = connect_session();
        options.sizes = NULL;
        options.subsystems = REGION_SUBSYSTEM_LOCK | REGION_SUBSYSTEM_MPOOL;
        env = open_env(other, "e", &options);
        ck_assert(region_env_difference(env, 0, &field, &asked, &found));
        ck_assert_str_eq(field, "regions.lock");
        ck_assert_str_eq(asked, "524288");
        ck_assert_str_eq(found, "12288");
        ck_assert(region_env_difference(env, 1, &field, &asked, &found));
        ck_assert_str_eq(field, "regions.mpool");
        ck_assert_str_eq(found, "absent");
        ck_assert(!region_env_difference(env, 2, &field, &asked, &found));
        region_broker_close(other);
        region_broker_close(session);
}
END_TEST

int main(void)
{
        Suite *suite = suite_create("libregion-sets");
        TCase *sets = check_case(suite, "sets");

        tcase_add_checked_fixture(sets, broker_setup, broker_teardown);
        tcase_add_test(sets, subsystems_are_files_in_the_order_of_their_numbers);
        tcase_add_test(sets, caches_are_memory_of_their_own);
        tcase_add_test(sets, who_joins_with_the_same_set_is_told_no_difference_and_with_another_one_which);
        return check_run(suite);
}
