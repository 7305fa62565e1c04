/* When memory goes, and when it does not: by the rule of its lifetime, and on the proof that nobody holds it, whoever
 * that may be. */

#include "tests/support/broker.h"
#include "tests/support/check.h"
#include "tests/support/raw.h"

#include "proto/control.h"
#include "proto/util.h"

#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>

enum { SIZE = 1 << 20, PAGE = 4096 };

static const char *const backings[] = { "memfd", "posix", "file", "sysv" };
enum { N_BACKINGS = array_size(backings) };

#define DEFINITION "'backing':'%s','lifetime':'%s','regions':[{'name':'data','size':1048576}]"

static int64_t now_usec(void)
{
        struct timespec now;

        clock_gettime(CLOCK_MONOTONIC, &now);
        return now.tv_sec * INT64_C(1000000) + now.tv_nsec / 1000;
}

/* --- holders ----------------------------------------------------------------------------------------------------- */

/* What a holder is to do; each is told on, as the answer to the last. */
enum { HOLDS = 1, IS_WELL, LOOK, LEAVE, UNMAP };

struct holding {
        const char *backing;
        const char *lifetime;
        int channel; /* of the child that it leaves behind; 0: it leaves none */
};

static const char content[] = "what was written stays as long as anybody may look";

static void check_content(const char *bytes)
{
        ck_assert_str_eq(bytes, content);
        for (size_t i = sizeof(content); i < SIZE; i += PAGE)
                ck_assert_int_eq(bytes[i], 0);
        ck_assert_int_eq(bytes[SIZE - 1], 'z');
}

/* Looks at the bytes whenever it is told to, until the test hangs up. */
static void look_when_told(int channel, const void *bytes)
{
        for (;;) {
                child_hear(channel);
                check_content(bytes);
                child_tell(channel, IS_WELL);
        }
}

static char *open_and_write(int peer, const struct holding *holding)
{
        owned(varlink_clear) struct varlink_reply reply = {};
        char *bytes;

        broker_open(peer, &reply, "e", DEFINITION, holding->backing, holding->lifetime);
        bytes = broker_map_grant(&reply, "grants.0");
        memcpy(bytes, content, sizeof(content));
        bytes[SIZE - 1] = 'z';
        return bytes;
}

/* Opens, maps, and leaves a forked child behind if it is to; then does as it is told. */
static void hold(int channel, const void *data)
{
        const struct holding *holding = data;
        int peer = broker_connect();
        char *bytes = open_and_write(peer, holding);

        child_tell(channel, holding->channel ? child_leave_behind(holding->channel, look_when_told, bytes) : HOLDS);
        for (;;) {
                switch (child_hear(channel)) {
                case LOOK:
                        check_content(bytes);
                        break;
                case UNMAP:
                        broker_unmap(bytes, SIZE);
                        break;
                case LEAVE:
                        broker_detach(peer, "e");
                        break;
                }
                child_tell(channel, IS_WELL);
        }
}

static void start_holder(struct child *holder, const char *backing, const char *lifetime)
{
        const struct holding holding = { .backing = backing, .lifetime = lifetime };

        child_start(holder, hold, &holding);
        ck_assert_int_eq(child_hear(holder->channel), HOLDS);
}

/* One that has forked a child which holds the same. */
static void start_holders(struct child *holder, struct child *heir, const char *backing)
{
        const struct holding holding = { backing, "attached", child_channel(heir) };

        child_fork(holder, hold, &holding);
        close(holding.channel);
        heir->pid = (pid_t)child_hear(holder->channel);
}

static void tell(const struct child *child, int what)
{
        child_tell(child->channel, what);
        ck_assert_int_eq(child_hear(child->channel), IS_WELL);
}

