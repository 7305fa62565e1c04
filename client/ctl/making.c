/* The verbs that make, hold and remove environments, through the typed calls of libregion. */

#include "client/ctl/making.h"

#include "client/ctl/asking.h"
#include "client/ctl/looking.h"
#include "client/ctl/print.h"
#include "client/ctl/specs.h"
#include "client/ctl/values.h"
#include "proto/util.h"

#include <inttypes.h>
#include <signal.h>
#include <stdio.h>

static void env_closep(struct region_env **env)
{
        region_env_close(*env);
}

static void specs_freep(struct region_spec **specs)
{
        specs_free(*specs);
}

/* What `create` cannot do, for it leaves at once. */
static int check_create(const struct options *options)
{
        const struct region_env_options *env = &options->env;

        if (env->lifetime != 0 && env->lifetime != REGION_LIFETIME_PERSISTENT) {
                complain("an environment of lifetime %s would go when regionctl leaves, which is at once;"
                         " use regionctl hold --create",
                         region_lifetime_word(env->lifetime));
                return CTL_USAGE;
        }
        if (env->linger_usec != 0) {
                complain("--linger is for the lifetime attached, which needs a process that stays;"
                         " use regionctl hold --create");
                return CTL_USAGE;
        }
        if (env->backing == REGION_BACKING_PRIVATE) {
                complain("private memory would go when regionctl leaves, which is at once;"
                         " use regionctl hold --create");
                return CTL_USAGE;
        }
        return 0;
}

static int check_hold(const struct options *options)
{
        if (options->create && options->read) {
                complain("--create has to write; it does not go with --read");
                return CTL_USAGE;
        }
        if (!options->create && options->n_operands > 1) {
                complain("'%s' is a region to be made, which needs --create", options->operands[1]);
                return CTL_USAGE;
        }
        if (!options->create && options->definition_option != NULL) {
                complain("--%s says what is to be made, which needs --create", options->definition_option);
                return CTL_USAGE;
        }
        if (options->json != JSON_OFF) {
                complain("hold prints no JSON; regionctl show has it");
                return CTL_USAGE;
        }
        return 0;
}

/* Makes of the options what libregion takes; `ret_specs` owns the regions it then names. */
static int define(struct options *options, struct region_spec **ret_specs)
{
        size_t n = options->n_operands > 0 ? options->n_operands - 1 : 0; /* after the name */
        int r;

        if (n == 0 && options->env.subsystems == 0) {
                complain("%s needs at least one region NAME=SIZE[,BACKING], or --subsystem",
                         options->create ? "--create" : "create");
                return CTL_USAGE;
        }
        r = specs_parse(options->operands + 1, n, ret_specs);
        if (r != 0)
                return r;
        options->env.regions = *ret_specs;
        options->env.n_regions = n;
        if (options->env.create == 0)
                options->env.create = REGION_CREATE_IF_ABSENT;
        return 0;
}

/* What else there is to say of an environment than that it was opened. */
static void tell_changes(const struct region_env *env, const char *name)
{
        const char *field, *wanted, *other, *where;

        for (size_t i = 0; region_env_override(env, i, &field, &wanted, &other, &where); i++)
                complain("environment '%s': %s sets %s to %s, not %s", name, where, field, other, wanted);
        for (size_t i = 0; region_env_difference(env, i, &field, &wanted, &other); i++)
                complain("environment '%s' exists: its %s is %s, not %s", name, field, other, wanted);
}

/* Opens it and, having created it, says ready: zeroed regions are all the content that regionctl has to give. What
 * others were to fill or to repair is left to them. */
static int open_and_settle(struct region_broker *broker, const struct options *options, const char *name,
                           struct region_env **ret)
{
        owned(env_closep) struct region_env *env = NULL;
        enum region_role role;

        if (region_env_open(broker, name, &options->env, &env) != REGION_OK)
                return fail();
        role = region_env_role(env);
        if (role == REGION_ROLE_RECOVERER || (role == REGION_ROLE_INITIALIZER && options->env.create == 0)) {
                complain("environment '%s' has to be %s by a program that knows its content", name,
                         role == REGION_ROLE_RECOVERER ? "repaired" : "filled");
                return CTL_FAILED;
        }
        if (role == REGION_ROLE_INITIALIZER && region_env_ready(env) != REGION_OK)
                return fail();
        tell_changes(env, name);
        *ret = take_ptr(env);
        return CTL_DONE;
}

