/* What goes wrong in older systems when a process dies or forks, and does not here. A test that can show it in a
 * few lines against the bare kernel does so first, and then that the broker's way does not have it. */

#include "tests/support/ipc.h"
#include "tests/support/namespace.h"
#include "tests/support/session.h"

#include "proto/util.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <signal.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/shm.h>
#include <sys/stat.h>
#include <time.h>

enum { SIZE = 1 << 20, GO = 1, DONE, CANNOT };

static const struct region_spec one_region[] = { { .name = "data", .size = SIZE } };

static const struct region_env_options recoverable = {
        .create = REGION_CREATE_IF_ABSENT,
        .recovery = true,
        .regions = one_region,
        .n_regions = 1,
};

static void *share_memory(void)
{
        void *memory = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

        ck_assert_ptr_ne(memory, MAP_FAILED);
        return memory;
}

/* Starts one that does its part and then waits to be killed. */
static void start(struct child *child, child_run *run, const void *data)
{
        child_start(child, run, data);
        ck_assert_int_eq(child_hear(child->channel), DONE);
}

static void wait_to_be_killed(int channel)
{
        child_tell(channel, DONE);
        child_hear(channel);
}

/* --- memory of the dead ------------------------------------------------------------------------------------------ */

static void make_an_object(int channel, const void *name)
{
        int fd = shm_open(name, O_RDWR | O_CREAT | O_EXCL, 0600);

        ck_assert_int_eq(ftruncate(fd, SIZE), 0);
        ck_assert_ptr_ne(mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0), MAP_FAILED);
        wait_to_be_killed(channel);
}

static void make_a_segment(int channel, const void *key)
{
        ck_assert_ptr_ne(shmat(shmget(*(const key_t *)key, SIZE, IPC_CREAT | 0600), NULL, 0), MAP_FAILED);
        wait_to_be_killed(channel);
}

static void check_both_stay(void)
{
        key_t key = ipc_own_key();
        struct child maker;
        char name[64];

        snprintf(name, sizeof(name), "/old-failures.%d", (int)getpid());
        start(&maker, make_an_object, name);
        child_kill(&maker);
        ck_assert_int_eq(shm_unlink(name), 0);
        start(&maker, make_a_segment, &key);
        child_kill(&maker);
        ck_assert_int_eq(shmctl(shmget(key, 0, 0), IPC_RMID, NULL), 0);
}

static const enum region_backing backings[] = { REGION_BACKING_MEMFD, REGION_BACKING_POSIX, REGION_BACKING_SYSV };

static void have_memory(int channel, const void *backing)
{
        struct region_env_options options = recoverable;
        struct region_env *env;
        struct region *region;

        options.backing = *(const enum region_backing *)backing;
        env = open_env(connect_session(), "e", &options);
        memset(map_region(env, "data"), 'x', SIZE);
        region = region_env_at(env, 0);
        child_tell(channel, options.backing == REGION_BACKING_SYSV ? region_info(region)->shm_id : region_fd(region));
        child_hear(channel);
}

/* A look at its memory, a mere path that keeps no pages. */
static int look_at_descriptor(const struct child *child, int fd)
{
        owned(freep) char *path = NULL;

        ck_assert_int_ge(asprintf(&path, "/proc/%d/fd/%d", (int)child->pid, fd), 0);
        return open(path, O_PATH | O_CLOEXEC);
}

static void wait_until_freed(int fd)
{
        time_t deadline = time(NULL) + CHECK_WAIT_MSEC / 1000;
        struct stat st;

        do { /* a thread of the broker does it */
                ck_assert_int_eq(fstat(fd, &st), 0);
                ck_assert_int_le(time(NULL), deadline);
        } while (st.st_blocks != 0);
}

/* System V, POSIX, and with them NSPR, PHP, Boost and Qt: the memory of a process that is killed stays until it is
 * removed by hand. NSPR wants it deleted before the process ends, and Qt's manual says that the segment survives
 * the crash of its last process. */
