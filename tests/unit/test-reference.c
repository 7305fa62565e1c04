/* The file that an environment leaves in its home. The broker that wrote one is played by this process, its parent or a
 * child. */

#include "daemon/core/environment.h"
#include "daemon/host/reference.h"
#include "proto/util.h"
#include "tests/support/check.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#define FILE_NAME "__db.001"
#define FIRST_LINE "region-broker reference 1\n"

static const struct reference_broker broker = { .instance = 0x5f3c9a1be0d2c477, .socket = "/run/there" };
static struct environment *shop;
static char path[64], file[128];
static int directory = -1;

static void setup(void)
{
        static const struct definition definition = {};
        struct region *region;

        strcpy(path, "/tmp/reference-XXXXXX");
        ck_assert_ptr_nonnull(mkdtemp(path));
        snprintf(file, sizeof(file), "%s/" FILE_NAME, path);
        directory = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
        ck_assert_int_ge(directory, 0);
        shop = environment_new("shop", &definition, BACKING_MEMFD);
        ck_assert_ptr_nonnull(shop);
        shop->id = 17;
        for (unsigned i = 0; i < 2; i++) {
                region = region_new(&(struct spec){ .name = i ? "index" : "stock", .size = 4096 }, BACKING_MEMFD);
                ck_assert_ptr_nonnull(region);
                region->id = 18 + i;
                environment_add_region(shop, region);
        }
}

static void teardown(void)
{
        struct region *region;

        while ((region = TAILQ_FIRST(&shop->regions))) {
                environment_remove_region(shop, region);
                region_free(region);
        }
        environment_free(shop);
        unlink(file);
        ck_assert_int_eq(rmdir(path), 0); /* so nothing else was left there */
        directory = close_fd(directory);
}

static int write_it(struct reference **ret, pid_t *ret_holder)
{
        return reference_write(directory, path, shop, &broker, ret, ret_holder);
}

static struct reference *write_well(void)
{
        struct reference *reference = NULL;
        pid_t holder;

        ck_assert_int_eq(write_it(&reference, &holder), 0);
        ck_assert_ptr_nonnull(reference);
        return reference;
}

static char *read_file(void)
{
        static char text[4096];
        owned(closep) int fd = open(file, O_RDONLY | O_CLOEXEC);
        ssize_t n;

        ck_assert_int_ge(fd, 0);
        n = read(fd, text, sizeof(text) - 1);
        ck_assert_int_ge(n, 0);
        text[n] = '\0';
        return text;
}

static void put_file(const char *text)
{
        owned(closep) int fd = open(file, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);

        ck_assert_int_ge(fd, 0);
        ck_assert_int_eq(write(fd, text, strlen(text)), (ssize_t)strlen(text));
}

static const char *boot_id(void)
{
        static char id[64];
        FILE *boot = fopen("/proc/sys/kernel/random/boot_id", "re");

        ck_assert_ptr_nonnull(boot);
        ck_assert_int_eq(fscanf(boot, "%63s", id), 1);
        fclose(boot);
        return id;
}

static uint64_t process_id(pid_t pid)
{
        owned(closep) int fd = (int)syscall(SYS_pidfd_open, pid, 0);
        struct stat st;

        ck_assert_int_eq(fstat(fd, &st), 0);
        return st.st_ino;
}

/* What a broker of that process would have written in that boot. */
static void put_reference(const char *boot, pid_t pid, uint64_t id)
{
        char text[512];

        snprintf(text, sizeof(text), FIRST_LINE "boot: %s\nbroker: 1\nprocess: %d %" PRIu64 "\nenvironment: 1 other\n",
                 boot, (int)pid, id);
        put_file(text);
}

static void check_refused(pid_t wanted_holder)
{
        struct reference *reference = NULL;
        char before[4096];
        pid_t holder = -1;

        strcpy(before, read_file());
        ck_assert_int_eq(write_it(&reference, &holder), -EEXIST);
        ck_assert_ptr_null(reference);
        ck_assert_int_eq(holder, wanted_holder);
        ck_assert_str_eq(read_file(), before);
}

static void check_replaced(void)
{
        struct reference *reference = write_well();

        ck_assert_ptr_nonnull(strstr(read_file(), "\nenvironment: 17 shop\n"));
        reference_remove(reference);
        ck_assert_int_lt(access(file, F_OK), 0);
}

/* --- writing ----------------------------------------------------------------------------------------------------- */

