/* Records outlive whoever wrote them, in whole batches. */

#include "daemon/host/store.h"

#include "proto/util.h"
#include "tests/support/check.h"
#include "tests/support/scratch.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <sched.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/wait.h>

static struct store *store;

static void open_store(void)
{
        const char *operation;
        int r = store_open(scratch, &store, &operation);

        ck_assert_msg(r == 0, "%s: %s", operation, strerror(-r));
}

static void close_store(void)
{
        char *path = scratch_path("ledger");

        store = store_close(store);
        unlink(path);
        free(path);
}

static void reopen_store(void)
{
        store = store_close(store);
        open_store();
}

static void put(uint8_t kind, uint64_t first, uint64_t second, const char *text)
{
        const struct store_key key = { kind, first, second };

        ck_assert_int_eq(store_put(store, &key, text, strlen(text)), 0);
}

static void delete (uint8_t kind, uint64_t first, uint64_t second)
{
        const struct store_key key = { kind, first, second };

        ck_assert_int_eq(store_delete(store, &key), 0);
}

static int write_down(void *data, const struct store_key *key, const void *bytes, size_t n)
{
        char *text = data;

        sprintf(text + strlen(text), "%c%" PRIu64 ".%" PRIu64 "=%.*s ", key->kind, key->first, key->second, (int)n,
                (const char *)bytes);
        return 0;
}

static void check_records(const char *wanted)
{
        char text[1024] = "";

        ck_assert_int_eq(store_read(store, write_down, text), 0);
        ck_assert_str_eq(text, wanted);
}

START_TEST(what_was_committed_is_there_again)
{
        store_begin(store);
        put('E', 1, 0, "one");
        put('M', 1, 2, "two");
        ck_assert_int_eq(store_commit(store), 0);
        reopen_store();
        check_records("E1.0=one M1.2=two ");

        store_begin(store);
        put('E', 1, 0, "changed");
        delete ('M', 1, 2);
        delete ('M', 7, 7); /* there is none */
        ck_assert_int_eq(store_commit(store), 0);
        reopen_store();
        check_records("E1.0=changed ");
}
END_TEST

START_TEST(records_are_read_in_the_order_of_their_numbers)
{
        store_begin(store);
        put('M', 1, 1, "");
        put('E', 256, 0, "");
        put('E', 3, 0, "");
        put('E', UINT64_MAX, 0, "");
        put('M', 1, 300, "");
        put('M', 1, 2, "");
        ck_assert_int_eq(store_commit(store), 0);
        check_records("E3.0= E256.0= E18446744073709551615.0= M1.1= M1.2= M1.300= ");
}
END_TEST

START_TEST(a_batch_that_was_given_up_leaves_nothing)
{
        store_begin(store);
        put('E', 1, 0, "one");
        store_abort(store);
        check_records("");
        store_abort(store); /* none is under way */
}
END_TEST

static int stop_at_once(void *data, const struct store_key *key, const void *bytes, size_t n)
{
        (void)key;
        (void)bytes;
        (void)n;
        ++*(int *)data;
        return -EXDEV;
}

START_TEST(who_reads_may_stop)
{
        int calls = 0;

        store_begin(store);
        put('E', 1, 0, "");
        put('E', 2, 0, "");
        ck_assert_int_eq(store_commit(store), 0);
        ck_assert_int_eq(store_read(store, stop_at_once, &calls), -EXDEV);
        ck_assert_int_eq(calls, 1);
}
END_TEST

START_TEST(wiped_it_is_empty)
{
        store_begin(store);
        put('E', 1, 0, "one");
        ck_assert_int_eq(store_commit(store), 0);
        ck_assert_int_eq(store_wipe(store), 0);
        reopen_store();
        check_records("");
}
END_TEST

/* Writes the same number everywhere, batch after batch, until it is killed. It asserts nothing: each assertion is a message to
 * the runner, and one that is half said is none. */
static void write_for_ever(void)
{
        const char *operation;

        if (store_open(scratch, &store, &operation) < 0)
                _exit(1);
        for (uint64_t i = 0;; i++) {
                store_begin(store);
                for (uint64_t j = 0; j < 50; j++) {
                        const struct store_key key = { 'E', j, 0 };
                        char number[32];

                        store_put(store, &key, number, (size_t)sprintf(number, "%" PRIu64, i));
                }
                if (store_commit(store) < 0)
                        _exit(1);
        }
}

