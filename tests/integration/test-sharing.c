/* Sharing on purpose: between users, between containers, and between those who were killed and those who come next; and
 * who pays for it. */

#include "tests/support/session.h"

#include "proto/util.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/shm.h>
#include <sys/stat.h>
#include <sys/wait.h>

enum { SIZE = 4096, TOLD = 1 };

static const enum region_backing backings[] = {
        REGION_BACKING_MEMFD,
        REGION_BACKING_POSIX,
        REGION_BACKING_FILE,
        REGION_BACKING_SYSV,
};
enum { N_BACKINGS = array_size(backings) };

static const struct region_spec data_region = { .name = "data", .size = SIZE };

static struct region_env_options options_for(enum region_backing backing)
{
        return (struct region_env_options){
                .create = REGION_CREATE_IF_ABSENT,
                .backing = backing,
                .lifetime = REGION_LIFETIME_ATTACHED,
                .regions = &data_region,
                .n_regions = 1,
        };
}

/* --- rights ------------------------------------------------------------------------------------------------------ */

static mode_t umask_before;

/* The broker inherits it, and its client has it, too. */
static void start_under_a_strict_umask(void)
{
        umask_before = umask(0077);
        if (geteuid() == 0)
                broker_start_for_all();
        else
                broker_setup();
}

static void end_strict_umask(void)
{
        broker_teardown();
        umask(umask_before);
}

static void join_as_another_user(int channel, const void *data)
{
        const struct region_env_options joining = {};
        struct region_broker *session;

        (void)data;
        ck_assert_int_eq(setresgid(1, 1, 1), 0);
        ck_assert_int_eq(setresuid(1, 1, 1), 0);
        session = connect_session();
        ck_assert_str_eq(map_region(open_env(session, "e", &joining), "data"), "for all");
        child_tell(channel, TOLD);
}

START_TEST(the_mode_is_what_was_asked_for_whatever_the_umask)
{
        struct region_env_options options = options_for(backings[_i]);
        struct region_broker *session = connect_session();
        struct shmid_ds segment;
        struct region_env *env;
        struct child child;

        options.mode = 0666;
        env = open_env(session, "e", &options);
        ck_assert_uint_eq(region_env_info(env)->mode, 0666);
        if (backings[_i] == REGION_BACKING_SYSV) {
                ck_assert_int_eq(shmctl(region_info(region_env_at(env, 0))->shm_id, IPC_STAT, &segment), 0);
                ck_assert_uint_eq(segment.shm_perm.mode & 0777, 0666);
        }
        strcpy(map_region(env, "data"), "for all");
        if (geteuid() == 0) {
                child_start(&child, join_as_another_user, NULL);
                ck_assert_int_eq(child_hear(child.channel), TOLD);
                child_end(&child);
        }
        region_broker_close(session);
}
END_TEST

enum { USER = 1, GROUP = 65534 };

static void check_joins(int peer, const char *error)
{
        owned(varlink_clear) struct varlink_reply reply = {};

        varlink_ask(peer, &reply, "Open", "{'environment':'e'}");
        ck_assert_reply(&reply, error);
}

START_TEST(a_group_is_given_by_its_name_and_its_members_come_in)
{
        owned(varlink_clear) struct varlink_reply reply = {};
        struct child children[2];
        int root = broker_connect(), friend = broker_connect_as(&children[0], USER, GROUP),
            other = broker_connect_as(&children[1], USER, USER);
        struct shmid_ds segment;

        broker_open(root, &reply, "e",
                    "'backing':'sysv','mode':432,'group':'nogroup','regions':[{'name':'data','size':1}]");
        ck_assert_int_eq(varlink_number(&reply, "environment.gid"), GROUP);
        ck_assert_int_eq(shmctl((int)varlink_number(&reply, "grants.0.region.shmId"), IPC_STAT, &segment), 0);
        ck_assert_uint_eq(segment.shm_perm.gid, GROUP);
        check_joins(friend, NULL);
        check_joins(other, "EnvironmentNotFound");
        for (size_t i = 0; i < array_size(children); i++)
                child_kill(&children[i]);
        close(root);
        close(friend);
        close(other);
}
END_TEST

/* --- starting again ---------------------------------------------------------------------------------------------- */

