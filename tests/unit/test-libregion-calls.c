/* Calls: what the broker refuses, what is not even sent, what is told. */

#include "tests/unit/fake-session.h"

#include <errno.h>
#include <stdio.h>

/* --- refusals ---------------------------------------------------------------------------------------------------- */

#define ERROR(name, parameters) "{'error':'org.regionbroker." name "','parameters':{" parameters "}}"
#define IN_SHOP "'environment':'shop'"
#define HOLDER(pid, command)                                                   \
        "{" IN_SHOP ",'region':null,'pid':" pid ",'uid':0,'command':'" command \
        "','access':'write','sinceUSec':1,'standing':'connected'}"

static const struct {
        const char *reply;
        enum region_result code;
        const char *sentence;
} refusals[] = {
        { "{'error':'org.varlink.service.InterfaceNotFound','parameters':{'interface':'org.regionbroker'}}",
          REGION_E_UNSUPPORTED,
          "what answers at the socket does not know the interface org.regionbroker; is it the region broker?" },
        { "{'error':'org.varlink.service.MethodNotFound','parameters':{'method':'org.regionbroker.Remove'}}",
          REGION_E_UNSUPPORTED, "this broker does not know org.regionbroker.Remove; it needs a newer version" },
        { "{'error':'org.varlink.service.MethodNotImplemented','parameters':{'method':'Remove'}}", REGION_E_UNSUPPORTED,
          "this broker cannot do Remove yet; it needs a newer version" },
        { "{'error':'org.varlink.service.InvalidParameter','parameters':{'parameter':'waitUSec'}}", REGION_E_INVALID,
          "the broker does not accept what was given as 'waitUSec'" },
        { "{'error':'org.varlink.service.PermissionDenied'}", REGION_E_DENIED,
          "owner, group and mode of environment 'shop' do not allow this; ask its owner" },
        { ERROR("EnvironmentNotFound", IN_SHOP), REGION_E_NOT_FOUND,
          "there is no environment 'shop'; create it, or see `regionctl list` for those that exist" },
        { ERROR("EnvironmentExists", IN_SHOP), REGION_E_EXISTS,
          "environment 'shop' exists already; join it, or remove it first" },
        { ERROR("RegionNotFound", IN_SHOP ",'region':'stock'"), REGION_E_NO_REGION,
          "environment 'shop' has no region 'stock'; add it, or ask for one that it has" },
        { ERROR("RegionExists", IN_SHOP ",'region':'stock'"), REGION_E_REGION_EXISTS,
          "environment 'shop' has a region 'stock' already; attach it, or take another name" },
        { ERROR("NotReady", IN_SHOP ",'state':'initializing','pid':12"), REGION_E_NOT_READY,
          "environment 'shop' is still initializing in process 12; wait longer, or try again later" },
        { ERROR("NotReady", IN_SHOP ",'state':'recovering'"), REGION_E_NOT_READY,
          "environment 'shop' is still recovering; wait longer, or try again later" },
        { ERROR("RecoveryRequired", IN_SHOP ",'pid':12,'command':'till'"), REGION_E_RECOVERY,
          "environment 'shop' needs recovery, for till (pid 12) died in it; open it for writing to repair it" },
        { ERROR("NotYourRole", IN_SHOP ",'role':'member'"), REGION_E_ROLE,
          "only the initializer or recoverer of environment 'shop' may do this; this process is a member of it" },
        { ERROR("NotAttached", IN_SHOP ",'region':'stock'"), REGION_E_NOT_ATTACHED,
          "this session has not attached region 'stock' of environment 'shop'; open it first" },
        { ERROR("NotAttached", IN_SHOP ",'region':null"), REGION_E_NOT_ATTACHED,
          "this session has not attached environment 'shop'; open it first" },
        { ERROR("Busy", IN_SHOP ",'attachments':[" HOLDER("4711", "checkout") "]"), REGION_E_BUSY,
          "environment 'shop' is held by checkout (pid 4711); detach it there, or remove it with force" },
        { ERROR("Busy", IN_SHOP ",'attachments':[" HOLDER("4711", "check\\u001bout") "," HOLDER("5", "x") "]"),
          REGION_E_BUSY,
          "environment 'shop' is held by check?out (pid 4711) and 1 more; detach it there, or remove it with force" },
        { ERROR("Busy", IN_SHOP ",'attachments':[]"), REGION_E_BUSY,
          "environment 'shop' is held by another process; detach it there, or remove it with force" },
        { ERROR("SchemaMismatch", IN_SHOP ",'wanted':'v2','found':'v1','creatorCommand':'till'"), REGION_E_SCHEMA,
          "environment 'shop' has the layout 'v1' of till, not 'v2'; use the program that fits, or remove the"
          " environment" },
        { ERROR("KeyInUse", "'shmKey':1000,'shmId':3,'uid':8,'pid':9"), REGION_E_KEY_IN_USE,
          "System V key 1000 is taken by segment 3 of uid 8, process 9; ask for another key, or for 0 and the broker"
          " picks one" },
        { ERROR("ResourceFailure", "'operation':'ftruncate','errnoName':'ENOSPC','message':'No space left on device'"),
          REGION_E_RESOURCE, "the machine refused the broker ftruncate (ENOSPC): No space left on device" },
        { ERROR("WrongNamespace", IN_SHOP), REGION_E_NAMESPACE,
          "environment 'shop' has System V memory of another IPC namespace; run in that namespace, or use another"
          " backing" },
        { ERROR("NameNotAllowed", "'name':'a b','reason':'it has a blank'"), REGION_E_NAME,
          "the name 'a b' is not allowed: it has a blank" },
        { ERROR("Busy", ""), REGION_E_BUSY,
          "environment '?' is held by another process; detach it there, or remove it with force" },
        { ERROR("Weather", "'rain':true"), REGION_E_PROTOCOL,
          "the broker answered the error 'org.regionbroker.Weather', which this library does not know; update it" },
};

