/* Opening environments: what is asked for, what is reserved, what is believed of the answer. */

#include "tests/unit/fake-session.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/stat.h>

static struct region_broker *broker;

static int64_t bytes_taken(const struct region *region)
{
        struct stat status;

        ck_assert_int_eq(fstat(region_fd(region), &status), 0);
        return status.st_blocks * 512;
}

/* --- opening ----------------------------------------------------------------------------------------------------- */

START_TEST(a_member_shares_the_memory)
{
        owned(closep) int memory = -1;
        struct region_env *env;
        struct region *stock;
        char byte;
        int fd = fake_memory(STOCK_SIZE);

        memory = reopen(fd, O_RDWR);
        fake_answers_fd(SHOP("member"), fd);
        broker = start();
        env = open_shop(broker, NULL);
        ck_assert_int_eq(region_env_role(env), REGION_ROLE_MEMBER);
        ck_assert_str_eq(region_env_info(env)->name, "shop");
        stock = region_env_find(env, "stock");
        ck_assert_ptr_eq(stock, region_env_at(env, 0));
        ck_assert_ptr_null(region_env_at(env, 1));
        ck_assert_ptr_null(region_env_find(env, "till"));
        ck_assert_uint_eq(region_size(stock), STOCK_SIZE);
        ck_assert_int_eq(region_access(stock), REGION_WRITE);
        ck_assert_str_eq(region_info(stock)->name, "stock");
        ck_assert_ptr_null(region_address(stock));

        ((char *)map(stock, NULL))[STOCK_SIZE - 1] = 'x';
        ck_assert_int_eq(pread(memory, &byte, 1, STOCK_SIZE - 1), 1);
        ck_assert_int_eq(byte, 'x');
        finish(broker);
        ck_assert_str_eq(fake_asked(0), "{'method':'org.regionbroker.Open','parameters':"
                                        "{'environment':'shop','access':'write','session':1}}");
        ck_assert_str_eq(fake_asked(1),
                         "{'method':'org.regionbroker.Detach','parameters':{'environment':'shop','id':'e-1'}}");
        ck_assert_ptr_null(fake_asked(2));
}
END_TEST

START_TEST(all_that_was_chosen_is_asked_for)
{
        static const struct region_spec regions[] = {
                { .name = "stock", .size = 100, .type = "log", .backing = REGION_BACKING_SYSV },
                { .name = "till", .size = 1 },
        };
        static const char *const only[] = { "till" };
        const struct region_env_options options = {
                .create = REGION_CREATE_IF_ABSENT,
                .access = REGION_READ,
                .only = only,
                .n_only = 1,
                .wait_usec = 5,
                .backing = REGION_BACKING_FILE,
                .home = "/srv/caf\xc3\xa9",
                .region_directory = "/srv/regions",
                .shm_key = 1000,
                .mode = 0660,
                .group = "shop",
                .lifetime = REGION_LIFETIME_PERSISTENT,
                .linger_usec = 7,
                .recovery = true,
                .schema = "v1",
                .sparse = true,
                .lock = true,
                .huge_pages = true,
                .hugetlb = true,
                .regions = regions,
                .n_regions = 2,
        };

        fake_answers_fd(SHOP("member"), fake_memory(STOCK_SIZE));
        broker = start();
        open_shop(broker, &options);
        finish(broker);
        ck_assert_str_eq(
                fake_asked(0),
                "{'method':'org.regionbroker.Open','parameters':{'environment':'shop','create':'ifAbsent',"
                "'access':'read','definition':{'backing':'file','home':'/srv/caf\xc3\xa9',"
                "'regionDirectory':'/srv/regions','shmKey':1000,'mode':432,'group':'shop',"
                "'lifetime':'persistent','lingerUSec':7,'recovery':true,'schema':'v1','reserve':false,"
                "'lock':true,'hugePages':true,'hugetlb':true,'regions':[{'name':'stock','type':'log','size':100,"
                "'backing':'sysv'},{'name':'till','size':1}]},'regions':['till'],'waitUSec':5,'session':1}}");
}
END_TEST

