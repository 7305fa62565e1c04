/* The format, one fact a line, "word: value"; the first line is the version:
 *
 *         region-broker reference 1
 *         boot: 0123abcd-...             /proc/sys/kernel/random/boot_id
 *         broker: 5f3c9a1be0d2c477       its instance
 *         process: 4711 90210            its pid, and the inode of its pidfd
 *         socket: /run/region-broker/org.regionbroker
 *         environment: 17 shop           its id and name
 *         region: 1 18 stock key 1380057088 id 65586    its number, id and name; for sysv the key and the id of that
 *
 * It is written under another name first and then linked, so that nobody ever reads a part of it. */

#include "daemon/host/reference.h"

#include "daemon/core/environment.h"
#include "daemon/host/boot.h"
#include "daemon/host/memory.h"
#include "daemon/host/reopen.h"
#include "proto/util.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#define NAME "__db.001"
#define FIRST_LINE "region-broker reference 1\n"

enum { REFERENCE_MAX = 256 * 1024 };

struct reference {
        char *directory;
        dev_t device;
        ino_t inode;
        struct timespec written; /* with the size: the number of an inode is soon given again */
        off_t size;
};

/* The process of that pid is the one with that pidfd: no other that was given its number since. */
static bool is_alive(pid_t pid, uint64_t id)
{
        owned(closep) int fd = (int)syscall(SYS_pidfd_open, pid, 0);
        struct stat st;

        return fd >= 0 && fstat(fd, &st) == 0 && st.st_ino == id;
}

static uint64_t own_process_id(void)
{
        owned(closep) int fd = (int)syscall(SYS_pidfd_open, getpid(), 0);
        struct stat st;

        return fd >= 0 && fstat(fd, &st) == 0 ? st.st_ino : 0;
}

/* --- what stands there ------------------------------------------------------------------------------------------- */

enum found { FOUND_NOTHING, FOUND_STALE, FOUND_LIVE, FOUND_FOREIGN };

/* Judges a reference that somebody wrote: the process it names has to live in this boot. */
static enum found judge(char *text, pid_t *ret_holder)
{
        char boot[64], *line, *rest = text + strlen(FIRST_LINE);
        unsigned long long id = 0;
        int pid = 0;
        bool this_boot = false;

        if (strncmp(text, FIRST_LINE, strlen(FIRST_LINE)) != 0)
                return FOUND_FOREIGN;
        boot_read_id(boot);
        while ((line = strsep(&rest, "\n"))) {
                if (strncmp(line, "boot: ", 6) == 0)
                        this_boot = strcmp(line + 6, boot) == 0;
                else if (sscanf(line, "process: %d %llu", &pid, &id) == 2)
                        break;
        }
        if (!this_boot || pid <= 0 || pid == getpid() || !is_alive(pid, id))
                return FOUND_STALE; /* one of our own, too: it belongs to an environment that is no more */
        *ret_holder = pid;
        return FOUND_LIVE;
}

/* What stands in the file, for the caller to free; NULL: nothing, or nothing of ours. */
static char *read_standing(int directory, enum found *ret)
{
        owned(closep) int fd = openat(directory, NAME, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
        owned(freep) char *text = NULL;
        struct stat st;

        *ret = fd < 0 && errno == ENOENT ? FOUND_NOTHING : FOUND_FOREIGN;
        if (fd < 0)
                return NULL;
        /* written by our own uid: another could name any process it likes, and keep us out of its directory at most */
        if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode) || st.st_size > REFERENCE_MAX)
                return NULL;
        text = calloc(1, (size_t)st.st_size + 1);
        if (!text || read(fd, text, (size_t)st.st_size) < 0)
                return NULL;
        return take_ptr(text);
}

static enum found look(int directory, pid_t *ret_holder)
{
        enum found found;
        owned(freep) char *text = read_standing(directory, &found);

        *ret_holder = 0;
        return text ? judge(text, ret_holder) : found;
}

/* --- writing ----------------------------------------------------------------------------------------------------- */

