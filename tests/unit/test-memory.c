/* Memory as it is made, granted and given back. What proves it free, and what its name is: test-memory-proof.c and
 * test-memory-names.c. */

#include "tests/support/child.h"
#include "tests/unit/memory-kinds.h"

#include <sys/wait.h>

/* --- making ------------------------------------------------------------------------------------------------------ */

START_TEST(new_memory_is_empty_has_its_size_and_is_held_by_nobody)
{
        struct memory *memory = make(_i);
        char *bytes;

        ck_assert_int_eq(memory_is_held(memory), 0);
        bytes = map(memory);
        for (int i = 0; i < SIZE; i++)
                ck_assert_int_eq(bytes[i], 0);
        unmap(memory, bytes);
        ck_assert_int_eq(memory_is_held(memory), 0);
        memory_release(memory);
}
END_TEST

START_TEST(all_that_map_it_see_the_same_bytes)
{
        struct memory *memory = make(_i);
        char *one = map(memory), *other = map(memory);

        strcpy(one + SIZE - 6, "sheep");
        ck_assert_str_eq(other + SIZE - 6, "sheep");
        unmap(memory, one);
        unmap(memory, other);
        memory_release(memory);
}
END_TEST

START_TEST(where_it_lives_is_told)
{
        struct memory *memory = make(_i);
        char *path = scratch_path("__db.001");

        ck_assert_int_eq(memory_fd(memory) >= 0, _i != SYSV);
        ck_assert_int_eq(memory_shm_id(memory) >= 0, _i == SYSV);
        if (_i == FILES)
                ck_assert_str_eq(memory_path(memory), path);
        else if (_i == POSIX)
                ck_assert_int_eq(strncmp(memory_path(memory), "/dev/shm/region-broker.", 23), 0);
        else
                ck_assert_ptr_null(memory_path(memory));
        memory_release(memory);
        free(path);
}
END_TEST

START_TEST(what_it_takes_is_told_once_it_is_touched)
{
        struct memory *memory = make(_i);
        char *bytes = map(memory);

        if (_i == SYSV) {
                ck_assert_int_eq(memory_used(memory), -1);
        } else {
                ck_assert_int_eq(memory_used(memory), 0);
                memset(bytes, 1, SIZE);
                ck_assert_int_eq(memory_used(memory), SIZE);
        }
        unmap(memory, bytes);
        memory_release(memory);
}
END_TEST

struct sought {
        int shm_id;
        int64_t used;
};

static void note_used(int shm_id, int64_t used, void *data)
{
        struct sought *sought = data;

        if (shm_id == sought->shm_id)
                sought->used = used;
}

START_TEST(what_a_segment_takes_is_told_among_all_segments)
{
        struct memory *memory = make(SYSV), *other = make(SYSV);
        struct sought sought = { .shm_id = memory_shm_id(memory), .used = -1 };
        char *bytes = map(memory);

        memory_look_at_segments(note_used, &sought);
        ck_assert_int_eq(sought.used, 0);
        memset(bytes, 1, SIZE);
        memory_look_at_segments(note_used, &sought);
        ck_assert_int_eq(sought.used, SIZE);
        sought = (struct sought){ .shm_id = memory_shm_id(other), .used = -1 };
        memory_look_at_segments(note_used, &sought);
        ck_assert_int_eq(sought.used, 0);
        unmap(memory, bytes);
        memory_release(memory);
        memory_release(other);
}
END_TEST

START_TEST(what_cannot_be_made_leaves_nothing_behind)
{
        struct memory_plan plan = plan_for(_i);
        struct memory *memory = NULL;
        const char *operation = NULL;
        struct key_holder holder;

        plan.size = -4096; /* no kernel has such memory */
        ck_assert_int_lt(memory_make(&plan, &memory, &operation), 0);
        ck_assert_str_eq(operation, _i == SYSV ? "shmget" : "ftruncate");
        ck_assert_ptr_null(memory);
        ck_assert(!memory_find_key(plan.shm_key, &holder));

        plan.size = SIZE; /* no name is in the way */
        memory_release(make_as(&plan));
}
END_TEST

START_TEST(private_memory_is_not_for_the_broker_to_make)
{
        struct memory_plan plan = plan_for(0);

        plan.backing = BACKING_PRIVATE;
        check_refused(&plan, -EINVAL, "make");
}
END_TEST

START_TEST(a_file_that_exists_is_not_touched)
{
        struct memory_plan plan = plan_for(FILES);
        char *path = scratch_path("__db.001");

        write_file(path, "theirs");
        check_refused(&plan, -EEXIST, "linkat");
        check_file_survived(path, "theirs");
        free(path);
}
END_TEST

START_TEST(a_link_in_the_place_of_a_file_is_not_followed)
{
        struct memory_plan plan = plan_for(FILES);
        char *path = scratch_path("__db.001"), *target = scratch_path("target");

        ck_assert_int_eq(symlink(target, path), 0);
        check_refused(&plan, -EEXIST, "linkat");
        ck_assert(!exists(target));
        ck_assert_int_eq(unlink(path), 0);
        free(path);
        free(target);
}
END_TEST

