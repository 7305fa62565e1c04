/* Whatever dies, and wherever in a call, memory comes back; and none of it is taken from anybody who can still touch it.
 *
 *         REGION_BROKER=/absolute/path test-kill [SEED]
 *
 * Clients work with environments of all backings and are killed at random points. What they leave behind goes on: children
 * that inherited mappings, strangers that were passed descriptors; these check every byte until they are let go, one after
 * the other. At the end nothing may be left: no environment, no System V segment, no name, no file, no descriptor.
 * KILL_SEED repeats the same throws of the dice (though not the same interleaving), KILL_CLIENTS says how many there are. */

#include "proto/util.h"
#include "tests/integration/kill-books.h"
#include "tests/integration/kill-client.h"
#include "tests/integration/kill-holders.h"
#include "tests/integration/kill-plans.h"
#include "tests/support/ipc.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/random.h>
#include <sys/wait.h>
#include <time.h>

enum {
        CLIENTS = 240,
        AT_ONCE = 12,
        STEPS_BEFORE_KILL = 120, /* at most */
        DELAY_NSEC = 300000,     /* at most, from the announcement of that step to the kill */
        REMOVE_USEC = 120 * 1000 * 1000,
        ALARM_SECONDS = 840,
};

/* A client that runs. */
struct runner {
        pid_t pid; /* 0: none */
        int steps;
        unsigned n_steps, kill_after;
        enum step last;
        int64_t kill_at; /* nanoseconds; 0: not decided yet */
        bool killed;
};

struct test {
        struct stage stage;
        struct daemon daemon;
        struct region_broker *broker;
        struct dice dice;
        pid_t bystanders[BYSTANDERS];
        struct runner runners[AT_ONCE];
        unsigned n_clients, n_started, n_running, n_killed, n_survivors;
        unsigned killed_in[N_STEPS];
        char shm_names[64]; /* how those of this broker begin */
        struct ipc_snapshot before, after;
        struct books held, left; /* when only holders were left; in the end */
        int files, directories;  /* left */
        unsigned violations;
};

#define violate(test, ...) (stage_complain(&(test)->stage, __VA_ARGS__), (test)->violations++)

static int64_t now_nsec(void)
{
        struct timespec now;

        clock_gettime(CLOCK_MONOTONIC, &now);
        return now.tv_sec * INT64_C(1000000000) + now.tv_nsec;
}

/* --- the beginning ----------------------------------------------------------------------------------------------- */

static bool fail(const char *what)
{
        fprintf(stderr, "test-kill: %s: %s\n", what, strerror(errno));
        return false;
}

