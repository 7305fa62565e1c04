/* Makes a broker have much to do with: what is said on standard input, a line each, is done and answered with "done".
 *
 *   sessions N       so many more connections
 *   regions N        so many more regions that need no descriptor, 250 an environment
 *   environments N   so many more environments of one such region
 *   members N        the first N connections join an environment of 20 regions without attaching one
 *   attach N         and attach all of them
 *   quit
 *
 * usage: bench-crowd BROKER-SOCKET */

#include "tests/bench/samples.h"
#include "tests/bench/wire.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

enum { REGIONS_EACH = 250, SHARED_REGIONS = 20, PEERS_MAX = 20000, BYTES = 4096 };

static const char *broker;
static int peers[PEERS_MAX];
static int n_peers, n_environments;
static struct wire_reply reply;

/* The rest of a definition's list of regions, each with its name. */
static void write_regions(char *text, size_t size, int n)
{
        size_t used = 0;

        for (int i = 0; i < n; i++)
                used += (size_t)snprintf(text + used, size - used, "%s{'name':'r%d','size':%d}", i ? "," : "", i,
                                         BYTES);
}

static void make_environment(const char *name, const char *backing, int n)
{
        static char regions[REGIONS_EACH * 64];

        write_regions(regions, sizeof(regions), n);
        wire_call(peers[0], &reply,
                  "{'method':'org.regionbroker.Open','parameters':{'environment':'%s','create':'always','regions':[],"
                  "'definition':{'backing':'%s','regions':[%s]}}}",
                  name, backing, regions);
        wire_call(peers[0], &reply, "{'method':'org.regionbroker.Ready','parameters':{'environment':'%s'}}", name);
}

static void add_environments(int n, int n_regions)
{
        char name[32];

        for (int i = 0; i < n; i++) {
                snprintf(name, sizeof(name), "many%d", n_environments++);
                make_environment(name, "private", n_regions);
        }
}

static void add_sessions(int n)
{
        for (int i = 0; i < n && n_peers < PEERS_MAX; i++) {
                peers[n_peers] = wire_connect(broker);
                wire_call(peers[n_peers++], &reply, "{'method':'org.varlink.service.GetInfo'}");
        }
}

static void join_shared(int n, const char *which)
{
        for (int i = 0; i < n; i++)
                wire_call(peers[i], &reply,
                          "{'method':'org.regionbroker.Open','parameters':{'environment':'shared'%s}}", which);
}

static void obey(const char *verb, int n)
{
        if (strcmp(verb, "sessions") == 0)
                add_sessions(n);
        else if (strcmp(verb, "regions") == 0)
                add_environments((n + REGIONS_EACH - 1) / REGIONS_EACH, REGIONS_EACH);
        else if (strcmp(verb, "environments") == 0)
                add_environments(n, 1);
        else if (strcmp(verb, "members") == 0)
                join_shared(n, ",'regions':[]");
        else if (strcmp(verb, "attach") == 0)
                join_shared(n, "");
        else
                die("what is %s?", verb);
}

int main(int argc, char **argv)
{
        struct rlimit limit;
        char verb[32];
        int n;

        if (argc != 2)
                die("usage: bench-crowd BROKER-SOCKET");
        getrlimit(RLIMIT_NOFILE, &limit);
        limit.rlim_cur = limit.rlim_max;
        setrlimit(RLIMIT_NOFILE, &limit);
        broker = argv[1];
        add_sessions(1);
        make_environment("shared", "memfd", SHARED_REGIONS);
        while (scanf("%31s", verb) == 1 && strcmp(verb, "quit") != 0) {
                if (scanf("%d", &n) != 1)
                        die("how many?");
                obey(verb, n);
                puts("done");
                fflush(stdout);
        }
        return 0;
}
