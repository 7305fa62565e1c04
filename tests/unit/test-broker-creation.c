/* What may be asked for. Where it is made is in test-broker-places.c. */

#include "daemon/definition.h"
#include "tests/unit/broker-room.h"

#include <stdio.h>

static struct caller a;
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

static void check_taken(void)
{
        ck_assert_int_eq(try(), 0);
        caller_leave(&a);
}

static void check_parameter(void)
{
        ck_assert_int_eq(try(), REFUSED_INVALID_PARAMETER);
        ck_assert_str_eq(a.request.refusal.name, "definition");
}

/* --- names ------------------------------------------------------------------------------------------------------- */

static void check_name(const char *name, const char *reason)
{
        struct refusal refusal = {};
        int r = definition_check_name(name, &refusal);

        ck_assert_int_eq(r, reason ? REFUSED_NAME : 0);
        if (!reason)
                return;
        ck_assert_str_eq(refusal.name, name);
        ck_assert_msg(strstr(refusal.reason, reason), "'%s' lacks '%s'", refusal.reason, reason);
}

START_TEST(a_name_is_any_text_without_slashes_and_control_characters)
{
        char longest[257];

        memset(longest, 'x', sizeof(longest));
        longest[256] = '\0';
        check_name(longest, "longer than 255");
        longest[255] = '\0';
        check_name(longest, NULL);
        check_name("sheep", NULL);
        check_name(" ", NULL);
        check_name("Schäfchen 🐑", NULL);
        check_name("..", NULL);
        check_name("", "empty");
        check_name("a/b", "slash");
        check_name("sheep/", "slash");
        check_name("a\nb", "control");
        check_name("\x1b[2J", "control");
        check_name("\x7f", "control");
        caller_leave(&a);
}
END_TEST

START_TEST(a_wrong_name_creates_nothing)
{
        ck_assert_int_eq(caller_open(&a, "", CREATE_ALWAYS, &sheep), REFUSED_NAME);
        ck_assert_int_eq(caller_open(&a, "a/b", CREATE_IF_ABSENT, &sheep), REFUSED_NAME);
        caller_leave(&a);
}
END_TEST

/* --- definitions ------------------------------------------------------------------------------------------------- */

START_TEST(without_more_it_is_memfd_memory_of_its_creator_for_as_long_as_somebody_has_it)
{
        const struct environment *environment;

        sheep.backing = 0;
        environment = caller_create(&a, "sheep", &sheep);
        ck_assert_int_eq(environment->backing, BACKING_MEMFD);
        ck_assert_int_eq(environment->lifetime, LIFETIME_ATTACHED);
        ck_assert_uint_eq(environment->mode, 0600);
        ck_assert_uint_eq(environment->uid, a.peer.uid);
        ck_assert_uint_eq(environment->gid, a.peer.gid);
        ck_assert(environment->reserve);
        ck_assert(!environment->lock);
        ck_assert(!environment->huge_pages);
        ck_assert(!environment->hugetlb);
        ck_assert_int_eq(environment->created_usec, room.realtime);
        ck_assert_ptr_eq(environment->creator, a.peer.process);
        caller_leave(&a);
}
END_TEST

START_TEST(files_stay_without_more)
{
        sheep = room_define(BACKING_FILE, 1);
        ck_assert_int_eq(caller_create(&a, "sheep", &sheep)->lifetime, LIFETIME_PERSISTENT);
        ck_assert_int_eq(caller_detach(&a, "sheep"), 0);
        ck_assert_int_eq(caller_remove(&a, "sheep", false, 0), 0);
        caller_leave(&a);
}
END_TEST

