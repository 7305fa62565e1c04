/* The same verbs at two brokers, one that has little and one that has much: what a call costs is not to depend on what it
 * does not touch.
 *
 * usage: bench-growth SMALL-SOCKET LARGE-SOCKET ROUNDS */

#include "tests/bench/samples.h"
#include "tests/bench/wire.h"

#include <stdio.h>
#include <stdlib.h>

enum { BLOCK = 20 };

static struct wire_reply reply;

static const char *const open5[] = {
        "{'method':'org.regionbroker.Open','parameters':{'environment':'five'}}",
        "{'method':'org.regionbroker.Detach','parameters':{'environment':'five'}}",
        NULL,
};
static const char *const attach[] = {
        "{'method':'org.regionbroker.Attach','parameters':{'environment':'one','region':'r0'}}",
        "{'method':'org.regionbroker.Detach','parameters':{'environment':'one','region':'r0'}}",
        NULL,
};
static const char *const create[] = {
        "{'method':'org.regionbroker.Open','parameters':{'environment':'made','create':'always',"
        "'definition':{'regions':[{'name':'r','size':4096}]}}}",
        "{'method':'org.regionbroker.Detach','parameters':{'environment':'made'}}",
        NULL,
};
static const char *const describe[] = {
        "{'method':'org.regionbroker.Describe','parameters':{'environment':'five'}}",
        NULL,
};
static const char *const explain[] = {
        "{'method':'org.regionbroker.Explain','parameters':{'environment':'five'}}",
        NULL,
};
static const char *const statistics[] = { "{'method':'org.regionbroker.GetStatistics'}", NULL };

static const struct {
        const char *name;
        const char *const *calls;
} verbs[] = {
        { "open5", open5 },       { "attach", attach },   { "create", create },
        { "describe", describe }, { "explain", explain }, { "statistics", statistics },
};

enum { N_VERBS = sizeof(verbs) / sizeof(verbs[0]) };

/* A row of calls, each answered, of one session. */
struct site {
        int peer;
        const char *const *calls;
};

static int64_t work(void *data)
{
        const struct site *site = data;
        int64_t before = begin_nsec();

        for (const char *const *call = site->calls; *call; call++)
                wire_call(site->peer, &reply, "%s", *call);
        return since_nsec(before);
}

static void make(int peer, const char *name, int n)
{
        char regions[512] = "";
        int used = 0;

        for (int i = 0; i < n; i++)
                used += snprintf(regions + used, sizeof(regions) - (size_t)used, "%s{'name':'r%d','size':4096}",
                                 i ? "," : "", i);
        wire_call(peer, &reply,
                  "{'method':'org.regionbroker.Open','parameters':{'environment':'%s','create':'always',"
                  "'definition':{'regions':[%s]}}}",
                  name, regions);
        wire_call(peer, &reply, "{'method':'org.regionbroker.Ready','parameters':{'environment':'%s'}}", name);
}

/* One session holds, another works. */
static int prepare(const char *socket)
{
        int holder = wire_connect(socket), peer = wire_connect(socket);

        make(holder, "five", 5);
        make(holder, "one", 1);
        wire_call(peer, &reply, "{'method':'org.regionbroker.Open','parameters':{'environment':'one','regions':[]}}");
        return peer;
}

int main(int argc, char **argv)
{
        static char keys[2 * N_VERBS][64];
        static struct site sites[2 * N_VERBS];
        struct contender contenders[2 * N_VERBS] = {};
        int peers[2];

        if (argc != 4)
                die("usage: bench-growth SMALL-SOCKET LARGE-SOCKET ROUNDS");
        for (int i = 0; i < 2; i++)
                peers[i] = prepare(argv[1 + i]);
        for (int i = 0; i < 2 * N_VERBS; i++) {
                snprintf(keys[i], sizeof(keys[i]), "%s.%s", verbs[i / 2].name, i % 2 ? "large" : "small");
                sites[i] = (struct site){ peers[i % 2], verbs[i / 2].calls };
                contenders[i] = (struct contender){ .key = keys[i], .run = work, .data = &sites[i] };
        }
        race(contenders, 2 * N_VERBS, (unsigned)atoi(argv[3]), BLOCK);
        return 0;
}
