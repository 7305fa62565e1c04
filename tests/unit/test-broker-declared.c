/* Declared environments: which files count, who has them made and who pays. What is wrong with a file, and what a running
 * broker makes of them, is in tests/integration/test-declared.py. */

#include "daemon/configuration.h"
#include "daemon/declaring.h"
#include "daemon/environments.h"
#include "proto/util.h"
#include "tests/support/scratch.h"
#include "tests/unit/broker-room.h"

#include <fcntl.h>

enum { ALICE = 1001, BOB = 1002, CLUB = 2001, STRANGER = 1003 };

static struct caller a, b, c;
static struct configuration configuration;
static char own[128], theirs[128];

static void write_file(const char *directory, const char *name, const char *text)
{
        char path[256];
        int fd;

        snprintf(path, sizeof(path), "%s/%s", directory, name);
        fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
        ck_assert_int_ge(fd, 0);
        ck_assert_int_eq(write(fd, text, strlen(text)), (ssize_t)strlen(text));
        close(fd);
}

static void setup(void)
{
        snprintf(own, sizeof(own), "%s/own", room_runtime());
        snprintf(theirs, sizeof(theirs), "%s/theirs", room_runtime());
        ck_assert_int_eq(mkdir(own, 0755), 0);
        ck_assert_int_eq(mkdir(theirs, 0755), 0);
}

/* The broker has read what is there now. */
static void read_all(void)
{
        const char *const directories[] = { own, theirs, NULL };
        struct configuration before = configuration;

        configuration_init(&configuration);
        environments_read(&configuration, directories, 0);
        configuration_finish(&configuration);
        ck_assert(!configuration.failed);
        ck_assert_uint_eq(configuration.n_complaints, 0);
        broker_configure(&room, &configuration.limits, &configuration.rules, &configuration.settings);
        configuration_deinit(&before);
}

static void declare(const char *lines)
{
        char text[512];

        snprintf(text, sizeof(text), "[environment]\nowner=%d\ngroup=%d\nmode=0640\n%s\n[region r1]\nsize=8K\n", ALICE,
                 CLUB, lines);
        write_file(own, "sheep.conf", text);
        read_all();
}

static void connect_all(void)
{
        caller_connect(&a);
        caller_become(&a, ALICE, ALICE);
        caller_connect(&b);
        caller_become(&b, BOB, CLUB);
        caller_connect(&c);
        caller_become(&c, STRANGER, STRANGER);
}

/* Nothing is left of it, nor of the files. */
static void leave_all(void)
{
        struct caller root;

        caller_leave(&a);
        caller_leave(&b);
        caller_leave(&c);
        if (registry_find(&room.registry, "sheep")) {
                caller_connect(&root);
                caller_become(&root, 0, 0);
                ck_assert_int_eq(caller_remove(&root, "sheep", true, 0), 0);
                caller_leave(&root);
        }
        broker_configure(&room, &configuration.limits, &rules_none, NULL);
        configuration_deinit(&configuration);
        for (size_t i = 0; i < 2; i++)
                nftw(i ? own : theirs, scratch_remove_one, 8, FTW_DEPTH | FTW_PHYS);
}

static int open_as(struct caller *caller, enum create create, enum access access)
{
        static struct definition nothing;

        return caller_open_as(
                caller,
                &(struct open_args){
                        .environment = "sheep", .create = create, .access = access, .definition = &nothing },
                0);
}

START_TEST(of_two_files_of_one_name_the_first_counts_and_an_empty_one_hides_the_other)
{
        write_file(own, "a.conf", "[region r]\nsize=4K\n");
        write_file(theirs, "a.conf", "[region r]\nsize=8K\n");
        write_file(own, "b.conf", "");
        write_file(theirs, "b.conf", "[region r]\nsize=8K\n");
        write_file(theirs, "a-c.conf", "[region r]\nsize=8K\n");
        read_all();
        ck_assert_uint_eq(configuration.rules.declared.n, 2);
        ck_assert_int_eq(
                ((struct spec *)declarations_find(&configuration.rules.declared, "a")->definition.regions.items)->size,
                4096);
        ck_assert_ptr_nonnull(declarations_find(&configuration.rules.declared, "a-c"));
        ck_assert_ptr_null(declarations_find(&configuration.rules.declared, "b"));
        connect_all();
        leave_all();
}
END_TEST

START_TEST(the_broker_makes_it_and_its_owner_pays)
{
        const struct environment *environment;
        const struct account *account;

        connect_all();
        declare("create=first-use");
        ck_assert_int_eq(open_as(&b, CREATE_NEVER, ACCESS_READ), 0);
        environment = b.opened.environment;
        account = registry_account(&room.registry, ALICE);
        ck_assert_int_eq(b.opened.role, ROLE_MEMBER);
        ck_assert(!b.opened.created);
        ck_assert_int_eq(environment->state, STATE_READY);
        ck_assert_uint_eq(environment->generation, 1);
        ck_assert_uint_eq(environment->uid, ALICE);
        ck_assert_uint_eq(environment->gid, CLUB);
        ck_assert_int_eq(environment->creator->pid, getpid());
        ck_assert_int_eq(account->environments, 1);
        ck_assert_int_eq(account->bytes, 8192);
        ck_assert_int_eq(b.peer.account->environments, 0);
        room_check_ledger();
        leave_all();
}
END_TEST

