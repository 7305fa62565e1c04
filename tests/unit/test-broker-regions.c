/* AddRegion, Attach, Detach, DeleteRegion. */

#include "daemon/host/memory.h"
#include "proto/util.h"
#include "tests/unit/broker-room.h"

#include <sys/ipc.h>
#include <sys/mman.h>
#include <sys/shm.h>
#include <sys/stat.h>

static struct caller a, b;
static struct definition sheep; /* two regions of memfd memory */
static struct environment *environment;

static void setup(void)
{
        sheep = room_define(BACKING_MEMFD, 2);
        caller_connect(&a);
        caller_connect(&b);
}

static void create(void)
{
        environment = caller_create(&a, "sheep", &sheep);
}

static void leave_all(void)
{
        caller_leave(&a);
        caller_leave(&b);
}

/* What was granted is closed at once. */
static int add(struct caller *caller, const struct spec *spec)
{
        struct grant grant = { .fd = -1 };
        int r = broker_add_region(&room, caller_request(caller),
                                  &(struct add_region_args){ .environment = "sheep", .region = spec }, &grant);

        close_fd(grant.fd);
        return r;
}

static int add_named(struct caller *caller, const char *name)
{
        return add(caller, &(struct spec){ .name = name, .size = 5000 });
}

static int attach(struct caller *caller, const char *region, enum access access)
{
        struct grant grant = { .fd = -1 };
        int r = broker_attach(&room, caller_request(caller),
                              &(struct attach_args){ .environment = "sheep", .region = region, .access = access },
                              &grant);

        close_fd(grant.fd);
        return r;
}

/* Closes what it opened, so that nothing but the attachment is left of it. */
static int detach(struct caller *caller, const char *region)
{
        opened_deinit(&caller->opened);
        return broker_detach(&room, caller_request(caller),
                             &(struct detach_args){ .environment = "sheep", .region = region });
}

static int delete (struct caller *caller, const char *region, bool force)
{
        return broker_delete_region(
                &room, caller_request(caller),
                &(struct delete_region_args){ .environment = "sheep", .region = region, .force = { force, force } });
}

static const struct region *find(const char *name)
{
        return environment_find_region(environment, name);
}

/* --- AddRegion --------------------------------------------------------------------------------------------------- */

START_TEST(a_member_adds_a_region_and_has_it)
{
        const struct region *region;

        create();
        ck_assert_int_eq(add_named(&a, "r3"), 0);
        region = find("r3");
        ck_assert_ptr_nonnull(region);
        ck_assert_uint_eq(region->number, 3);
        ck_assert_int_eq(region->size, 8192);
        ck_assert_int_eq(region->backing, BACKING_MEMFD);
        ck_assert_str_eq(region->type, "user");
        ck_assert_uint_eq(region->n_attachments, 1);
        ck_assert_int_eq(a.peer.account->regions, 3);
        ck_assert_int_eq(a.peer.account->bytes, 16384);
        ck_assert_int_eq(caller_join(&b, "sheep"), 0);
        ck_assert_uint_eq(b.opened.n_grants, 3);
        leave_all();
}
END_TEST

START_TEST(a_region_can_be_of_another_backing_than_its_environment)
{
        create();
        ck_assert_int_eq(add(&a, &(struct spec){ .name = "r3", .size = 1, .backing = BACKING_SYSV, .type = "lock" }),
                         0);
        ck_assert_int_eq(find("r3")->backing, BACKING_SYSV);
        ck_assert_str_eq(find("r3")->type, "lock");
        ck_assert_int_gt(find("r3")->shm_key, 0);
        ck_assert_int_eq(add(&a, &(struct spec){ .name = "r4", .size = 1, .backing = BACKING_PRIVATE }),
                         REFUSED_INVALID_PARAMETER);
        leave_all();
}
END_TEST

