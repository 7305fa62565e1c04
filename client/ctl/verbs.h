#pragma once

/* What regionctl can do: one row and one function per verb. */

#include "client/ctl/options.h"

/* How regionctl ends; the same numbers stand in --help and regionctl(1). */
enum ctl_exit {
        CTL_DONE = 0,
        CTL_FAILED = 1,
        CTL_USAGE = 2,     /* the command line is wrong */
        CTL_NO_BROKER = 3, /* none answers */
        CTL_NOT_FOUND = 4, /* no such environment or region */
        CTL_BUSY = 5,      /* somebody holds it, or is not done with it */
        CTL_DENIED = 6,    /* not permitted */
        CTL_REFUSED = 7,   /* the machine or a quota refuses */
};

struct verb {
        const char *name;
        const char *operands; /* as --help shows them */
        size_t min_operands;
        size_t max_operands;
        unsigned options; /* groups of it, enum option_group */
        const char *help;
        /* Does it and returns an exit code; has complained if that is not CTL_DONE. */
        int (*run)(struct options *options);
};

/* NULL where there is no such verb. */
const struct verb *verb_find(const char *name);
