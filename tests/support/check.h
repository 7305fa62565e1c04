#pragma once

/* What every test program needs on top of libcheck. Each test runs in a process of its own, with a timeout, and must
 * leave as many descriptors open as it found. CK_FORK=no (for a debugger) and CK_RUN_CASE work as libcheck says. */

#include <check.h>
#include <dirent.h>
#include <errno.h>
#include <poll.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define CHECK_TIMEOUT 300     /* seconds for one test; far more than it needs, also where a busy machine stalls it */
#define CHECK_WAIT_MSEC 60000 /* for one event */

/* How many descriptors this process has open, or -1. */
static inline int check_count_fds(void)
{
        DIR *fds = opendir("/proc/self/fd");
        int n = -3; /* ".", ".." and the descriptor of the directory itself */

        if (!fds)
                return -1;
        while (readdir(fds))
                n++;
        closedir(fds);
        return n;
}

/* Waits, within bounds, until `events` of poll(2) can be had; a hang-up or an error of the descriptor counts too. */
static inline bool check_wait(int fd, short events)
{
        struct pollfd ready = { .fd = fd, .events = events };

        return poll(&ready, 1, CHECK_WAIT_MSEC) > 0;
}

static inline int64_t check_now_msec(void)
{
        struct timespec now;

        clock_gettime(CLOCK_MONOTONIC, &now);
        return now.tv_sec * INT64_C(1000) + now.tv_nsec / 1000000;
}

/* Between two looks at what makes no event, for others need the processor, too: false when it has lasted too long. `begun`
 * is 0 before the first look. */
static inline bool check_pause(int64_t *begun)
{
        int64_t now = check_now_msec();

        if (*begun == 0)
                *begun = now;
        poll(NULL, 0, 1);
        return now - *begun < CHECK_WAIT_MSEC;
}

/* valgrind puts itself in front of what is loaded. */
static inline bool check_on_valgrind(void)
{
        const char *preload = getenv("LD_PRELOAD");

        return preload && strstr(preload, "vgpreload");
}

/* The kernel can open files so that they cannot be truncated. Where not, the test is left out, and says so. */
static inline bool check_keeps_sizes(void)
{
        enum { VERSION = 1, SINCE = 3 };

        if (syscall(SYS_landlock_create_ruleset, NULL, 0, VERSION) >= SINCE)
                return true;
        fprintf(stderr, "%s: a test is left out: that files cannot be truncated takes Linux 6.2 with Landlock\n",
                program_invocation_short_name);
        return false;
}

static int check_fds_before;

static inline void check_setup_fds(void)
{
        check_fds_before = check_count_fds();
}

static inline void check_teardown_fds(void)
{
        ck_assert_int_eq(check_count_fds(), check_fds_before);
}

/* A new case of the suite. Fixtures that are added to it run inside the counting of descriptors. */
static inline TCase *check_case(Suite *suite, const char *name)
{
        TCase *tcase = tcase_create(name);

        tcase_set_timeout(tcase, CHECK_TIMEOUT);
        tcase_add_checked_fixture(tcase, check_setup_fds, check_teardown_fds);
        suite_add_tcase(suite, tcase);
        return tcase;
}

/* Runs the suite, frees it, and returns the exit code of the program. */
static inline int check_run(Suite *suite)
{
        SRunner *runner = srunner_create(suite);
        int failed;

        srunner_run_all(runner, CK_ENV);
        failed = srunner_ntests_failed(runner);
        srunner_free(runner);
        return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
