/* Runs a fuzz target as a plain test: on every file named, or found in a directory named, and on inputs made from a
 * seed: noise, and those files with some bytes changed.
 *
 *     fuzz-NAME [--seed N] [--runs N] PATH...
 *
 * The same seed, runs and files give the same inputs. Each made input has its own seed, counted up from the first, so
 * a failure is found again by starting where the last printed line says. */

#include "proto/util.h"

#include <errno.h>
#include <ftw.h>
#include <getopt.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/param.h>
#include <sys/stat.h>

#define INPUT_MAX (64 * 1024)
#define NOISE_MAX 2048
#define DEFAULT_RUNS 4096

struct input {
        char *name;
        uint8_t *bytes;
        size_t n;
};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct input *inputs;
static size_t n_inputs;

/* splitmix64: a few lines, and every seed is a good one. */
static uint64_t random_next(uint64_t *state)
{
        uint64_t z = *state += 0x9e3779b97f4a7c15u;

        z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
        z = (z ^ z >> 27) * 0x94d049bb133111ebu;
        return z ^ z >> 31;
}

static size_t random_below(uint64_t *state, size_t n)
{
        return random_next(state) % n;
}

static void fclosep(FILE **file)
{
        if (*file)
                fclose(*file);
}

static int input_load(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
        owned(fclosep) FILE *file = NULL;
        struct input *grown;
        struct input input;

        (void)ftw;
        if (type == FTW_D)
                return 0;
        file = fopen(path, "re");
        if (!file)
                return -1;
        grown = reallocarray(inputs, n_inputs + 1, sizeof(*inputs));
        if (!grown)
                return -1;
        inputs = grown;
        /* as large as the file and no larger, so that a reader's step too far is noticed */
        input = (struct input){ strdup(path), malloc((size_t)MAX(st->st_size, 1)), (size_t)st->st_size };
        inputs[n_inputs++] = input;
        return input.name && input.bytes && fread(input.bytes, 1, input.n, file) == input.n ? 0 : -1;
}

static int input_compare(const void *a, const void *b)
{
        return strcmp(((const struct input *)a)->name, ((const struct input *)b)->name);
}

static size_t make_noise(uint64_t *state, uint8_t *bytes)
{
        size_t n = random_below(state, NOISE_MAX + 1);

        for (size_t i = 0; i < n; i++)
                bytes[i] = (uint8_t)random_next(state);
        return n;
}

/* A stored input, some of whose bytes are changed, left out or said twice. */
static size_t make_variant(uint64_t *state, uint8_t *bytes)
{
        const struct input *input = &inputs[random_below(state, n_inputs)];
        size_t n = MIN(input->n, (size_t)INPUT_MAX);

        memcpy(bytes, input->bytes, n);
        for (size_t changes = 1 + random_below(state, 8); changes > 0 && n > 0; changes--) {
                size_t at = random_below(state, n), length = 1 + random_below(state, MIN(n - at, 16u));

                switch (random_below(state, 4)) {
                case 0:
                        bytes[at] = (uint8_t)random_next(state);
                        break;
                case 1:
                        bytes[at] ^= (uint8_t)(1 << random_below(state, 8));
                        break;
                case 2:
                        memmove(bytes + at, bytes + at + length, n - at - length);
                        n -= length;
                        break;
                case 3:
                        if (n + length > INPUT_MAX)
                                break;
                        memmove(bytes + at + length, bytes + at, n - at);
                        n += length;
                        break;
                }
        }
        return n;
}

static void run_made(uint64_t seed)
{
        static uint8_t scratch[INPUT_MAX];
        owned(freep) uint8_t *exact = NULL;
        uint64_t state = seed;
        size_t n;

        n = n_inputs == 0 || random_below(&state, 4) == 0 ? make_noise(&state, scratch) : make_variant(&state, scratch);
        exact = malloc(MAX(n, 1u));
        if (!exact)
                abort();
        memcpy(exact, scratch, n);
        LLVMFuzzerTestOneInput(exact, n);
}

static void run_all(uint64_t seed, uint64_t runs)
{
        for (size_t i = 0; i < n_inputs; i++) {
                printf("%s\n", inputs[i].name);
                LLVMFuzzerTestOneInput(inputs[i].bytes, inputs[i].n);
        }
        for (uint64_t i = 0; i < runs; i++) {
                if (i % 256 == 0)
                        printf("from --seed %ju\n", (uintmax_t)(seed + i));
                run_made(seed + i);
        }
}

int main(int argc, char **argv)
{
        static const struct option options[] = {
                { "seed", required_argument, NULL, 's' },
                { "runs", required_argument, NULL, 'r' },
                {},
        };
        uint64_t seed = 1, runs = DEFAULT_RUNS;
        int option;

        while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
                if (option == 's')
                        seed = strtoull(optarg, NULL, 0);
                else if (option == 'r')
                        runs = strtoull(optarg, NULL, 0);
                else
                        return 2;
        }
        setvbuf(stdout, NULL, _IOLBF, 0); /* the last line has to be out before a crash */
        for (int i = optind; i < argc; i++) {
                if (nftw(argv[i], input_load, 16, FTW_PHYS) == 0)
                        continue;
                fprintf(stderr, "%s: %s\n", argv[i], strerror(errno));
                return EXIT_FAILURE;
        }
        if (n_inputs > 0)
                qsort(inputs, n_inputs, sizeof(*inputs), input_compare);
        run_all(seed, runs);

        for (size_t i = 0; i < n_inputs; i++) {
                free(inputs[i].name);
                free(inputs[i].bytes);
        }
        free(inputs);
        return EXIT_SUCCESS;
}