START_TEST(a_name_under_dev_shm_that_exists_is_not_touched)
{
        struct memory_plan plan = plan_for(POSIX);
        struct memory *memory = make_as(&plan);
        char *path = strdup(memory_path(memory));

        memory_release(memory);
        write_file(path, "theirs");
        check_refused(&plan, -EEXIST, "shm_open");
        check_file_survived(path, "theirs");
        free(path);
}
END_TEST

START_TEST(files_are_made_only_where_leases_are_exact)
{
        struct memory_plan plan = plan_for(FILES);
        owned(closep) int proc = open("/proc", O_PATH | O_DIRECTORY | O_CLOEXEC);

        plan.directory = proc;
        plan.directory_path = "/proc";
        check_refused(&plan, -EOPNOTSUPP, "fcntl F_SETLEASE");
}
END_TEST

START_TEST(an_environment_of_many_regions_has_a_file_for_each)
{
        struct memory_plan plan = plan_for(FILES);
        char *path = scratch_path("__db.1234");
        struct memory *memory;

        plan.number = 1234;
        memory = make_as(&plan);
        ck_assert_str_eq(memory_path(memory), path);
        ck_assert(exists(path));
        memory_release(memory);
        ck_assert(!exists(path));
        free(path);
}
END_TEST

/* --- granting ---------------------------------------------------------------------------------------------------- */

START_TEST(a_grant_for_reading_cannot_write)
{
        struct memory *memory = make(_i);
        owned(closep) int fd = grant(memory, ACCESS_READ);

        ck_assert_int_eq(fcntl(fd, F_GETFL) & O_ACCMODE, O_RDONLY);
        ck_assert(fcntl(fd, F_GETFD) & FD_CLOEXEC);
        ck_assert_ptr_eq(mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0), MAP_FAILED);
        ck_assert_int_eq(errno, EACCES);
        ck_assert_int_lt(pwrite(fd, "x", 1, 0), 0);
        ck_assert_int_lt(ftruncate(fd, 0), 0);
        memory_release(memory);
}
END_TEST

static void check_size_is_kept(int kind, int fd)
{
        ck_assert_int_lt(ftruncate(fd, SIZE - 4096), 0);
        ck_assert_int_eq(errno, kind == MEMFD ? EPERM : EACCES);
        ck_assert_int_lt(ftruncate(fd, SIZE + 4096), 0);
        ck_assert_int_eq(errno, kind == MEMFD ? EPERM : EACCES);
        ck_assert_int_eq(pwrite(fd, "x", 1, 0), 1);
}

START_TEST(it_keeps_its_size_also_from_those_who_may_write)
{
        struct memory *memory;
        int fd;

        if (_i != MEMFD && !check_keeps_sizes())
                return;
        memory = make(_i);
        for (int i = 0; i < 3; i++) {
                fd = grant(memory, ACCESS_WRITE);
                check_size_is_kept(_i, fd);
                close_fd(fd);
        }
        ck_assert_int_eq(memory_is_held(memory), 0);
        memory_release(memory);
}
END_TEST

/* Whoever opens it so has a thread, and a forked child has not its parent's. */
START_TEST(a_forked_process_grants_it_as_well)
{
        struct memory *memory;
        pid_t pid;
        int status;

        if (_i != MEMFD && !check_keeps_sizes())
                return;
        memory = make(_i);
        close_fd(grant(memory, ACCESS_WRITE));
        pid = fork();
        if (pid == 0) {
                check_size_is_kept(_i, grant(memory, ACCESS_WRITE));
                _exit(EXIT_SUCCESS);
        }
        ck_assert_int_eq(waitpid(pid, &status, 0), pid);
        ck_assert_int_eq(status, 0);
        close_fd(grant(memory, ACCESS_WRITE));
        memory_release(memory);
}
END_TEST

static void reopen_for_writing_as_nobody(int channel, const void *data)
{
        const int *fd = data;
        char path[64];

        snprintf(path, sizeof(path), "/proc/self/fd/%d", *fd);
        if (setresuid(65534, 65534, 65534) < 0)
                _exit(EXIT_FAILURE);
        child_tell(channel, open(path, O_RDWR | O_CLOEXEC) < 0 ? errno : 0);
}

START_TEST(a_grant_for_reading_cannot_be_made_one_for_writing)
{
        struct memory *memory = make(_i);
        int fd = grant(memory, ACCESS_READ);
        struct child child;

        if (geteuid() == 0) { /* to be somebody else */
                child_fork(&child, reopen_for_writing_as_nobody, &fd);
                ck_assert_int_eq(child_hear(child.channel), EACCES);
                child_end(&child);
        }
        close_fd(fd);
        memory_release(memory);
}
END_TEST

