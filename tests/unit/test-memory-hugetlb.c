/* Memory of the pool of huge pages is memory like any other: made, proven free, given back. */

#include "daemon/host/watch.h"
#include "tests/support/child.h"
#include "tests/support/pool.h"
#include "tests/unit/memory-kinds.h"

#include <grp.h>
#include <sched.h>

static const int pool_kinds[] = { MEMFD, SYSV };
enum { N_POOL_KINDS = array_size(pool_kinds), N_PAGES = 2 };

static int64_t size, free_before;

static struct memory_plan pool_plan(int kind)
{
        struct memory_plan plan = plan_for(kind);

        plan.size = size;
        plan.hugetlb = true;
        return plan;
}

static struct memory *make_of_pool(int kind)
{
        const struct memory_plan plan = pool_plan(kind);

        return make_as(&plan);
}

/* False where there are none to be had. */
static bool begin(int kind)
{
        (void)unshare(CLONE_NEWIPC); /* for who may: there a test that fails leaves no segment behind */
        if (kind == SYSV && !pool_has_segments()) {
                fputs("not tried: segments of huge pages take CAP_IPC_LOCK or vm.hugetlb_shm_group\n", stderr);
                return false;
        }
        size = N_PAGES * memory_huge_page_size();
        if (!pool_take(N_PAGES))
                return false;
        free_before = pool_free();
        return true;
}

