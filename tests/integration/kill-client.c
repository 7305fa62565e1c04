/* What is wrong here is a wrong byte, or an answer that the call cannot have in any order of events: each call names the
 * refusals it takes. That the broker closes the session is never one of them. */

#include "tests/integration/kill-client.h"

#include "proto/util.h"
#include "tests/integration/kill-holders.h"
#include "tests/integration/kill-plans.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

enum {
        EXTRAS = 3,         /* names for regions that are added later */
        PART_HELD_MAX = 12, /* regions of one environment by one client */
        PARTS_MAX = 3,      /* environments that a client is in at one time */
        STEPS_MAX = 60,
};

/* A region that the client is attached to. */
struct held {
        struct region *region;
        struct mapping mapping;
};

/* An environment that it is in. */
struct part {
        struct region_env *env; /* NULL: this one is free */
        const struct plan *plan;
        struct held held[PART_HELD_MAX];
        size_t n;
};

struct client {
        const struct stage *stage;
        struct region_broker *broker;
        struct dice dice;
        int steps;
        struct part parts[PARTS_MAX];
};

/* --- steps and answers ------------------------------------------------------------------------------------------- */

static void tell(struct client *client, enum step step)
{
        unsigned char byte = (unsigned char)step;

        if (write(client->steps, &byte, 1) != 1)
                _exit(EXIT_FAILURE); /* the parent is gone */
}

/* True if the call did what it should. */
static bool accept_answer(struct client *client, enum region_result result, uint32_t refusals, const char *call,
                          const char *what)
{
        if (result == REGION_OK)
                return true;
        if (!(refusals >> result & 1)) {
                client->stage->tally->answers_wrong++;
                stage_complain(client->stage, "%s %s: %s, %s", call, what, region_result_name(result),
                               region_error_message());
        }
        return false;
}

static bool connect_client(struct client *client)
{
        tell(client, STEP_CONNECT);
        if (!accept_answer(client, region_broker_connect(client->stage->socket, &client->broker), 0, "connect", ""))
                return false;
        region_broker_set_timeout(client->broker, 0); /* the parent's alarm ends what hangs */
        return true;
}

/* --- pages ------------------------------------------------------------------------------------------------------- */

static bool is_extra(const struct held *held)
{
        return region_info(held->region)->name[0] == 'x';
}

/* The first half is the initializer's, and full when it is ready; the others are filled by whoever likes. */
static size_t first_half(const struct held *held)
{
        return (mapping_pages(&held->mapping) + 1) / 2;
}

static bool map_region(struct client *client, struct part *part, struct region *region, bool is_member)
{
        const struct region_info *info = region_info(region);
        struct held *held = &part->held[part->n];
        void *address;
        enum region_result r;

        mapping_init(&held->mapping, region_env_info(part->env)->id, info->id, info->name);
        held->region = region;
        tell(client, STEP_MAP);
        r = region_map(region, NULL, &address);
        if (!accept_answer(client, r, 0, "map", info->name))
                return false;
        held->mapping.address = address;
        held->mapping.size = region_size(region);
        held->mapping.fd = region_fd(region);
        held->mapping.is_private = info->backing == REGION_BACKING_PRIVATE;
        if (is_member && !is_extra(held) && !held->mapping.is_private)
                mapping_expect_full(&held->mapping, first_half(held));
        part->n++;
        return true;
}

static void verify_part(struct client *client, struct part *part)
{
        tell(client, STEP_VERIFY);
        for (size_t i = 0; i < part->n; i++)
                mapping_verify(&part->held[i].mapping, client->stage);
}

static void fill(struct client *client, struct held *held, size_t first, size_t end)
{
        if (region_access(held->region) != REGION_WRITE)
                return;
        tell(client, STEP_FILL);
        for (size_t page = first; page < end; page++)
                mapping_fill_page(&held->mapping, page);
}

static void count_made(struct client *client, const struct region_info *info)
{
        client->stage->tally->regions[info->backing]++;
        client->stage->tally->bytes += info->size;
}

/* --- opening ----------------------------------------------------------------------------------------------------- */

static void close_part(struct client *client, struct part *part)
{
        tell(client, STEP_CLOSE);
        region_env_close(part->env);
        *part = (struct part){};
}

