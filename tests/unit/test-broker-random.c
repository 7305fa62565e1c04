/* Callers that ask for anything in any order, leave or die in the middle of it and keep memory open behind the broker's back.
 * After each step the books have to agree with each other, and in the end nothing may be left. _i is the seed: a failure
 * can be had again. */

#include "daemon/reclaim.h"
#include "proto/util.h"
#include "tests/unit/broker-room.h"

#include <fcntl.h>
#include <unistd.h>

enum { SEEDS = 20, STEPS = 1500, N_CALLERS = 6, N_KEPT = 8, MSEC = 1000, SECOND = 1000 * MSEC };

static const char *const names[] = { "a", "b", "c" };
static const char *const regions[] = { "r1", "r2", "r3", "r4" };

/* A caller, what its parked call points to, and whether it is there at all. */
static struct actor {
        struct caller caller;
        struct definition definition;
        const char *chosen;
        bool is_connected;
} actors[N_CALLERS];

static int kept[N_KEPT]; /* descriptors that nobody told the broker of; -1: none */
static uint32_t state;

/* One of the first n numbers. */
static unsigned any(unsigned n)
{
        state = state * 1664525 + 1013904223;
        return (state >> 16) % n;
}

static const char *any_name(void)
{
        return names[any(array_size(names))];
}

static const char *any_region(void)
{
        return regions[any(array_size(regions))];
}

/* --- the books --------------------------------------------------------------------------------------------------- */

struct sums {
        int64_t environments, regions, attachments, bytes, waiting;
};

static void check_regions(const struct environment *environment, struct sums *sums)
{
        const struct attachment *attachment;
        const struct region *region;
        unsigned n_regions = 0, n_attachments;
        int64_t bytes = 0;

        TAILQ_FOREACH(region, &environment->regions, in_environment) {
                n_attachments = 0;
                LIST_FOREACH(attachment, &region->attachments, in_region)
                        n_attachments++;
                ck_assert_uint_eq(n_attachments, region->n_attachments);
                ck_assert_ptr_eq(region->environment, environment);
                if (region->watch >= 0)
                        ck_assert_ptr_eq(registry_find_watched(&room.registry, region->watch), region);
                n_regions++;
                bytes += region->size;
                sums->attachments += n_attachments;
        }
        ck_assert_uint_eq(n_regions, environment->n_regions);
        ck_assert_int_eq(bytes, environment->bytes);
        sums->regions += n_regions;
        sums->bytes += bytes;
}

/* Who waits has something to wait for. */
static void check_waiters(const struct environment *environment, struct sums *sums)
{
        const struct waiter *waiter;
        bool is_removed = false;

        TAILQ_FOREACH(waiter, &environment->waiters, in_queue) {
                ck_assert_ptr_eq(waiter->environment, environment);
                ck_assert(waiter->removes || environment->draining || environment->state != STATE_READY);
                is_removed |= waiter->removes;
                sums->waiting++;
        }
        ck_assert_msg(is_removed || !environment->draining || environment->state == STATE_RETIRED,
                      "%s drains for nobody", environment->name);
}

static void check_environment(const struct environment *environment, struct sums *sums)
{
        const struct member *member;
        unsigned n_members = 0;

        TAILQ_FOREACH(member, &environment->members, in_environment)
                n_members++;
        ck_assert_uint_eq(n_members, environment->n_members);
        ck_assert_int_eq(environment->initializer != NULL, environment->state == STATE_INITIALIZING);
        ck_assert_int_eq(environment->recoverer != NULL, environment->state == STATE_RECOVERING);
        ck_assert_int_eq(environment->named, environment->state != STATE_RETIRED);
        if (environment->named)
                ck_assert_ptr_eq(registry_find(&room.registry, environment->name), environment);
        if (n_members == 0 && environment->state == STATE_READY && environment->lifetime == LIFETIME_ATTACHED &&
            environment->linger_usec == 0)
                ck_assert_msg(environment->in_doubt, "%s stays for no reason", environment->name);
        check_regions(environment, sums);
        check_waiters(environment, sums);
        sums->environments++;
}

