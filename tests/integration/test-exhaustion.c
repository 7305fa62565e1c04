/* The machine says no: full file systems, no more segments, no more descriptors. The caller is told which call said what,
 * nothing is left of the attempt, and all is well again when there is room again.
 *
 * Shortages that others would feel too are made in a namespace of this test's own, which takes root. */

#include "tests/support/broker.h"
#include "tests/support/check.h"
#include "tests/support/ipc.h"
#include "tests/support/mount.h"
#include "tests/support/namespace.h"

#include "client/libregion.h"
#include "proto/util.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>

enum { SIZE = 4096 };

static void check_failure(const struct varlink_reply *reply, const char *operation, const char *errno_name)
{
        ck_assert_reply(reply, "ResourceFailure");
        ck_assert_value(reply, "operation", operation);
        ck_assert_value(reply, "errnoName", errno_name);
        ck_assert_ptr_nonnull(varlink_value(reply, "message"));
}

static void check_figures(int peer, int64_t environments, int64_t regions, int64_t bytes)
{
        ck_assert_int_eq(broker_statistic(peer, "environments"), environments);
        ck_assert_int_eq(broker_statistic(peer, "regions"), regions);
        ck_assert_int_eq(broker_statistic(peer, "bytes"), bytes);
}

/* --- a full file system ------------------------------------------------------------------------------------------ */

static char home[128];

/* The broker that sees it is started anew, in the directory it has already. */
static void start_with_small_home(const char *options)
{
        broker_setup();
        snprintf(home, sizeof(home), "%s/home", broker.directory);
        ck_assert_int_eq(mkdir(home, 0700), 0);
        ck_assert(daemon_stop(&broker));
        mount_tmpfs(home, options);
        broker_setup();
}

static void end_small_home(void)
{
        ck_assert_int_eq(umount2(home, MNT_DETACH), 0);
}

static int count_files(const char *path)
{
        DIR *directory = opendir(path);
        int n = -2;

        ck_assert_ptr_nonnull(directory);
        while (readdir(directory))
                n++;
        closedir(directory);
        return n;
}

static enum region_result open_region(struct region_broker *session, enum region_backing backing, size_t size,
                                      const char *where, struct region_env **ret)
{
        const struct region_spec region = { .name = "a", .size = size };
        const struct region_env_options options = {
                .create = REGION_CREATE_IF_ABSENT,
                .backing = backing,
                .lifetime = REGION_LIFETIME_ATTACHED,
                .home = where,
                .regions = &region,
                .n_regions = 1,
        };

        return region_env_open(session, "e", &options, ret);
}

START_TEST(a_full_disk_is_an_error_at_creation_and_nothing_of_it_is_left)
{
        struct region_broker *session;
        struct region_env *env;
        int peer;

        start_with_small_home("size=1m");
        peer = broker_connect();
        ck_assert_int_eq(region_broker_connect(broker.socket, &session), REGION_OK);
        ck_assert_int_eq(open_region(session, REGION_BACKING_FILE, 4 << 20, home, &env), REGION_E_RESOURCE);
        ck_assert_int_eq(region_last_error()->errnum, ENOSPC);
        ck_assert_str_eq(region_last_error()->operation, "fallocate");
        broker_wait_for_statistic(peer, "environments", 0);
        check_figures(peer, 0, 0, 0);
        ck_assert_int_eq(count_files(home), 0);
        mount_wait_until_free(home);

        /* the session is none the worse for it */
        ck_assert_int_eq(open_region(session, REGION_BACKING_FILE, 64 << 10, home, &env), REGION_OK);
        ck_assert_int_eq(region_env_role(env), REGION_ROLE_INITIALIZER);
        region_env_close(env);
        region_broker_close(session);
        close(peer);
        end_small_home();
}
END_TEST

