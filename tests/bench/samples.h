#pragma once

/* What all programs of the bench are made of: time, samples of it, and lines of "key value" on standard output, which
 * bench.py makes its table of. Whatever fails ends the program. */

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#ifdef __cplusplus
extern "C" {
#endif

__attribute__((noreturn, format(printf, 1, 2))) void die(const char *format, ...);

/* What passes between the two in nanoseconds. */
int64_t begin_nsec(void);
int64_t since_nsec(int64_t begin);
/* From now on that is not time, but what this process and those that are followed have had of a CPU. Where all share one,
 * it is what the clock would say if nobody else was there. */
void count_cpu_time(void);
void follow_process(pid_t pid);
/* The process at the other end of a socket. */
pid_t find_peer(int socket);

/* This process stays on that CPU; < 0: on any. */
void pin(int cpu);

/* Prints a line. */
void tell(const char *key, double value);

/* One thing that is timed, over and over. */
struct contender {
        const char *key;
        int64_t (*run)(void *data); /* does it once and returns the nanoseconds of what counts */
        void *data;

        int64_t *samples; /* owned */
        size_t n;
};

/* Each in turn, `block` times, in so many rounds, after one to warm up: what else the machine does meets all of them.
 * Prints KEY.p50 and KEY.p99 of each in nanoseconds. */
void race(struct contender *contenders, size_t n, unsigned rounds, unsigned block);

/* The same for samples that were taken otherwise; sorts them. */
void tell_samples(const char *key, int64_t *samples, size_t n);

#ifdef __cplusplus
}
#endif