struct life {
        struct region_env_options options;
        bool ready; /* it comes so far */
};

static void live(int channel, const void *data)
{
        const struct life *life = data;
        struct region_broker *session = connect_session();
        struct region_env *env;

        check(region_env_open(session, "e", &life->options, &env));
        ck_assert_int_eq(region_env_role(env), REGION_ROLE_INITIALIZER);
        ck_assert_mem_eq(map_region(env, "data"), (char[SIZE]){}, SIZE);
        memset(region_address(region_env_at(env, 0)), 'x', SIZE);
        if (life->ready)
                check(region_env_ready(env));
        child_tell(channel, TOLD);
        child_hear(channel);
}

/* The same name, home and key each time, and nobody who cleans up: killed while it initialises or later. */
START_TEST(after_a_kill_the_next_start_finds_nothing_in_its_way)
{
        struct life life = { .options = options_for(backings[_i]) };
        struct child child;

        life.options.home = broker.directory;
        if (backings[_i] == REGION_BACKING_SYSV)
                life.options.shm_key = 0x74000008 + (int)getpid() * 16;
        for (int i = 0; i < 6; i++) {
                life.ready = i % 2;
                child_start(&child, live, &life);
                ck_assert_int_eq(child_hear(child.channel), TOLD);
                child_kill(&child);
        }
        ck_assert(daemon_wait_for_line(&broker, "reclaimed environment e"));
}
END_TEST

/* --- containers -------------------------------------------------------------------------------------------------- */

enum { NAMESPACES = CLONE_NEWUSER | CLONE_NEWNS | CLONE_NEWIPC | CLONE_NEWNET | CLONE_NEWUTS | CLONE_NEWPID };

/* Process number 1 of its own, with no user, network, mount or IPC in common with the broker: only the socket. */
static void work_in_a_container(int channel)
{
        const struct region_env_options joining = {};
        struct region_broker *session;
        char *bytes;

        prctl(PR_SET_PDEATHSIG, SIGKILL);
        ck_assert_int_eq(getpid(), 1);
        session = connect_session();
        bytes = map_region(open_env(session, "e", &joining), "data");
        ck_assert_str_eq(bytes, "from outside");
        strcpy(bytes, "from within");
        child_tell(channel, TOLD);
        child_hear(channel);
        region_broker_close(session);
        _exit(EXIT_SUCCESS);
}

static void run_a_container(int channel, const void *data)
{
        int status;
        pid_t pid;

        (void)data;
        if (unshare(NAMESPACES) < 0) {
                child_tell(channel, -errno);
                return;
        }
        pid = fork();
        ck_assert_int_ge(pid, 0);
        if (pid == 0)
                work_in_a_container(channel);
        ck_assert_int_eq(waitpid(pid, &status, 0), pid);
        ck_assert_int_eq(status, 0);
}

START_TEST(containers_share_through_one_socket)
{
        struct region_env_options options = options_for(backings[_i]);
        struct region_broker *session = connect_session();
        struct region_description *description;
        struct region_env *env;
        struct child container;
        int64_t told;
        char *bytes;

        options.mode = 0666;
        env = open_env(session, "e", &options);
        bytes = map_region(env, "data");
        strcpy(bytes, "from outside");
        child_start(&container, run_a_container, NULL);
        told = child_hear(container.channel);
        if (told == TOLD) {
                ck_assert_str_eq(bytes, "from within");
                check(region_describe(session, "e", &description));
                ck_assert_uint_eq(description->env->attachments, 2); /* it is followed like any other */
                region_description_free(description);
        } else {
                fprintf(stderr, "test-sharing: no containers here: %s\n", strerror((int)-told));
        }
        child_end(&container);
        region_broker_close(session);
}
END_TEST

/* --- who pays ---------------------------------------------------------------------------------------------------- */

enum { PAID = 32 << 20 };

static char group_path[600];

static bool write_text(const char *path, const char *text)
{
        owned(closep) int fd = open(path, O_WRONLY | O_CLOEXEC);

        return fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text);
}

