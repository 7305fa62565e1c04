#include "tests/unit/broker-room.h"

#include "daemon/host/memory.h"
#include "daemon/log.h"
#include "proto/util.h"
#include "tests/support/scratch.h"
#include "tests/unit/ledger-law.h"

#include <sys/mman.h>
#include <sys/shm.h>
#include <sys/socket.h>
#include <sys/un.h>

enum { PAGE = 4096, YEAR_2020 = 1577836800 };

struct broker room;

static int listening;
static struct sockaddr_un address = { .sun_family = AF_UNIX };
static socklen_t address_size;
static uint64_t last_connection;
static char runtime[64];

/* --- the room ---------------------------------------------------------------------------------------------------- */

static void set_time(int64_t now)
{
        broker_set_time(&room, now, now + INT64_C(1000000) * YEAR_2020);
}

static void start_listening(void)
{
        listening = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
        ck_assert_int_eq(bind(listening, (const struct sockaddr *)&address, sizeof(sa_family_t)),
                         0); /* any free name */
        address_size = sizeof(address);
        ck_assert_int_eq(getsockname(listening, (struct sockaddr *)&address, &address_size), 0);
        ck_assert_int_eq(listen(listening, 8), 0);
}

const char *room_state(void)
{
        return scratch;
}

char *room_path(const char *name)
{
        return scratch_path(name);
}

const char *room_runtime(void)
{
        return runtime;
}

static void begin_broker(void)
{
        struct broker_settings settings = { .runtime_directory = runtime, .state_directory = scratch };

        limits_init(&settings.limits);
        ck_assert_int_eq(broker_init(&room, &settings), 0);
        set_time(1000000);
        ck_assert_int_eq(broker_recover(&room), 0);
}

void room_check_ledger(void)
{
        law_check(&room);
}

void room_restart(void)
{
        broker_deinit(&room);
        begin_broker();
}

static void begin(void)
{
        log_set_level(LOG_LEVEL_ERROR);
        strcpy(runtime, "/dev/shm/unit-test-runtime-XXXXXX");
        ck_assert_ptr_nonnull(mkdtemp(runtime));
        begin_broker();
        start_listening();
}

static void check_nothing_is_left(void)
{
        const struct registry *registry = &room.registry;

        ck_assert_int_eq(registry->n_environments, 0);
        ck_assert_int_eq(registry->n_regions, 0);
        ck_assert_int_eq(registry->n_attachments, 0);
        ck_assert_int_eq(registry->n_sessions, 0);
        ck_assert_int_eq(registry->bytes, 0);
        ck_assert_ptr_null(RB_ROOT(&registry->environments));
        ck_assert_ptr_null(RB_ROOT(&registry->names));
        ck_assert_ptr_null(RB_ROOT(&registry->homes));
        ck_assert_ptr_null(RB_ROOT(&registry->processes));
        ck_assert_ptr_null(RB_ROOT(&registry->accounts));
        ck_assert_ptr_null(RB_ROOT(&registry->watched));
        ck_assert(TAILQ_EMPTY(&room.woken));
        ck_assert_int_eq(broker_next_due(&room), -1);
}

static void end(void)
{
        room_check_ledger();
        check_nothing_is_left();
        broker_deinit(&room);
        close_fd(listening);
        law_clear(runtime);
        ck_assert_int_eq(rmdir(runtime), 0); /* no page of control is left there */
}

TCase *room_case(Suite *suite, const char *name, SFun setup)
{
        TCase *tcase = check_case(suite, name);

        scratch_add(tcase);
        tcase_add_checked_fixture(tcase, begin, end);
        if (setup)
                tcase_add_checked_fixture(tcase, setup, NULL);
        return tcase;
}

/* --- callers ----------------------------------------------------------------------------------------------------- */

static int dial(void)
{
        int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

        if (connect(fd, (const struct sockaddr *)&address, address_size) < 0)
                return close_fd(fd);
        return fd;
}

/* Whoever calls next. */
static int answer(struct caller *caller, struct refusal *refusal)
{
        struct identity identity;
        const char *operation;
        int r;

        ck_assert(check_wait(listening, POLLIN));
        caller->socket = accept4(listening, NULL, NULL, SOCK_CLOEXEC);
        ck_assert_int_ge(caller->socket, 0);
        caller->opened.control_fd = -1;
        r = identity_read(caller->socket, &identity, &operation);
        if (r == 0)
                r = broker_connect(&room, &identity, ++last_connection, &caller->peer, refusal);
        if (r != 0) {
                close_fd(caller->socket);
                close_fd(caller->own_end);
        }
        return r;
}

int caller_try(struct caller *caller, struct refusal *refusal)
{
        *caller = (struct caller){ .own_end = dial() };
        ck_assert_int_ge(caller->own_end, 0);
        return answer(caller, refusal);
}

void caller_connect(struct caller *caller)
{
        struct refusal refusal;

        ck_assert_int_eq(caller_try(caller, &refusal), 0);
}

static void call_and_live(int channel, const void *data)
{
        const int *n = data;

        for (int i = 0; i < *n; i++)
                if (dial() < 0)
                        _exit(EXIT_FAILURE);
        child_tell(channel, 0);
        child_hear(channel);
}

void caller_start(struct caller *caller)
{
        caller_start_with_calls(caller, 1);
}

void caller_start_with_calls(struct caller *caller, int n)
{
        struct refusal refusal;

        *caller = (struct caller){ .own_end = -1 };
        child_start(&caller->child, call_and_live, &n);
        child_hear(caller->child.channel);
        ck_assert_int_eq(answer(caller, &refusal), 0);
}

int caller_answer(struct caller *caller)
{
        struct refusal refusal;

        *caller = (struct caller){ .own_end = -1 };
        return answer(caller, &refusal);
}

