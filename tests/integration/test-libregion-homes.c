/* What a configuration makes of environments of the real broker: of the one that creates, of those that join, and of a
 * program that runs with more rights than its caller. */

#include "tests/integration/secure-run.h"
#include "tests/support/session.h"

#include "proto/util.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>

static const struct region_spec one_region[] = { { .name = "data", .size = 4096 } };
static const struct region_env_options creating = {
        .create = REGION_CREATE_IF_ABSENT,
        .subsystems = REGION_SUBSYSTEM_LOCK,
        .regions = one_region,
        .n_regions = 1,
};

/* In the broker's directory, which is the home of all here. The guardian removes it. */
static void write_conf(const char *text)
{
        owned(freep) char *path = NULL;
        owned(closep) int fd = -1;

        ck_assert_int_ge(asprintf(&path, "%s/region-environment.conf", broker.directory), 0);
        fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
        ck_assert_int_ge(fd, 0);
        ck_assert_int_eq(write(fd, text, strlen(text)), (ssize_t)strlen(text));
        ck_assert_int_eq(fchmod(fd, 0644), 0);
}

static size_t count_overrides(const struct region_env *env)
{
        const char *field, *wanted, *set, *where;
        size_t n = 0;

        while (region_env_override(env, n, &field, &wanted, &set, &where))
                n++;
        return n;
}

static size_t count_differences(const struct region_env *env)
{
        const char *field, *wanted, *found;
        size_t n = 0;

        while (region_env_difference(env, n, &field, &wanted, &found))
                n++;
        return n;
}

static void check_file(const struct region_env *env, size_t index, const char *name, size_t size)
{
        const struct region_info *info = region_info(region_env_at(env, index));
        owned(freep) char *path = NULL;
        struct stat st;

        ck_assert_int_ge(asprintf(&path, "%s/__db.%03zu", broker.directory, index + 1), 0);
        ck_assert_str_eq(info->name, name);
        ck_assert_str_eq(info->path, path);
        ck_assert_int_eq(stat(path, &st), 0);
        ck_assert_uint_eq((size_t)st.st_size, size);
}

static const char *const configuration = "[environment]\n"
                                         "backing = file\n"
                                         "lifetime = attached\n"
                                         "mode = 0640\n"
                                         "[subsystems]\n"
                                         "mpool = 64K*2\n"
                                         "[region data]\n"
                                         "size = 12K\n"
                                         "[region more]\n"
                                         "size = 8K\n";

START_TEST(an_environment_is_made_as_its_configuration_says)
{
        struct region_broker *session = connect_session();
        struct region_env *env;

        write_conf(configuration);
        env = open_env(session, broker.directory, &creating);
        ck_assert_int_eq(region_env_role(env), REGION_ROLE_INITIALIZER);
        ck_assert_uint_eq(count_overrides(env), 6);
        ck_assert_uint_eq(count_differences(env), 0);
        ck_assert_uint_eq(region_env_info(env)->n_regions, 6);
        ck_assert_uint_eq(region_env_info(env)->mode, 0640);
        ck_assert_int_eq(region_env_info(env)->lifetime, REGION_LIFETIME_ATTACHED);
        check_file(env, 0, "env", 64 << 10);
        check_file(env, 1, "lock", 512 << 10);
        check_file(env, 2, "mpool1", 32 << 10);
        check_file(env, 3, "mpool2", 32 << 10);
        check_file(env, 4, "data", 12 << 10);
        check_file(env, 5, "more", 8 << 10);
        region_broker_close(session);
}
END_TEST

