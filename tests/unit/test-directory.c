/* The peers are made up; the directories belong to OWNER where the test may give them away, else to itself. */

#include "daemon/core/environment.h"
#include "daemon/core/peer.h"
#include "daemon/host/directory.h"
#include "proto/util.h"
#include "tests/support/scratch.h"

#include <errno.h>
#include <fcntl.h>

enum { STRANGER = 23456 };

static struct peer owner, colleague, stranger;
static const struct peer root = { .uid = 0 };
static gid_t many_groups[] = { 111, 222, 333 };

static void setup(void)
{
        bool is_root = geteuid() == 0;

        owner = (struct peer){ .uid = is_root ? 12345 : geteuid(), .gid = is_root ? 54321 : getegid() };
        colleague = (struct peer){ .uid = STRANGER, .gid = 999, .groups = many_groups, .n_groups = 3 };
        many_groups[1] = owner.gid;
        stranger = (struct peer){ .uid = STRANGER, .gid = STRANGER };
}

/* Below the scratch directory, and the owner's. The caller frees its path. */
static char *make(const char *name, mode_t mode)
{
        char *path = scratch_path(name);

        ck_assert_int_eq(mkdir(path, 0700), 0);
        if (geteuid() == 0)
                ck_assert_int_eq(chown(path, owner.uid, owner.gid), 0);
        ck_assert_int_eq(chmod(path, mode), 0);
        return path;
}

static void unmake(char *path)
{
        ck_assert_int_eq(rmdir(path), 0);
        free(path);
}

static int check(const char *path, const struct peer *peer)
{
        owned(freep) char *canonical = NULL;
        owned(closep) int fd = -1;
        int r = directory_open(path, peer, &fd, &canonical);

        ck_assert_int_eq(fd >= 0, r == 0);
        ck_assert_int_eq(canonical != NULL, r == 0);
        return r;
}

/* --- what is opened ---------------------------------------------------------------------------------------------- */

static void check_opens(const char *path, const char *wanted)
{
        owned(freep) char *canonical = NULL, *asked = NULL;
        owned(closep) int fd = -1;
        struct stat st, wanted_st;

        ck_assert_int_eq(directory_open(path, &owner, &fd, &canonical), 0);
        ck_assert_str_eq(canonical, wanted);
        ck_assert_int_eq(fstat(fd, &st), 0);
        ck_assert_int_eq(stat(wanted, &wanted_st), 0);
        ck_assert_uint_eq(st.st_ino, wanted_st.st_ino);
        ck_assert_uint_eq(st.st_dev, wanted_st.st_dev);
        ck_assert(fcntl(fd, F_GETFD) & FD_CLOEXEC);
        ck_assert(fcntl(fd, F_GETFL) & O_PATH);

        asked = directory_canonical(path);
        ck_assert_str_eq(asked, wanted);
}

START_TEST(a_directory_is_opened_under_its_canonical_path)
{
        char *path = make("home", 0700), *longer = scratch_path("./home/../home//");

        check_opens(path, path);
        check_opens(longer, path);
        free(longer);
        unmake(path);
}
END_TEST

START_TEST(links_are_followed_to_where_they_lead)
{
        char *path = make("home", 0700), *link = scratch_path("link"), *below = scratch_path("all/home");
        char *all = scratch_path("all");

        ck_assert_int_eq(symlink("home", link), 0);
        ck_assert_int_eq(symlink(".", all), 0);
        check_opens(link, path);
        check_opens(below, path);
        unlink(link);
        unlink(all);
        free(link);
        free(all);
        free(below);
        unmake(path);
}
END_TEST

START_TEST(a_name_may_hold_anything)
{
        static const char *const names[] = { "a (deleted)", "..a", " ", "\n", "\xff\xfe", "%s%n" };

        for (size_t i = 0; i < array_size(names); i++) {
                char *path = make(names[i], 0700);

                check_opens(path, path);
                unmake(path);
        }
}
END_TEST

START_TEST(the_root_is_a_directory_too)
{
        owned(freep) char *canonical = NULL;
        owned(closep) int fd = -1;

        ck_assert_int_eq(directory_open("/", &root, &fd, &canonical), 0);
        ck_assert_str_eq(canonical, "/");
        ck_assert_int_eq(check("/", &stranger), -EACCES);
}
END_TEST

START_TEST(what_is_no_directory_is_said_as_open_says_it)
{
        owned(freep) char *file = scratch_path("file"), *missing = scratch_path("missing"),
                          *loop = scratch_path("loop");
        owned(freep) char *below = scratch_path("file/below");
        char name[300], *longest;

        memset(name, 'x', sizeof(name) - 1);
        name[sizeof(name) - 1] = '\0';
        longest = scratch_path(name);
        close_fd(open(file, O_CREAT | O_WRONLY | O_CLOEXEC, 0666));
        ck_assert_int_eq(symlink("loop", loop), 0);
        ck_assert_int_eq(check(missing, &owner), -ENOENT);
        ck_assert_int_eq(check("", &owner), -ENOENT);
        ck_assert_int_eq(check(file, &owner), -ENOTDIR);
        ck_assert_int_eq(check(below, &owner), -ENOTDIR);
        ck_assert_int_eq(check(loop, &owner), -ELOOP);
        ck_assert_int_eq(check(longest, &owner), -ENAMETOOLONG);
        ck_assert_ptr_null(directory_canonical(missing));
        ck_assert_ptr_null(directory_canonical(file));
        unlink(file);
        unlink(loop);
        free(longest);
}
END_TEST

