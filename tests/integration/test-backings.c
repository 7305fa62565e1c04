/* Each backing from its making to its reclaim, and what a grant of it is good for. */

#include "tests/support/ipc.h"
#include "tests/support/session.h"

#include "proto/util.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/shm.h>
#include <sys/stat.h>

enum { SMALL = 3 * 4096, LARGE = 1 << 20 /* more than is given back at once */ };

static const char *const shared_backings[] = { "memfd", "posix", "file", "sysv" };
enum { N_SHARED = array_size(shared_backings) };

static bool exists(const char *path)
{
        struct stat st;

        return lstat(path, &st) == 0;
}

/* --- through the library, from making to reclaim ----------------------------------------------------------------- */

static void fill(char *bytes, size_t n, unsigned seed)
{
        for (size_t i = 0; i < n; i++)
                bytes[i] = (char)(i * 7 + seed);
}

static void check_filled(const char *bytes, size_t n, unsigned seed)
{
        size_t right = 0;

        while (right < n && bytes[right] == (char)(right * 7 + seed))
                right++;
        ck_assert_msg(right == n, "byte %zu", right); /* once: each assertion is written down */
}

static void join_and_answer(int channel, const void *data)
{
        const struct region_env_options options = { .wait_usec = 0 };
        struct region_broker *session = connect_session();
        struct region_env *env;
        char *small, *large;

        (void)data;
        ck_assert_msg(region_env_open(session, "e", &options, &env) == REGION_OK, "%s", region_error_message());
        small = map_region(env, "small");
        large = map_region(env, "large");
        check_filled(small, SMALL, 1);
        check_filled(large, LARGE, 2);
        fill(small, SMALL, 3);
        child_tell(channel, 1);
        child_hear(channel);
        region_env_close(env);
        region_broker_close(session);
}

struct traces {
        char paths[2][256];
        int ids[2];
};

static void note_traces(struct region_env *env, struct traces *traces)
{
        for (size_t i = 0; i < 2; i++) {
                const struct region_info *info = region_info(region_env_at(env, i));

                snprintf(traces->paths[i], sizeof(traces->paths[i]), "%s", info->path ? info->path : "");
                traces->ids[i] = info->shm_id;
                ck_assert(!info->path || exists(info->path));
        }
}

static void check_no_traces(const struct traces *traces)
{
        struct shmid_ds segment;

        for (size_t i = 0; i < 2; i++) {
                ck_assert(!traces->paths[i][0] || !exists(traces->paths[i]));
                ck_assert(traces->ids[i] < 0 || shmctl(traces->ids[i], IPC_STAT, &segment) < 0);
        }
}

START_TEST(what_one_process_writes_another_reads_and_nothing_is_left_of_it)
{
        const struct region_spec regions[] = { { .name = "small", .size = SMALL }, { .name = "large", .size = LARGE } };
        const struct region_env_options options = {
                .create = REGION_CREATE_ALWAYS,
                .backing = region_backing_from_word(shared_backings[_i]),
                .lifetime = REGION_LIFETIME_ATTACHED,
                .regions = regions,
                .n_regions = array_size(regions),
        };
        int fds = ipc_count_fds(broker.pid), watcher;
        struct region_broker *session = connect_session();
        struct region_env *env;
        struct traces traces;
        struct child child;
        char *small;

        ck_assert_msg(region_env_open(session, "e", &options, &env) == REGION_OK, "%s", region_error_message());
        note_traces(env, &traces);
        small = map_region(env, "small");
        fill(small, SMALL, 1);
        fill(map_region(env, "large"), LARGE, 2);
        ck_assert_int_eq(region_env_ready(env), REGION_OK);

        child_start(&child, join_and_answer, NULL);
        ck_assert_int_eq(child_hear(child.channel), 1);
        check_filled(small, SMALL, 3);
        child_tell(child.channel, 1);
        child_end(&child);
        region_env_close(env);
        region_broker_close(session);

        ck_assert(daemon_wait_for_line(&broker, "reclaimed environment e: 2 regions, 1060864 bytes"));
        check_no_traces(&traces);
        watcher = broker_connect();
        ck_assert_int_eq(broker_statistic(watcher, "environments"), 0);
        ck_assert_int_eq(broker_statistic(watcher, "bytes"), 0);
        ck_assert_int_eq(broker_statistic(watcher, "counters.reclaimedBytes"), SMALL + LARGE);
        close(watcher);
        broker_wait_for_fds(fds);
}
END_TEST

