/* The standard regions: what the flags and sizes ask the broker for, what is refused before it is asked, and what
 * words of people add to them. */

#include "tests/unit/fake-session.h"

static struct region_broker *broker;

/* --- what is asked for ------------------------------------------------------------------------------------------- */

static const struct region_subsystem_sizes own_sizes = { .lock = 3, .mpool = 10, .mpool_caches = 3 };
static const struct region_spec own_regions[] = { { .name = "till", .size = 1 }, { .name = "mpool4", .size = 2 } };

#define ALL_FLAGS                                                                                         \
        (REGION_SUBSYSTEM_MUTEX | REGION_SUBSYSTEM_LOCK | REGION_SUBSYSTEM_LOG | REGION_SUBSYSTEM_MPOOL | \
         REGION_SUBSYSTEM_TXN)
#define ASKED(name, type, size) "{'name':'" name "','type':'" type "','size':" size "}"
#define ASKED_ENV ASKED("env", "env", "65536")
#define AND(name, type, size) "," ASKED(name, type, size)

/* clang-format off */
static const struct {
        struct region_env_options options;
        const char *regions;
} sets[] = {
        { { .subsystems = ALL_FLAGS },
          ASKED_ENV AND("mutex", "mutex", "262144") AND("lock", "lock", "524288") AND("log", "log", "131072")
          AND("mpool", "mpool", "262144") AND("txn", "txn", "65536") },
        { { .subsystems = ALL_FLAGS, .sizes = &own_sizes, .regions = own_regions, .n_regions = 2 },
          ASKED_ENV AND("mutex", "mutex", "262144") AND("lock", "lock", "3") AND("log", "log", "131072")
          AND("mpool1", "mpool", "4") AND("mpool2", "mpool", "4") AND("mpool3", "mpool", "4") AND("txn", "txn", "65536")
          ",{'name':'till','size':1},{'name':'mpool4','size':2}" },
        { { .subsystems = REGION_SUBSYSTEM_ENV }, ASKED_ENV },
        { { .subsystems = REGION_SUBSYSTEM_TXN }, ASKED_ENV AND("txn", "txn", "65536") },
        { { .subsystems = REGION_SUBSYSTEM_LOG, .sizes = &own_sizes }, ASKED_ENV AND("log", "log", "131072") },
        { { .create = REGION_CREATE_IF_ABSENT, .sizes = &own_sizes }, "" },
        { { .regions = own_regions, .n_regions = 1 }, "{'name':'till','size':1}" },
};
/* clang-format on */

START_TEST(flags_become_regions_in_a_fixed_order)
{
        char wanted[1024];

        fake_answers_fd(SHOP("member"), fake_memory(STOCK_SIZE));
        broker = start();
        open_shop(broker, &sets[_i].options);
        finish(broker);
        snprintf(wanted, sizeof(wanted), "'definition':{'regions':[%s]},'session':1}}", sets[_i].regions);
        ck_assert_msg(strstr(fake_asked(0), wanted) != NULL, "%s lacks %s", fake_asked(0), wanted);
}
END_TEST

/* Programs were built with this size, and what they leave zero means nothing new. */
START_TEST(the_options_keep_their_size)
{
        if (sizeof(void *) == 8)
                ck_assert_uint_eq(sizeof(struct region_env_options), 192);
}
END_TEST

/* --- what is refused --------------------------------------------------------------------------------------------- */

#define CLASH(name_)                             \
        {                                        \
                { .name = "till", .size = 1 },   \
                {                                \
                        .name = name_, .size = 1 \
                }                                \
        }

static const struct region_spec clashes[][2] = { CLASH("env"), CLASH("log"), CLASH("mpool2") };
static const struct region_subsystem_sizes two_caches = { .mpool_caches = 2 };
static const struct region_subsystem_sizes most_caches = { .mpool_caches = 64 };
static const struct region_subsystem_sizes too_many_caches = { .mpool_caches = 65 };
static const struct region_subsystem_sizes not_zero = { .reserved = { 0, 1 } };
static const struct region_subsystem_sizes too_large = { .log = (size_t)1 << 63 };

static const struct {
        struct region_env_options options;
        const char *sentence;
} wrong[] = {
        { { .subsystems = REGION_SUBSYSTEM_LOG, .regions = clashes[0], .n_regions = 2 }, "region 'env'" },
        { { .subsystems = REGION_SUBSYSTEM_LOG, .regions = clashes[1], .n_regions = 2 }, "region 'log'" },
        { { .subsystems = REGION_SUBSYSTEM_MPOOL, .sizes = &two_caches, .regions = clashes[2], .n_regions = 2 },
          "region 'mpool2' is among the regions, and a subsystem makes it too" },
        { { .subsystems = REGION_SUBSYSTEM_LOG | 0x40 }, "subsystems has 0x40" },
        { { .subsystems = REGION_SUBSYSTEM_MPOOL, .sizes = &too_many_caches }, "mpool_caches is 65; at most 64" },
        { { .subsystems = REGION_SUBSYSTEM_MPOOL, .sizes = &not_zero }, "struct region_subsystem_sizes are not zero" },
        { { .subsystems = REGION_SUBSYSTEM_LOG, .sizes = &too_large }, "the size of region 'log' is more" },
};

START_TEST(what_cannot_be_meant_is_refused_before_the_broker_is_asked)
{
        struct region_env *env = NULL;

        broker = start();
        check_error(region_env_open(broker, "shop", &wrong[_i].options, &env), REGION_E_INVALID, wrong[_i].sentence);
        ck_assert_ptr_null(env);
        finish(broker);
        ck_assert_ptr_null(fake_asked(0));
}
END_TEST

