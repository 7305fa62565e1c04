/* The indexes over all that exists. They are red-black trees whose links lie in the objects: nothing that peers choose
 * can make them slow, and putting something in cannot fail. */

#include "daemon/core/registry.h"

#include "proto/util.h"

#include <stdlib.h>
#include <string.h>

static int compare_numbers(uint64_t a, uint64_t b)
{
        return a < b ? -1 : a > b;
}

static int compare_id(const struct environment *a, const struct environment *b)
{
        return compare_numbers(a->id, b->id);
}

static int compare_name(const struct environment *a, const struct environment *b)
{
        return strcmp(a->name, b->name);
}

static int compare_home(const struct environment *a, const struct environment *b)
{
        return strcmp(a->home, b->home);
}

static int compare_process(const struct process *a, const struct process *b)
{
        return compare_numbers(a->id, b->id);
}

static int compare_account(const struct account *a, const struct account *b)
{
        return compare_numbers(a->uid, b->uid);
}

static int compare_watch(const struct region *a, const struct region *b)
{
        return a->watch < b->watch ? -1 : a->watch > b->watch;
}

TREE_GENERATE(environments_by_id, environment, by_id, compare_id)
TREE_GENERATE(environments_by_name, environment, by_name, compare_name)
TREE_GENERATE(environments_by_home, environment, by_home, compare_home)
TREE_GENERATE(processes_by_id, process, by_id, compare_process)
TREE_GENERATE(accounts_by_uid, account, by_uid, compare_account)
TREE_GENERATE(regions_by_watch, region, by_watch, compare_watch)

void registry_init(struct registry *registry, uint64_t instance)
{
        memset(registry, 0, sizeof(*registry));
        registry->instance = instance;
        registry->rules = &rules_none;
        changes_init(&registry->changes);
}

void registry_deinit(struct registry *registry)
{
        changes_deinit(&registry->changes);
}

struct given_id registry_given_id(const struct registry *registry, uint64_t id, const struct given_id *given)
{
        return given->instance ? *given : (struct given_id){ registry->instance, id };
}

void registry_write_id(const struct registry *registry, uint64_t id, const struct given_id *given,
                       char ret[REGISTRY_ID_SIZE])
{
        static const char hex[] = "0123456789abcdef";
        char digits[20], *first = digits + sizeof(digits);
        struct given_id is = registry_given_id(registry, id, given);

        /* every answer has some, and printf() is slow */
        for (int shift = 60; shift >= 0; shift -= 4)
                *ret++ = hex[is.instance >> shift & 15];
        *ret++ = '-';
        do
                *--first = (char)('0' + is.number % 10);
        while (is.number /= 10);
        ret = mempcpy(ret, first, (size_t)(digits + sizeof(digits) - first));
        *ret = '\0';
}

void registry_write_instance(const struct registry *registry, char ret[REGISTRY_ID_SIZE])
{
        registry_write_id(registry, 0, &(struct given_id){}, ret);
        *strchr(ret, '-') = '\0';
}

uint64_t registry_next_id(struct registry *registry)
{
        return ++registry->last_id;
}

/* The keys below are only read through. */

struct environment *registry_find(struct registry *registry, const char *name)
{
        struct environment key = { .name = (char *)(uintptr_t)name };

        return RB_FIND(environments_by_name, &registry->names, &key);
}

struct environment *registry_find_home(struct registry *registry, const char *home)
{
        struct environment key = { .home = (char *)(uintptr_t)home };

        return RB_FIND(environments_by_home, &registry->homes, &key);
}

struct environment *registry_after(struct registry *registry, uint64_t id)
{
        struct environment key = { .id = id + 1 };

        return RB_NFIND(environments_by_id, &registry->environments, &key);
}

struct environment *registry_find_given(struct registry *registry, const struct given_id *given)
{
        struct environment *environment = registry_after(registry, given->number - 1);

        if (given->instance == registry->instance && environment && environment->id == given->number &&
            environment->given.instance == 0)
                return environment;
        RB_FOREACH(environment, environments_by_id, &registry->environments) {
                const struct given_id has = registry_given_id(registry, environment->id, &environment->given);

                if (has.instance == given->instance && has.number == given->number)
                        return environment;
        }
        return NULL;
}

struct environment *registry_find_id(struct registry *registry, const char *id)
{
        const char *dash = strchr(id, '-');
        const struct given_id given = {
                .instance = strtoull(id, NULL, 16),
                .number = dash ? strtoull(dash + 1, NULL, 10) : 0,
        };
        struct environment *environment = given.number > 0 ? registry_find_given(registry, &given) : NULL;
        char own[REGISTRY_ID_SIZE];

        if (!environment)
                return NULL;
        registry_write_id(registry, environment->id, &environment->given, own);
        return strcmp(own, id) == 0 ? environment : NULL;
}