START_TEST(it_tells_boot_broker_process_socket_environment_and_regions)
{
        struct reference *reference = write_well();
        char wanted[1024];

        snprintf(wanted, sizeof(wanted),
                 FIRST_LINE "boot: %s\nbroker: 5f3c9a1be0d2c477\nprocess: %d %" PRIu64 "\nsocket: /run/there\n"
                            "environment: 17 shop\nregion: 1 18 stock\nregion: 2 19 index\n",
                 boot_id(), (int)getpid(), process_id(getpid()));
        ck_assert_str_eq(read_file(), wanted);
        reference_remove(reference);
}
END_TEST

START_TEST(without_a_socket_it_tells_none)
{
        const struct reference_broker quiet = { .instance = 1 };
        struct reference *reference = NULL;
        pid_t holder;

        ck_assert_int_eq(reference_write(directory, path, shop, &quiet, &reference, &holder), 0);
        ck_assert_ptr_null(strstr(read_file(), "socket:"));
        reference_remove(reference);
}
END_TEST

START_TEST(others_may_read_it_if_they_may_read_the_environment)
{
        static const struct {
                mode_t environment, file;
        } modes[] = { { 0600, 0600 }, { 0640, 0644 }, { 0604, 0644 }, { 0622, 0600 } };
        struct reference *reference;
        struct stat st;

        for (size_t i = 0; i < array_size(modes); i++) {
                shop->mode = modes[i].environment;
                reference = write_well();
                ck_assert_int_eq(stat(file, &st), 0);
                ck_assert_uint_eq(st.st_mode & 07777, modes[i].file);
                reference_remove(reference);
        }
}
END_TEST

/* Readers that look all the time see nothing, or all of it. */
START_TEST(it_appears_as_a_whole)
{
        struct reference *reference;
        char wanted[4096];
        int status;
        pid_t child;

        reference = write_well();
        strcpy(wanted, read_file());
        reference_remove(reference);
        child = fork();
        if (child == 0) {
                char text[4096];

                for (;;) {
                        int fd = open(file, O_RDONLY | O_CLOEXEC);
                        ssize_t n = fd < 0 ? -1 : read(fd, text, sizeof(text));

                        if (n >= 0 && ((size_t)n != strlen(wanted) || memcmp(text, wanted, (size_t)n) != 0))
                                _exit(1);
                        close_fd(fd);
                }
        }
        for (int i = 0; i < 3000; i++)
                reference_remove(write_well());
        kill(child, SIGKILL);
        ck_assert_int_eq(waitpid(child, &status, 0), child);
        ck_assert(WIFSIGNALED(status));
}
END_TEST

/* --- what stands there already ----------------------------------------------------------------------------------- */

START_TEST(one_of_another_boot_is_replaced)
{
        put_reference("00000000-0000-0000-0000-000000000000", getppid(), process_id(getppid()));
        check_replaced();
}
END_TEST

START_TEST(one_of_a_dead_process_is_replaced)
{
        pid_t child = fork();
        uint64_t id;

        if (child == 0)
                for (;;)
                        pause();
        id = process_id(child);
        put_reference(boot_id(), child, id);
        check_refused(child);
        kill(child, SIGKILL);
        ck_assert_int_eq(waitpid(child, NULL, 0), child);
        check_replaced();
}
END_TEST

START_TEST(one_whose_pid_was_given_to_another_process_is_replaced)
{
        put_reference(boot_id(), getppid(), process_id(getppid()) + 1000000);
        check_replaced();
}
END_TEST

START_TEST(one_that_names_no_process_is_replaced)
{
        put_file(FIRST_LINE "boot: nowhere\n");
        check_replaced();
        put_file(FIRST_LINE);
        check_replaced();
}
END_TEST

START_TEST(one_of_a_live_broker_is_refused_and_names_its_process)
{
        put_reference(boot_id(), getppid(), process_id(getppid()));
        check_refused(getppid());
}
END_TEST

START_TEST(what_is_no_reference_is_refused_and_untouched)
{
        static const char *const texts[] = { "", "precious\n", "region-broker reference 2\nboot: x\n" };

        for (size_t i = 0; i < array_size(texts); i++) {
                put_file(texts[i]);
                check_refused(0);
                ck_assert_int_eq(unlink(file), 0);
        }
}
END_TEST

