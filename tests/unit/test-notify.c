#include "daemon/host/notify.h"
#include "proto/util.h"
#include "tests/support/child.h"
#include "tests/support/scratch.h"

#include <errno.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/un.h>

enum { VARIABLE_MAX = 32 * 4096 }; /* what the kernel takes */

static char *path;

static void setup(void)
{
        path = scratch_path("notify");
        unsetenv("NOTIFY_SOCKET");
        unsetenv("FDSTORE");
}

static void teardown(void)
{
        unlink(path);
        free(path);
}

/* Hears and forgets, so that the queue is never full. */
static void hear(int channel, const void *data)
{
        struct sockaddr_un address = { .sun_family = AF_UNIX };
        int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
        char message[256];

        strcpy(address.sun_path, data);
        ck_assert_int_eq(bind(fd, (struct sockaddr *)&address, sizeof(address)), 0);
        child_tell(channel, 0);
        while (recv(fd, message, sizeof(message), 0) >= 0)
                ;
}

static void start_manager(struct child *manager)
{
        child_start(manager, hear, path);
        ck_assert_int_eq(child_hear(manager->channel), 0);
        setenv("NOTIFY_SOCKET", path, 1);
}

START_TEST(without_a_manager_all_of_it_is_nothing)
{
        struct notify notify;

        ck_assert_int_eq(notify_init(&notify), 0);
        ck_assert(!notify.is_heard);
        ck_assert_int_eq(notify.watchdog_usec, 0);
        notify_ready(&notify);
        notify_status(&notify, "well");
        notify_alive(&notify);
        ck_assert_int_eq(notify_keep(&notify, "r1", STDIN_FILENO), -EOPNOTSUPP);
        notify_drop(&notify, "r1");
        notify_drop_rest(&notify, NULL);
        notify_stopping(&notify);
        notify_deinit(&notify);
}
END_TEST

/* All of them come back in one variable. */
START_TEST(no_more_is_kept_than_the_kernel_can_pass_the_names_of)
{
        char name[NOTIFY_NAME_MAX + 1];
        struct child manager;
        struct notify notify;
        size_t bytes = strlen("LISTEN_FDNAMES=") + 1;
        int n, r;

        start_manager(&manager);
        ck_assert_int_eq(notify_init(&notify), 0);
        for (n = 0;; n++) {
                snprintf(name, sizeof(name), "%0*d", NOTIFY_NAME_MAX, n);
                r = notify_keep(&notify, name, STDIN_FILENO);
                if (r != 0)
                        break;
                bytes += strlen(name) + 1;
        }
        ck_assert_int_eq(r, -ENOSPC);
        ck_assert_uint_le(bytes, VARIABLE_MAX);
        ck_assert_uint_ge(bytes, VARIABLE_MAX - 1024);
        snprintf(name, sizeof(name), "%0*d", NOTIFY_NAME_MAX, 0);
        notify_drop(&notify, name);
        ck_assert_int_eq(notify_keep(&notify, name, STDIN_FILENO), 0);
        child_kill(&manager);
        notify_deinit(&notify);
}
END_TEST

START_TEST(no_more_is_kept_than_the_manager_takes)
{
        struct child manager;
        struct notify notify;

        start_manager(&manager);
        setenv("FDSTORE", "2", 1);
        ck_assert_int_eq(notify_init(&notify), 0);
        ck_assert_int_eq(notify_keep(&notify, "r1", STDIN_FILENO), 0);
        ck_assert_int_eq(notify_keep(&notify, "r2", STDIN_FILENO), 0);
        ck_assert_int_eq(notify_keep(&notify, "r3", STDIN_FILENO), -ENOSPC);
        notify_drop(&notify, "r1");
        ck_assert_int_eq(notify_keep(&notify, "r3", STDIN_FILENO), 0);
        child_kill(&manager);
        notify_deinit(&notify);
}
END_TEST

START_TEST(a_manager_that_is_gone_is_no_reason_to_end)
{
        struct child manager;
        struct notify notify;

        start_manager(&manager);
        ck_assert_int_eq(notify_init(&notify), 0);
        child_kill(&manager);
        notify_ready(&notify);
        notify_status(&notify, "well");
        ck_assert_int_eq(notify_keep(&notify, "r1", STDIN_FILENO), -ECONNREFUSED);
        ck_assert_uint_eq(notify.n_kept, 0);
        notify_deinit(&notify);
}
END_TEST

int main(void)
{
        Suite *suite = suite_create("notify");
        TCase *tcase = check_case(suite, "notify");

        scratch_add(tcase);
        tcase_add_checked_fixture(tcase, setup, teardown);
        tcase_add_test(tcase, without_a_manager_all_of_it_is_nothing);
        tcase_add_test(tcase, no_more_is_kept_than_the_kernel_can_pass_the_names_of);
        tcase_add_test(tcase, no_more_is_kept_than_the_manager_takes);
        tcase_add_test(tcase, a_manager_that_is_gone_is_no_reason_to_end);
        return check_run(suite);
}
