/* Calls that leave nothing behind in the session: removing, listing, and any method by its name. */

#include "client/failure.h"
#include "client/info.h"
#include "client/session.h"

#include "proto/util.h"

#include <string.h>

/* --- removing ---------------------------------------------------------------------------------------------------- */

/* The one that has the name, so that no other is removed in its place should we have to ask again after a while. */
static enum region_result find_meant(struct region_broker *broker, const char *name, struct answer *answer,
                                     struct describe_result *ret)
{
        const struct describe_args args = { .environment = name };

        return broker_ask(broker, "org.regionbroker.Describe", &args, answer, ret);
}

enum region_result region_env_remove(struct region_broker *broker, const char *name, bool force, int64_t wait_usec,
                                     uint64_t *ret_bytes)
{
        owned(answer_clear) struct answer answer = {}, meant = {};
        owned(broker_leavep) struct region_broker *inside = NULL;
        struct remove_args args = {
                .environment = name,
                .force = { .given = force, .value = force },
                .wait_usec = { .given = wait_usec > 0, .value = wait_usec },
        };
        struct describe_result found;
        struct remove_result result;
        enum region_result r;

        if (wait_usec < 0 && wait_usec != REGION_NO_WAIT)
                return failure_note(REGION_E_INVALID, "wait_usec is neither a time, nor 0, nor REGION_NO_WAIT");
        r = broker_enter(broker, &inside);
        if (r == REGION_OK && wait_usec > 0) {
                r = find_meant(broker, name, &meant, &found);
                args.id = r == REGION_OK ? found.environment->id : NULL;
        }
        if (r == REGION_OK)
                r = broker_put(broker,
                               &(struct question){
                                       .method = method_type_find("org.regionbroker.Remove"),
                                       .args = &args,
                                       .wait = wait_usec > 0 ? &args.wait_usec : NULL,
                               },
                               &answer, &result);
        if (r == REGION_E_NOT_FOUND && answer.repeated && args.id) { /* it went before we could be told */
                result.bytes = found.environment->bytes;
                r = REGION_OK;
        }
        if (r == REGION_OK && ret_bytes)
                *ret_bytes = (uint64_t)result.bytes;
        return r;
}

/* --- listing ----------------------------------------------------------------------------------------------------- */

/* A list of nothing ends in an answer without an environment, or in the error that there is none. */
static bool is_nothing(const struct reply *reply)
{
        return reply->error ? error_find(reply->error) == ERROR_ENVIRONMENT_NOT_FOUND : !reply->parameters;
}

/* Gives one answer to `each`. */
static enum region_result list_one(const struct method_type *list, const struct list_args *args, struct answer *answer,
                                   bool (*each)(const struct region_env_info *info, void *data), void *data,
                                   bool *ret_go_on)
{
        struct environment_result result;
        const struct region_env_info *info;
        enum region_result r;

        if (is_nothing(answer->reply))
                return REGION_OK;
        r = answer_read(list, args, answer, &result);
        if (r == REGION_OK)
                r = info_of_environment(&answer->arena, result.environment, &info);
        if (r == REGION_OK)
                *ret_go_on = each(info, data);
        return r;
}

enum region_result region_list(struct region_broker *broker, const char *pattern,
                               bool (*each)(const struct region_env_info *info, void *data), void *data)
{
        owned(answer_clear) struct answer answer = {};
        owned(broker_leavep) struct region_broker *inside = NULL;
        const struct method_type *list = method_type_find("org.regionbroker.List");
        struct list_args args = { .pattern = pattern };
        enum region_result first_failure = REGION_OK, r;
        bool go_on = true, continues = true;

        r = broker_enter(broker, &inside);
        if (r == REGION_OK)
                r = broker_begin(broker, &(struct question){ .method = list, .args = &args }, &answer);
        /* to the end in any case: the session is to go on */
        while (r == REGION_OK && continues) {
                if (go_on && first_failure == REGION_OK)
                        first_failure = list_one(list, &args, &answer, each, data, &go_on);
                continues = answer.reply->continues;
                if (continues)
                        r = broker_receive(broker, 0, &answer);
        }
        return r == REGION_OK ? first_failure : r;
}

/* --- any method -------------------------------------------------------------------------------------------------- */

static enum region_result check_raw(const char *method, const char *parameters)
{
        if (!method)
                return failure_note(REGION_E_INVALID, "the method is missing");
        if (parameters && !json_is_object(parameters))
                return failure_note(REGION_E_INVALID, "the parameters of %s are not a JSON object", method);
        return REGION_OK;
}

static enum region_result hand_out(const struct answer *answer, bool (*each)(const char *json, void *data), void *data,
                                   bool *ret_go_on)
{
        owned(text_clear) struct text text = {};

        if (reply_parameters_text(answer->reply, &text) < 0)
                return failure_note_memory();
        text_put(&text, "", 1);
        if (text_failed(&text))
                return failure_note_memory();
        *ret_go_on = each(text.data, data);
        return REGION_OK;
}

enum region_result region_broker_call(struct region_broker *broker, const char *method, const char *parameters,
                                      bool more, bool (*each)(const char *json, void *data), void *data)
{
        owned(answer_clear) struct answer answer = {};
        owned(broker_leavep) struct region_broker *inside = NULL;
        const struct question question = { .raw = { method, parameters, more } };
        enum region_result r;
        bool go_on = true;

        r = broker_enter(broker, &inside);
        if (r == REGION_OK)
                r = check_raw(method, parameters);
        if (r == REGION_OK)
                r = broker_begin(broker, &question, &answer);
        while (r == REGION_OK) {
                if (answer.reply->error)
                        return failure_note_refusal(answer.reply, &(struct asked){});
                if (each)
                        r = hand_out(&answer, each, data, &go_on);
                if (!answer.reply->continues)
                        return r;
                if (!go_on || r != REGION_OK) {
                        connection_close(&broker->connection);
                        return r;
                }
                r = broker_receive(broker, WAIT_FOREVER, &answer); /* what follows comes when it happens */
        }
        return r;
}
