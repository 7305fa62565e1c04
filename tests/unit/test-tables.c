/* The tables of the contract. Each struct is written with everything given and with as little as its table allows,
 * compared with the JSON that the contract asks for, read back and written again. */

#include "proto/util.h"
#include "tests/support/check.h"
#include "tests/support/json.h"

/* clang-format off */

/* --- values with everything given -------------------------------------------------------------------------------- */

static struct spec full_specs[] = {
        { .name = "a", .type = "log", .size = 4096, .backing = BACKING_SYSV },
        { .name = "b", .size = 1 },
};
#define FULL_SPECS "[{\"name\":\"a\",\"type\":\"log\",\"size\":4096,\"backing\":\"sysv\"},{\"name\":\"b\",\"size\":1}]"

static const struct definition full_definition = {
        .backing = BACKING_POSIX,
        .home = "/home",
        .region_directory = "/regions",
        .shm_key = { true, 0x1234 },
        .mode = { true, 0660 },
        .group = "staff",
        .lifetime = LIFETIME_PERSISTENT,
        .linger_usec = { true, 0 },
        .recovery = { true, false },
        .schema = "s1",
        .reserve = { true, true },
        .lock = { true, false },
        .huge_pages = { true, true },
        .hugetlb = { true, false },
        .regions = { true, 2, full_specs },
};
#define FULL_DEFINITION                                                                                             \
        "{\"backing\":\"posix\",\"home\":\"/home\",\"regionDirectory\":\"/regions\",\"shmKey\":4660,\"mode\":432,"  \
        "\"group\":\"staff\",\"lifetime\":\"persistent\",\"lingerUSec\":0,\"recovery\":false,\"schema\":\"s1\","    \
        "\"reserve\":true,\"lock\":false,\"hugePages\":true,\"hugetlb\":false,\"regions\":" FULL_SPECS "}"

static struct region_view full_region = {
        .id = "r1",
        .name = "a",
        .number = 1,
        .type = "env",
        .size = 8192,
        .backing = BACKING_FILE,
        .shm_key = { true, 2 },
        .shm_id = { true, 3 },
        .ipc_namespace = { true, 4 },
        .path = "/p",
        .attachments = 5,
        .bytes_used = { true, 6 },
};
#define FULL_REGION                                                                                                \
        "{\"id\":\"r1\",\"name\":\"a\",\"number\":1,\"type\":\"env\",\"size\":8192,\"backing\":\"file\","          \
        "\"shmKey\":2,\"shmId\":3,\"ipcNamespace\":4,\"path\":\"/p\",\"attachments\":5,\"bytesUsed\":6}"

static const struct environment_view full_environment = {
        .id = "e1",
        .name = "db",
        .generation = 1,
        .state = STATE_RECOVERING,
        .uid = 2,
        .gid = 3,
        .mode = 4,
        .backing = BACKING_PRIVATE,
        .lifetime = LIFETIME_CREATOR,
        .linger_usec = { true, 5 },
        .home = "/h",
        .schema = "s",
        .recovery = true,
        .reserve = { true, false },
        .lock = { true, true },
        .huge_pages = { true, false },
        .hugetlb = { true, true },
        .created_usec = 6,
        .creator_pid = 7,
        .creator_command = "sh",
        .attachments = 8,
        .bytes = 9,
        .regions = { true, 1, &full_region },
};
#define FULL_ENVIRONMENT                                                                                           \
        "{\"id\":\"e1\",\"name\":\"db\",\"generation\":1,\"state\":\"recovering\",\"uid\":2,\"gid\":3,\"mode\":4," \
        "\"backing\":\"private\",\"lifetime\":\"creator\",\"lingerUSec\":5,\"home\":\"/h\",\"schema\":\"s\","      \
        "\"recovery\":true,\"reserve\":false,\"lock\":true,\"hugePages\":false,\"hugetlb\":true,"                     \
        "\"createdUSec\":6,\"creatorPid\":7,\"creatorCommand\":\"sh\",\"attachments\":8,\"bytes\":9,\"regions\":[" FULL_REGION "]}"

static struct grant_view full_grant = {
        .region = &full_region,
        .access = ACCESS_WRITE,
        .region_fd = { true, 1 },
};
#define FULL_GRANT "{\"region\":" FULL_REGION ",\"access\":\"write\",\"regionFileDescriptor\":1}"

