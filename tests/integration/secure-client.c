/* A program that runs with more rights than its caller, linked with the library statically: the loader of such a program
 * does not look where this one was built. usage: secure-client SOCKET HOME; it exits with what its tester expects. */

#include "tests/integration/secure-client.h"

#include "client/libregion.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/auxv.h>

static int complain(const char *what)
{
        fprintf(stderr, "secure-client: %s: %s\n", what, region_error_message());
        return EXIT_FAILURE;
}

/* Made as it is asked for here, whatever the home has to say of it. */
static int check_open(struct region_broker *broker, const char *home)
{
        const struct region_spec data = { .name = "data", .size = 4096 };
        const struct region_env_options options = { .create = REGION_CREATE_ALWAYS, .regions = &data, .n_regions = 1 };
        const char *field, *wanted, *set, *where;
        struct region_env *env;

        if (region_env_open(broker, home, &options, &env) != REGION_OK)
                return complain("it cannot be opened");
        if (region_env_override(env, 0, &field, &wanted, &set, &where) || region_env_info(env)->mode != 0600)
                return complain("the configuration was believed");
        return EXIT_SUCCESS;
}

int main(int argc, char **argv)
{
        struct region_broker *broker;
        const char *name;
        int r;

        if (argc != 3)
                return EXIT_FAILURE;
        if (!getauxval(AT_SECURE))
                return NOT_SECURE;
        if (region_env_default_name(&name) != REGION_E_INVALID)
                return complain("the environment was believed");
        if (region_broker_connect(argv[1], &broker) != REGION_OK)
                return complain("there is no broker");
        r = check_open(broker, argv[2]);
        region_broker_close(broker);
        return r;
}