START_TEST(what_is_no_file_is_refused)
{
        struct reference *reference = NULL;
        pid_t holder = -1;
        struct stat st;

        ck_assert_int_eq(mkfifo(file, 0600), 0);
        ck_assert_int_eq(write_it(&reference, &holder), -EEXIST); /* and nobody hangs on opening it */
        ck_assert_int_eq(holder, 0);
        ck_assert_int_eq(unlink(file), 0);

        ck_assert_int_eq(symlink("nowhere", file), 0);
        ck_assert_int_eq(write_it(&reference, &holder), -EEXIST);
        ck_assert_int_eq(lstat(file, &st), 0);
        ck_assert(S_ISLNK(st.st_mode));
        ck_assert_int_eq(unlink(file), 0);

        ck_assert_int_eq(mkdir(file, 0700), 0);
        ck_assert_int_eq(write_it(&reference, &holder), -EEXIST);
        ck_assert_int_eq(rmdir(file), 0);
        ck_assert_ptr_null(reference);
}
END_TEST

/* --- removing ---------------------------------------------------------------------------------------------------- */

START_TEST(it_is_removed)
{
        ck_assert_ptr_null(reference_remove(write_well()));
        ck_assert_int_lt(access(file, F_OK), 0);
        ck_assert_ptr_null(reference_remove(NULL));
}
END_TEST

START_TEST(a_file_that_took_its_place_is_not_removed)
{
        struct reference *reference = write_well();

        ck_assert_int_eq(unlink(file), 0);
        put_file("precious\n");
        reference_remove(reference);
        ck_assert_str_eq(read_file(), "precious\n");
}
END_TEST

START_TEST(one_that_is_gone_already_is_no_failure)
{
        struct reference *reference = write_well();

        ck_assert_int_eq(unlink(file), 0);
        reference_remove(reference);
}
END_TEST

START_TEST(one_that_another_process_wrote_is_known_by_its_broker_and_environment)
{
        reference_forget(write_well());
        reference_clear(directory, broker.instance + 1, 17);
        reference_clear(directory, broker.instance, 18);
        ck_assert_int_eq(access(file, F_OK), 0);
        reference_clear(directory, broker.instance, 17);
        ck_assert_int_lt(access(file, F_OK), 0);
        reference_clear(directory, broker.instance, 17);
}
END_TEST

START_TEST(what_only_says_so_is_not_removed)
{
        put_file("broker: 5f3c9a1be0d2c477\nenvironment: 17 shop\n");
        reference_clear(directory, broker.instance, 17);
        ck_assert_int_eq(unlink(file), 0);
        put_file(FIRST_LINE "broker: 5f3c9a1be0d2c477\nenvironment: 18 shop\nenvironment: 17 shop\n");
        reference_clear(directory, broker.instance, 17);
        ck_assert_int_eq(access(file, F_OK), 0);
}
END_TEST

int main(void)
{
        Suite *suite = suite_create("reference");
        TCase *writing = check_case(suite, "writing"), *standing = check_case(suite, "standing"),
              *removing = check_case(suite, "removing");

        tcase_add_checked_fixture(writing, setup, teardown);
        tcase_add_checked_fixture(standing, setup, teardown);
        tcase_add_checked_fixture(removing, setup, teardown);
        tcase_add_test(writing, it_tells_boot_broker_process_socket_environment_and_regions);
        tcase_add_test(writing, without_a_socket_it_tells_none);
        tcase_add_test(writing, others_may_read_it_if_they_may_read_the_environment);
        tcase_add_test(writing, it_appears_as_a_whole);

        tcase_add_test(standing, one_of_another_boot_is_replaced);
        tcase_add_test(standing, one_of_a_dead_process_is_replaced);
        tcase_add_test(standing, one_whose_pid_was_given_to_another_process_is_replaced);
        tcase_add_test(standing, one_that_names_no_process_is_replaced);
        tcase_add_test(standing, one_of_a_live_broker_is_refused_and_names_its_process);
        tcase_add_test(standing, what_is_no_reference_is_refused_and_untouched);
        tcase_add_test(standing, what_is_no_file_is_refused);

        tcase_add_test(removing, it_is_removed);
        tcase_add_test(removing, a_file_that_took_its_place_is_not_removed);
        tcase_add_test(removing, one_that_is_gone_already_is_no_failure);
        tcase_add_test(removing, one_that_another_process_wrote_is_known_by_its_broker_and_environment);
        tcase_add_test(removing, what_only_says_so_is_not_removed);
        return check_run(suite);
}
