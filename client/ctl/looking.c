/* The verbs that look. What people read of environments comes through the typed calls of libregion; the rest and all
 * JSON through raw calls, so that it is the broker's own. */

#include "client/ctl/looking.h"

#include "client/ctl/asking.h"
#include "client/ctl/print.h"
#include "proto/util.h"

#include <signal.h>
#include <stdio.h>
#include <unistd.h>

static void description_freep(struct region_description **description)
{
        region_description_free(*description);
}

int verb_status(struct options *options)
{
        owned(broker_closep) struct region_broker *broker = NULL;
        owned(text_clear) struct text reply = { 0 };
        int r;

        r = broker_open(options, &broker);
        if (r != CTL_DONE)
                return r;
        r = call_once(broker, INTERFACE ".GetStatistics", NULL, &reply);
        if (r != CTL_DONE)
                return r;
        return options->json != JSON_OFF ? print_json(reply.data, options->json)
                                         : print_statistics(reply.data, options);
}

int verb_config(struct options *options)
{
        owned(broker_closep) struct region_broker *broker = NULL;
        owned(text_clear) struct text reply = { 0 };
        int r;

        r = broker_open(options, &broker);
        if (r == CTL_DONE)
                r = call_once(broker, INTERFACE ".GetConfiguration", NULL, &reply);
        if (r != CTL_DONE)
                return r;
        return options->json != JSON_OFF ? print_json(reply.data, options->json) : print_settings(reply.data, options);
}

/* To the broker a list without environments is none that it found; to people it is an empty list. */
static bool is_list(enum region_result result)
{
        return result == REGION_OK || result == REGION_E_NOT_FOUND;
}

/* The replies of List on their way into one document. */
struct listing {
        struct text *text;
        const char *separator;
        int failure;
};

static bool listing_add(const char *json, void *data)
{
        struct listing *listing = data;

        text_puts(listing->text, listing->separator);
        listing->separator = ",";
        listing->failure = json_write_member(json, "environment", listing->text);
        return listing->failure == 0;
}

static int list_json(struct region_broker *broker, const char *pattern, enum json_mode mode)
{
        owned(text_clear) struct text parameters = { 0 }, text = { 0 };
        struct listing listing = { .text = &text, .separator = "" };
        enum region_result result;
        int r;

        r = write_parameters(&parameters, "pattern", pattern, NULL);
        if (r != CTL_DONE)
                return r;
        text_puts(&text, "{\"environments\":[");
        result = region_broker_call(broker, INTERFACE ".List", parameters.data, true, listing_add, &listing);
        text_put(&text, "]}", sizeof("]}"));
        if (text_failed(&text))
                return out_of_memory();
        if (listing.failure < 0) {
                complain("the broker's list is not understood");
                return CTL_FAILED;
        }
        return is_list(result) ? print_json(text.data, mode) : fail();
}

static bool add_environment(const struct region_env_info *info, void *table)
{
        environments_add(table, info);
        return true;
}

static int list_table(struct region_broker *broker, const char *pattern, const struct options *options)
{
        owned(table_clear) struct table table = { 0 };

        environments_begin(&table, options);
        if (!is_list(region_list(broker, pattern, add_environment, &table)))
                return fail();
        return environments_print(&table, options);
}

int verb_list(struct options *options)
{
        owned(broker_closep) struct region_broker *broker = NULL;
        const char *pattern = options->n_operands > 0 ? options->operands[0] : NULL;
        int r;

        r = broker_open(options, &broker);
        if (r != CTL_DONE)
                return r;
        if (options->json != JSON_OFF)
                return list_json(broker, pattern, options->json);
        return list_table(broker, pattern, options);
}

/* Asks a method about one environment, or a region of it. */
static int ask_about(struct region_broker *broker, const char *method, const char *name, const char *region,
                     struct text *reply)
{
        owned(text_clear) struct text parameters = { 0 };
        int r;

        r = write_parameters(&parameters, "environment", name, "region", region, NULL);
        return r == CTL_DONE ? call_once(broker, method, parameters.data, reply) : r;
}

