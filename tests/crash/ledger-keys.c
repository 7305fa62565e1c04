/* The keys of a ledger, one a line: its kind, and two numbers. */

#include "daemon/host/store.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

static int show(void *data, const struct store_key *key, const void *bytes, size_t n)
{
        (void)data;
        (void)bytes;
        (void)n;
        printf("%c %" PRIu64 " %" PRIu64 "\n", key->kind, key->first, key->second);
        return 0;
}

int main(int argc, char **argv)
{
        const char *operation = "usage: ledger-keys DIRECTORY";
        struct store *store;
        int r = argc == 2 ? store_open(argv[1], &store, &operation) : -1;

        if (r == 0) {
                r = store_read(store, show, NULL);
                store_close(store);
        }
        if (r < 0)
                fprintf(stderr, "%s: %s\n", operation, strerror(-r));
        return r < 0;
}
