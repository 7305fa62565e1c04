#pragma once

#include "daemon/core/agenda.h"
#include "daemon/core/change.h"
#include "daemon/core/member.h"
#include "daemon/core/region.h"
#include "daemon/core/tree.h"
#include "proto/terms.h"

#include <sys/queue.h>
#include <sys/types.h>

struct account;
struct control;
struct described;
struct process;
struct reference;

/* A call that is parked at an environment until it may succeed, and then is tried again from its beginning. */
struct waiter {
        struct waiters *queue;           /* where it is parked; NULL while it is not */
        struct environment *environment; /* whose queue that is; NULL for one that watches */
        uint64_t environment_id;         /* the same, which may be gone when it is woken */
        struct account *account;         /* whose quota it counts against */
        bool creates;                    /* it can take over the part of an initializer that died */
        bool removes;                    /* it waits for the environment to be free */
        bool woken;                      /* on the broker's list of calls to try again */
        struct agenda_item deadline;
        TAILQ_ENTRY(waiter) in_queue;
};

TAILQ_HEAD(waiters, waiter);

/* Which directory it is: one that is made anew under the same path is another, though it may get the same inode. */
struct directory_id {
        uint64_t device, inode;
        int64_t born_nsec; /* 0 where the filesystem does not say */
};

/* One environment. It has a name until it is retired; it is freed when its last region is. */
struct environment {
        struct change change;
        uint64_t id; /* never used again */
        struct given_id given;
        char *name;
        char *home; /* canonical; NULL without */
        struct directory_id home_id;
        char *schema;
        enum state state;
        bool draining; /* a Remove waits; nobody new is let in */
        bool named;    /* can be found by name and home */
        uint64_t generation;
        uint64_t deaths;
        uid_t uid;
        gid_t gid;
        mode_t mode;
        enum backing backing;
        enum lifetime lifetime;
        int64_t linger_usec;
        bool reserve, lock, huge_pages;
        bool hugetlb;     /* its memory is of the pool of huge pages */
        bool recovery;    /* a death while attached for writing makes it dirty */
        bool key_given;   /* its System V keys are those that were asked for */
        int64_t next_key; /* for one more System V region; more than INT32_MAX when there is none */
        int64_t created_usec;
        struct process *creator; /* a reference */
        struct account *account; /* of the creator's uid; what it takes is charged there */
        struct control *control; /* owned */
        struct member *initializer;
        struct member *recoverer;
        struct departed culprit; /* by whose death it became dirty */
        bool died_again;         /* one more died while it was recovered: that has to be repaired, too */

        int64_t bytes;
        unsigned n_regions, n_members;
        unsigned last_number;
        TAILQ_HEAD(, region) regions; /* in the order of their numbers */
        TAILQ_HEAD(, member) members;
        struct waiters waiters;

        int directory; /* where its file regions are, opened with O_PATH; -1 without. Owned */
        char *directory_path;
        struct reference *reference; /* in its home, where its memory is elsewhere; owned */
        bool own_directory;          /* and it was made for this environment alone */
        struct described *described; /* what tells of it after a reboot; NULL: nothing does. Owned (describing.h) */
        uint64_t described_by;       /* the instance that wrote that last */

        /* reclaim */
        const char *rule;             /* by which it goes; NULL while it stays */
        char *rule_text;              /* the same where it came from a record; owned */
        int64_t linger_until;         /* 0 while it does not linger */
        struct agenda_item next_look; /* when to look again whether it can go */
        int64_t look_interval;
        bool in_doubt; /* due, but something that we know nothing of holds it */
        unsigned regions_reclaimed;
        int64_t bytes_reclaimed;

        LIST_ENTRY(environment) in_process;
        RB_ENTRY(environment) by_id;
        RB_ENTRY(environment) by_name;
        RB_ENTRY(environment) by_home;
};

/* What `definition` asks for, with the defaults filled in and without regions or home; NULL when memory runs out. */
struct environment *environment_new(const char *name, const struct definition *definition, enum backing backing);
/* It must have no members and no regions, and its control page and directory are closed. Takes NULL. */
struct environment *environment_free(struct environment *environment);

void environment_add_region(struct environment *environment, struct region *region);
void environment_remove_region(struct environment *environment, struct region *region);
/* NULL where there is none. */
struct region *environment_find_region(const struct environment *environment, const char *name);
