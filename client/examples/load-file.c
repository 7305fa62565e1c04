/* load-file: puts a file into shared memory, for other processes to use without reading it again.
 *
 *     cc load-file.c -o load-file $(pkg-config --cflags --libs libregion libmd)
 *     ./load-file ENVIRONMENT FILE                  # loads it and holds it until SIGTERM
 *     ./check-file ENVIRONMENT                      # in another process
 *     regionctl show ENVIRONMENT
 *
 * The environment has a region "index" and eight chunks, which are of different kinds to show that nothing else changes
 * with the kind: unnamed memory files, System V segments, POSIX objects and, with a home, files. Options:
 *
 *     --home DIR       some of the chunks are files in DIR, an absolute path
 *     --then-die N     kills itself with SIGKILL in the middle of writing chunk N
 *     --fork-child     leaves a forked child behind, which keeps what is mapped until SIGTERM, and exits */

#include "file-index.h"

#include <libregion.h>

#include <err.h>
#include <fcntl.h>
#include <getopt.h>
#include <inttypes.h>
#include <sha2.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

struct job {
        const char *environment;
        const char *path;
        const char *home;
        int die_in; /* the chunk to die in; 0: none */
        bool fork_child;
        int file;
        struct file_index index;
};

static void check(enum region_result result)
{
        if (result != REGION_OK)
                errx(EXIT_FAILURE, "%s", region_error_message());
}

static void parse(int argc, char **argv, struct job *job)
{
        static const struct option options[] = {
                { "home", required_argument, NULL, 'h' },
                { "then-die", required_argument, NULL, 'd' },
                { "fork-child", no_argument, NULL, 'f' },
                { 0 },
        };
        int option;

        while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
                if (option == 'h')
                        job->home = optarg;
                else if (option == 'd')
                        job->die_in = atoi(optarg);
                else if (option == 'f')
                        job->fork_child = true;
                else
                        exit(EXIT_FAILURE);
        }
        if (argc - optind != 2)
                errx(EXIT_FAILURE, "usage: load-file [--home DIR] [--then-die N] [--fork-child] ENVIRONMENT FILE");
        if (job->die_in < 0 || job->die_in > FILE_CHUNKS)
                errx(EXIT_FAILURE, "--then-die: there are chunks 1 to %d", FILE_CHUNKS);
        job->environment = argv[optind];
        job->path = argv[optind + 1];
}

static void open_file(struct job *job)
{
        struct stat status;

        job->file = open(job->path, O_RDONLY | O_CLOEXEC);
        if (job->file < 0 || fstat(job->file, &status) < 0)
                err(EXIT_FAILURE, "%s", job->path);
        if (status.st_size < FILE_CHUNKS)
                errx(EXIT_FAILURE, "%s is too small to be cut into chunks", job->path);
        job->index.length = (uint64_t)status.st_size;
        job->index.chunk_size = (job->index.length + FILE_CHUNKS - 1) / FILE_CHUNKS;
}

/* Everything is made in one step or not at all; until it says ready nobody can join. */
static struct region_env *create(struct region_broker *broker, const struct job *job)
{
        static const enum region_backing backings[] = { REGION_BACKING_MEMFD, REGION_BACKING_SYSV, REGION_BACKING_POSIX,
                                                        REGION_BACKING_FILE };
        size_t n_backings = job->home != NULL ? 4 : 3;
        struct region_spec regions[1 + FILE_CHUNKS] = { { .name = "index", .size = sizeof(struct file_index) } };
        struct region_env_options options = {
                .create = REGION_CREATE_ALWAYS,
                .home = job->home,
                .schema = FILE_SCHEMA,
                .lifetime = REGION_LIFETIME_ATTACHED,
                .regions = regions,
                .n_regions = 1 + FILE_CHUNKS,
        };
        char names[FILE_CHUNKS][16];
        struct region_env *env;

        for (size_t i = 0; i < FILE_CHUNKS; i++) {
                snprintf(names[i], sizeof(names[i]), "chunk-%zu", i + 1);
                regions[i + 1] = (struct region_spec){
                        .name = names[i],
                        .size = job->index.chunk_size,
                        .backing = backings[i % n_backings],
                };
        }
        check(region_env_open(broker, job->environment, &options, &env));
        return env;
}

static void load_chunk(const struct job *job, struct region *region, size_t n, bool die)
{
        size_t done = 0;
        void *address;

        check(region_map(region, NULL, &address));
        while (done < n) {
                size_t step = n - done < 65536 ? n - done : 65536;
                ssize_t r = read(job->file, (char *)address + done, step);

                if (r <= 0)
                        errx(EXIT_FAILURE, "%s ended early", job->path);
                done += (size_t)r;
                if (die && done > n / 2)
                        raise(SIGKILL);
        }
}

static void load(struct job *job, struct region_env *env)
{
        uint64_t left = job->index.length;
        SHA2_CTX sha256;
        void *index;

        SHA256Init(&sha256);
        for (size_t i = 1; i <= FILE_CHUNKS; i++) {
                struct region *region = region_env_at(env, i);
                const struct region_info *info = region_info(region);
                uint64_t n = left < job->index.chunk_size ? left : job->index.chunk_size;

                load_chunk(job, region, n, (int)i == job->die_in);
                SHA256Update(&sha256, region_address(region), n);
                printf("  %-8s %8" PRIu64 " bytes in a region of backing %s\n", info->name, n,
                       region_backing_word(info->backing));
                left -= n;
        }
        SHA256End(&sha256, job->index.sha256);
        check(region_map(region_env_find(env, "index"), NULL, &index));
        memcpy(index, &job->index, sizeof(job->index));
}

int main(int argc, char **argv)
{
        struct job job = { 0 };
        struct region_broker *broker;
        struct region_env *env;
        sigset_t leave;
        int signal;
        pid_t child;

        parse(argc, argv, &job);
        open_file(&job);
        check(region_broker_connect(NULL, &broker));
        env = create(broker, &job);
        printf("loading %s into environment '%s':\n", job.path, job.environment);
        load(&job, env);
        check(region_env_ready(env));
        printf("ready: %" PRIu64 " bytes, sha256 %s\n", job.index.length, job.index.sha256);
        fflush(stdout);

        sigemptyset(&leave);
        sigaddset(&leave, SIGTERM);
        sigaddset(&leave, SIGINT);
        sigprocmask(SIG_BLOCK, &leave, NULL);
        if (job.fork_child) {
                child = fork();
                if (child < 0)
                        err(EXIT_FAILURE, "fork");
                if (child > 0) {
                        printf("child %d keeps the mappings, process %d exits\n", (int)child, (int)getpid());
                        fflush(stdout);
                        _exit(EXIT_SUCCESS); /* without a word to the broker: it notices */
                }
                sigwait(&leave, &signal); /* the session is the parent's; the mappings are this child's, too */
                _exit(EXIT_SUCCESS);
        }
        sigwait(&leave, &signal);
        region_broker_close(broker);
        return EXIT_SUCCESS;
}