START_TEST(a_directory_that_was_removed_is_none_any_more)
{
        char *path = make("home", 0777), link[64];
        int fd = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);

        snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
        check_opens(link, path);
        unmake(path);
        ck_assert_int_eq(check(link, &root), -ENOENT);

        /* nor is it the one that now has the name which the kernel gives it */
        path = make("home (deleted)", 0777);
        ck_assert_int_eq(check(link, &root), -ENOENT);
        unmake(path);
        close_fd(fd);
}
END_TEST

static struct directory_id id_of(const char *path)
{
        owned(closep) int fd = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
        struct directory_id id;

        ck_assert_int_eq(directory_identify(fd, &id), 0);
        return id;
}

/* Many filesystems give the inode of what was just removed to what is made next. */
START_TEST(one_that_is_made_anew_is_another)
{
        char *path = make("home", 0700), *again = scratch_path("./home/../home//"), *moved = scratch_path("moved");
        struct directory_id id = id_of(path);

        ck_assert(!directory_is_another(path, &id));
        ck_assert(!directory_is_another(again, &id));
        ck_assert_int_eq(rename(path, moved), 0);
        ck_assert(!directory_is_another(path, &id)); /* nothing is there */
        ck_assert(!directory_is_another(moved, &id));
        ck_assert_int_eq(rmdir(moved), 0);
        free(path);
        path = make("home", 0700);
        ck_assert(directory_is_another(path, &id));
        unmake(path);
        free(again);
        free(moved);
}
END_TEST

/* --- who may ----------------------------------------------------------------------------------------------------- */

static void check_who(mode_t mode, bool owner_may, bool colleague_may, bool stranger_may)
{
        char *path = make("home", mode);

        ck_assert_int_eq(check(path, &owner), owner_may ? 0 : -EACCES);
        ck_assert_int_eq(check(path, &colleague), colleague_may ? 0 : -EACCES);
        ck_assert_int_eq(check(path, &stranger), stranger_may ? 0 : -EACCES);
        ck_assert_int_eq(check(path, &root), 0);
        unmake(path);
}

START_TEST(making_files_asks_for_writing_and_passing)
{
        check_who(0777, true, true, true);
        check_who(0300, true, false, false);
        check_who(0700, true, false, false);
        check_who(0030, false, true, false);
        check_who(0003, false, false, true);
        check_who(0555, false, false, false);
        check_who(0666, false, false, false);
        check_who(0000, false, false, false);
}
END_TEST

START_TEST(every_directory_on_the_way_asks_for_passing)
{
        char *outer = make("outer", 0777), *middle = make("outer/middle", 0777), *inner = make("outer/middle/in", 0777);

        ck_assert_int_eq(check(inner, &stranger), 0);
        chmod(middle, 0770);
        ck_assert_int_eq(check(inner, &stranger), -EACCES);
        ck_assert_int_eq(check(inner, &colleague), 0);
        chmod(middle, 0776);
        ck_assert_int_eq(check(inner, &stranger), -EACCES);
        chmod(middle, 0111);
        ck_assert_int_eq(check(inner, &stranger), 0);
        chmod(outer, 0700);
        ck_assert_int_eq(check(inner, &stranger), -EACCES);
        ck_assert_int_eq(check(inner, &colleague), -EACCES);
        ck_assert_int_eq(check(inner, &owner), 0);
        chmod(middle, 0700);
        unmake(inner);
        unmake(middle);
        unmake(outer);
}
END_TEST

START_TEST(a_link_is_no_way_around_a_closed_directory)
{
        char *closed = make("closed", 0700), *inner = make("closed/in", 0777), *open_one = make("open", 0777);
        char *link = scratch_path("open/link");

        ck_assert_int_eq(symlink(inner, link), 0);
        ck_assert_int_eq(check(link, &stranger), -EACCES);
        ck_assert_int_eq(check(link, &owner), 0);
        unlink(link);
        free(link);
        unmake(inner);
        unmake(closed);
        unmake(open_one);
}
END_TEST

START_TEST(a_descriptor_of_the_broker_is_no_way_around_either)
{
        char *closed = make("closed", 0700), *inner = make("closed/in", 0777), link[64];
        int fd = open(inner, O_PATH | O_DIRECTORY | O_CLOEXEC);

        snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
        ck_assert_int_eq(check(link, &stranger), -EACCES);
        ck_assert_int_eq(check(link, &owner), 0);
        close_fd(fd);
        unmake(inner);
        unmake(closed);
}
END_TEST

int main(void)
{
        Suite *suite = suite_create("directory");
        TCase *opened = check_case(suite, "opened");
        TCase *rights = check_case(suite, "rights");

        scratch_add(opened);
        tcase_add_checked_fixture(opened, setup, NULL);
        tcase_add_test(opened, a_directory_is_opened_under_its_canonical_path);
        tcase_add_test(opened, links_are_followed_to_where_they_lead);
        tcase_add_test(opened, a_name_may_hold_anything);
        tcase_add_test(opened, the_root_is_a_directory_too);
        tcase_add_test(opened, what_is_no_directory_is_said_as_open_says_it);
        tcase_add_test(opened, a_directory_that_was_removed_is_none_any_more);
        tcase_add_test(opened, one_that_is_made_anew_is_another);

        scratch_add(rights);
        tcase_add_checked_fixture(rights, setup, NULL);
        tcase_add_test(rights, making_files_asks_for_writing_and_passing);
        tcase_add_test(rights, every_directory_on_the_way_asks_for_passing);
        tcase_add_test(rights, a_link_is_no_way_around_a_closed_directory);
        tcase_add_test(rights, a_descriptor_of_the_broker_is_no_way_around_either);
        return check_run(suite);
}
