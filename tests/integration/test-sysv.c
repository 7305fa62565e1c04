/* System V segments: whose keys are whose. */

#include "tests/support/broker.h"
#include "tests/support/check.h"
#include "tests/support/ipc.h"

#include "proto/util.h"

#include <stdio.h>
#include <sys/shm.h>

#define THREE_SEGMENTS \
        "'backing':'sysv','regions':[{'name':'a','size':4096},{'name':'b','size':4096},{'name':'c','size':4096}]"

START_TEST(keys_that_are_asked_for_are_a_run)
{
        owned(varlink_clear) struct varlink_reply reply = {};
        int peer = broker_connect(), key = ipc_own_key();
        struct shmid_ds segment;

        broker_open(peer, &reply, "e", "'shmKey':%d,'mode':416,%s", key, THREE_SEGMENTS);
        for (int i = 0; i < 3; i++) {
                int id = (int)varlink_number(&reply, "grants.%d.region.shmId", i);

                ck_assert_int_eq(varlink_number(&reply, "grants.%d.region.shmKey", i), key + i);
                ck_assert_int_eq(shmget(key + i, 0, 0), id);
                ck_assert_int_eq(shmctl(id, IPC_STAT, &segment), 0);
                ck_assert_int_eq(segment.shm_cpid, broker.pid);
                ck_assert_uint_eq(segment.shm_perm.mode & 0777, 0640);
                ck_assert_uint_eq(segment.shm_segsz, 4096);
        }
        varlink_ask(peer, &reply, "AddRegion", "{'environment':'e','region':{'name':'d','size':1}}");
        ck_assert_int_eq(varlink_number(&reply, "grant.region.shmKey"), key + 3);
        broker_detach(peer, "e");
        for (int i = 0; i < 4; i++)
                ck_assert_int_eq(shmget(key + i, 0, 0), -1);
        close(peer);
}
END_TEST

START_TEST(keys_that_the_broker_picks_are_runs_that_do_not_meet)
{
        owned(varlink_clear) struct varlink_reply reply = {};
        int peer = broker_connect();
        int64_t first[2];

        for (int i = 0; i < 2; i++) {
                broker_open(peer, &reply, i ? "e" : "f", THREE_SEGMENTS);
                first[i] = varlink_number(&reply, "grants.0.region.shmKey");
                ck_assert_int_gt(first[i], 0);
                ck_assert_int_eq(varlink_number(&reply, "grants.1.region.shmKey"), first[i] + 1);
                ck_assert_int_eq(varlink_number(&reply, "grants.2.region.shmKey"), first[i] + 2);
        }
        ck_assert(first[1] >= first[0] + 3 || first[1] + 3 <= first[0]);
        close(peer);
}
END_TEST

START_TEST(a_taken_key_is_refused_by_its_holder_and_left_alone)
{
        owned(varlink_clear) struct varlink_reply reply = {};
        int peer = broker_connect(), key = ipc_own_key(), id;

        id = ipc_make_foreign(key + 1);
        varlink_ask(peer, &reply, "Open", "{'environment':'e','create':'ifAbsent','definition':{'shmKey':%d,%s}}", key,
                    THREE_SEGMENTS);
        ck_assert_reply(&reply, "KeyInUse");
        ck_assert_int_eq(varlink_number(&reply, "shmKey"), key + 1);
        ck_assert_int_eq(varlink_number(&reply, "shmId"), id);
        ck_assert_int_eq(varlink_number(&reply, "uid"), geteuid());
        ck_assert_int_eq(varlink_number(&reply, "pid"), getpid());
        ck_assert_int_eq(shmget(key, 0, 0), -1);
        ck_assert_int_eq(shmget(key + 2, 0, 0), -1);
        ck_assert_int_eq(broker_statistic(peer, "environments"), 0);
        ck_assert_int_eq(broker_statistic(peer, "bytes"), 0);

        /* one more of a set that asked for its keys, neither */
        broker_open(peer, &reply, "e", "'shmKey':%d,'backing':'sysv','regions':[{'name':'a','size':1}]", key);
        varlink_ask(peer, &reply, "AddRegion", "{'environment':'e','region':{'name':'b','size':1}}");
        ck_assert_reply(&reply, "KeyInUse");
        ck_assert_int_eq(varlink_number(&reply, "shmKey"), key + 1);
        ipc_check_foreign(id);
        ck_assert_int_eq(shmctl(id, IPC_RMID, NULL), 0);
        varlink_ask(peer, &reply, "AddRegion", "{'environment':'e','region':{'name':'b','size':1}}");
        ck_assert_reply(&reply, NULL);
        ck_assert_int_eq(varlink_number(&reply, "grant.region.shmKey"), key + 1);
        close(peer);
}
END_TEST

START_TEST(the_broker_goes_around_keys_that_are_taken)
{
        owned(varlink_clear) struct varlink_reply reply = {};
        int peer = broker_connect(), key, id;

        broker_open(peer, &reply, "e", "'backing':'sysv','regions':[{'name':'a','size':1}]");
        key = (int)varlink_number(&reply, "grants.0.region.shmKey");
        id = ipc_make_foreign(key + 2);
        broker_open(peer, &reply, "f", THREE_SEGMENTS);
        ck_assert_int_eq(varlink_number(&reply, "grants.0.region.shmKey"), key + 3);
        ck_assert_int_eq(varlink_number(&reply, "grants.2.region.shmKey"), key + 5);
        ck_assert_int_eq(shmget(key + 1, 0, 0), -1);
        ipc_check_foreign(id);
        ck_assert_int_eq(shmctl(id, IPC_RMID, NULL), 0);
        close(peer);
}
END_TEST

int main(void)
{
        Suite *suite = suite_create("sysv");
        TCase *tcase = check_case(suite, "sysv");

        tcase_add_checked_fixture(tcase, broker_setup, broker_teardown);
        tcase_add_test(tcase, keys_that_are_asked_for_are_a_run);
        tcase_add_test(tcase, keys_that_the_broker_picks_are_runs_that_do_not_meet);
        tcase_add_test(tcase, a_taken_key_is_refused_by_its_holder_and_left_alone);
        tcase_add_test(tcase, the_broker_goes_around_keys_that_are_taken);
        return check_run(suite);
}
