/* A fresh process: how long it takes to connect, open an environment of five regions and map them; or to exchange the same
 * with the limit server. It prints the nanoseconds.
 *
 * usage: bench-join broker|limit SOCKET CPU SERVER-CPU */

#include "client/libregion.h"
#include "tests/bench/samples.h"
#include "tests/bench/wire.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum { REGION_BYTES = 64 * 1024 };

static void touch(void *memory)
{
        *(volatile char *)memory = 1;
}

static void check(enum region_result r)
{
        if (r != REGION_OK)
                die("%s", region_error_message());
}

static int64_t join(const char *socket)
{
        const struct region_env_options options = {};
        int64_t before = begin_nsec();
        const struct region_env_info *info;
        struct region_broker *broker;
        struct region_env *env;
        void *memory;

        check(region_broker_connect(socket, &broker));
        check(region_env_open(broker, "five", &options, &env));
        info = region_env_info(env);
        for (size_t i = 0; i < info->n_regions; i++) {
                check(region_map(region_env_find(env, info->regions[i]->name), NULL, &memory));
                touch(memory);
        }
        return since_nsec(before);
}

/* The call and the answer are those of open5. */
static int64_t join_limit(const char *socket)
{
        static const char call[] = "0 a call as long as that of the library                              ";
        static struct wire_reply reply;
        int64_t before = begin_nsec();
        void *memory;

        wire_ask(wire_connect(socket), call, sizeof(call), &reply);
        for (size_t i = 0; i < reply.n_fds; i++) {
                memory = mmap(NULL, REGION_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, reply.fds[i], 0);
                if (memory == MAP_FAILED)
                        die("mmap: %m");
                touch(memory);
        }
        return since_nsec(before);
}

int main(int argc, char **argv)
{
        if (argc != 5)
                die("usage: bench-join broker|limit SOCKET CPU SERVER-CPU");
        if (strcmp(argv[3], argv[4]) == 0) {
                int peer = wire_connect(argv[2]);

                follow_process(find_peer(peer));
                close(peer);
        }
        pin(atoi(argv[3]));
        tell("join5", (double)(strcmp(argv[1], "limit") == 0 ? join_limit(argv[2]) : join(argv[2])));
        return 0;
}