/* It is still there, held by something that the broker did not grant it to. */
static void check_in_doubt(int peer, const struct child *who_had_it)
{
        owned(varlink_clear) struct varlink_reply reply = {};

        varlink_ask(peer, &reply, "Describe", "{'environment':'e'}");
        ck_assert_reply(&reply, NULL);
        ck_assert_value(&reply, "environment.attachments", "0");
        ck_assert_int_eq(varlink_number(&reply, "attachments"), 1);
        ck_assert_value(&reply, "attachments.0.standing", "inherited");
        ck_assert_value(&reply, "attachments.0.environment", "e");
        ck_assert_value(&reply, "attachments.0.region", "data");
        ck_assert_value(&reply, "attachments.0.access", "write");
        ck_assert_value(&reply, "attachments.0.command", "test-reclaim");
        ck_assert_int_eq(varlink_number(&reply, "attachments.0.pid"), who_had_it->pid);
        ck_assert_int_eq(varlink_number(&reply, "attachments.0.uid"), getuid());
        varlink_ask(peer, &reply, "Remove", "{'environment':'e'}");
        ck_assert_reply(&reply, "Busy");
        ck_assert_value(&reply, "attachments.0.standing", "inherited");
        ck_assert_int_eq(varlink_number(&reply, "attachments.0.pid"), who_had_it->pid);
}

static void wait_for_doubt(void)
{
        ck_assert(daemon_wait_for_line(&broker, "environment e is due, but still held"));
}

static void wait_for_reclaim(int peer)
{
        ck_assert(daemon_wait_for_line(&broker, "reclaimed environment e: 1 regions, 1048576 bytes"));
        ck_assert_int_eq(broker_statistic(peer, "environments"), 0);
        ck_assert_int_eq(broker_statistic(peer, "regions"), 0);
        ck_assert_int_eq(broker_statistic(peer, "bytes"), 0);
}

/* --- lifetimes --------------------------------------------------------------------------------------------------- */

START_TEST(attached_goes_with_its_last_holder_also_when_that_is_killed)
{
        struct child first, last;
        int peer = broker_connect();

        start_holder(&first, backings[_i], "attached");
        start_holder(&last, backings[_i], "attached");
        child_kill(&first);
        broker_wait_for_statistic(peer, "sessions", 2);
        ck_assert_int_eq(broker_statistic(peer, "environments"), 1);
        tell(&last, LOOK);
        child_kill(&last);
        wait_for_reclaim(peer);
        ck_assert(daemon_has_line(&broker, "rule: attached"));
        close(peer);
}
END_TEST

START_TEST(attached_goes_when_its_last_holder_leaves_in_order)
{
        struct child holder;
        int peer = broker_connect();

        start_holder(&holder, backings[_i], "attached");
        tell(&holder, UNMAP);
        ck_assert_int_eq(broker_statistic(peer, "environments"), 1); /* not mapped is not left */
        tell(&holder, LEAVE);
        wait_for_reclaim(peer);
        child_end(&holder);
        close(peer);
}
END_TEST

/* Two calls about `e`, which the broker finds both at once; the reply is that to the second. */
static void ask_in_one_turn(int peer, struct varlink_reply *reply, const char *first, const char *second)
{
        varlink_clear(reply); /* and with it the descriptors */
        broker_pause();
        varlink_call(peer, first, "{'environment':'e'}");
        varlink_call(peer, second, "{'environment':'e'}");
        broker_resume();
        ck_assert(varlink_receive(peer, reply));
        ck_assert_reply(reply, NULL);
        ck_assert(varlink_receive(peer, reply));
}

START_TEST(lingering_begins_when_the_last_has_left_and_is_called_off_by_the_next)
{
        owned(varlink_clear) struct varlink_reply reply = {};
        int peer = broker_connect();
        int64_t left;

        broker_open(peer, &reply, "e", "'lingerUSec':150000,'regions':[{'name':'data','size':1048576}]");
        ask_in_one_turn(peer, &reply, "Detach", "Open"); /* however long that took, no time runs between them */
        ck_assert_reply(&reply, NULL);
        ck_assert_int_eq(varlink_number(&reply, "environment.lingerUSec"), 150000);
        varlink_clear(&reply);
        left = now_usec();
        ask_in_one_turn(peer, &reply, "Detach", "Describe");
        ck_assert_reply(&reply, NULL);
        wait_for_reclaim(peer);
        ck_assert_int_ge(now_usec() - left, 150000);
        ck_assert(daemon_has_line(&broker, "rule: attached, nobody held it and it has lingered"));
        close(peer);
}
END_TEST

