/* Transparent huge pages: which memory has them without being asked, which when asked, and that a full memory stays the
 * error that it is.
 *
 * Whether a machine makes them is for its settings to say, and at times it has none to give. So what the library gets is
 * compared with what the kernel gives this test without the library. Where the setting is an option of a mount, the mount
 * is this test's own, which takes root. */

#include "tests/support/huge.h"
#include "tests/support/mount.h"
#include "tests/support/session.h"

#include "proto/util.h"

#include <fcntl.h>
#include <sys/ipc.h>
#include <sys/mount.h>
#include <sys/shm.h>
#include <sys/stat.h>

#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE 25
#endif

enum { WHOLE = 4 * HUGE_PAGE, SIZE = WHOLE + 3 * 4096 /* the rest of which is small pages */ };

static char home[128];

/* --- what the kernel gives --------------------------------------------------------------------------------------- */

static void *map_descriptor(int fd, void *where)
{
        void *mapped;

        ck_assert_int_ge(fd, 0);
        ck_assert_int_eq(ftruncate(fd, SIZE), 0);
        mapped = mmap(where, SIZE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, fd, 0);
        close(fd);
        return mapped;
}

static void *map_segment(void *where)
{
        int id = shmget(IPC_PRIVATE, SIZE, IPC_CREAT | 0600);
        void *mapped;

        ck_assert_int_ge(id, 0);
        mapped = shmat(id, where, SHM_REMAP);
        shmctl(id, IPC_RMID, NULL);
        return mapped;
}

