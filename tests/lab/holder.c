/* holder ENVIRONMENT BACKING SLOT SLOTS: joins or makes the environment, fills its own slot of the memory, and says
 * "PID holds". For each line that it reads then it looks whether its slot is as it left it and says "well" or "spoilt"; for
 * the line "call" it asks the broker first, on the session that it has. At the end of the input it leaves.
 *
 * holder ENVIRONMENT SLOTS: joins for reading, and says whether all slots but the empty ones are as they were filled. */

#include "client/libregion.h"
#include "tests/lab/slots.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static _Noreturn void fail(const char *what)
{
        printf("failed: %s: %s\n", what, region_error_message());
        exit(EXIT_FAILURE);
}

static uint64_t *map(struct region_env *env)
{
        void *memory;

        if (region_map(region_env_find(env, "slots"), NULL, &memory) != REGION_OK)
                fail("map");
        return memory;
}

static void call(struct region_broker *broker, const char *environment)
{
        struct region_description *description;

        if (region_describe(broker, environment, &description) != REGION_OK)
                fail("describe");
        region_description_free(description);
}

static void hold(struct region_broker *broker, char **argv)
{
        unsigned slot = (unsigned)atoi(argv[3]), slots = (unsigned)atoi(argv[4]);
        struct region_spec spec = { .name = "slots", .size = (size_t)slots * SLOT_BYTES };
        struct region_env_options options = {
                .create = REGION_CREATE_IF_ABSENT,
                .backing = region_backing_from_word(argv[2]),
                .lifetime = REGION_LIFETIME_ATTACHED,
                .regions = &spec,
                .n_regions = 1,
        };
        struct region_env *env;
        uint64_t *words;
        char line[16];

        if (region_env_open(broker, argv[1], &options, &env) != REGION_OK)
                fail("open");
        words = map(env);
        if (region_env_role(env) == REGION_ROLE_INITIALIZER && region_env_ready(env) != REGION_OK)
                fail("ready");
        slot_fill(words + (size_t)slot * SLOT_WORDS, slot);
        printf("%d holds\n", (int)getpid());
        while (fgets(line, sizeof(line), stdin)) {
                if (strcmp(line, "call\n") == 0)
                        call(broker, argv[1]);
                puts(slot_is_well(words + (size_t)slot * SLOT_WORDS, slot) ? "well" : "spoilt");
        }
}

static void look(struct region_broker *broker, char **argv)
{
        struct region_env_options options = { .access = REGION_READ };
        static const uint64_t empty[SLOT_WORDS];
        unsigned slots = (unsigned)atoi(argv[2]);
        struct region_env *env;
        const uint64_t *words;

        if (region_env_open(broker, argv[1], &options, &env) != REGION_OK)
                fail("open");
        words = map(env);
        for (unsigned slot = 0; slot < slots; slot++, words += SLOT_WORDS)
                if (!slot_is_well(words, slot) && memcmp(words, empty, sizeof(empty)) != 0) {
                        puts("spoilt");
                        return;
                }
        puts("well");
        region_env_close(env);
}

int main(int argc, char **argv)
{
        struct region_broker *broker;

        setvbuf(stdout, NULL, _IOLBF, 0);
        if (region_broker_connect(NULL, &broker) != REGION_OK)
                fail("connect");
        if (argc == 5)
                hold(broker, argv);
        else if (argc == 3)
                look(broker, argv);
        else
                return 2;
        region_broker_close(broker);
        return 0;
}
