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

int main(int argc, char **argv)
{
        struct region_broker *broker;
        const char *name;

        if (argc != 3)
                return EXIT_FAILURE;
        if (!getauxval(AT_SECURE))
                return NOT_SECURE;
        if (region_env_default_name(&name) != REGION_E_INVALID)
                return complain("the environment was believed");
        if (region_broker_connect(argv[1], &broker) != REGION_OK)
                return complain("there is no broker");
        region_broker_close(broker);
        return EXIT_SUCCESS;
}
