/* What goes wrong in older systems when shared memory is made, joined and removed, and does not here. A test that
 * can show it in a few lines against the bare kernel does so first, and then that the broker's way does not have
 * it. */

#include "tests/support/ipc.h"
#include "tests/support/session.h"

#include "proto/util.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/shm.h>
#include <sys/stat.h>

enum { DONE = 1 };

static const struct region_spec three_regions[] = {
        { .name = "data", .size = DATA_SIZE },
        { .name = "more", .size = DATA_SIZE },
        { .name = "last", .size = DATA_SIZE },
};

/* Those that processes share, and can be had in a home. */
static const enum region_backing backings[] = {
        REGION_BACKING_MEMFD,
        REGION_BACKING_POSIX,
        REGION_BACKING_SYSV,
        REGION_BACKING_FILE,
};
enum { N_BACKINGS = array_size(backings) };

/* --- a creator that dies half way -------------------------------------------------------------------------------- */

struct place {
        const char *path; /* of the home, or of the file in it */
        enum region_backing backing;
};

/* As Berkeley DB begins: the file is mine since I could make it, and its magic number comes last. */
static void make_half_a_file(int channel, const void *data)
{
        const struct place *place = data;
        int fd = open(place->path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);

        ck_assert_int_eq(ftruncate(fd, DATA_SIZE), 0);
        ck_assert_int_eq(pwrite(fd, "half", 4, 8), 4);
        child_tell(channel, DONE);
        child_hear(channel);
}

static void initialize_half(int channel, const void *data)
{
        const struct place *place = data;
        struct region_env_options options = with_data(place->backing);
        struct region_env *env;

        check(region_env_open(connect_session(), place->path, &options, &env));
        ck_assert_int_eq(region_env_role(env), REGION_ROLE_INITIALIZER);
        memset(map_region(env, "data"), 'x', DATA_SIZE / 2);
        child_tell(channel, DONE);
        child_hear(channel);
}

static void die_half_way(child_run *run, const struct place *place)
{
        struct child creator;

        child_start(&creator, run, place);
        ck_assert_int_eq(child_hear(creator.channel), DONE);
        child_kill(&creator);
}

/* Berkeley DB: whoever makes `__db.001` with O_EXCL is the creator, and the magic number, written last, lets the
 * others in. Of a creator that died between the two a file stays that nobody may make and nobody can join: each
 * opener tries a few times, seconds apart, and fails, until somebody removes it or runs recovery. */
START_TEST(whoever_comes_after_a_creator_that_died_half_way_begins_anew_from_zeros)
{
        struct region_env_options options = with_data(backings[_i]);
        owned(freep) char *home = broker_make_directory("home");
        owned(freep) char *file = broker_path("home/__db.001");
        struct region_broker *session;
        struct region_env *env;
        unsigned magic = 1;
        int fd;

        die_half_way(make_half_a_file, &(struct place){ .path = file });
        ck_assert_int_eq(open(file, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600), -1);
        ck_assert_int_eq(errno, EEXIST);
        fd = open(file, O_RDWR | O_CLOEXEC);
        ck_assert_int_eq(read(fd, &magic, sizeof(magic)), sizeof(magic));
        ck_assert_uint_eq(magic, 0); /* and of all who could write it nobody lives */
        close(fd);
        ck_assert_int_eq(unlink(file), 0);

        die_half_way(initialize_half, &(struct place){ .path = home, .backing = backings[_i] });
        session = connect_session();
        check(region_env_open(session, home, &options, &env));
        ck_assert_int_eq(region_env_role(env), REGION_ROLE_INITIALIZER);
        check_bytes(map_region(env, "data"), DATA_SIZE, 0);
        check(region_env_ready(env));
        ck_assert_uint_eq(region_env_info(env)->generation, 0); /* as it was opened; nobody had been ready before */
        region_env_close(env);
        check_error(region_env_remove(session, home, false, 0, NULL),
                    backings[_i] == REGION_BACKING_FILE ? REGION_OK : REGION_E_NOT_FOUND);
        ck_assert_int_eq(rmdir(home), 0);
        region_broker_close(session);
}
END_TEST