/* By this sign. */
static void charge(struct registry *registry, const struct region *region, int sign)
{
        struct account *account = region->environment->account;
        int64_t bytes = sign * region->size;

        registry->n_regions += sign;
        registry->bytes += bytes;
        registry->memory_bytes += backing_is_memory(region->backing) ? bytes : 0;
        account->regions += sign;
        account->bytes += bytes;
}

/* Those who are in it already were not kept as long as it was not. */
static void follow(struct registry *registry, struct environment *environment)
{
        struct member *member;

        change_follow(&environment->change, &registry->changes, environment->id, 0);
        TAILQ_FOREACH(member, &environment->members, in_environment)
                change_follow(&member->change, &registry->changes, environment->id, 0);
}

void registry_add_nameless(struct registry *registry, struct environment *environment)
{
        const struct region *region;

        RB_INSERT(environments_by_id, &registry->environments, environment);
        LIST_INSERT_HEAD(&environment->creator->created, environment, in_process);
        registry->n_environments++;
        environment->account->environments++;
        TAILQ_FOREACH(region, &environment->regions, in_environment)
                charge(registry, region, 1);
        follow(registry, environment);
}

void registry_add(struct registry *registry, struct environment *environment)
{
        registry_add_nameless(registry, environment);
        RB_INSERT(environments_by_name, &registry->names, environment);
        if (environment->home)
                RB_INSERT(environments_by_home, &registry->homes, environment);
        environment->named = true;
}

void registry_unname(struct registry *registry, struct environment *environment)
{
        if (!environment->named)
                return;
        RB_REMOVE(environments_by_name, &registry->names, environment);
        if (environment->home)
                RB_REMOVE(environments_by_home, &registry->homes, environment);
        environment->named = false;
        change_touch(&environment->change);
}

void registry_remove(struct registry *registry, struct environment *environment)
{
        registry_unname(registry, environment);
        RB_REMOVE(environments_by_id, &registry->environments, environment);
        LIST_REMOVE(environment, in_process);
        registry->n_environments--;
        environment->account->environments--;
        registry_release_account(registry, environment->account);
        environment->account = NULL;
}

void registry_add_region(struct registry *registry, struct environment *environment, struct region *region)
{
        environment_add_region(environment, region);
        charge(registry, region, 1);
        change_touch(&environment->change);
}

void registry_remove_region(struct registry *registry, struct region *region)
{
        struct environment *environment = region->environment;

        charge(registry, region, -1);
        environment_remove_region(environment, region);
        change_touch(&environment->change);
}

void registry_watch(struct registry *registry, struct region *region, int watch)
{
        region->watch = watch;
        RB_INSERT(regions_by_watch, &registry->watched, region);
}

void registry_unwatch(struct registry *registry, struct region *region)
{
        if (region->watch < 0)
                return;
        RB_REMOVE(regions_by_watch, &registry->watched, region);
        region->watch = -1;
}

struct region *registry_find_watched(struct registry *registry, int watch)
{
        struct region key = { .watch = watch };

        return RB_FIND(regions_by_watch, &registry->watched, &key);
}

struct process *registry_find_process(struct registry *registry, uint64_t id)
{
        struct process key = { .id = id };

        return RB_FIND(processes_by_id, &registry->processes, &key);
}

void registry_add_process(struct registry *registry, struct process *process)
{
        RB_INSERT(processes_by_id, &registry->processes, process);
}

void registry_remove_process(struct registry *registry, struct process *process)
{
        RB_REMOVE(processes_by_id, &registry->processes, process);
}

void registry_apply_rules(const struct registry *registry, struct account *account, const struct peer *peer)
{
        rules_limits_of(registry->rules, account->uid, peer, &account->own);
}

/* Which groups a user is in is known of those who are connected. */
void registry_set_rules(struct registry *registry, const struct rules *rules)
{
        struct account *account;
        struct process *process;
        struct peer *peer;

        registry->rules = rules;
        RB_FOREACH(account, accounts_by_uid, &registry->accounts)
                registry_apply_rules(registry, account, NULL);
        RB_FOREACH(process, processes_by_id, &registry->processes)
                LIST_FOREACH(peer, &process->peers, in_process)
                        registry_apply_rules(registry, peer->account, peer);
}

struct account *registry_account(struct registry *registry, uid_t uid)
{
        struct account key = { .uid = uid };
        struct account *account = RB_FIND(accounts_by_uid, &registry->accounts, &key);

        if (account)
                return account;
        account = calloc(1, sizeof(*account));
        if (!account)
                return NULL;
        account->uid = uid;
        registry_apply_rules(registry, account, NULL);
        RB_INSERT(accounts_by_uid, &registry->accounts, account);
        return account;
}

void registry_release_account(struct registry *registry, struct account *account)
{
        if (!account || !account_is_empty(account))
                return;
        RB_REMOVE(accounts_by_uid, &registry->accounts, account);
        free(account);
}