START_TEST(sizes_are_of_whole_pages)
{
        struct spec specs[] = { { .name = "a", .size = 1 },
                                { .name = "b", .size = 4096 },
                                { .name = "c", .size = 4097 } };
        const struct environment *environment;

        sheep.regions = (struct struct_array){ true, 3, specs };
        environment = caller_create(&a, "sheep", &sheep);
        ck_assert_int_eq(environment_find_region(environment, "a")->size, 4096);
        ck_assert_int_eq(environment_find_region(environment, "b")->size, 4096);
        ck_assert_int_eq(environment_find_region(environment, "c")->size, 8192);
        ck_assert_int_eq(environment->bytes, 16384);
        caller_leave(&a);
}
END_TEST

START_TEST(an_environment_may_be_without_regions)
{
        sheep.regions.n = 0;
        check_taken();
}
END_TEST

START_TEST(a_mode_is_made_of_permission_bits)
{
        sheep.mode = (struct opt_int){ true, 01000 };
        check_parameter();
        sheep.mode.value = -1;
        check_parameter();
        sheep.mode.value = 0777;
        check_taken();
}
END_TEST

START_TEST(lingering_has_a_limit)
{
        room.settings.limits.linger_usec = 1000;
        sheep.linger_usec = (struct opt_int){ true, 1001 };
        ck_assert_int_eq(try(), REFUSED_QUOTA);
        ck_assert_str_eq(a.request.refusal.name, "lingerUSec");
        ck_assert_int_eq(a.request.refusal.maximum, 1000);
        sheep.linger_usec.value = -1;
        check_parameter();
        sheep.linger_usec.value = INT64_MAX;
        ck_assert_int_eq(try(), REFUSED_QUOTA);
        sheep.linger_usec.value = 0;
        check_taken();
}
END_TEST

START_TEST(keys_are_positive_and_the_run_fits)
{
        sheep = room_define(BACKING_SYSV, 2);
        sheep.shm_key = (struct opt_int){ true, 0 };
        check_parameter();
        sheep.shm_key.value = -1;
        check_parameter();
        sheep.shm_key.value = INT32_MAX;
        check_parameter();
        sheep.shm_key.value = INT64_MAX;
        check_parameter();
        caller_leave(&a);
}
END_TEST

START_TEST(texts_have_a_largest_length)
{
        char text[257];

        memset(text, 'x', sizeof(text));
        text[256] = '\0';
        sheep.schema = text;
        check_parameter();
        text[255] = '\0';
        check_taken();
}
END_TEST

START_TEST(paths_are_absolute)
{
        sheep.home = "home";
        check_parameter();
        sheep.home = NULL;
        sheep.region_directory = "";
        check_parameter();
        caller_leave(&a);
}
END_TEST

START_TEST(private_memory_cannot_outlive_its_process)
{
        sheep = room_define(BACKING_PRIVATE, 1);
        sheep.lifetime = LIFETIME_PERSISTENT;
        check_parameter();
        caller_leave(&a);
}
END_TEST

START_TEST(recovery_can_be_asked_for)
{
        sheep.recovery = (struct opt_bool){ true, true };
        check_taken();
}
END_TEST

static void check_spec(struct spec spec)
{
        sheep.regions = (struct struct_array){ true, 1, &spec };
        check_parameter();
}

START_TEST(regions_have_a_size_and_a_short_type)
{
        char type[65];

        memset(type, 'x', sizeof(type));
        type[64] = '\0';
        check_spec((struct spec){ .name = "a", .size = 0 });
        check_spec((struct spec){ .name = "a", .size = -4096 });
        check_spec((struct spec){ .name = "a", .size = INT64_MIN });
        check_spec((struct spec){ .name = "a", .size = 1, .type = type });
        check_spec((struct spec){ .name = "a", .size = 1, .backing = BACKING_PRIVATE });
        caller_leave(&a);
}
END_TEST

START_TEST(no_two_regions_have_one_name)
{
        struct spec specs[] = { { .name = "a", .size = 1 }, { .name = "b", .size = 1 }, { .name = "a", .size = 1 } };

        sheep.regions = (struct struct_array){ true, 3, specs };
        check_parameter();
        caller_leave(&a);
}
END_TEST

