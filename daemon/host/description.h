#pragma once

#include "daemon/core/region.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

/* What an environment of files leaves beside them, so that a broker of another boot can go on with it. The format is in
 * description.c, and for people in region-environment-description(5). */

#define DESCRIPTION_NAME "__db.environment"
/* One that is not in force: what it describes was not ready yet, or was to be removed. */
#define DESCRIPTION_VOID_NAME DESCRIPTION_NAME ".new"

/* Which file it is, wherever its filesystem is mounted: the inode, and when it was born (0: not known). */
struct file_id {
        uint64_t inode;
        int64_t born_nsec;
};

struct described_region {
        struct given_id id;
        unsigned number; /* of its file, __db.NNN */
        int64_t size;
        struct file_id file;
        char *type, *name;
        bool stray; /* not one of the environment's: just being made or removed, and to be removed if it is there */
};

struct description {
        struct given_id id;
        uint64_t broker; /* the instance of who wrote it */
        char *name;
        char *home;      /* NULL: it has none */
        char *directory; /* of the files, where that is another than this is in; else NULL */
        char *schema;    /* or NULL */
        uid_t uid;
        gid_t gid;
        mode_t mode;
        int64_t created_usec;
        uint64_t generation, deaths;
        bool recovery, reserve, lock, huge_pages;
        bool writing; /* processes may be attached for writing: if the machine stops, they died so */
        unsigned last_number;
        struct described_region *regions; /* in the order of their numbers */
        size_t n_regions;
};

/* One that description_read() or description_parse() made. */
void description_clear(struct description *description);

/* As text, for the caller to free; NULL when memory runs out. */
char *description_print(const struct description *description, size_t *ret_n);
/* -EBADMSG: the text is no description, and `why` (DESCRIPTION_WHY_SIZE bytes) says where it is not; -ENOMEM. */
enum { DESCRIPTION_WHY_SIZE = 512, DESCRIPTION_MAX_BYTES = 512 * 1024, DESCRIPTION_MAX_REGIONS = 251 };
int description_parse(const char *text, size_t n, struct description *ret, char *why);
/* What its last line says of the bytes before that. */
uint64_t description_sum(const char *text, size_t n);

/* --- as a file in a directory, which may be open with O_PATH ----------------------------------------------------- */

/* Writes it, and returns when it is on the disk. In force it takes the place of the one before, if any; else it is put beside
 * that. -EEXIST: something that no broker of this user wrote has its name, and is left alone. Else -errno. */
int description_put(int directory, const struct description *description, bool in_force);
/* What is in force there is so no longer. Harmless where nothing is. */
void description_void(int directory);
/* Removes what is there, in force or not. */
void description_remove(int directory);
/* 0; -ENOENT: there is none. Else it is not to be believed, `why` says why: -EPERM, -EBADMSG, -EFBIG, -errno. */
int description_read(int directory, bool in_force, struct description *ret, char *why);

/* Identifies what is open there. -errno. */
int file_identify(int fd, struct file_id *ret);
/* Looks at the file of a region, which has to be one that a broker of this user made: 0 with its device, and *ret_same: it is
 * the very file that was described, and not another of its size. -ENOENT, -EPERM, -ESTALE: what is there is not of its size;
 * `why` says so. */
int description_check_file(int directory, const struct described_region *region, uint64_t *ret_device,
                           uint64_t *ret_inode, bool *ret_same, char *why);