static struct difference full_difference = { .field = "mode", .wanted = "0600", .found = "0660" };
#define FULL_DIFFERENCE "{\"field\":\"mode\",\"wanted\":\"0600\",\"found\":\"0660\"}"

static struct attachment_view full_attachment = {
        .environment = "db",
        .region = "a",
        .pid = 1,
        .uid = 2,
        .command = "vi",
        .access = ACCESS_READ,
        .since_usec = 3,
        .standing = STANDING_RESUMED,
};
#define FULL_ATTACHMENT                                                                                      \
        "{\"environment\":\"db\",\"region\":\"a\",\"pid\":1,\"uid\":2,\"command\":\"vi\",\"access\":\"read\"," \
        "\"sinceUSec\":3,\"standing\":\"resumed\"}"

static const char *two_strings[] = { "x", "y" };
static struct named_int two_ints[] = { { "x", 1 }, { "\"y\"", -2 } };
#define TWO_INTS "{\"x\":1,\"\\\"y\\\"\":-2}"

static void check_args(const char *method, const void *value, const char *json)
{
        json_check_round_trip(json_args_of(method), value, json);
}

static void check_result(const char *method, const void *value, const char *json)
{
        json_check_round_trip(json_result_of(method), value, json);
}

START_TEST(parameters_with_everything_given_come_back)
{
        check_args(BROKER "Open",
                   &(struct open_args){ "db", CREATE_IF_ABSENT, ACCESS_READ, &full_definition,
                                        { true, 2, two_strings }, { true, 7 }, { true, 3 } },
                   "{\"environment\":\"db\",\"create\":\"ifAbsent\",\"access\":\"read\",\"definition\":" FULL_DEFINITION
                   ",\"regions\":[\"x\",\"y\"],\"waitUSec\":7,\"session\":3}");
        check_args(BROKER "Ready", &(struct ready_args){ "db" }, "{\"environment\":\"db\"}");
        check_args(BROKER "AddRegion", &(struct add_region_args){ "db", &full_specs[1] },
                   "{\"environment\":\"db\",\"region\":{\"name\":\"b\",\"size\":1}}");
        check_args(BROKER "Attach", &(struct attach_args){ "db", "a", ACCESS_WRITE },
                   "{\"environment\":\"db\",\"region\":\"a\",\"access\":\"write\"}");
        check_args(BROKER "Detach", &(struct detach_args){ "db", "a", "e-1" },
                   "{\"environment\":\"db\",\"region\":\"a\",\"id\":\"e-1\"}");
        check_args(BROKER "DeleteRegion", &(struct delete_region_args){ "db", "a", { true, true } },
                   "{\"environment\":\"db\",\"region\":\"a\",\"force\":true}");
        check_args(BROKER "Remove", &(struct remove_args){ "db", { true, false }, { true, 0 }, "i" },
                   "{\"environment\":\"db\",\"force\":false,\"waitUSec\":0,\"id\":\"i\"}");
        check_args(BROKER "Adopt", &(struct adopt_args){ "db", ACCESS_READ, { true, 2, two_strings }, { true, 3 } },
                   "{\"environment\":\"db\",\"access\":\"read\",\"regions\":[\"x\",\"y\"],\"session\":3}");
        check_args(BROKER "Resume",
                   &(struct resume_args){ "db", "i", ACCESS_READ, { true, 2, two_strings }, { true, 3 } },
                   "{\"environment\":\"db\",\"id\":\"i\",\"access\":\"read\",\"regions\":[\"x\",\"y\"],\"session\":3}");
        check_args(BROKER "Offer", &(struct offer_args){ "db", "i", "a", 0 },
                   "{\"environment\":\"db\",\"id\":\"i\",\"region\":\"a\",\"regionFileDescriptor\":0}");
        check_args(BROKER "Watch", &(struct watch_args){ "db", { true, 3 }, "i" },
                   "{\"environment\":\"db\",\"since\":3,\"instance\":\"i\"}");
        check_args(BROKER "List", &(struct list_args){ "*" }, "{\"pattern\":\"*\"}");
        check_args(BROKER "Describe", &(struct describe_args){ "db" }, "{\"environment\":\"db\"}");
        check_args(SERVICE "GetInterfaceDescription", &(struct description_args){ "a.b" },
                   "{\"interface\":\"a.b\"}");
}
END_TEST