static const struct {
        struct region_env_options options;
        const char *parameters;
} short_options[] = {
        { { .wait_usec = REGION_NO_WAIT }, ",'waitUSec':0" },
        { { .create = REGION_CREATE_ALWAYS }, ",'definition':{'regions':[]}" },
        { { .create = REGION_CREATE_NEVER, .schema = "v1" }, ",'definition':{'schema':'v1','regions':[]}" },
        { { .only = (const char *const[]){ NULL }, .n_only = 0 }, ",'regions':[]" },
};

START_TEST(what_was_not_chosen_is_not_said)
{
        fake_answers_fd(SHOP("member"), fake_memory(STOCK_SIZE));
        broker = start();
        open_shop(broker, &short_options[_i].options);
        finish(broker);
        ck_assert_msg(strstr(fake_asked(0), short_options[_i].parameters) != NULL, "%s", fake_asked(0));
}
END_TEST

START_TEST(a_wait_that_ends_unanswered_is_a_timeout)
{
        const struct region_env_options options = { .wait_usec = 1000 };
        struct region_env *env;

        fake_is_silent();
        broker = start();
        region_broker_set_timeout(broker, 1000);
        check_error(region_env_open(broker, "shop", &options, &env), REGION_E_TIMEOUT, "did not answer in time");
        finish(broker);
}
END_TEST

START_TEST(differences_are_told)
{
        const char *field, *wanted, *found;
        struct region_env *env;

        fake_answers("{'parameters':{'environment':" ENVIRONMENT(
                "shop", "memfd", "", "") ",'role':'member',"
                                         "'controlFileDescriptor':CONTROL,'grants':[],"
                                         "'differences':[{'field':'mode','wanted':'432','found':'384'}]}}");
        broker = start();
        env = open_shop(broker, NULL);
        ck_assert(region_env_difference(env, 0, &field, &wanted, &found));
        ck_assert_str_eq(field, "mode");
        ck_assert_str_eq(wanted, "432");
        ck_assert_str_eq(found, "384");
        ck_assert(!region_env_difference(env, 1, &field, &wanted, &found));
        finish(broker);
}
END_TEST

START_TEST(regions_are_in_the_order_of_their_numbers)
{
        const int fds[] = { fake_memory(STOCK_SIZE), fake_memory(STOCK_SIZE), fake_memory(STOCK_SIZE) };
        struct region_env *env;

#define NUMBERED(number) REGION("r" number, number, "8192", "memfd", "")
        fake_answers_fds(OPENED(ENVIRONMENT("shop", "memfd", "", ""), "member",
                                GRANT(NUMBERED("2"), "write", "1") "," GRANT(NUMBERED("3"), "write", "0") "," GRANT(
                                        NUMBERED("1"), "write", "2")),
                         fds, 3);
        broker = start();
        env = open_shop(broker, NULL);
        ck_assert_str_eq(region_info(region_env_at(env, 0))->name, "r1");
        ck_assert_str_eq(region_info(region_env_at(env, 1))->name, "r2");
        ck_assert_str_eq(region_info(region_env_at(env, 2))->name, "r3");
        finish(broker);
}
END_TEST

/* --- reserving --------------------------------------------------------------------------------------------------- */

static const struct {
        const char *reply;
        bool sparse;
        int64_t bytes;
} reservations[] = {
        { SHOP("initializer"), false, STOCK_SIZE },
        { SHOP("initializer"), true, 0 },
        { SHOP_MORE("initializer", ",'reserve':true"), true, STOCK_SIZE },
        { SHOP_MORE("initializer", ",'reserve':false"), false, 0 },
        { SHOP("member"), false, 0 },
        { SHOP("recoverer"), false, 0 },
};

START_TEST(an_initializer_reserves_unless_it_is_sparse)
{
        const struct region_env_options options = { .sparse = reservations[_i].sparse };

        fake_answers_fd(reservations[_i].reply, fake_memory(STOCK_SIZE));
        broker = start();
        ck_assert_int_eq(bytes_taken(region_env_at(open_shop(broker, &options), 0)), reservations[_i].bytes);
        finish(broker);
}
END_TEST

static bool write_to(const char *path, const char *text)
{
        FILE *file = fopen(path, "we");

        if (!file)
                return false;
        fputs(text, file);
        return fclose(file) == 0;
}

