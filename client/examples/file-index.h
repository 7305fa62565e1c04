#pragma once

/* What load-file leaves in the region "index", and check-file reads there. */

#include <stdint.h>

#define FILE_SCHEMA "example-file/1" /* the broker refuses a joiner that was built with another one */

enum { FILE_CHUNKS = 8 }; /* regions "chunk-1" to "chunk-8" */

struct file_index {
        uint64_t length;     /* of the whole file, in bytes */
        uint64_t chunk_size; /* of each chunk but the last, which has the rest */
        char sha256[65];     /* in hexadecimal */
};
