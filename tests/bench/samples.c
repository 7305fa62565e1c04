/* Medians and 99th percentiles: on a busy machine a mean tells of the others. */

#include "tests/bench/samples.h"

#include <errno.h>
#include <sched.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <time.h>

void die(const char *format, ...)
{
        va_list args;

        fprintf(stderr, "%s: ", program_invocation_short_name);
        va_start(args, format);
        vfprintf(stderr, format, args);
        va_end(args);
        fputc('\n', stderr);
        exit(1);
}

static clockid_t followed[4];
static size_t n_followed;
static clockid_t own = CLOCK_MONOTONIC;

static int64_t read_clock(clockid_t clock)
{
        struct timespec now;

        if (clock_gettime(clock, &now) < 0)
                die("clock_gettime: %m");
        return now.tv_sec * INT64_C(1000000000) + now.tv_nsec;
}

static int64_t read_followed(void)
{
        int64_t sum = 0;

        for (size_t i = 0; i < n_followed; i++)
                sum += read_clock(followed[i]);
        return sum;
}

/* Our own clock is read last here and first below, so that reading the others does not count. */
int64_t begin_nsec(void)
{
        int64_t others = read_followed();

        return others + read_clock(own);
}

int64_t since_nsec(int64_t begin)
{
        int64_t ours = read_clock(own);

        return ours + read_followed() - begin;
}

void count_cpu_time(void)
{
        own = CLOCK_PROCESS_CPUTIME_ID;
}

void follow_process(pid_t pid)
{
        count_cpu_time();
        if (clock_getcpuclockid(pid, &followed[n_followed++]) != 0)
                die("process %d has no clock", (int)pid);
}

pid_t find_peer(int socket)
{
        struct ucred credentials;
        socklen_t size = sizeof(credentials);

        if (getsockopt(socket, SOL_SOCKET, SO_PEERCRED, &credentials, &size) < 0)
                die("SO_PEERCRED: %m");
        return credentials.pid;
}

void pin(int cpu)
{
        cpu_set_t set;

        if (cpu < 0)
                return;
        CPU_ZERO(&set);
        CPU_SET(cpu, &set);
        if (sched_setaffinity(0, sizeof(set), &set) < 0)
                die("cannot stay on CPU %d: %m", cpu);
}

void tell(const char *key, double value)
{
        printf("%s %.10g\n", key, value);
        fflush(stdout);
}

static int compare(const void *a, const void *b)
{
        int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;

        return x < y ? -1 : x > y;
}

void tell_samples(const char *key, int64_t *samples, size_t n)
{
        char name[128];

        qsort(samples, n, sizeof(*samples), compare);
        snprintf(name, sizeof(name), "%s.p50", key);
        tell(name, (double)samples[n / 2]);
        snprintf(name, sizeof(name), "%s.p99", key);
        tell(name, (double)samples[n * 99 / 100]);
}

static void run_block(struct contender *contender, unsigned block, bool counts)
{
        for (unsigned i = 0; i < block; i++) {
                int64_t spent = contender->run(contender->data);

                if (counts)
                        contender->samples[contender->n++] = spent;
        }
}

void race(struct contender *contenders, size_t n, unsigned rounds, unsigned block)
{
        for (size_t i = 0; i < n; i++) {
                contenders[i].samples = calloc((size_t)rounds * block, sizeof(int64_t));
                if (!contenders[i].samples)
                        die("out of memory");
        }
        for (unsigned round = 0; round <= rounds; round++)
                for (size_t i = 0; i < n; i++)
                        run_block(&contenders[i], block, round > 0);
        for (size_t i = 0; i < n; i++) {
                tell_samples(contenders[i].key, contenders[i].samples, contenders[i].n);
                free(contenders[i].samples);
        }
}
