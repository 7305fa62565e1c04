/* Environments come whole or not at all: every check and every system call that can fail is behind us before anybody can
 * see the result. */

#include "daemon/creation.h"

#include "daemon/core/policy.h"
#include "daemon/definition.h"
#include "daemon/describing.h"
#include "daemon/host/control.h"
#include "daemon/host/directory.h"
#include "daemon/host/memory.h"
#include "daemon/host/people.h"
#include "daemon/host/reference.h"
#include "daemon/making.h"
#include "proto/util.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

/* --- regions ----------------------------------------------------------------------------------------------------- */

static int refuse_key(struct refusal *refusal, int32_t key)
{
        struct key_holder holder = { .shm_id = -1 };

        memory_find_key(key, &holder); /* gone again in this moment: then without the facts */
        refusal->shm_key = key;
        refusal->shm_id = holder.shm_id;
        refusal->shm_uid = holder.uid;
        refusal->shm_pid = holder.pid;
        return refuse(refusal, REFUSED_KEY_IN_USE);
}

static void unmake_memory(struct broker *broker, struct environment *environment)
{
        struct region *region;

        TAILQ_FOREACH(region, &environment->regions, in_environment) {
                keeping_drop(broker, region);
                memory_release(region->memory);
                region->memory = NULL;
        }
}

/* System V keys are a consecutive run from `key`; the one after it. */
static int64_t assign_keys(struct environment *environment, int64_t key)
{
        struct region *region;

        TAILQ_FOREACH(region, &environment->regions, in_environment)
                if (region->backing == BACKING_SYSV)
                        region->shm_key = (int32_t)key++;
        return key;
}

/* Makes the memory of all regions, their System V keys a run from `key`. -EEXIST: one of the run is taken, *ret_taken, and
 * nothing was made. */
static int make_run(struct broker *broker, struct request *request, struct environment *environment, int64_t key,
                    int32_t *ret_taken)
{
        int64_t next = assign_keys(environment, key);
        struct region *region;
        int r;

        if (next > key)
                ledger_intend(broker, environment, NULL);
        TAILQ_FOREACH(region, &environment->regions, in_environment) {
                r = making_make(broker, request, environment, region);
                if (r == 0)
                        continue;
                *ret_taken = region->shm_key;
                unmake_memory(broker, environment);
                return r;
        }
        environment->next_key = next;
        return 0;
}

/* Files get their names once it is written down which files those are. */
static int name_all(struct broker *broker, struct request *request, struct environment *environment)
{
        struct region *region;
        int r = 0;

        if (environment->directory < 0)
                return 0;
        ledger_intend(broker, environment, NULL);
        r = describing_begin(broker, &request->refusal, environment);
        if (r != 0)
                return r;
        TAILQ_FOREACH(region, &environment->regions, in_environment) {
                r = making_name(request, region);
                if (r != 0)
                        break;
        }
        return r;
}

/* Where automatic keys begin; they go up from here and start over at the end. */
enum { FIRST_KEY = 0x52420000, LAST_KEY = 0x6fffffff, KEY_TRIES = 4096 };

int32_t creation_first_key(uint64_t instance)
{
        return FIRST_KEY + (int32_t)(instance % (LAST_KEY - FIRST_KEY));
}

static int32_t key_after(int32_t key)
{
        return key < FIRST_KEY || key >= LAST_KEY ? FIRST_KEY : key + 1;
}

static int make_all_memory(struct broker *broker, struct request *request, struct environment *environment)
{
        int64_t key = environment->key_given ? environment->next_key : broker->next_key;
        int32_t taken = 0;
        int r;

        for (int i = 0; i < KEY_TRIES; i++) {
                r = make_run(broker, request, environment, key, &taken);
                if (r != -EEXIST) {
                        if (r == 0 && !environment->key_given)
                                broker->next_key = key_after((int32_t)environment->next_key - 1);
                        return r;
                }
                if (environment->key_given)
                        break;
                key = key_after(taken);
        }
        return refuse_key(&request->refusal, taken);
}

