#pragma once

#include "daemon/core/change.h"
#include "daemon/core/environment.h"
#include "daemon/core/limits.h"
#include "daemon/core/peer.h"
#include "daemon/core/quota.h"
#include "daemon/core/rules.h"

/* All that is true now. Every environment that exists is in it, and every process, session and uid that matters; its
 * indexes are its own. */

RB_HEAD(environments_by_id, environment);
RB_HEAD(environments_by_name, environment);
RB_HEAD(environments_by_home, environment);
RB_HEAD(processes_by_id, process);
RB_HEAD(accounts_by_uid, account);
RB_HEAD(regions_by_watch, region);

struct registry {
        uint64_t instance; /* of this broker; part of every id, so that no two brokers give the same */
        uint64_t last_id;
        const struct rules *rules; /* borrowed; by which accounts have limits of their own */
        struct environments_by_id environments;
        struct environments_by_name names;
        struct environments_by_home homes;
        struct processes_by_id processes;
        struct accounts_by_uid accounts;
        struct regions_by_watch watched;
        struct changes changes; /* to what is kept: environments and their members */
        int64_t n_environments, n_regions, n_attachments, n_sessions, bytes;
        int64_t memory_bytes; /* of them, those that are memory of the machine */
};

void registry_init(struct registry *registry, uint64_t instance);
void registry_deinit(struct registry *registry); /* nothing is in it any more */

/* Which it is for all brokers, whoever gave it: `given`, or else `id` as ours. */
struct given_id registry_given_id(const struct registry *registry, uint64_t id, const struct given_id *given);
/* The same as the contract has it: a text that no other broker gives either. */
enum { REGISTRY_ID_SIZE = 40 };
void registry_write_id(const struct registry *registry, uint64_t id, const struct given_id *given,
                       char ret[REGISTRY_ID_SIZE]);
/* What all that we give begin with, before the dash. */
void registry_write_instance(const struct registry *registry, char ret[REGISTRY_ID_SIZE]);

/* An id that was never given. */
uint64_t registry_next_id(struct registry *registry);

/* By name, or by home where it begins with a slash; retired ones have neither. NULL where there is none. */
struct environment *registry_find(struct registry *registry, const char *name);
struct environment *registry_find_home(struct registry *registry, const char *home);
/* By its id as the contract has it; NULL where there is none. Retired ones are found, too. */
struct environment *registry_find_id(struct registry *registry, const char *id);
/* The first whose id is greater; NULL after the last. Retired ones are among them. */
struct environment *registry_after(struct registry *registry, uint64_t id);

/* The one that has this id for all brokers; asks each of them. NULL where there is none. */
struct environment *registry_find_given(struct registry *registry, const struct given_id *given);

/* Adds one with its regions, charged to its account, and gives it its name; cannot fail. */
void registry_add(struct registry *registry, struct environment *environment);
/* The same for one that is retired from its beginning. */
void registry_add_nameless(struct registry *registry, struct environment *environment);
/* Takes its name and home: it can no longer be found by them. */
void registry_unname(struct registry *registry, struct environment *environment);
/* It has no regions any more and goes. */
void registry_remove(struct registry *registry, struct environment *environment);

/* A region comes to an environment or leaves it; a watch on it stays. */
void registry_add_region(struct registry *registry, struct environment *environment, struct region *region);
void registry_remove_region(struct registry *registry, struct region *region);

/* Which region a watch is for. */
void registry_watch(struct registry *registry, struct region *region, int watch);
void registry_unwatch(struct registry *registry, struct region *region);
struct region *registry_find_watched(struct registry *registry, int watch);

struct process *registry_find_process(struct registry *registry, uint64_t id);
void registry_add_process(struct registry *registry, struct process *process);
void registry_remove_process(struct registry *registry, struct process *process);

/* These rules hold from now on, for accounts that are there, too. */
void registry_set_rules(struct registry *registry, const struct rules *rules);
/* A session of the user begins, in these groups. */
void registry_apply_rules(const struct registry *registry, struct account *account, const struct peer *peer);

/* The account of a uid, made if need be; NULL when memory runs out. */
struct account *registry_account(struct registry *registry, uid_t uid);
/* Frees it if nothing is charged to it. */
void registry_release_account(struct registry *registry, struct account *account);
