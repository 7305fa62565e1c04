/* What has a name in the file system: posix objects, files, and the directories they are kept in. */

#include "tests/support/broker.h"
#include "tests/support/check.h"

#include "proto/util.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>

static bool exists(const char *path)
{
        struct stat st;

        return lstat(path, &st) == 0;
}

/* --- posix ------------------------------------------------------------------------------------------------------- */

START_TEST(a_posix_name_is_there_as_long_as_its_region)
{
        owned(varlink_clear) struct varlink_reply reply = {};
        owned(freep) char *path = NULL;
        int peer = broker_connect();
        struct stat st;

        broker_open(peer, &reply, "e", "'backing':'posix','regions':[{'name':'a','size':4096}]");
        path = strdup(varlink_value(&reply, "grants.0.region.path"));
        ck_assert_int_eq(strncmp(path, "/dev/shm/region-broker.", 23), 0);
        ck_assert_int_eq(stat(path, &st), 0);
        ck_assert_uint_eq(st.st_mode & 0777, 0600);
        ck_assert_int_eq(st.st_size, 4096);
        varlink_clear(&reply);
        broker_detach(peer, "e");
        ck_assert(!exists(path));
        close(peer);
}
END_TEST

/* For posix (0) and file (1). */
START_TEST(a_file_that_took_the_name_of_ours_is_left_alone)
{
        owned(varlink_clear) struct varlink_reply reply = {};
        owned(freep) char *path = NULL;
        int peer = broker_connect();

        broker_open(peer, &reply, "e",
                    "'backing':'%s','lifetime':'attached','home':'%s','regions':[{'name':'a','size':1}]",
                    _i ? "file" : "posix", broker.directory);
        path = strdup(varlink_value(&reply, "grants.0.region.path"));
        varlink_clear(&reply);
        ck_assert_int_eq(unlink(path), 0);
        ck_assert_int_eq(mkdir(path, 0700), 0);
        broker_detach(peer, "e");
        ck_assert(daemon_wait_for_line(&broker, "reclaimed environment e"));
        ck_assert_int_eq(rmdir(path), 0);
        close(peer);
}
END_TEST

/* --- file -------------------------------------------------------------------------------------------------------- */

static void check_path(const struct varlink_reply *reply, int grant, const char *directory, const char *name)
{
        owned(freep) char *expected = NULL;

        ck_assert_int_ge(asprintf(&expected, "%s/%s", directory, name), 0);
        ck_assert_str_eq(varlink_value(reply, "grants.%d.region.path", grant), expected);
        ck_assert(exists(expected));
}

#define TWO_FILES "'backing':'file','regions':[{'name':'a','size':4096},{'name':'b','size':4096}]"

START_TEST(files_are_numbered_in_the_home)
{
        owned(varlink_clear) struct varlink_reply reply = {};
        owned(freep) char *home = broker_make_directory("home");
        int peer = broker_connect();

        broker_open(peer, &reply, "e", "'home':'%s',%s", home, TWO_FILES);
        ck_assert_value(&reply, "environment.lifetime", "persistent");
        ck_assert_value(&reply, "environment.home", home);
        check_path(&reply, 0, home, "__db.001");
        check_path(&reply, 1, home, "__db.002");
        varlink_clear(&reply);
        broker_detach(peer, "e");
        varlink_ask(peer, &reply, "Remove", "{'environment':'%s'}", home);
        ck_assert_reply(&reply, NULL);
        ck_assert_int_eq(varlink_number(&reply, "bytes"), 8192);
        ck_assert_int_eq(rmdir(home), 0);
        close(peer);
}
END_TEST

START_TEST(files_go_to_the_region_directory_where_there_is_one)
{
        owned(varlink_clear) struct varlink_reply reply = {};
        owned(freep) char *home = broker_make_directory("home");
        owned(freep) char *elsewhere = broker_make_directory("elsewhere");
        int peer = broker_connect();

        broker_open(peer, &reply, "e", "'home':'%s','regionDirectory':'%s','lifetime':'attached',%s", home, elsewhere,
                    TWO_FILES);
        check_path(&reply, 0, elsewhere, "__db.001");
        check_path(&reply, 1, elsewhere, "__db.002");
        varlink_ask(peer, &reply, "AddRegion", "{'environment':'e','region':{'name':'c','size':1}}");
        ck_assert_reply(&reply, NULL);
        ck_assert_int_eq(rmdir(home), -1); /* in it there is what tells of the environment */
        varlink_clear(&reply);
        broker_detach(peer, "e");
        ck_assert_int_eq(rmdir(home), 0);
        ck_assert_int_eq(rmdir(elsewhere), 0);
        close(peer);
}
END_TEST

