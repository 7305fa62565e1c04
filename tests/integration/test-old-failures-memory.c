/* What others do to shared memory in older systems, and cannot do here: boot the machine, truncate, clean up, give
 * it a small container. A test that can show it in a few lines against the bare kernel does so first, and then that
 * the broker's way does not have it. */

#include "tests/support/ipc.h"
#include "tests/support/namespace.h"
#include "tests/support/session.h"

#include "proto/util.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/pidfd.h>
#include <sys/resource.h>
#include <sys/shm.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/wait.h>
#include <time.h>

enum { MIB = 1 << 20 };

/* --- ids that mean something else by now ------------------------------------------------------------------------- */

static void have_home(int channel, const void *home)
{
        struct region_env_options options = with_data(REGION_BACKING_SYSV);
        struct region_env *env = open_env(connect_session(), home, &options);

        memset(map_region(env, "data"), 'x', DATA_SIZE);
        child_tell(channel, region_info(region_env_at(env, 0))->shm_id);
        child_hear(channel);
}

/* Leaves what a power failure would: a reference in the home. Returns the id that it has. */
static int leave_reference(const char *home)
{
        struct child member;
        int id;

        child_start(&member, have_home, home);
        id = (int)child_hear(member.channel);
        daemon_kill(&broker);
        child_kill(&member);
        return id;
}

/* After a boot numbers begin anew: the process that the reference names may by chance be one that lives, so that
 * nothing but the boot tells that it is stale. */
static void name_live_process(const char *path)
{
        owned(closep) int pidfd = pidfd_open(getpid(), 0);
        char text[4096], *process, *rest;
        struct stat st;
        FILE *file;

        file = fopen(path, "r+e");
        text[fread(text, 1, sizeof(text) - 1, file)] = '\0';
        process = strstr(text, "process: ");
        rest = strchr(process, '\n');
        ck_assert_int_eq(fstat(pidfd, &st), 0);
        rewind(file);
        fprintf(file, "%.*sprocess: %d %llu%s", (int)(process - text), text, (int)getpid(),
                (unsigned long long)st.st_ino, rest);
        ck_assert_int_eq(ftruncate(fileno(file), ftell(file)), 0);
        fclose(file);
}

static void boot_anew(void)
{
        owned(freep) char *boot_id = broker_path("boot_id");
        int fd = open(boot_id, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0444);

        ck_assert(namespace_enter(CLONE_NEWIPC));
        ck_assert_int_eq(dprintf(fd, "00000000-1111-2222-3333-444444444444\n"), 37);
        close(fd);
        namespace_mount(boot_id, "/proc/sys/kernel/random/boot_id", NULL, MS_BIND, NULL);
}

/* The id that a reference has, as a program reads it that believes it. */
static int read_reference(const char *path)
{
        char text[4096];
        FILE *file = fopen(path, "re");
        const char *found;

        text[fread(text, 1, sizeof(text) - 1, file)] = '\0';
        fclose(file);
        found = strstr(text, " id ");
        ck_assert_ptr_nonnull(found);
        return atoi(found + 4);
}

/* Berkeley DB: of an environment in system memory `__db.001` has the id of a segment and its size, and who opens it
 * attaches what has that id by then. Ids begin at 0 with each boot, and in each container. */
START_TEST(a_reference_of_an_earlier_boot_is_not_believed)
{
        struct region_env_options options = with_data(REGION_BACKING_SYSV), joining = { .create = REGION_CREATE_NEVER };
        owned(freep) char *home = NULL;
        owned(freep) char *reference = NULL;
        struct region_broker *session;
        struct region_env *env;
        int id;

        if (!namespace_enter(CLONE_NEWIPC | CLONE_NEWNS))
                return;
        broker_setup();
        home = broker_make_directory("home");
        reference = broker_path("home/__db.001");
        id = leave_reference(home);
        name_live_process(reference);
        boot_anew();
        ck_assert_int_eq(ipc_make_foreign(IPC_PRIVATE), id);
        ipc_check_foreign(read_reference(reference)); /* so it would have been joined */

        broker_setup();
        session = connect_session();
        check_error(region_env_open(session, home, &joining, &env), REGION_E_NOT_FOUND);
        check(region_env_open(session, home, &options, &env));
        ck_assert_int_eq(region_env_role(env), REGION_ROLE_INITIALIZER);
        check_bytes(map_region(env, "data"), DATA_SIZE, 0);
        memset(region_address(region_env_at(env, 0)), 'n', DATA_SIZE);
        ck_assert_int_eq(read_reference(reference), region_info(region_env_at(env, 0))->shm_id);
        region_broker_close(session);
        ipc_check_foreign(id);
}
END_TEST

