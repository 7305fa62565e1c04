#include "daemon/host/control.h"
#include "proto/util.h"
#include "tests/support/check.h"
#include "tests/support/child.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>

static struct control *control;

static void setup(void)
{
        const char *operation;
        int error;

        control = control_new(NULL, &operation, &error);
        ck_assert_msg(control, "%s: %s", operation, strerror(error));
}

static void teardown(void)
{
        control = control_free(control);
}

static int grant(void)
{
        int fd = control_open(control);

        ck_assert_int_ge(fd, 0);
        return fd;
}

/* As a client maps it. */
static const struct control_page *map(void)
{
        int fd = grant();
        const struct control_page *page = mmap(NULL, CONTROL_SIZE, PROT_READ, MAP_SHARED, fd, 0);

        ck_assert_ptr_ne(page, MAP_FAILED);
        close_fd(fd);
        return page;
}

static void unmap(const struct control_page *page)
{
        munmap((void *)(uintptr_t)page, CONTROL_SIZE);
}

START_TEST(a_new_page_says_what_it_is_and_nothing_else_yet)
{
        const struct control_page *page = map();

        ck_assert_uint_eq(page->magic, CONTROL_MAGIC);
        ck_assert_uint_eq(page->version, CONTROL_VERSION);
        ck_assert_uint_eq(page->change, 0);
        ck_assert_uint_eq(page->state, 0);
        ck_assert_uint_eq(page->generation, 0);
        ck_assert_uint_eq(page->deaths, 0);
        ck_assert_uint_eq(page->flags, 0);
        unmap(page);
}
END_TEST

START_TEST(every_reader_sees_what_is_shown)
{
        const struct control_page *early = map(), *late;

        control_show(control, 2, UINT64_C(1) << 40, 3, CONTROL_DRAINING);
        late = map();
        for (const struct control_page *page = early; page; page = page == early ? late : NULL) {
                ck_assert_uint_eq(page->state, 2);
                ck_assert_uint_eq(page->generation, UINT64_C(1) << 40);
                ck_assert_uint_eq(page->deaths, 3);
                ck_assert_uint_eq(page->flags, CONTROL_DRAINING);
                ck_assert_uint_eq(page->change, 1);
        }
        control_show(control, 2, UINT64_C(1) << 40, 3, 0);
        ck_assert_uint_eq(early->change, 2);
        ck_assert_uint_eq(early->flags, 0);
        unmap(early);
        unmap(late);
}
END_TEST

START_TEST(a_page_that_was_mapped_outlives_the_broker)
{
        const struct control_page *page = map();

        control_show(control, 5, 1, 0, 0);
        control = control_free(control);
        ck_assert_uint_eq(page->state, 5);
        unmap(page);
}
END_TEST

START_TEST(a_client_can_only_read)
{
        int fd = grant();

        ck_assert_int_eq(fcntl(fd, F_GETFL) & O_ACCMODE, O_RDONLY);
        ck_assert(fcntl(fd, F_GETFD) & FD_CLOEXEC);
        ck_assert_ptr_eq(mmap(NULL, CONTROL_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0), MAP_FAILED);
        ck_assert_int_eq(errno, EACCES);
        ck_assert_int_lt(pwrite(fd, "x", 1, 0), 0);
        close_fd(fd);
}
END_TEST

START_TEST(its_size_is_for_ever)
{
        char path[64];
        int fd = grant(), writable;
        struct stat st;

        ck_assert_int_eq(fstat(fd, &st), 0);
        ck_assert_int_eq(st.st_size, CONTROL_SIZE);
        snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
        writable = open(path, O_RDWR | O_CLOEXEC); /* root may, others may not */
        if (writable >= 0) {
                ck_assert_int_lt(ftruncate(writable, 0), 0);
                ck_assert_int_lt(ftruncate(writable, CONTROL_SIZE * 2), 0);
                close_fd(writable);
        }
        close_fd(fd);
}
END_TEST

static void reopen_for_writing_as_nobody(int channel, const void *data)
{
        const int *fd = data;
        char path[64];

        snprintf(path, sizeof(path), "/proc/self/fd/%d", *fd);
        if (geteuid() == 0 && setresuid(65534, 65534, 65534) < 0)
                _exit(EXIT_FAILURE);
        child_tell(channel, open(path, O_RDWR | O_CLOEXEC) < 0 ? errno : 0);
}

START_TEST(a_descriptor_for_reading_cannot_be_made_one_for_writing)
{
        struct child child;
        int fd = grant();

        child_fork(&child, reopen_for_writing_as_nobody, &fd);
        ck_assert_int_eq(child_hear(child.channel), EACCES);
        child_end(&child);
        close_fd(fd);
}
END_TEST

static void wait_for_change(int channel, const void *data)
{
        const struct control_page *const *page = data;
        const struct timespec patience = { .tv_sec = CHECK_WAIT_MSEC / 1000 };
        uint32_t before = __atomic_load_n(&(*page)->change, __ATOMIC_ACQUIRE);

        child_tell(channel, before);
        while (__atomic_load_n(&(*page)->change, __ATOMIC_ACQUIRE) == before)
                if (syscall(SYS_futex, &(*page)->change, FUTEX_WAIT, before, &patience, NULL, 0) < 0 &&
                    errno == ETIMEDOUT)
                        _exit(EXIT_FAILURE);
        child_tell(channel, (*page)->state);
}

START_TEST(who_waits_for_a_change_is_woken)
{
        const struct control_page *page = map();
        struct child children[3];

        for (size_t i = 0; i < array_size(children); i++) {
                child_fork(&children[i], wait_for_change, &page);
                ck_assert_int_eq(child_hear(children[i].channel), 0);
        }
        control_show(control, 2, 1, 0, 0);
        for (size_t i = 0; i < array_size(children); i++) {
                ck_assert_int_eq(child_hear(children[i].channel), 2);
                child_end(&children[i]);
        }
        unmap(page);
}
END_TEST

START_TEST(freeing_none_is_harmless)
{
        ck_assert_ptr_null(control_free(NULL));
}
END_TEST

int main(void)
{
        Suite *suite = suite_create("control");
        TCase *tcase = check_case(suite, "control");

        tcase_add_checked_fixture(tcase, setup, teardown);
        tcase_add_test(tcase, a_new_page_says_what_it_is_and_nothing_else_yet);
        tcase_add_test(tcase, every_reader_sees_what_is_shown);
        tcase_add_test(tcase, a_page_that_was_mapped_outlives_the_broker);
        tcase_add_test(tcase, a_client_can_only_read);
        tcase_add_test(tcase, its_size_is_for_ever);
        tcase_add_test(tcase, a_descriptor_for_reading_cannot_be_made_one_for_writing);
        tcase_add_test(tcase, who_waits_for_a_change_is_woken);
        tcase_add_test(tcase, freeing_none_is_harmless);
        return check_run(suite);
}