START_TEST(persistent_stays_with_its_bytes_until_it_is_removed)
{
        owned(varlink_clear) struct varlink_reply reply = {};
        struct child holder;
        int peer = broker_connect();
        char *bytes;

        start_holder(&holder, backings[_i], "persistent");
        child_kill(&holder);
        broker_wait_for_statistic(peer, "sessions", 1);
        varlink_ask(peer, &reply, "Open", "{'environment':'e'}");
        ck_assert_reply(&reply, NULL);
        bytes = broker_map_grant(&reply, "grants.0");
        check_content(bytes);
        broker_unmap(bytes, SIZE);
        varlink_clear(&reply);
        broker_detach(peer, "e");
        varlink_ask(peer, &reply, "Remove", "{'environment':'e'}");
        ck_assert_reply(&reply, NULL);
        ck_assert_int_eq(varlink_number(&reply, "bytes"), SIZE);
        wait_for_reclaim(peer);
        close(peer);
}
END_TEST

START_TEST(what_lives_with_its_creator_loses_its_name_at_its_death_and_goes_with_its_last_holder)
{
        owned(varlink_clear) struct varlink_reply reply = {};
        struct child creator, member;
        int peer = broker_connect();

        start_holder(&creator, backings[_i], "creator");
        start_holder(&member, backings[_i], "creator");
        child_kill(&creator);
        ck_assert(daemon_wait_for_line(&broker, "retired environment e: creator"));
        tell(&member, LOOK);
        varlink_ask(peer, &reply, "Open", "{'environment':'e'}");
        ck_assert_reply(&reply, "EnvironmentNotFound");
        ck_assert_int_eq(broker_statistic(peer, "environments"), 1);
        child_kill(&member);
        wait_for_reclaim(peer);
        close(peer);
}
END_TEST

START_TEST(what_lives_with_its_creator_stays_while_that_lives_though_nobody_is_in_it)
{
        owned(varlink_clear) struct varlink_reply reply = {};
        struct child creator;
        int session = broker_connect_from(&creator, 0), peer = broker_connect();

        broker_open(session, &reply, "e", DEFINITION, "memfd", "creator");
        varlink_clear(&reply);
        close(session); /* its session goes, its process does not */
        broker_wait_for_statistic(peer, "sessions", 1);
        varlink_ask(peer, &reply, "Open", "{'environment':'e'}");
        ck_assert_reply(&reply, NULL);
        ck_assert_int_eq(varlink_number(&reply, "environment.creatorPid"), creator.pid);
        varlink_clear(&reply);
        broker_detach(peer, "e");
        ck_assert_int_eq(broker_statistic(peer, "environments"), 1);
        child_kill(&creator);
        wait_for_reclaim(peer);
        close(peer);
}
END_TEST

/* --- holders that the broker does not know ----------------------------------------------------------------------- */

START_TEST(a_forked_child_that_is_the_last_holder_keeps_it_after_its_parent_was_killed)
{
        struct child holder, heir;
        int peer = broker_connect();
        struct child parent;

        start_holders(&holder, &heir, backings[_i]);
        parent = holder;
        child_kill(&holder);
        wait_for_doubt();
        check_in_doubt(peer, &parent);
        tell(&heir, LOOK);
        child_kill(&heir);
        wait_for_reclaim(peer);
        close(peer);
}
END_TEST

START_TEST(a_forked_child_that_is_the_last_holder_keeps_it_after_its_parent_has_left)
{
        struct child holder, heir;
        int peer = broker_connect();

        start_holders(&holder, &heir, backings[_i]);
        tell(&holder, UNMAP);
        tell(&holder, LEAVE);
        wait_for_doubt();
        check_in_doubt(peer, &holder);
        tell(&heir, LOOK);
        child_end(&holder);
        tell(&heir, LOOK);
        child_end(&heir);
        wait_for_reclaim(peer);
        close(peer);
}
END_TEST

