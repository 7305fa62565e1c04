/* Environments of the machine's pool of huge pages: they have whole ones, are counted by them, and give them back; a pool
 * that has too few is an error that says what to do, and never SIGBUS. */

#include "tests/support/huge.h"
#include "tests/support/pool.h"
#include "tests/support/session.h"

#include "proto/util.h"

#include <errno.h>
#include <grp.h>
#include <inttypes.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/time.h>

static const enum region_backing backings[] = { REGION_BACKING_MEMFD, REGION_BACKING_SYSV, REGION_BACKING_PRIVATE };
enum { N_SHARED = 2, N_BACKINGS = array_size(backings) };

static size_t page; /* the size of a huge one */
static int64_t free_before;

/* False where so many are not to be had. */
static bool begin(enum region_backing backing, int64_t pages)
{
        page = (size_t)pool_page_size();
        broker_setup();
        if (!pool_take(pages))
                return false;
        if (backing == REGION_BACKING_SYSV && !pool_has_segments()) {
                SKIP("segments of huge pages take CAP_IPC_LOCK or vm.hugetlb_shm_group");
                return false;
        }
        free_before = pool_free();
        return true;
}

static struct region_env_options options_for(enum region_backing backing, const struct region_spec *region)
{
        return (struct region_env_options){
                .create = REGION_CREATE_ALWAYS,
                .backing = backing,
                .lifetime = REGION_LIFETIME_ATTACHED,
                .hugetlb = true,
                .regions = region,
                .n_regions = 1,
        };
}

static size_t hugetlb_bytes(const void *address)
{
        static const char *const figures[] = { "Shared_Hugetlb", "Private_Hugetlb", NULL };

        return smaps_bytes(address, figures);
}

/* Nothing is left of it, here or in the pool. */
static void check_given_back(int peer)
{
        broker_wait_for_statistic(peer, "environments", 0);
        ck_assert_int_eq(broker_statistic(peer, "bytes"), 0);
        pool_wait_for_free(free_before);
}

/* --- made, joined and given back --------------------------------------------------------------------------------- */

static void join(int channel, const void *data)
{
        const struct region_spec region = { .name = "a", .size = page + 1 };
        const struct region_env_options options = { .hugetlb = true, .regions = &region, .n_regions = 1 };
        struct region_broker *session = connect_session();
        struct region_env *env = open_env(session, "e", &options);
        const char *field, *wanted, *found;
        char *mapped = map_region(env, "a");

        (void)data;
        ck_assert(!region_env_difference(env, 0, &field, &wanted, &found)); /* it is rounded like the creator's */
        ck_assert_int_eq(mapped[0], 1);
        mapped[2 * page - 1] = 2;
        ck_assert_uint_eq(hugetlb_bytes(mapped), 2 * page);
        child_tell(channel, 1);
        child_hear(channel);
        region_env_close(env);
        region_broker_close(session);
}

static void check_joined(const char *mapped)
{
        struct child child;

        child_start(&child, join, NULL);
        ck_assert_int_eq(child_hear(child.channel), 1);
        ck_assert_int_eq(mapped[2 * page - 1], 2);
        child_tell(child.channel, 1);
        child_end(&child);
}

static void check_info(const struct region_env *env)
{
        ck_assert_uint_eq(region_env_info(env)->bytes, 2 * page);
        ck_assert_uint_eq(region_size(region_env_at(env, 0)), 2 * page);
}

START_TEST(its_regions_are_whole_huge_pages_that_go_back_to_the_pool)
{
        struct region_spec region = { .name = "a" };
        struct region_env_options options = options_for(backings[_i], &region);
        struct region_broker *session;
        struct region_env *env;
        char *mapped;
        int peer;

        if (!begin(backings[_i], 2))
                return;
        peer = broker_connect();
        session = connect_session();
        region.size = page + 4096;
        env = open_env(session, "e", &options);
        check_info(env);
        ck_assert_int_eq(broker_statistic(peer, "bytes"), (int64_t)(2 * page));
        ck_assert_int_eq(pool_free(), free_before - 2); /* reserved: there before any touch */
        mapped = map_region(env, "a");
        mapped[0] = 1;
        mapped[2 * page - 1] = 1;
        ck_assert_uint_eq(hugetlb_bytes(mapped), 2 * page);
        if (backings[_i] != REGION_BACKING_PRIVATE)
                check_joined(mapped);
        region_env_close(env);
        check_given_back(peer);
        region_broker_close(session);
        close(peer);
}
END_TEST

