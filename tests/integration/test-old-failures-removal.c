/* What goes wrong in older systems when people clean up after their programs, and does not here. A test that can
 * show it in a few lines against the bare kernel does so first, and then that the broker's way does not have it. */

#include "tests/support/ipc.h"
#include "tests/support/session.h"

#include "proto/util.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/shm.h>
#include <sys/stat.h>

/* --- scripts that clean up --------------------------------------------------------------------------------------- */

static void check_unlinking_splits(void)
{
        char name[64];
        int old, new;

        snprintf(name, sizeof(name), "/old-failures.%d", (int)getpid());
        old = shm_open(name, O_RDWR | O_CREAT | O_EXCL, 0600);
        ck_assert_int_eq(ftruncate(old, DATA_SIZE), 0);
        ck_assert_int_eq(shm_unlink(name), 0);
        new = shm_open(name, O_RDWR | O_CREAT, 0600); /* as each of its programs does */
        ck_assert_int_eq(lseek(new, 0, SEEK_END), 0); /* and it is another */
        ck_assert_int_eq(shm_unlink(name), 0);
        close(old);
        close(new);
}

/* POSIX, Boost: somebody removes what is in /dev/shm while a program runs, and the next one makes an object of its
 * own under the name. Both run on and do not meet. */
START_TEST(an_object_whose_name_was_removed_is_still_shared_and_what_took_the_name_is_left_alone)
{
        struct region_env_options options = with_data(REGION_BACKING_POSIX);
        struct region_broker *session, *other;
        struct region_env *env, *joined;
        owned(freep) char *name = NULL;
        int foreign;

        check_unlinking_splits();

        session = connect_session();
        other = connect_session();
        env = open_env(session, "e", &options);
        memset(map_region(env, "data"), 'x', DATA_SIZE);
        name = strdup(region_info(region_env_at(env, 0))->path + strlen("/dev/shm"));
        ck_assert_int_eq(shm_unlink(name), 0);
        foreign = shm_open(name, O_RDWR | O_CREAT | O_EXCL, 0600);
        ck_assert_int_eq(write(foreign, "theirs", 6), 6);

        joined = open_env(other, "e", &options);
        ck_assert_int_eq(region_env_role(joined), REGION_ROLE_MEMBER);
        check_bytes(map_region(joined, "data"), DATA_SIZE, 'x');
        memset(region_address(region_env_at(joined, 0)), 'y', DATA_SIZE);
        check_bytes(region_address(region_env_at(env, 0)), DATA_SIZE, 'y');
        region_broker_close(session);
        region_broker_close(other);
        ck_assert(daemon_wait_for_line(&broker, "reclaimed environment e"));
        ck_assert_int_eq(shm_unlink(name), 0); /* it is still there */
        ck_assert_int_eq(lseek(foreign, 0, SEEK_END), 6);
        close(foreign);
}
END_TEST

static struct region_env_options on_key(int32_t key)
{
        struct region_env_options options = with_data(REGION_BACKING_SYSV);

        options.shm_key = key;
        return options;
}

/* System V: ipcrm(1) takes the key of a segment in use, which stays with those who have it, and the next program
 * makes another with that key. Who goes by its own record then removes that one. */
START_TEST(a_segment_that_ipcrm_removed_is_still_shared_and_what_took_its_key_is_left_alone)
{
        int32_t key = ipc_own_key();
        struct region_env_options options = on_key(key);
        struct region_broker *session = connect_session(), *other = connect_session();
        struct region_env *env, *joined, *unused;
        int foreign;

        env = open_env(session, "e", &options);
        memset(map_region(env, "data"), 'x', DATA_SIZE);
        ck_assert_int_eq(shmctl(region_info(region_env_at(env, 0))->shm_id, IPC_RMID, NULL), 0);
        foreign = ipc_make_foreign(key);

        joined = open_env(other, "e", &options);
        ck_assert_int_eq(region_env_role(joined), REGION_ROLE_MEMBER);
        check_bytes(map_region(joined, "data"), DATA_SIZE, 'x');
        memset(region_address(region_env_at(joined, 0)), 'y', DATA_SIZE);
        check_bytes(region_address(region_env_at(env, 0)), DATA_SIZE, 'y');
        region_env_close(env);
        region_env_close(joined);
        ck_assert(daemon_wait_for_line(&broker, "reclaimed environment e"));
        ipc_check_foreign(foreign);
        check_error(region_env_open(session, "e", &options, &unused), REGION_E_KEY_IN_USE);
        ck_assert_int_eq(region_last_error()->pid, getpid());
        ck_assert_int_eq(shmctl(foreign, IPC_RMID, NULL), 0);
        region_env_close(open_env(session, "e", &options));
        region_broker_close(session);
        region_broker_close(other);
}
END_TEST

int main(void)
{
        Suite *suite = suite_create("old-failures-removal");
        TCase *tcase = check_case(suite, "removal");

        tcase_add_checked_fixture(tcase, broker_setup, broker_teardown);
        tcase_add_test(tcase, an_object_whose_name_was_removed_is_still_shared_and_what_took_the_name_is_left_alone);
        tcase_add_test(tcase, a_segment_that_ipcrm_removed_is_still_shared_and_what_took_its_key_is_left_alone);
        return check_run(suite);
}
