#pragma once

/* The environments that clients open: all backings, all lifetimes, and mixtures. */

#include "client/libregion.h"
#include "tests/integration/kill-pattern.h"

/* What more a plan is: */
enum {
        PRIVATE_OWN = 1, /* private under a name of its own; else all want the same one */
        MIXED = 2,       /* each region has another backing */
        HOME = 4,
        BY_PATH = 8, /* opened by the path of its home */
        KEYS = 16,   /* at given System V keys */
        READ_TOO = 32,
};

struct plan {
        const char *name;
        enum region_backing backing;
        enum region_lifetime lifetime;
        int64_t linger_usec;
        unsigned is;
};

extern const struct plan plans[];
extern const unsigned n_plans;

enum { REGIONS_MAX = 4 }; /* that an environment is made with: "a", "b", "c", "d" */

/* How one is to be opened. It points into itself: it must not move. */
struct wish {
        char name[160], home[160];
        struct region_spec specs[REGIONS_MAX];
        const char *only[1];
        struct region_env_options options;
};

/* A set of refusals that a call may answer. */
#define MAY(name) (UINT32_C(1) << REGION_E_##name)

void wish_make(struct wish *wish, const struct stage *stage, const struct plan *plan, struct dice *dice);
/* Another way to come in, now and then; the refusals that go with it. */
uint32_t wish_vary(struct wish *wish, const struct plan *plan, struct dice *dice);

/* Makes the homes of all plans. */
bool plans_make_homes(const struct stage *stage);
/* The files in them; -1: cannot be looked at. */
int plans_count_files(const struct stage *stage);
