/* The control page that an environment comes with: checked, read, waited for. */

#include "tests/unit/fake-session.h"

#include "proto/control.h"

#include <linux/futex.h>
#include <pthread.h>
#include <sys/mman.h>
#include <sys/syscall.h>

/* What the broker does to it, through a description of the test's own. */
static struct control_page *page;
static struct region_broker *broker;
static struct region_env *env;

#define SHOP_WITH(control)                                                                                      \
        "{'parameters':{'environment':" ENVIRONMENT("shop", "memfd", "", "") ",'role':'member',"                \
                                                                             "'controlFileDescriptor':" control \
                                                                             ",'grants':[],'differences':[]}}"

/* The page itself is what the broker has, and what a client gets is a reopening of it for reading. */
static void open_well(void)
{
        int fd = memfd_create("control", MFD_CLOEXEC | MFD_ALLOW_SEALING);

        ck_assert_int_eq(ftruncate(fd, CONTROL_SIZE), 0);
        ck_assert_int_eq(fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW), 0);
        page = mmap(NULL, CONTROL_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
        ck_assert_ptr_ne(page, MAP_FAILED);
        *page = (struct control_page){
                .magic = CONTROL_MAGIC, .version = CONTROL_VERSION, .state = STATE_READY, .shown[0].state = STATE_READY
        };
        fake_answers_fd(SHOP_WITH("0"), reopen(fd, O_RDONLY));
        close(fd);
        broker = start();
        env = open_shop(broker, NULL);
}

static void show(enum state state, uint64_t generation, uint64_t deaths, uint32_t flags)
{
        control_page_write(page, (struct control_shown){ generation, deaths, state, flags });
        syscall(SYS_futex, &page->change, FUTEX_WAKE, INT32_MAX, NULL, NULL, 0);
}

static void close_well(void)
{
        finish(broker);
        munmap(page, CONTROL_SIZE);
}

/* --- the page ---------------------------------------------------------------------------------------------------- */

static int no_page(void)
{
        return fake_memory(CONTROL_SIZE);
}

static int short_page(void)
{
        return fake_memory(8);
}

static int no_memory(void)
{
        return open("/dev/null", O_RDWR | O_CLOEXEC);
}

static int of_the_future(void)
{
        struct control_page future = { .magic = CONTROL_MAGIC, .version = CONTROL_VERSION + 1 };
        int fd = fake_memory(CONTROL_SIZE);

        ck_assert_int_eq(pwrite(fd, &future, sizeof(future), 0), sizeof(future));
        return fd;
}

static const struct {
        int (*make)(void);
        const char *part;
} unfit[] = {
        { no_page, "does not know its layout" },
        { short_page, "too short" },
        { no_memory, "no memory" },
        { of_the_future, "does not know its layout" },
};

START_TEST(a_page_that_is_unfit_fails_the_opening)
{
        struct region_env *unused;

        fake_answers_fd(SHOP_WITH("0"), unfit[_i].make());
        broker = start();
        check_error(region_env_open(broker, "shop", NULL, &unused), REGION_E_PROTOCOL, unfit[_i].part);
        finish(broker);
        ck_assert_str_eq(fake_asked(1), DETACH_SHOP);
}
END_TEST

START_TEST(an_opening_without_a_page_fails)
{
        struct region_env *unused;

        fake_answers(SHOP_WITH("0"));
        broker = start();
        check_error(region_env_open(broker, "shop", NULL, &unused), REGION_E_PROTOCOL, "not sent");
        finish(broker);
}
END_TEST

/* --- looking ----------------------------------------------------------------------------------------------------- */

START_TEST(what_the_broker_shows_is_seen_at_once)
{
        struct region_health health;
        uint32_t before;

        open_well();
        ck_assert_int_eq(region_env_state(env), REGION_STATE_READY);
        region_env_health(env, &health);
        before = health.change;
        show(STATE_DIRTY, 7, 3, CONTROL_DRAINING);
        ck_assert_int_eq(region_env_state(env), REGION_STATE_DIRTY);
        region_env_health(env, &health);
        ck_assert_int_eq(health.state, REGION_STATE_DIRTY);
        ck_assert_uint_eq(health.generation, 7);
        ck_assert_uint_eq(health.deaths, 3);
        ck_assert(health.draining);
        ck_assert_uint_ne(health.change, before);
        close_well();
}
END_TEST

START_TEST(a_broker_that_stopped_in_the_middle_of_writing_holds_nobody_up_and_is_not_half_read)
{
        struct region_health health;

        open_well();
        show(STATE_READY, 1, 1, 0);
        page->begun++;
        page->generation = page->shown[page->begun % 2].generation = 2;
        region_env_health(env, &health);
        ck_assert_int_eq(health.state, REGION_STATE_READY);
        ck_assert_uint_eq(health.generation, 1);
        ck_assert_uint_eq(health.deaths, 1);
        ck_assert_uint_eq(health.change, 1);
        close_well();
}
END_TEST

static bool enough;

static void *show_often(void *unused)
{
        for (uint64_t n = 1; !__atomic_load_n(&enough, __ATOMIC_RELAXED); n++)
                show(n % 2 ? STATE_DIRTY : STATE_READY, n, n, 0);
        return unused;
}

START_TEST(a_snapshot_is_of_one_moment)
{
        struct region_health health;
        pthread_t thread;

        open_well();
        show(STATE_READY, 0, 0, 0);
        ck_assert_int_eq(pthread_create(&thread, NULL, show_often, NULL), 0);
        for (int i = 0; i < 20000; i++) {
                region_env_health(env, &health);
                ck_assert_uint_eq(health.generation, health.deaths);
                ck_assert_int_eq(health.state, health.deaths % 2 ? REGION_STATE_DIRTY : REGION_STATE_READY);
        }
        __atomic_store_n(&enough, true, __ATOMIC_RELAXED);
        pthread_join(thread, NULL);
        close_well();
}
END_TEST

