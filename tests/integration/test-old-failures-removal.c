/* What goes wrong in older systems when people clean up after their programs, and does not here. A test that can
 * show it in a few lines against the bare kernel does so first, and then that the broker's way does not have it. */

#include "tests/support/ipc.h"
#include "tests/support/session.h"

#include "proto/util.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/shm.h>
#include <sys/stat.h>

enum { DONE = 1 };

/* Those that processes share, and can be had in a home. */
static const enum region_backing backings[] = {
        REGION_BACKING_MEMFD,
        REGION_BACKING_POSIX,
        REGION_BACKING_SYSV,
        REGION_BACKING_FILE,
};
enum { N_BACKINGS = array_size(backings) };

struct home {
        const char *path;
        enum region_backing backing;
};

/* --- a home that is removed -------------------------------------------------------------------------------------- */

static void hold_home(int channel, const void *data)
{
        const struct home *home = data;
        struct region_env_options options = with_data(home->backing);
        struct region_env *env = open_env(connect_session(), home->path, &options);

        memset(map_region(env, "data"), 'x', DATA_SIZE);
        child_tell(channel, DONE);
        child_hear(channel);
        check_bytes(map_region(env, "data"), DATA_SIZE, 'x');
        child_tell(channel, DONE);
        child_hear(channel);
}

static void remove_home(const char *home)
{
        owned(freep) char *file = broker_path("home/__db.001");
        owned(freep) char *description = broker_path("home/__db.environment");

        ck_assert_int_eq(unlink(file), 0);
        unlink(description); /* files have one */
        ck_assert_int_eq(rmdir(home), 0);
}

/* A segment whose id stands in a file alone, as with Berkeley DB's `__db.001`. */
static void make_and_note(int channel, const void *path)
{
        int id = shmget(IPC_PRIVATE, DATA_SIZE, IPC_CREAT | 0600);
        int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);

        ck_assert_ptr_ne(shmat(id, NULL, 0), (void *)-1);
        ck_assert_int_eq(write(fd, &id, sizeof(id)), sizeof(id));
        child_tell(channel, id);
        child_hear(channel);
}

static void check_segment_outlives_its_file(const char *home)
{
        owned(freep) char *file = broker_path("home/__db.001");
        struct shmid_ds segment;
        struct child holder;
        int id;

        child_start(&holder, make_and_note, file);
        id = (int)child_hear(holder.channel);
        remove_home(home);
        child_kill(&holder);
        ck_assert_int_eq(shmctl(id, IPC_STAT, &segment), 0);
        ck_assert_uint_eq(segment.shm_nattch, 0);
        ck_assert_int_eq(shmctl(id, IPC_RMID, NULL), 0);
}

/* Berkeley DB: `rm -rf` of the home is how people begin anew. Segments of System V, whose ids stood in `__db.001` and in
 * what it led to, then stay until the machine is booted. */
START_TEST(a_removed_home_takes_its_memory_with_its_last_holder_and_one_made_anew_is_empty)
{
        struct region_env_options options = with_data(backings[_i]);
        owned(freep) char *home = broker_make_directory("home");
        struct region_broker *session;
        struct region_env *env;
        struct child holder;

        check_segment_outlives_its_file(home);

        ck_assert_int_eq(mkdir(home, 0700), 0);
        child_start(&holder, hold_home, &(struct home){ home, backings[_i] });
        ck_assert_int_eq(child_hear(holder.channel), DONE);
        session = connect_session();
        remove_home(home);
        ck_assert_int_eq(mkdir(home, 0700), 0);
        check(region_env_open(session, home, &options, &env));
        ck_assert_int_eq(region_env_role(env), REGION_ROLE_INITIALIZER);
        check_bytes(map_region(env, "data"), DATA_SIZE, 0);
        memset(region_address(region_env_at(env, 0)), 'n', DATA_SIZE);
        check(region_env_ready(env));
        child_tell(holder.channel, DONE);
        ck_assert_int_eq(child_hear(holder.channel), DONE); /* what it has is as it was */

        child_kill(&holder);
        ck_assert(daemon_wait_for_line(&broker, "rule: its home was removed"));
        check_bytes(region_address(region_env_at(env, 0)), DATA_SIZE, 'n');
        region_broker_close(session);
}
END_TEST

/* The same, and nobody begins anew. Files persist, but not when they are gone. */
START_TEST(of_a_home_that_stays_removed_the_memory_goes_with_the_last_holder)
{
        owned(freep) char *home = broker_make_directory("home");
        struct child holder;
        int peer = broker_connect();

        child_start(&holder, hold_home, &(struct home){ home, backings[_i] });
        ck_assert_int_eq(child_hear(holder.channel), DONE);
        remove_home(home);
        child_kill(&holder);
        broker_wait_for_statistic(peer, "environments", 0);
        ck_assert_int_eq(broker_statistic(peer, "bytes"), 0);
        close(peer);
}
END_TEST

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