/* New memory is zero. Whoever does not come to ready hands the part to another. */
static void initialize(struct client *client, struct part *part)
{
        for (size_t i = 0; i < part->n; i++) {
                struct held *held = &part->held[i];

                mapping_verify_zero(&held->mapping, client->stage);
                fill(client, held, 0, first_half(held));
        }
        if (dice_one_in(&client->dice, 12)) {
                close_part(client, part);
                return;
        }
        tell(client, STEP_READY);
        /* removed by force meanwhile, it has no initializer any more */
        if (!accept_answer(client, region_env_ready(part->env), MAY(ROLE) | MAY(NOT_FOUND), "ready", part->plan->name))
                close_part(client, part);
}

/* An initializer needs them all: what it does not fill nobody does. */
static void attach_rest(struct client *client, struct part *part)
{
        struct region *region;
        char name[] = "a";

        for (; name[0] < 'a' + REGIONS_MAX; name[0]++) {
                tell(client, STEP_ATTACH);
                accept_answer(client, region_env_attach(part->env, name, 0, &region), MAY(NO_REGION) | MAY(NOT_FOUND),
                              "attach", name);
        }
}

static void enter(struct client *client, struct part *part)
{
        bool is_member = region_env_role(part->env) == REGION_ROLE_MEMBER;
        struct region *region;

        if (!is_member)
                attach_rest(client, part);
        for (size_t i = 0; part->n < PART_HELD_MAX && (region = region_env_at(part->env, i)); i++)
                if (map_region(client, part, region, is_member) && !is_member)
                        count_made(client, region_info(region));
        if (is_member)
                verify_part(client, part);
        else
                initialize(client, part);
}

static void open_one(struct client *client, struct part *part)
{
        const struct plan *plan = &plans[dice_below(&client->dice, n_plans)];
        struct wish wish;
        uint32_t refusals;
        enum region_result r;

        wish_make(&wish, client->stage, plan, &client->dice);
        refusals = wish_vary(&wish, plan, &client->dice);
        tell(client, STEP_OPEN);
        r = region_env_open(client->broker, wish.name, &wish.options, &part->env);
        if (!accept_answer(client, r, refusals, "open", wish.name))
                return;
        part->plan = plan;
        enter(client, part);
}

/* --- inside ------------------------------------------------------------------------------------------------------ */

static struct held *any_held(struct client *client, struct part *part)
{
        return part->n > 0 ? &part->held[dice_below(&client->dice, (unsigned)part->n)] : NULL;
}

static void fill_more(struct client *client, struct part *part)
{
        struct held *held = any_held(client, part);

        if (held)
                fill(client, held, first_half(held), mapping_pages(&held->mapping));
}

static const char *any_extra(struct client *client)
{
        static const char *const names[EXTRAS] = { "x1", "x2", "x3" };

        return names[dice_below(&client->dice, EXTRAS)];
}

static void add_region(struct client *client, struct part *part)
{
        struct region_spec spec = {
                .name = any_extra(client),
                .size = (1 + dice_below(&client->dice, 80)) * PATTERN_PAGE,
        };
        struct region *region;
        enum region_result r;

        if (part->n == PART_HELD_MAX)
                return;
        tell(client, STEP_ADD);
        r = region_env_add(part->env, &spec, &region);
        /* where the environment has been retired it is not ready any more */
        if (!accept_answer(client, r, MAY(REGION_EXISTS) | MAY(NOT_READY) | MAY(NOT_FOUND), "add", spec.name))
                return;
        count_made(client, region_info(region));
        if (map_region(client, part, region, false))
                fill(client, &part->held[part->n - 1], 0, mapping_pages(&part->held[part->n - 1].mapping));
}

static void attach_region(struct client *client, struct part *part)
{
        const char *name = any_extra(client);
        struct region *region;

        if (part->n == PART_HELD_MAX || region_env_find(part->env, name))
                return;
        tell(client, STEP_ATTACH);
        if (accept_answer(client, region_env_attach(part->env, name, 0, &region), MAY(NO_REGION) | MAY(NOT_FOUND),
                          "attach", name))
                map_region(client, part, region, true);
}

static void detach_region(struct client *client, struct part *part)
{
        struct held *held = any_held(client, part);

        if (!held)
                return;
        tell(client, STEP_DETACH);
        accept_answer(client, region_detach(held->region), 0, "detach", held->mapping.name);
        *held = part->held[--part->n];
}

