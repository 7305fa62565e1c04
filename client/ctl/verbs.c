/* The verbs: one row each. Each function checks what its row cannot, opens a session, asks, prints. */

#include "client/ctl/verbs.h"

#include "client/ctl/asking.h"
#include "client/ctl/looking.h"
#include "client/ctl/making.h"
#include "client/ctl/print.h"
#include "proto/util.h"
#include "version.h"

#include <stdio.h>
#include <string.h>

struct replies {
        enum json_mode mode;
        int result;
};

static bool print_reply(const char *json, void *data)
{
        struct replies *replies = data;

        replies->result = print_json(json, replies->mode);
        fflush(stdout); /* the next one may be long in coming */
        return replies->result == CTL_DONE;
}

static int verb_call(struct options *options)
{
        owned(broker_closep) struct region_broker *broker = NULL;
        owned(freep) char *method = NULL;
        const char *name = options->operands[0], *parameters = options->n_operands > 1 ? options->operands[1] : NULL;
        struct replies replies = { .mode = options->json == JSON_PRETTY ? JSON_PRETTY : JSON_SHORT };
        int r;

        if (parameters != NULL && !json_is_object(parameters)) {
                complain("'%s' is not a JSON object; expected something like {\"environment\":\"name\"}", parameters);
                return CTL_USAGE;
        }
        if (asprintf(&method, "%s%s", strchr(name, '.') != NULL ? "" : INTERFACE ".", name) < 0) {
                method = NULL;
                return out_of_memory();
        }
        r = broker_open(options, &broker);
        if (r != CTL_DONE)
                return r;
        region_broker_set_timeout(broker, INT64_MAX); /* whether it waits is the method's business */
        if (region_broker_call(broker, method, parameters, options->more, print_reply, &replies) != REGION_OK)
                return fail();
        return replies.result;
}

static int verb_version(struct options *options)
{
        (void)options;
        printf("regionctl %s\n", REGION_BROKER_VERSION);
        return CTL_DONE;
}

static int verb_help(struct options *options);

#define CREATES (OPTIONS_DEFINITION | OPTIONS_WAIT)
#define REGIONS "NAME=SIZE[,BACKING]..."

/* clang-format off */
static const struct verb verbs[] = {
        { "status",  "",                      0, 0,        0,                      "what the broker holds, its limits and counters", verb_status },
        { "config",  "",                      0, 0,        0,                      "what is set in the broker, and where that was",  verb_config },
        { "list",    "[PATTERN]",             0, 1,        0,                      "the environments, or those whose name fits",     verb_list },
        { "show",    "[ENV]",                 0, 1,        0,                      "one environment, its regions, who holds it",     verb_show },
        { "explain", "[ENV [REGION]]",        0, 2,        0,                      "why it is still there, or why it is gone",       verb_explain },
        { "stat",    "[ENV]",                 0, 1,        0,                      "one environment in the form of db_stat -e",      verb_stat },
        { "watch",   "[ENV]",                 0, 1,        OPTIONS_WATCH,          "print events as they happen, until a signal",    verb_watch },
        { "create",  "ENV [" REGIONS "]",     1, SIZE_MAX, CREATES,                "make an environment of zeroed regions",          verb_create },
        { "remove",  "ENV",                   1, 1,        OPTIONS_WAIT | OPTIONS_REMOVE, "remove an environment",                   verb_remove },
        { "hold",    "[ENV [" REGIONS "]]",   0, SIZE_MAX, CREATES | OPTIONS_HOLD, "map an environment and stay until a signal",     verb_hold },
        { "call",    "METHOD [JSON]",         1, 2,        OPTIONS_CALL,           "call a method of the broker, print its replies", verb_call },
        { "version", "",                      0, 0,        0,                      "print the version",                              verb_version },
        { "help",    "",                      0, SIZE_MAX, 0,                      "print this help",                                verb_help },
};
/* clang-format on */

const struct verb *verb_find(const char *name)
{
        for (size_t i = 0; i < array_size(verbs); i++)
                if (strcmp(verbs[i].name, name) == 0)
                        return &verbs[i];
        return NULL;
}

static int verb_help(struct options *options)
{
        (void)options;
        puts("Usage: regionctl [OPTION...] VERB [OPERAND...]\n"
             "See and manage the shared memory of this machine's region broker.\n"
             "\n"
             "Verbs:");
        for (size_t i = 0; i < array_size(verbs); i++)
                printf("  %-7s %-32s  %s\n", verbs[i].name, verbs[i].operands, verbs[i].help);
        options_help();
        puts("\n"
             "SIZE has K, M, G or T for powers of 1024; DURATION has us, ms, s, min, h or d; BACKING is memfd,\n"
             "sysv, posix, file or private. REGION_BROKER_SOCKET names another socket than the standard ones,\n"
             "REGION_ENVIRONMENT the ENV of show, explain, stat and hold where it is left out.\n"
             "\n"
             "Exit status: 0 done, 1 failed, 2 wrong usage, 3 no broker answers, 4 no such environment or region,\n"
             "5 busy, 6 not permitted, 7 the machine or a quota refuses.");
        return CTL_DONE;
}
