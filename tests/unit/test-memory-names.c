/* Names and keys: taken away from what is ours, and from nothing else. */

#include "tests/unit/memory-kinds.h"

/* As a stranger would have it: a segment of its own under this key. */
static int make_segment(int32_t key)
{
        int id = shmget(key, SIZE, IPC_CREAT | IPC_EXCL | 0600);

        ck_assert_msg(id >= 0, "shmget: %s", strerror(errno));
        return id;
}

START_TEST(without_its_name_it_stays_with_its_holders_and_the_name_can_be_given_anew)
{
        const struct memory_plan plan = plan_for(_i);
        struct memory *old = make_as(&plan), *young;
        char *bytes = map(old), *others;

        strcpy(bytes, "old");
        memory_unname(old);
        ck_assert_ptr_null(memory_path(old));
        young = make_as(&plan);
        others = map(young);
        ck_assert_str_eq(others, "");
        ck_assert_str_eq(bytes, "old");
        ck_assert_int_eq(memory_is_held(old), 1);
        unmap(old, bytes);
        ck_assert_int_eq(memory_is_held(old), 0);
        ck_assert_int_eq(memory_is_held(young), 1);
        memory_release(old); /* takes nothing of the other's */
        ck_assert_int_eq(memory_is_held(young), 1);
        ck_assert_str_eq(others, "");
        unmap(young, others);
        memory_release(young);
}
END_TEST

START_TEST(taking_the_name_away_again_does_not_take_it_from_another)
{
        const struct memory_plan plan = plan_for(_i);
        struct memory *old = make_as(&plan), *young;

        memory_unname(old);
        young = make_as(&plan);
        memory_unname(old);
        memory_release(old);
        ck_assert_int_eq(memory_is_held(young), 0);
        if (_i == SYSV)
                ck_assert(segment_exists(memory_shm_id(young)));
        else if (_i != MEMFD)
                ck_assert(exists(memory_path(young)));
        memory_release(young);
}
END_TEST

START_TEST(released_it_is_gone)
{
        struct memory *memory = make(_i);
        char *path = memory_path(memory) ? strdup(memory_path(memory)) : NULL;
        int id = memory_shm_id(memory);

        memory_release(memory);
        memory_release(NULL);
        ck_assert(!path || !exists(path));
        ck_assert(id < 0 || !segment_exists(id));
        free(path);
}
END_TEST

START_TEST(forgotten_it_stays_as_it_is)
{
        struct memory *memory = make(FILES);
        char *path = strdup(memory_path(memory)), *bytes = map(memory);
        struct stat st;

        strcpy(bytes, "sheep");
        unmap(memory, bytes);
        memory_forget(memory);
        memory_forget(NULL);
        ck_assert_int_eq(stat(path, &st), 0);
        ck_assert_int_eq(st.st_size, SIZE);
        check_file_survived(path, "sheep");
        free(path);
}
END_TEST

START_TEST(a_file_that_was_replaced_by_another_survives)
{
        struct memory *memory = make(_i);
        char *path = strdup(memory_path(memory));

        ck_assert_int_eq(unlink(path), 0);
        write_file(path, "theirs");
        memory_release(memory);
        check_file_survived(path, "theirs");
        free(path);
}
END_TEST

START_TEST(a_link_to_our_file_is_not_our_file)
{
        struct memory *memory = make(FILES);
        char *path = strdup(memory_path(memory)), *elsewhere = scratch_path("elsewhere");

        ck_assert_int_eq(rename(path, elsewhere), 0);
        ck_assert_int_eq(symlink(elsewhere, path), 0);
        memory_release(memory);
        ck_assert(exists(path));
        ck_assert(exists(elsewhere)); /* whoever moved it wanted to keep it */
        unlink(path);
        unlink(elsewhere);
        free(path);
        free(elsewhere);
}
END_TEST

START_TEST(a_file_that_was_removed_by_another_does_no_harm)
{
        struct memory *memory = make(FILES);
        char *path = strdup(memory_path(memory));

        ck_assert_int_eq(unlink(path), 0);
        ck_assert_int_eq(memory_is_held(memory), 0);
        ck_assert_int_eq(mkdir(path, 0700), 0); /* nor does what comes to its place */
        memory_release(memory);
        ck_assert_int_eq(rmdir(path), 0);
        free(path);
}
END_TEST