/* The next of those who wait has its try, and is told as well. */
START_TEST(when_the_initializer_finds_no_room_the_next_one_tries)
{
        owned(varlink_clear) struct varlink_reply reply = {};
        struct region_broker *session;
        struct region_env *env;
        int waiter, peer;
        int64_t calls;

        start_with_small_home("size=1m");
        peer = broker_connect();
        waiter = broker_connect();
        ck_assert_int_eq(region_broker_connect(broker.socket, &session), REGION_OK);
        ck_assert_int_eq(open_region(session, REGION_BACKING_FILE, 4096, home, &env), REGION_OK);
        calls = broker_statistic(peer, "counters.calls");
        varlink_call(waiter, "Open",
                     "{'environment':'e','create':'ifAbsent','definition':{'backing':'file','home':'%s',"
                     "'lifetime':'attached','regions':[{'name':'a','size':4194304}]}}",
                     home);
        broker_wait_for_calls(peer, calls, 1);
        region_env_close(env);
        ck_assert(varlink_receive(waiter, &reply));
        ck_assert_value(&reply, "role", "initializer");
        ck_assert_int_eq(fallocate(reply.fds.fds[1], 0, 0, 4 << 20), -1);
        ck_assert_int_eq(errno, ENOSPC);
        varlink_clear(&reply);
        close(waiter);
        broker_wait_for_statistic(peer, "environments", 0);
        ck_assert_int_eq(count_files(home), 0);
        region_broker_close(session);
        close(peer);
        end_small_home();
}
END_TEST

/* No file for the last region, or none for what describes them. */
START_TEST(where_no_file_can_be_made_the_broker_says_so)
{
        static const struct {
                const char *inodes; /* one is the directory */
                const char *lifetime, *operation;
        } cases[] = {
                { "nr_inodes=3", "attached", "openat" },
                { "nr_inodes=4", "persistent", "write __db.environment" },
        };
        owned(varlink_clear) struct varlink_reply reply = {};
        int peer;

        start_with_small_home(cases[_i].inodes);
        peer = broker_connect();
        varlink_ask(
                peer, &reply, "Open",
                "{'environment':'e','create':'always','definition':{'backing':'file','home':'%s','lifetime':'%s','regions':["
                "{'name':'a','size':1},{'name':'b','size':1},{'name':'c','size':1}]}}",
                home, cases[_i].lifetime);
        check_failure(&reply, cases[_i].operation, "ENOSPC");
        check_figures(peer, 0, 0, 0);
        ck_assert_int_eq(count_files(home), 0);
        broker_open(peer, &reply, "e", "'backing':'file','home':'%s','lifetime':'%s','regions':[{'name':'a','size':1}]",
                    home, cases[_i].lifetime);
        varlink_clear(&reply);
        close(peer);
        end_small_home();
}
END_TEST

/* --- no more segments -------------------------------------------------------------------------------------------- */

/* In an IPC namespace of its own, where these limits are its own too. */
static void start_with_few_segments(const char *setting, const char *value)
{
        ck_assert(namespace_enter(CLONE_NEWIPC));
        namespace_set(setting, value);
        broker_setup();
}

static void check_no_segments(void)
{
        struct ipc_snapshot now;

        ck_assert_int_eq(ipc_snapshot_take(&now, broker.pid, "none"), 0);
        ck_assert_uint_eq(now.n_segments, 0);
        ipc_snapshot_deinit(&now);
}