START_TEST(a_name_is_given_once)
{
        create();
        ck_assert_int_eq(add_named(&a, "r1"), REFUSED_REGION_EXISTS);
        ck_assert_str_eq(a.request.refusal.region, "r1");
        ck_assert_int_eq(add_named(&a, ""), REFUSED_NAME);
        ck_assert_int_eq(add_named(&a, "a/b"), REFUSED_NAME);
        ck_assert_uint_eq(environment->n_regions, 2);
        leave_all();
}
END_TEST

START_TEST(only_members_add_and_only_to_what_is_ready_or_theirs_to_initialise)
{
        create();
        ck_assert_int_eq(add_named(&b, "r3"), REFUSED_NOT_ATTACHED);
        caller_leave(&a);
        ck_assert_int_eq(add_named(&b, "r3"), REFUSED_NO_ENVIRONMENT);

        ck_assert_int_eq(caller_open(&b, "sheep", CREATE_ALWAYS, &sheep), 0);
        ck_assert_int_eq(add_named(&b, "r3"), 0);
        ck_assert_int_eq(caller_ready(&b, "sheep"), 0);
        ck_assert_int_eq(add_named(&b, "r4"), 0);
        ck_assert_int_eq(caller_remove(&b, "sheep", true, 0), 0);
        ck_assert_int_eq(add_named(&b, "r5"), REFUSED_NOT_READY);
        caller_leave(&b);
}
END_TEST

START_TEST(adding_asks_for_the_right_to_write)
{
        sheep.mode = (struct opt_int){ true, 0644 };
        create();
        caller_become(&b, 1000, 1000);
        ck_assert_int_eq(caller_open_as(&b, &(struct open_args){ .environment = "sheep", .access = ACCESS_READ }, 0),
                         0);
        ck_assert_int_eq(add_named(&b, "r3"), REFUSED_PERMISSION);
        ck_assert_int_eq(attach(&b, "r1", ACCESS_WRITE), REFUSED_PERMISSION);
        ck_assert_int_eq(attach(&b, "r1", ACCESS_READ), 0);
        ck_assert_int_eq(delete (&b, "r1", true), REFUSED_PERMISSION);
        leave_all();
}
END_TEST

static void check_quota(const char *limit, const struct spec *spec)
{
        ck_assert_int_eq(add(&a, spec), REFUSED_QUOTA);
        ck_assert_str_eq(a.request.refusal.name, limit);
        ck_assert_uint_eq(environment->n_regions, 2);
}

START_TEST(no_more_is_added_than_the_limits_allow)
{
        struct limits *limits = &room.settings.limits;
        const struct spec page = { .name = "r3", .size = 4096 };

        create();
        limits->regions_per_environment = 2;
        check_quota("regionsPerEnvironment", &page);
        limits->regions_per_environment = 250;
        limits->regions_per_user = 2;
        check_quota("regionsPerUser", &page);
        limits->regions_per_user = 3;
        limits->bytes_per_user = 3 * 4096 - 1;
        check_quota("bytesPerUser", &page);
        limits->bytes_per_user = 3 * 4096;
        check_quota("bytesPerUser", &(struct spec){ .name = "r3", .size = 4097 }); /* of whole pages */
        limits->region_bytes = 4096;
        check_quota("regionBytes", &(struct spec){ .name = "r3", .size = INT64_MAX });
        ck_assert_int_eq(add(&a, &page), 0);
        leave_all();
}
END_TEST

START_TEST(what_is_added_is_charged_to_the_creator)
{
        sheep.mode = (struct opt_int){ true, 0666 };
        create();
        caller_become(&b, 1000, 1000);
        ck_assert_int_eq(caller_join(&b, "sheep"), 0);
        ck_assert_int_eq(add_named(&b, "r3"), 0);
        ck_assert_int_eq(b.peer.account->regions, 0);
        ck_assert_int_eq(a.peer.account->regions, 3);
        leave_all();
}
END_TEST

/* A key with two free ones after it. */
static int32_t free_run(void)
{
        int32_t key = 0x11000000 + (getpid() & 0xffffff) * 8;
        struct key_holder holder;

        while (memory_find_key(key, &holder) || memory_find_key(key + 1, &holder) || memory_find_key(key + 2, &holder))
                key++;
        return key;
}