START_TEST(results_with_everything_given_come_back)
{
        check_result(BROKER "Open",
                     &(struct open_result){ &full_environment, ROLE_RECOVERER, 0,
                                            { true, 1, &full_grant }, { true, 1, &full_difference } },
                     "{\"environment\":" FULL_ENVIRONMENT ",\"role\":\"recoverer\",\"controlFileDescriptor\":0,"
                     "\"grants\":[" FULL_GRANT "],\"differences\":[" FULL_DIFFERENCE "]}");
        check_result(BROKER "Ready", &(struct ready_result){ 2 }, "{\"generation\":2}");
        check_result(BROKER "AddRegion", &(struct grant_result){ &full_grant }, "{\"grant\":" FULL_GRANT "}");
        check_result(BROKER "Attach", &(struct grant_result){ &full_grant }, "{\"grant\":" FULL_GRANT "}");
        check_result(BROKER "Remove", &(struct remove_result){ 4096 }, "{\"bytes\":4096}");
        check_result(BROKER "Resume", &(struct resume_result){ &full_environment, ROLE_RECOVERER, 1 },
                     "{\"environment\":" FULL_ENVIRONMENT ",\"role\":\"recoverer\",\"controlFileDescriptor\":1}");
        check_result(BROKER "List", &(struct environment_result){ &full_environment },
                     "{\"environment\":" FULL_ENVIRONMENT "}");
        check_result(BROKER "Describe", &(struct describe_result){ &full_environment, { true, 1, &full_attachment } },
                     "{\"environment\":" FULL_ENVIRONMENT ",\"attachments\":[" FULL_ATTACHMENT "]}");
        check_result(BROKER "GetStatistics",
                     &(struct statistics_result){ "1", 2, 3, 4, 5, 6, 7, { true, 2, two_ints }, { true, 2, two_ints } },
                     "{\"version\":\"1\",\"startedUSec\":2,\"environments\":3,\"regions\":4,\"attachments\":5,"
                     "\"sessions\":6,\"bytes\":7,\"limits\":" TWO_INTS ",\"counters\":" TWO_INTS "}");
        check_result(SERVICE "GetInfo", &(struct info_result){ "v", "p", "1", "u", { true, 2, two_strings } },
                     "{\"vendor\":\"v\",\"product\":\"p\",\"version\":\"1\",\"url\":\"u\","
                     "\"interfaces\":[\"x\",\"y\"]}");
        check_result(SERVICE "GetInterfaceDescription", &(struct description_result){ "# text\n" },
                     "{\"description\":\"# text\\n\"}");
}
END_TEST

/* --- values with as little as possible ---------------------------------------------------------------------------- */

START_TEST(what_is_absent_is_left_out)
{
        const struct spec spec = { .name = "a", .size = 1 };
        const struct definition definition = {};
        const struct region_view region = { .id = "1", .name = "a", .type = "t", .backing = BACKING_MEMFD };

        check_args(BROKER "Open", &(struct open_args){ .environment = "db" }, "{\"environment\":\"db\"}");
        check_args(BROKER "Open", &(struct open_args){ .environment = "db", .definition = &definition },
                   "{\"environment\":\"db\",\"definition\":{\"regions\":[]}}");
        check_args(BROKER "AddRegion", &(struct add_region_args){ "db", &spec },
                   "{\"environment\":\"db\",\"region\":{\"name\":\"a\",\"size\":1}}");
        check_args(BROKER "Attach", &(struct attach_args){ "db", "a", 0 },
                   "{\"environment\":\"db\",\"region\":\"a\"}");
        check_args(BROKER "Detach", &(struct detach_args){ .environment = "db" }, "{\"environment\":\"db\"}");
        check_args(BROKER "DeleteRegion", &(struct delete_region_args){ "db", "a", {} },
                   "{\"environment\":\"db\",\"region\":\"a\"}");
        check_args(BROKER "Remove", &(struct remove_args){ .environment = "db" }, "{\"environment\":\"db\"}");
        check_args(BROKER "List", &(struct list_args){}, "{}");
        check_args(BROKER "GetStatistics", NULL, "{}");
        check_args(SERVICE "GetInfo", NULL, "{}");

        check_result(BROKER "Attach",
                     &(struct grant_result){ &(struct grant_view){ .region = &region, .access = ACCESS_READ } },
                     "{\"grant\":{\"region\":{\"id\":\"1\",\"name\":\"a\",\"number\":0,\"type\":\"t\",\"size\":0,"
                     "\"backing\":\"memfd\",\"attachments\":0},\"access\":\"read\"}}");
        check_result(BROKER "Detach", NULL, "{}");
        check_result(BROKER "DeleteRegion", NULL, "{}");
}
END_TEST

