/* What programs get of memory, whatever it is backed by: the same calls for all five backings, and the kernel's own word
 * for what they did. docs/features.md has a row for each. */

#include "tests/support/session.h"

#include "proto/util.h"

#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/shm.h>
#include <sys/stat.h>

enum { PAGE = 4096, SMALL = 4 * PAGE, HUGE_PAGE = 2 << 20, LARGE = 4 * HUGE_PAGE };

static const enum region_backing backings[] = {
        REGION_BACKING_MEMFD, REGION_BACKING_POSIX, REGION_BACKING_FILE, REGION_BACKING_SYSV, REGION_BACKING_PRIVATE,
};
enum { SYSV = 3, N_SHARED, N_BACKINGS = array_size(backings) };

static enum region_backing backing;
static struct region_broker *session;

/* An environment of one region, whose only holder is this process. */
static struct region_env *open_data(int index, size_t size, struct region_env_options options)
{
        const struct region_spec data = { .name = "data", .size = size };

        backing = backings[index];
        session = connect_session();
        options.create = REGION_CREATE_ALWAYS;
        options.backing = backing;
        options.lifetime = REGION_LIFETIME_ATTACHED;
        options.regions = &data;
        options.n_regions = 1;
        return open_env(session, "e", &options);
}

static struct region *data_of(struct region_env *env)
{
        return region_env_find(env, "data");
}

static void fill(char *bytes, size_t size)
{
        for (size_t i = 0; i < size; i++)
                bytes[i] = (char)(i * 7 + i / PAGE + 1);
}

static void check_filled(const char *bytes, size_t size)
{
        for (size_t i = 0; i < size; i++)
                ck_assert_msg(bytes[i] == (char)(i * 7 + i / PAGE + 1), "byte %zu", i);
}

/* --- five backings ----------------------------------------------------------------------------------------------- */

/* The kernel's word for what is behind a descriptor: the path it was opened by. */
static void read_link(int fd, char *path, size_t size)
{
        char link[64];
        ssize_t n;

        snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
        n = readlink(link, path, size - 1);
        ck_assert_int_gt(n, 0);
        path[n] = '\0';
}

static void check_nature(const struct region *region)
{
        const struct region_info *info = region_info(region);
        struct shmid_ds segment;
        char path[256] = "";

        if (region_fd(region) >= 0)
                read_link(region_fd(region), path, sizeof(path));
        switch (backing) {
        case REGION_BACKING_MEMFD:
                ck_assert_int_eq(strncmp(path, "/memfd:", 7), 0);
                ck_assert_ptr_null(info->path);
                break;
        case REGION_BACKING_POSIX:
                ck_assert_int_eq(strncmp(path, "/dev/shm/", 9), 0);
                ck_assert_str_eq(info->path, path);
                break;
        case REGION_BACKING_FILE:
                ck_assert_str_eq(strrchr(path, '/'), "/__db.001");
                ck_assert_str_eq(info->path, path);
                break;
        case REGION_BACKING_SYSV:
                ck_assert_int_eq(shmctl(info->shm_id, IPC_STAT, &segment), 0);
                ck_assert_int_eq(segment.shm_perm.__key, info->shm_key);
                break;
        case REGION_BACKING_PRIVATE:
                ck_assert_int_eq(info->shm_id, -1);
                ck_assert_ptr_null(info->path);
                break;
        }
        ck_assert_int_eq(region_fd(region) >= 0, path[0] == '/');
}

START_TEST(each_of_five_backings_is_what_it_is_called_and_is_used_by_the_same_calls)
{
        struct region_env *env = open_data(_i, SMALL, (struct region_env_options){});
        char *bytes;

        ck_assert_int_eq(region_env_info(env)->backing, backing);
        ck_assert_int_eq(region_info(data_of(env))->backing, backing);
        check_nature(data_of(env));
        bytes = map_region(env, "data");
        ck_assert_mem_eq(bytes, (char[SMALL]){}, SMALL);
        fill(bytes, SMALL);
        check_filled(bytes, SMALL);
        region_env_close(env);
        ck_assert(daemon_wait_for_line(&broker, "reclaimed environment e: 1 regions, 16384 bytes"));
        region_broker_close(session);
}
END_TEST

/* --- where it is mapped ------------------------------------------------------------------------------------------ */