/* --- a key that two environments ask for ------------------------------------------------------------------------- */

static struct region_env_options on_key(int32_t key)
{
        struct region_env_options options = with_data(REGION_BACKING_SYSV);

        options.shm_key = key;
        options.regions = three_regions;
        options.n_regions = array_size(three_regions);
        return options;
}

static void check_first_is_untouched(struct region_env *first, int32_t key)
{
        struct shmid_ds segment;

        for (size_t i = 0; i < array_size(three_regions); i++) {
                const struct region *region = region_env_at(first, i);

                check_bytes(region_address(region), DATA_SIZE, (char)('a' + i));
                ck_assert_int_eq(shmget(key + (int)i, 0, 0), region_info(region)->shm_id);
                ck_assert_int_eq(shmctl(region_info(region)->shm_id, IPC_STAT, &segment), 0);
                ck_assert_uint_eq(segment.shm_nattch, 1);
                ck_assert_uint_eq(segment.shm_perm.mode & SHM_DEST, 0);
        }
}

/* Berkeley DB: set_shm_key() gives the first key, and who creates takes what has that key already for the remains
 * of a crash and removes it. An environment on the same key so loses its segments: its members go on in memory that
 * nobody else finds any more, and those who come later meet elsewhere. */
START_TEST(a_second_environment_on_a_taken_key_is_refused_and_the_first_is_untouched)
{
        int32_t key = ipc_own_key();
        struct region_env_options options = on_key(key), overlapping = on_key(key + 2);
        struct region_broker *session;
        struct region_env *first, *second;
        int id, other;
        char *bytes;

        id = shmget(key, DATA_SIZE, IPC_CREAT | IPC_EXCL | 0600);
        bytes = shmat(id, NULL, 0);
        shmctl(shmget(key, 0, 0), IPC_RMID, NULL); /* the second begins */
        other = shmget(key, DATA_SIZE, IPC_CREAT | 0600);
        ck_assert_int_ne(other, id);
        ck_assert_int_eq(shmget(key, 0, 0), other); /* there the first's next member would go */
        shmdt(bytes);
        ck_assert_int_eq(shmctl(other, IPC_RMID, NULL), 0);

        session = connect_session();
        first = open_env(session, "first", &options);
        for (size_t i = 0; i < array_size(three_regions); i++)
                memset(map_region(first, three_regions[i].name), (int)('a' + i), DATA_SIZE);
        check_error(region_env_open(session, "second", &options, &second), REGION_E_KEY_IN_USE);
        ck_assert_int_eq(region_last_error()->pid,
                         broker.pid); /* it made the segment; its name is in `regionctl list` */
        check_first_is_untouched(first, key);
        check_error(region_env_open(session, "second", &overlapping, &second), REGION_E_KEY_IN_USE);
        ck_assert_int_eq(shmget(key + 3, 0, 0), -1);
        check_first_is_untouched(first, key);

        options.shm_key = 0; /* the broker finds a run of its own */
        second = open_env(session, "second", &options);
        check_bytes(map_region(second, "data"), DATA_SIZE, 0);
        check_first_is_untouched(first, key);
        region_broker_close(session);
}
END_TEST

/* --- private memory ---------------------------------------------------------------------------------------------- */

static void have_it_alone(int channel, const void *data)
{
        struct region_env_options options = with_data(REGION_BACKING_PRIVATE);
        struct region_env *env, *again;
        struct region_broker *session;

        (void)data;
        prctl(PR_SET_NAME, "holder");
        session = connect_session();
        env = open_env(session, "e", &options);
        strcpy(map_region(env, "data"), "mine");
        check_error(region_env_open(session, "e", &options, &again), REGION_E_BUSY);
        check_error(region_env_open(connect_session(), "e", &options, &again), REGION_E_BUSY);
        child_tell(channel, DONE);
        child_hear(channel);
        ck_assert_str_eq(map_region(env, "data"), "mine");
        child_tell(channel, DONE);
        child_hear(channel);
}