/* --- waiting ----------------------------------------------------------------------------------------------------- */

static void *wait_for_change(void *unused)
{
        check(region_env_wait_change(env, 0, 0));
        return unused;
}

START_TEST(a_change_wakes_who_waits_for_it)
{
        pthread_t thread;

        open_well();
        ck_assert_int_eq(pthread_create(&thread, NULL, wait_for_change, NULL), 0);
        show(STATE_DIRTY, 1, 1, 0);
        pthread_join(thread, NULL);
        close_well();
}
END_TEST

START_TEST(a_change_that_was_missed_is_not_waited_for)
{
        open_well();
        show(STATE_DIRTY, 1, 1, 0);
        check(region_env_wait_change(env, 0, 0));
        check(region_env_wait_change(env, 0, REGION_NO_WAIT));
        close_well();
}
END_TEST

START_TEST(waiting_ends_in_time)
{
        open_well();
        check_error(region_env_wait_change(env, 0, 2000), REGION_E_TIMEOUT, "not changed");
        check_error(region_env_wait_change(env, 0, REGION_NO_WAIT), REGION_E_TIMEOUT, "not changed");
        check_error(region_env_wait_change(env, 0, -5), REGION_E_INVALID, "timeout_usec");
        close_well();
}
END_TEST

START_TEST(the_session_can_be_used_while_a_thread_waits)
{
        pthread_t thread;

        open_well();
        ck_assert_int_eq(pthread_create(&thread, NULL, wait_for_change, NULL), 0);
        for (int i = 0; i < 20; i++)
                check(ping(broker));
        show(STATE_READY, 1, 1, 0);
        pthread_join(thread, NULL);
        close_well();
}
END_TEST

/* --- recovery ---------------------------------------------------------------------------------------------------- */

START_TEST(a_member_can_become_the_recoverer_and_is_a_member_again)
{
        fake_answers_fd(SHOP("member"), fake_memory(STOCK_SIZE));
        fake_answers(OPENED(ENVIRONMENT("shop", "memfd", "", STOCK), "recoverer", ""));
        fake_answers("{'error':'org.regionbroker.RecoveryRequired','parameters':{'environment':'shop','pid':9,"
                     "'command':'other'}}");
        fake_answers("{'parameters':{'generation':2}}");
        broker = start();
        env = open_shop(broker, NULL);
        ck_assert_int_eq(region_env_role(env), REGION_ROLE_MEMBER);
        check(region_env_recover(env, REGION_NO_WAIT));
        ck_assert_int_eq(region_env_role(env), REGION_ROLE_RECOVERER);
        check_error(region_env_ready(env), REGION_E_RECOVERY, "other (pid 9)");
        ck_assert_int_eq(region_env_role(env), REGION_ROLE_RECOVERER);
        check(region_env_ready(env));
        ck_assert_int_eq(region_env_role(env), REGION_ROLE_MEMBER);
        finish(broker);
        ck_assert_str_eq(fake_asked(1), "{'method':'org.regionbroker.Open','parameters':{'environment':'shop',"
                                        "'access':'write','regions':[],'waitUSec':0,'session':1}}");
}
END_TEST

/* Its name may have been given to another one. */
#define OTHER_SHOP                                                                                               \
        "{'id':'e-2','name':'shop','generation':1,'state':'ready','uid':0,'gid':0,'mode':384,'backing':'memfd'," \
        "'lifetime':'attached','recovery':false,'createdUSec':5,'creatorPid':77,'creatorCommand':'maker',"       \
        "'attachments':1,'bytes':4096,'regions':[]}"

START_TEST(another_environment_of_that_name_is_not_recovered_and_left_at_once)
{
        fake_answers_fd(SHOP("member"), fake_memory(STOCK_SIZE));
        fake_answers(OPENED(OTHER_SHOP, "recoverer", ""));
        broker = start();
        env = open_shop(broker, NULL);
        check_error(region_env_recover(env, 0), REGION_E_NOT_FOUND, "was removed");
        ck_assert_int_eq(region_env_role(env), REGION_ROLE_MEMBER);
        finish(broker);
        ck_assert_str_eq(fake_asked(2),
                         "{'method':'org.regionbroker.Detach','parameters':{'environment':'shop','id':'e-2'}}");
}
END_TEST

int main(void)
{
        Suite *suite = suite_create("libregion-health");
        TCase *tcase = fake_case(suite, "page");

        tcase_add_loop_test(tcase, a_page_that_is_unfit_fails_the_opening, 0, array_size(unfit));
        tcase_add_test(tcase, an_opening_without_a_page_fails);
        tcase = fake_case(suite, "looking");
        tcase_add_test(tcase, what_the_broker_shows_is_seen_at_once);
        tcase_add_test(tcase, a_broker_that_stopped_in_the_middle_of_writing_holds_nobody_up_and_is_not_half_read);
        tcase_add_test(tcase, a_snapshot_is_of_one_moment);
        tcase = fake_case(suite, "waiting");
        tcase_add_test(tcase, a_change_wakes_who_waits_for_it);
        tcase_add_test(tcase, a_change_that_was_missed_is_not_waited_for);
        tcase_add_test(tcase, waiting_ends_in_time);
        tcase_add_test(tcase, the_session_can_be_used_while_a_thread_waits);
        tcase = fake_case(suite, "recovery");
        tcase_add_test(tcase, a_member_can_become_the_recoverer_and_is_a_member_again);
        tcase_add_test(tcase, another_environment_of_that_name_is_not_recovered_and_left_at_once);
        return check_run(suite);
}