/* Where the broker may not look at the namespace of its caller, the library finds out. */
static enum region_result open_and_map(struct region_broker *session)
{
        struct region_env_options joining = { .create = REGION_CREATE_NEVER };
        struct region_env *env;
        void *address;
        enum region_result r = region_env_open(session, "e", &joining, &env);

        return r == REGION_OK ? region_map(region_env_at(env, 0), NULL, &address) : r;
}

/* System V: an id is a number without a place. In another IPC namespace, which a container is, shmat(2) attaches
 * what has the number there. */
START_TEST(an_id_of_another_namespace_is_not_attached)
{
        struct region_env_options options = with_data(REGION_BACKING_SYSV);
        struct region_broker *session;
        struct region_env *env;
        void *address;
        int id;

        if (!namespace_enter(CLONE_NEWIPC))
                return;
        broker_setup();
        session = connect_session();
        env = open_env(session, "e", &options);
        id = region_info(region_env_at(env, 0))->shm_id;
        ck_assert(namespace_enter(CLONE_NEWIPC));
        ck_assert_int_eq(ipc_make_foreign(IPC_PRIVATE), id);
        ipc_check_foreign(id); /* so it would have been attached */

        check_error(region_map(region_env_at(env, 0), NULL, &address), REGION_E_NAMESPACE);
        check_error(open_and_map(session), REGION_E_NAMESPACE);
        ipc_check_foreign(id);
        region_broker_close(session);
}
END_TEST

/* --- truncation -------------------------------------------------------------------------------------------------- */

/* What becomes of a process that looks at the memory. */
static int look_and_end(const char *bytes)
{
        pid_t pid = fork();
        int status;

        ck_assert_int_ge(pid, 0);
        if (pid == 0) {
                setrlimit(RLIMIT_CORE, &(struct rlimit){ 0, 0 });
                signal(SIGBUS, SIG_DFL);
                _exit(*(const volatile char *)(bytes + DATA_SIZE - 1));
        }
        ck_assert_int_eq(waitpid(pid, &status, 0), pid);
        return status;
}

/* What has a size that can be set. */
static const enum region_backing cuttable[] = { REGION_BACKING_MEMFD, REGION_BACKING_POSIX, REGION_BACKING_FILE };

static void check_truncation_kills(void)
{
        int fd = memfd_create("old-failures", MFD_CLOEXEC), status;
        char *bytes;

        ck_assert_int_eq(ftruncate(fd, DATA_SIZE), 0);
        bytes = mmap(NULL, DATA_SIZE, PROT_READ, MAP_SHARED, fd, 0);
        ck_assert_ptr_ne(bytes, MAP_FAILED);
        ck_assert_int_eq(ftruncate(fd, 0), 0);
        status = look_and_end(bytes);
        ck_assert(WIFSIGNALED(status));
        ck_assert_int_eq(WTERMSIG(status), SIGBUS);
        munmap(bytes, DATA_SIZE);
        close(fd);
}

/* POSIX, Boost, and memory files that nobody sealed: whoever may write may also make it shorter, and who has it
 * mapped and touches what is gone is killed by SIGBUS. A program that sets the size whenever it opens does that
 * unawares. */
START_TEST(a_peer_that_may_write_cannot_truncate_it_under_the_others)
{
        struct region_env_options options = with_data(cuttable[_i]);
        struct region_broker *session, *other;
        struct region_env *env, *reading;
        const char *bytes;
        int fd;

        check_truncation_kills();
        if (options.backing != REGION_BACKING_MEMFD && !check_keeps_sizes())
                return;

        session = connect_session();
        other = connect_session();
        env = open_env(session, "e", &options);
        memset(map_region(env, "data"), 'x', DATA_SIZE);
        options.access = REGION_READ;
        reading = open_env(other, "e", &options);
        bytes = map_region(reading, "data");
        fd = region_fd(region_env_at(env, 0));
        for (int size = 0; size < 2 * DATA_SIZE; size += 3 * DATA_SIZE / 4) {
                ck_assert_int_eq(ftruncate(fd, size), -1);
                ck_assert_int_eq(errno, options.backing == REGION_BACKING_MEMFD ? EPERM : EACCES);
        }
        ck_assert_int_eq(look_and_end(bytes), W_EXITCODE('x', 0));
        check_bytes(bytes, DATA_SIZE, 'x');
        region_broker_close(other);
        region_broker_close(session);
}
END_TEST

/* Whom the file system lets open it by its path it lets truncate it, which are root and the user that the broker runs as.
 * Those inside have that from the file system; but nobody new is led there. */