/* Of those that nobody has a right to count on. */
static void delete_region(struct client *client, struct part *part)
{
        const char *name = any_extra(client);

        tell(client, STEP_DELETE);
        /* not found: it has been retired and lost its name */
        accept_answer(client, region_env_delete(part->env, name, dice_one_in(&client->dice, 2)),
                      MAY(NO_REGION) | MAY(BUSY) | MAY(NOT_FOUND), "delete", name);
}

static void remove_environment(struct client *client, struct part *part)
{
        bool force = dice_one_in(&client->dice, 6);
        int64_t wait = dice_one_in(&client->dice, 2) ? REGION_NO_WAIT : 3000;
        const char *name = region_env_info(part->env)->name;

        tell(client, STEP_REMOVE);
        accept_answer(client, region_env_remove(client->broker, name, force, wait, NULL), MAY(BUSY) | MAY(NOT_FOUND),
                      "remove", name);
}

static void describe(struct client *client, struct part *part)
{
        struct region_description *description = NULL;
        const char *name = region_env_info(part->env)->name;

        tell(client, STEP_LOOK);
        if (accept_answer(client, region_describe(client->broker, name, &description), MAY(NOT_FOUND), "describe",
                          name))
                region_description_free(description);
}

static void pass_on(struct client *client, struct part *part)
{
        struct held *held = any_held(client, part);

        if (!held || held->mapping.fd < 0)
                return;
        mapping_verify(&held->mapping, client->stage);
        tell(client, STEP_PASS);
        bystander_pass(client->stage, dice_below(&client->dice, BYSTANDERS), &held->mapping);
}

/* --- children ---------------------------------------------------------------------------------------------------- */

static _Noreturn void survive(struct client *client, struct mapping *mappings, size_t n, enum keeping keeping)
{
        close(client->steps);
        bystander_close_all(client->stage);
        survivor_run(client->stage, mappings, n, keeping);
}

/* The child has what its parent has now. What was full then has to be full as long as it lives. */
static void leave_child(struct client *client)
{
        struct mapping mappings[PARTS_MAX * PART_HELD_MAX];
        enum keeping keeping = dice_below(&client->dice, N_KEEPINGS);
        size_t n = 0;

        for (size_t i = 0; i < PARTS_MAX; i++)
                for (size_t j = 0; j < client->parts[i].n; j++) {
                        mapping_verify(&client->parts[i].held[j].mapping, client->stage);
                        mappings[n++] = client->parts[i].held[j].mapping;
                }
        if (n == 0)
                return;
        tell(client, STEP_FORK);
        if (fork() == 0)
                survive(client, mappings, n, keeping);
}

/* --- all of it --------------------------------------------------------------------------------------------------- */

static void (*const deeds[])(struct client *client, struct part *part) = {
        verify_part, verify_part, fill_more,          fill_more, add_region, attach_region, detach_region,
        close_part,  close_part,  remove_environment, describe,  pass_on,    delete_region,
};

static void take_step(struct client *client)
{
        struct part *part = &client->parts[dice_below(&client->dice, PARTS_MAX)];

        if (!part->env)
                open_one(client, part);
        else if (dice_one_in(&client->dice, 25))
                leave_child(client);
        else
                deeds[dice_below(&client->dice, array_size(deeds))](client, part);
}

static _Noreturn void hold(struct client *client)
{
        tell(client, STEP_HOLD);
        for (;;)
                pause();
}

_Noreturn void client_run(const struct stage *stage, unsigned number, int steps)
{
        struct client client = { .stage = stage, .dice = { dice_mix(stage->seed ^ number) }, .steps = steps };
        unsigned n;

        prctl(PR_SET_NAME, "client");
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        close(stage->release[1]);
        close(stage->ended[0]);
        n = 1 + dice_below(&client.dice, STEPS_MAX);
        if (!connect_client(&client))
                _exit(EXIT_FAILURE);
        for (unsigned i = 0; i < n; i++)
                take_step(&client);
        if (dice_one_in(&client.dice, 3))
                hold(&client);
        if (dice_one_in(&client.dice, 2))
                region_broker_close(client.broker);
        _exit(EXIT_SUCCESS);
}
