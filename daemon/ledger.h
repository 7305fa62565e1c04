#pragma once

#include "daemon/core/registry.h"

struct broker;
struct refusal;
struct store;

/* What is true, as it is written down for the broker that comes after us. A change is written before anybody can see what
 * followed from it. */
struct ledger {
        struct store *store; /* owned; NULL: nothing is kept */
        char boot[64];
        uint64_t last_event;  /* the newest that is written */
        int failure;          /* of the latest commit, -errno; 0: none */
        uint64_t intends_for; /* the environment whose System V keys are written down as being made */
        unsigned n_intents;
};

/* Opens it. What a broker before us left is for recovery_run(). -errno, said so in the log. */
int ledger_open(struct broker *broker, const char *directory);
void ledger_close(struct broker *broker);
/* Nothing is written down any more. */
void ledger_wipe(struct broker *broker);

/* Writes it down as ours, whether or not anything has changed: from now on names are given that tell of us alone. */
void ledger_begin(struct broker *broker);
/* Writes what has changed; cheap where nothing has. A failure is noted and all is tried again at the next. */
void ledger_commit(struct broker *broker);
/* Before something new is made: it could be written down. 0, or REFUSED_RESOURCE. */
int ledger_check(struct broker *broker, struct refusal *refusal);

/* Memory is about to be made that could be left behind if we were killed (leftovers.h), for the regions of the environment
 * and for one that is to come to it (NULL: none). Written at once; the next commit takes it back, what was made being part of
 * the environment's record by then. */
void ledger_intend(struct broker *broker, const struct environment *environment, const struct region *added);

/* Kinds of records, in the order of which they are read. */
enum ledger_kind {
        LEDGER_ITSELF = 'A',
        LEDGER_ENVIRONMENT = CHANGE_ENVIRONMENT,
        LEDGER_INTENT = CHANGE_INTENT,
        LEDGER_MEMBER = CHANGE_MEMBER,
        LEDGER_SESSION = CHANGE_SESSION,
        LEDGER_EVENT = 'V',
};