START_TEST(the_most_caches_are_as_many_regions)
{
        const struct region_env_options options = { .subsystems = REGION_SUBSYSTEM_MPOOL, .sizes = &most_caches };

        fake_answers_fd(SHOP("member"), fake_memory(STOCK_SIZE));
        broker = start();
        open_shop(broker, &options);
        finish(broker);
        ck_assert_ptr_nonnull(strstr(fake_asked(0), ASKED("mpool64", "mpool", "4096") "]}"));
        ck_assert_ptr_null(strstr(fake_asked(0), "mpool65"));
}
END_TEST

START_TEST(a_name_is_free_where_no_subsystem_has_it)
{
        const struct region_env_options options = {
                .subsystems = REGION_SUBSYSTEM_MPOOL, .sizes = &two_caches, .regions = clashes[1], .n_regions = 2
        };

        fake_answers_fd(SHOP("member"), fake_memory(STOCK_SIZE));
        broker = start();
        open_shop(broker, &options);
        finish(broker);
        ck_assert_ptr_nonnull(strstr(fake_asked(0), "{'name':'log','size':1}]}"));
}
END_TEST

/* --- words ------------------------------------------------------------------------------------------------------- */

START_TEST(words_add_up)
{
        struct region_subsystem_sizes sizes = {};
        unsigned subsystems = 0;

        check(region_subsystems_parse("lock", &subsystems, &sizes));
        ck_assert_uint_eq(subsystems, REGION_SUBSYSTEM_LOCK);
        ck_assert_uint_eq(sizes.lock, 0);
        check(region_subsystems_parse("lock=1M", &subsystems, &sizes));
        check(region_subsystems_parse("mpool=64M*4", &subsystems, &sizes));
        check(region_subsystems_parse("env=7", &subsystems, &sizes));
        ck_assert_uint_eq(subsystems, REGION_SUBSYSTEM_LOCK | REGION_SUBSYSTEM_MPOOL | REGION_SUBSYSTEM_ENV);
        ck_assert_uint_eq(sizes.env, 7);
        ck_assert_uint_eq(sizes.lock, 1 << 20);
        ck_assert_uint_eq(sizes.mpool, 64 << 20);
        ck_assert_uint_eq(sizes.mpool_caches, 4);
        check(region_subsystems_parse("mpool=1M", &subsystems, &sizes));
        ck_assert_uint_eq(sizes.mpool, 1 << 20);
        ck_assert_uint_eq(sizes.mpool_caches, 4);
        check(region_subsystems_parse("mutex=1", &subsystems, &sizes));
        check(region_subsystems_parse("log=2", &subsystems, &sizes));
        check(region_subsystems_parse("txn=3", &subsystems, &sizes));
        ck_assert_uint_eq(subsystems, ALL_FLAGS | REGION_SUBSYSTEM_ENV);
        ck_assert_uint_eq(sizes.mutex + 10 * sizes.log + 100 * sizes.txn, 321);
}
END_TEST

static const struct {
        const char *word;
        const char *sentence;
} wrong_words[] = {
        { "", "'' is no subsystem; expected mutex, lock, log, mpool, txn or env" },
        { "locks", "'locks' is no subsystem" },
        { "loc", "'loc' is no subsystem" },
        { "=1M", "'=1M' is no subsystem" },
        { "lock=", "'lock=' is not understood; expected a size as in 64K" },
        { "lock=0", "'lock=0' is out of range" },
        { "lock=1M*2", "'lock=1M*2' is not understood" },
        { "mpool=*2", "'mpool=*2' is not understood" },
        { "mpool=1M*", "'mpool=1M*' is not understood" },
        { "mpool=1M*0", "'mpool=1M*0' is out of range" },
        { "mpool=1M*65", "'mpool=1M*65' is out of range; expected a size as in 64K, for mpool with *N" },
        { "mpool=1M*2*2", "not understood" },
        { "log=00000000000000000000000000000000001M", "out of range" },
};

START_TEST(a_wrong_word_says_what_is_expected_and_changes_nothing)
{
        struct region_subsystem_sizes sizes = { .mpool = 5 };
        unsigned subsystems = REGION_SUBSYSTEM_TXN;

        check_error(region_subsystems_parse(wrong_words[_i].word, &subsystems, &sizes), REGION_E_INVALID,
                    wrong_words[_i].sentence);
        ck_assert_uint_eq(subsystems, REGION_SUBSYSTEM_TXN);
        ck_assert_uint_eq(sizes.mpool, 5);
        ck_assert_uint_eq(sizes.mpool_caches, 0);
}
END_TEST

int main(void)
{
        Suite *suite = suite_create("libregion-subsystems");
        TCase *asking = fake_case(suite, "asking");
        TCase *refusing = fake_case(suite, "refusing");
        TCase *words = check_case(suite, "words");

        tcase_add_loop_test(asking, flags_become_regions_in_a_fixed_order, 0, (int)array_size(sets));
        tcase_add_test(asking, the_most_caches_are_as_many_regions);
        tcase_add_test(asking, a_name_is_free_where_no_subsystem_has_it);
        tcase_add_test(words, the_options_keep_their_size);

        tcase_add_loop_test(refusing, what_cannot_be_meant_is_refused_before_the_broker_is_asked, 0,
                            (int)array_size(wrong));

        tcase_add_test(words, words_add_up);
        tcase_add_loop_test(words, a_wrong_word_says_what_is_expected_and_changes_nothing, 0,
                            (int)array_size(wrong_words));

        return check_run(suite);
}
