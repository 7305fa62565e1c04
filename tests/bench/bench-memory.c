/* What costs nothing to ask for, and is paid for later: the first touch of memory; and what a program does all the time:
 * looking whether its environment is well, and locking.
 *
 * usage: bench-memory BROKER-SOCKET ROUNDS */

#include "client/libregion.h"
#include "tests/bench/samples.h"

#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum { BYTES = 64 << 20, PAGE = 4096, LOOKS = 2000000, LOCKS = 500000 };

static struct region_broker *broker;

static void check(enum region_result r)
{
        if (r != REGION_OK)
                die("%s", region_error_message());
}

static void touch_all(char *memory)
{
        for (size_t i = 0; i < BYTES; i += PAGE)
                *(volatile char *)(memory + i) = 1;
}

/* --- first touch ------------------------------------------------------------------------------------------------- */

static struct region_env *open_large(enum region_create create, char **ret_memory)
{
        const struct region_spec spec = { .name = "large", .size = BYTES };
        const struct region_env_options options = { .create = create, .regions = &spec, .n_regions = 1 };
        struct region_env *env;
        void *memory;

        check(region_env_open(broker, "large", &options, &env));
        check(region_map(region_env_find(env, "large"), NULL, &memory));
        *ret_memory = memory;
        return env;
}

static int64_t touch_made(void *data)
{
        int64_t before = begin_nsec();
        struct region_env *env;
        char *memory;

        (void)data;
        env = open_large(REGION_CREATE_ALWAYS, &memory);
        touch_all(memory);
        before = since_nsec(before);
        region_env_close(env);
        return before;
}

static int64_t touch_joined(void *data)
{
        const struct region_env_options options = {};
        struct region_broker *other;
        struct region_env *env, *joined;
        int64_t before;
        char *memory;
        void *mapped;

        (void)data;
        env = open_large(REGION_CREATE_ALWAYS, &memory);
        touch_all(memory);
        check(region_env_ready(env));
        check(region_broker_connect(region_broker_socket(broker), &other));
        before = begin_nsec();
        check(region_env_open(other, "large", &options, &joined));
        check(region_map(region_env_find(joined, "large"), NULL, &mapped));
        touch_all(mapped);
        before = since_nsec(before);
        region_broker_close(other);
        region_env_close(env);
        return before;
}

/* Small pages, as a program gets them that does not ask. */
static char *map_raw(int fd)
{
        char *memory = mmap(NULL, BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

        if (memory == MAP_FAILED)
                die("mmap: %m");
        return memory;
}

static int make_raw(void)
{
        int fd = memfd_create("large", MFD_CLOEXEC);

        if (fd < 0 || ftruncate(fd, BYTES) < 0)
                die("memfd: %m");
        return fd;
}

static int64_t touch_raw(void *data)
{
        int64_t before = begin_nsec();
        int fd = make_raw();
        char *memory = map_raw(fd);

        (void)data;
        touch_all(memory);
        before = since_nsec(before);
        munmap(memory, BYTES);
        close(fd);
        return before;
}

static int64_t touch_raw_again(void *data)
{
        int fd = make_raw();
        char *memory = map_raw(fd), *again;
        int64_t before;

        (void)data;
        touch_all(memory);
        before = begin_nsec();
        again = map_raw(fd);
        touch_all(again);
        before = since_nsec(before);
        munmap(again, BYTES);
        munmap(memory, BYTES);
        close(fd);
        return before;
}

/* --- all the time ------------------------------------------------------------------------------------------------ */

static struct region_env *small;
static struct region_mutex *mutex;
static pthread_mutex_t plain = PTHREAD_MUTEX_INITIALIZER, robust;

/* Each returns picoseconds, since what one takes is few nanoseconds. */
static int64_t per_one(int64_t spent, int64_t n)
{
        return spent * 1000 / n;
}

static int64_t look_at_state(void *data)
{
        int64_t before = begin_nsec();

        (void)data;
        for (int i = 0; i < LOOKS; i++)
                if (region_env_state(small) != REGION_STATE_READY)
                        die("it is not well");
        return per_one(begin_nsec() - before, LOOKS);
}

static int64_t look_at_health(void *data)
{
        int64_t before = begin_nsec();
        struct region_health health;

        (void)data;
        for (int i = 0; i < LOOKS; i++) {
                region_env_health(small, &health);
                if (health.state != REGION_STATE_READY)
                        die("it is not well");
        }
        return per_one(begin_nsec() - before, LOOKS);
}

static int64_t lock_ours(void *data)
{
        int64_t before = begin_nsec();

        (void)data;
        for (int i = 0; i < LOCKS; i++)
                if (region_mutex_lock(mutex) != REGION_OK || region_mutex_unlock(mutex) != REGION_OK)
                        die("a mutex: %s", region_error_message());
        return per_one(begin_nsec() - before, LOCKS);
}

static int64_t lock_pthread(void *data)
{
        int64_t before = begin_nsec();

        for (int i = 0; i < LOCKS; i++)
                if (pthread_mutex_lock(data) != 0 || pthread_mutex_unlock(data) != 0)
                        die("a mutex");
        return per_one(begin_nsec() - before, LOCKS);
}

static void make_small(void)
{
        const struct region_spec spec = { .name = "lock", .size = PAGE };
        const struct region_env_options options = { .create = REGION_CREATE_ALWAYS, .regions = &spec, .n_regions = 1 };
        pthread_mutexattr_t attributes;
        void *memory;

        check(region_env_open(broker, "small", &options, &small));
        check(region_map(region_env_find(small, "lock"), NULL, &memory));
        check(region_env_ready(small));
        mutex = memory;
        check(region_mutex_init(mutex));
        pthread_mutexattr_init(&attributes);
        pthread_mutexattr_setrobust(&attributes, PTHREAD_MUTEX_ROBUST);
        pthread_mutexattr_setpshared(&attributes, PTHREAD_PROCESS_SHARED);
        pthread_mutex_init(&robust, &attributes);
}

int main(int argc, char **argv)
{
        unsigned rounds;

        if (argc != 3)
                die("usage: bench-memory BROKER-SOCKET ROUNDS");
        rounds = (unsigned)atoi(argv[2]);
        check(region_broker_connect(argv[1], &broker));
        make_small();
        race(
                (struct contender[]){
                        { .key = "health.state", .run = look_at_state },
                        { .key = "health.all", .run = look_at_health },
                        { .key = "mutex", .run = lock_ours },
                        { .key = "mutex.plain", .run = lock_pthread, .data = &plain },
                        { .key = "mutex.robust", .run = lock_pthread, .data = &robust },
                },
                5, rounds, 1);
        race(
                (struct contender[]){
                        { .key = "first_touch.creator", .run = touch_made },
                        { .key = "first_touch.raw", .run = touch_raw },
                        { .key = "first_touch.joiner", .run = touch_joined },
                        { .key = "first_touch.raw_again", .run = touch_raw_again },
                },
                4, rounds, 1);
        return 0;
}
