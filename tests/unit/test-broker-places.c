/* Where regions are made: System V keys, directories, descriptors; and that they come all or none. */

#include "daemon/host/memory.h"
#include "proto/util.h"
#include "tests/unit/broker-room.h"

#include <errno.h>
#include <glob.h>
#include <inttypes.h>
#include <stdio.h>
#include <sys/ipc.h>
#include <sys/resource.h>
#include <sys/shm.h>
#include <sys/stat.h>
#include <unistd.h>

static struct caller a, b;
static struct definition sheep; /* two regions of memfd memory */

static void setup(void)
{
        sheep = room_define(BACKING_MEMFD, 2);
        caller_connect(&a);
}

/* Opens "sheep", in fact or in vain; nothing is left of it. */
static int try(void)
{
        int r = caller_open(&a, "sheep", CREATE_ALWAYS, &sheep);

        if (r == 0)
                ck_assert_int_eq(caller_detach(&a, "sheep"), 0);
        ck_assert_int_eq(room.registry.n_environments, 0);
        ck_assert_int_eq(a.peer.account->regions, 0);
        ck_assert_int_eq(a.peer.account->bytes, 0);
        return r;
}

/* --- System V keys ----------------------------------------------------------------------------------------------- */

/* The first of four keys that nobody has. */
static int32_t free_run(void)
{
        int32_t key = 0x22000000 + (getpid() & 0xffffff) * 8;
        struct key_holder holder;

        for (int i = 0; i < 4; i++)
                if (memory_find_key(key + i, &holder)) {
                        key += i + 1;
                        i = -1;
                }
        return key;
}

static int take_key(int32_t key)
{
        int id = shmget(key, 1, IPC_CREAT | IPC_EXCL | 0600);

        ck_assert_int_ge(id, 0);
        return id;
}

START_TEST(the_keys_of_a_set_are_the_run_that_was_asked_for)
{
        const struct environment *environment;
        int32_t key = free_run();

        sheep = room_define(BACKING_SYSV, 2);
        sheep.shm_key = (struct opt_int){ true, key };
        environment = caller_create(&a, "sheep", &sheep);
        ck_assert_int_eq(environment_find_region(environment, "r1")->shm_key, key);
        ck_assert_int_eq(environment_find_region(environment, "r2")->shm_key, key + 1);
        caller_leave(&a);
}
END_TEST

START_TEST(where_one_key_of_the_run_is_taken_none_is_made)
{
        int32_t key = free_run();
        int foreign = take_key(key + 1);
        struct key_holder holder;
        struct shmid_ds segment;

        sheep = room_define(BACKING_SYSV, 2);
        sheep.shm_key = (struct opt_int){ true, key };
        ck_assert_int_eq(try(), REFUSED_KEY_IN_USE);
        ck_assert_int_eq(a.request.refusal.shm_key, key + 1);
        ck_assert_int_eq(a.request.refusal.shm_id, foreign);
        ck_assert_int_eq(a.request.refusal.shm_uid, geteuid());
        ck_assert_int_eq(a.request.refusal.shm_pid, getpid());
        ck_assert(!memory_find_key(key, &holder));
        ck_assert_int_eq(shmctl(foreign, IPC_STAT, &segment), 0);
        ck_assert_int_eq(shmctl(foreign, IPC_RMID, NULL), 0);
        caller_leave(&a);
}
END_TEST

START_TEST(without_a_wish_the_set_goes_where_there_is_a_free_run)
{
        const struct environment *environment;
        int32_t key = room.next_key, first;
        struct key_holder holder;
        int foreign;

        if (memory_find_key(key + 1, &holder)) {
                caller_leave(&a);
                return;
        }
        foreign = take_key(key + 1);
        sheep = room_define(BACKING_SYSV, 2);
        environment = caller_create(&a, "sheep", &sheep);
        first = environment_find_region(environment, "r1")->shm_key;
        ck_assert_int_ge(first, key + 2);
        ck_assert_int_eq(environment_find_region(environment, "r2")->shm_key, first + 1);
        ck_assert_int_eq(room.next_key, first + 2);
        ck_assert_int_eq(shmctl(foreign, IPC_RMID, NULL), 0);
        caller_leave(&a);
}
END_TEST