int verb_create(struct options *options)
{
        owned(broker_closep) struct region_broker *broker = NULL;
        owned(specs_freep) struct region_spec *specs = NULL;
        owned(env_closep) struct region_env *env = NULL;
        const struct region_env_info *info;
        char size[VALUE_TEXT_MAX];
        int r;

        r = define(options, &specs);
        if (r == 0)
                r = check_create(options);
        if (r != 0)
                return r;
        options->env.lifetime = REGION_LIFETIME_PERSISTENT;
        r = broker_open(options, &broker);
        if (r == CTL_DONE)
                r = open_and_settle(broker, options, options->operands[0], &env);
        if (r != CTL_DONE)
                return r;
        info = region_env_info(env);
        if (region_env_role(env) == REGION_ROLE_INITIALIZER && info->lifetime != REGION_LIFETIME_PERSISTENT) {
                complain("its configuration gives environment '%s' the lifetime %s: it would go when regionctl leaves,"
                         " which is at once; use regionctl hold --create",
                         info->name, region_lifetime_word(info->lifetime));
                return CTL_USAGE;
        }
        if (options->json != JSON_OFF)
                return show_json(broker, options->operands[0], options->json);
        if (!options->quiet)
                printf("%s %s: %zu %s, %s\n",
                       region_env_role(env) == REGION_ROLE_INITIALIZER ? "created" : "found existing", info->name,
                       info->n_regions, regions_word(info->n_regions), size_text(info->bytes, size));
        return CTL_DONE;
}

static int map_all(struct region_env *env)
{
        struct region *region;
        void *address;

        for (size_t i = 0; (region = region_env_at(env, i)) != NULL; i++)
                if (region_map(region, NULL, &address) != REGION_OK)
                        return fail();
        return CTL_DONE;
}

int verb_hold(struct options *options)
{
        owned(broker_closep) struct region_broker *broker = NULL;
        owned(specs_freep) struct region_spec *specs = NULL;
        owned(env_closep) struct region_env *env = NULL;
        const struct region_env_info *info;
        const char *name;
        sigset_t leave;
        int signal, r;

        r = check_hold(options);
        if (r == 0 && options->create)
                r = define(options, &specs);
        if (r == 0)
                r = named_environment(options, &name);
        if (r != 0)
                return r;
        options->env.access = options->read ? REGION_READ : REGION_WRITE;
        r = broker_open(options, &broker);
        if (r == CTL_DONE)
                r = open_and_settle(broker, options, name, &env);
        if (r == CTL_DONE)
                r = map_all(env);
        if (r != CTL_DONE)
                return r;

        /* Only now: while it waits for others above, a signal should simply end it. */
        sigemptyset(&leave);
        sigaddset(&leave, SIGINT);
        sigaddset(&leave, SIGTERM);
        sigprocmask(SIG_BLOCK, &leave, NULL);
        info = region_env_info(env);
        printf("holding %s: %zu %s, pid %d\n", info->name, info->n_regions, regions_word(info->n_regions),
               (int)getpid());
        fflush(stdout);
        sigwait(&leave, &signal);
        return CTL_DONE;
}

int verb_remove(struct options *options)
{
        owned(broker_closep) struct region_broker *broker = NULL;
        int64_t wait_usec = options->env.wait_usec;
        char size[VALUE_TEXT_MAX];
        uint64_t bytes;
        int r;

        if (!options->wait_given)
                wait_usec = REGION_NO_WAIT;
        else if (wait_usec == 0) /* as long as it takes, which this call has no word for */
                wait_usec = INT64_MAX;
        r = broker_open(options, &broker);
        if (r != CTL_DONE)
                return r;
        if (region_env_remove(broker, options->operands[0], options->force, wait_usec, &bytes) != REGION_OK)
                return fail();
        if (options->json != JSON_OFF)
                printf("{\"bytes\":%" PRIu64 "}\n", bytes);
        else if (!options->quiet)
                printf("removed %s: %s\n", options->operands[0], size_text(bytes, size));
        return CTL_DONE;
}