START_TEST(it_is_described_with_the_bytes_it_takes)
{
        owned(varlink_clear) struct varlink_reply reply = {};
        struct region_spec region = { .name = "a", .size = 1 };
        struct region_env_options options = options_for(backings[_i], &region);
        struct region_broker *session;
        struct region_env *env;
        int peer;

        if (!begin(options.backing, 1))
                return;
        peer = broker_connect();
        session = connect_session();
        env = open_env(session, "e", &options);
        varlink_ask(peer, &reply, "Describe", "{'environment':'e'}");
        ck_assert_value(&reply, "environment.hugetlb", "true");
        ck_assert_int_eq(varlink_number(&reply, "environment.bytes"), (int64_t)page);
        ck_assert_int_eq(varlink_number(&reply, "environment.regions.0.size"), (int64_t)page);
        ck_assert_int_eq(varlink_number(&reply, "environment.regions.0.bytesUsed"), (int64_t)page);
        region_env_close(env);
        region_broker_close(session);
        close(peer);
}
END_TEST

START_TEST(a_region_that_is_added_has_whole_ones_too)
{
        struct region_spec region = { .name = "a", .size = 1 }, more = { .name = "b", .size = 5000 };
        struct region_env_options options = options_for(backings[_i], &region);
        struct region_broker *session;
        struct region_env *env;
        struct region *added;
        int peer;

        if (!begin(backings[_i], 2))
                return;
        peer = broker_connect();
        session = connect_session();
        env = open_env(session, "e", &options);
        check(region_env_add(env, &more, &added));
        ck_assert_uint_eq(region_size(added), page);
        ck_assert_int_eq(pool_free(), free_before - 2);
        map_region(env, "b")[page - 1] = 1;
        region_env_close(env);
        check_given_back(peer);
        region_broker_close(session);
        close(peer);
}
END_TEST