START_TEST(what_others_removed_is_lost_unless_it_needs_no_name)
{
        struct memory *memory = make(_i);
        const char *path = memory_path(memory);

        ck_assert(!memory_is_lost(memory));
        if (path) {
                ck_assert_int_eq(unlink(path), 0);
                write_file(path, "theirs");
        } else if (_i == SYSV) {
                remove_segment(memory_shm_id(memory));
        }
        ck_assert_int_eq(memory_is_lost(memory), _i == FILES || _i == SYSV);
        if (path)
                ck_assert_int_eq(unlink(path), 0);
        memory_release(memory);
}
END_TEST

START_TEST(a_segment_that_another_removed_is_not_lost_while_it_is_attached)
{
        struct memory *memory = make(SYSV);
        void *address = shmat(memory_shm_id(memory), NULL, 0);

        remove_segment(memory_shm_id(memory));
        ck_assert(!memory_is_lost(memory));
        shmdt(address);
        ck_assert(memory_is_lost(memory));
        memory_release(memory);
}
END_TEST

START_TEST(a_file_is_removed_wherever_its_directory_has_gone)
{
        owned(freep) char *home = scratch_path("home"), *moved = scratch_path("moved"),
                          *file = scratch_path("moved/__db.001");
        owned(freep) char *decoy = scratch_path("home/__db.001");
        struct memory_plan plan = plan_for(FILES);
        struct memory *memory;

        ck_assert_int_eq(mkdir(home, 0700), 0);
        plan.directory = open(home, O_PATH | O_DIRECTORY | O_CLOEXEC);
        plan.directory_path = home;
        memory = make_as(&plan);
        ck_assert_int_eq(rename(home, moved), 0);
        ck_assert_int_eq(mkdir(home, 0700), 0);
        write_file(decoy, "theirs");
        memory_release(memory);
        ck_assert(!exists(file));
        check_file_survived(decoy, "theirs");
        close_fd(plan.directory);
        ck_assert_int_eq(rmdir(home), 0);
        ck_assert_int_eq(rmdir(moved), 0);
}
END_TEST

START_TEST(a_taken_key_is_refused_and_its_segment_not_touched)
{
        const struct memory_plan plan = plan_for(SYSV);
        int foreign = make_segment(plan.shm_key);
        struct key_holder holder;

        check_refused(&plan, -EEXIST, "shmget");
        ck_assert(segment_exists(foreign));
        ck_assert(memory_find_key(plan.shm_key, &holder));
        ck_assert_int_eq(holder.shm_id, foreign);
        ck_assert_uint_eq(holder.uid, geteuid());
        ck_assert_int_eq(holder.pid, getpid());
        remove_segment(foreign);
        ck_assert(!memory_find_key(plan.shm_key, &holder));
}
END_TEST

START_TEST(who_takes_the_key_after_another_removed_our_segment_keeps_it)
{
        const struct memory_plan plan = plan_for(SYSV);
        struct memory *memory = make_as(&plan);
        int foreign;

        remove_segment(memory_shm_id(memory));
        foreign = make_segment(plan.shm_key);
        ck_assert_int_eq(memory_is_held(memory), 0);
        memory_release(memory);
        ck_assert(segment_exists(foreign));
        remove_segment(foreign);
}
END_TEST

int main(void)
{
        Suite *suite = suite_create("memory-names");
        TCase *tcase = kinds_case(suite, "memory-names");

        tcase_add_loop_test(tcase, without_its_name_it_stays_with_its_holders_and_the_name_can_be_given_anew, 0,
                            N_KINDS);
        tcase_add_loop_test(tcase, taking_the_name_away_again_does_not_take_it_from_another, 0, N_KINDS);
        tcase_add_loop_test(tcase, released_it_is_gone, 0, N_KINDS);
        tcase_add_test(tcase, forgotten_it_stays_as_it_is);
        tcase_add_loop_test(tcase, a_file_that_was_replaced_by_another_survives, POSIX, FILES + 1);
        tcase_add_test(tcase, a_link_to_our_file_is_not_our_file);
        tcase_add_test(tcase, a_file_that_was_removed_by_another_does_no_harm);
        tcase_add_loop_test(tcase, what_others_removed_is_lost_unless_it_needs_no_name, 0, N_KINDS);
        tcase_add_test(tcase, a_segment_that_another_removed_is_not_lost_while_it_is_attached);
        tcase_add_test(tcase, a_file_is_removed_wherever_its_directory_has_gone);
        tcase_add_test(tcase, a_taken_key_is_refused_and_its_segment_not_touched);
        tcase_add_test(tcase, who_takes_the_key_after_another_removed_our_segment_keeps_it);
        return check_run(suite);
}