/* Passes one of its descriptors to the test: the region's own, or one that is a mere path to it. */
static void pass_on(int channel, const void *data)
{
        owned(varlink_clear) struct varlink_reply reply = {};
        const struct holding *holding = data;
        int peer = broker_connect(), fd;
        char path[64];

        broker_open(peer, &reply, "e", DEFINITION, holding->backing, "attached");
        ck_assert_int_eq(fallocate(reply.fds.fds[1], 0, 0, SIZE), 0);
        snprintf(path, sizeof(path), "/proc/self/fd/%d", reply.fds.fds[1]);
        fd = holding->channel ? open(path, O_PATH | O_CLOEXEC) : reply.fds.fds[1];
        ck_assert_int_eq(raw_send(channel, "", 1, &fd, 1), 1);
        child_hear(channel);
}

/* As a stranger gets it, who never spoke to the broker; and the end of who passed it on. */
static int receive_from_the_dead(const char *backing, bool is_path, struct child *passer)
{
        const struct holding holding = { .backing = backing, .channel = is_path };
        owned(fdset_clear) struct fdset fds = {};
        struct child child;
        char byte;

        child_start(&child, pass_on, &holding);
        ck_assert(check_wait(child.channel, POLLIN));
        ck_assert_int_eq(raw_receive(child.channel, &byte, 1, &fds), 1);
        *passer = child;
        child_kill(&child);
        return fdset_take(&fds, 0);
}

START_TEST(a_stranger_that_was_passed_the_descriptor_keeps_it)
{
        struct child passer;
        int peer = broker_connect(), fd = receive_from_the_dead(backings[_i], false, &passer);
        char *bytes;

        wait_for_doubt();
        check_in_doubt(peer, &passer);
        bytes = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
        ck_assert_ptr_ne(bytes, MAP_FAILED);
        bytes[SIZE - 1] = 'x';
        close(fd); /* now the mapping alone holds it */
        check_in_doubt(peer, &passer);
        ck_assert_int_eq(bytes[SIZE - 1], 'x');
        munmap(bytes, SIZE);
        wait_for_reclaim(peer);
        close(peer);
}
END_TEST

START_TEST(a_descriptor_that_is_a_mere_path_keeps_no_pages)
{
        struct child passer;
        int peer = broker_connect(), fd = receive_from_the_dead(backings[_i], true, &passer);
        int64_t begun = 0;
        struct stat st;

        wait_for_reclaim(peer);
        while (fstat(fd, &st) == 0 && st.st_blocks != 0) /* a thread frees them */
                ck_assert_msg(check_pause(&begun), "it keeps %lld blocks", (long long)st.st_blocks);
        ck_assert_int_eq(st.st_blocks, 0);
        close(fd);
        close(peer);
}
END_TEST

START_TEST(who_hangs_up_and_lives_on_holds_what_it_has_mapped)
{
        owned(varlink_clear) struct varlink_reply reply = {};
        const struct child self = { .pid = getpid() };
        int session = broker_connect(), peer = broker_connect();
        char *bytes;

        broker_open(session, &reply, "e", DEFINITION, backings[_i], "attached");
        bytes = broker_map_grant(&reply, "grants.0");
        varlink_clear(&reply);
        close(session);
        wait_for_doubt();
        check_in_doubt(peer, &self);
        bytes[SIZE - 1] = 'x';
        broker_unmap(bytes, SIZE);
        wait_for_reclaim(peer);
        close(peer);
}
END_TEST

START_TEST(in_doubt_it_can_be_joined_and_is_in_doubt_again_afterwards)
{
        owned(varlink_clear) struct varlink_reply reply = {};
        struct child holder, heir;
        int peer = broker_connect();
        char *bytes;

        start_holders(&holder, &heir, backings[_i]);
        child_kill(&holder);
        wait_for_doubt();
        daemon_forget_log(&broker);
        varlink_ask(peer, &reply, "Open", "{'environment':'e'}");
        ck_assert_reply(&reply, NULL);
        ck_assert_value(&reply, "role", "member");
        bytes = broker_map_grant(&reply, "grants.0");
        check_content(bytes);
        broker_unmap(bytes, SIZE);
        varlink_clear(&reply);
        broker_detach(peer, "e");
        wait_for_doubt();
        check_in_doubt(peer, &(struct child){ .pid = getpid() });
        tell(&heir, LOOK);
        child_kill(&heir);
        wait_for_reclaim(peer);
        close(peer);
}
END_TEST