START_TEST(the_memory_of_a_killed_process_comes_back_at_its_death)
{
        struct shmid_ds segment;
        struct child holder;
        int number, fd = -1;

        check_both_stay();

        child_start(&holder, have_memory, &backings[_i]);
        number = (int)child_hear(holder.channel);
        if (backings[_i] != REGION_BACKING_SYSV)
                fd = look_at_descriptor(&holder, number);
        child_kill(&holder);
        ck_assert(daemon_wait_for_line(&broker, "reclaimed environment e: 1 regions, 1048576 bytes"));
        if (backings[_i] == REGION_BACKING_SYSV)
                ck_assert_int_lt(shmctl(number, IPC_STAT, &segment), 0);
        else
                wait_until_freed(fd);
        close_fd(fd);
}
END_TEST

/* --- a mutex of the dead ----------------------------------------------------------------------------------------- */

struct locks {
        sem_t semaphore;
        pthread_mutex_t mutex;
};

static struct locks *make_locks(void)
{
        struct locks *locks = share_memory();
        pthread_mutexattr_t shared;

        ck_assert_int_eq(sem_init(&locks->semaphore, 1, 1), 0);
        pthread_mutexattr_init(&shared);
        pthread_mutexattr_setpshared(&shared, PTHREAD_PROCESS_SHARED);
        ck_assert_int_eq(pthread_mutex_init(&locks->mutex, &shared), 0);
        pthread_mutexattr_destroy(&shared);
        return locks;
}

static void lock_both(int channel, const void *data)
{
        struct locks *locks = *(struct locks *const *)data;

        ck_assert_int_eq(sem_wait(&locks->semaphore), 0);
        ck_assert_int_eq(pthread_mutex_lock(&locks->mutex), 0);
        wait_to_be_killed(channel);
}

static void check_both_stay_locked(void)
{
        struct locks *locks = make_locks();
        struct child owner;

        start(&owner, lock_both, &locks);
        child_kill(&owner);
        ck_assert_int_eq(sem_trywait(&locks->semaphore), -1); /* and nobody lives who would post it */
        ck_assert_int_eq(errno, EAGAIN);
        ck_assert_int_eq(pthread_mutex_trylock(&locks->mutex), EBUSY);
        munmap(locks, 4096);
}

/* What the environment has in its region. */
struct account {
        struct region_mutex mutex;
        int debit, credit; /* their sum is 0 */
};

static struct account *map_account(struct region_env *env)
{
        return (void *)map_region(env, "data");
}

static void transfer_half(int channel, const void *data)
{
        struct account *account = map_account(open_env(connect_session(), "e", &recoverable));

        (void)data;
        check(region_mutex_lock(&account->mutex));
        account->debit -= 5;
        wait_to_be_killed(channel);
}

/* Semaphores of POSIX, and of NSPR on top of them, and mutexes that are not robust, as those of Boost and Berkeley
 * DB: nobody gives back what a dead process has, and who waits for it waits for ever. System V can undo a semaphore
 * at a death, which hides that what it protects is half changed. */
START_TEST(the_next_to_lock_is_told_which_process_died_with_the_mutex)
{
        struct region_broker *session;
        struct account *account;
        struct region_env *env;
        struct child owner;
        pid_t pid;

        check_both_stay_locked();

        session = connect_session();
        check(region_env_open(session, "e", &recoverable, &env));
        account = map_account(env);
        check(region_mutex_init(&account->mutex));
        check(region_env_ready(env));
        start(&owner, transfer_half, NULL);
        check_error(region_mutex_trylock(&account->mutex), REGION_E_BUSY);
        ck_assert_int_eq(region_last_error()->pid, owner.pid);
        pid = owner.pid;
        child_kill(&owner);
        check_error(region_mutex_lock(&account->mutex), REGION_E_OWNER_DIED);
        ck_assert_int_eq(region_last_error()->pid, pid);
        ck_assert_int_eq(strncmp(region_last_error()->command, program_invocation_short_name, 15), 0);
        ck_assert_int_eq(account->debit + account->credit, -5);
        account->credit += 5;
        check(region_mutex_consistent(&account->mutex));
        check(region_mutex_unlock(&account->mutex));
        check(region_mutex_trylock(&account->mutex));
        check(region_mutex_unlock(&account->mutex));
        wait_for_state(env, REGION_STATE_DIRTY); /* the environment was told as well */
        region_broker_close(session);
}
END_TEST