static char *map_of_pool(const struct memory *memory)
{
        owned(closep) int fd = -1;
        char *bytes;

        if (memory_fd(memory) < 0) {
                bytes = shmat(memory_shm_id(memory), NULL, 0);
        } else {
                fd = grant(memory, ACCESS_WRITE);
                bytes = mmap(NULL, (size_t)size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
        }
        ck_assert_ptr_ne(bytes, MAP_FAILED);
        return bytes;
}

static void unmap_of_pool(const struct memory *memory, char *bytes)
{
        ck_assert_int_eq(memory_fd(memory) < 0 ? shmdt(bytes) : munmap(bytes, (size_t)size), 0);
}

START_TEST(the_size_of_its_pages_is_known_without_taking_one)
{
        ck_assert_int_eq(memory_huge_page_size(), pool_page_size());
}
END_TEST

START_TEST(it_is_of_the_pool_and_goes_back_to_it)
{
        struct memory *memory;
        char *bytes;

        if (!begin(pool_kinds[_i]))
                return;
        memory = make_of_pool(pool_kinds[_i]);
        ck_assert_int_eq(memory_is_held(memory), 0);
        bytes = map_of_pool(memory);
        bytes[0] = bytes[size - 1] = 1;
        ck_assert_int_eq(pool_free(), free_before - N_PAGES);
        if (pool_kinds[_i] == MEMFD)
                ck_assert_int_eq(memory_used(memory), size);
        unmap_of_pool(memory, bytes);
        ck_assert_int_eq(pool_free(), free_before - N_PAGES);
        memory_release(memory);
        ck_assert_int_eq(pool_free(), free_before);
}
END_TEST

START_TEST(a_descriptor_without_rights_does_not_keep_its_pages)
{
        struct memory *memory;
        char path[64], *bytes;
        int fd;

        if (!begin(MEMFD))
                return;
        memory = make_of_pool(MEMFD);
        bytes = map_of_pool(memory);
        bytes[0] = bytes[size - 1] = 1;
        unmap_of_pool(memory, bytes);
        snprintf(path, sizeof(path), "/proc/self/fd/%d", memory_fd(memory));
        fd = open(path, O_PATH | O_CLOEXEC);
        memory_release(memory);
        ck_assert_int_eq(pool_free(), free_before);
        close_fd(fd);
}
END_TEST

START_TEST(it_keeps_its_size_and_its_seals)
{
        struct memory *memory;
        int fd;

        if (!begin(MEMFD))
                return;
        memory = make_of_pool(MEMFD);
        fd = grant(memory, ACCESS_WRITE);
        ck_assert_int_eq(fcntl(fd, F_GET_SEALS) & (F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL),
                         F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL);
        ck_assert_int_lt(ftruncate(fd, size / N_PAGES), 0);
        ck_assert_int_eq(errno, EPERM);
        ck_assert_int_lt(ftruncate(fd, size * N_PAGES), 0);
        ck_assert_int_eq(errno, EPERM);
        ck_assert_int_lt(fallocate(fd, 0, 0, size * N_PAGES), 0);
        close_fd(fd);
        memory_release(memory);
}
END_TEST

/* As by the next broker: by a descriptor that was kept, or by what is known of the segment. */
START_TEST(it_is_found_again_with_its_bytes_and_still_of_the_pool)
{
        struct memory *memory, *found = NULL;
        struct memory_trace trace;
        char *bytes;
        int kept;

        if (!begin(pool_kinds[_i]))
                return;
        memory = make_of_pool(pool_kinds[_i]);
        bytes = map_of_pool(memory);
        bytes[size - 1] = 'x';
        unmap_of_pool(memory, bytes);
        memory_trace(memory, &trace);
        kept = memory_fd(memory) < 0 ? -1 : fcntl(memory_fd(memory), F_DUPFD_CLOEXEC, 0);
        memory_forget(memory);
        ck_assert_int_eq(memory_find(&trace, -1, kept, &found), 0);
        ck_assert_int_eq(memory_is_held(found), 0);
        bytes = map_of_pool(found);
        ck_assert_int_eq(bytes[size - 1], 'x');
        ck_assert_int_eq(memory_is_held(found), 1);
        unmap_of_pool(found, bytes);
        ck_assert_int_eq(pool_free(), free_before - N_PAGES);
        memory_release(found);
        ck_assert_int_eq(pool_free(), free_before);
}
END_TEST

static void live(int channel, const void *data)
{
        (void)data;
        child_tell(channel, 0);
        child_hear(channel);
}

START_TEST(a_mapping_holds_it_also_one_that_was_inherited)
{
        struct memory *memory;
        struct child child;
        char *bytes;

        if (!begin(pool_kinds[_i]))
                return;
        memory = make_of_pool(pool_kinds[_i]);
        bytes = map_of_pool(memory);
        ck_assert_int_eq(memory_is_held(memory), 1);
        child_fork(&child, live, NULL);
        unmap_of_pool(memory, bytes);
        ck_assert_int_eq(memory_is_held(memory), 1);
        child_kill(&child);
        ck_assert_int_eq(memory_is_held(memory), 0);
        memory_release(memory);
}
END_TEST

START_TEST(a_descriptor_holds_it_and_its_last_close_is_told)
{
        struct memory *memory;
        struct watch watch;
        int fd, wd;

        if (!begin(MEMFD))
                return;
        memory = make_of_pool(MEMFD);
        fd = grant(memory, ACCESS_READ);
        ck_assert_int_eq(watch_init(&watch), 0);
        wd = watch_add(&watch, memory_fd(memory));
        ck_assert_int_ge(wd, 0);
        ck_assert_int_eq(memory_is_held(memory), 1);
        ck_assert_int_eq(watch_next(&watch), WATCH_NONE);
        close_fd(fd);
        ck_assert_int_eq(memory_is_held(memory), 0);
        ck_assert(check_wait(watch.fd, POLLIN));
        ck_assert_int_eq(watch_next(&watch), wd);
        watch_deinit(&watch);
        memory_release(memory);
}
END_TEST

/* As somebody who may not lock memory and is not in the group that may use huge pages. */
static void try_without_the_right(int channel, const void *data)
{
        const struct memory_plan *plan = data;
        struct memory *memory;
        const char *operation;

        if (geteuid() == 0 &&
            (setgroups(0, NULL) < 0 || setresgid(65534, 65534, 65534) < 0 || setresuid(65534, 65534, 65534) < 0))
                _exit(EXIT_FAILURE);
        child_tell(channel, memory_make(plan, &memory, &operation));
        child_tell(channel, strcmp(operation, "shmget"));
}

START_TEST(a_segment_of_it_takes_a_right)
{
        struct memory_plan plan;
        struct child child;

        if (geteuid() != 0) /* who has it anyway cannot be told from here */
                return;
        if (!begin(SYSV))
                return;
        plan = pool_plan(SYSV);
        child_fork(&child, try_without_the_right, &plan);
        ck_assert_int_eq(child_hear(child.channel), -EPERM);
        ck_assert_int_eq(child_hear(child.channel), 0);
        child_end(&child);
}
END_TEST

int main(void)
{
        Suite *suite = suite_create("memory-hugetlb");
        TCase *tcase = kinds_case(suite, "memory-hugetlb");

        if (memory_huge_page_size() == 0) {
                fputs("test-memory-hugetlb: this kernel has no pool of huge pages\n", stderr);
                return 77;
        }
        tcase_add_checked_fixture(tcase, NULL, pool_leave);
        tcase_add_test(tcase, the_size_of_its_pages_is_known_without_taking_one);
        tcase_add_loop_test(tcase, it_is_of_the_pool_and_goes_back_to_it, 0, N_POOL_KINDS);
        tcase_add_test(tcase, a_descriptor_without_rights_does_not_keep_its_pages);
        tcase_add_test(tcase, it_keeps_its_size_and_its_seals);
        tcase_add_loop_test(tcase, a_mapping_holds_it_also_one_that_was_inherited, 0, N_POOL_KINDS);
        tcase_add_test(tcase, a_descriptor_holds_it_and_its_last_close_is_told);
        tcase_add_loop_test(tcase, it_is_found_again_with_its_bytes_and_still_of_the_pool, 0, N_POOL_KINDS);
        tcase_add_test(tcase, a_segment_of_it_takes_a_right);
        return check_run(suite);
}