/* Memory of that kind, at a place where huge pages fit. */
static char *map_as(enum region_backing backing)
{
        char *room = mmap(NULL, 2 * (size_t)SIZE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0), *where, *mapped;

        ck_assert_ptr_ne(room, MAP_FAILED);
        where = room + (HUGE_PAGE - (uintptr_t)room % HUGE_PAGE);
        switch (backing) {
        case REGION_BACKING_SYSV:
                mapped = map_segment(where);
                break;
        case REGION_BACKING_MEMFD:
                mapped = map_descriptor(memfd_create("control", MFD_CLOEXEC), where);
                break;
        case REGION_BACKING_PRIVATE:
                mapped = mmap(where, SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
                break;
        default:
                mapped = map_descriptor(open(backing == REGION_BACKING_FILE ? home : "/dev/shm",
                                             O_TMPFILE | O_RDWR | O_CLOEXEC, 0600),
                                        where);
        }
        ck_assert_ptr_eq(mapped, where);
        return mapped;
}

/* Whether all that can be huge is, of memory that was advised and touched, or `told` to become it. */
static bool kernel_makes_them(enum region_backing backing, bool told)
{
        char *mapped = map_as(backing);
        bool made;

        madvise(mapped, SIZE, MADV_HUGEPAGE);
        for (size_t i = 0; i < SIZE; i += 4096)
                mapped[i] = 1;
        if (told)
                madvise(mapped, SIZE, MADV_COLLAPSE);
        made = huge_bytes(mapped) == WHOLE;
        munmap(mapped, SIZE);
        return made;
}

/* False where there were none to be had just now. */
static bool check_huge(const char *mapped, enum region_backing backing, bool told)
{
        size_t huge = huge_bytes(mapped);

        ck_assert(is_huge_aligned(mapped));
        if (huge == WHOLE)
                return true;
        ck_assert_msg(!kernel_makes_them(backing, told), "%zu bytes of %s are huge", huge,
                      region_backing_word(backing));
        SKIP("the machine has no more huge pages");
        return false;
}

/* --- what the library gets --------------------------------------------------------------------------------------- */

static const enum region_backing backings[] = { REGION_BACKING_POSIX, REGION_BACKING_FILE, REGION_BACKING_MEMFD,
                                                REGION_BACKING_SYSV, REGION_BACKING_PRIVATE };
enum { N_MOUNTED = 2, N_BACKINGS = array_size(backings) };

static const struct region_spec region = { .name = "a", .size = SIZE };

static struct region_env_options options_for(enum region_backing backing)
{
        return (struct region_env_options){
                .create = REGION_CREATE_ALWAYS,
                .backing = backing,
                .lifetime = REGION_LIFETIME_ATTACHED,
                .home = backing == REGION_BACKING_FILE ? home : NULL,
                .regions = &region,
                .n_regions = 1,
        };
}

/* With both, /dev/shm and a home, on a tmpfs of that option. */
static void start_mounted(const char *option)
{
        broker_setup();
        snprintf(home, sizeof(home), "%s/home", broker.directory);
        ck_assert_int_eq(mkdir(home, 0700), 0);
        ck_assert(daemon_stop(&broker));
        mount_tmpfs("/dev/shm", option);
        mount_tmpfs(home, option);
        broker_setup();
}

static void end_mounted(void)
{
        ck_assert_int_eq(umount2(home, MNT_DETACH), 0);
}

static int touch_all(const char *mapped)
{
        int sum = 0;

        for (size_t i = 0; i < SIZE; i += 4096)
                sum += *(const volatile char *)(mapped + i);
        return sum;
}

/* Joins for reading, then for writing too, and finds huge pages both times. */
static void join(int channel, const void *data)
{
        const struct region_env_options options = { .access = REGION_READ };
        struct region_broker *session = connect_session();
        struct region_env *env = open_env(session, "e", &options);
        char *mapped = map_region(env, "a");
        struct region *attached;

        (void)data;
        ck_assert_int_eq(touch_all(mapped), 5);
        ck_assert(is_huge_aligned(mapped));
        ck_assert_uint_eq(huge_bytes(mapped), WHOLE);
        check(region_env_attach(env, "a", REGION_WRITE, &attached));
        mapped[WHOLE - 1] = 6;
        ck_assert_int_eq(touch_all(mapped), 5);
        ck_assert_uint_eq(huge_bytes(mapped), WHOLE);
        region_env_close(env);
        region_broker_close(session);
        child_tell(channel, 1);
}

static void check_joined(void)
{
        struct child child;

        child_start(&child, join, NULL);
        ck_assert_int_eq(child_hear(child.channel), 1);
        child_end(&child);
}

/* Makes an environment as the options say, and looks for huge pages in the creator and in those who join. */
static void check_made(const struct region_env_options *options)
{
        struct region_broker *session = connect_session();
        struct region_env *env = open_env(session, "e", options);
        char *mapped = map_region(env, "a");
        struct stat st;

        mapped[0] = 5;
        ck_assert_int_eq(touch_all(mapped), 5);
        if (region_fd(region_env_at(env, 0)) >= 0) { /* all of it is there, and no more */
                ck_assert_int_eq(fstat(region_fd(region_env_at(env, 0)), &st), 0);
                ck_assert_int_eq(st.st_blocks * 512, SIZE);
        }
        if (check_huge(mapped, options->backing, options->huge_pages) && options->backing != REGION_BACKING_PRIVATE) {
                check_joined();
                ck_assert_int_eq(mapped[WHOLE - 1], 6);
        }
        region_env_close(env);
        region_broker_close(session);
}

/* --- not asked for ----------------------------------------------------------------------------------------------- */

START_TEST(reserved_memory_has_huge_pages_where_its_mount_lets_them_be_advised)
{
        const struct region_env_options options = options_for(backings[_i]);

        start_mounted("huge=advise");
        check_made(&options);
        end_mounted();
}
END_TEST

START_TEST(reserved_memory_has_huge_pages_where_the_machine_lets_them_be_advised)
{
        const struct region_env_options options = options_for(backings[_i]);

        broker_setup();
        if (kernel_makes_them(backings[_i], false))
                check_made(&options);
        else
                SKIP(options.backing == REGION_BACKING_PRIVATE ? "transparent_hugepage/enabled does not let them be"
                                                                 " advised, or there are none"
                                                               : "transparent_hugepage/shmem_enabled does not let them"
                                                                 " be advised, or there are none");
}
END_TEST

START_TEST(sparse_memory_does_not_swell_by_them_unless_they_are_asked_for)
{
        struct region_env_options options = options_for(backings[_i]);
        struct region_broker *session;
        struct region_env *env;
        struct stat st;

        start_mounted("huge=advise");
        session = connect_session();
        options.sparse = true;
        for (int wish = 0; wish < 2; wish++) {
                options.huge_pages = wish;
                env = open_env(session, "e", &options);
                ck_assert_int_eq(fstat(region_fd(region_env_at(env, 0)), &st), 0);
                ck_assert_int_eq(st.st_blocks, 0);
                map_region(env, "a")[HUGE_PAGE] = 1;
                ck_assert_int_eq(fstat(region_fd(region_env_at(env, 0)), &st), 0);
                if (!wish)
                        ck_assert_int_eq(st.st_blocks * 512, 4096);
                else if (kernel_makes_them(backings[_i], false))
                        ck_assert_int_eq(st.st_blocks * 512, HUGE_PAGE);
                else
                        SKIP("the machine has no huge pages");
                region_env_close(env);
        }
        region_broker_close(session);
        end_mounted();
}
END_TEST

/* --- asked for --------------------------------------------------------------------------------------------------- */

START_TEST(asked_for_they_come_where_the_mount_does_not_give_them)
{
        struct region_env_options options = options_for(backings[_i]);

        options.huge_pages = true;
        start_mounted("huge=never");
        if (kernel_makes_them(backings[_i], true))
                check_made(&options);
        else
                SKIP("this kernel cannot be told to make huge pages (MADV_COLLAPSE), or has none");
        end_mounted();
}
END_TEST

START_TEST(asked_for_they_come_where_the_machine_does_not_give_them)
{
        struct region_env_options options = options_for(backings[_i]);

        options.huge_pages = true;
        broker_setup();
        if (kernel_makes_them(backings[_i], true))
                check_made(&options);
        else
                SKIP("this kernel cannot be told to make huge pages (MADV_COLLAPSE), or has none");
}
END_TEST

/* --- a full memory ----------------------------------------------------------------------------------------------- */

START_TEST(a_full_mount_is_the_same_error_where_pages_are_huge)
{
        const struct region_spec larger = { .name = "a", .size = 32 << 20 };
        struct region_env_options options = options_for(backings[_i]);
        struct region_broker *session;
        struct region_env *env;
        int peer;

        start_mounted("huge=advise,size=21m");
        session = connect_session();
        peer = broker_connect();
        options.regions = &larger;
        check_told(region_env_open(session, "e", &options, &env), REGION_E_RESOURCE,
                   "the 33554432 bytes of region 'a' cannot be reserved");
        ck_assert_int_eq(region_last_error()->errnum, ENOSPC);
        ck_assert_str_eq(region_last_error()->operation, "fallocate");
        broker_wait_for_statistic(peer, "environments", 0);
        mount_wait_until_free(options.home ? home : "/dev/shm");
        region_broker_close(session);
        close(peer);
        end_mounted();
}
END_TEST

/* The last of it is less than a huge page. */
START_TEST(what_just_fits_is_had)
{
        const struct region_spec fitting = { .name = "a", .size = 21 << 20 };
        struct region_env_options options = options_for(backings[_i]);
        struct region_broker *session;
        struct region_env *env;
        char *mapped;

        start_mounted("huge=advise,size=21m");
        session = connect_session();
        options.regions = &fitting;
        env = open_env(session, "e", &options);
        mapped = map_region(env, "a");
        memset(mapped, 1, 21 << 20); /* would be SIGBUS */
        region_env_close(env);
        region_broker_close(session);
        end_mounted();
}
END_TEST

int main(void)
{
        Suite *suite = suite_create("huge-pages");
        TCase *machine = check_case(suite, "machine"), *mounts = check_case(suite, "mounts");

        tcase_add_checked_fixture(machine, NULL, broker_teardown);
        tcase_add_loop_test(machine, reserved_memory_has_huge_pages_where_the_machine_lets_them_be_advised, N_MOUNTED,
                            N_BACKINGS);
        tcase_add_loop_test(machine, asked_for_they_come_where_the_machine_does_not_give_them, N_MOUNTED, N_BACKINGS);

        if (geteuid() != 0) {
                fputs("test-huge-pages: mounts are not tried, for that takes root\n", stderr);
                return check_run(suite);
        }
        tcase_add_checked_fixture(mounts, NULL, broker_teardown);
        tcase_add_loop_test(mounts, reserved_memory_has_huge_pages_where_its_mount_lets_them_be_advised, 0, N_MOUNTED);
        tcase_add_loop_test(mounts, sparse_memory_does_not_swell_by_them_unless_they_are_asked_for, 0, N_MOUNTED);
        tcase_add_loop_test(mounts, asked_for_they_come_where_the_mount_does_not_give_them, 0, N_MOUNTED);
        tcase_add_loop_test(mounts, a_full_mount_is_the_same_error_where_pages_are_huge, 0, N_MOUNTED);
        tcase_add_loop_test(mounts, what_just_fits_is_had, 0, N_MOUNTED);
        return check_run(suite);
}