START_TEST(a_region_is_no_larger_than_allowed_whatever_it_asks_for)
{
        struct spec spec = { .name = "a", .size = INT64_MAX };

        sheep.regions = (struct struct_array){ true, 1, &spec };
        ck_assert_int_eq(try(), REFUSED_QUOTA);
        ck_assert_str_eq(a.request.refusal.name, "regionBytes");
        spec.size = room.settings.limits.region_bytes + 1;
        ck_assert_int_eq(try(), REFUSED_QUOTA);
        spec.size = room.settings.limits.region_bytes; /* nothing of it is touched */
        check_taken();
}
END_TEST

START_TEST(an_environment_has_as_many_regions_as_one_message_can_carry)
{
        struct spec specs[251];
        char names[251][8];

        for (int i = 0; i < 251; i++) {
                snprintf(names[i], sizeof(names[i]), "r%d", i);
                specs[i] = (struct spec){ .name = names[i], .size = 1 };
        }
        sheep.regions = (struct struct_array){ true, 251, specs };
        ck_assert_int_eq(try(), REFUSED_QUOTA);
        ck_assert_str_eq(a.request.refusal.name, "regionsPerEnvironment");
        sheep.regions.n = 250;
        ck_assert_int_eq(caller_open(&a, "sheep", CREATE_ALWAYS, &sheep), 0);
        ck_assert_uint_eq(a.opened.n_grants, 250);
        caller_leave(&a);
}
END_TEST

START_TEST(only_a_group_of_ones_own_can_be_given)
{
        sheep.group = "no such group";
        check_parameter();
        sheep.group = "";
        check_parameter();
        sheep.group = "-1";
        check_parameter();
        sheep.group = "4294967295";
        check_parameter();
        caller_become(&a, 1000, 2000);
        sheep.group = "3000";
        ck_assert_int_eq(try(), REFUSED_PERMISSION);
        sheep.group = "2000";
        ck_assert_uint_eq(caller_create(&a, "sheep", &sheep)->gid, 2000);
        ck_assert_int_eq(caller_detach(&a, "sheep"), 0);
        caller_become(&a, 0, 0);
        sheep.group = "3000";
        ck_assert_uint_eq(caller_create(&a, "sheep", &sheep)->gid, 3000);
        caller_leave(&a);
}
END_TEST

int main(void)
{
        Suite *suite = suite_create("broker-creation");
        TCase *names = room_case(suite, "names", setup);
        TCase *definitions = room_case(suite, "definitions", setup);

        tcase_add_test(names, a_name_is_any_text_without_slashes_and_control_characters);
        tcase_add_test(names, a_wrong_name_creates_nothing);

        tcase_add_test(definitions, without_more_it_is_memfd_memory_of_its_creator_for_as_long_as_somebody_has_it);
        tcase_add_test(definitions, files_stay_without_more);
        tcase_add_test(definitions, sizes_are_of_whole_pages);
        tcase_add_test(definitions, an_environment_may_be_without_regions);
        tcase_add_test(definitions, a_mode_is_made_of_permission_bits);
        tcase_add_test(definitions, lingering_has_a_limit);
        tcase_add_test(definitions, keys_are_positive_and_the_run_fits);
        tcase_add_test(definitions, texts_have_a_largest_length);
        tcase_add_test(definitions, paths_are_absolute);
        tcase_add_test(definitions, private_memory_cannot_outlive_its_process);
        tcase_add_test(definitions, recovery_can_be_asked_for);
        tcase_add_test(definitions, regions_have_a_size_and_a_short_type);
        tcase_add_test(definitions, no_two_regions_have_one_name);
        tcase_add_test(definitions, a_region_is_no_larger_than_allowed_whatever_it_asks_for);
        tcase_add_test(definitions, an_environment_has_as_many_regions_as_one_message_can_carry);
        tcase_add_test(definitions, only_a_group_of_ones_own_can_be_given);
        return check_run(suite);
}
