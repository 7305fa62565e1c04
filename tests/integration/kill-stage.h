#pragma once

/* What all processes of the kill test share: the parent, its clients, and those who hold memory without the broker's
 * knowing. They are forks of one program; what they count is in shared memory, so that a client that is killed has still
 * counted. */

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

/* clang-format off */
/* What a client is about to do; told to the parent before it does. */
#define STEPS(X)                                                                                              \
        X(CONNECT, "connect") X(OPEN, "open") X(MAP, "map") X(FILL, "fill") X(READY, "ready")                 \
        X(VERIFY, "verify") X(ADD, "add") X(ATTACH, "attach") X(DETACH, "detach") X(DELETE, "delete")         \
        X(CLOSE, "close") X(REMOVE, "remove") X(LOOK, "look") X(FORK, "fork") X(PASS, "pass") X(HOLD, "hold")

enum step {
        STEP_NONE,
#define STEP_VALUE(name, word) STEP_##name,
        STEPS(STEP_VALUE)
#undef STEP_VALUE
        N_STEPS
};
/* clang-format on */

const char *step_word(enum step step);

enum { HELD_MAX = 8192 };

struct tally {
        _Atomic uint64_t regions[8], bytes; /* made, by enum region_backing; less those whose maker was killed first */
        _Atomic uint64_t received;          /* descriptors, by bystanders */
        _Atomic uint64_t pages_verified, pages_wrong, answers_wrong;
        _Atomic uint64_t n_held, held[HELD_MAX]; /* regions that holders have, but private ones; as in struct mapping */
};

enum { BYSTANDERS = 2 };

struct stage {
        const char *socket;
        const char *directory; /* the homes are in it */
        uint64_t seed;
        int32_t shm_key;
        struct tally *tally;     /* shared */
        int release[2];          /* a byte read lets one survivor end, its end all; only the parent writes */
        int ended[2];            /* each survivor writes its pid when it is let go; then it looks a last time */
        int passing[BYSTANDERS]; /* sockets to the bystanders */
};

/* One line on standard error; the caller counts. */
__attribute__((format(printf, 2, 3))) void stage_complain(const struct stage *stage, const char *format, ...);

/* Small and good enough; the same seed gives the same numbers. */
struct dice {
        uint64_t state;
};
uint64_t dice_throw(struct dice *dice);
/* 0 … n - 1 */
unsigned dice_below(struct dice *dice, unsigned n);
bool dice_one_in(struct dice *dice, unsigned n);
/* A mixing of all bits, for keys and words as well. */
uint64_t dice_mix(uint64_t value);
