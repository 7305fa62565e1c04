#include "daemon/configuration.h"
#include "proto/quantities.h"
#include "proto/util.h"
#include "tests/support/scratch.h"

#include <fcntl.h>

static struct configuration configuration;

static void setup(void)
{
        configuration_init(&configuration);
}

static void teardown(void)
{
        configuration_deinit(&configuration);
}

static void write_file(const char *name, const char *text)
{
        owned(freep) char *path = scratch_path(name);
        owned(closep) int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);

        ck_assert_int_ge(fd, 0);
        ck_assert_int_eq(write(fd, text, strlen(text)), (ssize_t)strlen(text));
}

static void make_directory(const char *name)
{
        owned(freep) char *path = scratch_path(name);

        ck_assert_int_eq(mkdir(path, 0755), 0);
}

static void remove_all(void)
{
        scratch_remove();
        ck_assert_int_eq(mkdir(scratch, 0755), 0);
}

static void read_text(const char *text)
{
        owned(freep) char *path = scratch_path("file");

        write_file("file", text);
        configuration_read(&configuration, path);
        configuration_finish(&configuration);
        ck_assert_int_eq(unlink(path), 0);
        ck_assert(!configuration.failed);
}

static void check_setting(const char *name, const char *value)
{
        const struct setting *setting = settings_find(&configuration.settings, name);

        ck_assert_msg(setting, "there is no setting %s", name);
        ck_assert_str_eq(setting->value, value);
}

START_TEST(every_limit_can_be_set_by_its_name)
{
        char text[256], name[80], value[VALUE_TEXT_MAX];

        for (unsigned i = 0; i < n_limits; i++) {
                snprintf(text, sizeof(text), "[limits]\n%s = %s\n", limit_rows[i].name,
                         limits_text(i, limit_rows[i].least, value));
                read_text(text);
                ck_assert_uint_eq(configuration.n_complaints, 0);
                ck_assert_int_eq(*limits_at(&configuration.limits, i), limit_rows[i].least);
                snprintf(name, sizeof(name), "limits.%s", limit_rows[i].name);
                check_setting(name, value);
        }
}
END_TEST

START_TEST(all_else_has_its_place)
{
        read_text("[user 0]\nbytesPerUser=8K\n[user root]\nregionsPerUser=3\n[group 0]\nbytesPerUser=16K\n"
                  "[names  db-]\nowner=root\ngroup=0\n[memory]\nbudget=1G\n[log]\nlevel=error\n"
                  "[homes]\nallow=/a:/b\n  /c\n[defaults]\nbacking=sysv\nmode=666\n");
        ck_assert_uint_eq(configuration.n_complaints, 0);
        ck_assert_uint_eq(configuration.rules.n_users, 2);
        ck_assert(!configuration.rules.users[0].is_group && configuration.rules.users[1].is_group);
        ck_assert_int_eq(configuration.rules.users[0].limits.values.bytes_per_user, 8192);
        ck_assert_int_eq(configuration.rules.users[0].limits.values.regions_per_user, 3);
        ck_assert_uint_eq(configuration.rules.n_names, 1);
        ck_assert_str_eq(configuration.rules.names[0].prefix, "db-");
        ck_assert_str_eq(configuration.rules.names[0].reason,
                         "names that begin with 'db-' are reserved for user root and group 0");
        ck_assert_int_eq(configuration.limits.memory_bytes, 1 << 30);
        ck_assert_int_eq(configuration.level, LOG_LEVEL_ERROR);
        ck_assert_uint_eq(configuration.rules.n_homes, 3);
        ck_assert_int_eq(configuration.rules.backing, BACKING_SYSV);
        ck_assert_int_eq(configuration.rules.mode.value, 0666);
        check_setting("homes.allow", "/a:/b:/c");
        check_setting("limits.memoryBytes", "1G");
        check_setting("user.root.regionsPerUser", "3");
        check_setting("defaults.mode", "0666");
}
END_TEST

