/* Regions: where they are mapped, and that leaving leaves nothing over. */

#include "tests/unit/fake-session.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <sys/ipc.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/shm.h>
#include <sys/stat.h>
#include <sys/wait.h>

static struct region_broker *broker;

static bool is_writable(const void *address)
{
        FILE *maps = fopen("/proc/self/maps", "re");
        char line[512], access = '?';
        uintptr_t first;

        while (fgets(line, sizeof(line), maps))
                if (sscanf(line, "%" SCNxPTR "-%*x r%c", &first, &access) == 2 && first == (uintptr_t)address)
                        break;
        fclose(maps);
        return access == 'w';
}

/* A place where STOCK_SIZE and no more is free, so that hardly anything else comes to lie there. */
static char *free_place(void)
{
        char *place = mmap(NULL, 3 * STOCK_SIZE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

        ck_assert_ptr_ne(place, MAP_FAILED);
        munmap(place + STOCK_SIZE, STOCK_SIZE);
        return place + STOCK_SIZE;
}

static int for_reading(void)
{
        owned(closep) int fd = fake_memory(STOCK_SIZE);

        return reopen(fd, O_RDONLY);
}

/* --- mapping ----------------------------------------------------------------------------------------------------- */

/* Opens "shop" with one region of memory. */
static struct region *open_stock(void)
{
        fake_answers_fd(SHOP("member"), fake_memory(STOCK_SIZE));
        broker = start();
        return region_env_at(open_shop(broker, NULL), 0);
}

START_TEST(a_region_is_mapped_where_it_was_wished)
{
        struct region *stock = open_stock();
        char *wish = free_place();

        ck_assert_ptr_eq(map(stock, wish), wish);
        finish(broker);
}
END_TEST

START_TEST(a_wish_that_is_taken_replaces_nothing)
{
        char *taken = mmap(NULL, STOCK_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

        taken[0] = 'x';
        ck_assert_ptr_ne(map(open_stock(), taken), taken);
        ck_assert_int_eq(taken[0], 'x');
        finish(broker);
        munmap(taken, STOCK_SIZE);
}
END_TEST

START_TEST(a_region_is_mapped_once_and_keeps_its_content)
{
        struct region *stock = open_stock();
        char *first = map(stock, NULL);

        first[0] = 'x';
        ck_assert_ptr_eq(map(stock, free_place()), first);
        region_unmap(stock);
        region_unmap(stock);
        ck_assert_ptr_null(region_address(stock));
        ck_assert_int_eq(((char *)map(stock, NULL))[0], 'x');
        finish(broker);
}
END_TEST

#define READ_SHOP OPENED(ENVIRONMENT("shop", "memfd", "", STOCK), "member", GRANT(STOCK, "read", "0"))

START_TEST(a_grant_for_reading_cannot_be_written)
{
        const struct region_env_options options = { .access = REGION_READ };
        struct region *stock;

        fake_answers_fd(READ_SHOP, for_reading());
        broker = start();
        stock = region_env_at(open_shop(broker, &options), 0);
        ck_assert_int_eq(region_access(stock), REGION_READ);
        ck_assert(!is_writable(map(stock, NULL)));
        finish(broker);
}
END_TEST

START_TEST(an_upgrade_to_writing_stays_in_its_place)
{
        const struct region_env_options options = { .access = REGION_READ };
        struct region *stock, *upgraded = NULL;
        int memory = fake_memory(STOCK_SIZE), fd;
        struct region_env *env;
        const char *address;

        fake_answers_fd(READ_SHOP, reopen(memory, O_RDONLY));
        fake_answers_fd("{'parameters':{'grant':" GRANT(STOCK, "write", "0") "}}", memory);
        broker = start();
        env = open_shop(broker, &options);
        stock = region_env_at(env, 0);
        address = map(stock, NULL);
        fd = region_fd(stock);

        check(region_env_attach(env, "stock", 0, &upgraded));
        ck_assert_ptr_eq(upgraded, stock);
        ck_assert_int_eq(region_access(stock), REGION_WRITE);
        ck_assert_ptr_eq(region_address(stock), address);
        ck_assert(is_writable(address));
        ck_assert_int_eq(region_fd(stock), fd);
        finish(broker);
}
END_TEST

START_TEST(what_is_attached_already_is_not_asked_for)
{
        struct region *again = NULL;
        struct region_env *env;

        fake_answers_fd(SHOP("member"), fake_memory(STOCK_SIZE));
        broker = start();
        env = open_shop(broker, NULL);
        check(region_env_attach(env, "stock", REGION_READ, &again));
        ck_assert_ptr_eq(again, region_env_at(env, 0));
        finish(broker);
        ck_assert_str_eq(fake_asked(1), DETACH_SHOP);
}
END_TEST

/* False where memory can be locked all the same: the sanitizers swallow mlock(2). */
static bool forbid_locking(void)
{
        const struct rlimit none = { 0, 0 };
        static char page[4096];

        ck_assert_int_eq(setrlimit(RLIMIT_MEMLOCK, &none), 0);
        if (geteuid() == 0)
                ck_assert_int_eq(seteuid(65534), 0);
        return mlock(page, sizeof(page)) < 0;
}

START_TEST(memory_that_cannot_be_locked_is_not_mapped)
{
        struct region *stock;
        void *address = NULL;

        fake_answers_fd(SHOP_MORE("member", ",'lock':true,'hugePages':true"), fake_memory(STOCK_SIZE));
        broker = start();
        stock = region_env_at(open_shop(broker, NULL), 0);
        if (forbid_locking()) {
                check_error(region_map(stock, NULL, &address), REGION_E_RESOURCE, "ulimit -l");
                ck_assert_str_eq(region_last_error()->operation, "mlock");
                ck_assert_ptr_null(address);
                ck_assert_ptr_null(region_address(stock));
        }
        finish(broker);
        if (getuid() == 0)
                ck_assert_int_eq(seteuid(0), 0);
}
END_TEST

static void *call_and_wait(void *unused)
{
        return region_broker_call(broker, "org.example.Wait", NULL, false, NULL, NULL) == REGION_OK ? broker : unused;
}

START_TEST(a_region_is_mapped_while_another_thread_waits_for_the_broker)
{
        struct region *stock;
        pthread_t thread;
        void *result;

        fake_answers_fd(SHOP("member"), fake_memory(STOCK_SIZE));
        fake_answers_later("{}");
        broker = start();
        stock = region_env_at(open_shop(broker, NULL), 0);
        ck_assert_int_eq(pthread_create(&thread, NULL, call_and_wait, NULL), 0);
        fake_wait_until_asked();
        map(stock, NULL);
        region_unmap(stock);
        fake_answer_now();
        pthread_join(thread, &result);
        ck_assert_ptr_eq(result, broker);
        finish(broker);
}
END_TEST

/* --- private ----------------------------------------------------------------------------------------------------- */

#define HEAP REGION("stock", "1", "8192", "private", "")

START_TEST(private_memory_keeps_its_content_and_moves_where_it_is_wished)
{
        char *wish, *address;
        struct region *stock;

        fake_answers(OPENED(ENVIRONMENT("shop", "private", "", HEAP), "initializer", GRANT(HEAP, "write", "null")));
        broker = start();
        stock = region_env_at(open_shop(broker, NULL), 0);
        ck_assert_int_eq(region_fd(stock), -1);
        address = map(stock, NULL);
        ck_assert_int_eq(address[STOCK_SIZE - 1], 0);
        address[STOCK_SIZE - 1] = 'x';
        region_unmap(stock);
        wish = free_place();
        ck_assert_ptr_eq(map(stock, wish), wish);
        ck_assert_int_eq(wish[STOCK_SIZE - 1], 'x');
        finish(broker);
}
END_TEST

START_TEST(private_memory_is_had_once)
{
        struct region_env *env;

        fake_answers(OPENED(ENVIRONMENT("shop", "private", "", HEAP), "member", GRANT(HEAP, "write", "null")));
        broker = start();
        check_error(region_env_open(broker, "shop", NULL, &env), REGION_E_BUSY, "open already in this process");
        finish(broker);
}
END_TEST

/* --- System V ---------------------------------------------------------------------------------------------------- */

static int segment = -1;
static char segment_reply[2048];

#define SEGMENT REGION("stock", "1", "8192", "sysv", ",'shmId':%d,'shmKey':%d,'ipcNamespace':%" PRIu64)
#define SEGMENT_SHOP OPENED(ENVIRONMENT("shop", "sysv", "", ""), "%s", GRANT(SEGMENT, "write", "null"))

/* A segment of two pages, and the reply that grants it, saying `key` and the IPC namespace `inode`. */
static void prepare_segment(const char *role, int key, uint64_t inode)
{
        segment = shmget(IPC_PRIVATE, STOCK_SIZE, IPC_CREAT | 0600);
        ck_assert_int_ge(segment, 0);
        snprintf(segment_reply, sizeof(segment_reply), SEGMENT_SHOP, role, segment, key, inode);
        fake_answers(segment_reply);
        broker = start();
}

/* In a namespace of its own a test that fails leaves nothing behind; who may not have one tidies up. */
static void isolate_segments(void)
{
        (void)unshare(CLONE_NEWIPC);
}

static void remove_segment(void)
{
        if (segment >= 0)
                shmctl(segment, IPC_RMID, NULL);
}

static uint64_t own_ipc_namespace(void)
{
        struct stat status;

        ck_assert_int_eq(stat("/proc/self/ns/ipc", &status), 0);
        return status.st_ino;
}

START_TEST(a_segment_is_reserved_and_mapped)
{
        struct shmid_ds status;
        struct region *stock;
        char *wish;

        prepare_segment("initializer", IPC_PRIVATE, own_ipc_namespace());
        stock = region_env_at(open_shop(broker, NULL), 0);
        ck_assert_int_eq(region_fd(stock), -1);
        ck_assert_int_eq(region_info(stock)->shm_id, segment);
        ck_assert_int_eq(shmctl(segment, IPC_STAT, &status), 0);
        ck_assert_uint_eq(status.shm_nattch, 0);
        wish = free_place();
        ck_assert_ptr_eq(map(stock, wish), wish);
        wish[0] = 'x';
        region_unmap(stock);
        ck_assert_int_eq(((char *)map(stock, NULL))[0], 'x');
        finish(broker);
        ck_assert_int_eq(shmctl(segment, IPC_STAT, &status), 0);
        ck_assert_uint_eq(status.shm_nattch, 0);
}
END_TEST

START_TEST(a_segment_of_another_namespace_is_not_touched)
{
        void *address;

        prepare_segment("member", IPC_PRIVATE, own_ipc_namespace() + 1);
        check_error(region_map(region_env_at(open_shop(broker, NULL), 0), NULL, &address), REGION_E_NAMESPACE,
                    "namespace");
        finish(broker);
}
END_TEST

START_TEST(a_segment_with_another_key_is_another_segment)
{
        struct shmid_ds status;
        void *address;

        prepare_segment("member", 4711, own_ipc_namespace());
        check_error(region_map(region_env_at(open_shop(broker, NULL), 0), NULL, &address), REGION_E_PROTOCOL,
                    "is not region 'stock' any more");
        ck_assert_int_eq(shmctl(segment, IPC_STAT, &status), 0);
        ck_assert_uint_eq(status.shm_nattch, 0);
        finish(broker);
}
END_TEST

START_TEST(a_segment_that_is_gone_cannot_be_mapped)
{
        struct region *stock;
        void *address;

        prepare_segment("member", IPC_PRIVATE, own_ipc_namespace());
        stock = region_env_at(open_shop(broker, NULL), 0);
        ck_assert_int_eq(shmctl(segment, IPC_RMID, NULL), 0);
        check_error(region_map(stock, NULL, &address), REGION_E_RESOURCE, "shmat says");
        ck_assert_int_eq(region_last_error()->errnum, EINVAL);
        finish(broker);
}
END_TEST

/* --- leaving ----------------------------------------------------------------------------------------------------- */

START_TEST(a_region_that_is_detached_is_gone_from_its_environment)
{
        struct region_env *env;

        fake_answers_fd(SHOP("member"), fake_memory(STOCK_SIZE));
        fake_answers(
                "{'error':'org.regionbroker.RegionNotFound','parameters':{'environment':'shop','region':'stock','id':'e-1'}}");
        broker = start();
        env = open_shop(broker, NULL);
        map(region_env_at(env, 0), NULL);
        check(region_detach(region_env_at(env, 0))); /* that it was deleted does not matter */
        ck_assert_ptr_null(region_env_at(env, 0));
        check(region_detach(NULL));
        finish(broker);
        ck_assert_str_eq(fake_asked(1), "{'method':'org.regionbroker.Detach','parameters':"
                                        "{'environment':'shop','region':'stock','id':'e-1'}}");
}
END_TEST

START_TEST(a_region_that_is_held_is_named_when_it_cannot_be_deleted)
{
        fake_answers_fd(SHOP("member"), fake_memory(STOCK_SIZE));
        fake_answers("{'error':'org.regionbroker.Busy','parameters':{'environment':'shop','attachments':[]}}");
        broker = start();
        check_error(region_env_delete(open_shop(broker, NULL), "stock", true), REGION_E_BUSY,
                    "region 'stock' of environment 'shop' is held by another process");
        finish(broker);
        ck_assert_str_eq(fake_asked(1), "{'method':'org.regionbroker.DeleteRegion','parameters':"
                                        "{'environment':'shop','region':'stock','force':true}}");
}
END_TEST

START_TEST(what_two_handles_have_is_detached_with_the_second)
{
        struct region_env *first, *second;

        fake_answers_fd(SHOP("member"), fake_memory(STOCK_SIZE));
        fake_answers_fd(SHOP("member"), fake_memory(STOCK_SIZE));
        broker = start();
        first = open_shop(broker, NULL);
        second = open_shop(broker, NULL);
        check(region_detach(region_env_at(first, 0)));
        region_env_close(first);
        map(region_env_at(second, 0), NULL);
        region_env_close(second);
        region_env_close(NULL);
        finish(broker);
        ck_assert_str_eq(fake_asked(2), DETACH_SHOP);
        ck_assert_ptr_null(fake_asked(3));
}
END_TEST

START_TEST(a_session_that_broke_still_frees_what_it_has)
{
        struct region *stock;

        fake_answers_fd(SHOP("member"), fake_memory(STOCK_SIZE));
        fake_closes();
        broker = start();
        stock = region_env_at(open_shop(broker, NULL), 0);
        map(stock, NULL);
        check_error(ping(broker), REGION_E_DISCONNECTED, "went away");
        fake_finish();
        region_broker_set_timeout(broker, 1000);
        check_error(region_detach(stock), REGION_E_ABSENT, "no broker answers");
        finish(broker);
}
END_TEST

START_TEST(a_child_that_closes_takes_nothing_from_its_parent)
{
        struct region *stock = open_stock();
        char *address = map(stock, NULL);
        int status;
        pid_t child;

        child = fork();
        if (child == 0) {
                address[0] = 'x'; /* what was mapped stays mapped */
                region_broker_close(broker);
                _exit(0);
        }
        ck_assert_int_eq(waitpid(child, &status, 0), child);
        ck_assert_int_eq(status, 0);
        ck_assert_int_eq(address[0], 'x');
        finish(broker);
        ck_assert_str_eq(fake_asked(1), DETACH_SHOP);
        ck_assert_ptr_null(fake_asked(2));
}
END_TEST

/* --- threads ----------------------------------------------------------------------------------------------------- */

static void *map_often(void *data)
{
        struct region_env *env = data;

        for (int i = 0; i < 50; i++) {
                struct region *stock = region_env_find(env, "stock");
                void *address;

                if (region_map(stock, NULL, &address) != REGION_OK || region_env_ready(env) == REGION_E_DISCONNECTED)
                        return NULL;
                if (region_access(stock) != REGION_WRITE || region_size(stock) != STOCK_SIZE)
                        return NULL;
        }
        return env;
}

START_TEST(threads_share_an_environment)
{
        pthread_t threads[4];
        struct region_env *env;
        void *result;

        fake_answers_fd(SHOP("member"), fake_memory(STOCK_SIZE));
        broker = start();
        env = open_shop(broker, NULL);
        for (size_t i = 0; i < array_size(threads); i++)
                ck_assert_int_eq(pthread_create(&threads[i], NULL, map_often, env), 0);
        for (size_t i = 0; i < array_size(threads); i++) {
                pthread_join(threads[i], &result);
                ck_assert_ptr_eq(result, env);
        }
        finish(broker);
}
END_TEST

int main(void)
{
        Suite *suite = suite_create("libregion-mapping");
        TCase *mapping = fake_case(suite, "mapping");
        TCase *sysv = fake_case(suite, "sysv");
        TCase *leaving = fake_case(suite, "leaving");

        tcase_add_test(mapping, a_region_is_mapped_where_it_was_wished);
        tcase_add_test(mapping, a_wish_that_is_taken_replaces_nothing);
        tcase_add_test(mapping, a_region_is_mapped_once_and_keeps_its_content);
        tcase_add_test(mapping, a_grant_for_reading_cannot_be_written);
        tcase_add_test(mapping, an_upgrade_to_writing_stays_in_its_place);
        tcase_add_test(mapping, what_is_attached_already_is_not_asked_for);
        tcase_add_test(mapping, memory_that_cannot_be_locked_is_not_mapped);
        tcase_add_test(mapping, a_region_is_mapped_while_another_thread_waits_for_the_broker);
        tcase_add_test(mapping, private_memory_keeps_its_content_and_moves_where_it_is_wished);
        tcase_add_test(mapping, private_memory_is_had_once);

        tcase_add_checked_fixture(sysv, isolate_segments, remove_segment);
        tcase_add_test(sysv, a_segment_is_reserved_and_mapped);
        tcase_add_test(sysv, a_segment_of_another_namespace_is_not_touched);
        tcase_add_test(sysv, a_segment_with_another_key_is_another_segment);
        tcase_add_test(sysv, a_segment_that_is_gone_cannot_be_mapped);

        tcase_add_test(leaving, a_region_that_is_detached_is_gone_from_its_environment);
        tcase_add_test(leaving, a_region_that_is_held_is_named_when_it_cannot_be_deleted);
        tcase_add_test(leaving, what_two_handles_have_is_detached_with_the_second);
        tcase_add_test(leaving, a_session_that_broke_still_frees_what_it_has);
        tcase_add_test(leaving, a_child_that_closes_takes_nothing_from_its_parent);
        tcase_add_test(leaving, threads_share_an_environment);

        return check_run(suite);
}