START_TEST(a_refusal_becomes_a_code_and_a_sentence)
{
        struct region_broker *broker;

        fake_answers(refusals[_i].reply);
        broker = start();
        check_error(region_env_remove(broker, "shop", false, 0, NULL), refusals[_i].code, refusals[_i].sentence);
        ck_assert_str_eq(region_error_message(), refusals[_i].sentence);
        ck_assert_int_eq(ping(broker), REGION_OK); /* a refusal does not end the session */
        region_broker_close(broker);
}
END_TEST

START_TEST(a_refusal_carries_its_facts)
{
        const struct region_error *error = region_last_error();
        struct region_broker *broker;

        fake_answers(ERROR("Busy", IN_SHOP ",'attachments':[" HOLDER("4711", "checkout") "]"));
        fake_answers(ERROR("ResourceFailure", "'operation':'mount','errnoName':'ENOSPC','message':''"));
        broker = start();
        ping(broker);
        ck_assert_int_eq(error->pid, 4711);
        ck_assert_str_eq(error->command, "checkout");
        ping(broker);
        ck_assert_int_eq(error->errnum, ENOSPC);
        ck_assert_str_eq(error->operation, "mount");
        ck_assert_int_eq(error->pid, 0);
        ck_assert_ptr_null(error->command);
        region_broker_close(broker);
}
END_TEST

/* --- arguments --------------------------------------------------------------------------------------------------- */

