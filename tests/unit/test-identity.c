/* Callers are forked children that connect to a real socket. Where the test must be root to make a caller, it says nothing
 * as somebody else. */

#include "daemon/host/identity.h"
#include "proto/util.h"
#include "tests/support/check.h"
#include "tests/support/child.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <limits.h>
#include <linux/filter.h>
#include <linux/sched.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>

enum { PEERPIDFD = 77 };

static int listening;
static struct sockaddr_un address = { .sun_family = AF_UNIX };
static socklen_t address_size;

static void setup(void)
{
        listening = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
        ck_assert_int_eq(bind(listening, (const struct sockaddr *)&address, sizeof(sa_family_t)),
                         0); /* any free name */
        address_size = sizeof(address);
        ck_assert_int_eq(getsockname(listening, (struct sockaddr *)&address, &address_size), 0);
        ck_assert_int_eq(listen(listening, 8), 0);
}

static void teardown(void)
{
        listening = close_fd(listening);
}

/* --- callers ----------------------------------------------------------------------------------------------------- */

/* What a caller makes of itself before it calls. */
struct guise {
        const char *command;
        uid_t uid;
        gid_t gid;
        size_t n_groups; /* that many, counted up from 1000 */
};

static void must(bool done)
{
        if (!done)
                _exit(EXIT_FAILURE);
}

static void put_on(const struct guise *guise)
{
        gid_t groups[200];

        for (size_t i = 0; i < guise->n_groups; i++)
                groups[i] = (gid_t)(1000 + i);
        if (guise->uid) {
                must(setgroups(guise->n_groups, groups) == 0);
                must(setresgid(guise->gid, guise->gid, guise->gid) == 0);
                must(setresuid(guise->uid, guise->uid, guise->uid) == 0);
        }
        if (guise->command)
                must(prctl(PR_SET_NAME, guise->command) == 0);
}

static int call(void)
{
        int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

        must(connect(fd, (const struct sockaddr *)&address, address_size) == 0);
        return fd;
}

static void call_and_live(int channel, const void *data)
{
        const struct guise *guise = data;

        put_on(guise);
        call();
        child_hear(channel);
}

static int answer(void)
{
        int fd;

        ck_assert(check_wait(listening, POLLIN));
        fd = accept4(listening, NULL, NULL, SOCK_CLOEXEC);
        ck_assert_int_ge(fd, 0);
        return fd;
}

static int start(struct child *child, const struct guise *guise)
{
        child_start(child, call_and_live, guise);
        return answer();
}

static void identify(int socket, struct identity *identity)
{
        const char *operation;
        int r = identity_read(socket, identity, &operation);

        ck_assert_msg(r == 0, "%s: %s", operation, strerror(-r));
}

static bool is_dead(int pidfd)
{
        struct pollfd pollfd = { .fd = pidfd, .events = POLLIN };

        return poll(&pollfd, 1, 0) == 1;
}

/* --- who it is --------------------------------------------------------------------------------------------------- */

START_TEST(a_pair_of_sockets_leads_back_to_their_maker)
{
        struct identity identity;
        int pair[2];

        ck_assert_int_eq(prctl(PR_SET_NAME, "shepherd"), 0);
        ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
        identify(pair[0], &identity);
        ck_assert_int_eq(identity.pid, getpid());
        ck_assert_uint_eq(identity.uid, geteuid());
        ck_assert_uint_eq(identity.gid, getegid());
        ck_assert_uint_eq(identity.n_groups, (size_t)getgroups(0, NULL));
        ck_assert_str_eq(identity.command, "shepherd");
        ck_assert(fcntl(identity.pidfd, F_GETFD) & FD_CLOEXEC);
        ck_assert(!is_dead(identity.pidfd));
        ck_assert(identity_shares_ipc(identity.pid));
        identity_deinit(&identity);
        ck_assert_int_eq(identity.pidfd, -1);
        ck_assert_ptr_null(identity.groups);
        close_fd(pair[0]);
        close_fd(pair[1]);
}
END_TEST

START_TEST(a_caller_is_known_by_its_process)
{
        const struct guise plain = {};
        struct identity identity;
        struct child child;
        int fd = start(&child, &plain);

        identify(fd, &identity);
        ck_assert_int_eq(identity.pid, child.pid);
        ck_assert_uint_eq(identity.uid, geteuid());
        ck_assert(!is_dead(identity.pidfd));
        child_kill(&child);
        ck_assert(is_dead(identity.pidfd));
        identity_deinit(&identity);
        close_fd(fd);
}
END_TEST