void caller_become(struct caller *caller, uid_t uid, gid_t gid)
{
        struct peer *peer = &caller->peer;
        struct account *account = registry_account(&room.registry, uid);

        ck_assert_ptr_nonnull(account);
        account->sessions++;
        peer->account->sessions--;
        registry_release_account(&room.registry, peer->account);
        peer->account = account;
        peer->uid = uid;
        peer->gid = gid;
        free(peer->groups);
        peer->groups = NULL;
        peer->n_groups = 0;
}

static void disconnect(struct caller *caller, bool died)
{
        broker_unpark(&room, &caller->request.waiter);
        opened_deinit(&caller->opened);
        broker_disconnect(&room, &caller->peer, died);
        caller->socket = close_fd(caller->socket);
        caller->own_end = close_fd(caller->own_end);
}

void caller_hang_up(struct caller *caller)
{
        disconnect(caller, false);
}

void caller_leave(struct caller *caller)
{
        disconnect(caller, false);
        if (caller->child.pid) {
                child_end(&caller->child);
                room_hear_deaths(); /* where the broker still follows it */
        }
        room_settle();
}

void caller_die(struct caller *caller)
{
        child_kill(&caller->child);
        room_hear_deaths();
}

/* --- what they ask ----------------------------------------------------------------------------------------------- */

struct request *caller_request(struct caller *caller)
{
        ck_assert_ptr_null(caller->request.waiter.environment);
        caller->request = (struct request){ .peer = &caller->peer, .until = -1 };
        caller->asks = ASKS_NOTHING;
        return &caller->request;
}

static int ask(struct caller *caller)
{
        if (caller->asks == ASKS_OPEN)
                caller->r = broker_open(&room, &caller->request, &caller->open_args, &caller->opened);
        else
                caller->r = broker_remove(&room, &caller->request, &caller->remove_args, &caller->bytes);
        if (caller->r == REFUSED_WAIT)
                caller->request.again = true;
        return caller->r;
}

int caller_open_as(struct caller *caller, const struct open_args *args, int64_t wait)
{
        opened_deinit(&caller->opened);
        caller_request(caller)->until = wait < 0 ? -1 : room.now + wait;
        caller->open_args = *args;
        caller->asks = ASKS_OPEN;
        return ask(caller);
}

int caller_open(struct caller *caller, const char *name, enum create create, const struct definition *definition)
{
        return caller_open_as(
                caller, &(struct open_args){ .environment = name, .create = create, .definition = definition }, -1);
}

int caller_join(struct caller *caller, const char *name)
{
        return caller_open(caller, name, CREATE_NEVER, NULL);
}

int caller_ready(struct caller *caller, const char *name)
{
        uint64_t generation;
        int r = broker_ready(&room, caller_request(caller), name, &generation);

        room_settle();
        return r;
}

int caller_detach(struct caller *caller, const char *name)
{
        int r;

        opened_deinit(&caller->opened);
        r = broker_detach(&room, caller_request(caller), &(struct detach_args){ .environment = name });
        room_settle();
        return r;
}

int caller_remove(struct caller *caller, const char *name, bool force, int64_t wait)
{
        caller_request(caller)->until = room.now + wait;
        caller->remove_args = (struct remove_args){ .environment = name, .force = { force, force } };
        caller->asks = ASKS_REMOVE;
        ask(caller);
        room_settle();
        return caller->r;
}

struct environment *caller_create(struct caller *caller, const char *name, const struct definition *definition)
{
        ck_assert_int_eq(caller_open(caller, name, CREATE_ALWAYS, definition), 0);
        ck_assert_int_eq(caller->opened.role, ROLE_INITIALIZER);
        ck_assert_int_eq(caller_ready(caller, name), 0);
        return caller->opened.environment;
}

/* --- the loop ---------------------------------------------------------------------------------------------------- */

void room_settle(void)
{
        struct waiter *waiter;

        while ((waiter = broker_next_woken(&room)))
                ask(container_of(waiter, struct caller, request.waiter));
}

void room_pass(int64_t usec)
{
        int64_t end = room.now + usec, due;

        while ((due = broker_next_due(&room)) >= 0 && due <= end) {
                set_time(due);
                broker_run_due(&room);
                room_settle();
        }
        set_time(end);
}

void room_hear_deaths(void)
{
        struct process *process;
        struct peer *peer;

        while ((process = broker_next_death(&room))) {
                while ((peer = LIST_FIRST(&process->peers)))
                        disconnect(container_of(peer, struct caller, peer), true);
                broker_bury(&room, process);
        }
        room_settle();
}

void room_hear_close(void)
{
        ck_assert_msg(check_wait(room.watch.fd, POLLIN), "nothing was closed");
        broker_run_watch(&room);
        room_settle();
}

/* --- definitions ------------------------------------------------------------------------------------------------- */

struct definition room_define(enum backing backing, size_t n_regions)
{
        static struct spec specs[] = { { .name = "r1", .size = PAGE }, { .name = "r2", .size = PAGE } };

        return (struct definition){ .backing = backing, .regions = { true, n_regions, specs } };
}

void *room_map(const struct grant *grant)
{
        void *bytes;

        if (grant->fd < 0)
                bytes = shmat(memory_shm_id(grant->region->memory), NULL, 0);
        else
                bytes = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, grant->fd, 0);
        ck_assert_ptr_ne(bytes, MAP_FAILED); /* (void *)-1 for both */
        return bytes;
}

void room_unmap(const struct region *region, void *bytes)
{
        ck_assert_int_eq(region->backing == BACKING_SYSV ? shmdt(bytes) : munmap(bytes, PAGE), 0);
}