static bool open_stage(struct test *test)
{
        struct stage *stage = &test->stage;

        stage->socket = test->daemon.socket;
        stage->directory = test->daemon.directory;
        stage->shm_key = 0x70000000 + getpid() % 0x100000 * 16;
        stage->tally = mmap(NULL, sizeof(*stage->tally), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
        if (stage->tally == MAP_FAILED)
                return fail("mmap");
        if (pipe2(stage->release, O_CLOEXEC | O_NONBLOCK) < 0 || pipe2(stage->ended, O_CLOEXEC) < 0)
                return fail("pipe");
        return plans_make_homes(stage) || fail("mkdir");
}

/* An environment of our own tells the broker's number, which is in all its names; then all is as it was at first. */
static bool look_before(struct test *test)
{
        const struct region_spec spec = { .name = "probe", .size = 1 };
        const struct region_env_options options = { .create = REGION_CREATE_ALWAYS, .regions = &spec, .n_regions = 1 };
        struct region_env *env;
        const char *id;

        if (region_broker_connect(test->stage.socket, &test->broker) != REGION_OK ||
            region_env_open(test->broker, "probe", &options, &env) != REGION_OK) {
                fprintf(stderr, "test-kill: %s\n", region_error_message());
                return false;
        }
        region_broker_set_timeout(test->broker, 0); /* the alarm ends what hangs */
        id = region_env_info(env)->id;
        snprintf(test->shm_names, sizeof(test->shm_names), "region-broker.%.*s.", (int)strcspn(id, "-"), id);
        region_env_close(env);
        return books_wait(&test->left, test->broker, &test->daemon, books_are_empty) &&
               ipc_snapshot_take(&test->before, test->daemon.pid, test->shm_names) == 0;
}

static bool begin(struct test *test)
{
        if (!daemon_start(&test->daemon, NULL) || !open_stage(test) || !look_before(test))
                return false;
        for (unsigned i = 0; i < BYSTANDERS; i++) {
                test->bystanders[i] = bystander_start(&test->stage, i);
                if (test->bystanders[i] < 0)
                        return fail("fork");
        }
        return true;
}

/* --- clients ----------------------------------------------------------------------------------------------------- */

static bool start_client(struct test *test, struct runner *runner)
{
        int steps[2];

        if (pipe2(steps, O_CLOEXEC) < 0)
                return fail("pipe");
        *runner = (struct runner){
                .steps = steps[0],
                .kill_after = 1 + dice_below(&test->dice, STEPS_BEFORE_KILL),
                .pid = fork(),
        };
        if (runner->pid == 0) {
                for (unsigned i = 0; i < AT_ONCE; i++)
                        if (test->runners[i].pid && &test->runners[i] != runner)
                                close(test->runners[i].steps);
                close(steps[0]);
                client_run(&test->stage, test->n_started, steps[1]);
        }
        close(steps[1]);
        if (runner->pid < 0) {
                close(steps[0]);
                runner->pid = 0;
                return fail("fork");
        }
        test->n_started++;
        test->n_running++;
        return true;
}

static void check_end(struct test *test, const char *who, pid_t pid, int status, bool killed)
{
        if (WIFSIGNALED(status) && !(killed && WTERMSIG(status) == SIGKILL))
                violate(test, "%s %d died: %s", who, (int)pid, strsignal(WTERMSIG(status)));
        else if (WIFEXITED(status) && WEXITSTATUS(status) != 0)
                violate(test, "%s %d has failed", who, (int)pid);
}

static void end_client(struct test *test, struct runner *runner)
{
        int status = 0;

        waitpid(runner->pid, &status, 0);
        check_end(test, "client", runner->pid, status, runner->killed);
        if (WIFSIGNALED(status)) {
                test->n_killed++;
                test->killed_in[runner->last]++;
        }
        close(runner->steps);
        runner->pid = 0;
        test->n_running--;
}

static void hear(struct test *test, struct runner *runner)
{
        unsigned char steps[256];
        ssize_t n = read(runner->steps, steps, sizeof(steps));

        if (n <= 0) {
                end_client(test, runner);
                return;
        }
        for (ssize_t i = 0; i < n; i++) {
                runner->last = steps[i];
                if (++runner->n_steps == runner->kill_after || (steps[i] == STEP_HOLD && !runner->kill_at))
                        runner->kill_at = now_nsec() + dice_below(&test->dice, DELAY_NSEC);
        }
}

/* Kills whose time has come; the nanoseconds until the next. */
static int64_t kill_due(struct test *test)
{
        int64_t now = now_nsec(), next = 1000000000;

        for (unsigned i = 0; i < AT_ONCE; i++) {
                struct runner *runner = &test->runners[i];

                if (!runner->pid || !runner->kill_at || runner->killed)
                        continue;
                if (runner->kill_at <= now) {
                        kill(runner->pid, SIGKILL);
                        runner->killed = true;
                } else if (runner->kill_at - now < next) {
                        next = runner->kill_at - now;
                }
        }
        return next;
}

static void wait_for_clients(struct test *test)
{
        const int64_t left = kill_due(test);
        const struct timespec timeout = { left / 1000000000, left % 1000000000 };
        struct pollfd fds[AT_ONCE + 1] = { [AT_ONCE] = { .fd = test->daemon.log_fd, .events = POLLIN } };

        for (unsigned i = 0; i < AT_ONCE; i++)
                fds[i] = (struct pollfd){ .fd = test->runners[i].pid ? test->runners[i].steps : -1, .events = POLLIN };
        if (ppoll(fds, AT_ONCE + 1, &timeout, NULL) <= 0)
                return;
        for (unsigned i = 0; i < AT_ONCE; i++)
                if (fds[i].revents)
                        hear(test, &test->runners[i]);
        if (fds[AT_ONCE].revents)
                daemon_has_line(&test->daemon, ""); /* reads it, that the broker need not wait for us */
}

static bool run_clients(struct test *test)
{
        while (test->n_started < test->n_clients || test->n_running > 0) {
                for (unsigned i = 0; i < AT_ONCE && test->n_started < test->n_clients; i++)
                        if (!test->runners[i].pid && !start_client(test, &test->runners[i]))
                                return false;
                wait_for_clients(test);
        }
        /* from now on only survivors have the other end */
        test->stage.ended[1] = close_fd(test->stage.ended[1]);
        return true;
}

/* --- those who are left ------------------------------------------------------------------------------------------ */

static void check_holder(struct test *test, const char *who, pid_t pid)
{
        int status = 0;

        waitpid(pid, &status, 0);
        check_end(test, who, pid, status, false);
}

/* One after the other, while the others look on. They came to us when their parents died. */
static void release_survivors(struct test *test)
{
        struct pollfd broker = { .fd = test->daemon.pidfd, .events = POLLIN };
        pid_t pid;

        while (write(test->stage.release[1], "", 1) == 1 && read(test->stage.ended[0], &pid, sizeof(pid)) > 0) {
                check_holder(test, "survivor", pid);
                test->n_survivors++;
        }
        if (poll(&broker, 1, 0) > 0) {
                violate(test, "the broker has ended");
                return;
        }
        /* of our children those that should not have died yet: they could not tell */
        while ((pid = waitpid(-1, NULL, WNOHANG)) > 0)
                violate(test, "holder %d died before it was let go", (int)pid);
}

static void release_bystander(struct test *test, unsigned number)
{
        test->stage.passing[number] = close_fd(test->stage.passing[number]);
        check_holder(test, "bystander", test->bystanders[number]);
}

struct names {
        char name[64][160];
        size_t n;
};

static bool note_persistent(const struct region_env_info *info, void *data)
{
        struct names *names = data;

        if (info->lifetime == REGION_LIFETIME_PERSISTENT && info->state != REGION_STATE_RETIRED &&
            names->n < array_size(names->name))
                snprintf(names->name[names->n++], sizeof(names->name[0]), "%s", info->name);
        return true;
}

/* They stay until removed: every second one by force while survivors hold it, the rest in the end and without. */
static void remove_persistent(struct test *test, bool in_the_end)
{
        struct names names = {};
        enum region_result r;

        region_list(test->broker, NULL, note_persistent, &names);
        for (size_t i = 0; i < names.n; i += in_the_end ? 1 : 2) {
                r = region_env_remove(test->broker, names.name[i], !in_the_end, REMOVE_USEC, NULL);
                if (r != REGION_OK)
                        violate(test, "remove %s: %s", names.name[i], region_error_message());
        }
}

/* Its own processes are all dead, and that ends what they had; what they left behind goes on. */
static void look_between(struct test *test)
{
        if (!books_wait(&test->held, test->broker, &test->daemon, books_are_left))
                violate(test, "the dead still have %" PRId64 " attachments and %" PRId64 " sessions",
                        test->held.attachments, test->held.sessions - 1);
}

/* What was held before the broker was asked; who is slow may still add to it. */
struct known {
        uint64_t held[HELD_MAX]; /* 0: not noted yet */
        bool is[HELD_MAX];
};

static bool note_regions(const struct region_env_info *info, void *data)
{
        struct known *known = data;

        for (size_t i = 0; i < info->n_regions; i++) {
                uint64_t key = pattern_key(info->regions[i]->id);

                for (size_t j = 0; j < HELD_MAX; j++)
                        known->is[j] |= known->held[j] == key;
        }
        return true;
}

/* What somebody holds must not be reported as free. */
static void check_books(struct test *test)
{
        static struct known known;

        memset(&known, 0, sizeof(known));
        for (size_t i = 0; i < HELD_MAX; i++)
                known.held[i] = test->stage.tally->held[i];
        if (region_list(test->broker, NULL, note_regions, &known) != REGION_OK)
                violate(test, "list: %s", region_error_message());
        for (size_t i = 0; i < HELD_MAX; i++)
                if (known.held[i] && !known.is[i])
                        violate(test, "the broker knows nothing any more of a region that is held");
}

static void end_holders(struct test *test)
{
        look_between(test);
        check_books(test);
        remove_persistent(test, false);
        check_books(test);
        release_bystander(test, 0);
        release_survivors(test);
        release_bystander(test, 1);
        remove_persistent(test, true);
}

/* --- what is left ------------------------------------------------------------------------------------------------ */

static int count_directories(const char *path)
{
        DIR *directory = opendir(path);
        struct dirent *entry;
        int n = 0;

        if (!directory)
                return -1;
        while ((entry = readdir(directory)))
                n += strncmp(entry->d_name, "environment.", strlen("environment.")) == 0;
        closedir(directory);
        return n;
}

static void look_after(struct test *test)
{
        const struct books *left = &test->left;

        if (!books_wait(&test->left, test->broker, &test->daemon, books_are_empty))
                violate(test,
                        "left over: %" PRId64 " environments, %" PRId64 " regions, %" PRId64 " attachments, %" PRId64
                        " bytes, %" PRId64 " sessions",
                        left->environments, left->regions, left->attachments, left->bytes, left->sessions);
        if (books_close(&test->after, &test->daemon, test->shm_names, test->before.n_fds) < 0)
                violate(test, "it cannot be seen what is left: %m");
        ipc_snapshot_print(&test->after, stderr);
        test->files = plans_count_files(&test->stage);
        test->directories = count_directories(test->stage.directory);
        if (test->after.n_segments != 0 || test->after.n_names != 0 || test->files != 0 || test->directories != 0 ||
            test->after.n_fds != test->before.n_fds)
                violate(test, "something is left over");
}

static void print_killed_in(const struct test *test)
{
        printf("  killed in      ");
        for (unsigned i = 0; i < N_STEPS; i++)
                if (test->killed_in[i])
                        printf(" %s %u", step_word(i), test->killed_in[i]);
        printf("\n");
}

static void print(const struct test *test, double seconds)
{
        const struct books *held = &test->held, *left = &test->left;
        struct tally *t = test->stage.tally;

        printf("kill test: seed %" PRIu64 ", %.1f seconds\n", test->stage.seed, seconds);
        printf("  clients         %u, killed %u\n", test->n_started, test->n_killed);
        print_killed_in(test);
        printf("  left behind     %u survivors, %" PRIu64 " descriptors passed on, holding a region %" PRIu64
               " times\n",
               test->n_survivors, t->received, t->n_held);
        printf("  then there were environments %" PRId64 ", regions %" PRId64 ", bytes %" PRId64 "\n",
               held->environments, held->regions, held->bytes);
        printf("  environments    created %" PRId64 ", joined %" PRId64 ", retired %" PRId64 "\n", left->created,
               left->joined, left->retired);
        printf("  regions         memfd %" PRIu64 ", sysv %" PRIu64 ", posix %" PRIu64 ", file %" PRIu64
               ", private %" PRIu64 ", bytes %" PRIu64 "\n",
               t->regions[REGION_BACKING_MEMFD], t->regions[REGION_BACKING_SYSV], t->regions[REGION_BACKING_POSIX],
               t->regions[REGION_BACKING_FILE], t->regions[REGION_BACKING_PRIVATE], t->bytes);
        printf("  reclaimed       environments %" PRId64 ", regions %" PRId64 ", bytes %" PRId64 "\n", left->reclaimed,
               left->reclaimed_regions, left->reclaimed_bytes);
        printf("  pages verified  %" PRIu64 ", wrong %" PRIu64 "; wrong answers %" PRIu64 "\n", t->pages_verified,
               t->pages_wrong, t->answers_wrong);
        printf("  left over       environments %" PRId64 ", regions %" PRId64 ", attachments %" PRId64
               ", System V segments %zu, names %zu, files %d, directories %d, descriptors %d\n",
               left->environments, left->regions, left->attachments, test->after.n_segments, test->after.n_names,
               test->files, test->directories, test->after.n_fds - test->before.n_fds);
        printf("  violations      %u\n", test->violations);
}

/* --- all of it --------------------------------------------------------------------------------------------------- */

static void on_alarm(int number)
{
        static const char line[] = "test-kill: it takes too long\n";

        (void)number;
        if (write(STDERR_FILENO, line, sizeof(line) - 1) < 0)
                _exit(EXIT_FAILURE);
        _exit(EXIT_FAILURE); /* the clients go with us, the survivors at the end of their pipe */
}

static void choose(struct test *test, const char *seed)
{
        const char *clients = getenv("KILL_CLIENTS");

        if (!seed)
                seed = getenv("KILL_SEED");
        if (seed)
                test->stage.seed = strtoull(seed, NULL, 10);
        else if (getrandom(&test->stage.seed, 4, 0) < 0) /* short enough to be typed */
                fail("getrandom");
        test->dice.state = test->stage.seed;
        test->n_clients = clients ? (unsigned)strtoul(clients, NULL, 10) : CLIENTS;
}

static void show_log(const struct daemon *daemon)
{
        const size_t most = 10000;

        if (daemon->log)
                fprintf(stderr, "--- end of the broker's log:\n%s---\n",
                        daemon->n_log > most ? daemon->log + daemon->n_log - most : daemon->log);
}

static void play(struct test *test)
{
        int64_t began = now_nsec();

        if (!begin(test) || !run_clients(test)) {
                violate(test, "the test could not be done");
                return;
        }
        end_holders(test);
        look_after(test);
        region_broker_close(test->broker);
        if (test->violations > 0 || test->stage.tally->pages_wrong > 0 || test->stage.tally->answers_wrong > 0)
                show_log(&test->daemon);
        if (!daemon_stop(&test->daemon))
                violate(test, "the broker has failed");
        test->violations += (unsigned)(test->stage.tally->pages_wrong + test->stage.tally->answers_wrong);
        print(test, (double)(now_nsec() - began) / 1e9);
}

int main(int argc, char **argv)
{
        static struct test test;

        signal(SIGALRM, on_alarm);
        signal(SIGPIPE, SIG_IGN);
        alarm(ALARM_SECONDS);
        prctl(PR_SET_CHILD_SUBREAPER, 1);
        prctl(PR_SET_TIMERSLACK, 1000);
        choose(&test, argc > 1 ? argv[1] : NULL);
        play(&test);
        ipc_snapshot_deinit(&test.before);
        ipc_snapshot_deinit(&test.after);
        daemon_deinit(&test.daemon);
        return test.violations == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
