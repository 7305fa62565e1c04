/* What is found by nothing that is ours has to be written down before it is made: System V segments, and files and references
 * in directories of others. All else has the broker's instance in its name. */

#include "daemon/leftovers.h"

#include "daemon/broker.h"
#include "daemon/homecoming.h"
#include "daemon/host/memory.h"
#include "daemon/host/record.h"
#include "daemon/host/reference.h"
#include "daemon/log.h"
#include "proto/util.h"

#include <dirent.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

enum { VERSION = 1 };

static void closedirp(DIR **directory)
{
        if (*directory)
                closedir(*directory);
}

/* --- what was being made ----------------------------------------------------------------------------------------- */

static bool needs_note(const struct environment *environment, const struct region *region)
{
        if (!region) /* what tells of it lies in the home, or with its files */
                return environment->home || (environment->directory_path && !environment->own_directory);
        return region->backing == BACKING_SYSV || (region->backing == BACKING_FILE && region->memory);
}

static void put_trace(struct record *record, const struct region *region)
{
        struct memory_trace trace = {
                .backing = region->backing,
                .size = region->size,
                .shm_id = -1,
                .shm_key = region->shm_key,
                .creator = getpid(),
        };

        if (region->memory)
                memory_trace(region->memory, &trace);
        record_put(record, trace.backing);
        record_put_signed(record, trace.size);
        record_put(record, trace.device);
        record_put(record, trace.inode);
        record_put_text(record, trace.path);
        record_put_signed(record, trace.shm_key);
        record_put_signed(record, trace.creator);
}

/* N version  N id, of the region or the environment  [trace] or N 0  T directory. A trace: N backing  S size  N device
 * N inode  T path  S shm-key  S creator. */
bool leftovers_note(struct record *record, const struct environment *environment, const struct region *region)
{
        if (!needs_note(environment, region))
                return false;
        record_put(record, VERSION);
        record_put(record, region ? region->id : environment->id);
        if (region)
                put_trace(record, region);
        else
                record_put(record, 0);
        record_put_text(record, region || !environment->home ? environment->directory_path : environment->home);
        return true;
}

static bool is_known(struct broker *broker, uint64_t region_id)
{
        struct environment *environment;
        const struct region *region;
        uint64_t id = 0;

        while ((environment = registry_after(&broker->registry, id))) {
                id = environment->id;
                TAILQ_FOREACH(region, &environment->regions, in_environment)
                        if (region->id == region_id)
                                return true;
        }
        return false;
}

/* The key leads to what was made; if another was quicker it leads to theirs. */
static void undo_segment(struct memory_trace *trace)
{
        struct memory *memory;
        struct key_holder holder;

        if (!memory_find_key(trace->shm_key, &holder))
                return;
        trace->shm_id = holder.shm_id;
        if (memory_find(trace, -1, -1, &memory) != 0)
                return;
        if (memory_is_held(memory) == 0)
                memory_release(memory);
        else
                memory_forget(memory);
}

static void undo_file(struct memory_trace *trace, const char *directory_path)
{
        owned(closep) int directory = open(directory_path, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        struct memory *memory;

        if (directory >= 0 && memory_find(trace, directory, -1, &memory) == 0)
                memory_release(memory);
}

static const struct environment *find_environment(struct broker *broker, uint64_t id)
{
        const struct environment *environment = registry_after(&broker->registry, id - 1);

        return environment && environment->id == id ? environment : NULL;
}

static void clear_reference(struct broker *broker, uint64_t environment, const char *home)
{
        owned(closep) int directory = open(home, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);

        if (directory >= 0)
                reference_clear(directory, broker->registry.instance, environment);
}

void leftovers_clear_reference(struct broker *broker, const struct environment *environment)
{
        if (environment->home)
                clear_reference(broker, environment->id, environment->home);
}

static void take_trace(struct reading *reading, struct memory_trace *trace)
{
        trace->size = record_take_signed(reading);
        trace->device = record_take(reading);
        trace->inode = record_take(reading);
        trace->path = record_take_text(reading);
        trace->shm_key = (int32_t)record_take_signed(reading);
        trace->creator = (pid_t)record_take_signed(reading);
}

void leftovers_undo(struct broker *broker, struct reading *reading)
{
        bool is_version = record_take(reading) == VERSION;
        uint64_t id = record_take(reading);
        struct memory_trace trace = { .backing = (enum backing)record_take(reading), .shm_id = -1 };
        owned(freep) char *path = NULL, *directory_path = NULL;

        if (trace.backing)
                take_trace(reading, &trace);
        path = trace.path;
        directory_path = record_take_text(reading);
        if (!is_version || !record_is_read(reading) || is_known(broker, id) || find_environment(broker, id))
                return;
        if (trace.backing == BACKING_SYSV)
                undo_segment(&trace);
        else if (trace.backing && directory_path)
                undo_file(&trace, directory_path);
        else if (directory_path) {
                clear_reference(broker, id, directory_path);
                homecoming_clear(broker, directory_path);
        }
}

/* --- what bears our name ----------------------------------------------------------------------------------------- */

/* The id in a name of `prefix`, our instance, and a number. */
static bool is_ours(const struct broker *broker, const char *name, const char *prefix, uint64_t *ret_id)
{
        uint64_t instance;
        int end = 0;

        if (strncmp(name, prefix, strlen(prefix)) != 0)
                return false;
        if (sscanf(name + strlen(prefix), ".%" SCNx64 ".%" SCNu64 "%n", &instance, ret_id, &end) != 2)
                return false;
        return !name[strlen(prefix) + (size_t)end] && instance == broker->registry.instance;
}

/* One of our own directories, with what is in it: files of ours and nothing else. */
static void remove_directory(int parent, const char *name)
{
        int fd = openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        owned(closedirp) DIR *directory = fd < 0 ? NULL : fdopendir(fd);
        const struct dirent *entry;

        if (!directory) {
                close_fd(fd);
                return;
        }
        while ((entry = readdir(directory)))
                if (strncmp(entry->d_name, "__db.", 5) == 0)
                        unlinkat(fd, entry->d_name, 0);
        unlinkat(parent, name, AT_REMOVEDIR);
}

/* A page of an environment, memory of a region, or the directory of an environment that says that it has one. */
static bool is_in_use(struct broker *broker, const char *prefix, uint64_t id)
{
        const struct environment *environment = find_environment(broker, id);

        if (strcmp(prefix, "region-broker") == 0)
                return is_known(broker, id);
        return environment && (strcmp(prefix, "control") == 0 || environment->own_directory);
}

static void clear_directory(struct broker *broker, const char *path, const char *prefix)
{
        owned(closedirp) DIR *directory = path ? opendir(path) : NULL;
        const struct dirent *entry;
        uint64_t id;

        while (directory && (entry = readdir(directory))) {
                if (!is_ours(broker, entry->d_name, prefix, &id))
                        continue;
                if (is_in_use(broker, prefix, id))
                        continue;
                log_info("removed %s/%s, which a broker before left half made", path, entry->d_name);
                if (strcmp(prefix, "environment") == 0)
                        remove_directory(dirfd(directory), entry->d_name);
                else
                        unlinkat(dirfd(directory), entry->d_name, 0);
        }
}

void leftovers_clear(struct broker *broker)
{
        clear_directory(broker, broker->settings.runtime_directory, "control");
        clear_directory(broker, "/dev/shm", "region-broker");
        clear_directory(broker, broker->settings.state_directory, "environment");
}