START_TEST(a_segment_is_added_under_the_next_of_the_keys_that_were_asked_for)
{
        const struct spec segment = { .name = "r3", .size = 1 };
        int32_t key = free_run();
        int foreign;

        sheep = room_define(BACKING_SYSV, 2);
        sheep.shm_key = (struct opt_int){ true, key };
        create();
        ck_assert_int_eq(find("r2")->shm_key, key + 1);
        foreign = shmget(key + 2, 1, IPC_CREAT | IPC_EXCL | 0600);
        ck_assert_int_eq(add(&a, &segment), REFUSED_KEY_IN_USE);
        ck_assert_int_eq(a.request.refusal.shm_key, key + 2);
        ck_assert_int_eq(a.request.refusal.shm_id, foreign);
        ck_assert_int_eq(a.request.refusal.shm_pid, getpid());
        ck_assert_int_eq(shmctl(foreign, IPC_RMID, NULL), 0);
        ck_assert_int_eq(add(&a, &segment), 0);
        ck_assert_int_eq(find("r3")->shm_key, key + 2);
        leave_all();
}
END_TEST

START_TEST(the_largest_key_is_the_last_that_can_be_asked_for)
{
        struct key_holder holder;
        int r;

        sheep = room_define(BACKING_SYSV, 1);
        sheep.shm_key = (struct opt_int){ true, INT32_MAX - 1 };
        if (memory_find_key(INT32_MAX - 1, &holder) || memory_find_key(INT32_MAX, &holder)) {
                leave_all();
                return;
        }
        create();
        ck_assert_int_eq(add_named(&a, "r3"), 0);
        ck_assert_int_eq(find("r3")->shm_key, INT32_MAX);
        r = add_named(&a, "r4"); /* there is no next */
        ck_assert_int_eq(r, REFUSED_KEY_IN_USE);
        leave_all();
}
END_TEST

START_TEST(where_keys_were_not_asked_for_a_taken_one_is_passed_over)
{
        int32_t key = free_run();
        int foreign;

        create(); /* without a segment yet */
        room.next_key = key;
        foreign = shmget(key, 1, IPC_CREAT | IPC_EXCL | 0600);
        ck_assert_int_ge(foreign, 0);
        ck_assert_int_eq(add(&a, &(struct spec){ .name = "r3", .size = 1, .backing = BACKING_SYSV }), 0);
        ck_assert_int_ne(find("r3")->shm_key, key);
        ck_assert_int_eq(shmctl(foreign, IPC_RMID, NULL), 0);
        leave_all();
}
END_TEST

START_TEST(the_first_file_of_an_environment_without_a_home_makes_its_directory)
{
        struct stat st;

        create();
        ck_assert_int_eq(add(&a, &(struct spec){ .name = "r3", .size = 1, .backing = BACKING_FILE }), 0);
        ck_assert_int_eq(stat(memory_path(find("r3")->memory), &st), 0);
        ck_assert_int_eq(strncmp(memory_path(find("r3")->memory), room_state(), strlen(room_state())), 0);
        ck_assert_int_eq(add(&a, &(struct spec){ .name = "r4", .size = 1, .backing = BACKING_FILE }), 0);
        leave_all(); /* the room sees that the state directory is empty then */
}
END_TEST

/* --- Attach and Detach ------------------------------------------------------------------------------------------- */

START_TEST(a_region_is_attached_once_however_often_it_is_asked_for)
{
        const char *none[] = { "" };

        create();
        ck_assert_int_eq(
                caller_open_as(&b, &(struct open_args){ .environment = "sheep", .regions = { true, 0, none } }, 0), 0);
        ck_assert_int_eq(attach(&b, "r1", ACCESS_READ), 0);
        ck_assert_int_eq(attach(&b, "r1", 0), 0); /* for writing, which is the default */
        ck_assert_uint_eq(find("r1")->n_attachments, 2);
        ck_assert_int_eq(LIST_FIRST(&find("r1")->attachments)->access, ACCESS_WRITE);
        ck_assert_int_eq(attach(&b, "nosuch", 0), REFUSED_NO_REGION);
        ck_assert_str_eq(b.request.refusal.region, "nosuch");
        leave_all();
}
END_TEST