static void remove_memory(const struct region_info *region)
{
        if (region->path)
                ck_assert_int_eq(unlink(region->path), 0);
        else
                ck_assert_int_eq(shmctl(region->shm_id, IPC_RMID, NULL), 0);
}

static void check_id_leads_nowhere(void)
{
        int id = shmget(IPC_PRIVATE, DATA_SIZE, IPC_CREAT | 0600);

        ck_assert_int_eq(shmctl(id, IPC_RMID, NULL), 0);
        ck_assert_ptr_eq(shmat(id, NULL, 0), MAP_FAILED);
}

/* The same while nobody is in it, which nothing tells of. */
static void remove_memory_of_nobody(struct region_env *env)
{
        struct region_info region = *region_info(region_env_at(env, 0));
        owned(freep) char *path = region.path ? strdup(region.path) : NULL;

        region.path = path;
        region_env_close(env);
        remove_memory(&region);
}

/* System V, Berkeley DB: a record of an id outlives ipcrm(1), and all who go by it fail at shmat(2) until the record is
 * removed as well. */
START_TEST(memory_that_was_to_persist_and_was_removed_is_made_anew)
{
        struct region_env_options options = with_data(_i ? REGION_BACKING_FILE : REGION_BACKING_SYSV);
        owned(freep) char *home = broker_make_directory("home");
        struct region_broker *session = connect_session();
        struct region_env *env;

        check_id_leads_nowhere();

        options.lifetime = REGION_LIFETIME_PERSISTENT;
        env = open_env(session, home, &options);
        memset(map_region(env, "data"), 'x', DATA_SIZE);
        region_env_close(env);
        env = open_env(session, home, &options);
        check_bytes(map_region(env, "data"), DATA_SIZE, 'x');
        region_unmap(region_env_at(env, 0));
        remove_memory(region_info(region_env_at(env, 0)));
        region_env_close(env);
        ck_assert(daemon_wait_for_line(&broker, "rule: persistent, but its memory was removed"));

        env = open_env(session, home, &options);
        ck_assert_int_eq(region_env_role(env), REGION_ROLE_INITIALIZER);
        check_bytes(map_region(env, "data"), DATA_SIZE, 0);
        remove_memory_of_nobody(env);
        check(region_env_open(session, home, &options, &env));
        ck_assert_int_eq(region_env_role(env), REGION_ROLE_INITIALIZER);
        check(region_env_ready(env));
        region_env_close(env);
        check(region_env_remove(session, home, false, 0, NULL));
        region_broker_close(session);
}
END_TEST

/* Of what is not mapped nothing stays after ipcrm(1). */
START_TEST(who_joins_where_a_segment_is_gone_is_told_so)
{
        struct region_env_options options = with_data(REGION_BACKING_SYSV);
        struct region_broker *session = connect_session(), *other = connect_session();
        struct region_env *env, *joined;

        env = open_env(session, "e", &options);
        remove_memory(region_info(region_env_at(env, 0)));
        check_error(region_env_open(other, "e", &options, &joined), REGION_E_RESOURCE);
        ck_assert_int_eq(region_last_error()->errnum, EIDRM);
        ck_assert_uint_eq(count_members(other, "e"), 1);
        region_env_close(env);
        joined = open_env(other, "e", &options);
        ck_assert_int_eq(region_env_role(joined), REGION_ROLE_INITIALIZER);
        region_broker_close(session);
        region_broker_close(other);
}
END_TEST

int main(void)
{
        Suite *suite = suite_create("old-failures-removal");
        TCase *tcase = check_case(suite, "removal");

        tcase_add_checked_fixture(tcase, broker_setup, broker_teardown);
        tcase_add_loop_test(tcase, a_removed_home_takes_its_memory_with_its_last_holder_and_one_made_anew_is_empty, 0,
                            N_BACKINGS);
        tcase_add_loop_test(tcase, of_a_home_that_stays_removed_the_memory_goes_with_the_last_holder, 0, N_BACKINGS);
        tcase_add_test(tcase, an_object_whose_name_was_removed_is_still_shared_and_what_took_the_name_is_left_alone);
        tcase_add_test(tcase, a_segment_that_ipcrm_removed_is_still_shared_and_what_took_its_key_is_left_alone);
        tcase_add_loop_test(tcase, memory_that_was_to_persist_and_was_removed_is_made_anew, 0, 2);
        tcase_add_test(tcase, who_joins_where_a_segment_is_gone_is_told_so);
        return check_run(suite);
}