static struct region *new_region(struct broker *broker, const struct environment *environment, const struct spec *spec)
{
        struct region *region = region_new(spec, spec->backing ? spec->backing : environment->backing);

        if (!region)
                return NULL;
        region->id = registry_next_id(&broker->registry);
        region->size = definition_round_size(broker, environment->hugetlb, spec->size);
        return region;
}

static int add_regions(struct broker *broker, struct environment *environment, const struct definition *definition)
{
        const struct spec *specs = definition->regions.items;
        struct region *region;

        for (size_t i = 0; i < definition->regions.n; i++) {
                region = new_region(broker, environment, &specs[i]);
                if (!region)
                        return -ENOMEM;
                environment_add_region(environment, region);
        }
        return 0;
}

/* --- environments ------------------------------------------------------------------------------------------------ */

static int find_group(struct request *request, const char *name, gid_t *ret)
{
        if (people_find_group(name, ret) < 0)
                return definition_refuse(&request->refusal, "definition");
        /* as for chgrp(1): only to groups one is in */
        if (request->peer->uid != 0 && !policy_is_in_group(request->peer, *ret))
                return refuse(&request->refusal, REFUSED_PERMISSION);
        return 0;
}

static bool has_files(const struct definition *definition, enum backing backing)
{
        const struct spec *specs = definition->regions.items;

        for (size_t i = 0; i < definition->regions.n; i++)
                if (specs[i].backing == BACKING_FILE)
                        return true;
        return backing == BACKING_FILE;
}

