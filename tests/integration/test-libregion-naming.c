/* Environments that nobody names in the call: REGION_ENVIRONMENT, in the role of Berkeley DB's DB_HOME. */

#include "tests/integration/secure-run.h"
#include "tests/support/session.h"

#include <stdio.h>

static const struct region_spec one_region[] = { { .name = "data", .size = 4096 } };
static const struct region_env_options creating = {
        .create = REGION_CREATE_IF_ABSENT,
        .regions = one_region,
        .n_regions = 1,
};

/* By a name, and by the path of a home. */
START_TEST(the_environment_that_the_variable_names_is_opened_described_and_explained)
{
        struct region_broker *session = connect_session();
        const char *name = _i == 0 ? "shop" : broker.directory;
        struct region_description *description;
        struct region_explanation *explanation;
        struct region_env *env;

        setenv("REGION_ENVIRONMENT", name, 1);
        env = open_env(session, NULL, &creating);
        ck_assert_str_eq(region_env_info(env)->name, name);
        unsetenv("REGION_ENVIRONMENT");
        ck_assert_ptr_nonnull(region_env_find(open_env(session, name, NULL), "data"));

        setenv("REGION_ENVIRONMENT", name, 1);
        check(region_describe(session, NULL, &description));
        ck_assert_str_eq(description->env->name, name);
        region_description_free(description);
        check(region_explain(session, NULL, "data", &explanation));
        ck_assert_uint_ge(explanation->n_reasons, 1);
        region_explanation_free(explanation);
        region_broker_close(session);
}
END_TEST

START_TEST(a_removal_has_to_name_it)
{
        struct region_broker *session = connect_session();

        setenv("REGION_ENVIRONMENT", "shop", 1);
        region_env_close(open_env(session, NULL,
                                  &(struct region_env_options){ .create = REGION_CREATE_IF_ABSENT,
                                                                .lifetime = REGION_LIFETIME_PERSISTENT,
                                                                .regions = one_region,
                                                                .n_regions = 1 }));
        check_told(region_env_remove(session, NULL, true, 0, NULL), REGION_E_INVALID, "'environment' is missing");
        check(region_env_remove(session, "shop", false, 0, NULL));
        region_broker_close(session);
}
END_TEST

START_TEST(named_memory_has_to_be_named)
{
        struct region_broker *session = connect_session();
        struct region_named *named, *other = NULL;

        check(region_named_open(session, "shop", 4096, REGION_NAMED_CREATE, 0, &named));
        setenv("REGION_ENVIRONMENT", "shop", 1);
        check_told(region_named_open(session, NULL, 0, 0, 0, &other), REGION_E_INVALID,
                   "the name of the memory is missing");
        check_told(region_named_delete(session, NULL), REGION_E_INVALID, "the name of the memory is missing");
        ck_assert_ptr_null(other);
        check(region_named_delete(session, "shop"));
        region_broker_close(session);
}
END_TEST

START_TEST(a_program_with_more_rights_than_its_caller_does_not_look)
{
        setenv("REGION_ENVIRONMENT", "shop", 1);
        secure_client_run();
}
END_TEST

int main(void)
{
        Suite *suite = suite_create("libregion-naming");
        TCase *naming = check_case(suite, "naming"), *secure = check_case(suite, "secure");

        tcase_add_checked_fixture(naming, broker_setup, broker_teardown);
        tcase_add_loop_test(naming, the_environment_that_the_variable_names_is_opened_described_and_explained, 0, 2);
        tcase_add_test(naming, a_removal_has_to_name_it);
        tcase_add_test(naming, named_memory_has_to_be_named);

        if (geteuid() != 0) {
                fputs("test-libregion-naming: setuid programs are not tried, for that takes root\n", stderr);
                return check_run(suite);
        }
        tcase_add_checked_fixture(secure, broker_setup, broker_teardown);
        tcase_add_test(secure, a_program_with_more_rights_than_its_caller_does_not_look);
        return check_run(suite);
}