/* A line as long as inih takes, and one more. */
START_TEST(a_line_is_taken_whole_or_not_at_all)
{
        char text[512], value[400];

        for (int n = 150; n < 260; n++) {
                memset(value, 'x', sizeof(value));
                value[0] = '/';
                value[n] = '\0';
                snprintf(text, sizeof(text), "[homes]\nallow=%s\n[log]\nlevel=debug", value);
                configuration_deinit(&configuration);
                configuration_init(&configuration);
                read_text(text);
                ck_assert_int_eq(configuration.level, LOG_LEVEL_DEBUG);
                ck_assert_uint_eq(configuration.rules.n_homes + configuration.n_complaints, 1);
                if (configuration.rules.n_homes == 1)
                        ck_assert_str_eq(configuration.rules.homes[0], value);
                else
                        ck_assert_ptr_nonnull(strstr(configuration.complaints[0], ":2: the line is too long"));
                ck_assert_uint_eq(configuration.rules.n_homes, n + strlen("allow=") <= 198);
        }
}
END_TEST

START_TEST(drop_ins_come_in_the_order_of_their_names_and_ours_hide_theirs)
{
        owned(freep) char *ours = scratch_path("etc"), *theirs = scratch_path("lib");
        const char *const directories[] = { ours, theirs, NULL };

        make_directory("etc");
        make_directory("lib");
        make_directory("etc/region-broker.conf.d");
        make_directory("lib/region-broker.conf.d");
        write_file("etc/region-broker.conf", "[limits]\nsessions=1\nhistoryEvents=1\n");
        write_file("lib/region-broker.conf", "wrong\n");
        write_file("lib/region-broker.conf.d/10.conf", "[limits]\nsessions=2\nwatchesPerUser=2\n");
        write_file("etc/region-broker.conf.d/20.conf", "[limits]\nsessions=3\nregionsPerUser=3\n");
        write_file("lib/region-broker.conf.d/20.conf", "[limits]\nregionsPerUser=4\nwatchesPerUser=4\n");
        write_file("lib/region-broker.conf.d/30.conf", "[limits]\nsessions=5\n");
        configuration_read_standard(&configuration, directories);
        remove_all();
        ck_assert_uint_eq(configuration.n_complaints, 0);
        ck_assert_uint_eq(configuration.n_files, 4);
        ck_assert_int_eq(configuration.limits.history_events, 1);
        ck_assert_int_eq(configuration.limits.watches_per_user, 2);
        ck_assert_int_eq(configuration.limits.regions_per_user, 3);
        ck_assert_int_eq(configuration.limits.sessions, 5);
}
END_TEST

START_TEST(what_is_not_there_is_nothing_to_complain_of)
{
        owned(freep) char *ours = scratch_path("etc");
        const char *const directories[] = { ours, NULL };

        configuration_read_standard(&configuration, directories);
        make_directory("etc");
        configuration_read_standard(&configuration, directories);
        ck_assert_uint_eq(configuration.n_complaints + configuration.n_files + configuration.n_unread_files, 0);
        write_file("etc/region-broker.conf.d", "");
        configuration_read_standard(&configuration, directories);
        remove_all();
        ck_assert_uint_eq(configuration.n_unread_files, 1);
        ck_assert_ptr_nonnull(strstr(configuration.complaints[0], "region-broker.conf.d: not read: Not a directory"));
}
END_TEST

START_TEST(the_command_line_goes_over_files)
{
        struct some_limits given = {};

        some_limits_set(&given, (unsigned)limits_find("sessions"), 7);
        read_text("[limits]\nsessions=3\nwatchesPerUser=3\n[log]\nlevel=debug\n");
        configuration_set_limits(&configuration, &given);
        configuration_set_level(&configuration, LOG_LEVEL_WARNING);
        ck_assert_int_eq(configuration.limits.sessions, 7);
        ck_assert_int_eq(configuration.limits.watches_per_user, 3);
        ck_assert_int_eq(configuration.level, LOG_LEVEL_WARNING);
        ck_assert_str_eq(settings_find(&configuration.settings, "limits.sessions")->source, "command line");
        check_setting("log.level", "warning");
}
END_TEST

int main(void)
{
        Suite *suite = suite_create("configuration");
        TCase *tcase = check_case(suite, "configuration");

        scratch_add(tcase);
        tcase_add_checked_fixture(tcase, setup, teardown);
        tcase_add_test(tcase, every_limit_can_be_set_by_its_name);
        tcase_add_test(tcase, all_else_has_its_place);
        tcase_add_test(tcase, a_line_is_taken_whole_or_not_at_all);
        tcase_add_test(tcase, drop_ins_come_in_the_order_of_their_names_and_ours_hide_theirs);
        tcase_add_test(tcase, what_is_not_there_is_nothing_to_complain_of);
        tcase_add_test(tcase, the_command_line_goes_over_files);
        return check_run(suite);
}