START_TEST(who_joins_what_was_truncated_by_its_path_is_told_so_and_not_killed)
{
        struct region_env_options options = with_data(cuttable[_i]);
        struct region_broker *session = connect_session(), *other = connect_session();
        struct region_env *env, *joined;

        env = open_env(session, "e", &options);
        ck_assert_int_eq(truncate(region_info(region_env_at(env, 0))->path, DATA_SIZE / 2), 0);
        check_error(region_env_open(other, "e", &options, &joined), REGION_E_PROTOCOL);
        ck_assert_ptr_nonnull(strstr(region_error_message(), "truncated"));
        ck_assert_uint_eq(count_members(session, "e"), 1);
        region_env_close(env);
        region_broker_close(other);
        region_broker_close(session);
}
END_TEST

/* --- containers -------------------------------------------------------------------------------------------------- */

static void check_small_dev_shm_kills(void)
{
        int fd = shm_open("/old-failures", O_RDWR | O_CREAT | O_EXCL, 0600), status;
        char *bytes;

        ck_assert_int_eq(ftruncate(fd, 65 * MIB), 0); /* all is well, it says */
        ck_assert_int_eq(fallocate(fd, 0, 0, 64 * MIB), 0);
        bytes = mmap(NULL, 65 * MIB, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
        ck_assert_ptr_ne(bytes, MAP_FAILED);
        status = look_and_end(bytes + 65 * MIB - DATA_SIZE);
        ck_assert(WIFSIGNALED(status));
        ck_assert_int_eq(WTERMSIG(status), SIGBUS);
        munmap(bytes, 65 * MIB);
        close(fd);
        ck_assert_int_eq(shm_unlink("/old-failures"), 0);
}

static enum region_result open_large(struct region_broker *session, enum region_backing backing,
                                     struct region_env **ret)
{
        const struct region_spec large = { .name = "data", .size = 65 * MIB };
        struct region_env_options options = with_data(backing);

        options.regions = &large;
        return region_env_open(session, "e", &options, ret);
}

static void wait_until_dev_shm_is_free(void)
{
        time_t deadline = time(NULL) + CHECK_WAIT_MSEC / 1000;
        struct statvfs fs;

        do { /* a thread of the broker does it */
                ck_assert_int_eq(statvfs("/dev/shm", &fs), 0);
                ck_assert_int_le(time(NULL), deadline);
        } while (fs.f_bfree != fs.f_blocks);
}

/* POSIX, Boost, and whatever else lives in /dev/shm: a container has 64 MiB of it unless somebody knew better. An
 * object can be given any size, and who touches one page too many is killed by SIGBUS. */
START_TEST(a_small_dev_shm_does_not_bound_memory_files_and_is_an_error_when_an_object_is_made)
{
        struct region_broker *session;
        struct region_env *env;
        int peer;

        if (!namespace_enter(CLONE_NEWNS))
                return;
        namespace_mount("tmpfs", "/dev/shm", "tmpfs", 0, "size=64m");
        check_small_dev_shm_kills();

        broker_setup();
        peer = broker_connect();
        session = connect_session();
        check_error(open_large(session, REGION_BACKING_POSIX, &env), REGION_E_RESOURCE);
        ck_assert_int_eq(region_last_error()->errnum, ENOSPC);
        broker_wait_for_statistic(peer, "environments", 0);
        wait_until_dev_shm_is_free(); /* nothing is left of it */
        check(open_large(session, REGION_BACKING_MEMFD, &env));
        memset(map_region(env, "data"), 'x', 65 * MIB);
        region_broker_close(session);
        close(peer);
}
END_TEST

int main(void)
{
        Suite *suite = suite_create("old-failures-memory");
        TCase *tcase = check_case(suite, "memory");
        TCase *namespaces = check_case(suite, "namespaces");

        tcase_add_checked_fixture(tcase, broker_setup, broker_teardown);
        tcase_add_loop_test(tcase, a_peer_that_may_write_cannot_truncate_it_under_the_others, 0,
                            (int)array_size(cuttable));
        tcase_add_loop_test(tcase, who_joins_what_was_truncated_by_its_path_is_told_so_and_not_killed, 1,
                            (int)array_size(cuttable));

        tcase_add_checked_fixture(namespaces, NULL, broker_teardown);
        tcase_add_test(namespaces, a_reference_of_an_earlier_boot_is_not_believed);
        tcase_add_test(namespaces, an_id_of_another_namespace_is_not_attached);
        tcase_add_test(namespaces, a_small_dev_shm_does_not_bound_memory_files_and_is_an_error_when_an_object_is_made);
        return check_run(suite);
}