START_TEST(a_region_that_is_added_is_like_the_others)
{
        owned(varlink_clear) struct varlink_reply reply = {};
        int peer = broker_connect(), other = broker_connect();
        char *one, *two;

        broker_open(peer, &reply, "e", "'backing':'%s','lifetime':'attached','regions':[]", shared_backings[_i]);
        varlink_ask(peer, &reply, "AddRegion", "{'environment':'e','region':{'name':'more','size':%d}}", SMALL);
        ck_assert_reply(&reply, NULL);
        ck_assert_value(&reply, "grant.region.backing", shared_backings[_i]);
        ck_assert_value(&reply, "grant.region.number", "1");
        one = broker_map_grant(&reply, "grant");
        varlink_ask(peer, &reply, "AddRegion", "{'environment':'e','region':{'name':'more','size':%d}}", SMALL);
        ck_assert_reply(&reply, "RegionExists");
        varlink_ask(other, &reply, "Open", "{'environment':'e'}");
        two = broker_map_grant(&reply, "grants.0");
        one[SMALL - 1] = 'x';
        ck_assert_int_eq(two[SMALL - 1], 'x');
        broker_unmap(one, SMALL);
        broker_unmap(two, SMALL);
        varlink_clear(&reply);

        varlink_ask(other, &reply, "DeleteRegion", "{'environment':'e','region':'more'}");
        ck_assert_reply(&reply, "Busy");
        broker_detach(other, "e");
        varlink_ask(peer, &reply, "Detach", "{'environment':'e','region':'more'}");
        varlink_ask(peer, &reply, "DeleteRegion", "{'environment':'e','region':'more'}");
        ck_assert_reply(&reply, NULL);
        ck_assert_int_eq(broker_statistic(peer, "regions"), 0);
        varlink_ask(peer, &reply, "AddRegion", "{'environment':'e','region':{'name':'more','size':1}}");
        ck_assert_value(&reply, "grant.region.number", "2"); /* numbers are not used again */
        close(peer);
        close(other);
}
END_TEST

START_TEST(regions_of_one_environment_may_have_backings_of_their_own)
{
        owned(varlink_clear) struct varlink_reply reply = {};
        int peer = broker_connect();
        char path[16];

        broker_open(peer, &reply, "e",
                    "'lifetime':'attached','regions':[{'name':'0','size':4096,'backing':'memfd'},"
                    "{'name':'1','size':4096,'backing':'posix'},{'name':'2','size':4096,'backing':'file'},"
                    "{'name':'3','size':4096,'backing':'sysv'}]");
        for (size_t i = 0; i < N_SHARED; i++) {
                char *bytes;

                snprintf(path, sizeof(path), "grants.%zu", i);
                ck_assert_str_eq(varlink_value(&reply, "%s.region.backing", path), shared_backings[i]);
                bytes = broker_map_grant(&reply, path);
                bytes[4095] = 'x';
                broker_unmap(bytes, 4096);
        }
        close(peer);
}
END_TEST

/* --- memfd ------------------------------------------------------------------------------------------------------- */

START_TEST(a_memfd_is_sealed_in_its_size_and_not_in_its_content)
{
        owned(varlink_clear) struct varlink_reply reply = {};
        int peer = broker_connect(), fd, seals;

        broker_open(peer, &reply, "e", "'regions':[{'name':'a','size':8192}]");
        fd = reply.fds.fds[1];
        seals = fcntl(fd, F_GET_SEALS);
        ck_assert_int_eq(seals & (F_SEAL_SHRINK | F_SEAL_GROW), F_SEAL_SHRINK | F_SEAL_GROW);
        ck_assert_int_eq(seals & F_SEAL_WRITE, 0);
        ck_assert_int_eq(fchmod(fd, 0777) == 0 && geteuid() != 0, 0);
        close(peer);
}
END_TEST

/* One who may write could else lock all who come later out of writing. */
START_TEST(a_member_cannot_seal_the_memory_against_others)
{
        owned(varlink_clear) struct varlink_reply reply = {};
        int peer = broker_connect();

        broker_open(peer, &reply, "e", "'regions':[{'name':'a','size':8192}]");
        ck_assert_int_eq(fcntl(reply.fds.fds[1], F_ADD_SEALS, F_SEAL_FUTURE_WRITE), -1);
        ck_assert_int_eq(errno, EPERM);
        close(peer);
}
END_TEST

/* --- read-only grants -------------------------------------------------------------------------------------------- */

