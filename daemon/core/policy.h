#pragma once

#include "proto/terms.h"

#include <stdbool.h>
#include <sys/types.h>

struct environment;
struct name_rule;
struct peer;

/* May this peer do this to that: pure functions of owner, group, mode and who is asking. */

enum { WANT_EXECUTE = 1, WANT_WRITE = 2, WANT_READ = 4 };

/* As the kernel decides for a file: root may all; else the first class that fits (owner, group, others) decides. */
bool policy_mode_allows(const struct peer *peer, uid_t uid, gid_t gid, mode_t mode, int want);
/* The peer is in this group. */
bool policy_is_in_group(const struct peer *peer, gid_t gid);
/* Names that the rule reserves are for its owner, the members of its group, and root. NULL: for everybody. */
bool policy_may_use_name(const struct peer *peer, const struct name_rule *rule);
/* Attaching for reading asks for the read bit, for writing for both. */
bool policy_may_access(const struct peer *peer, const struct environment *environment, enum access access);
/* Removing belongs to the owner, and to root. */
bool policy_may_remove(const struct peer *peer, const struct environment *environment);
/* Seeing that it exists, and what is in it: whoever may read or remove it. */
bool policy_may_see(const struct peer *peer, const struct environment *environment);