START_TEST(one_process_has_one_id_and_two_have_two)
{
        const struct guise plain = {};
        struct identity first, second, mine, again;
        struct child a, b;
        int fd_a = start(&a, &plain), fd_b = start(&b, &plain), pair[2];

        ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
        identify(fd_a, &first);
        identify(fd_b, &second);
        identify(pair[0], &mine);
        identify(pair[1], &again);
        ck_assert_uint_ne(first.id, second.id);
        ck_assert_uint_ne(first.id, mine.id);
        ck_assert_uint_ne(second.id, mine.id);
        ck_assert_uint_eq(mine.id, again.id);
        identity_deinit(&first);
        identity_deinit(&second);
        identity_deinit(&mine);
        identity_deinit(&again);
        child_end(&a);
        child_end(&b);
        close_fd(fd_a);
        close_fd(fd_b);
        close_fd(pair[0]);
        close_fd(pair[1]);
}
END_TEST

static void check_groups(size_t n)
{
        const struct guise guise = { .uid = 12345, .gid = 54321, .n_groups = n };
        struct identity identity;
        struct child child;
        int fd;

        if (geteuid() != 0)
                return;
        fd = start(&child, &guise);
        identify(fd, &identity);
        ck_assert_uint_eq(identity.uid, 12345);
        ck_assert_uint_eq(identity.gid, 54321);
        ck_assert_uint_eq(identity.n_groups, n);
        for (size_t i = 0; i < n; i++)
                ck_assert_uint_eq(identity.groups[i], 1000 + i);
        ck_assert_int_eq(identity.groups != NULL, n > 0);
        identity_deinit(&identity);
        child_end(&child);
        close_fd(fd);
}

START_TEST(a_caller_has_all_its_groups_however_many)
{
        check_groups(0);
        check_groups(1);
        check_groups(64);
        check_groups(65);
        check_groups(200);
}
END_TEST

/* The caller calls itself `name`; it is to be known as `wanted`. */
static void check_command(const char *name, const char *wanted)
{
        const struct guise guise = { .command = name };
        struct identity identity;
        struct child child;
        int fd = start(&child, &guise);

        identify(fd, &identity);
        ck_assert_str_eq(identity.command, wanted);
        identity_deinit(&identity);
        child_end(&child);
        close_fd(fd);
}

START_TEST(a_caller_has_the_command_that_the_kernel_has)
{
        check_command("wolf", "wolf");
        check_command("a) S 1 (b", "a) S 1 (b");
        check_command("fifteen bytes..", "fifteen bytes..");
        check_command("cut at fifteen bytes", "cut at fifteen ");
        check_command("one\nmore", "one");
        check_command("", "?");
}
END_TEST

START_TEST(what_is_no_unix_socket_has_no_identity)
{
        struct identity identity;
        const char *operation = NULL;
        owned(closep) int file = open("/dev/null", O_RDONLY | O_CLOEXEC);

        ck_assert_int_eq(identity_read(file, &identity, &operation), -ENOTSOCK);
        ck_assert_str_eq(operation, "getsockopt SO_PEERCRED");
}
END_TEST

/* --- the dead ---------------------------------------------------------------------------------------------------- */

static void call_and_end(int channel, const void *data)
{
        (void)data;
        call();
        child_tell(channel, 0);
}

/* What is not known for certain any more is refused. */
static void check_is_dead_or_refused(int fd)
{
        struct identity identity;
        const char *operation;
        int r = identity_read(fd, &identity, &operation);

        if (r == 0) {
                ck_assert(is_dead(identity.pidfd));
                ck_assert_str_eq(identity.command, "?");
                identity_deinit(&identity);
        } else {
                ck_assert_int_eq(r, -ESRCH);
                ck_assert_str_eq(operation, "getsockopt SO_PEERPIDFD");
        }
}

/* Makes getsockopt(2) answer for SO_PEERPIDFD as kernels before Linux 6.5 do. Not for valgrind, which does not know
 * pidfd_open(2), which is asked then. */
static void forget_peer_pidfds(void)
{
        struct sock_filter program[] = {
                BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
                BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, __NR_getsockopt, 0, 3),
                BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, args[2])),
                BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, PEERPIDFD, 0, 1),
                BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | ENOPROTOOPT),
                BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
        };
        const struct sock_fprog filter = { .len = array_size(program), .filter = program };

        ck_assert_int_eq(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), 0);
        ck_assert_int_eq(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter), 0);
}