START_TEST(what_would_be_lost_on_the_wire_is_refused_here)
{
        static const struct region_spec too_large = { .name = "a", .size = SIZE_MAX };
        struct region_env_options options = { .reserved = { 1 } };
        struct region_broker *broker = start();
        struct region_env *env;

        check_error(region_env_remove(broker, NULL, false, 0, NULL), REGION_E_INVALID, "'environment' is missing");
        check_error(region_env_open(broker, "caf\xe9", NULL, &env), REGION_E_INVALID, "'environment' is not UTF-8");
        check_error(region_env_open(broker, "shop", &options, &env), REGION_E_INVALID, "reserved");
        options = (struct region_env_options){ .backing = 9 };
        check_error(region_env_open(broker, "shop", &options, &env), REGION_E_INVALID, "'backing' cannot be 9");
        options = (struct region_env_options){ .wait_usec = -2 };
        check_error(region_env_open(broker, "shop", &options, &env), REGION_E_INVALID, "wait_usec");
        options = (struct region_env_options){ .regions = &too_large, .n_regions = 1 };
        check_error(region_env_open(broker, "shop", &options, &env), REGION_E_INVALID, "size of region 'a'");
        check_error(region_broker_call(broker, PING, "[]", false, NULL, NULL), REGION_E_INVALID, "not a JSON object");
        finish(broker);
        ck_assert_ptr_null(fake_asked(0));
}
END_TEST

/* Not set, or empty. */
START_TEST(without_a_name_the_variable_has_to_be_set)
{
        struct region_broker *broker = start();
        struct region_description *description;
        struct region_explanation *explanation;
        struct region_env *env;
        const char *name;

        if (_i == 0)
                unsetenv("REGION_ENVIRONMENT");
        else
                setenv("REGION_ENVIRONMENT", "", 1);
        check_error(region_env_default_name(&name), REGION_E_INVALID, "REGION_ENVIRONMENT");
        check_error(region_env_open(broker, NULL, NULL, &env), REGION_E_INVALID, "REGION_ENVIRONMENT is not set");
        check_error(region_describe(broker, NULL, &description), REGION_E_INVALID, "REGION_ENVIRONMENT");
        check_error(region_explain(broker, NULL, NULL, &explanation), REGION_E_INVALID, "REGION_ENVIRONMENT");
        finish(broker);
        ck_assert_ptr_null(fake_asked(0));
}
END_TEST

START_TEST(a_name_goes_before_the_variable)
{
        struct region_broker *broker = start();
        struct region_env *env;

        setenv("REGION_ENVIRONMENT", "shop", 1);
        region_env_open(broker, "", NULL, &env);
        region_env_open(broker, "till", NULL, &env);
        region_env_open(broker, NULL, NULL, &env);
        finish(broker);
        ck_assert_ptr_nonnull(strstr(fake_asked(0), "'environment':''"));
        ck_assert_ptr_nonnull(strstr(fake_asked(2), "'environment':'till'"));
        ck_assert_ptr_nonnull(strstr(fake_asked(4), "'environment':'shop'"));
        ck_assert_ptr_nonnull(strstr(fake_asked(5), "Detach','parameters':{'environment':'shop'"));
}
END_TEST

START_TEST(a_call_that_is_too_large_is_refused_and_harmless)
{
        struct region_broker *broker = start();
        char *name = malloc(300 * 1024);

        memset(name, 'a', 300 * 1024 - 1);
        name[300 * 1024 - 1] = '\0';
        check_error(region_env_remove(broker, name, false, 0, NULL), REGION_E_INVALID, "at most");
        ck_assert_int_eq(ping(broker), REGION_OK);
        region_broker_close(broker);
        free(name);
}
END_TEST

/* --- looking ----------------------------------------------------------------------------------------------------- */

#define LISTED(name) "{'parameters':{'environment':" ENVIRONMENT(name, "memfd", "", "") "}}"
#define LISTED_AND_MORE(name) "{'parameters':{'environment':" ENVIRONMENT(name, "memfd", "", "") "},'continues':true}"

struct names {
        char text[128];
        size_t most;
        size_t n;
};

static bool note_name(const struct region_env_info *info, void *data)
{
        struct names *names = data;

        strcat(names->text, info->name);
        strcat(names->text, " ");
        return ++names->n < names->most;
}