START_TEST(a_wish_where_to_map_is_kept_where_a_huge_page_can_begin)
{
        struct region_spec region = { .name = "a", .size = 1 };
        struct region_env_options options = options_for(backings[_i], &region);
        struct region_broker *session;
        struct region_env *env;
        char *place, *mapped;

        if (!begin(backings[_i], 1))
                return;
        session = connect_session();
        env = open_env(session, "e", &options);
        place = mmap(NULL, 4 * page, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        ck_assert_ptr_ne(place, MAP_FAILED);
        munmap(place, 4 * page);
        place += page - (uintptr_t)place % page;
        mapped = map_region_at(env, "a", place + 4096);
        ck_assert_uint_eq((uintptr_t)mapped % page, 0);
        mapped[0] = 'x';
        region_unmap(region_env_find(env, "a"));
        ck_assert_ptr_eq(map_region_at(env, "a", place), place);
        ck_assert_int_eq(place[0], 'x');
        region_broker_close(session);
}
END_TEST

/* --- death ------------------------------------------------------------------------------------------------------- */

static void hold(int channel, const void *data)
{
        struct region_spec region = { .name = "a", .size = 2 * page };
        struct region_env_options options = options_for(*(const enum region_backing *)data, &region);
        struct region_env *env = open_env(connect_session(), "e", &options);

        map_region(env, "a")[0] = 1;
        child_tell(channel, 1);
        child_hear(channel);
}

START_TEST(the_death_of_its_holder_gives_it_back_to_the_pool)
{
        struct child child;
        int peer;

        if (!begin(backings[_i], 2))
                return;
        peer = broker_connect();
        child_start(&child, hold, &backings[_i]);
        ck_assert_int_eq(child_hear(child.channel), 1);
        ck_assert_int_eq(pool_free(), free_before - 2);
        child_kill(&child);
        check_given_back(peer);
        close(peer);
}
END_TEST

static void wait_to_be_killed(int channel, const void *data)
{
        (void)data;
        child_tell(channel, 1);
        child_hear(channel);
}

START_TEST(a_child_that_inherited_it_keeps_it_until_it_dies_too)
{
        owned(varlink_clear) struct varlink_reply reply = {};
        struct region_spec region = { .name = "a", .size = 1 };
        struct region_env_options options = options_for(backings[_i], &region);
        struct region_broker *session;
        struct region_env *env;
        struct child child;
        int peer;

        if (!begin(backings[_i], 1))
                return;
        session = connect_session();
        env = open_env(session, "e", &options);
        map_region(env, "a")[0] = 1;
        child_fork(&child, wait_to_be_killed, NULL);
        ck_assert_int_eq(child_hear(child.channel), 1);
        region_env_close(env);
        region_broker_close(session);
        peer = broker_connect();
        varlink_ask(peer, &reply, "Describe", "{'environment':'e'}");
        ck_assert_value(&reply, "attachments.0.standing", "inherited");
        ck_assert_int_eq(pool_free(), free_before - 1);
        child_kill(&child);
        check_given_back(peer);
        close(peer);
}
END_TEST

/* --- the broker's death ------------------------------------------------------------------------------------------- */

START_TEST(the_next_broker_finds_it_and_adds_whole_huge_pages_to_it)
{
        const struct region_spec more = { .name = "b", .size = 5000 };
        struct region_spec region = { .name = "a", .size = 1 };
        struct region_env_options options = options_for(REGION_BACKING_SYSV, &region);
        struct region_broker *session;
        struct region_env *env;
        struct region *added;
        int peer;

        if (!begin(REGION_BACKING_SYSV, 2))
                return;
        options.lifetime = REGION_LIFETIME_PERSISTENT;
        session = connect_session();
        map_region(open_env(session, "e", &options), "a")[page - 1] = 'x';
        region_broker_close(session);
        daemon_kill(&broker);

        ck_assert(daemon_start(&broker, NULL));
        peer = broker_connect();
        session = connect_session();
        env = open_env(session, "e", NULL);
        check_bytes(map_region(env, "a") + page - 1, 1, 'x');
        ck_assert_uint_eq(hugetlb_bytes(region_address(region_env_find(env, "a"))), page);
        check(region_env_add(env, &more, &added));
        ck_assert_uint_eq(region_size(added), page);
        ck_assert_int_eq(pool_free(), free_before - 2);
        region_env_close(env);
        check(region_env_remove(session, "e", false, 0, NULL));
        check_given_back(peer);
        region_broker_close(session);
        close(peer);
}
END_TEST

/* --- too few ----------------------------------------------------------------------------------------------------- */

static const struct {
        const char *operation;
        int errnum;
} shortages[] = { { "fallocate", ENOSPC }, { "shmget", ENOMEM }, { "mmap", ENOMEM } };

START_TEST(a_pool_with_too_few_is_an_error_at_creation_that_says_what_to_do)
{
        struct region_spec region = { .name = "a" };
        struct region_env_options options = options_for(backings[_i], &region);
        struct region_broker *session;
        struct region_env *env;
        int peer;

        if (!begin(backings[_i], 0))
                return;
        if (pool_is_open_ended()) {
                SKIP("vm.nr_overcommit_hugepages makes up for what the pool has not");
                return;
        }
        peer = broker_connect();
        session = connect_session();
        region.size = (size_t)(free_before + 1) * page;
        check_told(region_env_open(session, "e", &options, &env), REGION_E_RESOURCE, "vm.nr_hugepages");
        ck_assert_str_eq(region_last_error()->operation, shortages[_i].operation);
        ck_assert_int_eq(region_last_error()->errnum, shortages[_i].errnum);
        check_given_back(peer);
        region_broker_close(session);
        close(peer);
}
END_TEST

/* The kernel promises the pages of a mapping when it is made, so that no touch can fail. */
START_TEST(a_pool_with_too_few_for_what_is_sparse_is_an_error_when_it_is_mapped)
{
        struct region_spec region = { .name = "a" };
        struct region_env_options options = options_for(REGION_BACKING_MEMFD, &region);
        struct region_broker *session;
        struct region_env *env;
        void *mapped;

        if (!begin(options.backing, 0))
                return;
        if (pool_is_open_ended()) {
                SKIP("vm.nr_overcommit_hugepages makes up for what the pool has not");
                return;
        }
        session = connect_session();
        region.size = (size_t)(free_before + 1) * page;
        options.sparse = true;
        env = open_env(session, "e", &options);
        check_told(region_map(region_env_at(env, 0), NULL, &mapped), REGION_E_RESOURCE, "vm.nr_hugepages");
        ck_assert_int_eq(region_last_error()->errnum, ENOMEM);
        region_env_close(env);
        region_broker_close(session);
}
END_TEST

/* From here on neither this process nor the broker that it starts may have segments of the pool. */
static bool give_up_the_right(void)
{
        return geteuid() != 0 || (prctl(PR_CAPBSET_DROP, 14 /* CAP_IPC_LOCK */, 0, 0, 0) == 0 &&
                                  setgroups(0, NULL) == 0 && setresgid(65534, 65534, 65534) == 0);
}

START_TEST(a_broker_without_the_right_to_segments_says_which_one)
{
        struct region_spec region = { .name = "a", .size = 1 };
        struct region_env_options options = options_for(REGION_BACKING_SYSV, &region);
        struct region_broker *session;
        struct region_env *env;

        ck_assert(give_up_the_right());
        broker_setup();
        session = connect_session();
        if (region_env_open(session, "e", &options, &env) == REGION_OK) {
                SKIP("this user may have segments of huge pages");
                region_env_close(env);
        } else if (region_last_error()->errnum == ENOMEM && geteuid() != 0) {
                SKIP("this user may have segments of huge pages, of which there are none");
        } else {
                ck_assert_str_eq(region_last_error()->operation, "shmget");
                ck_assert_int_eq(region_last_error()->errnum, EPERM);
                ck_assert_msg(strstr(region_error_message(), "vm.hugetlb_shm_group") != NULL, "%s",
                              region_error_message());
        }
        region_broker_close(session);
}
END_TEST

static void on_alarm(int number)
{
        (void)number;
}

/* Clearing a huge page takes long enough for a signal to come, and a signal ends fallocate() there. */
START_TEST(a_process_that_is_interrupted_all_the_time_gets_its_memory)
{
        const struct sigaction action = { .sa_handler = on_alarm, .sa_flags = SA_RESTART };
        const struct itimerval often = { { 0, 300 }, { 0, 300 } }, never = {};
        struct region_spec region = { .name = "a" };
        struct region_env_options options = options_for(REGION_BACKING_MEMFD, &region);
        struct region_broker *session;
        struct region_env *env;

        if (!begin(options.backing, 32))
                return;
        session = connect_session();
        region.size = 32 * page;
        ck_assert_int_eq(sigaction(SIGALRM, &action, NULL), 0);
        ck_assert_int_eq(setitimer(ITIMER_REAL, &often, NULL), 0);
        env = open_env(session, "e", &options);
        ck_assert_int_eq(setitimer(ITIMER_REAL, &never, NULL), 0);
        ck_assert_int_eq(pool_free(), free_before - 32);
        region_env_close(env);
        region_broker_close(session);
}
END_TEST

/* --- what cannot be ---------------------------------------------------------------------------------------------- */

static const char *const unfit[] = {
        "'backing':'posix','regions':[{'name':'a','size':1}]",
        "'backing':'file','regions':[]",
        "'regions':[{'name':'a','size':1},{'name':'b','size':1,'backing':'posix'}]",
        "'backing':'sysv','regions':[{'name':'a','size':1,'backing':'file'}]",
};

START_TEST(what_lies_in_a_filesystem_cannot_be_of_the_pool)
{
        owned(varlink_clear) struct varlink_reply reply = {};
        int peer;

        broker_setup();
        peer = broker_connect();
        varlink_ask(peer, &reply, "Open", "{'environment':'e','create':'always','definition':{'hugetlb':true,%s}}",
                    unfit[_i]);
        ck_assert_reply(&reply, "org.varlink.service.InvalidParameter");
        ck_assert_value(&reply, "parameter", "definition");
        varlink_ask(peer, &reply, "Open", "{'environment':'e','create':'always','definition':{'hugetlb':false,%s}}",
                    unfit[_i]);
        ck_assert_reply(&reply, NULL);
        broker_detach(peer, "e");
        varlink_ask(peer, &reply, "Open",
                    "{'environment':'f','create':'always','definition':{'hugetlb':true,'regions':[]}}");
        ck_assert_reply(&reply, NULL);
        varlink_ask(peer, &reply, "AddRegion", "{'environment':'f','region':{'name':'a','size':1,'backing':'posix'}}");
        ck_assert_reply(&reply, "org.varlink.service.InvalidParameter");
        ck_assert_value(&reply, "parameter", "region");
        close(peer);
}
END_TEST

/* Two regions of a byte are two huge pages, whatever their size is here. */
static const struct {
        const char *limit, *name;
} limits[] = { { "regionBytes=1048576", "regionBytes" }, { "bytesPerUser=3145728", "bytesPerUser" } };

START_TEST(whole_huge_pages_count_against_the_limits)
{
        owned(varlink_clear) struct varlink_reply reply = {};
        const char *const options[] = { "--limit", limits[_i].limit, NULL };
        int peer;

        broker_start(options);
        peer = broker_connect();
        varlink_ask(peer, &reply, "Open",
                    "{'environment':'e','create':'always','definition':{'hugetlb':true,'regions':["
                    "{'name':'a','size':1},{'name':'b','size':1}]}}");
        ck_assert_reply(&reply, "QuotaExceeded");
        ck_assert_value(&reply, "limit", limits[_i].name);
        ck_assert_int_eq(varlink_number(&reply, "wanted"), (_i + 1) * pool_page_size());
        varlink_ask(peer, &reply, "Open",
                    "{'environment':'e','create':'always','definition':{'regions':[{'name':'a','size':1}]}}");
        ck_assert_reply(&reply, NULL);
        close(peer);
}
END_TEST

int main(void)
{
        Suite *suite = suite_create("hugetlb");
        TCase *pool = check_case(suite, "pool"), *without = check_case(suite, "without");

        if (pool_page_size() == 0) {
                fputs("test-hugetlb: this kernel has no pool of huge pages\n", stderr);
                return 77;
        }
        tcase_add_checked_fixture(pool, NULL, pool_leave);
        tcase_add_checked_fixture(pool, NULL, broker_teardown);
        tcase_add_loop_test(pool, its_regions_are_whole_huge_pages_that_go_back_to_the_pool, 0, N_BACKINGS);
        tcase_add_loop_test(pool, it_is_described_with_the_bytes_it_takes, 0, N_SHARED);
        tcase_add_loop_test(pool, a_region_that_is_added_has_whole_ones_too, 0, N_BACKINGS);
        tcase_add_loop_test(pool, a_wish_where_to_map_is_kept_where_a_huge_page_can_begin, 0, N_BACKINGS);
        tcase_add_loop_test(pool, the_death_of_its_holder_gives_it_back_to_the_pool, 0, N_BACKINGS);
        tcase_add_loop_test(pool, a_child_that_inherited_it_keeps_it_until_it_dies_too, 0, N_SHARED);
        tcase_add_test(pool, the_next_broker_finds_it_and_adds_whole_huge_pages_to_it);
        tcase_add_loop_test(pool, a_pool_with_too_few_is_an_error_at_creation_that_says_what_to_do, 0, N_BACKINGS);
        tcase_add_test(pool, a_pool_with_too_few_for_what_is_sparse_is_an_error_when_it_is_mapped);
        tcase_add_test(pool, a_process_that_is_interrupted_all_the_time_gets_its_memory);

        tcase_add_checked_fixture(without, NULL, broker_teardown);
        tcase_add_test(without, a_broker_without_the_right_to_segments_says_which_one);
        tcase_add_loop_test(without, what_lies_in_a_filesystem_cannot_be_of_the_pool, 0, (int)array_size(unfit));
        tcase_add_loop_test(without, whole_huge_pages_count_against_the_limits, 0, (int)array_size(limits));
        return check_run(suite);
}