/* Where this process may mount what others do not see. An ordinary user is root there, or could not even make a file. */
static bool enter_namespace(void)
{
        char uid_map[32], gid_map[32];

        if (geteuid() == 0)
                return unshare(CLONE_NEWNS) == 0;
        snprintf(uid_map, sizeof(uid_map), "0 %u 1", geteuid());
        snprintf(gid_map, sizeof(gid_map), "0 %u 1", getegid());
        return unshare(CLONE_NEWUSER | CLONE_NEWNS) == 0 && write_to("/proc/self/setgroups", "deny") &&
               write_to("/proc/self/uid_map", uid_map) && write_to("/proc/self/gid_map", gid_map);
}

/* A file of two MiB where there is room for one; -1 where this process may not mount. */
static int file_without_room(void)
{
        int fd;

        if (!enter_namespace() || mount("", "/", "", MS_REC | MS_PRIVATE, NULL) < 0 ||
            mount("room", "/mnt", "tmpfs", 0, "size=1m") < 0)
                return -1;
        fd = open("/mnt/region", O_RDWR | O_CREAT | O_CLOEXEC, 0600);
        ck_assert_int_ge(fd, 0);
        ck_assert_int_eq(ftruncate(fd, 2 << 20), 0);
        return fd;
}

#define LARGE(size, backing) REGION("stock", "1", size, backing, "")

START_TEST(a_full_memory_is_an_error_and_leaves_nothing)
{
        struct region_env *env = NULL;
        int fd = file_without_room();

        if (fd < 0)
                return;
        fake_answers_fd(OPENED(ENVIRONMENT("shop", "posix", "", LARGE("2097152", "posix")), "initializer",
                               GRANT(LARGE("2097152", "posix"), "write", "0")),
                        fd);
        broker = start();
        check_error(region_env_open(broker, "shop", NULL, &env), REGION_E_RESOURCE,
                    "the 2097152 bytes of region 'stock' cannot be reserved (No space left on device)");
        ck_assert_str_eq(region_last_error()->operation, "fallocate");
        ck_assert_int_eq(region_last_error()->errnum, ENOSPC);
        ck_assert_ptr_null(env);
        finish(broker);
        ck_assert_str_eq(fake_asked(1), DETACH_SHOP);
        ck_assert_ptr_null(fake_asked(2));
}
END_TEST

/* 64 TiB of each sort. */
#define HUGE(backing, fd)                                                                         \
        OPENED(ENVIRONMENT("shop", backing, "", LARGE("70368744177664", backing)), "initializer", \
               GRANT(LARGE("70368744177664", backing), "write", fd))

static const struct {
        const char *reply;
        size_t memory;
} too_large[] = {
        { HUGE("memfd", "0"), (size_t)1 << 46 },
        { HUGE("private", "null"), 1 },
};

START_TEST(more_than_the_machine_has_is_an_error_before_anybody_is_killed)
{
        struct region_env *env = NULL;

        fake_answers_fd(too_large[_i].reply, fake_memory(too_large[_i].memory));
        broker = start();
        check_error(region_env_open(broker, "shop", NULL, &env), REGION_E_RESOURCE, "70368744177664 bytes");
        if (!check_on_valgrind()) /* which has its own opinion of sizes */
                ck_assert_int_eq(region_last_error()->errnum, ENOMEM);
        finish(broker);
        ck_assert_str_eq(fake_asked(1), DETACH_SHOP);
}
END_TEST

START_TEST(a_region_that_cannot_be_reserved_is_deleted_again)
{
        const struct region_spec spec = { .name = "stock", .size = 2 << 20 };
        struct region *region = NULL;
        struct region_env *env;
        int fd = file_without_room();

        if (fd < 0)
                return;
        fake_answers(OPENED(ENVIRONMENT("shop", "posix", "", ""), "member", ""));
        fake_answers_fd("{'parameters':{'grant':" GRANT(LARGE("2097152", "posix"), "write", "0") "}}", fd);
        broker = start();
        env = open_shop(broker, NULL);
        check_error(region_env_add(env, &spec, &region), REGION_E_RESOURCE, "cannot be reserved");
        ck_assert_ptr_null(region);
        ck_assert_ptr_null(region_env_at(env, 0));
        finish(broker);
        ck_assert_str_eq(fake_asked(1), "{'method':'org.regionbroker.AddRegion','parameters':"
                                        "{'environment':'shop','region':{'name':'stock','size':2097152}}}");
        ck_assert_str_eq(fake_asked(2), "{'method':'org.regionbroker.Detach','parameters':"
                                        "{'environment':'shop','region':'stock','id':'e-1'}}");
        ck_assert_str_eq(fake_asked(3), "{'method':'org.regionbroker.DeleteRegion','parameters':"
                                        "{'environment':'shop','region':'stock'}}");
}
END_TEST