/* --- a pid that is used again ------------------------------------------------------------------------------------ */

static void write_and_wait(int channel, const void *data)
{
        struct region_env *env = open_env(connect_session(), "e", &recoverable);

        (void)data;
        map_region(env, "data")[0] = 'x';
        wait_to_be_killed(channel);
}

/* Of the dead it has the number, and nothing else: neither its membership nor its death. It calls before the broker has
 * heard of that. */
static void come_as_another(int channel, const void *data)
{
        owned(varlink_clear) struct varlink_reply reply = {};
        struct region_broker *session;
        struct region_env *env;
        int peer = broker_connect();

        (void)data;
        varlink_call(peer, "Detach", "{'environment':'e'}");
        child_tell(channel, DONE);
        ck_assert(varlink_receive(peer, &reply));
        ck_assert_reply(&reply, "NotAttached");
        child_hear(channel);
        session = connect_session();
        check(region_env_open(session, "e", &recoverable, &env));
        ck_assert_int_eq(region_env_role(env), REGION_ROLE_RECOVERER);
        check(region_env_ready(env));
        region_env_close(env);
        region_broker_close(session);
        close(peer);
        child_tell(channel, DONE);
}

/* The next process of this pid namespace gets that pid. */
static void start_with_pid(struct child *child, child_run *run, pid_t pid)
{
        char last[16];

        snprintf(last, sizeof(last), "%d", (int)pid - 1);
        namespace_set("/proc/sys/kernel/ns_last_pid", last);
        child_start(child, run, NULL);
        ck_assert_int_eq(child->pid, pid);
        ck_assert_int_eq(child_hear(child->channel), DONE);
}

/* The broker is halted meanwhile, so that it finds the pid in use again. */
static void check_death_behind_its_pid(void)
{
        struct region_broker *session;
        struct child member, other;
        struct region_health health;
        struct region_env *env;
        pid_t pid;

        start(&member, write_and_wait, NULL); /* it made the environment, and is remembered for that, too */
        session = connect_session();
        env = open_env(session, "e", &recoverable);
        ck_assert_uint_eq(count_members(session, "e"), 2);
        ck_assert_int_eq(kill(broker.pid, SIGSTOP), 0);
        pid = member.pid;
        child_kill(&member);
        start_with_pid(&other, come_as_another, pid);
        ck_assert_int_eq(kill(pid, 0), 0); /* alive, says the pid */
        ck_assert_int_eq(kill(broker.pid, SIGCONT), 0);
        wait_for_state(env, REGION_STATE_DIRTY);
        region_env_health(env, &health);
        ck_assert_uint_eq(health.deaths, 1);
        ck_assert_uint_eq(count_members(session, "e"), 1);
        child_tell(other.channel, GO);
        ck_assert_int_eq(child_hear(other.channel), DONE);
        child_end(&other);
        region_env_health(env, &health);
        ck_assert_int_eq(health.state, REGION_STATE_READY);
        ck_assert_uint_eq(health.generation, 2);
        region_broker_close(session);
}

/* The first process of a pid namespace. */
static void live_in_pid_namespace(int channel, const void *data)
{
        (void)data;
        if (!namespace_enter(CLONE_NEWNS)) {
                child_tell(channel, CANNOT);
                return;
        }
        if (mount("proc", "/proc", "proc", 0, NULL) < 0 || access("/proc/sys/kernel/ns_last_pid", W_OK) < 0) {
                fprintf(stderr, "a test is left out: it has to choose a pid, and the machine says: %s\n",
                        strerror(errno));
                child_tell(channel, CANNOT);
                return;
        }
        namespace_mount("tmpfs", "/dev/shm", "tmpfs", 0, NULL); /* what it leaves when it fails goes with it */
        setenv("TMPDIR", "/dev/shm", 1);
        broker_setup();
        check_death_behind_its_pid();
        broker_teardown();
        child_tell(channel, DONE);
}

/* Where the first process of a namespace has ended, whoever entered it can have no more: that is not to be the test. */
static void begin_pid_namespace(int channel, const void *data)
{
        struct child init;

        (void)data;
        if (!namespace_enter(CLONE_NEWPID)) {
                child_tell(channel, CANNOT);
                return;
        }
        child_fork(&init, live_in_pid_namespace, NULL);
        child_tell(channel, child_hear(init.channel));
        child_end(&init);
}

