/* What a session does: an environment of five regions opened, mapped and touched; one region attached; memory made and
 * removed; many calls at once. Each in turn with the limit server, which answers with as many bytes and descriptors.
 *
 * usage: bench-verbs BROKER-SOCKET LIMIT-SOCKET CPU LIMIT-CPU ROUNDS BENCH-JOIN */

#include "client/libregion.h"
#include "tests/bench/limit.h"
#include "tests/bench/samples.h"
#include "tests/bench/wire.h"

#include <fcntl.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ipc.h>
#include <sys/mman.h>
#include <sys/shm.h>
#include <sys/socket.h>
#include <unistd.h>

enum { REGIONS = 5, REGION_BYTES = 64 * 1024, PAGE = 4096, BLOCK = 50, PIPELINED = 64, CONNECTIONS = 100 };
enum { ANSWER_OPEN, ANSWER_ATTACH, ANSWER_DESCRIBE, ANSWER_NOTHING, N_ANSWERS };

#define CALL_OPEN "{'method':'org.regionbroker.Open','parameters':{'environment':'five'}}"
#define CALL_ATTACH                                                                                      \
        "{'method':'org.regionbroker.Attach','parameters':{'environment':'five','region':'r0','access':" \
        "'write'}}"
#define CALL_DESCRIBE "{'method':'org.regionbroker.Describe','parameters':{'environment':'one'}}"

static const char *const names[REGIONS] = { "r0", "r1", "r2", "r3", "r4" };

static struct region_broker *broker;
static struct region_env *without_regions; /* of the same environment, in a session of its own */
static int limit;                          /* a connection to the limit server */
static struct wire_reply reply;
static size_t call_sizes[N_ANSWERS];
static pid_t broker_pid;

static void check(enum region_result r)
{
        if (r != REGION_OK)
                die("%s", region_error_message());
}

static void touch(void *memory)
{
        *(volatile char *)memory = 1;
}

/* --- what is opened ---------------------------------------------------------------------------------------------- */

/* Held by a session that stays. */
static void make_environment(struct region_broker *holder, const char *name, size_t n)
{
        struct region_spec specs[REGIONS];
        struct region_env_options options = { .create = REGION_CREATE_ALWAYS, .regions = specs, .n_regions = n };
        struct region_env *env;

        for (size_t i = 0; i < n; i++)
                specs[i] = (struct region_spec){ .name = names[i], .size = REGION_BYTES };
        check(region_env_open(holder, name, &options, &env));
        check(region_env_ready(env));
}

static int64_t open5(void *data)
{
        const struct region_env_options options = {};
        int64_t before = begin_nsec();
        struct region_env *env;
        void *memory;

        (void)data;
        check(region_env_open(broker, "five", &options, &env));
        for (size_t i = 0; i < REGIONS; i++) {
                check(region_map(region_env_find(env, names[i]), NULL, &memory));
                touch(memory);
        }
        before = since_nsec(before);
        region_env_close(env);
        return before;
}

static int64_t attach1(void *data)
{
        int64_t before = begin_nsec();
        struct region *region;
        void *memory;

        (void)data;
        check(region_env_attach(without_regions, "r0", REGION_WRITE, &region));
        check(region_map(region, NULL, &memory));
        touch(memory);
        before = since_nsec(before);
        check(region_detach(region));
        return before;
}

/* --- the same at the limit --------------------------------------------------------------------------------------- */

static void ask_limit(int which)
{
        static char calls[N_ANSWERS][1024];

        if (!calls[which][0]) {
                memset(calls[which], ' ', call_sizes[which] - 1);
                calls[which][0] = (char)('0' + which);
        }
        wire_ask(limit, calls[which], call_sizes[which], &reply);
}

/* Regions are mapped for writing and touched, a control page is mapped for reading and looked at. */
static int64_t map_at_limit(int which, size_t n_written)
{
        int64_t before = begin_nsec();
        void *maps[WIRE_FDS_MAX];
        size_t n;

        ask_limit(which);
        n = reply.n_fds;
        for (size_t i = 0; i < n; i++) {
                bool written = i < n_written;

                maps[i] = mmap(NULL, REGION_BYTES, written ? PROT_READ | PROT_WRITE : PROT_READ, MAP_SHARED,
                               reply.fds[i], 0);
                if (maps[i] == MAP_FAILED)
                        die("mmap: %m");
                if (written)
                        touch(maps[i]);
                else
                        (void)*(volatile char *)maps[i];
        }
        before = since_nsec(before);
        for (size_t i = 0; i < n; i++)
                munmap(maps[i], REGION_BYTES);
        wire_close_fds(&reply);
        return before;
}

static int64_t open5_limit(void *data)
{
        (void)data;
        return map_at_limit(ANSWER_OPEN, REGIONS);
}

static int64_t attach1_limit(void *data)
{
        (void)data;
        return map_at_limit(ANSWER_ATTACH, 1);
}

static int64_t round_trip_limit(void *data)
{
        int64_t before = begin_nsec();

        (void)data;
        ask_limit(ANSWER_NOTHING);
        return since_nsec(before);
}