static void check_books(void)
{
        struct account *account = registry_account(&room.registry, geteuid());
        const struct environment *environment;
        struct sums sums = {};
        uint64_t id = 0;

        while ((environment = registry_after(&room.registry, id))) {
                check_environment(environment, &sums);
                id = environment->id;
        }
        ck_assert_int_eq(sums.environments, room.registry.n_environments);
        ck_assert_int_eq(sums.regions, room.registry.n_regions);
        ck_assert_int_eq(sums.attachments, room.registry.n_attachments);
        ck_assert_int_eq(sums.bytes, room.registry.bytes);
        ck_assert_int_eq(sums.environments, account->environments);
        ck_assert_int_eq(sums.regions, account->regions);
        ck_assert_int_eq(sums.bytes, account->bytes);
        ck_assert_int_eq(sums.waiting, account->waiting);
        registry_release_account(&room.registry, account);
}

/* --- what may happen --------------------------------------------------------------------------------------------- */

static void hear_closes(void)
{
        struct pollfd pollfd = { .fd = room.watch.fd, .events = POLLIN };

        if (poll(&pollfd, 1, 0) == 1)
                broker_run_watch(&room);
}

static void let_go(int *fd)
{
        *fd = close_fd(*fd);
}

static void open_any(struct actor *actor)
{
        static const enum backing backings[] = { BACKING_MEMFD, BACKING_MEMFD, BACKING_SYSV,
                                                 BACKING_POSIX, BACKING_FILE,  BACKING_PRIVATE };
        struct definition *definition = &actor->definition;
        struct open_args args = {
                .environment = any_name(),
                .create = CREATE_NEVER + any(3),
                .access = ACCESS_READ + any(2),
                .definition = definition,
        };

        *definition = room_define(backings[any(array_size(backings))], any(3));
        if (definition->backing != BACKING_PRIVATE)
                definition->lifetime = any(4);                                              /* 0: none given */
        if (definition->backing == BACKING_MEMFD || definition->backing == BACKING_PRIVATE) /* takes none of the pool */
                definition->hugetlb = (struct opt_bool){ true, room.huge_page_size > 0 && any(4) == 0 };
        definition->recovery = (struct opt_bool){ true, any(3) == 0 };
        if (any(4) == 0)
                definition->linger_usec = (struct opt_int){ true, SECOND };
        if (any(4) == 0) {
                actor->chosen = any_region();
                args.regions = (struct string_array){ true, any(2), &actor->chosen };
        }
        caller_open_as(&actor->caller, &args, any(3) == 0 ? -1 : (int64_t)any(2) * 3 * MSEC);
}

static void keep_any(struct actor *actor)
{
        const struct opened *opened = &actor->caller.opened;
        int *place = &kept[any(N_KEPT)];

        if (*place < 0 && opened->n_grants > 0)
                *place = fcntl(opened->grants[any(opened->n_grants)].fd, F_DUPFD_CLOEXEC, 0);
}

/* One of the calls that do not wait. */
static void ask_any(struct actor *actor)
{
        struct caller *caller = &actor->caller;
        const char *name = any_name(), *region = any_region();
        const struct spec spec = { .name = region, .size = 1, .backing = any(3) ? 0 : BACKING_SYSV };
        struct request *request = caller_request(caller);
        struct grant grant = { .fd = -1 };
        struct environment *adopted;
        uint64_t generation;

        switch (any(7)) {
        case 0:
                broker_ready(&room, request, name, &generation);
                break;
        case 1:
                if (any(2))
                        opened_deinit(&caller->opened);
                broker_detach(&room, request,
                              &(struct detach_args){ .environment = name, .region = any(2) ? region : NULL });
                break;
        case 2:
                broker_add_region(&room, request, &(struct add_region_args){ .environment = name, .region = &spec },
                                  &grant);
                break;
        case 3:
                broker_attach(&room, request, &(struct attach_args){ .environment = name, .region = region }, &grant);
                break;
        case 4:
                broker_delete_region(&room, request,
                                     &(struct delete_region_args){
                                             .environment = name, .region = region, .force = { true, any(2) } });
                break;
        case 5:
                broker_adopt(&room, request, &(struct adopt_args){ .environment = name }, &adopted);
                break;
        default:
                keep_any(actor);
        }
        close_fd(grant.fd);
}