START_TEST(in_doubt_its_name_can_be_taken_and_the_holder_keeps_what_it_has)
{
        owned(varlink_clear) struct varlink_reply reply = {};
        struct child holder, heir;
        int peer = broker_connect();
        char *bytes;

        start_holders(&holder, &heir, backings[_i]);
        child_kill(&holder);
        wait_for_doubt();
        varlink_ask(peer, &reply, "Open", "{'environment':'e','create':'always','definition':{" DEFINITION "}}",
                    backings[_i], "attached");
        ck_assert_reply(&reply, NULL);
        bytes = broker_map_grant(&reply, "grants.0");
        ck_assert_int_eq(bytes[0], 0);
        memset(bytes, 'n', SIZE);
        tell(&heir, LOOK);
        ck_assert_int_eq(broker_statistic(peer, "environments"), 2);
        child_kill(&heir);
        broker_wait_for_statistic(peer, "environments", 1);
        ck_assert_int_eq(bytes[SIZE - 1], 'n');
        broker_unmap(bytes, SIZE);
        close(peer);
}
END_TEST

/* --- deaths ------------------------------------------------------------------------------------------------------ */

START_TEST(a_process_that_died_has_left_though_its_connection_is_still_open)
{
        owned(varlink_clear) struct varlink_reply reply = {};
        struct child child;
        int session = broker_connect_from(&child, 0), peer = broker_connect();

        broker_open(session, &reply, "e", DEFINITION, "memfd", "persistent");
        varlink_clear(&reply);
        child_kill(&child);
        broker_wait_for_statistic(peer, "sessions", 1);
        ck_assert_int_eq(broker_statistic(peer, "attachments"), 0);
        ck_assert(!varlink_receive(session, &reply)); /* closed from the other side */
        close(session);
        close(peer);
}
END_TEST

START_TEST(what_a_process_said_before_it_died_is_heard)
{
        owned(varlink_clear) struct varlink_reply reply = {};
        struct child child;
        int session = broker_connect_from(&child, 0), peer = broker_connect();
        const struct control_page *page;

        broker_open(peer, &reply, "e", DEFINITION, "memfd", "persistent");
        page = broker_map(&reply, 0, CONTROL_SIZE, PROT_READ);
        varlink_ask(session, &reply, "Open", "{'environment':'e'}");
        ck_assert_reply(&reply, NULL);
        broker_pause(); /* so that it learns of both at once */
        varlink_call(session, "Detach", "{'environment':'e'}");
        child_kill(&child);
        broker_resume();
        broker_wait_for_statistic(peer, "sessions", 1);
        ck_assert_uint_eq(page->deaths, 0);
        munmap((void *)(uintptr_t)page, CONTROL_SIZE);
        close(session);
        close(peer);
}
END_TEST

START_TEST(every_death_in_an_environment_is_counted_and_no_leave)
{
        enum { TIMES = 20 };
        owned(varlink_clear) struct varlink_reply reply = {};
        int peer = broker_connect();
        const struct control_page *page;
        struct child holder;

        broker_open(peer, &reply, "e", DEFINITION, "memfd", "attached");
        page = broker_map(&reply, 0, CONTROL_SIZE, PROT_READ);
        ck_assert_ptr_ne(page, MAP_FAILED);
        for (uint64_t i = 0; i < TIMES; i++) {
                start_holder(&holder, "memfd", "attached");
                tell(&holder, LEAVE);
                child_end(&holder);
                start_holder(&holder, "memfd", "attached");
                child_kill(&holder);
                broker_wait_for_statistic(peer, "sessions", 1);
                ck_assert_uint_eq(page->deaths, i + 1);
        }
        munmap((void *)(uintptr_t)page, CONTROL_SIZE);
        close(peer);
}
END_TEST

static void spin(int channel, const void *unused)
{
        (void)channel, (void)unused;
        for (;;)
                ;
}

static void open_ballast(void)
{
        ck_assert_int_eq(fallocate(memfd_create("ballast", MFD_CLOEXEC), 0, 0, 16 << 20), 0);
}

/* What the kernel frees before the connection, or after it, takes its time at the end. */
static void hold_with_ballast(int channel, const void *data)
{
        open_ballast();
        open_and_write(broker_connect(), data);
        open_ballast();
        child_tell(channel, HOLDS);
        child_hear(channel);
}

