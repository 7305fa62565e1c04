#include "tests/unit/ledger-law.h"

#include "daemon/broker.h"
#include "daemon/host/memory.h"
#include "daemon/host/store.h"
#include "daemon/reclaim.h"
#include "daemon/records.h"
#include "daemon/recovery.h"
#include "proto/util.h"
#include "tests/support/check.h"

#include <fcntl.h>
#include <ftw.h>
#include <inttypes.h>
#include <stdio.h>
#include <unistd.h>

/* --- what is written is what is true ----------------------------------------------------------------------------- */

struct count {
        struct broker *broker;
        int64_t environments, members;
};

static struct environment *find_environment(struct broker *broker, uint64_t id)
{
        struct environment *environment = registry_after(&broker->registry, id - 1);

        ck_assert_msg(environment && environment->id == id, "environment %" PRIu64 " is written and is not there", id);
        return environment;
}

static struct member *find_member(struct broker *broker, const struct store_key *key)
{
        struct environment *environment = find_environment(broker, key->first);
        struct member *member;

        TAILQ_FOREACH(member, &environment->members, in_environment)
                if (member->change.tombstone->second == key->second)
                        return member;
        ck_abort_msg("a member of %s is written and is not there", environment->name);
}

static void check_same(struct record *true_one, const void *bytes, size_t n, const char *what)
{
        size_t same = 0;

        while (same < n && same < true_one->n && true_one->bytes[same] == ((const uint8_t *)bytes)[same])
                same++;
        ck_assert_msg(same == n && same == true_one->n, "what is written of %s is not true from byte %zu of %zu on",
                      what, same, n);
        record_clear(true_one);
}

static int check_record(void *data, const struct store_key *key, const void *bytes, size_t n)
{
        struct count *count = data;
        struct record record = {};

        if (key->kind == LEDGER_ENVIRONMENT) {
                const struct environment *environment = find_environment(count->broker, key->first);

                count->environments++;
                environment_record_put(&record, environment);
                check_same(&record, bytes, n, environment->name);
        } else if (key->kind == LEDGER_MEMBER) {
                count->members++;
                member_record_put(&record, find_member(count->broker, key));
                check_same(&record, bytes, n, "a member");
        } else if (key->kind == LEDGER_EVENT) {
                event_record_put(&record, history_find(&count->broker->history, key->first));
                check_same(&record, bytes, n, "an event");
        } else {
                ck_assert_int_eq(key->kind, LEDGER_ITSELF);
        }
        return 0;
}

static void check_all(struct broker *broker)
{
        struct count count = { .broker = broker };
        struct environment *environment;
        int64_t members = 0;
        uint64_t id = 0;

        while ((environment = registry_after(&broker->registry, id))) {
                id = environment->id;
                members += environment->n_members;
        }
        ck_assert_int_eq(store_read(broker->ledger.store, check_record, &count), 0);
        ck_assert_int_eq(count.environments, broker->registry.n_environments);
        ck_assert_int_eq(count.members, members);
}

/* --- who reads it knows the same --------------------------------------------------------------------------------- */

static void copy_ledger(const char *from, const char *to)
{
        char command[256];

        snprintf(command, sizeof(command), "cp %s/ledger %s/ledger", from, to);
        ck_assert_int_eq(system(command), 0);
}

/* A name is a letter, and the region's id to the base of 64, its last digit first. */
static uint64_t id_in(const char *name)
{
        static const char digits[] = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ-_";
        uint64_t id = 0;

        ck_assert_int_eq(name[0], 'r');
        for (size_t i = strlen(name); --i > 0;) {
                ck_assert_ptr_nonnull(strchr(digits, name[i]));
                id = id * 64 + (uint64_t)(strchr(digits, name[i]) - digits);
        }
        return id;
}

/* Descriptors of memory that has no name, as if they had been kept. */
static int take_from_first(void *data, const char *name, struct kept **ret)
{
        struct environment *environment;
        struct broker *first = data;
        const struct region *region;
        uint64_t id = id_in(name), at = 0;

        *ret = NULL;
        while ((environment = registry_after(&first->registry, at))) {
                at = environment->id;
                TAILQ_FOREACH(region, &environment->regions, in_environment)
                        if (region->id == id && region->memory && memory_fd(region->memory) >= 0)
                                return fcntl(memory_fd(region->memory), F_DUPFD_CLOEXEC, 0);
        }
        return -1;
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *place)
{
        (void)st;
        (void)type;
        (void)place;
        return remove(path);
}

/* A broker that reads what the first wrote; nothing in the world is touched. */
static void check_reading(struct broker *first)
{
        char directory[] = "/dev/shm/unit-test-reading-XXXXXX";
        struct broker_settings settings = first->settings;
        struct recovery *recovery;
        struct broker second;

        ck_assert_ptr_nonnull(mkdtemp(directory));
        copy_ledger(first->settings.runtime_directory, directory);
        settings.runtime_directory = directory;
        settings.keeper = (struct keeper){ .take = take_from_first, .data = first };
        ck_assert_int_eq(broker_init(&second, &settings), 0);
        broker_set_time(&second, first->now, first->realtime);
        ck_assert_int_ge(recovery_load(&second, &recovery), 0);
        ck_assert_int_eq(second.registry.n_environments, first->registry.n_environments);
        ck_assert_int_eq(second.registry.n_regions, first->registry.n_regions);
        ck_assert_int_eq(second.registry.n_attachments, first->registry.n_attachments);
        ck_assert_int_eq(second.registry.bytes, first->registry.bytes);
        ck_assert_uint_eq(second.history.last, first->history.last);
        check_all(&second);
        recovery_drop(recovery);
        broker_stop(&second, true);
        broker_deinit(&second);
        nftw(directory, remove_one, 8, FTW_DEPTH | FTW_PHYS);
}

void law_check(struct broker *broker)
{
        if (!broker->ledger.store)
                return;
        ledger_commit(broker);
        ck_assert_int_eq(broker->ledger.failure, 0);
        check_all(broker);
        check_reading(broker);
}

void law_clear(const char *directory)
{
        char path[128];

        snprintf(path, sizeof(path), "%s/ledger", directory);
        unlink(path);
}