START_TEST(who_may_not_open_it_does_not_have_it_made)
{
        connect_all();
        declare("create=first-use");
        ck_assert_int_eq(open_as(&c, CREATE_NEVER, ACCESS_READ), REFUSED_NO_ENVIRONMENT);
        ck_assert_int_eq(open_as(&c, CREATE_IF_ABSENT, ACCESS_READ), REFUSED_PERMISSION);
        ck_assert_int_eq(open_as(&c, CREATE_ALWAYS, ACCESS_READ), REFUSED_ENVIRONMENT_EXISTS);
        ck_assert_int_eq(open_as(&b, CREATE_NEVER, ACCESS_WRITE), REFUSED_PERMISSION);
        ck_assert_int_eq(open_as(&a, CREATE_ALWAYS, ACCESS_WRITE), REFUSED_ENVIRONMENT_EXISTS);
        ck_assert_int_eq(room.registry.n_environments, 0);
        leave_all();
}
END_TEST

START_TEST(what_the_limits_of_its_owner_forbid_is_not_made_and_leaves_nothing)
{
        struct limits limits;

        connect_all();
        declare("create=first-use");
        limits = configuration.limits;
        limits.bytes_per_user = 4096;
        broker_configure(&room, &limits, &configuration.rules, NULL);
        ck_assert_int_eq(open_as(&b, CREATE_NEVER, ACCESS_READ), REFUSED_QUOTA);
        ck_assert_str_eq(b.request.refusal.name, "bytesPerUser");
        ck_assert_int_eq(b.request.refusal.wanted, 8192);
        ck_assert_int_eq(b.request.refusal.maximum, 4096);
        ck_assert_int_eq(room.registry.n_environments, 0);
        leave_all();
}
END_TEST

START_TEST(its_first_writer_fills_it_and_readers_wait_for_that)
{
        connect_all();
        declare("content=opener");
        ck_assert_int_eq(open_as(&b, CREATE_NEVER, ACCESS_READ), REFUSED_NOT_READY);
        ck_assert_int_eq(registry_find(&room.registry, "sheep")->state, STATE_INITIALIZING);
        room_check_ledger();
        ck_assert_int_eq(open_as(&a, CREATE_NEVER, ACCESS_WRITE), 0);
        ck_assert_int_eq(a.opened.role, ROLE_INITIALIZER);
        room_check_ledger();
        ck_assert_int_eq(caller_ready(&a, "sheep"), 0);
        ck_assert_int_eq(open_as(&b, CREATE_NEVER, ACCESS_READ), 0);
        leave_all();
}
END_TEST

START_TEST(when_who_fills_it_leaves_the_next_begins_anew)
{
        const struct open_args writing = { .environment = "sheep" };
        uint64_t id;

        connect_all();
        caller_become(&c, ALICE, ALICE);
        declare("content=opener");
        ck_assert_int_eq(caller_open_as(&a, &writing, 0), 0);
        id = a.opened.environment->id;
        ck_assert_int_eq(caller_open_as(&c, &writing, -1), REFUSED_WAIT);
        caller_detach(&a, "sheep");
        room_settle();
        ck_assert_int_eq(c.r, 0);
        ck_assert_int_eq(c.opened.role, ROLE_INITIALIZER);
        ck_assert_uint_ne(c.opened.environment->id, id);
        leave_all();
}
END_TEST

START_TEST(it_is_made_anew_after_it_was_removed)
{
        uint64_t id;

        connect_all();
        declare("");
        ck_assert_int_eq(open_as(&a, CREATE_NEVER, ACCESS_WRITE), 0);
        id = a.opened.environment->id;
        caller_detach(&a, "sheep");
        ck_assert_int_eq(caller_remove(&b, "sheep", false, 0), REFUSED_PERMISSION);
        ck_assert_int_eq(caller_remove(&a, "sheep", false, 0), 0);
        ck_assert_int_eq(open_as(&a, CREATE_IF_ABSENT, ACCESS_WRITE), 0);
        ck_assert_uint_ne(a.opened.environment->id, id);
        ck_assert_int_eq(a.opened.role, ROLE_MEMBER);
        leave_all();
}
END_TEST

int main(void)
{
        Suite *suite = suite_create("broker-declared");
        TCase *tcase = room_case(suite, "declared", setup);

        tcase_add_test(tcase, of_two_files_of_one_name_the_first_counts_and_an_empty_one_hides_the_other);
        tcase_add_test(tcase, the_broker_makes_it_and_its_owner_pays);
        tcase_add_test(tcase, who_may_not_open_it_does_not_have_it_made);
        tcase_add_test(tcase, what_the_limits_of_its_owner_forbid_is_not_made_and_leaves_nothing);
        tcase_add_test(tcase, its_first_writer_fills_it_and_readers_wait_for_that);
        tcase_add_test(tcase, when_who_fills_it_leaves_the_next_begins_anew);
        tcase_add_test(tcase, it_is_made_anew_after_it_was_removed);
        return check_run(suite);
}