START_TEST(a_file_that_stands_there_is_refused_and_left_alone)
{
        owned(varlink_clear) struct varlink_reply reply = {};
        owned(freep) char *home = broker_make_directory("home");
        owned(freep) char *path = broker_path("home/__db.001");
        owned(closep) int foreign = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0640);
        int peer = broker_connect();
        struct stat before, now;
        char bytes[8];

        ck_assert_int_eq(write(foreign, "foreign", 8), 8);
        ck_assert_int_eq(fstat(foreign, &before), 0);
        varlink_ask(peer, &reply, "Open", "{'environment':'e','create':'ifAbsent','definition':{'home':'%s',%s}}", home,
                    TWO_FILES);
        ck_assert_reply(&reply, "ResourceFailure");
        ck_assert_value(&reply, "operation", "linkat");
        ck_assert_value(&reply, "errnoName", "EEXIST");
        ck_assert_int_eq(lstat(path, &now), 0);
        ck_assert_uint_eq(now.st_ino, before.st_ino);
        ck_assert_int_eq(now.st_size, 8);
        ck_assert_int_eq(now.st_mtim.tv_sec, before.st_mtim.tv_sec);
        ck_assert_int_eq(now.st_mtim.tv_nsec, before.st_mtim.tv_nsec);
        ck_assert_int_eq(pread(foreign, bytes, 8, 0), 8);
        ck_assert_str_eq(bytes, "foreign");
        ck_assert_int_eq(unlink(path), 0);
        ck_assert_int_eq(rmdir(home), 0);
        close(peer);
}
END_TEST

START_TEST(a_link_that_stands_there_is_not_followed)
{
        owned(varlink_clear) struct varlink_reply reply = {};
        owned(freep) char *home = broker_make_directory("home");
        owned(freep) char *path = broker_path("home/__db.001");
        owned(freep) char *target = broker_path("target");
        int peer = broker_connect();

        ck_assert_int_eq(symlink(target, path), 0);
        varlink_ask(peer, &reply, "Open", "{'environment':'e','create':'ifAbsent','definition':{'home':'%s',%s}}", home,
                    TWO_FILES);
        ck_assert_reply(&reply, "ResourceFailure");
        ck_assert(!exists(target));
        ck_assert(exists(path));
        close(peer);
}
END_TEST

START_TEST(files_without_a_home_are_kept_in_the_state_directory_and_outlive_their_holders)
{
        owned(varlink_clear) struct varlink_reply reply = {};
        owned(freep) char *path = NULL;
        int peer = broker_connect();
        char *bytes;

        broker_open(peer, &reply, "e", TWO_FILES);
        path = strdup(varlink_value(&reply, "grants.0.region.path"));
        ck_assert_int_eq(strncmp(path, broker.directory, strlen(broker.directory)), 0);
        bytes = broker_map_grant(&reply, "grants.0");
        strcpy(bytes, "kept");
        broker_unmap(bytes, 4096);
        varlink_clear(&reply);
        broker_detach(peer, "e");
        close(peer);

        peer = broker_connect();
        varlink_ask(peer, &reply, "Open", "{'environment':'e'}");
        ck_assert_reply(&reply, NULL);
        bytes = broker_map_grant(&reply, "grants.0");
        ck_assert_str_eq(bytes, "kept");
        broker_unmap(bytes, 4096);
        varlink_clear(&reply);
        broker_detach(peer, "e");
        varlink_ask(peer, &reply, "Remove", "{'environment':'e'}");
        ck_assert_reply(&reply, NULL);
        ck_assert(!exists(path));
        *strrchr(path, '/') = '\0';
        ck_assert(!exists(path)); /* its directory was its own */
        close(peer);
}
END_TEST

/* --- homes ------------------------------------------------------------------------------------------------------- */

START_TEST(a_home_is_the_same_however_it_is_spelt)
{
        static const char *const spellings[] = {
                "home", "home/", "link", "link/", "home/../home", "./home/.", "/home//"
        };
        owned(varlink_clear) struct varlink_reply reply = {};
        owned(freep) char *home = broker_make_directory("home");
        owned(freep) char *link = broker_path("link");
        owned(freep) char *id = NULL;
        int peer = broker_connect();

        ck_assert_int_eq(symlink("home", link), 0);
        broker_open(peer, &reply, home, "'regions':[{'name':'a','size':1}]");
        ck_assert_value(&reply, "environment.name", home);
        ck_assert_value(&reply, "environment.home", home);
        id = strdup(varlink_value(&reply, "environment.id"));
        for (size_t i = 0; i < array_size(spellings); i++) {
                varlink_ask(peer, &reply, "Open", "{'environment':'%s/%s'}", broker.directory, spellings[i]);
                ck_assert_reply(&reply, NULL);
                ck_assert_value(&reply, "environment.id", id);
                varlink_ask(peer, &reply, "Describe", "{'environment':'%s/%s'}", broker.directory, spellings[i]);
                ck_assert_value(&reply, "environment.id", id);
        }
        close(peer);
}
END_TEST