static bool is_parked(const struct actor *actor)
{
        const struct waiter *waiter = &actor->caller.request.waiter;

        return waiter->environment || waiter->woken;
}

/* One in four is a process of its own, that can die. */
static void come(struct actor *actor)
{
        if (any(4) == 0)
                caller_start(&actor->caller);
        else
                caller_connect(&actor->caller);
        actor->is_connected = true;
}

static void go(struct actor *actor)
{
        struct caller *caller = &actor->caller;

        if (caller->child.pid && any(3) > 0)
                caller_die(caller);
        else if (caller->child.pid)
                caller_leave(caller);
        else
                caller_hang_up(caller);
        caller->request = (struct request){};
        actor->is_connected = false;
}

static void act(struct actor *actor)
{
        if (!actor->is_connected)
                come(actor);
        else if (any(is_parked(actor) ? 4 : 16) == 0)
                go(actor);
        else if (is_parked(actor))
                return;
        else if (any(8) < 3)
                open_any(actor);
        else if (any(5) < 2)
                caller_remove(&actor->caller, any_name(), any(3) == 0, any(3) * 5 * MSEC);
        else
                ask_any(actor);
}

static void step(void)
{
        switch (any(12)) {
        case 0:
                room_pass(any(2) ? MSEC : 2 * SECOND);
                break;
        case 1:
                hear_closes();
                break;
        case 2:
                let_go(&kept[any(N_KEPT)]);
                break;
        case 3 ... 5:
                room_settle();
                check_books();
                if (any(40) == 0)
                        room_check_ledger();
                break;
        default:
                act(&actors[any(N_CALLERS)]);
        }
}

/* --- the end of it ----------------------------------------------------------------------------------------------- */

/* Private memory stays with its process, which is the test itself: it is said for it that it let go. */
static void give_up_private_memory(struct environment *environment)
{
        struct region *region;

        TAILQ_FOREACH(region, &environment->regions, in_environment)
                region->privately_held = false;
}

static void remove_what_is_to_stay(void)
{
        struct environment *environment;
        struct caller caller;
        char name[2];

        caller_connect(&caller);
        while ((environment = registry_after(&room.registry, 0))) {
                ck_assert(environment->named);
                strcpy(name, environment->name);
                ck_assert_int_eq(caller_remove(&caller, name, false, 0), 0);
        }
        caller_leave(&caller);
}

START_TEST(nothing_is_left_of_whatever_they_do)
{
        struct environment *environment;
        uint64_t id = 0;

        state = (uint32_t)_i;
        for (size_t i = 0; i < N_KEPT; i++)
                kept[i] = -1;
        for (int i = 0; i < STEPS; i++)
                step();

        for (size_t i = 0; i < N_KEPT; i++)
                let_go(&kept[i]);
        for (size_t i = 0; i < N_CALLERS; i++)
                if (actors[i].is_connected)
                        caller_leave(&actors[i].caller);
        while ((environment = registry_after(&room.registry, id))) {
                id = environment->id;
                give_up_private_memory(environment);
                environment->look_interval = 0;
                reclaim_consider(&room, environment);
        }
        hear_closes();
        room_pass(60 * SECOND);
        remove_what_is_to_stay();
}
END_TEST

int main(void)
{
        Suite *suite = suite_create("broker-random");
        TCase *tcase = room_case(suite, "random", NULL);

        tcase_add_loop_test(tcase, nothing_is_left_of_whatever_they_do, 0, SEEDS);
        return check_run(suite);
}