struct seen {
        char number[32];
        int n;
};

static int check_same(void *data, const struct store_key *key, const void *bytes, size_t n)
{
        struct seen *seen = data;
        char number[32];

        (void)key;
        snprintf(number, sizeof(number), "%.*s", (int)n, (const char *)bytes);
        if (seen->n++ == 0)
                strcpy(seen->number, number);
        ck_assert_str_eq(number, seen->number);
        return 0;
}

START_TEST(who_is_killed_leaves_whole_batches)
{
        for (int round = 0; round < 10; round++) {
                struct seen seen = {};
                pid_t pid;

                store = store_close(store);
                pid = fork();
                if (pid == 0)
                        write_for_ever();
                /* let it write for an uncertain while */
                for (int i = 0; i < round * 20; i++)
                        sched_yield();
                ck_assert_int_eq(kill(pid, SIGKILL), 0);
                ck_assert_int_eq(waitpid(pid, NULL, 0), pid);
                open_store();
                ck_assert_int_eq(store_read(store, check_same, &seen), 0);
                ck_assert(seen.n == 0 || seen.n == 50);
        }
}
END_TEST

START_TEST(a_damaged_file_is_refused)
{
        char *path = scratch_path("ledger");
        const char *operation;
        int fd;

        store = store_close(store);
        fd = open(path, O_WRONLY | O_TRUNC | O_CLOEXEC);
        ck_assert_int_eq(write(fd, "this is no ledger", 17), 17);
        ck_assert_int_eq(ftruncate(fd, 65536), 0);
        close(fd);
        ck_assert_int_lt(store_open(scratch, &store, &operation), 0);
        ck_assert_str_eq(operation, "mdb_env_open");
        free(path);
}
END_TEST

START_TEST(a_full_disk_fails_the_batch_and_no_more)
{
        char *large = calloc(1, 1 << 20), *place = scratch_path("small");
        struct store *small;
        const char *operation;
        char *path;

        if (geteuid() != 0 || mkdir(place, 0700) < 0 ||
            mount("none", place, "tmpfs", MS_NOSUID | MS_NODEV, "size=512k") < 0) {
                fputs("test-store: a full disk is not tried, for that takes root\n", stderr);
                rmdir(place);
                free(place);
                free(large);
                return;
        }
        ck_assert_int_eq(store_open(place, &small, &operation), 0);
        store_begin(small);
        ck_assert_int_eq(store_put(small, &(struct store_key){ 'E', 1, 0 }, "one", 3), 0);
        ck_assert_int_eq(store_commit(small), 0);
        store_begin(small);
        store_put(small, &(struct store_key){ 'E', 2, 0 }, large, 1 << 20);
        ck_assert_int_lt(store_commit(small), 0);
        store_begin(small);
        ck_assert_int_eq(store_put(small, &(struct store_key){ 'E', 3, 0 }, "three", 5), 0);
        ck_assert_int_eq(store_commit(small), 0);
        store_close(small);
        ck_assert_int_ge(asprintf(&path, "%s/ledger", place), 0);
        unlink(path);
        ck_assert_int_eq(umount(place), 0);
        ck_assert_int_eq(rmdir(place), 0);
        free(path);
        free(place);
        free(large);
}
END_TEST

int main(void)
{
        Suite *suite = suite_create("store");
        TCase *tcase = check_case(suite, "store");

        scratch_add(tcase);
        tcase_add_checked_fixture(tcase, open_store, close_store);
        tcase_add_test(tcase, what_was_committed_is_there_again);
        tcase_add_test(tcase, records_are_read_in_the_order_of_their_numbers);
        tcase_add_test(tcase, a_batch_that_was_given_up_leaves_nothing);
        tcase_add_test(tcase, who_reads_may_stop);
        tcase_add_test(tcase, wiped_it_is_empty);
        tcase_add_test(tcase, who_is_killed_leaves_whole_batches);
        tcase_add_test(tcase, a_damaged_file_is_refused);
        tcase_add_test(tcase, a_full_disk_fails_the_batch_and_no_more);
        return check_run(suite);
}
