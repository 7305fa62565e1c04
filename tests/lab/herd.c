/* herd FIRST COUNT: so many clients in processes of their own, over all backings, each with a slot of the memory that it
 * fills. Says "N hold" when they do, then obeys lines:
 *
 * call      every tenth calls the broker again and again, until the next line
 * look      each looks whether its slot is as it left it; says the same as check
 * check     each looks whether its slot is as it left it, and calls the broker once; says
 *           "N well, N calls, N failed"
 * kill N    kills so many, the first that live, and says "N killed"
 *
 * At the end of the input they leave. Those of one backing share an environment, private ones have one each. */

#include "client/libregion.h"
#include "tests/lab/slots.h"

#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

enum { CLIENTS_MAX = 1000, BACKINGS = 5, PAUSE_MS = 5 };

static const char *const backings[BACKINGS] = { "memfd", "sysv", "posix", "file", "private" };

/* --- one of them ------------------------------------------------------------------------------------------------- */

struct tally {
        long well, calls, failed;
};

struct client {
        unsigned slot;
        char name[32];
        struct region_broker *broker;
        uint64_t *words;
        struct tally tally;
};

static _Noreturn void fail(const struct client *client, const char *what)
{
        fprintf(stderr, "%s: %s: %s\n", client->name, what, region_error_message());
        _exit(EXIT_FAILURE);
}

static void enter(struct client *client)
{
        const char *backing = backings[client->slot % BACKINGS];
        bool alone = strcmp(backing, "private") == 0;
        struct region_spec spec = { .name = "slots", .size = (CLIENTS_MAX / BACKINGS) * SLOT_BYTES };
        struct region_env_options options = {
                .create = REGION_CREATE_IF_ABSENT,
                .backing = region_backing_from_word(backing),
                .lifetime = REGION_LIFETIME_ATTACHED,
                .mode = 0666,
                .regions = &spec,
                .n_regions = 1,
        };
        struct region_env *env;
        void *memory;

        snprintf(client->name, sizeof(client->name), alone ? "%s-%u" : "%s", backing, client->slot);
        if (region_broker_connect(NULL, &client->broker) != REGION_OK)
                fail(client, "connect");
        if (region_env_open(client->broker, client->name, &options, &env) != REGION_OK)
                fail(client, "open");
        if (region_map(region_env_find(env, "slots"), NULL, &memory) != REGION_OK)
                fail(client, "map");
        if (region_env_role(env) == REGION_ROLE_INITIALIZER && region_env_ready(env) != REGION_OK)
                fail(client, "ready");
        client->words = (uint64_t *)memory + (size_t)(client->slot / BACKINGS) * SLOT_WORDS;
        slot_fill(client->words, client->slot);
}

/* Whatever became of the broker since the last one. */
static void call(struct client *client)
{
        struct region_description *description;

        client->tally.calls++;
        if (region_describe(client->broker, client->name, &description) == REGION_OK) {
                region_description_free(description);
                return;
        }
        client->tally.failed++;
        fprintf(stderr, "%s: %s\n", client->name, region_error_message());
}

static _Noreturn void live(unsigned slot, int parent)
{
        struct client client = { .slot = slot };
        struct pollfd wait = { .fd = parent, .events = POLLIN };
        bool calling = false;
        char order;

        enter(&client);
        write(parent, &client.tally, sizeof(client.tally));
        for (;;) {
                if (calling)
                        call(&client);
                if (poll(&wait, 1, calling ? PAUSE_MS : -1) == 0)
                        continue;
                if (read(parent, &order, 1) != 1)
                        _exit(EXIT_SUCCESS);
                calling = order == 'c' && slot % 10 == 0;
                if (order != '?' && order != 'l')
                        continue;
                if (order == '?')
                        call(&client);
                client.tally.well = slot_is_well(client.words, slot);
                write(parent, &client.tally, sizeof(client.tally));
                client.tally = (struct tally){ 0 };
        }
}

/* --- all of them ------------------------------------------------------------------------------------------------- */

static struct {
        pid_t pid; /* 0: dead */
        int fd;
} clients[CLIENTS_MAX];
static unsigned n_clients;

static void start(unsigned slot)
{
        int ends[2];

        if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) < 0)
                exit(EXIT_FAILURE);
        clients[n_clients].pid = fork();
        if (clients[n_clients].pid == 0) {
                /* each is to notice our end, whoever else lives */
                for (unsigned i = 0; i < n_clients; i++)
                        close(clients[i].fd);
                close(ends[0]);
                live(slot, ends[1]);
        }
        close(ends[1]);
        clients[n_clients++].fd = ends[0];
}

static void order(char what)
{
        for (unsigned i = 0; i < n_clients; i++)
                if (clients[i].pid != 0)
                        write(clients[i].fd, &what, 1);
}

/* Waits for the word of each. */
static unsigned hear(struct tally *sum)
{
        unsigned heard = 0;
        struct tally tally;

        *sum = (struct tally){ 0 };
        for (unsigned i = 0; i < n_clients; i++) {
                if (clients[i].pid == 0 || read(clients[i].fd, &tally, sizeof(tally)) != sizeof(tally))
                        continue;
                heard++;
                sum->well += tally.well;
                sum->calls += tally.calls;
                sum->failed += tally.failed;
        }
        return heard;
}

static unsigned kill_some(unsigned n)
{
        unsigned killed = 0;

        for (unsigned i = 0; i < n_clients && killed < n; i++) {
                if (clients[i].pid == 0)
                        continue;
                kill(clients[i].pid, SIGKILL);
                waitpid(clients[i].pid, NULL, 0);
                clients[i].pid = 0;
                killed++;
        }
        return killed;
}

static void obey(const char *line)
{
        struct tally sum;
        unsigned n;

        if (strcmp(line, "call\n") == 0) {
                order('c');
        } else if (strcmp(line, "check\n") == 0 || strcmp(line, "look\n") == 0) {
                order(line[0] == 'c' ? '?' : 'l');
                hear(&sum);
                printf("%ld well, %ld calls, %ld failed\n", sum.well, sum.calls, sum.failed);
        } else if (sscanf(line, "kill %u", &n) == 1) {
                printf("%u killed\n", kill_some(n));
        }
}

int main(int argc, char **argv)
{
        unsigned first = argc == 3 ? (unsigned)atoi(argv[1]) : 0, count = argc == 3 ? (unsigned)atoi(argv[2]) : 0;
        struct tally sum;
        char line[32];

        if (count == 0 || first + count > CLIENTS_MAX)
                return 2;
        setvbuf(stdout, NULL, _IOLBF, 0);
        signal(SIGPIPE, SIG_IGN);
        for (unsigned i = 0; i < count; i++)
                start(first + i);
        printf("%u hold\n", hear(&sum));
        while (fgets(line, sizeof(line), stdin))
                obey(line);
        for (unsigned i = 0; i < n_clients; i++)
                close(clients[i].fd);
        while (wait(NULL) > 0)
                ;
        return 0;
}
