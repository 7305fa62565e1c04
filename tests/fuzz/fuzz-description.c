/* What says that it describes an environment: as it is, and with a sum that fits. What is taken is written and taken again as
 * the same. */

#include "daemon/host/description.h"

#include "proto/util.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

static void try(const char *text, size_t n)
{
        owned(description_clear) struct description description = {}, again = {};
        owned(freep) char *printed = NULL, *printed_again = NULL;
        char why[DESCRIPTION_WHY_SIZE] = "";
        size_t n_printed, n_again;

        if (description_parse(text, n, &description, why) < 0) {
                assert(why[0] && strnlen(why, sizeof(why)) < sizeof(why));
                return;
        }
        printed = description_print(&description, &n_printed);
        assert(printed && description_parse(printed, n_printed, &again, why) == 0);
        printed_again = description_print(&again, &n_again);
        assert(printed_again && n_again == n_printed && memcmp(printed, printed_again, n_again) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        owned(freep) char *text = malloc(size + 32);
        int n;

        assert(text);
        memcpy(text, data, size);
        try(text, size);
        n = sprintf(text + size, "sum: %016" PRIx64 "\n", description_sum(text, size));
        try(text, size + (size_t)n);
        return 0;
}
