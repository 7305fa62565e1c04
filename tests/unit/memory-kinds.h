#pragma once

/* Memory of every kind, for tests that run once for each: _i is then an index in kinds[]. */

#include "daemon/host/memory.h"
#include "proto/util.h"
#include "tests/support/scratch.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/ipc.h>
#include <sys/mman.h>
#include <sys/shm.h>

enum { PAGES = 4, SIZE = PAGES * 4096 };

static const enum backing kinds[] = { BACKING_MEMFD, BACKING_POSIX, BACKING_FILE, BACKING_SYSV };
enum { MEMFD, POSIX, FILES, SYSV, N_KINDS };
enum { WITH_DESCRIPTORS = SYSV }; /* as an end for loops over the kinds */

static int directory;
static uint64_t next_id;

static inline void kinds_setup(void)
{
        directory = open(scratch, O_PATH | O_DIRECTORY | O_CLOEXEC);
        ck_assert_int_ge(directory, 0);
        next_id = 0;
}

static inline void kinds_teardown(void)
{
        directory = close_fd(directory);
}

/* A key that nobody has now; of this process, so that tests at the same time do not meet. */
static inline int32_t free_key(void)
{
        struct key_holder holder;
        int32_t key = 0x10000000 + (getpid() & 0xffffff) * 16;

        while (memory_find_key(key, &holder))
                key++;
        return key;
}

static inline struct memory_plan plan_for(int kind)
{
        next_id++;
        return (struct memory_plan){
                .backing = kinds[kind],
                .size = SIZE,
                .instance = (uint64_t)getpid(),
                .id = next_id,
                .directory = directory,
                .directory_path = scratch,
                .number = (unsigned)next_id,
                .shm_key = free_key(),
                .uid = getuid(),
                .gid = getgid(),
                .mode = 0600,
        };
}

static inline struct memory *make_as(const struct memory_plan *plan)
{
        struct memory *memory;
        const char *operation;
        int r = memory_make(plan, &memory, &operation);

        if (r == 0)
                r = memory_name(memory, &operation);
        ck_assert_msg(r == 0, "%s: %s", operation, strerror(-r));
        return memory;
}

static inline struct memory *make(int kind)
{
        const struct memory_plan plan = plan_for(kind);

        return make_as(&plan);
}

static inline int grant(const struct memory *memory, enum access access)
{
        const char *operation;
        int fd = memory_open(memory, access, &operation);

        ck_assert_msg(fd >= 0, "%s: %s", operation, strerror(-fd));
        return fd;
}

/* Maps it as a client does, which keeps no descriptor. */
static inline char *map(const struct memory *memory)
{
        char *bytes;
        int fd;

        if (memory_fd(memory) < 0) {
                bytes = shmat(memory_shm_id(memory), NULL, 0);
                ck_assert_ptr_ne(bytes, (void *)-1);
                return bytes;
        }
        fd = grant(memory, ACCESS_WRITE);
        bytes = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
        ck_assert_ptr_ne(bytes, MAP_FAILED);
        close_fd(fd);
        return bytes;
}

static inline void unmap(const struct memory *memory, char *bytes)
{
        ck_assert_int_eq(memory_fd(memory) < 0 ? shmdt(bytes) : munmap(bytes, SIZE), 0);
}

/* With a process that has just died it becomes free; only who looks at that process in /proc keeps what it had mapped, for
 * that moment. */
static inline void check_becomes_free(const struct memory *memory)
{
        int64_t begun = 0;

        while (memory_is_held(memory) != 0)
                ck_assert_msg(check_pause(&begun), "the memory is still held");
}

static inline bool segment_exists(int id)
{
        struct shmid_ds segment;

        return shmctl(id, IPC_STAT, &segment) == 0;
}

static inline void remove_segment(int id)
{
        ck_assert_int_eq(shmctl(id, IPC_RMID, NULL), 0);
}

static inline bool exists(const char *path)
{
        struct stat st;

        return lstat(path, &st) == 0;
}

static inline void write_file(const char *path, const char *text)
{
        FILE *file = fopen(path, "wxe");

        ck_assert_ptr_nonnull(file);
        fputs(text, file);
        fclose(file);
}

/* It is still there as it was written; removes it. */
static inline void check_file_survived(const char *path, const char *text)
{
        char found[64] = "";
        FILE *file = fopen(path, "re");

        ck_assert_msg(file, "%s is gone", path);
        ck_assert_ptr_nonnull(fgets(found, sizeof(found), file));
        fclose(file);
        ck_assert_str_eq(found, text);
        unlink(path);
}

static inline void check_refused(const struct memory_plan *plan, int error, const char *wanted_operation)
{
        struct memory *memory = NULL;
        const char *operation = NULL;

        int r = memory_make(plan, &memory, &operation);

        if (r == 0) {
                r = memory_name(memory, &operation);
                memory_release(take_ptr(memory));
        }
        ck_assert_int_eq(r, error);
        ck_assert_str_eq(operation, wanted_operation);
        ck_assert_ptr_null(memory);
}

static inline TCase *kinds_case(Suite *suite, const char *name)
{
        TCase *tcase = check_case(suite, name);

        scratch_add(tcase);
        tcase_add_checked_fixture(tcase, kinds_setup, kinds_teardown);
        return tcase;
}