START_TEST(a_detached_region_is_left_and_the_environment_is_not)
{
        create();
        ck_assert_int_eq(detach(&a, "r1"), 0);
        ck_assert_uint_eq(find("r1")->n_attachments, 0);
        ck_assert_int_eq(find("r1")->departed.pid, getpid());
        ck_assert_uint_eq(environment->n_members, 1);
        ck_assert_int_eq(detach(&a, "r1"), REFUSED_NOT_ATTACHED);
        ck_assert_str_eq(a.request.refusal.region, "r1");
        ck_assert_int_eq(detach(&a, "r2"), 0);
        ck_assert_uint_eq(environment->n_members, 1);
        ck_assert_int_eq(detach(&a, NULL), 0);
        ck_assert_int_eq(room.registry.n_environments, 0);
        leave_all();
}
END_TEST

START_TEST(who_is_not_attached_cannot_detach)
{
        create();
        ck_assert_int_eq(detach(&b, NULL), REFUSED_NOT_ATTACHED);
        ck_assert_int_eq(detach(&b, "r1"), REFUSED_NOT_ATTACHED);
        leave_all();
}
END_TEST

/* --- DeleteRegion ------------------------------------------------------------------------------------------------ */

START_TEST(a_region_that_nobody_has_is_deleted)
{
        create();
        ck_assert_int_eq(detach(&a, "r1"), 0);
        ck_assert_int_eq(delete (&b, "r1", false), 0);
        ck_assert_ptr_null(find("r1"));
        ck_assert_int_eq(room.registry.bytes, 4096);
        ck_assert_int_eq(delete (&b, "r1", false), REFUSED_NO_REGION);
        ck_assert_int_eq(add_named(&a, "r1"), 0);
        ck_assert_uint_eq(find("r1")->number, 3); /* the number is not given again */
        leave_all();
}
END_TEST

START_TEST(a_region_that_somebody_has_is_busy)
{
        create();
        ck_assert_int_eq(delete (&a, "r1", false), REFUSED_BUSY);
        ck_assert_str_eq(a.request.refusal.region, "r1");
        ck_assert_ptr_eq(a.request.refusal.environment, environment);
        leave_all();
}
END_TEST

START_TEST(a_region_that_something_unknown_maps_is_busy_until_it_is_not)
{
        void *bytes;

        create();
        bytes = room_map(&a.opened.grants[0]);
        ck_assert_int_eq(detach(&a, "r1"), 0);
        ck_assert_int_eq(delete (&a, "r1", false), REFUSED_BUSY);
        munmap(bytes, 4096);
        room_hear_close(); /* it is no rule that asks for its memory: it stays */
        ck_assert_ptr_nonnull(find("r1"));
        ck_assert_int_eq(delete (&a, "r1", false), 0);
        leave_all();
}
END_TEST

START_TEST(deleted_by_force_a_region_lives_on_until_its_last_holder_lets_go)
{
        create();
        ck_assert_int_eq(caller_join(&b, "sheep"), 0);
        ck_assert_int_eq(delete (&b, "r1", true), 0);
        ck_assert_ptr_null(find("r1"));
        ck_assert_uint_eq(environment->n_regions, 1);
        ck_assert_int_eq(room.registry.n_environments, 2); /* a retired one holds it */
        ck_assert_int_eq(room.registry.n_regions, 2);
        ck_assert_int_eq(attach(&b, "r1", 0), REFUSED_NO_REGION);

        ck_assert_int_eq(detach(&b, "r1"), 0);
        ck_assert_int_eq(room.registry.n_environments, 2);
        ck_assert_int_eq(detach(&a, "r1"), 0);
        ck_assert_int_eq(room.registry.n_environments, 1);
        ck_assert_int_eq(room.registry.n_regions, 1);
        leave_all();
}
END_TEST