int show_json(struct region_broker *broker, const char *name, enum json_mode mode)
{
        owned(text_clear) struct text reply = { 0 };
        int r;

        r = ask_about(broker, INTERFACE ".Describe", name, NULL, &reply);
        return r == CTL_DONE ? print_json(reply.data, mode) : r;
}

int verb_show(struct options *options)
{
        owned(broker_closep) struct region_broker *broker = NULL;
        owned(description_freep) struct region_description *description = NULL;
        const char *name;
        int r;

        r = named_environment(options, &name);
        if (r == CTL_DONE)
                r = broker_open(options, &broker);
        if (r != CTL_DONE)
                return r;
        if (options->json != JSON_OFF)
                return show_json(broker, name, options->json);
        if (region_describe(broker, name, &description) != REGION_OK)
                return fail();
        return print_description(description, options);
}

/* Asks a method about the environment, and the region, that the operands name. */
static int ask_about_operands(const struct options *options, const char *method, struct text *reply)
{
        owned(broker_closep) struct region_broker *broker = NULL;
        const char *name;
        int r;

        r = named_environment(options, &name);
        if (r == CTL_DONE)
                r = broker_open(options, &broker);
        if (r == CTL_DONE)
                r = ask_about(broker, method, name, options->n_operands > 1 ? options->operands[1] : NULL, reply);
        return r;
}

int verb_explain(struct options *options)
{
        owned(text_clear) struct text reply = { 0 };
        int r;

        r = ask_about_operands(options, INTERFACE ".Explain", &reply);
        if (r != CTL_DONE)
                return r;
        return options->json != JSON_OFF ? print_json(reply.data, options->json)
                                         : print_explanation(reply.data, options);
}

int verb_stat(struct options *options)
{
        owned(text_clear) struct text reply = { 0 };
        int r;

        r = ask_about_operands(options, INTERFACE ".Describe", &reply);
        if (r != CTL_DONE)
                return r;
        return options->json != JSON_OFF ? print_json(reply.data, options->json) : print_stat(reply.data);
}

/* --- watching ---------------------------------------------------------------------------------------------------- */

struct watching {
        const struct options *options;
        int result;
};

/* Every line that was printed is out, so that nothing is left to do. */
static void on_signal(int signal)
{
        (void)signal;
        _exit(CTL_DONE);
}

/* The signals that end it, in force or put off for the time of a line. */
static void let_signals(int how)
{
        sigset_t leave;

        sigemptyset(&leave);
        sigaddset(&leave, SIGINT);
        sigaddset(&leave, SIGTERM);
        sigprocmask(how, &leave, NULL);
}

static bool print_one(const char *json, void *data)
{
        struct watching *watching = data;
        const struct options *options = watching->options;

        let_signals(SIG_BLOCK);
        if (options->json != JSON_OFF)
                watching->result = print_json(json, options->json);
        else
                watching->result = print_watched(json, options->n_operands > 0 ? options->operands[0] : NULL, options);
        if (fflush(stdout) != 0)
                watching->result = CTL_FAILED; /* main says why */
        let_signals(SIG_UNBLOCK);
        return watching->result == CTL_DONE;
}

static int write_watch(const struct options *options, struct text *text)
{
        text_puts(text, "{");
        if (options->n_operands > 0) {
                text_puts(text, "\"environment\":");
                text_put_string(text, options->operands[0]);
        }
        if (options->since >= 0) {
                text_puts(text, options->n_operands > 0 ? ",\"since\":" : "\"since\":");
                text_put_int(text, options->since);
        }
        text_put(text, "}", sizeof("}"));
        return text_failed(text) ? out_of_memory() : CTL_DONE;
}

int verb_watch(struct options *options)
{
        owned(broker_closep) struct region_broker *broker = NULL;
        owned(text_clear) struct text parameters = { 0 };
        struct watching watching = { .options = options };
        struct sigaction leave = { .sa_handler = on_signal };
        int r;

        r = write_watch(options, &parameters);
        if (r == CTL_DONE)
                r = broker_open(options, &broker);
        if (r != CTL_DONE)
                return r;
        sigaction(SIGINT, &leave, NULL);
        sigaction(SIGTERM, &leave, NULL);
        if (region_broker_call(broker, INTERFACE ".Watch", parameters.data, true, print_one, &watching) != REGION_OK)
                return fail();
        return watching.result;
}