START_TEST(when_there_are_no_more_segments_none_of_a_set_is_left)
{
        owned(varlink_clear) struct varlink_reply reply = {};
        int peer;

        start_with_few_segments("/proc/sys/kernel/shmmni", "2");
        peer = broker_connect();
        varlink_ask(peer, &reply, "Open",
                    "{'environment':'e','create':'always','definition':{'backing':'sysv','regions':["
                    "{'name':'a','size':1},{'name':'b','size':1},{'name':'c','size':1}]}}");
        check_failure(&reply, "shmget", "ENOSPC");
        check_figures(peer, 0, 0, 0);
        check_no_segments();
        broker_open(peer, &reply, "e", "'backing':'sysv','regions':[{'name':'a','size':1},{'name':'b','size':1}]");
        varlink_ask(peer, &reply, "AddRegion", "{'environment':'e','region':{'name':'c','size':1}}");
        check_failure(&reply, "shmget", "ENOSPC");
        check_figures(peer, 1, 2, 2 * SIZE);
        varlink_ask(peer, &reply, "AddRegion", "{'environment':'e','region':{'name':'c','size':1,'backing':'memfd'}}");
        ck_assert_reply(&reply, NULL);
        varlink_ask(peer, &reply, "Detach", "{'environment':'e','region':'a'}");
        varlink_ask(peer, &reply, "DeleteRegion", "{'environment':'e','region':'a'}");
        ck_assert_reply(&reply, NULL);
        varlink_ask(peer, &reply, "AddRegion", "{'environment':'e','region':{'name':'d','size':1}}");
        ck_assert_reply(&reply, NULL);
        close(peer);
}
END_TEST

START_TEST(a_segment_larger_than_allowed_is_refused_as_the_kernel_says)
{
        owned(varlink_clear) struct varlink_reply reply = {};
        int peer;

        start_with_few_segments("/proc/sys/kernel/shmmax", "8192");
        peer = broker_connect();
        varlink_ask(peer, &reply, "Open",
                    "{'environment':'e','create':'always','definition':{'backing':'sysv','regions':["
                    "{'name':'a','size':8192},{'name':'b','size':8193}]}}");
        check_failure(&reply, "shmget", "EINVAL");
        check_figures(peer, 0, 0, 0);
        check_no_segments();
        close(peer);
}
END_TEST

static void enter_another_namespace(int channel, const void *data)
{
        owned(varlink_clear) struct varlink_reply reply = {};
        int peer;

        (void)data;
        ck_assert_int_eq(unshare(CLONE_NEWIPC), 0);
        peer = broker_connect();
        varlink_ask(peer, &reply, "Open", "{'environment':'e'}");
        ck_assert_reply(&reply, "WrongNamespace");
        ck_assert_value(&reply, "environment", "e");
        varlink_ask(peer, &reply, "Open",
                    "{'environment':'f','create':'ifAbsent','definition':{'backing':'sysv','regions':["
                    "{'name':'a','size':1}]}}");
        ck_assert_reply(&reply, "WrongNamespace");
        ck_assert_value(&reply, "environment", "f");
        varlink_ask(peer, &reply, "Open", "{'environment':'e','regions':[]}");
        ck_assert_reply(&reply, NULL);
        varlink_ask(peer, &reply, "Attach", "{'environment':'e','region':'a'}");
        ck_assert_reply(&reply, "WrongNamespace");
        varlink_ask(peer, &reply, "AddRegion", "{'environment':'e','region':{'name':'b','size':1}}");
        ck_assert_reply(&reply, "WrongNamespace");
        varlink_ask(peer, &reply, "AddRegion", "{'environment':'e','region':{'name':'b','size':1,'backing':'memfd'}}");
        ck_assert_reply(&reply, NULL);
        child_tell(channel, 1);
}

START_TEST(segments_are_not_given_to_another_ipc_namespace)
{
        owned(varlink_clear) struct varlink_reply reply = {};
        struct child child;
        int peer;

        broker_setup();
        peer = broker_connect();
        broker_open(peer, &reply, "e", "'backing':'sysv','regions':[{'name':'a','size':1}]");
        child_start(&child, enter_another_namespace, NULL);
        ck_assert_int_eq(child_hear(child.channel), 1);
        child_end(&child);
        broker_wait_for_statistic(peer, "sessions", 1);
        check_figures(peer, 1, 2, 2 * SIZE);
        close(peer);
}
END_TEST