START_TEST(arrays_and_maps_that_must_be_there_are_written_empty)
{
        check_result(SERVICE "GetInfo", &(struct info_result){ "v", "p", "1", "u", {} },
                     "{\"vendor\":\"v\",\"product\":\"p\",\"version\":\"1\",\"url\":\"u\",\"interfaces\":[]}");
        check_result(BROKER "GetStatistics", &(struct statistics_result){ .version = "1" },
                     "{\"version\":\"1\",\"startedUSec\":0,\"environments\":0,\"regions\":0,\"attachments\":0,"
                     "\"sessions\":0,\"bytes\":0,\"limits\":{},\"counters\":{}}");
}
END_TEST

/* Nothing given at all is still JSON, and the reader names the first field that has to be there. */
START_TEST(an_empty_struct_is_written_and_its_first_missing_field_named)
{
        for (size_t i = 0; i < n_method_types; i++) {
                const struct arg_struct *sides[] = { method_types[i].args, method_types[i].result };

                for (size_t side = 0; side < array_size(sides) && sides[side]; side++) {
                        const struct arg_struct *type = sides[side];
                        void *empty = calloc(1, type->size + 1);
                        char *json = json_write(type, empty);
                        const char *first = NULL;

                        for (size_t k = 0; k < type->n && !first; k++)
                                if (!type->args[k].nullable &&
                                    (type->args[k].kind == ARG_STRING || type->args[k].kind == ARG_STRUCT))
                                        first = type->args[k].name;
                        if (first)
                                json_check_refused(type, ARGS_STRICT, json, first);
                        else
                                json_check_round_trip(type, empty, json);
                        free(json);
                        free(empty);
                }
        }
}
END_TEST

/* clang-format on */

/* --- names and words ---------------------------------------------------------------------------------------------  */

START_TEST(every_word_has_its_value_and_back)
{
        static const struct arg_enum *const types[] = { &backing_type, &access_type, &create_type,  &lifetime_type,
                                                        &state_type,   &role_type,   &standing_type };

        for (size_t i = 0; i < array_size(types); i++) {
                for (int value = 1; value <= types[i]->n; value++)
                        ck_assert_int_eq(arg_enum_find(types[i], arg_enum_word(types[i], value)), value);
                ck_assert_str_eq(arg_enum_word(types[i], 0), "?");
                ck_assert_str_eq(arg_enum_word(types[i], -1), "?");
                ck_assert_str_eq(arg_enum_word(types[i], types[i]->n + 1), "?");
                ck_assert_int_eq(arg_enum_find(types[i], "?"), 0);
                ck_assert_int_eq(arg_enum_find(types[i], ""), 0);
        }
        ck_assert_str_eq(backing_word(BACKING_MEMFD), "memfd");
        ck_assert_str_eq(access_word(ACCESS_WRITE), "write");
        ck_assert_str_eq(lifetime_word(LIFETIME_PERSISTENT), "persistent");
        ck_assert_str_eq(state_word(STATE_DIRTY), "dirty");
        ck_assert_str_eq(role_word(ROLE_RECOVERER), "recoverer");
        ck_assert_str_eq(standing_word(STANDING_INHERITED), "inherited");
        ck_assert_str_eq(state_word(0), "?");
}
END_TEST

START_TEST(methods_are_found_by_their_whole_name)
{
        for (size_t i = 0; i < n_method_types; i++)
                ck_assert_ptr_eq(method_type_find(method_types[i].name), &method_types[i]);
        ck_assert_ptr_null(method_type_find("Open"));
        ck_assert_ptr_null(method_type_find(""));
        ck_assert_ptr_null(method_type_find(BROKER));
        ck_assert_ptr_null(method_type_find(BROKER "Opened"));
        ck_assert_ptr_null(method_type_find(BROKER "open"));
        ck_assert(method_type_find(BROKER "List")->requires_more);
        ck_assert(!method_type_find(BROKER "Open")->requires_more);
}
END_TEST

START_TEST(errors_are_found_by_their_whole_name)
{
        for (int i = 1; i < N_WIRE_ERRORS; i++)
                ck_assert_int_eq(error_find(error_types[i].name), i);
        ck_assert_int_eq(error_find("Busy"), 0);
        ck_assert_int_eq(error_find(""), 0);
        ck_assert_int_eq(error_find("org.regionbroker.busy"), 0);
}
END_TEST