static const struct environment *find_retired(void)
{
        const struct environment *found;
        uint64_t id = 0;

        while ((found = registry_after(&room.registry, id)) && found->state != STATE_RETIRED)
                id = found->id;
        ck_assert_ptr_nonnull(found);
        return found;
}

/* _i: of which wish; the others are not there. */
START_TEST(deleted_by_force_its_memory_is_told_to_be_of_the_sort_that_it_is)
{
        struct definition definition = room_define(BACKING_PRIVATE, 1);
        struct opt_bool *const wishes[] = { &definition.lock, &definition.huge_pages, &definition.hugetlb };
        const struct environment *retired;

        *wishes[_i] = (struct opt_bool){ true, true };
        definition.reserve = (struct opt_bool){ true, _i == 0 };
        environment = caller_create(&a, "sheep", &definition);
        ck_assert_int_eq(delete (&a, "r1", true), 0);
        retired = find_retired();
        ck_assert_int_eq(retired->reserve, _i == 0);
        ck_assert_int_eq(retired->lock, _i == 0);
        ck_assert_int_eq(retired->huge_pages, _i == 1);
        ck_assert_int_eq(retired->hugetlb, _i == 2);
        ck_assert_int_eq(detach(&a, "r1"), 0); /* its process lives on, and has it until it says so */
        leave_all();
}
END_TEST

START_TEST(the_name_of_a_region_that_was_deleted_by_force_can_be_given_anew)
{
        create();
        ck_assert_int_eq(delete (&a, "r1", true), 0);
        ck_assert_int_eq(add_named(&a, "r1"), 0);
        ck_assert_int_eq(delete (&a, "r1", true), 0);
        ck_assert_int_eq(add_named(&a, "r1"), 0);
        ck_assert_int_eq(room.registry.n_environments, 3);
        ck_assert_int_eq(caller_detach(&a, "sheep"), 0); /* all of them */
        ck_assert_int_eq(room.registry.n_environments, 0);
        leave_all();
}
END_TEST

START_TEST(deleted_by_force_and_held_by_something_unknown_it_goes_with_that)
{
        void *bytes;

        create();
        bytes = room_map(&a.opened.grants[0]);
        ck_assert_int_eq(detach(&a, "r1"), 0);
        ck_assert_int_eq(delete (&a, "r1", false), REFUSED_BUSY); /* watched from now on */
        ck_assert_int_eq(delete (&a, "r1", true), 0);
        ck_assert_int_eq(room.registry.n_environments, 2);
        munmap(bytes, 4096);
        room_hear_close();
        ck_assert_int_eq(room.registry.n_environments, 1);
        leave_all();
}
END_TEST

START_TEST(the_holders_of_a_deleted_region_may_be_gone_before_the_environment)
{
        create();
        ck_assert_int_eq(caller_join(&b, "sheep"), 0);
        ck_assert_int_eq(delete (&a, "r1", true), 0);
        caller_leave(&a);
        ck_assert_int_eq(room.registry.n_environments, 2);
        caller_leave(&b);
        ck_assert_int_eq(room.registry.n_environments, 0);
}
END_TEST

/* _i: of which backing. */
START_TEST(deleted_by_force_it_gives_its_name_free_at_once)
{
        static const enum backing backings[] = { BACKING_POSIX, BACKING_FILE, BACKING_SYSV };
        struct key_holder holder;
        struct region *region;
        struct stat st;
        char *path = NULL;
        int32_t key;

        sheep = room_define(backings[_i], 1);
        sheep.lifetime = LIFETIME_ATTACHED;
        create();
        region = TAILQ_FIRST(&environment->regions);
        key = region->shm_key;
        if (memory_path(region->memory))
                path = strdup(memory_path(region->memory));
        ck_assert_int_eq(delete (&a, "r1", true), 0);
        ck_assert(path ? stat(path, &st) < 0 : !memory_find_key(key, &holder));
        leave_all();
        free(path);
}
END_TEST