START_TEST(an_older_kernel_tells_the_same_of_the_living)
{
        const struct guise guise = { .command = "wolf" };
        struct identity before, after;
        struct child child;
        int fd;

        if (check_on_valgrind())
                return;
        fd = start(&child, &guise);
        identify(fd, &before);
        forget_peer_pidfds();
        identify(fd, &after);
        ck_assert_int_eq(after.pid, child.pid);
        ck_assert_uint_eq(after.id, before.id);
        ck_assert_str_eq(after.command, "wolf");
        ck_assert(fcntl(after.pidfd, F_GETFD) & FD_CLOEXEC);
        child_kill(&child);
        ck_assert(is_dead(after.pidfd));
        identity_deinit(&before);
        identity_deinit(&after);
        close_fd(fd);
}
END_TEST

/* _i: 0 with SO_PEERPIDFD, 1 without, here and below. */
START_TEST(the_dead_are_dead_or_refused)
{
        const struct guise plain = {};
        struct child child;
        int fd = start(&child, &plain);
        siginfo_t end;

        if (_i == 1 && !check_on_valgrind())
                forget_peer_pidfds();
        kill(child.pid, SIGKILL);
        ck_assert_int_eq(waitid(P_PID, (id_t)child.pid, &end, WEXITED | WNOWAIT), 0);
        check_is_dead_or_refused(fd); /* nobody has waited for it yet */
        child_kill(&child);
        check_is_dead_or_refused(fd); /* and now there is nothing left of it */
        close_fd(fd);
}
END_TEST

/* A process under this very number, which waits to be killed; 0 where we may not choose. */
static pid_t take_number(pid_t pid)
{
        struct clone_args args = { .exit_signal = SIGCHLD, .set_tid = (uintptr_t)&pid, .set_tid_size = 1 };
        pid_t taken = (pid_t)syscall(SYS_clone3, &args, sizeof(args));

        if (taken == 0) {
                prctl(PR_SET_NAME, "impostor");
                for (;;)
                        pause();
        }
        return taken == pid ? pid : 0;
}

START_TEST(who_took_over_the_number_of_the_dead_is_not_taken_for_them)
{
        struct child child;
        pid_t impostor;
        int fd;

        child_start(&child, call_and_end, NULL);
        impostor = child.pid;
        fd = answer();
        child_end(&child);
        impostor = take_number(impostor);
        if (impostor > 0) {
                if (_i == 1)
                        forget_peer_pidfds();
                check_is_dead_or_refused(fd);
                kill(impostor, SIGKILL);
                waitpid(impostor, NULL, 0);
        }
        close_fd(fd);
}
END_TEST

/* --- namespaces -------------------------------------------------------------------------------------------------- */

static void leave_ipc_namespace(int channel, const void *data)
{
        (void)data;
        child_tell(channel, unshare(CLONE_NEWIPC) == 0);
        child_hear(channel);
}

START_TEST(who_lives_in_another_ipc_namespace_is_told_apart)
{
        struct child child;

        ck_assert_uint_ne(identity_ipc_namespace(), 0);
        child_start(&child, leave_ipc_namespace, NULL);
        if (child_hear(child.channel))
                ck_assert(!identity_shares_ipc(child.pid));
        else
                ck_assert(identity_shares_ipc(child.pid)); /* it was not allowed to leave */
        child_end(&child);
        ck_assert(identity_shares_ipc(INT_MAX)); /* there is nobody: nothing is known against it */
}
END_TEST

int main(void)
{
        Suite *suite = suite_create("identity");
        TCase *callers = check_case(suite, "callers");
        TCase *dead = check_case(suite, "dead");
        TCase *namespaces = check_case(suite, "namespaces");

        tcase_add_checked_fixture(callers, setup, teardown);
        tcase_add_test(callers, a_pair_of_sockets_leads_back_to_their_maker);
        tcase_add_test(callers, a_caller_is_known_by_its_process);
        tcase_add_test(callers, one_process_has_one_id_and_two_have_two);
        tcase_add_test(callers, a_caller_has_all_its_groups_however_many);
        tcase_add_test(callers, a_caller_has_the_command_that_the_kernel_has);
        tcase_add_test(callers, what_is_no_unix_socket_has_no_identity);

        tcase_add_checked_fixture(dead, setup, teardown);
        tcase_add_test(dead, an_older_kernel_tells_the_same_of_the_living);
        tcase_add_loop_test(dead, the_dead_are_dead_or_refused, 0, 2);
        tcase_add_loop_test(dead, who_took_over_the_number_of_the_dead_is_not_taken_for_them, 0, 2);

        tcase_add_test(namespaces, who_lives_in_another_ipc_namespace_is_told_apart);
        return check_run(suite);
}
