#pragma once

#include "proto/terms.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

/* The memory of one region, wherever it lives: made, granted, proven free, given back. `private` regions have none. */
struct memory;

struct memory_plan {
        enum backing backing;
        int64_t size;
        bool hugetlb;          /* memfd, sysv: from the pool of huge pages, of which `size` is a multiple */
        uint64_t instance, id; /* for a name of our own under /dev/shm */
        int directory;         /* file: where to make it; borrowed until memory_unname() */
        const char *directory_path;
        unsigned number; /* file: NNN of __db.NNN */
        int32_t shm_key; /* sysv */
        uid_t uid;       /* sysv: to whom it is handed */
        gid_t gid;
        mode_t mode;
};

/* Makes it, empty and of its size; a file is made without its name. -errno, and *ret_operation names the call that failed;
 * nothing is left behind then. -EEXIST from "shmget": the key is taken; the segment is not touched. -EOPNOTSUPP: a file on
 * this filesystem could never be proven free. */
int memory_make(const struct memory_plan *plan, struct memory **ret, const char **ret_operation);
/* Gives a file its name; all else has it. -EEXIST: something is called so, which is not touched. */
int memory_name(struct memory *memory, const char **ret_operation);

/* The size of the huge pages in the pool; 0 where this kernel has none. */
int64_t memory_huge_page_size(void);

/* A description of its own for one client: a descriptor, or -errno with the operation. Not for sysv. */
int memory_open(const struct memory *memory, enum access access, const char **ret_operation);
/* For sysv: 0 where its id is still its own, or -EIDRM with the operation. */
int memory_check(const struct memory *memory, const char **ret_operation);

/* The proof. 0: at this moment no process maps it or has it open but us; 1: somebody does, or nobody can tell. */
int memory_is_held(const struct memory *memory);

/* Others have removed what it is: its segment; or the name of its file, without which nobody finds it after us. An object
 * under /dev/shm and a memfd need no name. */
bool memory_is_lost(const struct memory *memory);

/* Takes its name or key away, so that it can be given anew; what holders have mapped stays. Only what is provably the
 * thing that memory_make() made is removed. Again is harmless. */
void memory_unname(struct memory *memory);
/* Call it before that where somebody was granted it: System V memory that nobody has attached yet would not outlive its
 * key. It is kept until it is released. */
void memory_keep(struct memory *memory);

/* Unnames it, gives its pages back if it is still proven free, and frees the handle. For a large one this takes a while;
 * it may be called from another thread, which then owns the handle. Takes NULL. */
void memory_release(struct memory *memory);
/* Leaves it to the world as it is and frees the handle. Takes NULL. */
void memory_forget(struct memory *memory);

int memory_fd(const struct memory *memory);           /* ours; -1 for sysv */
int memory_shm_id(const struct memory *memory);       /* -1 unless sysv */
const char *memory_path(const struct memory *memory); /* NULL for memfd and sysv, and once unnamed */
int64_t memory_used(const struct memory *memory);     /* bytes it takes now; -1 for sysv: see below */

/* Tells `each` of all System V segments of this IPC namespace how many bytes they take now, in memory and swapped out. The
 * kernel tells it of all or of none, and takes more than a microsecond for each: it is not for every answer. */
void memory_look_at_segments(void (*each)(int shm_id, int64_t used, void *data), void *data);

/* How it is found again after the broker was gone. */
struct memory_trace {
        enum backing backing;
        bool unnamed;
        int64_t size;
        uint64_t device, inode; /* memfd, posix, file */
        char *path;             /* posix, file; NULL else */
        int shm_id;             /* sysv, and all below */
        int32_t shm_key;
        pid_t creator;
        int64_t changed; /* when its owner and mode were set last, in seconds since 1970 */
};

/* The path is borrowed from the memory. */
void memory_trace(const struct memory *memory, struct memory_trace *ret);
/* -ESTALE: what was traced is gone, or something else is in its place, which is not touched. -ENOMEM. `directory`: file: that
 * in which it was made; borrowed as in the plan. `stored`: a descriptor of it that was kept for us, which is taken over in any
 * case; -1: none, and what has no name is not found. */
int memory_find(const struct memory_trace *trace, int directory, int stored, struct memory **ret);

/* Of memory that was not found: the same without a way to it, until somebody who has it brings a descriptor. Until then it is
 * held by nobody that we could know of, and cannot be opened. -ESTALE: it had a way of its own, which leads there no more and
 * no descriptor replaces (all but memfd); -ENOMEM. */
int memory_expect(const struct memory_trace *trace, struct memory **ret);
bool memory_is_missing(const struct memory *memory);
/* `fd` is a descriptor that somebody offers, of which nothing is believed; it stays the caller's. -ESTALE: it is of something
 * else. -errno: it cannot be reopened. */
int memory_bring_back(struct memory *memory, int fd);

/* Who has a System V key. False where nobody has. */
struct key_holder {
        int shm_id;
        uid_t uid;
        pid_t pid;
};
bool memory_find_key(int32_t key, struct key_holder *ret);