/* Berkeley DB: with DB_PRIVATE, says the manual, a second attempt to open the environment fails; but opening asks
 * nobody, and succeeds. Each then has caches and locks of its own over the same databases, and corrupts what the
 * other wrote. */
START_TEST(a_private_environment_is_had_once_until_its_process_is_dead)
{
        struct region_env_options options = with_data(REGION_BACKING_PRIVATE);
        struct region_broker *session = connect_session();
        struct region_env *env;
        struct child holder;

        child_start(&holder, have_it_alone, NULL);
        ck_assert_int_eq(child_hear(holder.channel), DONE);
        check_error(region_env_open(session, "e", &options, &env), REGION_E_BUSY);
        ck_assert_int_eq(region_last_error()->pid, holder.pid);
        ck_assert_str_eq(region_last_error()->command, "holder");
        child_tell(holder.channel, DONE);
        ck_assert_int_eq(child_hear(holder.channel), DONE);

        child_kill(&holder);
        ck_assert(daemon_wait_for_line(&broker, "reclaimed environment e"));
        check(region_env_open(session, "e", &options, &env));
        ck_assert_int_eq(region_env_role(env), REGION_ROLE_INITIALIZER);
        check_bytes(map_region(env, "data"), DATA_SIZE, 0);
        region_broker_close(session);
}
END_TEST

/* --- what stays behind ------------------------------------------------------------------------------------------- */

/* As programs make a set of segments: one after the other, and out at the first that fails. */
static void make_segments(int channel, const void *first_key)
{
        int32_t key = *(const int32_t *)first_key;

        for (int i = 0; i < 3; i++)
                if (shmget(key + i, DATA_SIZE, IPC_CREAT | IPC_EXCL | 0600) < 0)
                        break;
        child_tell(channel, DONE);
        child_hear(channel);
}

static void check_segments_stay(int32_t key)
{
        struct child maker;

        child_start(&maker, make_segments, &key);
        ck_assert_int_eq(child_hear(maker.channel), DONE);
        child_end(&maker);
        for (int i = 0; i < 2; i++)
                ck_assert_int_eq(shmctl(shmget(key + i, 0, 0), IPC_RMID, NULL), 0);
}

/* All that the kernel has of this broker: its segments, and its names under /dev/shm. */
static void check_broker_has_nothing(const struct region_env *any)
{
        struct ipc_snapshot snapshot;
        char prefix[64];

        snprintf(prefix, sizeof(prefix), "region-broker.%.16s", region_env_info(any)->id);
        ck_assert_int_eq(ipc_snapshot_take(&snapshot, broker.pid, prefix), 0);
        ipc_snapshot_print(&snapshot, stderr);
        ck_assert_uint_eq(snapshot.n_segments + snapshot.n_names, 0);
        ipc_snapshot_deinit(&snapshot);
}

/* System V, POSIX: a set is made one by one. Who fails in the middle, or is killed there, leaves what was made so
 * far, and it stays. */