static int write_all(FILE *file, const struct environment *environment, const struct reference_broker *broker)
{
        const struct region *region;
        char boot[64];

        boot_read_id(boot);
        fprintf(file, FIRST_LINE "boot: %s\nbroker: %016" PRIx64 "\nprocess: %d %" PRIu64 "\n", boot, broker->instance,
                (int)getpid(), own_process_id());
        if (broker->socket)
                fprintf(file, "socket: %s\n", broker->socket);
        fprintf(file, "environment: %" PRIu64 " %s\n", environment->id, environment->name);
        TAILQ_FOREACH(region, &environment->regions, in_environment) {
                fprintf(file, "region: %u %" PRIu64 " %s", region->number, region->id, region->name);
                if (region->backing == BACKING_SYSV && region->memory) /* it may be lost */
                        fprintf(file, " key %d id %d", (int)region->shm_key, memory_shm_id(region->memory));
                fputc('\n', file);
        }
        return fflush(file) == 0 && !ferror(file) ? 0 : -EIO;
}

/* An unnamed file that gets its name once it is whole. */
static int fill(int directory, const struct environment *environment, const struct reference_broker *broker,
                int *ret_fd)
{
        owned(closep) int fd = openat(directory, ".", O_TMPFILE | O_RDWR | O_CLOEXEC, 0644);
        FILE *file;
        int copy, r;

        if (fd < 0)
                return -errno;
        copy = fcntl(fd, F_DUPFD_CLOEXEC, 3);
        if (copy < 0)
                return -errno;
        file = fdopen(copy, "w");
        if (!file) {
                close_fd(copy);
                return -ENOMEM;
        }
        r = write_all(file, environment, broker);
        if (fclose(file) != 0 && r == 0)
                r = -EIO;
        if (r < 0)
                return r;
        fchmod(fd, environment->mode & 0044 ? 0644 : 0600);
        *ret_fd = take_fd(fd);
        return 0;
}

int reference_write(int directory, const char *directory_path, const struct environment *environment,
                    const struct reference_broker *broker, struct reference **ret, pid_t *ret_holder)
{
        enum found found = look(directory, ret_holder);
        owned(freep) struct reference *reference = calloc(1, sizeof(*reference));
        owned(closep) int fd = -1;
        struct stat st;
        int r;

        if (!reference)
                return -ENOMEM;
        if (found == FOUND_LIVE || found == FOUND_FOREIGN)
                return -EEXIST;
        r = fill(directory, environment, broker, &fd);
        if (r < 0)
                return r;
        if (fstat(fd, &st) < 0)
                return -errno;
        reference->device = st.st_dev;
        reference->inode = st.st_ino;
        reference->written = st.st_mtim;
        reference->size = st.st_size;
        reference->directory = strdup(directory_path);
        if (!reference->directory)
                return -ENOMEM;
        if (found == FOUND_STALE)
                unlinkat(directory, NAME, 0);
        if (reopen_link(fd, directory, NAME) < 0) {
                r = -errno;
                free(reference->directory);
                return r;
        }
        *ret = take_ptr(reference);
        return 0;
}

static bool is_ours(const struct reference *reference, const struct stat *st)
{
        return st->st_dev == reference->device && st->st_ino == reference->inode && st->st_size == reference->size &&
               st->st_mtim.tv_sec == reference->written.tv_sec && st->st_mtim.tv_nsec == reference->written.tv_nsec;
}

struct reference *reference_forget(struct reference *reference)
{
        if (reference)
                free(reference->directory);
        free(reference);
        return NULL;
}

struct reference *reference_remove(struct reference *reference)
{
        owned(closep) int directory = -1;
        struct stat st;

        if (!reference)
                return NULL;
        directory = open(reference->directory, O_PATH | O_DIRECTORY | O_CLOEXEC);
        if (directory >= 0 && fstatat(directory, NAME, &st, AT_SYMLINK_NOFOLLOW) == 0 && is_ours(reference, &st))
                unlinkat(directory, NAME, 0);
        return reference_forget(reference);
}

void reference_clear(int directory, uint64_t instance, uint64_t environment)
{
        enum found found;
        owned(freep) char *text = read_standing(directory, &found);
        uint64_t broker = 0, id = 0;
        char *line, *rest = text;

        while ((line = strsep(&rest, "\n"))) {
                sscanf(line, "broker: %" SCNx64, &broker);
                if (sscanf(line, "environment: %" SCNu64, &id) == 1)
                        break; /* the names that follow are of others' making */
        }
        if (text && strncmp(text, FIRST_LINE, strlen(FIRST_LINE) - 1) == 0 && broker == instance && id == environment)
                unlinkat(directory, NAME, 0);
}