static void try_to_write(int channel, const void *data)
{
        owned(varlink_clear) struct varlink_reply reply = {};
        const char *backing = data;
        char path[64];
        int peer;

        ck_assert_int_eq(setresgid(1, 1, 1), 0);
        ck_assert_int_eq(setresuid(1, 1, 1), 0);
        peer = broker_connect();
        varlink_ask(peer, &reply, "Open", "{'environment':'e','access':'read'}");
        ck_assert_reply(&reply, NULL);
        if (strcmp(backing, "sysv") == 0) {
                ck_assert_ptr_eq(shmat((int)varlink_number(&reply, "grants.0.region.shmId"), NULL, 0), MAP_FAILED);
                ck_assert_ptr_ne(shmat((int)varlink_number(&reply, "grants.0.region.shmId"), NULL, SHM_RDONLY),
                                 MAP_FAILED);
        } else {
                ck_assert_ptr_eq(broker_map(&reply, 1, 4096, PROT_READ | PROT_WRITE), MAP_FAILED);
                ck_assert_ptr_ne(broker_map(&reply, 1, 4096, PROT_READ), MAP_FAILED);
                snprintf(path, sizeof(path), "/proc/self/fd/%d", reply.fds.fds[1]);
                ck_assert_int_lt(open(path, O_RDWR | O_CLOEXEC), 0);
                ck_assert_int_lt(fchmod(reply.fds.fds[1], 0666), 0);
        }
        child_tell(channel, 1);
}

START_TEST(a_reader_cannot_make_itself_a_writer)
{
        owned(varlink_clear) struct varlink_reply reply = {};
        int peer = broker_connect();
        struct child child;

        broker_open(peer, &reply, "e",
                    "'backing':'%s','lifetime':'attached','mode':420,'regions':[{'name':'a','size':4096}]",
                    shared_backings[_i]);
        child_start(&child, try_to_write, shared_backings[_i]);
        ck_assert_int_eq(child_hear(child.channel), 1);
        child_end(&child);
        close(peer);
}
END_TEST

/* --- private ----------------------------------------------------------------------------------------------------- */

#define PRIVATE "'backing':'private','regions':[{'name':'a','size':4096}]"

START_TEST(a_private_environment_whose_session_ended_is_held_while_its_process_lives)
{
        owned(varlink_clear) struct varlink_reply reply = {};
        struct child child;
        int holder = broker_connect_from(&child, 0), peer = broker_connect();

        broker_open(holder, &reply, "e", PRIVATE);
        close(holder);
        broker_wait_for_statistic(peer, "sessions", 1);
        varlink_ask(peer, &reply, "Open", "{'environment':'e','create':'ifAbsent','definition':{%s}}", PRIVATE);
        ck_assert_reply(&reply, "Busy");
        ck_assert_int_eq(varlink_number(&reply, "attachments.0.pid"), child.pid);
        ck_assert_value(&reply, "attachments.0.standing", "inherited");
        child_kill(&child);
        ck_assert(daemon_wait_for_line(&broker, "reclaimed environment e"));
        close(peer);
}
END_TEST

START_TEST(a_private_environment_goes_when_its_process_says_so)
{
        owned(varlink_clear) struct varlink_reply reply = {};
        int peer = broker_connect();

        broker_open(peer, &reply, "e", PRIVATE);
        varlink_ask(peer, &reply, "AddRegion", "{'environment':'e','region':{'name':'b','size':1}}");
        ck_assert_reply(&reply, NULL);
        ck_assert_value(&reply, "grant.region.backing", "private");
        broker_detach(peer, "e");
        ck_assert_int_eq(broker_statistic(peer, "environments"), 0);
        close(peer);
}
END_TEST

int main(void)
{
        Suite *suite = suite_create("backings");
        TCase *tcase = check_case(suite, "backings");
        TCase *users = check_case(suite, "users");

        tcase_add_checked_fixture(tcase, broker_setup, broker_teardown);
        tcase_add_loop_test(tcase, what_one_process_writes_another_reads_and_nothing_is_left_of_it, 0, N_SHARED);
        tcase_add_loop_test(tcase, a_region_that_is_added_is_like_the_others, 0, N_SHARED);
        tcase_add_test(tcase, regions_of_one_environment_may_have_backings_of_their_own);
        tcase_add_test(tcase, a_memfd_is_sealed_in_its_size_and_not_in_its_content);
        tcase_add_test(tcase, a_member_cannot_seal_the_memory_against_others);
        tcase_add_test(tcase, a_private_environment_whose_session_ended_is_held_while_its_process_lives);
        tcase_add_test(tcase, a_private_environment_goes_when_its_process_says_so);

        if (geteuid() != 0) {
                fputs("test-backings: users are not tried, for that takes root\n", stderr);
                return check_run(suite);
        }
        tcase_add_checked_fixture(users, broker_start_for_all, broker_teardown);
        tcase_add_loop_test(users, a_reader_cannot_make_itself_a_writer, 0, N_SHARED);
        return check_run(suite);
}