/* --- in a fresh process ------------------------------------------------------------------------------------------ */

struct newcomer {
        char command[512];
};

static int64_t join5(void *data)
{
        const struct newcomer *newcomer = data;
        FILE *output = popen(newcomer->command, "re");
        double spent;

        if (!output || fscanf(output, "join5 %lf", &spent) != 1)
                die("%s failed", newcomer->command);
        pclose(output);
        return (int64_t)spent;
}

static void run_join(const char *program, const char *broker_socket, const char *limit_socket, const char *cpu,
                     const char *limit_cpu, unsigned rounds)
{
        static struct newcomer ours, theirs;

        snprintf(ours.command, sizeof(ours.command), "%s broker %s %s %s", program, broker_socket, cpu, limit_cpu);
        snprintf(theirs.command, sizeof(theirs.command), "%s limit %s %s %s", program, limit_socket, cpu, limit_cpu);
        race(
                (struct contender[]){
                        { .key = "join5", .run = join5, .data = &ours },
                        { .key = "join5.limit", .run = join5, .data = &theirs },
                },
                2, rounds, 2);
}

/* --- made, mapped, removed --------------------------------------------------------------------------------------- */

static int64_t create(void *data)
{
        const enum region_backing *backing = data;
        const struct region_spec spec = { .name = "r", .size = PAGE };
        const struct region_env_options options = {
                .create = REGION_CREATE_ALWAYS,
                .backing = *backing,
                .regions = &spec,
                .n_regions = 1,
        };
        int64_t before = begin_nsec();
        struct region_env *env;
        void *memory;

        check(region_env_open(broker, "made", &options, &env));
        check(region_map(region_env_find(env, "r"), NULL, &memory));
        touch(memory);
        region_env_close(env);
        return since_nsec(before);
}

static void use(int fd, int64_t *since)
{
        void *memory;

        if (fd < 0 || ftruncate(fd, PAGE) < 0)
                die("raw memory: %m");
        memory = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
        if (memory == MAP_FAILED)
                die("mmap: %m");
        touch(memory);
        munmap(memory, PAGE);
        close(fd);
        *since = since_nsec(*since);
}

static int64_t raw_memfd(void *data)
{
        int64_t time = begin_nsec();

        (void)data;
        use(memfd_create("raw", MFD_CLOEXEC), &time);
        return time;
}

static int64_t raw_posix(void *data)
{
        int64_t time = begin_nsec();
        int fd = shm_open("/region-broker-bench", O_RDWR | O_CREAT | O_EXCL, 0600);

        (void)data;
        shm_unlink("/region-broker-bench");
        use(fd, &time);
        return time;
}

static int64_t raw_file(void *data)
{
        static char path[] = "region-broker-bench.file";
        int64_t time = begin_nsec();
        int fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);

        (void)data;
        unlink(path);
        use(fd, &time);
        return time;
}

static int64_t raw_sysv(void *data)
{
        int64_t time = begin_nsec();
        int id = shmget(IPC_PRIVATE, PAGE, IPC_CREAT | 0600);
        void *memory = shmat(id, NULL, 0);

        (void)data;
        if (memory == (void *)-1)
                die("shmat: %m");
        touch(memory);
        shmdt(memory);
        shmctl(id, IPC_RMID, NULL);
        return since_nsec(time);
}

/* --- many at once ------------------------------------------------------------------------------------------------ */

struct crowd {
        int peers[CONNECTIONS];
        size_t n;      /* of them */
        size_t n_each; /* calls to each, in one send */
        char calls[64 * 1024];
        size_t size;
};

static void take_replies(int peer, size_t wanted)
{
        static char bytes[256 * 1024];

        while (wanted > 0) {
                ssize_t n = recv(peer, bytes, sizeof(bytes), 0);

                if (n <= 0)
                        die("the other side has closed: %m");
                for (const char *at = bytes, *end; (end = memchr(at, '\0', (size_t)(bytes + n - at))); at = end + 1)
                        wanted--;
        }
}

/* Nanoseconds a call. */
static int64_t throughput(void *data)
{
        struct crowd *crowd = data;
        int64_t before = begin_nsec();

        for (size_t i = 0; i < crowd->n; i++)
                if (send(crowd->peers[i], crowd->calls, crowd->size, MSG_NOSIGNAL) != (ssize_t)crowd->size)
                        die("cannot send: %m");
        for (size_t i = 0; i < crowd->n; i++)
                take_replies(crowd->peers[i], crowd->n_each);
        return (since_nsec(before)) / (int64_t)(crowd->n * crowd->n_each);
}

static void assemble(struct crowd *crowd, const char *socket, const char *call, size_t n, size_t peers, size_t each)
{
        *crowd = (struct crowd){ .n = peers, .n_each = each, .size = each * n };
        for (size_t i = 0; i < peers; i++)
                crowd->peers[i] = wire_connect(socket);
        for (size_t i = 0; i < each; i++)
                memcpy(crowd->calls + i * n, call, n);
}