START_TEST(segments_and_other_memory_can_be_mixed)
{
        struct spec specs[] = {
                { .name = "a", .size = 1, .backing = BACKING_SYSV },
                { .name = "b", .size = 1, .backing = BACKING_MEMFD },
                { .name = "c", .size = 1, .backing = BACKING_SYSV },
                { .name = "d", .size = 1, .backing = BACKING_POSIX },
        };
        const struct environment *environment;
        int32_t key = free_run();
        int foreign;

        sheep.regions = (struct struct_array){ true, 4, specs };
        sheep.shm_key = (struct opt_int){ true, key };
        environment = caller_create(&a, "sheep", &sheep);
        ck_assert_int_eq(environment_find_region(environment, "a")->shm_key, key);
        ck_assert_int_eq(environment_find_region(environment, "c")->shm_key, key + 1);
        ck_assert_int_eq(caller_detach(&a, "sheep"), 0);

        foreign = take_key(key + 1);
        ck_assert_int_eq(try(), REFUSED_KEY_IN_USE);
        ck_assert_int_eq(a.request.refusal.shm_key, key + 1);
        ck_assert_int_eq(shmctl(foreign, IPC_RMID, NULL), 0);
        caller_leave(&a);
}
END_TEST

/* --- directories ------------------------------------------------------------------------------------------------- */

static bool is_there(const char *path)
{
        struct stat st;

        return lstat(path, &st) == 0;
}

static char *make_home(void)
{
        char *home = room_path("home");

        ck_assert_int_eq(mkdir(home, 0755), 0);
        return home;
}

START_TEST(files_go_to_the_home)
{
        owned(freep) char *home = make_home(), *first = room_path("home/__db.001"),
                          *second = room_path("home/__db.002");
        struct environment *environment;

        sheep = room_define(BACKING_FILE, 2);
        environment = caller_create(&a, home, &sheep);
        ck_assert_str_eq(environment->name, home);
        ck_assert_str_eq(environment->home, home);
        ck_assert(is_there(first) && is_there(second));
        ck_assert_int_eq(caller_detach(&a, home), 0);
        ck_assert(is_there(first));
        ck_assert_int_eq(caller_remove(&a, home, false, 0), 0);
        ck_assert(!is_there(first) && !is_there(second));
        caller_leave(&a);
        rmdir(home);
}
END_TEST

START_TEST(files_go_to_the_region_directory_where_there_is_one)
{
        owned(freep) char *home = make_home(), *other = room_path("other"), *file = room_path("other/__db.001");

        ck_assert_int_eq(mkdir(other, 0700), 0);
        sheep = room_define(BACKING_FILE, 1);
        sheep.home = home;
        sheep.region_directory = other;
        sheep.lifetime = LIFETIME_ATTACHED;
        caller_create(&a, "sheep", &sheep);
        ck_assert(is_there(file));
        caller_leave(&a);
        ck_assert(!is_there(file));
        rmdir(home);
        rmdir(other);
}
END_TEST

START_TEST(files_without_a_home_have_a_directory_of_their_own)
{
        const struct region *region;
        char *path, *name;

        sheep = room_define(BACKING_FILE, 1);
        sheep.lifetime = LIFETIME_ATTACHED;
        region = TAILQ_FIRST(&caller_create(&a, "sheep", &sheep)->regions);
        path = strdup(memory_path(region->memory));
        name = path + strlen(room_state());
        ck_assert_int_eq(strncmp(path, room_state(), strlen(room_state())), 0);
        ck_assert_int_eq(strncmp(name, "/environment.", 13), 0);
        ck_assert_str_eq(strrchr(path, '/'), "/__db.001");
        caller_leave(&a);
        free(path);
}
END_TEST

START_TEST(without_a_state_directory_files_need_a_home)
{
        room.settings.state_directory = NULL;
        sheep = room_define(BACKING_FILE, 1);
        ck_assert_int_eq(try(), REFUSED_RESOURCE);
        ck_assert_int_eq(a.request.refusal.error, ENOENT);
        caller_leave(&a);
}
END_TEST

START_TEST(where_one_file_exists_none_is_left_and_that_one_is_not_touched)
{
        owned(freep) char *home = make_home(), *first = room_path("home/__db.001"),
                          *second = room_path("home/__db.002");

        ck_assert_int_eq(symlink("theirs", second), 0);
        sheep = room_define(BACKING_FILE, 2);
        sheep.home = home;
        ck_assert_int_eq(try(), REFUSED_RESOURCE);
        ck_assert_str_eq(a.request.refusal.operation, "linkat");
        ck_assert_int_eq(a.request.refusal.error, EEXIST);
        ck_assert(!is_there(first));
        ck_assert(is_there(second));
        caller_leave(&a);
        unlink(second);
        rmdir(home);
}
END_TEST

