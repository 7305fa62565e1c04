/* What test-instructions.py counts the instructions of: an environment is opened, its five regions are mapped, and it is
 * closed. The first round counts for nothing; region_broker_socket() marks where others begin and end.
 *
 * usage: counted-client SOCKET ENVIRONMENT ROUNDS */

#include <libregion.h>
#include <stdio.h>
#include <stdlib.h>

static void check(enum region_result r)
{
        if (r == REGION_OK)
                return;
        fprintf(stderr, "counted-client: %s\n", region_error_message());
        exit(1);
}

static void open_and_close(struct region_broker *broker, const char *name)
{
        const struct region_env_options options = {};
        const struct region_env_info *info;
        struct region_env *env;
        void *memory;

        check(region_env_open(broker, name, &options, &env));
        info = region_env_info(env);
        for (size_t i = 0; i < info->n_regions; i++)
                check(region_map(region_env_find(env, info->regions[i]->name), NULL, &memory));
        region_env_close(env);
}

int main(int argc, char **argv)
{
        struct region_broker *broker;

        if (argc != 4)
                return 2;
        check(region_broker_connect(argv[1], &broker));
        open_and_close(broker, argv[2]);
        region_broker_socket(broker);
        for (int i = 0; i < atoi(argv[3]); i++)
                open_and_close(broker, argv[2]);
        region_broker_socket(broker);
        region_broker_close(broker);
        return 0;
}
