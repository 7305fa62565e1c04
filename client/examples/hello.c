/* hello: how many processes have come by?
 *
 *     cc hello.c -o hello $(pkg-config --cflags --libs libregion)
 *     ./hello; ./hello             # process number 1, process number 2
 *     regionctl show hello         # it is still there, for its lifetime is persistent
 *     regionctl remove hello
 *
 * Whoever comes first makes the environment "hello" with one region and says ready; everybody else joins it. Memory
 * starts out as zeros, so there is nothing else to initialise. */

#include <libregion.h>

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

static void check(enum region_result result)
{
        if (result == REGION_OK)
                return;
        fprintf(stderr, "hello: %s\n", region_error_message());
        exit(EXIT_FAILURE);
}

int main(void)
{
        const struct region_spec regions[] = { { .name = "visitors", .size = sizeof(atomic_uint) } };
        const struct region_env_options options = {
                .create = REGION_CREATE_IF_ABSENT,
                .lifetime = REGION_LIFETIME_PERSISTENT,
                .regions = regions,
                .n_regions = 1,
        };
        struct region_broker *broker;
        struct region_env *env;
        void *visitors;

        check(region_broker_connect(NULL, &broker));
        check(region_env_open(broker, "hello", &options, &env));
        check(region_map(region_env_find(env, "visitors"), NULL, &visitors));
        if (region_env_role(env) == REGION_ROLE_INITIALIZER)
                check(region_env_ready(env));
        printf("process number %u\n", atomic_fetch_add((atomic_uint *)visitors, 1) + 1);
        region_broker_close(broker); /* and with it, leave the environment */
        return EXIT_SUCCESS;
}
