#pragma once

#include "daemon/core/declaration.h"
#include "daemon/core/limits.h"
#include "proto/terms.h"

#include <sys/types.h>

struct peer;

/* What the administrator has decided beyond the limits that hold for everybody. Zero-initialised nothing was. */

/* Other limits for one user, or for each user who is in a group. */
struct user_rule {
        bool is_group;
        id_t id;
        struct some_limits limits;
};

/* Names that begin so can be given by that user, members of that group and root alone. */
struct name_rule {
        char *prefix; /* owned, as the others; not empty */
        struct opt_int owner, group;
        char *reason; /* one sentence, for those who may not */
};

struct rules {
        struct user_rule *users; /* owned, as the others */
        size_t n_users;
        struct name_rule *names;
        size_t n_names;
        char **homes; /* globs of directories that may be a home or have regions in them, with all that is below them */
        size_t n_homes;
        bool homes_given;     /* else any may */
        enum backing backing; /* of environments that ask for none; 0: memfd */
        struct opt_int mode;  /* likewise; else 0600 */
        struct declarations declared;
};

extern const struct rules rules_none;

void rules_deinit(struct rules *rules);

/* The rule of that user or group, of that prefix, made where there is none yet; NULL when memory runs out. Making one moves
 * the others. */
struct user_rule *rules_user(struct rules *rules, bool is_group, id_t id);
struct name_rule *rules_name(struct rules *rules, const char *prefix);
/* Copies the text. -ENOMEM. */
int rules_add_home(struct rules *rules, const char *glob);
void rules_forget_homes(struct rules *rules);

/* The limits of one user that are not those of all. Those of groups in the order of the rules, then the user's own: of each
 * the last counts. `peer` (NULL: unknown) is in groups. */
void rules_limits_of(const struct rules *rules, uid_t uid, const struct peer *peer, struct some_limits *ret);
/* The rule with the longest prefix that the name begins with; NULL where it is free. */
const struct name_rule *rules_reserving(const struct rules *rules, const char *name);
/* May this directory, by its canonical path, be a home or have regions in it? */
bool rules_allow_home(const struct rules *rules, const char *path);