/* A directory of its own under the state directory, for an environment that named none. */
static int make_own_directory(struct broker *broker, struct request *request, struct environment *environment)
{
        if (!broker->settings.state_directory)
                return refuse_resource(&request->refusal, "mkdir", -ENOENT);
        if (asprintf(&environment->directory_path, "%s/environment.%016" PRIx64 ".%" PRIu64,
                     broker->settings.state_directory, broker->registry.instance, environment->id) < 0) {
                environment->directory_path = NULL;
                return -ENOMEM;
        }
        if (mkdir(environment->directory_path, 0700) < 0)
                return refuse_resource(&request->refusal, "mkdir", -errno);
        environment->own_directory = true;
        environment->directory = open(environment->directory_path, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        return environment->directory < 0 ? refuse_resource(&request->refusal, "open", -errno) : 0;
}

static int open_named_directory(struct broker *broker, struct request *request, const char *path, int *ret_fd,
                                char **ret_canonical)
{
        int r = directory_open(path, request->peer, ret_fd, ret_canonical);

        if (r == -EACCES)
                return refuse(&request->refusal, REFUSED_PERMISSION);
        if (r < 0)
                return refuse_resource(&request->refusal, "open", r);
        if (rules_allow_home(broker->registry.rules, *ret_canonical))
                return 0;
        request->refusal.name = path;
        request->refusal.reason = "the broker's configuration allows homes and region directories elsewhere only";
        return refuse(&request->refusal, REFUSED_NAME);
}

int creation_refuse_taken(struct request *request, struct environment *environment, const char *called)
{
        request->refusal.name = called;
        if (policy_may_see(request->peer, environment))
                request->refusal.environment = environment;
        return refuse(&request->refusal, REFUSED_ENVIRONMENT_EXISTS);
}

/* The home, and where file regions go. */
static int open_directories(struct broker *broker, struct request *request, const struct definition *definition,
                            struct environment *environment, int *ret_home)
{
        bool files = has_files(definition, environment->backing);
        struct environment *other;
        int r;

        if (definition->home) {
                r = open_named_directory(broker, request, definition->home, ret_home, &environment->home);
                if (r != 0)
                        return r;
                r = directory_identify(*ret_home, &environment->home_id);
                if (r < 0)
                        return refuse_resource(&request->refusal, "statx", r);
                other = registry_find_home(&broker->registry, environment->home);
                if (other)
                        return creation_refuse_taken(request, other, definition->home);
        }
        if (definition->region_directory)
                return open_named_directory(broker, request, definition->region_directory, &environment->directory,
                                            &environment->directory_path);
        if (environment->home) {
                environment->directory_path = strdup(environment->home);
                environment->directory = fcntl(*ret_home, F_DUPFD_CLOEXEC, 0);
                if (environment->directory < 0)
                        return refuse_resource(&request->refusal, "fcntl", -errno);
                return environment->directory_path ? 0 : -ENOMEM;
        }
        return files ? make_own_directory(broker, request, environment) : 0;
}

/* Named by a path, it is called by the canonical one. */
static int name_after_home(struct environment *environment)
{
        char *name = strdup(environment->home);

        if (!name)
                return -ENOMEM;
        free(environment->name);
        environment->name = name;
        return 0;
}

/* Its home has no place for one: the file of its first region is there. */
static bool has_reference(const struct environment *environment)
{
        const struct region *first = TAILQ_FIRST(&environment->regions);
        const char *path = first && first->memory ? memory_path(first->memory) : NULL;

        if (!environment->home || environment->backing == BACKING_PRIVATE)
                return false;
        return !path || first->backing != BACKING_FILE || strcmp(environment->directory_path, environment->home) != 0;
}

static int leave_reference(struct broker *broker, struct request *request, struct environment *environment, int home)
{
        const struct reference_broker us = { broker->registry.instance, broker->settings.socket };
        pid_t holder;
        int r;

        if (!has_reference(environment))
                return 0;
        r = reference_write(home, environment->home, environment, &us, &environment->reference, &holder);
        return r < 0 ? refuse_resource(&request->refusal, r == -EEXIST ? "linkat" : "open", r) : 0;
}

int creation_renew_reference(struct broker *broker, struct environment *environment)
{
        const struct reference_broker us = { broker->registry.instance, broker->settings.socket };
        owned(closep) int home = -1;
        pid_t holder;

        if (!has_reference(environment))
                return 0;
        home = open(environment->home, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        if (home < 0)
                return -errno;
        environment->reference = reference_forget(environment->reference);
        return reference_write(home, environment->home, environment, &us, &environment->reference, &holder);
}

int creation_share_directory(struct refusal *refusal, struct environment *environment, const struct environment *like)
{
        if (like->directory < 0)
                return 0;
        environment->directory_path = strdup(like->directory_path);
        if (!environment->directory_path)
                return -ENOMEM;
        environment->directory = fcntl(like->directory, F_DUPFD_CLOEXEC, 0);
        return environment->directory < 0 ? refuse_resource(refusal, "fcntl", -errno) : 0;
}

int creation_make_control(struct broker *broker, struct refusal *refusal, struct environment *environment)
{
        owned(freep) char *path = NULL;
        const char *operation;
        int r, error;

        r = creation_control_path(broker, environment, &path);
        if (r < 0)
                return r;
        environment->control = control_new(path, &operation, &error);
        return environment->control ? 0 : refuse_resource(refusal, operation, -error);
}

int creation_control_path(const struct broker *broker, const struct environment *environment, char **ret)
{
        *ret = NULL;
        if (!broker->ledger.store)
                return 0;
        if (asprintf(ret, "%s/control.%016" PRIx64 ".%" PRIu64, broker->settings.runtime_directory,
                     broker->registry.instance, environment->id) >= 0)
                return 0;
        *ret = NULL;
        return -ENOMEM;
}

static int fill(struct broker *broker, struct request *request, const struct definition *definition,
                struct environment *environment)
{
        owned(closep) int home = -1;
        int r;

        environment->id = registry_next_id(&broker->registry);
        environment->uid = request->peer->uid;
        environment->gid = request->peer->gid;
        environment->created_usec = broker->realtime;
        if (definition->group) {
                r = find_group(request, definition->group, &environment->gid);
                if (r != 0)
                        return r;
        }
        r = open_directories(broker, request, definition, environment, &home);
        if (r == 0 && environment->name[0] == '/')
                r = name_after_home(environment);
        if (r != 0)
                return r;
        r = creation_make_control(broker, &request->refusal, environment);
        if (r != 0)
                return r;
        r = add_regions(broker, environment, definition);
        if (r != 0)
                return r;
        r = make_all_memory(broker, request, environment);
        if (r == 0)
                r = name_all(broker, request, environment);
        return r == 0 ? leave_reference(broker, request, environment, home) : r;
}

/* The key after those of the set if that is free; where the keys were not asked for, any that is. */
static int make_one_memory(struct broker *broker, struct request *request, struct environment *environment,
                           struct region *region)
{
        int r;

        if (environment->next_key > INT32_MAX) /* the run ended at the last key there is */
                return refuse_key(&request->refusal, INT32_MAX);
        region->shm_key = environment->next_key > 0 ? (int32_t)environment->next_key : broker->next_key;
        for (int i = 0; i < KEY_TRIES; i++) {
                ledger_intend(broker, environment, region);
                r = making_make(broker, request, environment, region);
                if (r != -EEXIST || environment->key_given)
                        break;
                region->shm_key = key_after(region->shm_key);
        }
        return r == -EEXIST ? refuse_key(&request->refusal, region->shm_key) : r;
}

int creation_make_region(struct broker *broker, struct request *request, struct environment *environment,
                         const struct spec *spec, struct region **ret)
{
        struct region *region = new_region(broker, environment, spec);
        int r = 0;

        if (!region)
                return -ENOMEM;
        region->environment = environment;
        region->number = environment->last_number + 1;
        if (region->backing == BACKING_FILE && environment->directory < 0)
                r = make_own_directory(broker, request, environment);
        if (r == 0)
                r = make_one_memory(broker, request, environment, region);
        if (r == 0 && region->backing == BACKING_FILE) {
                ledger_intend(broker, environment, region);
                r = describing_change(broker, &request->refusal, environment, region);
                if (r == 0)
                        r = making_name(request, region);
        }
        if (r != 0) {
                memory_release(take_ptr(region->memory));
                region_free(region);
                return r;
        }
        if (region->backing == BACKING_SYSV)
                environment->next_key = INT64_C(1) + region->shm_key;
        *ret = region;
        return 0;
}

int creation_make(struct broker *broker, struct request *request, const char *name, const struct definition *definition,
                  struct environment **ret)
{
        enum backing backing = definition->backing ? definition->backing : BACKING_MEMFD;
        struct environment *environment;
        int r = ledger_check(broker, &request->refusal);

        if (r != 0)
                return r;
        environment = environment_new(name, definition, backing);
        if (!environment)
                return -ENOMEM;
        environment->creator = broker_retain_process(request->peer->process);
        environment->account = request->peer->account;
        r = fill(broker, request, definition, environment);
        if (r != 0) {
                creation_undo(broker, environment);
                return r;
        }
        *ret = environment;
        return 0;
}

void creation_undo(struct broker *broker, struct environment *environment)
{
        struct process *creator;
        struct region *region;

        if (!environment)
                return;
        environment->reference = reference_remove(environment->reference);
        unmake_memory(broker, environment);
        describing_remove(broker, environment);
        while ((region = TAILQ_FIRST(&environment->regions))) {
                environment_remove_region(environment, region);
                region_free(region);
        }
        environment->control = control_remove(environment->control);
        environment->directory = close_fd(environment->directory);
        if (environment->own_directory)
                rmdir(environment->directory_path);
        creator = environment->creator;
        environment_free(environment);
        broker_release_process(broker, creator);
}

void creation_let_be(struct broker *broker, struct environment *environment)
{
        struct region *region;

        environment->reference = reference_forget(environment->reference);
        describing_forget(broker, environment);
        TAILQ_FOREACH(region, &environment->regions, in_environment) {
                memory_forget(region->memory);
                region->memory = NULL;
        }
        environment->control = control_free(environment->control);
        environment->own_directory = false;
}