static const struct {
        const char *replies[3];
        size_t most;
        const char *names;
} lists[] = {
        { { "{}" }, 9, "" },
        { { ERROR("EnvironmentNotFound", "'environment':'b*'") }, 9, "" },
        { { LISTED("bar") }, 9, "bar " },
        { { LISTED_AND_MORE("bar"), LISTED_AND_MORE("beach"), LISTED("bakery") }, 9, "bar beach bakery " },
        { { LISTED_AND_MORE("bar"), LISTED_AND_MORE("beach"), LISTED("bakery") }, 2, "bar beach " },
};

START_TEST(a_list_is_told_one_by_one_until_its_end_or_enough)
{
        struct names names = { .most = lists[_i].most };
        struct region_broker *broker;

        fake_answers(lists[_i].replies[0]);
        for (size_t i = 1; i < array_size(lists[_i].replies) && lists[_i].replies[i]; i++)
                fake_adds(lists[_i].replies[i]);
        broker = start();
        ck_assert_int_eq(region_list(broker, "b*", note_name, &names), REGION_OK);
        ck_assert_str_eq(names.text, lists[_i].names);
        ck_assert_int_eq(ping(broker), REGION_OK); /* the session goes on */
        finish(broker);
        ck_assert_str_eq(fake_asked(0), "{'method':'org.regionbroker.List','more':true,'parameters':{'pattern':'b*'}}");
}
END_TEST

START_TEST(a_list_that_makes_no_sense_is_read_to_its_end)
{
        struct names names = { .most = 9 };
        struct region_broker *broker;

        fake_answers("{'parameters':{'environment':7},'continues':true}");
        fake_adds(LISTED("bakery"));
        broker = start();
        check_error(region_list(broker, NULL, note_name, &names), REGION_E_PROTOCOL, "'environment'");
        ck_assert_int_eq(ping(broker), REGION_OK);
        region_broker_close(broker);
}
END_TEST

static bool call_from_inside(const struct region_env_info *info, void *data)
{
        ck_assert_ptr_nonnull(info);
        check_error(ping(data), REGION_E_INVALID, "from inside");
        return true;
}

START_TEST(a_call_from_inside_a_list_is_refused)
{
        struct region_broker *broker;

        fake_answers(LISTED("bar"));
        broker = start();
        ck_assert_int_eq(region_list(broker, NULL, call_from_inside, broker), REGION_OK);
        region_broker_close(broker);
}
END_TEST

START_TEST(a_description_stays_when_the_session_is_gone)
{
        struct region_description *found = NULL;
        struct region_broker *broker;

        fake_answers("{'parameters':{'environment':" ENVIRONMENT(
                "shop", "sysv", ",'home':'/srv/shop','schema':'v1','lingerUSec':7",
                REGION("stock", "1", "8192", "sysv",
                       ",'shmKey':1000,'shmId':3,'bytesUsed':4096")) ",'attachments':[" HOLDER("4711",
                                                                                               "checkout") "]}}");
        broker = start();
        ck_assert_int_eq(region_describe(broker, "shop", &found), REGION_OK);
        region_broker_close(broker);

        ck_assert_str_eq(found->env->name, "shop");
        ck_assert_str_eq(found->env->home, "/srv/shop");
        ck_assert_str_eq(found->env->schema, "v1");
        ck_assert_int_eq(found->env->mode, 0600);
        ck_assert_int_eq(found->env->linger_usec, 7);
        ck_assert_str_eq(region_state_word(found->env->state), "ready");
        ck_assert_str_eq(found->env->creator_command, "maker");
        ck_assert_uint_eq(found->env->n_regions, 1);
        ck_assert_str_eq(found->env->regions[0]->name, "stock");
        ck_assert_uint_eq(found->env->regions[0]->size, 8192);
        ck_assert_int_eq(found->env->regions[0]->shm_key, 1000);
        ck_assert_int_eq(found->env->regions[0]->shm_id, 3);
        ck_assert_int_eq(found->env->regions[0]->bytes_used, 4096);
        ck_assert_ptr_null(found->env->regions[0]->path);
        ck_assert_uint_eq(found->n_attachments, 1);
        ck_assert_int_eq(found->attachments[0]->pid, 4711);
        ck_assert_str_eq(found->attachments[0]->command, "checkout");
        ck_assert_ptr_null(found->attachments[0]->region);
        region_description_free(found);
        region_description_free(NULL);
}
END_TEST