/* Berkeley DB: failchk() asks a function of the program, for each pid that was noted, whether it is alive. Once the
 * number is given to another process, the dead one is alive for ever, and so are its locks. */
START_TEST(a_dead_member_is_found_dead_though_another_process_has_its_pid)
{
        struct child namespace;
        int64_t said;

        child_fork(&namespace, begin_pid_namespace, NULL);
        said = child_hear(namespace.channel);
        ck_assert(said == DONE || said == CANNOT);
        child_end(&namespace);
}
END_TEST

/* --- a child that closes ----------------------------------------------------------------------------------------- */

static const struct flock whole_file = { .l_type = F_WRLCK, .l_whence = SEEK_SET };

static void take_lock(int channel, const void *path)
{
        int fd = open(path, O_RDWR | O_CLOEXEC);

        child_hear(channel);
        child_tell(channel, fcntl(fd, F_SETLK, &whole_file) == 0);
        close(fd);
}

static void check_any_close_drops_the_lock(void)
{
        owned(freep) char *path = broker_path("register");
        int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
        struct child other;

        ck_assert_int_eq(fcntl(fd, F_SETLK, &whole_file), 0);
        close(open(path, O_RDONLY | O_CLOEXEC)); /* another part of the program only wanted to look */
        child_start(&other, take_lock, path);
        child_tell(other.channel, GO);
        ck_assert_int_eq(child_hear(other.channel), true);
        child_end(&other);
        close(fd);
}

struct inherited {
        struct region_broker *session;
        struct region_env *env;
};

static void close_all(int channel, const void *data)
{
        const struct inherited *inherited = data;

        (void)channel;
        region_env_close(inherited->env);
        region_broker_close(inherited->session);
}

/* Berkeley DB: how many are in is a number in the region, and a forked child that closes the handle it inherited
 * counts its parent out; then it can be removed under it. POSIX: any close of a file drops the locks that the
 * process has on it, whoever opened it and whatever for; so it is with DB_REGISTER. */
START_TEST(a_child_that_closes_what_it_inherited_takes_nothing_from_its_parent)
{
        struct region_broker *other;
        struct inherited inherited;
        struct region_health health;
        struct child child;
        int peer;
        int64_t calls;

        check_any_close_drops_the_lock();

        inherited.session = connect_session();
        inherited.env = open_env(inherited.session, "e", &recoverable);
        map_region(inherited.env, "data")[0] = 'p';
        peer = broker_connect();
        calls = broker_statistic(peer, "counters.calls");
        child_fork(&child, close_all, &inherited);
        child_end(&child);
        ck_assert_int_eq(broker_statistic(peer, "counters.calls"), calls + 1); /* it was never heard of */

        other = connect_session();
        ck_assert_uint_eq(count_members(other, "e"), 1);
        check_error(region_env_remove(other, "e", false, 0, NULL), REGION_E_BUSY);
        ck_assert_int_eq(region_last_error()->pid, getpid());
        region_env_health(inherited.env, &health);
        ck_assert_int_eq(health.state, REGION_STATE_READY);
        ck_assert_uint_eq(health.deaths, 0);
        ck_assert_int_eq(map_region(inherited.env, "data")[0], 'p');
        region_broker_close(other);
        region_broker_close(inherited.session);
        close(peer);
}
END_TEST

int main(void)
{
        Suite *suite = suite_create("old-failures-death");
        TCase *tcase = check_case(suite, "death");
        TCase *namespaces = check_case(suite, "namespaces");

        tcase_add_checked_fixture(tcase, broker_setup, broker_teardown);
        tcase_add_loop_test(tcase, the_memory_of_a_killed_process_comes_back_at_its_death, 0,
                            (int)array_size(backings));
        tcase_add_test(tcase, the_next_to_lock_is_told_which_process_died_with_the_mutex);
        tcase_add_test(tcase, a_child_that_closes_what_it_inherited_takes_nothing_from_its_parent);
        tcase_add_test(namespaces, a_dead_member_is_found_dead_though_another_process_has_its_pid);
        return check_run(suite);
}