static const struct error_fields full_errors = {
        .interface = "i",
        .method = "m",
        .parameter = "p",
        .environment = "e",
        .region = "r",
        .state = STATE_INITIALIZING,
        .role = ROLE_INITIALIZER,
        .maybe_pid = { true, 1 },
        .pid = 2,
        .command = "c",
        .attachments = { true, 1, &full_attachment },
        .wanted_schema = "ws",
        .found_schema = "fs",
        .creator_command = "cc",
        .shm_key = 3,
        .shm_id = 4,
        .uid = 5,
        .limit = "l",
        .used = 6,
        .wanted = 7,
        .maximum = 8,
        .operation = "o",
        .errno_name = "ENOSPC",
        .message = "ms",
        .name = "n",
        .reason = "rs",
};

START_TEST(each_error_carries_its_own_fields)
{
        static const char *const wanted[N_WIRE_ERRORS] = {
                [ERROR_INTERFACE_NOT_FOUND] = "{\"interface\":\"i\"}",
                [ERROR_METHOD_NOT_FOUND] = "{\"method\":\"m\"}",
                [ERROR_METHOD_NOT_IMPLEMENTED] = "{\"method\":\"m\"}",
                [ERROR_INVALID_PARAMETER] = "{\"parameter\":\"p\"}",
                [ERROR_PERMISSION_DENIED] = "{}",
                [ERROR_EXPECTED_MORE] = "{}",
                [ERROR_EXPECTED_UPGRADE] = "{}",
                [ERROR_ENVIRONMENT_NOT_FOUND] = "{\"environment\":\"e\"}",
                [ERROR_ENVIRONMENT_EXISTS] = "{\"environment\":\"e\"}",
                [ERROR_REGION_NOT_FOUND] = "{\"environment\":\"e\",\"region\":\"r\"}",
                [ERROR_REGION_EXISTS] = "{\"environment\":\"e\",\"region\":\"r\"}",
                [ERROR_NOT_READY] = "{\"environment\":\"e\",\"state\":\"initializing\",\"pid\":1}",
                [ERROR_RECOVERY_REQUIRED] = "{\"environment\":\"e\",\"pid\":2,\"command\":\"c\"}",
                [ERROR_NOT_YOUR_ROLE] = "{\"environment\":\"e\",\"role\":\"initializer\"}",
                [ERROR_NOT_ATTACHED] = "{\"environment\":\"e\",\"region\":\"r\"}",
                [ERROR_BUSY] = "{\"environment\":\"e\",\"attachments\":[" FULL_ATTACHMENT "]}",
                [ERROR_SCHEMA_MISMATCH] =
                        "{\"environment\":\"e\",\"wanted\":\"ws\",\"found\":\"fs\",\"creatorCommand\":\"cc\"}",
                [ERROR_KEY_IN_USE] = "{\"shmKey\":3,\"shmId\":4,\"uid\":5,\"pid\":2}",
                [ERROR_QUOTA_EXCEEDED] = "{\"limit\":\"l\",\"used\":6,\"wanted\":7,\"maximum\":8}",
                [ERROR_RESOURCE_FAILURE] = "{\"operation\":\"o\",\"errnoName\":\"ENOSPC\",\"message\":\"ms\"}",
                [ERROR_WRONG_NAMESPACE] = "{\"environment\":\"e\"}",
                [ERROR_NAME_NOT_ALLOWED] = "{\"name\":\"n\",\"reason\":\"rs\"}",
        };

        for (int i = 1; i < N_WIRE_ERRORS; i++)
                json_check_round_trip(&error_types[i].fields, &full_errors, wanted[i]);
}
END_TEST

int main(void)
{
        Suite *suite = suite_create("tables");
        TCase *round_trip = check_case(suite, "round-trip"), *names = check_case(suite, "names");

        tcase_add_test(round_trip, parameters_with_everything_given_come_back);
        tcase_add_test(round_trip, results_with_everything_given_come_back);
        tcase_add_test(round_trip, what_is_absent_is_left_out);
        tcase_add_test(round_trip, arrays_and_maps_that_must_be_there_are_written_empty);
        tcase_add_test(round_trip, an_empty_struct_is_written_and_its_first_missing_field_named);
        tcase_add_test(round_trip, each_error_carries_its_own_fields);

        tcase_add_test(names, every_word_has_its_value_and_back);
        tcase_add_test(names, methods_are_found_by_their_whole_name);
        tcase_add_test(names, errors_are_found_by_their_whole_name);
        return check_run(suite);
}