/* --- no more descriptors ----------------------------------------------------------------------------------------- */

enum { FEW = 64 };

static void start_with_few_descriptors(void)
{
        struct rlimit limit;

        broker_setup();
        ck_assert_int_eq(prlimit(broker.pid, RLIMIT_NOFILE, NULL, &limit), 0);
        limit.rlim_cur = FEW;
        ck_assert_int_eq(prlimit(broker.pid, RLIMIT_NOFILE, &limit, NULL), 0);
}

/* Makes environments of two regions each until no more can be made; says how many there are. */
static int make_until_refused(int peer, const char *backing)
{
        owned(varlink_clear) struct varlink_reply reply = {};

        for (int n = 0; n <= FEW; n++) {
                varlink_ask(peer, &reply, "Open",
                            "{'environment':'e%d','create':'always','definition':{'backing':'%s','lifetime':'attached',"
                            "'regions':[{'name':'a','size':1},{'name':'b','size':1}]}}",
                            n, backing);
                if (!reply.error)
                        continue;
                ck_assert_reply(&reply, "ResourceFailure");
                ck_assert_value(&reply, "errnoName", "EMFILE");
                return n;
        }
        ck_abort_msg("there is no end to it");
}

static const char *const descriptor_backings[] = { "memfd", "posix", "file", "sysv" };

START_TEST(without_descriptors_nothing_is_made_and_with_them_it_is_again)
{
        owned(varlink_clear) struct varlink_reply reply = {};
        const char *backing = descriptor_backings[_i];
        int peer, fds, first, again;

        start_with_few_descriptors();
        peer = broker_connect();
        ck_assert_int_eq(broker_statistic(peer, "environments"), 0);
        fds = ipc_count_fds(broker.pid);
        first = make_until_refused(peer, backing);
        ck_assert_int_gt(first, 5);
        check_figures(peer, first, 2 * first, 2 * first * SIZE);
        ck_assert_int_ge(ipc_count_fds(broker.pid), FEW - 6); /* what one more and its grants take */

        for (int i = 0; i < first; i++) {
                varlink_ask(peer, &reply, "Detach", "{'environment':'e%d'}", i);
                ck_assert_reply(&reply, NULL);
        }
        check_figures(peer, 0, 0, 0);
        broker_wait_for_fds(fds);
        again = make_until_refused(peer, backing);
        ck_assert_int_eq(again, first);
        close(peer);
}
END_TEST

START_TEST(without_descriptors_who_joins_is_told_and_nothing_is_half_granted)
{
        owned(varlink_clear) struct varlink_reply reply = {};
        int peer, joiner, n;

        start_with_few_descriptors();
        peer = broker_connect();
        joiner = broker_connect();
        broker_open(
                peer, &reply, "wide",
                "'regions':[{'name':'a','size':1},{'name':'b','size':1},{'name':'c','size':1},{'name':'d','size':1},"
                "{'name':'e','size':1},{'name':'f','size':1},{'name':'g','size':1},{'name':'h','size':1}]");
        n = make_until_refused(peer, "memfd");
        varlink_ask(joiner, &reply, "Open", "{'environment':'wide'}");
        ck_assert_reply(&reply, "ResourceFailure");
        ck_assert_value(&reply, "errnoName", "EMFILE");
        varlink_ask(joiner, &reply, "Describe", "{'environment':'wide'}");
        ck_assert_int_eq(varlink_number(&reply, "environment.attachments"), 1);
        ck_assert_int_eq(varlink_number(&reply, "attachments"), 8);
        varlink_ask(peer, &reply, "Detach", "{'environment':'e%d'}", n - 1);
        ck_assert_reply(&reply, NULL);
        broker_detach(peer, "e0");
        varlink_ask(joiner, &reply, "Open", "{'environment':'wide'}");
        ck_assert_reply(&reply, NULL);
        ck_assert_uint_eq(reply.fds.n, 9);
        close(peer);
        close(joiner);
}
END_TEST