/* A place that is free, with something that is not on either side; for System V memory at a multiple of SHMLBA. */
static char *free_place(size_t size)
{
        char *place = mmap(NULL, 3 * size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

        ck_assert_ptr_ne(place, MAP_FAILED);
        munmap(place + size, size);
        return place + size;
}

START_TEST(a_region_is_mapped_at_the_address_that_was_wished)
{
        struct region_env *env = open_data(_i, SMALL, (struct region_env_options){});
        char *wish = free_place(SMALL);

        ck_assert_ptr_eq(map_region_at(env, "data", wish), wish);
        ck_assert_ptr_eq(region_address(data_of(env)), wish);
        fill(wish, SMALL);
        check_filled(wish, SMALL);
        region_broker_close(session);
}
END_TEST

START_TEST(at_an_address_that_is_taken_nothing_is_replaced)
{
        struct region_env *env = open_data(_i, SMALL, (struct region_env_options){});
        char *taken = mmap(NULL, SMALL, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0), *address;

        fill(taken, SMALL);
        address = map_region_at(env, "data", taken + PAGE); /* it would fit in part */
        ck_assert(address + SMALL <= taken || taken + SMALL <= address);
        ck_assert_mem_eq(address, (char[SMALL]){}, SMALL);
        check_filled(taken, SMALL);
        region_broker_close(session);
        munmap(taken, SMALL);
}
END_TEST

START_TEST(unmapped_and_mapped_elsewhere_it_has_its_content)
{
        struct region_env *env = open_data(_i, SMALL, (struct region_env_options){});
        char *first = map_region_at(env, "data", free_place(SMALL)), *wish = free_place(SMALL);
        unsigned char resident[SMALL / PAGE];

        ck_assert_ptr_ne(first, wish);
        fill(first, SMALL);
        for (int i = 0; i < 3; i++) {
                region_unmap(data_of(env));
                ck_assert_ptr_null(region_address(data_of(env)));
                if (backing != REGION_BACKING_PRIVATE) /* that waits where it is for a better place */
                        ck_assert_int_eq(mincore(i % 2 ? wish : first, SMALL, resident), -1);
                ck_assert_ptr_eq(map_region_at(env, "data", i % 2 ? first : wish), i % 2 ? first : wish);
                check_filled(region_address(data_of(env)), SMALL);
        }
        ck_assert_int_eq(mincore(first, SMALL, resident), -1);
        region_broker_close(session);
}
END_TEST

START_TEST(detached_and_attached_again_it_has_its_content)
{
        struct region_env *env = open_data(_i, SMALL, (struct region_env_options){});
        struct region *again;
        void *address;

        fill(map_region(env, "data"), SMALL);
        check(region_detach(data_of(env)));
        ck_assert_ptr_null(data_of(env));
        check(region_env_attach(env, "data", REGION_WRITE, &again));
        check(region_map(again, free_place(SMALL), &address));
        check_filled(address, SMALL);
        region_broker_close(session);
}
END_TEST

/* --- what it takes ----------------------------------------------------------------------------------------------- */

static int64_t count_resident(const char *bytes, size_t size)
{
        unsigned char resident[LARGE / PAGE];
        int64_t n = 0;

        ck_assert_int_eq(mincore((void *)(uintptr_t)bytes, size, resident), 0);
        for (size_t i = 0; i < size / PAGE; i++)
                n += resident[i] & 1;
        return n * PAGE;
}

/* What the broker says; of the heap, which it does not know, what the kernel does. */
static int64_t bytes_used(struct region_env *env)
{
        struct region_description *description;
        int64_t used;

        if (backing == REGION_BACKING_PRIVATE)
                return count_resident(region_address(data_of(env)), region_size(data_of(env)));
        check(region_describe(session, "e", &description));
        ck_assert_uint_eq(description->env->n_regions, 1);
        ck_assert_uint_eq(description->env->regions[0]->size, region_size(data_of(env)));
        used = description->env->regions[0]->bytes_used;
        region_description_free(description);
        return used;
}

START_TEST(what_is_not_sparse_is_all_there_before_it_is_touched)
{
        struct region_env *env = open_data(_i, LARGE, (struct region_env_options){});

        map_region(env, "data");
        ck_assert_int_ge(bytes_used(env), LARGE);
        region_broker_close(session);
}
END_TEST

START_TEST(sparse_memory_takes_nothing_before_it_is_touched)
{
        struct region_env *env = open_data(_i, LARGE, (struct region_env_options){ .sparse = true });
        char *bytes = map_region(env, "data");

        ck_assert_int_eq(bytes_used(env), 0);
        bytes[LARGE - 1] = 'x'; /* one page, or one huge page where the machine gives these unasked */
        ck_assert_int_ge(bytes_used(env), PAGE);
        ck_assert_int_le(bytes_used(env), HUGE_PAGE);
        region_broker_close(session);
}
END_TEST

START_TEST(the_bytes_that_are_used_are_told_and_grow_with_use)
{
        struct region_env *env = open_data(_i, LARGE, (struct region_env_options){ .sparse = true });
        char *bytes = map_region(env, "data");
        int64_t used;

        for (size_t part = 0; part < LARGE; part += HUGE_PAGE) {
                used = bytes_used(env);
                ck_assert_int_ge(used, (int64_t)part);
                ck_assert_int_lt(used, LARGE);
                memset(bytes + part, 1, HUGE_PAGE);
        }
        ck_assert_int_ge(bytes_used(env), LARGE);
        region_broker_close(session);
}
END_TEST

/* --- kept in memory ---------------------------------------------------------------------------------------------- */

/* A field of /proc/self/status or, from that mapping on, of /proc/self/smaps; in bytes. */
static int64_t read_field(const char *file, const void *mapping, const char *field)
{
        char line[512], start[32] = "";
        FILE *stream = fopen(file, "re");
        bool is_there = !mapping;
        int64_t kib = -1;

        ck_assert_ptr_nonnull(stream);
        if (mapping)
                snprintf(start, sizeof(start), "%08" PRIxPTR "-", (uintptr_t)mapping);
        while (kib < 0 && fgets(line, sizeof(line), stream)) {
                is_there = is_there || strncmp(line, start, strlen(start)) == 0;
                if (is_there && strncmp(line, field, strlen(field)) == 0)
                        kib = strtoll(line + strlen(field), NULL, 10);
        }
        fclose(stream);
        ck_assert_msg(kib >= 0, "%s has no %s", file, field);
        return kib * 1024;
}

/* The sanitizers swallow mlock(2). */
static bool can_lock(void)
{
        static char page[PAGE] __attribute__((aligned(PAGE)));
        int64_t before = read_field("/proc/self/status", NULL, "VmLck:");
        bool locked = mlock(page, PAGE) == 0 && read_field("/proc/self/status", NULL, "VmLck:") > before;

        munlock(page, PAGE);
        return locked;
}

START_TEST(locked_memory_is_in_ram_as_long_as_it_is_mapped)
{
        int64_t before = read_field("/proc/self/status", NULL, "VmLck:");
        struct region_env *env;
        char *bytes;

        if (!can_lock()) {
                fputs("test-features: memory cannot be locked here (a sanitizer, or ulimit -l)\n", stderr);
                return;
        }
        env = open_data(_i, SMALL, (struct region_env_options){ .lock = true });
        bytes = map_region_at(env, "data", free_place(SMALL));
        ck_assert_int_eq(read_field("/proc/self/smaps", bytes, "Locked:"), SMALL);
        ck_assert_int_eq(read_field("/proc/self/status", NULL, "VmLck:"), before + SMALL);
        ck_assert_int_eq(count_resident(bytes, SMALL), SMALL);
        region_unmap(data_of(env));
        if (backing != REGION_BACKING_PRIVATE)
                ck_assert_int_eq(read_field("/proc/self/status", NULL, "VmLck:"), before);
        region_broker_close(session);
        ck_assert_int_eq(read_field("/proc/self/status", NULL, "VmLck:"), before);
}
END_TEST

int main(void)
{
        Suite *suite = suite_create("features");
        TCase *tcase = check_case(suite, "features");

        tcase_add_checked_fixture(tcase, broker_setup, broker_teardown);
        tcase_add_loop_test(tcase, each_of_five_backings_is_what_it_is_called_and_is_used_by_the_same_calls, 0,
                            N_BACKINGS);
        tcase_add_loop_test(tcase, a_region_is_mapped_at_the_address_that_was_wished, 0, N_BACKINGS);
        tcase_add_loop_test(tcase, at_an_address_that_is_taken_nothing_is_replaced, 0, N_BACKINGS);
        tcase_add_loop_test(tcase, unmapped_and_mapped_elsewhere_it_has_its_content, 0, N_BACKINGS);
        tcase_add_loop_test(tcase, detached_and_attached_again_it_has_its_content, 0, N_SHARED);
        tcase_add_loop_test(tcase, what_is_not_sparse_is_all_there_before_it_is_touched, 0, N_BACKINGS);
        tcase_add_loop_test(tcase, sparse_memory_takes_nothing_before_it_is_touched, 0, N_BACKINGS);
        tcase_add_loop_test(tcase, the_bytes_that_are_used_are_told_and_grow_with_use, 0, N_SHARED);
        tcase_add_loop_test(tcase, locked_memory_is_in_ram_as_long_as_it_is_mapped, 0, N_BACKINGS);
        return check_run(suite);
}
