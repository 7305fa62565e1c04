/* Remove and DeleteRegion: refused, waiting, by force. */

#include "tests/support/broker.h"
#include "tests/support/check.h"

#include "client/libregion.h"
#include "proto/control.h"
#include "proto/util.h"

#include <stdio.h>
#include <sys/mman.h>

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

enum { HOLDS = 1, LOOK, DETACH, IS_WELL };

static void hold(int channel, const void *backing)
{
        int peer = broker_connect();
        char *bytes = open_and_map(peer, backing, "attached");

        strcpy(bytes, "mine");
        child_tell(channel, HOLDS);
        for (;;) {
                switch (child_hear(channel)) {
                case LOOK:
                        ck_assert_str_eq(bytes, "mine");
                        break;
                case DETACH:
                        broker_unmap(bytes, SIZE);
                        broker_detach(peer, "e");
                        break;
                }
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

/* --- at once, or not --------------------------------------------------------------------------------------------- */

START_TEST(what_nobody_holds_is_removed_at_once)
{
        owned(varlink_clear) struct varlink_reply reply = {};
        int peer = broker_connect();

        broker_unmap(open_and_map(peer, backings[_i], "persistent"), SIZE);
        broker_detach(peer, "e");
        varlink_ask(peer, &reply, "Remove", "{'environment':'e'}");
        ck_assert_reply(&reply, NULL);
        ck_assert_int_eq(varlink_number(&reply, "bytes"), 2 * SIZE);
        varlink_ask(peer, &reply, "Remove", "{'environment':'e'}");
        ck_assert_reply(&reply, "EnvironmentNotFound");
        ck_assert_value(&reply, "environment", "e");
        close(peer);
}
END_TEST

START_TEST(what_is_held_is_busy_and_its_holders_are_named)
{
        owned(varlink_clear) struct varlink_reply reply = {};
        int peer = broker_connect();
        struct child holder;

        start_holder(&holder, "memfd");
        varlink_ask(peer, &reply, "Remove", "{'environment':'e'}");
        ck_assert_reply(&reply, "Busy");
        ck_assert_value(&reply, "environment", "e");
        ck_assert_int_eq(varlink_number(&reply, "attachments"), 2);
        for (int i = 0; i < 2; i++) {
                ck_assert_int_eq(varlink_number(&reply, "attachments.%d.pid", i), holder.pid);
                ck_assert_str_eq(varlink_value(&reply, "attachments.%d.command", i), "test-removal");
                ck_assert_str_eq(varlink_value(&reply, "attachments.%d.standing", i), "connected");
        }
        varlink_ask(peer, &reply, "Remove", "{'environment':'e','force':false,'waitUSec':0}");
        ck_assert_reply(&reply, "Busy");
        tell(&holder, LOOK);
        child_end(&holder);
        close(peer);
}
END_TEST

/* --- waiting for the holders ------------------------------------------------------------------------------------- */

static void start_removal(int remover, int watcher, const char *wait)
{
        int64_t calls = broker_statistic(watcher, "counters.calls");

        varlink_call(remover, "Remove", "{'environment':'e','waitUSec':%s}", wait);
        broker_wait_for_calls(watcher, calls, 1);
}

static void check_removed(int remover)
{
        owned(varlink_clear) struct varlink_reply reply = {};

        ck_assert(varlink_receive(remover, &reply));
        ck_assert_reply(&reply, NULL);
        ck_assert_int_eq(varlink_number(&reply, "bytes"), 2 * SIZE);
}

/* The holder is killed (0) or detaches (1). */
START_TEST(a_removal_that_waits_is_done_the_moment_the_holder_goes)
{
        int remover = broker_connect(), watcher = broker_connect();
        struct child holder;

        start_holder(&holder, backings[_i / 2]);
        start_removal(remover, watcher, "3600000000");
        if (_i % 2 == 0) {
                child_kill(&holder);
        } else {
                tell(&holder, DETACH);
        }
        check_removed(remover);
        if (_i % 2 == 1)
                child_end(&holder);
        ck_assert_int_eq(broker_statistic(watcher, "environments"), 0);
        close(remover);
        close(watcher);
}
END_TEST

/* The holder is one that the broker does not know. */
START_TEST(a_removal_that_waits_is_done_when_the_last_mapping_goes)
{
        int session = broker_connect(), remover = broker_connect(), watcher = broker_connect();
        char *bytes = open_and_map(session, backings[_i], "persistent");

        broker_detach(session, "e");
        start_removal(remover, watcher, "3600000000");
        ck_assert_int_eq(broker_statistic(watcher, "environments"), 1);
        bytes[0] = 'x';
        broker_unmap(bytes, SIZE);
        check_removed(remover);
        close(session);
        close(remover);
        close(watcher);
}
END_TEST

START_TEST(a_removal_that_has_waited_long_enough_is_refused)
{
        owned(varlink_clear) struct varlink_reply reply = {};
        int peer = broker_connect();
        struct child holder;

        start_holder(&holder, backings[_i]);
        varlink_ask(peer, &reply, "Remove", "{'environment':'e','waitUSec':30000}");
        ck_assert_reply(&reply, "Busy");
        ck_assert_int_eq(varlink_number(&reply, "attachments.0.pid"), holder.pid);
        tell(&holder, LOOK);
        varlink_ask(peer, &reply, "Open", "{'environment':'e','waitUSec':0}"); /* the door is open again */
        ck_assert_reply(&reply, NULL);
        child_end(&holder);
        close(peer);
}
END_TEST

START_TEST(while_a_removal_waits_nobody_enters_and_the_members_can_see_it)
{
        owned(varlink_clear) struct varlink_reply reply = {};
        int member = broker_connect(), remover = broker_connect(), opener = broker_connect(),
            watcher = broker_connect();
        const struct control_page *page;
        int64_t calls;

        broker_open(member, &reply, "e", TWO_REGIONS);
        page = broker_map(&reply, 0, CONTROL_SIZE, PROT_READ);
        ck_assert_uint_eq(page->flags, 0);
        start_removal(remover, watcher, "3600000000");
        ck_assert_uint_eq(page->flags, CONTROL_DRAINING);
        varlink_ask(watcher, &reply, "Open", "{'environment':'e','waitUSec':0}");
        ck_assert_reply(&reply, "NotReady");
        ck_assert_value(&reply, "state", "ready");
        calls = broker_statistic(watcher, "counters.calls");
        varlink_call(opener, "Open", "{'environment':'e'}");
        broker_wait_for_calls(watcher, calls, 1);
        varlink_ask(member, &reply, "AddRegion", "{'environment':'e','region':{'name':'c','size':1}}");
        ck_assert_reply(&reply, NULL); /* those inside go on with their work */

        close(remover); /* it does not want it any more */
        ck_assert(varlink_receive(opener, &reply));
        ck_assert_reply(&reply, NULL);
        ck_assert_value(&reply, "role", "member");
        ck_assert_uint_eq(page->flags, 0);
        munmap((void *)(uintptr_t)page, CONTROL_SIZE);
        close(member);
        close(opener);
        close(watcher);
}
END_TEST

START_TEST(who_waited_behind_a_removal_makes_it_anew_or_finds_nothing)
{
        owned(varlink_clear) struct varlink_reply reply = {};
        int remover = broker_connect(), maker = broker_connect(), joiner = broker_connect(), watcher = broker_connect();
        struct child holder;
        int64_t calls;

        start_holder(&holder, "memfd");
        start_removal(remover, watcher, "3600000000");
        calls = broker_statistic(watcher, "counters.calls");
        varlink_call(joiner, "Open", "{'environment':'e','waitUSec':3600000000}");
        if (_i == 0)
                varlink_call(maker, "Open", "{'environment':'e','create':'ifAbsent','definition':{%s}}", TWO_REGIONS);
        broker_wait_for_calls(watcher, calls, _i == 0 ? 2 : 1);
        child_kill(&holder);
        check_removed(remover);
        if (_i == 0) {
                ck_assert(varlink_receive(maker, &reply));
                ck_assert_value(&reply, "role", "initializer");
                varlink_ask(maker, &reply, "Ready", "{'environment':'e'}");
        }
        ck_assert(varlink_receive(joiner, &reply));
        ck_assert_reply(&reply, _i == 0 ? NULL : "EnvironmentNotFound");
        close(remover);
        close(maker);
        close(joiner);
        close(watcher);
}
END_TEST

START_TEST(of_two_removals_that_wait_both_are_told)
{
        owned(varlink_clear) struct varlink_reply reply = {};
        int one = broker_connect(), other = broker_connect(), watcher = broker_connect();
        struct child holder;

        start_holder(&holder, "memfd");
        start_removal(one, watcher, "3600000000");
        varlink_ask(other, &reply, "Remove", "{'environment':'e','waitUSec':20000}");
        ck_assert_reply(&reply, "Busy");
        start_removal(other, watcher, "3600000000"); /* the first still waits, and the door is still closed */
        varlink_ask(watcher, &reply, "Open", "{'environment':'e','waitUSec':0}");
        ck_assert_reply(&reply, "NotReady");
        child_kill(&holder);
        check_removed(one);
        check_removed(other);
        close(one);
        close(other);
        close(watcher);
}
END_TEST

/* What goes in the moment and is made anew in the next is not what the removal waited for. */
START_TEST(a_removal_does_not_wait_for_what_was_made_anew_under_the_name)
{
        owned(varlink_clear) struct varlink_reply reply = {};
        int member = broker_connect(), remover = broker_connect(), watcher = broker_connect();

        broker_open(member, &reply, "e", TWO_REGIONS);
        varlink_clear(&reply);
        start_removal(remover, watcher, "3600000000");
        broker_pause(); /* both are read in one turn */
        varlink_call(member, "Detach", "{'environment':'e'}");
        varlink_call(member, "Open", "{'environment':'e','create':'ifAbsent','definition':{%s}}", TWO_REGIONS);
        broker_resume();
        check_removed(remover);
        ck_assert(varlink_receive(member, &reply));
        ck_assert(varlink_receive(member, &reply));
        ck_assert_value(&reply, "role", "initializer");
        varlink_clear(&reply);
        varlink_ask(member, &reply, "Ready", "{'environment':'e'}");
        ck_assert_reply(&reply, NULL);
        varlink_ask(watcher, &reply, "Open", "{'environment':'e','waitUSec':0}");
        ck_assert_reply(&reply, NULL);
        close(member);
        close(remover);
        close(watcher);
}
END_TEST

/* --- by force ---------------------------------------------------------------------------------------------------- */

START_TEST(removed_by_force_its_holders_keep_their_bytes_and_its_name_is_free)
{
        owned(varlink_clear) struct varlink_reply reply = {};
        int peer = broker_connect();
        struct child holder;
        char *anew;

        start_holder(&holder, backings[_i]);
        varlink_ask(peer, &reply, "Remove", "{'environment':'e','force':true}");
        ck_assert_reply(&reply, NULL);
        ck_assert_int_eq(varlink_number(&reply, "bytes"), 2 * SIZE);
        tell(&holder, LOOK);
        anew = open_and_map(peer, backings[_i], "attached");
        ck_assert_int_eq(anew[0], 0);
        strcpy(anew, "another's");
        tell(&holder, LOOK);
        ck_assert_int_eq(broker_statistic(peer, "environments"), 2);
        child_kill(&holder);
        ck_assert(daemon_wait_for_line(&broker, "reclaimed environment e: 2 regions, 8192 bytes"));
        ck_assert_int_eq(broker_statistic(peer, "environments"), 1);
        ck_assert_str_eq(anew, "another's");
        broker_unmap(anew, SIZE);
        close(peer);
}
END_TEST

START_TEST(a_member_of_what_was_removed_by_force_leaves_it_as_ever)
{
        owned(varlink_clear) struct varlink_reply reply = {};
        int peer = broker_connect();
        struct child holder;

        start_holder(&holder, backings[_i]);
        varlink_ask(peer, &reply, "Remove", "{'environment':'e','force':true}");
        ck_assert_reply(&reply, NULL);
        tell(&holder, DETACH);
        ck_assert(daemon_wait_for_line(&broker, "reclaimed environment e: 2 regions, 8192 bytes"));
        child_end(&holder);
        close(peer);
}
END_TEST

START_TEST(of_what_was_removed_by_force_each_region_goes_with_its_own_last_holder)
{
        owned(varlink_clear) struct varlink_reply reply = {};
        int peer = broker_connect();
        char *bytes = open_and_map(peer, backings[_i], "attached");

        varlink_ask(peer, &reply, "Remove", "{'environment':'e','force':true}");
        ck_assert_reply(&reply, NULL);
        ck_assert_int_eq(broker_statistic(peer, "regions"), 2);
        varlink_ask(peer, &reply, "Detach", "{'environment':'e','region':'b'}");
        ck_assert_reply(&reply, NULL);
        broker_wait_for_statistic(peer, "regions", 1);
        bytes[0] = 'x';
        broker_unmap(bytes, SIZE);
        close(peer);
}
END_TEST

START_TEST(what_is_still_initialised_can_be_removed_by_force_and_its_initializer_is_told)
{
        owned(varlink_clear) struct varlink_reply reply = {};
        int initializer = broker_connect(), waiter = broker_connect(), peer = broker_connect();
        int64_t calls = broker_statistic(peer, "counters.calls");

        varlink_ask(initializer, &reply, "Open", "{'environment':'e','create':'ifAbsent','definition':{%s}}",
                    TWO_REGIONS);
        varlink_clear(&reply);
        varlink_call(waiter, "Open", "{'environment':'e','create':'ifAbsent','definition':{%s}}", TWO_REGIONS);
        broker_wait_for_calls(peer, calls, 2);
        varlink_ask(peer, &reply, "Remove", "{'environment':'e','force':true}");
        ck_assert_reply(&reply, NULL);
        ck_assert(varlink_receive(waiter, &reply));
        ck_assert_value(&reply, "role", "initializer");
        varlink_ask(initializer, &reply, "Ready", "{'environment':'e'}");
        ck_assert_reply(&reply, "NotYourRole");
        broker_detach(initializer, "e");
        broker_wait_for_statistic(peer, "environments", 1);
        varlink_ask(waiter, &reply, "Ready", "{'environment':'e'}");
        ck_assert_reply(&reply, NULL);
        close(initializer);
        close(waiter);
        close(peer);
}
END_TEST

/* As a long-lived program does that starts its environment anew. */
START_TEST(one_session_can_leave_what_it_removed_by_force_after_making_it_anew)
{
        const struct region_spec region = { .name = "a", .size = SIZE };
        const struct region_env_options options = { .create = REGION_CREATE_IF_ABSENT,
                                                    .regions = &region,
                                                    .n_regions = 1 };
        const struct region_spec more = { .name = "more", .size = SIZE };
        struct region_env *first, *second;
        struct region_broker *session;
        struct region *added;
        int watcher = broker_connect();

        ck_assert_int_eq(region_broker_connect(broker.socket, &session), REGION_OK);
        ck_assert_int_eq(region_env_open(session, "e", &options, &first), REGION_OK);
        ck_assert_int_eq(region_env_ready(first), REGION_OK);
        ck_assert_int_eq(region_env_remove(session, "e", true, REGION_NO_WAIT, NULL), REGION_OK);
        ck_assert_int_eq(region_env_open(session, "e", &options, &second), REGION_OK);
        ck_assert_int_eq(region_env_role(second), REGION_ROLE_INITIALIZER);
        ck_assert_int_eq(region_env_ready(second), REGION_OK);
        ck_assert_int_eq(broker_statistic(watcher, "environments"), 2);

        /* by its name the old handle would mean the new one */
        ck_assert_int_eq(region_env_ready(first), REGION_E_NOT_FOUND);
        ck_assert_int_eq(region_env_add(first, &more, &added), REGION_E_NOT_FOUND);
        ck_assert_int_eq(region_env_attach(first, "a", REGION_READ, &added), REGION_E_NOT_FOUND);
        ck_assert_int_eq(region_env_delete(first, "a", true), REGION_E_NOT_FOUND);
        ck_assert_int_eq(broker_statistic(watcher, "regions"), 2);
        region_env_close(first);
        broker_wait_for_statistic(watcher, "environments", 1);
        region_env_close(second);
        broker_wait_for_statistic(watcher, "environments", 0);
        region_broker_close(session);
        close(watcher);
}
END_TEST

/* --- single regions ---------------------------------------------------------------------------------------------- */

START_TEST(a_region_that_is_held_is_deleted_by_force_alone)
{
        owned(varlink_clear) struct varlink_reply reply = {};
        int peer = broker_connect();
        struct child holder;

        start_holder(&holder, backings[_i]);
        varlink_ask(peer, &reply, "DeleteRegion", "{'environment':'e','region':'a'}");
        ck_assert_reply(&reply, "Busy");
        ck_assert_int_eq(varlink_number(&reply, "attachments"), 1); /* of that region */
        ck_assert_int_eq(varlink_number(&reply, "attachments.0.pid"), holder.pid);
        varlink_ask(peer, &reply, "DeleteRegion", "{'environment':'e','region':'a','force':true}");
        ck_assert_reply(&reply, NULL);
        tell(&holder, LOOK);
        varlink_ask(peer, &reply, "DeleteRegion", "{'environment':'e','region':'a','force':true}");
        ck_assert_reply(&reply, "RegionNotFound");

        /* the rest of it is as it was, and the name is free */
        varlink_ask(peer, &reply, "Open", "{'environment':'e'}");
        ck_assert_int_eq(varlink_number(&reply, "grants"), 1);
        ck_assert_value(&reply, "grants.0.region.name", "b");
        varlink_ask(peer, &reply, "AddRegion", "{'environment':'e','region':{'name':'a','size':1}}");
        ck_assert_reply(&reply, NULL);
        ck_assert_int_eq(varlink_number(&reply, "grant.region.number"), 3);
        ck_assert_int_eq(broker_statistic(peer, "regions"), 3);
        tell(&holder, LOOK);
        varlink_clear(&reply);
        tell(&holder, DETACH);
        broker_wait_for_statistic(peer, "regions", 2);
        ck_assert_int_eq(broker_statistic(peer, "environments"), 1);
        child_end(&holder);
        close(peer);
}
END_TEST

START_TEST(a_region_that_was_deleted_goes_when_its_holder_lets_go_of_it)
{
        owned(varlink_clear) struct varlink_reply reply = {};
        int peer = broker_connect();
        char *bytes = open_and_map(peer, backings[_i], "attached");

        varlink_ask(peer, &reply, "DeleteRegion", "{'environment':'e','region':'a','force':true}");
        ck_assert_reply(&reply, NULL);
        ck_assert_int_eq(broker_statistic(peer, "regions"), 2);
        bytes[0] = 'x';
        broker_unmap(bytes, SIZE);
        varlink_ask(peer, &reply, "Detach", "{'environment':'e','region':'a'}");
        ck_assert_reply(&reply, NULL);
        broker_wait_for_statistic(peer, "regions", 1);
        varlink_ask(peer, &reply, "Detach", "{'environment':'e','region':'a'}");
        ck_assert_reply(&reply, "NotAttached");
        close(peer);
}
END_TEST

/* Deleted, its holder not known to the broker. */
START_TEST(a_region_in_doubt_is_busy_and_goes_by_force_with_its_last_mapping)
{
        owned(varlink_clear) struct varlink_reply reply = {};
        int peer = broker_connect();
        char *bytes = open_and_map(peer, backings[_i], "attached");

        varlink_ask(peer, &reply, "Detach", "{'environment':'e','region':'a'}");
        ck_assert_reply(&reply, NULL);
        varlink_ask(peer, &reply, "DeleteRegion", "{'environment':'e','region':'a'}");
        ck_assert_reply(&reply, "Busy");
        ck_assert_value(&reply, "attachments.0.standing", "inherited");
        ck_assert_int_eq(varlink_number(&reply, "attachments.0.pid"), getpid());
        varlink_ask(peer, &reply, "DeleteRegion", "{'environment':'e','region':'a','force':true}");
        ck_assert_reply(&reply, NULL);
        bytes[0] = 'x';
        ck_assert_int_eq(broker_statistic(peer, "regions"), 2);
        broker_unmap(bytes, SIZE);
        broker_wait_for_statistic(peer, "regions", 1);
        close(peer);
}
END_TEST

int main(void)
{
        Suite *suite = suite_create("removal");
        TCase *tcase = check_case(suite, "removal");

        tcase_add_checked_fixture(tcase, broker_setup, broker_teardown);
        tcase_add_loop_test(tcase, what_nobody_holds_is_removed_at_once, 0, N_BACKINGS);
        tcase_add_test(tcase, what_is_held_is_busy_and_its_holders_are_named);
        tcase_add_loop_test(tcase, a_removal_that_waits_is_done_the_moment_the_holder_goes, 0, 2 * N_BACKINGS);
        tcase_add_loop_test(tcase, a_removal_that_waits_is_done_when_the_last_mapping_goes, 0, N_BACKINGS);
        tcase_add_loop_test(tcase, a_removal_that_has_waited_long_enough_is_refused, 0, N_BACKINGS);
        tcase_add_test(tcase, while_a_removal_waits_nobody_enters_and_the_members_can_see_it);
        tcase_add_loop_test(tcase, who_waited_behind_a_removal_makes_it_anew_or_finds_nothing, 0, 2);
        tcase_add_test(tcase, of_two_removals_that_wait_both_are_told);
        tcase_add_test(tcase, a_removal_does_not_wait_for_what_was_made_anew_under_the_name);
        tcase_add_loop_test(tcase, removed_by_force_its_holders_keep_their_bytes_and_its_name_is_free, 0, N_BACKINGS);
        tcase_add_loop_test(tcase, a_member_of_what_was_removed_by_force_leaves_it_as_ever, 0, N_BACKINGS);
        tcase_add_loop_test(tcase, of_what_was_removed_by_force_each_region_goes_with_its_own_last_holder, 0,
                            N_BACKINGS);
        tcase_add_test(tcase, what_is_still_initialised_can_be_removed_by_force_and_its_initializer_is_told);
        tcase_add_test(tcase, one_session_can_leave_what_it_removed_by_force_after_making_it_anew);
        tcase_add_loop_test(tcase, a_region_that_is_held_is_deleted_by_force_alone, 0, N_BACKINGS);
        tcase_add_loop_test(tcase, a_region_that_was_deleted_goes_when_its_holder_lets_go_of_it, 0, N_BACKINGS);
        tcase_add_loop_test(tcase, a_region_in_doubt_is_busy_and_goes_by_force_with_its_last_mapping, 0, N_BACKINGS);
        return check_run(suite);
}