START_TEST(private_regions_can_be_deleted_too)
{
        sheep = room_define(BACKING_PRIVATE, 2);
        create();
        ck_assert_int_eq(delete (&a, "r1", false), REFUSED_BUSY);
        ck_assert_int_eq(detach(&a, "r1"), 0);
        ck_assert_int_eq(delete (&a, "r1", false), 0);
        ck_assert_int_eq(delete (&a, "r2", true), 0);
        ck_assert_int_eq(detach(&a, "r2"), 0);
        ck_assert_int_eq(room.registry.n_regions, 0);
        ck_assert_int_eq(detach(&a, NULL), 0);
        ck_assert_int_eq(room.registry.n_environments, 0);
        leave_all();
}
END_TEST

START_TEST(deleting_in_what_is_not_there_or_not_to_be_seen_is_refused_alike)
{
        create();
        caller_become(&b, 1000, 1000);
        ck_assert_int_eq(delete (&b, "r1", true), REFUSED_NO_ENVIRONMENT);
        caller_leave(&a);
        ck_assert_int_eq(delete (&b, "r1", true), REFUSED_NO_ENVIRONMENT);
        caller_leave(&b);
}
END_TEST

int main(void)
{
        Suite *suite = suite_create("broker-regions");
        TCase *adding = room_case(suite, "AddRegion", setup);
        TCase *attaching = room_case(suite, "Attach and Detach", setup);
        TCase *deleting = room_case(suite, "DeleteRegion", setup);

        tcase_add_test(adding, a_member_adds_a_region_and_has_it);
        tcase_add_test(adding, a_region_can_be_of_another_backing_than_its_environment);
        tcase_add_test(adding, a_name_is_given_once);
        tcase_add_test(adding, only_members_add_and_only_to_what_is_ready_or_theirs_to_initialise);
        tcase_add_test(adding, adding_asks_for_the_right_to_write);
        tcase_add_test(adding, no_more_is_added_than_the_limits_allow);
        tcase_add_test(adding, what_is_added_is_charged_to_the_creator);
        tcase_add_test(adding, a_segment_is_added_under_the_next_of_the_keys_that_were_asked_for);
        tcase_add_test(adding, the_largest_key_is_the_last_that_can_be_asked_for);
        tcase_add_test(adding, where_keys_were_not_asked_for_a_taken_one_is_passed_over);
        tcase_add_test(adding, the_first_file_of_an_environment_without_a_home_makes_its_directory);

        tcase_add_test(attaching, a_region_is_attached_once_however_often_it_is_asked_for);
        tcase_add_test(attaching, a_detached_region_is_left_and_the_environment_is_not);
        tcase_add_test(attaching, who_is_not_attached_cannot_detach);

        tcase_add_test(deleting, a_region_that_nobody_has_is_deleted);
        tcase_add_test(deleting, a_region_that_somebody_has_is_busy);
        tcase_add_test(deleting, a_region_that_something_unknown_maps_is_busy_until_it_is_not);
        tcase_add_test(deleting, deleted_by_force_a_region_lives_on_until_its_last_holder_lets_go);
        tcase_add_loop_test(deleting, deleted_by_force_its_memory_is_told_to_be_of_the_sort_that_it_is, 0, 3);
        tcase_add_test(deleting, the_name_of_a_region_that_was_deleted_by_force_can_be_given_anew);
        tcase_add_test(deleting, deleted_by_force_and_held_by_something_unknown_it_goes_with_that);
        tcase_add_test(deleting, the_holders_of_a_deleted_region_may_be_gone_before_the_environment);
        tcase_add_loop_test(deleting, deleted_by_force_it_gives_its_name_free_at_once, 0, 3);
        tcase_add_test(deleting, private_regions_can_be_deleted_too);
        tcase_add_test(deleting, deleting_in_what_is_not_there_or_not_to_be_seen_is_refused_alike);
        return check_run(suite);
}