START_TEST(a_home_is_home_to_one)
{
        owned(freep) char *home = make_home(), *link = room_path("link");
        struct environment *environment;

        ck_assert_int_eq(symlink("home", link), 0);
        sheep.home = home;
        caller_connect(&b);
        environment = caller_create(&a, "sheep", &sheep);
        sheep.home = link;
        ck_assert_int_eq(caller_open(&b, "goats", CREATE_ALWAYS, &sheep), REFUSED_ENVIRONMENT_EXISTS);
        ck_assert_ptr_eq(b.request.refusal.environment, environment);
        sheep.home = NULL;
        ck_assert_int_eq(caller_open(&b, link, CREATE_IF_ABSENT, &sheep), 0);
        ck_assert_ptr_eq(b.opened.environment, environment);
        caller_leave(&a);
        caller_leave(&b);
        unlink(link);
        rmdir(home);
}
END_TEST

static void make_anew(const char *home)
{
        owned(freep) char *reference = room_path("home/__db.001");

        ck_assert_int_eq(unlink(reference), 0);
        ck_assert_int_eq(rmdir(home) | mkdir(home, 0700), 0);
}

START_TEST(a_home_that_was_made_anew_has_no_environment_yet)
{
        owned(freep) char *home = make_home();
        struct environment *old;

        sheep.home = home;
        caller_connect(&b);
        old = caller_create(&a, "sheep", &sheep);
        make_anew(home);
        ck_assert_int_eq(caller_join(&b, home), 0); /* who makes none finds the old one */
        ck_assert_ptr_eq(b.opened.environment, old);
        ck_assert_int_eq(caller_detach(&b, home), 0);
        ck_assert_int_eq(caller_open(&b, "goats", CREATE_ALWAYS, &sheep), 0);
        ck_assert_int_eq(old->state, STATE_RETIRED);
        ck_assert_str_eq(old->rule, "its home was removed");
        ck_assert_ptr_eq(broker_find(&room, home), b.opened.environment);
        caller_leave(&a);
        caller_leave(&b);
        rmdir(home);
}
END_TEST

START_TEST(who_could_not_remove_what_was_in_a_home_does_not_take_its_place)
{
        owned(freep) char *home = make_home();
        struct environment *old;

        sheep.home = home;
        sheep.mode = (struct opt_int){ true, 0666 };
        caller_connect(&b);
        old = caller_create(&a, "sheep", &sheep);
        make_anew(home);
        caller_become(&b, 1000, 1000);
        ck_assert_int_eq(caller_open(&b, home, CREATE_IF_ABSENT, &sheep), 0);
        ck_assert_ptr_eq(b.opened.environment, old);
        caller_leave(&a);
        caller_leave(&b);
        rmdir(home);
}
END_TEST

START_TEST(files_that_persist_keep_their_environment_where_their_home_was_moved)
{
        owned(freep) char *home = make_home(), *moved = room_path("moved");
        struct definition cows = room_define(BACKING_FILE, 1);
        struct environment *old;

        cows.home = home;
        caller_connect(&b);
        old = caller_create(&a, "cows", &cows);
        ck_assert_int_eq(rename(home, moved) | mkdir(home, 0700), 0);
        ck_assert_int_eq(caller_open(&b, home, CREATE_IF_ABSENT, &cows), 0);
        ck_assert_ptr_eq(b.opened.environment, old);
        caller_leave(&a);
        ck_assert_int_eq(caller_detach(&b, "cows"), 0);
        ck_assert_int_eq(caller_remove(&b, "cows", false, 0), 0);
        caller_leave(&b);
        ck_assert_int_eq(rmdir(home) | rmdir(moved), 0);
}
END_TEST

START_TEST(a_home_has_to_be_there_and_writable)
{
        owned(freep) char *home = make_home(), *missing = room_path("missing");

        sheep.home = missing;
        ck_assert_int_eq(try(), REFUSED_RESOURCE);
        ck_assert_str_eq(a.request.refusal.operation, "open");
        ck_assert_int_eq(a.request.refusal.error, ENOENT);
        sheep.home = home;
        caller_become(&a, geteuid() + 1, getegid() + 1);
        ck_assert_int_eq(try(), REFUSED_PERMISSION);
        caller_leave(&a);
        rmdir(home);
}
END_TEST