START_TEST(who_joins_by_the_same_configuration_is_told_of_it_and_of_no_difference)
{
        struct region_broker *session = connect_session(), *other = connect_session();
        struct region_env *env;

        write_conf(configuration);
        open_env(session, broker.directory, &creating);
        env = open_env(other, broker.directory, &creating);
        ck_assert_int_eq(region_env_role(env), REGION_ROLE_MEMBER);
        ck_assert_uint_eq(count_overrides(env), 6);
        ck_assert_uint_eq(count_differences(env), 0);
        ck_assert_uint_eq(region_size(region_env_find(env, "more")), 8 << 10);

        env = open_env(other, broker.directory, NULL); /* who compares nothing has nothing to be told */
        ck_assert_uint_eq(count_overrides(env) + count_differences(env), 0);
        region_broker_close(other);
        region_broker_close(session);
}
END_TEST

START_TEST(an_environment_that_is_not_as_its_configuration_would_have_it_differs)
{
        struct region_broker *session = connect_session(), *other = connect_session();
        const char *field, *wanted, *found;
        struct region_env *env;

        open_env(session, broker.directory, &creating);
        write_conf("[environment]\nmode = 0640\n");
        env = open_env(other, broker.directory, &creating);
        ck_assert_uint_eq(count_overrides(env), 1);
        ck_assert_uint_eq(count_differences(env), 1);
        ck_assert(region_env_difference(env, 0, &field, &wanted, &found));
        ck_assert_str_eq(field, "mode");
        ck_assert_str_eq(wanted, "416");
        ck_assert_str_eq(found, "384");
        ck_assert_uint_eq(region_env_info(env)->mode, 0600);
        region_broker_close(other);
        region_broker_close(session);
}
END_TEST

START_TEST(a_wrong_configuration_leaves_nothing_behind)
{
        struct region_broker *session = connect_session();
        struct region_env_options options = creating;
        struct region_env *env;

        write_conf("[environment]\nmode = 9\n");
        check_told(region_env_open(session, broker.directory, &creating, &env), REGION_E_INVALID,
                   "region-environment.conf:2: mode: '9' is not understood");
        check_error(region_env_open(session, broker.directory, NULL, &env), REGION_E_NOT_FOUND);
        options.ignore_configuration = true;
        env = open_env(session, broker.directory, &options);
        ck_assert_uint_eq(region_env_info(env)->mode, 0600);
        region_broker_close(session);
}
END_TEST

/* What it sets goes on to be so in the handle: who initialises reserves, or not. */
START_TEST(what_is_sparse_by_its_configuration_is_not_reserved)
{
        struct region_broker *session = connect_session();
        struct region_description *description;

        write_conf("[environment]\nsparse = yes\n");
        open_env(session, broker.directory, &creating);
        check(region_describe(session, broker.directory, &description));
        ck_assert_int_eq(description->env->regions[0]->bytes_used, 0);
        region_description_free(description);
        region_broker_close(session);
}
END_TEST

START_TEST(a_program_with_more_rights_than_its_caller_does_not_read_it)
{
        write_conf("[environment]\nmode = 0660\n");
        secure_client_run();
}
END_TEST

int main(void)
{
        Suite *suite = suite_create("libregion-homes");
        TCase *homes = check_case(suite, "homes"), *secure = check_case(suite, "secure");

        tcase_add_checked_fixture(homes, broker_setup, broker_teardown);
        tcase_add_test(homes, an_environment_is_made_as_its_configuration_says);
        tcase_add_test(homes, who_joins_by_the_same_configuration_is_told_of_it_and_of_no_difference);
        tcase_add_test(homes, an_environment_that_is_not_as_its_configuration_would_have_it_differs);
        tcase_add_test(homes, a_wrong_configuration_leaves_nothing_behind);
        tcase_add_test(homes, what_is_sparse_by_its_configuration_is_not_reserved);

        if (geteuid() != 0) {
                fputs("test-libregion-homes: setuid programs are not tried, for that takes root\n", stderr);
                return check_run(suite);
        }
        tcase_add_checked_fixture(secure, broker_setup, broker_teardown);
        tcase_add_test(secure, a_program_with_more_rights_than_its_caller_does_not_read_it);
        return check_run(suite);
}
