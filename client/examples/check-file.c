/* check-file: reads what load-file has put into shared memory, straight from there, and checks that it is right.
 *
 *     cc check-file.c -o check-file $(pkg-config --cflags --libs libregion libmd)
 *     ./check-file ENVIRONMENT
 *
 * It opens the environment for reading only: its mappings cannot be written, whatever happens in this process. If the
 * loader is not done yet, opening waits for it. Exits with 1 if the digest is not the one in the index. */

#include "file-index.h"

#include <libregion.h>

#include <err.h>
#include <inttypes.h>
#include <sha2.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void check(enum region_result result)
{
        if (result != REGION_OK)
                errx(EXIT_FAILURE, "%s", region_error_message());
}

/* All that a region has to offer; at most `n` bytes of it are wanted. */
static const void *map(struct region_env *env, const char *name, size_t n)
{
        struct region *region = region_env_find(env, name);
        void *address;

        if (region == NULL || region_size(region) < n)
                errx(EXIT_FAILURE, "region %s is missing or too small", name);
        check(region_map(region, NULL, &address));
        return address;
}

int main(int argc, char **argv)
{
        const struct region_env_options options = { .access = REGION_READ, .schema = FILE_SCHEMA };
        const struct file_index *index;
        struct region_broker *broker;
        struct region_env *env;
        SHA2_CTX sha256;
        char digest[65];
        uint64_t left;

        if (argc != 2)
                errx(EXIT_FAILURE, "usage: check-file ENVIRONMENT");
        check(region_broker_connect(NULL, &broker));
        check(region_env_open(broker, argv[1], &options, &env));
        index = map(env, "index", sizeof(*index));

        left = index->length;
        SHA256Init(&sha256);
        for (int i = 1; i <= FILE_CHUNKS; i++) {
                uint64_t n = left < index->chunk_size ? left : index->chunk_size;
                char name[16];

                snprintf(name, sizeof(name), "chunk-%d", i);
                SHA256Update(&sha256, map(env, name, n), n);
                left -= n;
        }
        SHA256End(&sha256, digest);

        if (left != 0 || strcmp(digest, index->sha256) != 0)
                errx(EXIT_FAILURE, "wrong: read %s, but the index says %s", digest, index->sha256);
        printf("process %d read %" PRIu64 " bytes, sha256 %s, as the index says\n", (int)getpid(), index->length,
               digest);
        region_broker_close(broker);
        return EXIT_SUCCESS;
}
