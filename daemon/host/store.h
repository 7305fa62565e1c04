#pragma once

#include <stddef.h>
#include <stdint.h>

/* Records that outlive the process, by their keys. Changes come in batches, of which all or nothing is kept: each is whole
 * as soon as store_commit() has returned, whatever becomes of this process then. It is not meant to outlive the machine, so
 * nothing waits for a disk. */
struct store;

/* A kind and two numbers, in the order of which records are read. */
struct store_key {
        uint8_t kind;
        uint64_t first, second;
};

/* Opens the file `ledger` in the directory, making it if need be; nobody else may have it open. -errno, -EBADMSG where the
 * file is damaged, and *ret_operation names what failed. */
int store_open(const char *directory, struct store **ret, const char **ret_operation);
/* Takes NULL. */
struct store *store_close(struct store *store);

/* A batch. What is put replaces what was there; what is deleted may be missing. After a failure
 * (-errno) the batch is void, and store_commit() says so again. */
int store_begin(struct store *store);
int store_put(struct store *store, const struct store_key *key, const void *bytes, size_t n);
int store_delete(struct store *store, const struct store_key *key);
int store_commit(struct store *store);
void store_abort(struct store *store);

/* Calls `each` for all records, in the order of their keys; the bytes are valid during that call. A result other than 0
 * ends it and is handed on. No batch is under way, and none is begun meanwhile. */
int store_read(struct store *store, int (*each)(void *data, const struct store_key *key, const void *bytes, size_t n),
               void *data);

/* Takes all records away. */
int store_wipe(struct store *store);