static const char *const impossible[] = {
        "{'parameters':{'environment':" ENVIRONMENT("shop", "memfd", "",
                                                    REGION("a", "1", "0", "memfd", "")) ",'attachments':[]}}",
        "{'parameters':{'environment':" ENVIRONMENT("shop", "memfd", "",
                                                    REGION("a", "-1", "1", "memfd", "")) ",'attachments':[]}}",
        "{'parameters':{'environment':" ENVIRONMENT("shop", "memfd", "", "") ",'attachments':[" HOLDER("99999999999",
                                                                                                       "x") "]}}",
};

START_TEST(impossible_numbers_are_not_passed_on)
{
        struct region_description *found;
        struct region_broker *broker;

        fake_answers(impossible[_i]);
        broker = start();
        check_error(region_describe(broker, "shop", &found), REGION_E_PROTOCOL, "impossible numbers");
        region_broker_close(broker);
}
END_TEST

/* --- any method -------------------------------------------------------------------------------------------------- */

static bool note_json(const char *json, void *data)
{
        struct names *names = data;

        strcat(names->text, json);
        return ++names->n < names->most;
}

START_TEST(any_method_can_be_called)
{
        struct names replies = { .most = 1 };
        struct region_broker *broker;

        fake_answers("{ 'parameters' : { 'b' : [ 1, 2 ] } }");
        broker = start();
        ck_assert_int_eq(region_broker_call(broker, PING, "{\"a\":1}", false, note_json, &replies), REGION_OK);
        ck_assert_str_eq(replies.text, "{\"b\":[1,2]}");
        ck_assert_int_eq(ping(broker), REGION_OK);
        finish(broker);
        ck_assert_str_eq(fake_asked(0), "{'method':'" PING "','parameters':{'a':1}}");
}
END_TEST

START_TEST(a_stream_that_is_stopped_ends_the_session)
{
        struct names replies = { .most = 2 };
        struct region_broker *broker;

        fake_answers("{'continues':true}");
        fake_adds("{'parameters':{'n':2},'continues':true}");
        fake_is_silent();
        broker = start();
        ck_assert_int_eq(region_broker_call(broker, PING, NULL, true, note_json, &replies), REGION_OK);
        ck_assert_str_eq(replies.text, "{}{\"n\":2}");
        check_absent(broker);
        region_broker_close(broker);
}
END_TEST

int main(void)
{
        Suite *suite = suite_create("libregion-calls");
        TCase *refused = fake_case(suite, "refused");
        TCase *looking = fake_case(suite, "looking");

        tcase_add_loop_test(refused, a_refusal_becomes_a_code_and_a_sentence, 0, (int)array_size(refusals));
        tcase_add_test(refused, a_refusal_carries_its_facts);
        tcase_add_test(refused, what_would_be_lost_on_the_wire_is_refused_here);
        tcase_add_loop_test(refused, without_a_name_the_variable_has_to_be_set, 0, 2);
        tcase_add_test(refused, a_name_goes_before_the_variable);
        tcase_add_test(refused, a_call_that_is_too_large_is_refused_and_harmless);

        tcase_add_loop_test(looking, a_list_is_told_one_by_one_until_its_end_or_enough, 0, (int)array_size(lists));
        tcase_add_test(looking, a_list_that_makes_no_sense_is_read_to_its_end);
        tcase_add_test(looking, a_call_from_inside_a_list_is_refused);
        tcase_add_test(looking, a_description_stays_when_the_session_is_gone);
        tcase_add_loop_test(looking, impossible_numbers_are_not_passed_on, 0, (int)array_size(impossible));
        tcase_add_test(looking, any_method_can_be_called);
        tcase_add_test(looking, a_stream_that_is_stopped_ends_the_session);

        return check_run(suite);
}
