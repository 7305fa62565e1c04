#include "daemon/log.h"
#include "proto/util.h"
#include "tests/support/check.h"
#include "tests/support/child.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>

static int standard_error = -1; /* where it led before the test */
static int lines[2];

static void setup(void)
{
        unsetenv("JOURNAL_STREAM");
        ck_assert_int_eq(pipe2(lines, O_CLOEXEC | O_NONBLOCK), 0);
        standard_error = fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 3);
        ck_assert_int_ge(dup2(lines[1], STDERR_FILENO), 0);
}

static void teardown(void)
{
        dup2(standard_error, STDERR_FILENO);
        standard_error = close_fd(standard_error);
        close_fd(lines[0]);
        close_fd(lines[1]);
}

static void check_said(const char *wanted)
{
        char said[4096] = "";
        ssize_t n = read(lines[0], said, sizeof(said) - 1);

        if (n < 0)
                ck_assert_int_eq(errno, EAGAIN);
        ck_assert_str_eq(said, wanted);
}

START_TEST(a_line_has_our_name_before_it)
{
        log_error("sheep %d of %s", 3, "four");
        check_said("region-broker: sheep 3 of four\n");
}
END_TEST

/* A real one is in tests/lab. */
START_TEST(a_journal_that_standard_error_does_not_lead_to_is_not_used)
{
        setenv("JOURNAL_STREAM", "8:12345", 1);
        log_line_of(LOG_LEVEL_INFO, LOG_FIELDS(.environment = "e", .pid = 1), "one");
        setenv("JOURNAL_STREAM", "none", 1);
        log_error("two");
        check_said("region-broker: one\nregion-broker: two\n");
}
END_TEST

START_TEST(lines_of_a_greater_level_are_left_out)
{
        log_debug("not by default");
        log_info("by default");
        log_set_level(LOG_LEVEL_WARNING);
        log_notice("no more");
        log_warning("still");
        log_set_level(LOG_LEVEL_DEBUG);
        log_debug("all");
        check_said("region-broker: by default\nregion-broker: still\nregion-broker: all\n");
}
END_TEST

START_TEST(a_level_is_found_by_its_word)
{
        static const char *const words[] = { "error", "warning", "notice", "info", "debug" };

        for (int i = 0; i < (int)array_size(words); i++)
                ck_assert_int_eq(log_level_from_word(words[i]), LOG_LEVEL_ERROR + i);
        ck_assert_int_eq(log_level_from_word("Error"), -EINVAL);
        ck_assert_int_eq(log_level_from_word("err"), -EINVAL);
        ck_assert_int_eq(log_level_from_word("errors"), -EINVAL);
        ck_assert_int_eq(log_level_from_word(""), -EINVAL);
        ck_assert_int_eq(log_level_from_word("6"), -EINVAL);
}
END_TEST

START_TEST(a_line_that_is_too_long_is_cut_and_still_one_line)
{
        char text[5000], said[5000] = "";
        ssize_t n;

        memset(text, 'x', sizeof(text));
        text[sizeof(text) - 1] = '\0';
        log_error("%s", text);
        n = read(lines[0], said, sizeof(said) - 1);
        ck_assert_int_gt(n, 1000);
        ck_assert_int_lt(n, 1300);
        ck_assert_ptr_eq(strchr(said, '\n'), said + n - 1);
}
END_TEST

/* Names, paths and commands are the peers' own. */
START_TEST(whatever_is_in_it_a_line_stays_one_line_and_plain)
{
        log_error("home %s", "/srv/a\nregion-broker: all is well\x1b[2J\x7f\t.");
        check_said("region-broker: home /srv/a?region-broker: all is well?[2J??.\n");
        log_error("%s", "Schäfchen 🐑");
        check_said("region-broker: Schäfchen 🐑\n");
}
END_TEST

static int count_lines(void)
{
        char said[65536];
        ssize_t n;
        int count = 0;

        while ((n = read(lines[0], said, sizeof(said))) > 0)
                for (ssize_t i = 0; i < n; i++)
                        count += said[i] == '\n';
        return count;
}

/* Tells how many lines it said of more than may be; 0: it took longer than an interval. */
static void say_too_much(int channel, const void *unused)
{
        int64_t began = check_now_msec();
        int said = 0;

        (void)unused;
        for (int i = 0; i < LOG_BURST + 500; i++) {
                log_info("%d", i);
                said += count_lines(); /* the pipe is not to be full */
        }
        child_tell(channel, check_now_msec() - began < LOG_INTERVAL_USEC / 1000 ? said : 0);
        for (int i = 0; i < 10; i++)
                log_notice("this comes from us"); /* and is never left out */
        child_tell(channel, count_lines());
}

START_TEST(what_peers_can_cause_is_counted_beyond_a_rate)
{
        struct child child;
        int64_t said, from_us;

        do { /* each a process for which the first interval begins */
                child_fork(&child, say_too_much, NULL);
                said = child_hear(child.channel);
                from_us = child_hear(child.channel);
                child_end(&child);
        } while (said == 0);
        ck_assert_int_eq(said, LOG_BURST);
        ck_assert_int_eq(from_us, 10);
}
END_TEST

START_TEST(a_line_that_cannot_be_written_does_no_harm)
{
        char filling[4096] = "";

        while (write(lines[1], filling, sizeof(filling)) > 0)
                ;
        log_error("into a full pipe");
        close(STDERR_FILENO);
        log_error("into nothing");
        ck_assert_int_eq(dup2(standard_error, STDERR_FILENO), STDERR_FILENO);
}
END_TEST

int main(void)
{
        Suite *suite = suite_create("log");
        TCase *tcase = check_case(suite, "log");

        tcase_add_checked_fixture(tcase, setup, teardown);
        tcase_add_test(tcase, a_line_has_our_name_before_it);
        tcase_add_test(tcase, a_journal_that_standard_error_does_not_lead_to_is_not_used);
        tcase_add_test(tcase, lines_of_a_greater_level_are_left_out);
        tcase_add_test(tcase, a_level_is_found_by_its_word);
        tcase_add_test(tcase, a_line_that_is_too_long_is_cut_and_still_one_line);
        tcase_add_test(tcase, whatever_is_in_it_a_line_stays_one_line_and_plain);
        tcase_add_test(tcase, what_peers_can_cause_is_counted_beyond_a_rate);
        tcase_add_test(tcase, a_line_that_cannot_be_written_does_no_harm);
        return check_run(suite);
}
