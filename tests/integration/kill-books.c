/* What the broker reclaims it writes to its log, so that is where to wait. But not all it does is told there, and so no
 * wait is longer than a pause, which grows. */

#include "tests/integration/kill-books.h"

#include "tests/support/check.h"

#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { PATIENCE_MSEC = 120 * 1000, PAUSE_MSEC = 500 };

static int64_t number_in(const char *json, const char *name)
{
        char key[64];
        const char *found;

        snprintf(key, sizeof(key), "\"%s\":", name);
        found = strstr(json, key);
        return found ? strtoll(found + strlen(key), NULL, 10) : -1;
}

static bool read_json(const char *json, void *data)
{
        const char *counters = strstr(json, "\"counters\":");

        if (!counters)
                return false;
        *(struct books *)data = (struct books){
                .environments = number_in(json, "environments"),
                .regions = number_in(json, "regions"),
                .attachments = number_in(json, "attachments"),
                .sessions = number_in(json, "sessions"),
                .bytes = number_in(json, "bytes"),
                .deaths = number_in(counters, "deaths"),
                .created = number_in(counters, "created"),
                .joined = number_in(counters, "joined"),
                .retired = number_in(counters, "retired"),
                .reclaimed = number_in(counters, "reclaimed"),
                .reclaimed_regions = number_in(counters, "reclaimedRegions"),
                .reclaimed_bytes = number_in(counters, "reclaimedBytes"),
        };
        return true;
}

bool books_read(struct books *books, struct region_broker *broker)
{
        enum region_result r;

        *books = (struct books){ .environments = -1 };
        r = region_broker_call(broker, "org.regionbroker.GetStatistics", NULL, false, read_json, books);
        return r == REGION_OK && books->environments >= 0;
}

bool books_are_left(const struct books *books)
{
        return books->attachments == 0 && books->sessions == 1;
}

bool books_are_empty(const struct books *books)
{
        return books_are_left(books) && books->environments == 0 && books->regions == 0 && books->bytes == 0;
}

bool books_wait(struct books *books, struct region_broker *broker, struct daemon *daemon, books_condition *condition)
{
        struct pollfd log = { .fd = daemon->log_fd, .events = POLLIN };
        int64_t deadline = check_now_msec() + PATIENCE_MSEC;
        int pause = 1;

        do {
                if (!books_read(books, broker))
                        return false;
                if (condition(books))
                        return true;
                poll(&log, 1, pause);
                daemon_has_line(daemon, ""); /* takes it, so that the next poll waits for more */
                pause = pause * 2 < PAUSE_MSEC ? pause * 2 : PAUSE_MSEC;
        } while (check_now_msec() < deadline);
        return false;
}

int books_close(struct ipc_snapshot *ret, const struct daemon *daemon, const char *names, int n_fds)
{
        int64_t begun = 0;
        int r;

        while ((r = ipc_snapshot_take(ret, daemon->pid, names)) == 0 && (ret->n_segments > 0 || ret->n_fds > n_fds) &&
               check_pause(&begun))
                ipc_snapshot_deinit(ret);
        return r;
}
