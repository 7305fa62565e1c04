#pragma once

/* What stands behind the handles of libregion.h, and who guards what: the session's lock its connection and its list of
 * environments, for the whole of a call; each environment's lock its list of regions and their mappings, for moments
 * and never while the broker is asked. The first is taken before the second; before both, for moments, the lock of the
 * list of all sessions (inheritance.c), which a fork holds. */

#include "client/connection.h"
#include "client/libregion.h"
#include "client/override.h"
#include "client/pages.h"

#include "proto/arena.h"
#include "proto/control.h"
#include "proto/terms.h"

#include <pthread.h>
#include <stdatomic.h>
#include <sys/queue.h>

struct region_broker {
        LIST_ENTRY(region_broker) in_all;
        _Atomic pid_t pid; /* of the process whose session this is */
        bool held;         /* its locks, by the fork that is under way */
        bool torn;         /* by a fork, in a child: another thread was at work in it */
        char *socket;
        _Atomic int64_t timeout_usec;
        pthread_mutex_t lock;
        _Atomic pthread_t insider; /* the thread that has the lock, or 0 */
        struct connection connection;
        int64_t number; /* which of the process's sessions it is, for a broker that is to know it again */
        bool impatient; /* a broker that is away is not waited for */
        LIST_HEAD(, region_env) envs;
        SLIST_HEAD(, left) left; /* what the broker was not told yet */
};

/* An environment that the session left, or a region of it. */
struct left {
        SLIST_ENTRY(left) link;
        struct region_broker *broker;
        char *environment, *id, *region; /* owned */
};

struct region_env {
        struct region_broker *broker;
        LIST_ENTRY(region_env) link;
        struct arena arena; /* of the three below */
        const struct region_env_info *info;
        const struct struct_array *differences; /* of struct difference */
        struct overrides overrides;
        const struct control_page *control;
        _Atomic enum region_role role;
        _Atomic bool inherited; /* by a child, whose session is no member of it yet */
        bool gone;              /* the broker that there is now knows nothing of it */
        bool reserve;           /* new memory is reserved before anybody gets it */
        struct pages_wishes wishes;
        pthread_mutex_t lock;
        TAILQ_HEAD(region_list, region) regions; /* in the order of their numbers */
        struct region_named *named;              /* owned: whose environment it is; else NULL */
};

/* Its environment's, and freed with that. */
struct region_named {
        struct region_env *env;
        struct region *writer; /* NULL where the mode permits this process to read only */
        struct region *reader;
};

struct region {
        struct region_env *env;
        TAILQ_ENTRY(region) link;
        struct arena arena; /* of info */
        const struct region_info *info;
        struct pages pages;
};
