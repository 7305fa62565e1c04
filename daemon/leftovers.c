/* Two kinds have to be written down before they are made, since nothing in them tells that they are ours: System V segments
 * and files in directories of others. All else has the broker's instance in its name. */

#include "daemon/leftovers.h"

#include "daemon/broker.h"
#include "daemon/host/memory.h"
#include "daemon/host/record.h"
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

bool leftovers_note(struct record *record, const struct environment *environment, const struct region *region)
{
        struct memory_trace trace = {
                .backing = region->backing,
                .size = region->size,
                .shm_id = -1,
                .shm_key = region->shm_key,
                .creator = getpid(),
        };

        if (region->backing != BACKING_SYSV && (region->backing != BACKING_FILE || !region->memory))
                return false;
        if (region->memory)
                memory_trace(region->memory, &trace);
        record_put(record, VERSION);
        record_put(record, region->id);
        record_put(record, trace.backing);
        record_put_signed(record, trace.size);
        record_put(record, trace.device);
        record_put(record, trace.inode);
        record_put_text(record, trace.path);
        record_put_signed(record, trace.shm_key);
        record_put_signed(record, trace.creator);
        record_put_text(record, environment->directory_path);
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

void leftovers_undo(struct broker *broker, struct reading *reading)
{
        bool is_version = record_take(reading) == VERSION;
        uint64_t region = record_take(reading);
        struct memory_trace trace = { .backing = (enum backing)record_take(reading), .shm_id = -1 };
        owned(freep) char *path = NULL, *directory_path = NULL;

        trace.size = record_take_signed(reading);
        trace.device = record_take(reading);
        trace.inode = record_take(reading);
        trace.path = path = record_take_text(reading);
        trace.shm_key = (int32_t)record_take_signed(reading);
        trace.creator = (pid_t)record_take_signed(reading);
        directory_path = record_take_text(reading);
        if (!is_version || !record_is_read(reading) || is_known(broker, region))
                return;
        if (trace.backing == BACKING_SYSV)
                undo_segment(&trace);
        else if (directory_path)
                undo_file(&trace, directory_path);
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

static bool has_environment(struct broker *broker, uint64_t id)
{
        const struct environment *environment = registry_after(&broker->registry, id - 1);

        return environment && environment->id == id;
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

static void clear_directory(struct broker *broker, const char *path, const char *prefix)
{
        owned(closedirp) DIR *directory = path ? opendir(path) : NULL;
        const struct dirent *entry;
        uint64_t id;

        while (directory && (entry = readdir(directory))) {
                if (!is_ours(broker, entry->d_name, prefix, &id))
                        continue;
                if (strcmp(prefix, "region-broker") == 0 ? is_known(broker, id) : has_environment(broker, id))
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