START_TEST(one_home_has_one_environment)
{
        owned(varlink_clear) struct varlink_reply reply = {};
        owned(freep) char *home = broker_make_directory("home");
        owned(freep) char *link = broker_path("link");
        int peer = broker_connect();

        ck_assert_int_eq(symlink("home", link), 0);
        broker_open(peer, &reply, "e", "'home':'%s','regions':[]", link);
        ck_assert_value(&reply, "environment.home", home);
        varlink_ask(peer, &reply, "Open",
                    "{'environment':'f','create':'ifAbsent','definition':{'home':'%s','regions':[]}}", home);
        ck_assert_reply(&reply, "EnvironmentExists");
        ck_assert_value(&reply, "environment", "e");
        varlink_ask(peer, &reply, "Open", "{'environment':'%s','create':'always','definition':{'regions':[]}}", link);
        ck_assert_reply(&reply, "EnvironmentExists");
        varlink_ask(peer, &reply, "Open", "{'environment':'%s'}", link);
        ck_assert_reply(&reply, NULL);
        ck_assert_value(&reply, "environment.name", "e");
        broker_detach(peer, link);
        broker_open(peer, &reply, "f", "'home':'%s','regions':[]", home);
        close(peer);
}
END_TEST

START_TEST(a_home_that_is_no_directory_is_refused)
{
        static const char *const paths[][2] = { { "absent", "ENOENT" }, { "socket", "ENOTDIR" }, { "loop", "ELOOP" } };
        owned(varlink_clear) struct varlink_reply reply = {};
        owned(freep) char *loop = broker_path("loop");
        int peer = broker_connect();

        ck_assert_int_eq(symlink("loop", loop), 0);
        for (size_t i = 0; i < array_size(paths); i++) {
                varlink_ask(peer, &reply, "Open",
                            "{'environment':'e','create':'ifAbsent','definition':{'home':'%s/%s','regions':[]}}",
                            broker.directory, paths[i][0]);
                ck_assert_reply(&reply, "ResourceFailure");
                ck_assert_value(&reply, "operation", "open");
                ck_assert_value(&reply, "errnoName", paths[i][1]);
        }
        close(peer);
}
END_TEST

/* What a peer could not do by itself the broker does not do for it. */
START_TEST(a_home_that_the_peer_could_not_use_itself_is_refused)
{
        static const char *const paths[] = { "closed", "closed/open", "link", "readable", "closed/absent", "", "/etc" };
        owned(varlink_clear) struct varlink_reply reply = {};
        owned(freep) char *closed_to_all = broker_make_directory("closed");
        owned(freep) char *open_to_all = broker_make_directory("closed/open");
        owned(freep) char *readable = broker_make_directory("readable");
        owned(freep) char *own = broker_make_directory("own");
        owned(freep) char *link = broker_path("link");
        struct child child;
        int peer = broker_connect_from(&child, 1);

        ck_assert_int_eq(symlink("closed/open", link) | chmod(closed_to_all, 0700), 0);
        ck_assert_int_eq(chmod(open_to_all, 0777) | chmod(readable, 0755) | chown(own, 1, 1), 0);
        for (size_t i = 0; i < array_size(paths); i++)
                for (int is_home = 0; is_home < 2; is_home++) {
                        varlink_ask(peer, &reply, "Open",
                                    "{'environment':'e','create':'ifAbsent','definition':{'%s':'%s%s%s',%s}}",
                                    is_home ? "home" : "regionDirectory", paths[i][0] == '/' ? "" : broker.directory,
                                    paths[i][0] == '/' ? "" : "/", paths[i], TWO_FILES);
                        ck_assert_msg(varlink_is(&reply, SERVICE "PermissionDenied"), "%s: %s", paths[i], reply.text);
                }
        broker_open(peer, &reply, "e", "'home':'%s',%s", own, TWO_FILES);
        varlink_clear(&reply); /* and with it the descriptors */
        broker_detach(peer, "e");
        varlink_ask(peer, &reply, "Remove", "{'environment':'e'}");
        ck_assert_reply(&reply, NULL);
        ck_assert_int_eq(rmdir(open_to_all) | rmdir(readable) | rmdir(own), 0);
        child_kill(&child);
        close(peer);
}
END_TEST

int main(void)
{
        Suite *suite = suite_create("homes");
        TCase *tcase = check_case(suite, "homes");
        TCase *users = check_case(suite, "users");

        tcase_add_checked_fixture(tcase, broker_setup, broker_teardown);
        tcase_add_test(tcase, a_posix_name_is_there_as_long_as_its_region);
        tcase_add_loop_test(tcase, a_file_that_took_the_name_of_ours_is_left_alone, 0, 2);
        tcase_add_test(tcase, files_are_numbered_in_the_home);
        tcase_add_test(tcase, files_go_to_the_region_directory_where_there_is_one);
        tcase_add_test(tcase, a_file_that_stands_there_is_refused_and_left_alone);
        tcase_add_test(tcase, a_link_that_stands_there_is_not_followed);
        tcase_add_test(tcase, files_without_a_home_are_kept_in_the_state_directory_and_outlive_their_holders);
        tcase_add_test(tcase, a_home_is_the_same_however_it_is_spelt);
        tcase_add_test(tcase, one_home_has_one_environment);
        tcase_add_test(tcase, a_home_that_is_no_directory_is_refused);

        if (geteuid() != 0) {
                fputs("test-homes: users are not tried, for that takes root\n", stderr);
                return check_run(suite);
        }
        tcase_add_checked_fixture(users, broker_start_for_all, broker_teardown);
        tcase_add_test(users, a_home_that_the_peer_could_not_use_itself_is_refused);
        return check_run(suite);
}