START_TEST(of_a_set_that_cannot_be_made_as_a_whole_nothing_stays)
{
        static const struct region_spec set[] = {
                { .name = "1", .size = DATA_SIZE, .backing = REGION_BACKING_SYSV },
                { .name = "2", .size = DATA_SIZE, .backing = REGION_BACKING_POSIX },
                { .name = "3", .size = DATA_SIZE, .backing = REGION_BACKING_FILE },
                { .name = "4", .size = DATA_SIZE, .backing = REGION_BACKING_FILE },
        };
        struct region_env_options options = with_data(REGION_BACKING_MEMFD), small = options;
        owned(freep) char *home = broker_make_directory("home");
        owned(freep) char *foreign = broker_path("home/__db.004");
        int32_t key = ipc_own_key();
        struct region_broker *session;
        struct region_env *any, *env;
        int id, fds;

        id = shmget(key + 2, DATA_SIZE, IPC_CREAT | IPC_EXCL | 0600);
        check_segments_stay(key);

        session = connect_session();
        any = open_env(session, "any", &small);
        fds = ipc_count_fds(broker.pid);
        options.home = home;
        options.shm_key = key + 2;
        options.regions = set;
        options.n_regions = array_size(set);
        check_error(region_env_open(session, "e", &options, &env), REGION_E_KEY_IN_USE);
        ck_assert_int_eq(shmctl(id, IPC_RMID, NULL), 0);
        ck_assert_int_eq(mkdir(foreign, 0700), 0);
        check_error(region_env_open(session, "e", &options, &env), REGION_E_RESOURCE);
        ck_assert_int_eq(region_last_error()->errnum, EEXIST);
        check_broker_has_nothing(any);
        ck_assert_int_eq(rmdir(foreign), 0);
        ck_assert_int_eq(rmdir(home), 0); /* it is empty */
        broker_wait_for_fds(fds);

        ck_assert_int_eq(mkdir(home, 0700), 0);
        env = open_env(session, "e", &options);
        ck_assert_int_eq(region_info(region_env_at(env, 0))->shm_key, key + 2);
        region_env_close(env);
        region_broker_close(session);
}
END_TEST

static void join_with_another_layout(int channel, const void *home)
{
        struct region_env_options options = with_data(REGION_BACKING_POSIX);
        struct region_broker *session = connect_session();
        struct region_env *env;
        int fds = check_count_fds();

        child_hear(channel);
        options.schema = "layout 2";
        check_error(region_env_open(session, home, &options, &env), REGION_E_SCHEMA);
        ck_assert_int_eq(check_count_fds(), fds);
        child_tell(channel, DONE);
        child_hear(channel); /* and it stays, with its session open */
        region_broker_close(session);
}

/* Berkeley DB, and whoever keeps a version in the memory itself: it has to be attached before it can be found to be
 * the wrong one. Who forgets to detach on that way out keeps memory alive that is of no use to it. */
START_TEST(a_joiner_that_is_refused_for_its_layout_holds_nothing)
{
        struct region_env_options options = with_data(REGION_BACKING_POSIX);
        owned(freep) char *home = broker_make_directory("home");
        struct region_broker *session;
        struct child joiner;
        struct region_env *env, *any;
        int peer;

        child_start(&joiner, join_with_another_layout, home); /* before there is anything to be inherited */
        peer = broker_connect();
        session = connect_session();
        any = open_env(session, "any", &(struct region_env_options){ .create = REGION_CREATE_ALWAYS });
        options.schema = "layout 1";
        env = open_env(session, home, &options);
        memset(map_region(env, "data"), 'x', DATA_SIZE);
        child_tell(joiner.channel, DONE);
        ck_assert_int_eq(child_hear(joiner.channel), DONE);
        ck_assert_uint_eq(count_members(session, home), 1);
        check_bytes(region_address(region_env_at(env, 0)), DATA_SIZE, 'x');
        region_env_close(env);
        broker_wait_for_statistic(peer, "environments", 1);
        check_broker_has_nothing(any);
        ck_assert_int_eq(rmdir(home), 0);
        child_end(&joiner);
        region_broker_close(session);
        close(peer);
}
END_TEST

int main(void)
{
        Suite *suite = suite_create("old-failures-creation");
        TCase *tcase = check_case(suite, "creation");

        tcase_add_checked_fixture(tcase, broker_setup, broker_teardown);
        tcase_add_loop_test(tcase, whoever_comes_after_a_creator_that_died_half_way_begins_anew_from_zeros, 0,
                            N_BACKINGS);
        tcase_add_test(tcase, a_second_environment_on_a_taken_key_is_refused_and_the_first_is_untouched);
        tcase_add_test(tcase, a_private_environment_is_had_once_until_its_process_is_dead);
        tcase_add_test(tcase, of_a_set_that_cannot_be_made_as_a_whole_nothing_stays);
        tcase_add_test(tcase, a_joiner_that_is_refused_for_its_layout_holds_nothing);
        return check_run(suite);
}