/* Where control groups of memory are, and this process among them: version 2, or 1. False where there are none. */
static bool find_group(char *path, size_t size)
{
        FILE *file = fopen("/proc/self/cgroup", "re");
        char line[512];
        int found = 0;

        while (file && !found && fgets(line, sizeof(line), file)) {
                line[strcspn(line, "\n")] = '\0';
                if (strstr(line, ":memory:"))
                        found = snprintf(path, size, "/sys/fs/cgroup/memory%s", strstr(line, ":memory:") + 8);
                else if (strncmp(line, "0::", 3) == 0 && access("/sys/fs/cgroup/cgroup.controllers", F_OK) == 0)
                        found = snprintf(path, size, "/sys/fs/cgroup%s", line + 3);
        }
        if (file)
                fclose(file);
        return found > 0;
}

/* A group of its own, below or beside the one that this process is in: groups that are divided hold no process. */
static bool make_group(void)
{
        char base[512], controls[640];

        if (!find_group(base, sizeof(base)))
                return false;
        for (int i = 0; i < 2; i++) {
                snprintf(group_path, sizeof(group_path), "%s/region-broker-test-%d", base, (int)getpid());
                snprintf(controls, sizeof(controls), "%s/memory.stat", group_path);
                if (mkdir(group_path, 0755) == 0) {
                        if (access(controls, R_OK) == 0)
                                return true;
                        rmdir(group_path);
                }
                *strrchr(base, '/') = '\0';
        }
        return false;
}

/* Bytes of shared memory that are charged to it. */
static int64_t read_charge(void)
{
        char path[640], line[256];
        int64_t charge = -1;
        FILE *file;

        snprintf(path, sizeof(path), "%s/memory.stat", group_path);
        file = fopen(path, "re");
        while (file && charge < 0 && fgets(line, sizeof(line), file))
                sscanf(line, "shmem %" SCNd64, &charge);
        if (file)
                fclose(file);
        return charge;
}

static void make_and_pay(int channel, const void *data)
{
        const struct region_spec region = { .name = "data", .size = PAID };
        struct region_env_options options = options_for(*(const enum region_backing *)data);
        struct region_broker *session;
        char path[640];

        snprintf(path, sizeof(path), "%s/cgroup.procs", group_path);
        if (!write_text(path, "0")) {
                child_tell(channel, -errno);
                return;
        }
        session = connect_session();
        options.regions = &region;
        open_env(session, "e", &options);
        child_tell(channel, TOLD);
        child_hear(channel);
        region_broker_close(session);
}

/* Before anybody has touched a byte of it. */
START_TEST(memory_is_charged_to_the_process_that_asked_for_it)
{
        const enum region_backing backing = _i == 2 ? REGION_BACKING_SYSV : backings[_i];
        int64_t told = -EACCES;
        struct child child;

        if (make_group()) {
                child_start(&child, make_and_pay, &backing);
                told = child_hear(child.channel);
                if (told == TOLD)
                        ck_assert_int_ge(read_charge(), PAID);
                child_end(&child);
                ck_assert_int_eq(rmdir(group_path), 0);
        }
        if (told != TOLD)
                fprintf(stderr, "test-sharing: no control group of memory can be made: %s\n", strerror((int)-told));
}
END_TEST

int main(void)
{
        Suite *suite = suite_create("sharing");
        TCase *tcase = check_case(suite, "sharing");
        TCase *strict = check_case(suite, "a strict umask");
        TCase *users = check_case(suite, "users");

        tcase_add_checked_fixture(tcase, broker_setup, broker_teardown);
        tcase_add_loop_test(tcase, after_a_kill_the_next_start_finds_nothing_in_its_way, 0, N_BACKINGS);
        tcase_add_loop_test(tcase, containers_share_through_one_socket, 0, 3); /* System V memory does not cross */
        tcase_add_loop_test(tcase, memory_is_charged_to_the_process_that_asked_for_it, 0, 3); /* files are the disk's */
        tcase_add_checked_fixture(strict, start_under_a_strict_umask, end_strict_umask);
        tcase_add_loop_test(strict, the_mode_is_what_was_asked_for_whatever_the_umask, 0, N_BACKINGS);

        if (geteuid() != 0) {
                fputs("test-sharing: users are not tried, for that takes root\n", stderr);
                return check_run(suite);
        }
        tcase_add_checked_fixture(users, broker_start_for_all, broker_teardown);
        tcase_add_test(users, a_group_is_given_by_its_name_and_its_members_come_in);
        return check_run(suite);
}