START_TEST(called_by_its_path_it_has_no_other_home)
{
        owned(freep) char *home = make_home();

        sheep.home = room_state();
        ck_assert_int_eq(caller_open(&a, home, CREATE_ALWAYS, &sheep), REFUSED_INVALID_PARAMETER);
        ck_assert_str_eq(a.request.refusal.name, "environment");
        sheep.home = home;
        ck_assert_int_eq(caller_open(&a, home, CREATE_ALWAYS, &sheep), 0);
        caller_leave(&a);
        rmdir(home);
}
END_TEST

/* --- the machine ------------------------------------------------------------------------------------------------- */

/* Names that this broker has under /dev/shm. */
static size_t count_posix_names(void)
{
        char pattern[64];
        glob_t found;
        size_t n;

        memset(&found, 0, sizeof(found));
        snprintf(pattern, sizeof(pattern), "/dev/shm/region-broker.%016" PRIx64 ".*", room.registry.instance);
        n = glob(pattern, GLOB_NOSORT, NULL, &found) == 0 ? found.gl_pathc : 0;
        globfree(&found);
        return n;
}

/* However few descriptors there are to be had: all or nothing. */
START_TEST(where_descriptors_run_out_nothing_is_left)
{
        static const enum backing backings[] = { BACKING_MEMFD, BACKING_POSIX, BACKING_FILE, BACKING_SYSV };
        struct rlimit before, limit;
        int failed = 0, r = 1;

        if (check_on_valgrind()) { /* which makes the file before it says that there is no descriptor for it */
                caller_leave(&a);
                return;
        }
        sheep = room_define(backings[_i], 2);
        sheep.lifetime = LIFETIME_ATTACHED;
        getrlimit(RLIMIT_NOFILE, &before);
        limit = before;
        limit.rlim_cur = (rlim_t)dup(0);
        close((int)limit.rlim_cur);
        for (; r != 0; limit.rlim_cur++) {
                setrlimit(RLIMIT_NOFILE, &limit);
                r = caller_open(&a, "sheep", CREATE_ALWAYS, &sheep);
                setrlimit(RLIMIT_NOFILE, &before);
                if (r == 0)
                        break;
                ck_assert_int_eq(r, REFUSED_RESOURCE);
                ck_assert_int_eq(a.request.refusal.error, EMFILE);
                ck_assert_int_eq(room.registry.n_environments, 0);
                ck_assert_int_eq(a.peer.account->bytes, 0);
                ck_assert_uint_eq(count_posix_names(), 0);
                failed++;
        }
        ck_assert_int_ge(failed, 2);
        caller_leave(&a);
}
END_TEST

int main(void)
{
        Suite *suite = suite_create("broker-places");
        TCase *keys = room_case(suite, "keys", setup);
        TCase *directories = room_case(suite, "directories", setup);
        TCase *machine = room_case(suite, "machine", setup);

        tcase_add_test(keys, the_keys_of_a_set_are_the_run_that_was_asked_for);
        tcase_add_test(keys, where_one_key_of_the_run_is_taken_none_is_made);
        tcase_add_test(keys, without_a_wish_the_set_goes_where_there_is_a_free_run);
        tcase_add_test(keys, segments_and_other_memory_can_be_mixed);

        tcase_add_test(directories, files_go_to_the_home);
        tcase_add_test(directories, files_go_to_the_region_directory_where_there_is_one);
        tcase_add_test(directories, files_without_a_home_have_a_directory_of_their_own);
        tcase_add_test(directories, without_a_state_directory_files_need_a_home);
        tcase_add_test(directories, where_one_file_exists_none_is_left_and_that_one_is_not_touched);
        tcase_add_test(directories, a_home_is_home_to_one);
        tcase_add_test(directories, a_home_that_was_made_anew_has_no_environment_yet);
        tcase_add_test(directories, who_could_not_remove_what_was_in_a_home_does_not_take_its_place);
        tcase_add_test(directories, files_that_persist_keep_their_environment_where_their_home_was_moved);
        tcase_add_test(directories, a_home_has_to_be_there_and_writable);
        tcase_add_test(directories, called_by_its_path_it_has_no_other_home);

        tcase_add_loop_test(machine, where_descriptors_run_out_nothing_is_left, 0, 4);
        return check_run(suite);
}