START_TEST(a_segment_is_handed_to_its_owner)
{
        struct memory_plan plan = plan_for(SYSV);
        struct shmid_ds segment;
        struct memory *memory;

        plan.mode = 0640;
        if (geteuid() == 0) {
                plan.uid = 12345;
                plan.gid = 54321;
        }
        memory = make_as(&plan);
        ck_assert_int_eq(shmctl(memory_shm_id(memory), IPC_STAT, &segment), 0);
        ck_assert_uint_eq(segment.shm_perm.uid, plan.uid);
        ck_assert_uint_eq(segment.shm_perm.gid, plan.gid);
        ck_assert_uint_eq(segment.shm_perm.mode & 0777, 0640);
        ck_assert_uint_eq(segment.shm_perm.cuid, geteuid());
        ck_assert_int_eq(segment.shm_perm.__key, plan.shm_key);
        ck_assert_uint_eq(segment.shm_segsz, SIZE);
        memory_release(memory);
}
END_TEST

/* --- giving back ------------------------------------------------------------------------------------------------- */

static int open_path_only(const struct memory *memory)
{
        char path[64];
        int fd;

        snprintf(path, sizeof(path), "/proc/self/fd/%d", memory_fd(memory));
        fd = open(path, O_PATH | O_CLOEXEC);
        ck_assert_int_ge(fd, 0);
        return fd;
}

/* It can neither read nor write, and the proof does not see it; but it keeps the file. */
START_TEST(the_pages_are_freed_also_under_a_descriptor_without_rights)
{
        struct memory *memory = make(_i);
        char *bytes = map(memory);
        struct stat st;
        int fd;

        memset(bytes, 1, SIZE);
        unmap(memory, bytes);
        fd = open_path_only(memory);
        ck_assert_int_eq(memory_is_held(memory), 0);
        memory_release(memory);
        ck_assert_int_eq(fstat(fd, &st), 0);
        ck_assert_int_eq(st.st_blocks, 0);
        close_fd(fd);
}
END_TEST

START_TEST(the_bytes_of_a_holder_stay_when_the_broker_lets_go)
{
        struct memory *memory = make(_i);
        char *bytes = map(memory);

        memset(bytes, 1, SIZE);
        if (_i == SYSV) { /* the handle is freed below */
                memory_release(memory);
                ck_assert_int_eq(bytes[SIZE - 1], 1);
                ck_assert_int_eq(shmdt(bytes), 0);
                return;
        }
        memory_release(memory);
        ck_assert_int_eq(bytes[0], 1);
        ck_assert_int_eq(bytes[SIZE - 1], 1);
        ck_assert_int_eq(munmap(bytes, SIZE), 0);
}
END_TEST

static void add_making(Suite *suite)
{
        TCase *tcase = kinds_case(suite, "making");

        tcase_add_loop_test(tcase, new_memory_is_empty_has_its_size_and_is_held_by_nobody, 0, N_KINDS);
        tcase_add_loop_test(tcase, all_that_map_it_see_the_same_bytes, 0, N_KINDS);
        tcase_add_loop_test(tcase, where_it_lives_is_told, 0, N_KINDS);
        tcase_add_loop_test(tcase, what_it_takes_is_told_once_it_is_touched, 0, N_KINDS);
        tcase_add_test(tcase, what_a_segment_takes_is_told_among_all_segments);
        tcase_add_loop_test(tcase, what_cannot_be_made_leaves_nothing_behind, 0, N_KINDS);
        tcase_add_test(tcase, private_memory_is_not_for_the_broker_to_make);
        tcase_add_test(tcase, a_file_that_exists_is_not_touched);
        tcase_add_test(tcase, a_link_in_the_place_of_a_file_is_not_followed);
        tcase_add_test(tcase, a_name_under_dev_shm_that_exists_is_not_touched);
        tcase_add_test(tcase, files_are_made_only_where_leases_are_exact);
        tcase_add_test(tcase, an_environment_of_many_regions_has_a_file_for_each);
}

static void add_granting(Suite *suite)
{
        TCase *tcase = kinds_case(suite, "granting");

        tcase_add_loop_test(tcase, a_grant_for_reading_cannot_write, 0, WITH_DESCRIPTORS);
        tcase_add_loop_test(tcase, it_keeps_its_size_also_from_those_who_may_write, 0, WITH_DESCRIPTORS);
        tcase_add_loop_test(tcase, a_forked_process_grants_it_as_well, 0, WITH_DESCRIPTORS);
        tcase_add_loop_test(tcase, a_grant_for_reading_cannot_be_made_one_for_writing, 0, WITH_DESCRIPTORS);
        tcase_add_test(tcase, a_segment_is_handed_to_its_owner);
}

static void add_giving_back(Suite *suite)
{
        TCase *tcase = kinds_case(suite, "giving back");

        tcase_add_loop_test(tcase, the_pages_are_freed_also_under_a_descriptor_without_rights, MEMFD, POSIX + 1);
        tcase_add_loop_test(tcase, the_bytes_of_a_holder_stay_when_the_broker_lets_go, 0, N_KINDS);
}

int main(void)
{
        Suite *suite = suite_create("memory");

        add_making(suite);
        add_granting(suite);
        add_giving_back(suite);
        return check_run(suite);
}
