/* Any bytes as a call and as a reply. What is taken for one has to hold together: its parameters can be written out,
 * that text is JSON, and a call made of it is the same call. */

#include "proto/message.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* As compact text, by way of a reply that carries the same parameters. */
static void check_parameters(const struct json_t *parameters, struct text *text)
{
        const struct reply reply = { .parameters = parameters };

        assert(reply_parameters_text(&reply, text) == 0);
        text_put(text, "", 1);
        assert(json_is_object(text->data));
}

static void check_call(const struct call *call)
{
        enum call_flags flags = (call->oneway ? CALL_ONEWAY : 0) | (call->more ? CALL_MORE : 0);
        struct fdset fds = {};
        struct text parameters = {}, text = {}, again = {};
        struct call *copy;

        assert(call->method && call->oneway + call->more + call->upgrade <= 1);
        check_parameters(call->parameters, &parameters);
        call_write_raw(&text, call->method, flags, parameters.data);
        assert(call_parse(text.data, text.n - 1, &fds, &copy) == 0);
        assert(strcmp(copy->method, call->method) == 0);
        assert(copy->oneway == call->oneway && copy->more == call->more);
        check_parameters(copy->parameters, &again);
        assert(strcmp(parameters.data, again.data) == 0);

        call_free(copy);
        text_clear(&again);
        text_clear(&text);
        text_clear(&parameters);
}

static void check_reply(const struct reply *reply)
{
        struct text compact = {}, pretty = {}, again = {};

        assert(!reply->error || !reply->continues);
        check_parameters(reply->parameters, &compact);
        assert(json_reformat(compact.data, true, &pretty) == 0);
        text_put(&pretty, "", 1);
        assert(json_reformat(pretty.data, false, &again) == 0);
        assert(again.n + 1 == compact.n && memcmp(again.data, compact.data, again.n) == 0);

        text_clear(&again);
        text_clear(&pretty);
        text_clear(&compact);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        struct fdset fds = {};
        struct call *call;
        struct reply *reply;

        if (call_parse((const char *)data, size, &fds, &call) == 0) {
                check_call(call);
                call_free(call);
        }
        if (reply_parse((const char *)data, size, &fds, &reply) == 0) {
                check_reply(reply);
                reply_free(reply);
        }
        return 0;
}