/* It runs only while nobody else wants that processor. */
static void make_idle(pid_t pid, const cpu_set_t *processor)
{
        sched_setaffinity(pid, sizeof(*processor), processor);
        sched_setscheduler(pid, SCHED_IDLE, &(struct sched_param){});
}

/* Between the end of its connection and its own end there is more than a moment. */
START_TEST(a_death_that_takes_its_time_is_no_leave)
{
        const struct holding holding = { .backing = "memfd", .lifetime = "attached" };
        owned(varlink_clear) struct varlink_reply reply = {};
        struct child holder, spinner;
        int peer = broker_connect();
        const struct control_page *page;
        cpu_set_t processor;

        CPU_ZERO(&processor);
        CPU_SET(sched_getcpu(), &processor);
        broker_open(peer, &reply, "e", DEFINITION, "memfd", "attached");
        page = broker_map(&reply, 0, CONTROL_SIZE, PROT_READ);
        ck_assert_ptr_ne(page, MAP_FAILED);
        child_start(&spinner, spin, NULL);
        sched_setaffinity(spinner.pid, sizeof(processor), &processor);
        child_start(&holder, hold_with_ballast, &holding);
        ck_assert_int_eq(child_hear(holder.channel), HOLDS);
        make_idle(holder.pid, &processor);
        child_kill(&holder);
        broker_wait_for_statistic(peer, "sessions", 1);
        ck_assert_uint_eq(page->deaths, 1);
        child_kill(&spinner);
        munmap((void *)(uintptr_t)page, CONTROL_SIZE);
        close(peer);
}
END_TEST

int main(void)
{
        Suite *suite = suite_create("reclaim");
        TCase *tcase = check_case(suite, "reclaim");

        tcase_add_checked_fixture(tcase, broker_setup, broker_teardown);
        tcase_add_loop_test(tcase, attached_goes_with_its_last_holder_also_when_that_is_killed, 0, N_BACKINGS);
        tcase_add_loop_test(tcase, attached_goes_when_its_last_holder_leaves_in_order, 0, N_BACKINGS);
        tcase_add_test(tcase, lingering_begins_when_the_last_has_left_and_is_called_off_by_the_next);
        tcase_add_loop_test(tcase, persistent_stays_with_its_bytes_until_it_is_removed, 0, N_BACKINGS);
        tcase_add_loop_test(tcase,
                            what_lives_with_its_creator_loses_its_name_at_its_death_and_goes_with_its_last_holder, 0,
                            N_BACKINGS);
        tcase_add_test(tcase, what_lives_with_its_creator_stays_while_that_lives_though_nobody_is_in_it);
        tcase_add_loop_test(tcase, a_forked_child_that_is_the_last_holder_keeps_it_after_its_parent_was_killed, 0,
                            N_BACKINGS);
        tcase_add_loop_test(tcase, a_forked_child_that_is_the_last_holder_keeps_it_after_its_parent_has_left, 0,
                            N_BACKINGS);
        tcase_add_loop_test(tcase, a_stranger_that_was_passed_the_descriptor_keeps_it, 0, 3); /* not for sysv */
        tcase_add_loop_test(tcase, a_descriptor_that_is_a_mere_path_keeps_no_pages, 0, 2);    /* memfd and posix */
        tcase_add_loop_test(tcase, who_hangs_up_and_lives_on_holds_what_it_has_mapped, 0, N_BACKINGS);
        tcase_add_loop_test(tcase, in_doubt_it_can_be_joined_and_is_in_doubt_again_afterwards, 0, N_BACKINGS);
        tcase_add_loop_test(tcase, in_doubt_its_name_can_be_taken_and_the_holder_keeps_what_it_has, 0, N_BACKINGS);
        tcase_add_test(tcase, a_process_that_died_has_left_though_its_connection_is_still_open);
        tcase_add_test(tcase, what_a_process_said_before_it_died_is_heard);
        tcase_add_test(tcase, every_death_in_an_environment_is_counted_and_no_leave);
        tcase_add_test(tcase, a_death_that_takes_its_time_is_no_leave);
        return check_run(suite);
}