/* --- what is not believed ---------------------------------------------------------------------------------------- */

static int unsealed(void)
{
        int fd = memfd_create("region", MFD_CLOEXEC);

        ck_assert_int_eq(ftruncate(fd, STOCK_SIZE), 0);
        return fd;
}

static int too_short(void)
{
        return fake_memory(STOCK_SIZE - 1);
}

static int right(void)
{
        return fake_memory(STOCK_SIZE);
}

static int for_reading(void)
{
        owned(closep) int fd = fake_memory(STOCK_SIZE);

        return reopen(fd, O_RDONLY);
}

static int no_memory(void)
{
        return open("/dev/null", O_RDWR | O_CLOEXEC);
}

#define SHOP_GRANTS(grants) OPENED(ENVIRONMENT("shop", "memfd", "", STOCK), "member", grants)

static const struct {
        const char *reply;
        int (*fd)(void);
        const char *sentence;
} lies[] = {
        { SHOP("member"), unsealed, "not sealed against shrinking" },
        { SHOP("member"), too_short, "shorter than the region" },
        { SHOP("member"), for_reading, "not open for the access" },
        { SHOP("member"), no_memory, "no memory" },
        { SHOP_GRANTS(GRANT(STOCK, "write", "1")), right, "not sent" },
        { SHOP_GRANTS(GRANT(STOCK, "write", "-1")), right, "not sent" },
        { SHOP_GRANTS(GRANT(STOCK, "write", "null")), right, "not sent" },
        { SHOP_GRANTS(GRANT(STOCK, "write", "0") "," GRANT(STOCK, "write", "0")), right, "not sent" },
        { SHOP_GRANTS(GRANT(REGION("stock", "1", "-8192", "memfd", ""), "write", "0")), right, "impossible numbers" },
        { SHOP_GRANTS(GRANT(REGION("stock", "1", "8192", "sysv", ""), "write", "null")), right, "System V id" },
        { SHOP_GRANTS(GRANT(REGION("stock", "1", "8192", "paper", ""), "write", "0")), right, "'grants'" },
        { "{'parameters':{}}", right, "'environment'" },
};

START_TEST(a_grant_that_lies_is_refused_and_given_back)
{
        struct region_env *env = NULL;

        fake_answers_fd(lies[_i].reply, lies[_i].fd());
        broker = start();
        check_error(region_env_open(broker, "shop", NULL, &env), REGION_E_PROTOCOL, lies[_i].sentence);
        ck_assert_ptr_null(env);
        finish(broker);
        ck_assert_ptr_nonnull(strstr(fake_asked(1), "org.regionbroker.Detach")); /* named as far as it was understood */
}
END_TEST

int main(void)
{
        Suite *suite = suite_create("libregion-open");
        TCase *opening = fake_case(suite, "opening");
        TCase *reserving = fake_case(suite, "reserving");
        TCase *believing = fake_case(suite, "believing");

        tcase_add_test(opening, a_member_shares_the_memory);
        tcase_add_test(opening, all_that_was_chosen_is_asked_for);
        tcase_add_loop_test(opening, what_was_not_chosen_is_not_said, 0, (int)array_size(short_options));
        tcase_add_test(opening, a_wait_that_ends_unanswered_is_a_timeout);
        tcase_add_test(opening, differences_are_told);
        tcase_add_test(opening, regions_are_in_the_order_of_their_numbers);

        tcase_add_loop_test(reserving, an_initializer_reserves_unless_it_is_sparse, 0, (int)array_size(reservations));
        tcase_add_test(reserving, a_full_memory_is_an_error_and_leaves_nothing);
        tcase_add_loop_test(reserving, more_than_the_machine_has_is_an_error_before_anybody_is_killed, 0,
                            (int)array_size(too_large));
        tcase_add_test(reserving, a_region_that_cannot_be_reserved_is_deleted_again);

        tcase_add_loop_test(believing, a_grant_that_lies_is_refused_and_given_back, 0, (int)array_size(lies));

        return check_run(suite);
}