START_TEST(without_descriptors_callers_are_turned_away_with_a_word_and_served_again_later)
{
        owned(varlink_clear) struct varlink_reply reply = {};
        int peers[FEW + 10], n = 0, served = 0, fds;

        start_with_few_descriptors();
        peers[0] = broker_connect();
        ck_assert_int_eq(broker_statistic(peers[0], "sessions"), 1);
        fds = ipc_count_fds(broker.pid);
        for (n = 1; n < (int)array_size(peers); n++)
                peers[n] = broker_connect();
        for (int i = 0; i < n; i++) {
                varlink_ask(peers[i], &reply, "GetStatistics", NULL);
                if (!reply.error) {
                        served++;
                        continue;
                }
                ck_assert_reply(&reply, "ResourceFailure");
                ck_assert_value(&reply, "errnoName", "EMFILE");
                ck_assert(!varlink_receive(peers[i], &reply));
        }
        ck_assert_int_gt(served, FEW / 2);
        ck_assert_int_lt(served, FEW);
        ck_assert_int_eq(broker_statistic(peers[0], "sessions"), served);

        for (int i = 1; i < n; i++)
                close(peers[i]);
        broker_wait_for_statistic(peers[0], "sessions", 1);
        broker_wait_for_fds(fds);
        peers[1] = broker_connect();
        broker_open(peers[1], &reply, "e", "'regions':[{'name':'a','size':1}]");
        close(peers[0]);
        close(peers[1]);
}
END_TEST

START_TEST(without_descriptors_the_dead_are_still_noticed_and_their_memory_comes_back)
{
        owned(varlink_clear) struct varlink_reply reply = {};
        struct child child;
        int peer, session;

        start_with_few_descriptors();
        peer = broker_connect();
        session = broker_connect_from(&child, 0);
        broker_open(session, &reply, "theirs", "'regions':[{'name':'a','size':1048576}]");
        varlink_clear(&reply);
        make_until_refused(peer, "memfd");
        child_kill(&child);
        ck_assert(daemon_wait_for_line(&broker, "reclaimed environment theirs: 1 regions, 1048576 bytes"));
        close(session);
        close(peer);
}
END_TEST

int main(void)
{
        Suite *suite = suite_create("exhaustion");
        TCase *descriptors = check_case(suite, "descriptors");
        TCase *namespaces = check_case(suite, "namespaces");

        tcase_add_checked_fixture(descriptors, NULL, broker_teardown);
        tcase_add_loop_test(descriptors, without_descriptors_nothing_is_made_and_with_them_it_is_again, 0,
                            (int)array_size(descriptor_backings));
        tcase_add_test(descriptors, without_descriptors_who_joins_is_told_and_nothing_is_half_granted);
        tcase_add_test(descriptors, without_descriptors_callers_are_turned_away_with_a_word_and_served_again_later);
        tcase_add_test(descriptors, without_descriptors_the_dead_are_still_noticed_and_their_memory_comes_back);

        if (geteuid() != 0) {
                fputs("test-exhaustion: namespaces are not tried, for that takes root\n", stderr);
                return check_run(suite);
        }
        tcase_add_checked_fixture(namespaces, NULL, broker_teardown);
        tcase_add_test(namespaces, a_full_disk_is_an_error_at_creation_and_nothing_of_it_is_left);
        tcase_add_test(namespaces, when_the_initializer_finds_no_room_the_next_one_tries);
        tcase_add_loop_test(namespaces, where_no_file_can_be_made_the_broker_says_so, 0, 2);
        tcase_add_test(namespaces, when_there_are_no_more_segments_none_of_a_set_is_left);
        tcase_add_test(namespaces, a_segment_larger_than_allowed_is_refused_as_the_kernel_says);
        tcase_add_test(namespaces, segments_are_not_given_to_another_ipc_namespace);
        return check_run(suite);
}
