/* The broker's own end: its clients keep what they have, and nothing outlasts them. */

#include "tests/support/broker.h"
#include "tests/support/check.h"

#include "proto/util.h"

#include <signal.h>
#include <stdio.h>
#include <sys/shm.h>
#include <sys/stat.h>

enum { SIZE = 4096 };

static const char *const backings[] = { "memfd", "posix", "file", "sysv" };
enum { N_BACKINGS = array_size(backings) };

#define TWO_REGIONS "'regions':[{'name':'a','size':4096},{'name':'b','size':4096}]"

/* Opens `e` with two regions and maps the first. */
static char *open_and_map(int peer, const char *backing, const char *lifetime)
{
        owned(varlink_clear) struct varlink_reply reply = {};

        broker_open(peer, &reply, "e", "'backing':'%s','lifetime':'%s',%s", backing, lifetime, TWO_REGIONS);
        return broker_map_grant(&reply, "grants.0");
}

/* --- a holder in a process of its own ---------------------------------------------------------------------------- */

enum { HOLDS = 1, LOOK, IS_WELL };

static void hold(int channel, const void *backing)
{
        int peer = broker_connect();
        char *bytes = open_and_map(peer, backing, "attached");

        strcpy(bytes, "mine");
        child_tell(channel, HOLDS);
        for (;;) {
                ck_assert_int_eq(child_hear(channel), LOOK);
                ck_assert_str_eq(bytes, "mine");
                child_tell(channel, IS_WELL);
        }
}

static void start_holder(struct child *holder, const char *backing)
{
        child_start(holder, hold, backing);
        ck_assert_int_eq(child_hear(holder->channel), HOLDS);
}

static void tell(const struct child *child, int what)
{
        child_tell(child->channel, what);
        ck_assert_int_eq(child_hear(child->channel), IS_WELL);
}

static void note_trace(int peer, char **ret_path, int *ret_id)
{
        owned(varlink_clear) struct varlink_reply reply = {};
        const char *path, *id;

        varlink_ask(peer, &reply, "Describe", "{'environment':'e'}");
        path = varlink_value(&reply, "environment.regions.0.path");
        id = varlink_value(&reply, "environment.regions.0.shmId");
        *ret_path = path ? strdup(path) : NULL;
        *ret_id = id ? atoi(id) : -1;
}

/* By SIGTERM, and by SIGINT with a SIGTERM behind it: a second signal does not cut it short. */
START_TEST(when_the_broker_stops_its_clients_keep_their_bytes_and_nothing_outlasts_them)
{
        owned(freep) char *path = NULL;
        struct child holder;
        struct shmid_ds segment;
        struct stat st;
        int64_t begun = 0;
        int peer = broker_connect(), id;

        start_holder(&holder, backings[_i / 2]);
        note_trace(peer, &path, &id);
        if (_i % 2 == 1)
                ck_assert_int_eq(kill(broker.pid, SIGINT), 0);
        ck_assert(daemon_stop(&broker));
        ck_assert_int_eq(stat(broker.socket, &st), -1);
        if (path)
                ck_assert_int_eq(lstat(path, &st), -1);
        tell(&holder, LOOK);
        close(peer);
        child_kill(&holder);
        while (id >= 0 && shmctl(id, IPC_STAT, &segment) == 0)
                ck_assert_msg(check_pause(&begun), "the segment has outlasted its last holder");
}
END_TEST

START_TEST(when_the_broker_stops_persistent_files_stay)
{
        owned(freep) char *path = NULL;
        int peer = broker_connect(), id;
        struct stat st;

        broker_unmap(open_and_map(peer, "file", "persistent"), SIZE);
        note_trace(peer, &path, &id);
        ck_assert(daemon_stop(&broker));
        ck_assert_int_eq(stat(path, &st), 0);
        ck_assert_int_eq(st.st_size, SIZE);
        close(peer);
}
END_TEST

START_TEST(the_broker_stops_though_calls_are_waiting_and_sessions_are_many)
{
        owned(varlink_clear) struct varlink_reply reply = {};
        int initializer = broker_connect(), watcher = broker_connect(), peers[100];
        int64_t calls;

        varlink_ask(initializer, &reply, "Open", "{'environment':'e','create':'ifAbsent','definition':{%s}}",
                    TWO_REGIONS);
        varlink_clear(&reply);
        calls = broker_statistic(watcher, "counters.calls");
        for (size_t i = 0; i < array_size(peers); i++) {
                peers[i] = broker_connect();
                varlink_call(peers[i], i % 2 ? "Open" : "Remove", "{'environment':'e','waitUSec':3600000000}");
        }
        broker_wait_for_calls(watcher, calls, array_size(peers));
        ck_assert(daemon_stop(&broker));
        for (size_t i = 0; i < array_size(peers); i++) {
                ck_assert(!varlink_receive(peers[i], &reply));
                close(peers[i]);
        }
        close(initializer);
        close(watcher);
}
END_TEST

int main(void)
{
        Suite *suite = suite_create("stopping");
        TCase *tcase = check_case(suite, "stopping");

        tcase_add_checked_fixture(tcase, broker_setup, broker_teardown);
        tcase_add_loop_test(tcase, when_the_broker_stops_its_clients_keep_their_bytes_and_nothing_outlasts_them, 0,
                            2 * N_BACKINGS);
        tcase_add_test(tcase, when_the_broker_stops_persistent_files_stay);
        tcase_add_test(tcase, the_broker_stops_though_calls_are_waiting_and_sessions_are_many);
        return check_run(suite);
}