static void run_throughput(const char *broker_socket, const char *limit_socket, unsigned rounds)
{
        static struct crowd one, many, limit_one, limit_many;
        char call[256], limit_call[256] = {};
        size_t n = wire_write(call, sizeof(call), CALL_DESCRIBE);

        memset(limit_call, ' ', n - 1);
        limit_call[0] = '0' + ANSWER_DESCRIBE;
        assemble(&one, broker_socket, call, n, 1, PIPELINED);
        assemble(&limit_one, limit_socket, limit_call, n, 1, PIPELINED);
        assemble(&many, broker_socket, call, n, CONNECTIONS, 1);
        assemble(&limit_many, limit_socket, limit_call, n, CONNECTIONS, 1);
        race(
                (struct contender[]){
                        { .key = "pipelined", .run = throughput, .data = &one },
                        { .key = "pipelined.limit", .run = throughput, .data = &limit_one },
                        { .key = "connections", .run = throughput, .data = &many },
                        { .key = "connections.limit", .run = throughput, .data = &limit_many },
                },
                4, rounds, 10);
}

/* --- all --------------------------------------------------------------------------------------------------------- */

/* How long the broker's answers are, and with how many descriptors they come. */
static struct limit_answer measure(int which, int peer, const char *format)
{
        char call[512];

        call_sizes[which] = wire_write(call, sizeof(call), "%s", format);
        wire_ask(peer, call, call_sizes[which], &reply);
        wire_close_fds(&reply);
        return (struct limit_answer){ reply.n, reply.n_fds };
}

static void start_limit(const char *broker_socket, const char *limit_socket, int cpu)
{
        struct limit_answer answers[N_ANSWERS] = {
                [ANSWER_OPEN] = { 0, REGIONS + 1 },
                [ANSWER_ATTACH] = { 0, 1 },
        };
        int peer = wire_connect(broker_socket);

        answers[ANSWER_OPEN].n = measure(ANSWER_OPEN, peer, CALL_OPEN).n;
        answers[ANSWER_ATTACH].n = measure(ANSWER_ATTACH, peer, CALL_ATTACH).n;
        answers[ANSWER_DESCRIBE].n = measure(ANSWER_DESCRIBE, peer, CALL_DESCRIBE).n;
        answers[ANSWER_NOTHING].n = 16;
        call_sizes[ANSWER_NOTHING] = 64;
        broker_pid = find_peer(peer);
        close(peer);
        limit_start(limit_socket, cpu, answers, N_ANSWERS);
        limit = wire_connect(limit_socket);
        tell("reply.open5", (double)answers[ANSWER_OPEN].n);
        tell("reply.attach1", (double)answers[ANSWER_ATTACH].n);
}

static void run_verbs(unsigned rounds)
{
        static enum region_backing memfd = REGION_BACKING_MEMFD, sysv = REGION_BACKING_SYSV,
                                   posix = REGION_BACKING_POSIX;

        race(
                (struct contender[]){
                        { .key = "open5", .run = open5 },
                        { .key = "open5.limit", .run = open5_limit },
                        { .key = "attach1", .run = attach1 },
                        { .key = "attach1.limit", .run = attach1_limit },
                },
                4, rounds, BLOCK);
        race(
                (struct contender[]){
                        { .key = "create.memfd", .run = create, .data = &memfd },
                        { .key = "create.sysv", .run = create, .data = &sysv },
                        { .key = "create.posix", .run = create, .data = &posix },
                        { .key = "raw.memfd", .run = raw_memfd },
                        { .key = "raw.sysv", .run = raw_sysv },
                        { .key = "raw.posix", .run = raw_posix },
                        { .key = "raw.file", .run = raw_file },
                        { .key = "limit", .run = round_trip_limit },
                },
                8, rounds, BLOCK);
}

int main(int argc, char **argv)
{
        const char *const none[] = { NULL };
        const struct region_env_options options = { .only = none };
        struct region_broker *holder, *other;
        unsigned rounds;

        if (argc != 7)
                die("usage: bench-verbs BROKER-SOCKET LIMIT-SOCKET CPU LIMIT-CPU ROUNDS BENCH-JOIN");
        rounds = (unsigned)atoi(argv[5]);
        check(region_broker_connect(argv[1], &holder));
        make_environment(holder, "five", REGIONS);
        make_environment(holder, "one", 1);
        start_limit(argv[1], argv[2], atoi(argv[4]));
        if (strcmp(argv[3], argv[4]) == 0) {
                follow_process(broker_pid);
                follow_process(find_peer(limit));
        }
        pin(atoi(argv[3]));
        check(region_broker_connect(argv[1], &broker));
        check(region_broker_connect(argv[1], &other));
        check(region_env_open(other, "five", &options, &without_regions));
        run_verbs(rounds);
        run_join(argv[6], argv[1], argv[2], argv[3], argv[4], rounds);
        run_throughput(argv[1], argv[2], rounds);
        return 0;
}
