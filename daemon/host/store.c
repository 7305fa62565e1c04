/* LMDB, one file without a lock file: only we have it open. A commit is some writes to the page cache and no more; a process
 * that is killed in between leaves the state before. Keys are big-endian, so that their bytes sort as their numbers do. */

#include "daemon/host/store.h"

#include "proto/util.h"

#include <endian.h>
#include <errno.h>
#include <lmdb.h>
#include <stdio.h>
#include <string.h>

/* Address space, not memory: the file is as large as what is in it. */
#define MAP_BYTES ((size_t)4 << 30)

struct store {
        MDB_env *env;
        MDB_dbi records;
        MDB_txn *batch; /* NULL while none is under way */
        int failure;    /* of the batch */
};

struct packed_key {
        uint8_t kind;
        uint64_t first, second;
} __attribute__((packed));

/* LMDB has results of its own beside errno. */
static int error_of(int r)
{
        switch (r) {
        case MDB_SUCCESS:
                return 0;
        case MDB_MAP_FULL:
        case MDB_TXN_FULL:
        case MDB_PAGE_FULL:
                return -ENOSPC;
        default:
                return r > 0 ? -r : -EBADMSG;
        }
}

static int open_env(struct store *store, const char *path, const char **ret_operation)
{
        int r;

        *ret_operation = "mdb_env_create";
        r = mdb_env_create(&store->env);
        if (r != 0)
                return r;
        *ret_operation = "mdb_env_set_mapsize";
        r = mdb_env_set_mapsize(store->env, MAP_BYTES);
        if (r != 0)
                return r;
        *ret_operation = "mdb_env_open";
        return mdb_env_open(store->env, path, MDB_NOSUBDIR | MDB_NOSYNC | MDB_NOLOCK | MDB_NOTLS, 0600);
}

static int open_records(struct store *store, const char **ret_operation)
{
        MDB_txn *txn;
        int r;

        *ret_operation = "mdb_dbi_open";
        r = mdb_txn_begin(store->env, NULL, 0, &txn);
        if (r != 0)
                return r;
        r = mdb_dbi_open(txn, NULL, 0, &store->records);
        if (r == 0)
                return mdb_txn_commit(txn);
        mdb_txn_abort(txn);
        return r;
}

int store_open(const char *directory, struct store **ret, const char **ret_operation)
{
        struct store *store = calloc(1, sizeof(*store));
        owned(freep) char *path = NULL;
        int r;

        *ret_operation = "malloc";
        if (!store || asprintf(&path, "%s/ledger", directory) < 0) {
                path = NULL;
                free(store);
                return -ENOMEM;
        }
        r = open_env(store, path, ret_operation);
        if (r == 0)
                r = open_records(store, ret_operation);
        if (r != 0) {
                store_close(store);
                return error_of(r);
        }
        *ret = store;
        return 0;
}

struct store *store_close(struct store *store)
{
        if (!store)
                return NULL;
        if (store->batch)
                mdb_txn_abort(store->batch);
        mdb_env_close(store->env);
        free(store);
        return NULL;
}

/* --- writing ----------------------------------------------------------------------------------------------------- */

/* The first failure stays the batch's. */
static int note(struct store *store, int r)
{
        if (store->failure == 0)
                store->failure = error_of(r);
        return store->failure;
}

int store_begin(struct store *store)
{
        store->failure = 0;
        return note(store, mdb_txn_begin(store->env, NULL, 0, &store->batch));
}

static struct packed_key pack(const struct store_key *key)
{
        return (struct packed_key){ key->kind, htobe64(key->first), htobe64(key->second) };
}

int store_put(struct store *store, const struct store_key *key, const void *bytes, size_t n)
{
        struct packed_key packed = pack(key);
        MDB_val at = { sizeof(packed), &packed }, value = { n, (void *)(uintptr_t)bytes };

        return store->failure ? store->failure : note(store, mdb_put(store->batch, store->records, &at, &value, 0));
}

int store_delete(struct store *store, const struct store_key *key)
{
        struct packed_key packed = pack(key);
        MDB_val at = { sizeof(packed), &packed };
        int r;

        if (store->failure)
                return store->failure;
        r = mdb_del(store->batch, store->records, &at, NULL);
        return note(store, r == MDB_NOTFOUND ? 0 : r);
}

int store_commit(struct store *store)
{
        MDB_txn *batch = take_ptr(store->batch);

        if (store->failure == 0)
                return note(store, mdb_txn_commit(batch));
        if (batch)
                mdb_txn_abort(batch);
        return store->failure;
}

void store_abort(struct store *store)
{
        if (store->batch)
                mdb_txn_abort(store->batch);
        store->batch = NULL;
}

int store_wipe(struct store *store)
{
        int r = store_begin(store);

        if (r == 0)
                note(store, mdb_drop(store->batch, store->records, 0));
        return store_commit(store);
}

/* --- reading ----------------------------------------------------------------------------------------------------- */

static int read_all(MDB_cursor *cursor,
                    int (*each)(void *data, const struct store_key *key, const void *bytes, size_t n), void *data)
{
        struct packed_key packed;
        MDB_val at, value;
        int r, answer = 0;

        while (answer == 0 && (r = mdb_cursor_get(cursor, &at, &value, MDB_NEXT)) == 0) {
                if (at.mv_size != sizeof(packed))
                        return -EBADMSG;
                memcpy(&packed, at.mv_data, sizeof(packed));
                const struct store_key key = { packed.kind, be64toh(packed.first), be64toh(packed.second) };
                answer = each(data, &key, value.mv_data, value.mv_size);
        }
        return answer != 0 || r == MDB_NOTFOUND ? answer : error_of(r);
}

int store_read(struct store *store, int (*each)(void *data, const struct store_key *key, const void *bytes, size_t n),
               void *data)
{
        MDB_cursor *cursor;
        MDB_txn *txn;
        int r;

        r = mdb_txn_begin(store->env, NULL, MDB_RDONLY, &txn);
        if (r != 0)
                return error_of(r);
        r = error_of(mdb_cursor_open(txn, store->records, &cursor));
        if (r == 0) {
                r = read_all(cursor, each, data);
                mdb_cursor_close(cursor);
        }
        mdb_txn_abort(txn);
        return r;
}
