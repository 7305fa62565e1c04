/* Options, directories, sockets; build, run, unwind. */

#include "daemon/broker.h"
#include "daemon/configuring.h"
#include "daemon/host/bag.h"
#include "daemon/host/lock.h"
#include "daemon/host/notify.h"
#include "daemon/log.h"
#include "daemon/options.h"
#include "daemon/server/listener.h"
#include "daemon/server/server.h"
#include "proto/util.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <uv.h>

enum { IDLE_GIVEN_USEC = 60 * 1000000 };

struct daemon {
        struct options options;
        struct configuration configuration;
        int lock; /* held while we live: one broker for one runtime directory */
        struct notify notify;
        struct bags bags;
        struct server_sockets sockets;
        char *paths[LISTENERS_MAX]; /* of the listening ones, owned; NULL where one has none */
        unsigned n_given;           /* so many of them, the first, were passed to us */
        uv_loop_t loop;
        uv_signal_t reload;
        struct broker broker;
        struct server server;
};

static int fail(const char *what, const char *which, int r)
{
        log_error("%s %s: %s", what, which, strerror(-r));
        return r;
}

/* Whoever else could write there could put something under our names. */
static int check_directory(const char *path)
{
        struct stat st;

        if (stat(path, &st) < 0)
                return fail("cannot use directory", path, -errno);
        if (!S_ISDIR(st.st_mode))
                return fail("cannot use directory", path, -ENOTDIR);
        if (st.st_uid == geteuid() && !(st.st_mode & (S_IWGRP | S_IWOTH)))
                return 0;
        log_error(
                "directory %s has to belong to uid %u and be writable by nobody else; it belongs to uid %u with mode %04o",
                path, geteuid(), st.st_uid, st.st_mode & 07777);
        return -EPERM;
}

/* Those above it, too: a new user has no ~/.local/state yet. */
static int make_parents(const char *path, mode_t mode)
{
        owned(freep) char *copy = strdup(path);

        if (!copy)
                return -ENOMEM;
        for (char *slash = strchr(copy + 1, '/'); slash; slash = strchr(slash + 1, '/')) {
                *slash = '\0';
                if (mkdir(copy, mode) < 0 && errno != EEXIST)
                        return fail("cannot make directory", copy, -errno);
                *slash = '/';
        }
        return 0;
}

static int make_directory(const char *path, mode_t mode)
{
        if (mkdir(path, mode) < 0 && errno != EEXIST)
                return fail("cannot make directory", path, -errno);
        return check_directory(path);
}

/* Every session and every environment costs descriptors. */
static void raise_descriptor_limit(void)
{
        struct rlimit limit;

        if (getrlimit(RLIMIT_NOFILE, &limit) < 0)
                return;
        limit.rlim_cur = limit.rlim_max;
        setrlimit(RLIMIT_NOFILE, &limit);
}

static void ignore_signals(void)
{
        signal(SIGPIPE, SIG_IGN);
        signal(SIGHUP, SIG_IGN); /* before we listen there is nothing to reload */
        signal(SIGIO, SIG_IGN);  /* a lease that was asked for as a proof was broken in that moment */
}

static int lock_directory(struct daemon *daemon)
{
        const char *directory = daemon->options.runtime_directory;
        pid_t holder = 0;

        daemon->lock = lock_take(directory, &holder);
        if (daemon->lock == -EBUSY) {
                log_error("another region-broker (pid %d) uses %s; stop it first, or name another directory with "
                          "--runtime-directory",
                          (int)holder, directory);
                return -EBUSY;
        }
        return daemon->lock < 0 ? fail("cannot lock", directory, daemon->lock) : 0;
}

static int add_socket(struct daemon *daemon, int fd, char *path)
{
        struct server_sockets *sockets = &daemon->sockets;

        daemon->paths[sockets->n_listening] = path;
        sockets->listening[sockets->n_listening++] = fd;
        return 0;
}

/* What was passed by systemd, or by another that starts services in this way. */
static int take_socket(struct daemon *daemon, struct passed *passed)
{
        struct server_sockets *sockets = &daemon->sockets;
        char *path;
        int r;

        if (passed->kind == PASSED_CONNECTED && strcmp(passed->name, "varlink") == 0 && sockets->given < 0) {
                fcntl(passed->fd, F_SETFL, fcntl(passed->fd, F_GETFL) | O_NONBLOCK);
                sockets->given = take_fd(passed->fd);
        }
        if (passed->kind != PASSED_LISTENING || sockets->n_listening == LISTENERS_MAX)
                return 0;
        r = listener_adopt(passed->fd, &path);
        if (r < 0)
                return fail("cannot listen on", passed->name, r);
        daemon->n_given++;
        return add_socket(daemon, take_fd(passed->fd), path);
}

/* A manager holds sockets for services that do not run yet; the one who is asked at them now is started. */
static void complain_other(const char *path, const struct identity *other)
{
        bool is_manager = other->pid == 1 || strcmp(other->command, "systemd") == 0;

        if (other->pid == 0)
                log_error("another program answers at %s; stop it first, or name another socket with --listen", path);
        else if (is_manager)
                log_error(
                        "the service manager, %s (pid %d, uid %u), listens at %s for a service of its own; stop its socket "
                        "unit first, or name another socket with --listen",
                        other->command, (int)other->pid, other->uid, path);
        else
                log_error("another program, %s (pid %d, uid %u), answers at %s; stop it first, or name another socket "
                          "with --listen",
                          other->command, (int)other->pid, other->uid, path);
}

static int open_socket(struct daemon *daemon, const char *path)
{
        owned(freep) char *copy = strdup(path);
        owned(identity_deinit) struct identity other = { .pidfd = -1 };
        int fd = copy ? listener_open(path, daemon->options.system, &other) : -ENOMEM;

        if (fd == -EADDRINUSE)
                complain_other(path, &other);
        return fd < 0 ? fail("cannot listen on", path, fd) : add_socket(daemon, fd, take_ptr(copy));
}

static int open_sockets(struct daemon *daemon)
{
        const struct options *options = &daemon->options;
        int r = 0;

        for (size_t i = 0; i < daemon->notify.n_passed && r == 0; i++)
                r = take_socket(daemon, &daemon->notify.passed[i]);
        if (options->listen_by_default && (daemon->n_given > 0 || daemon->sockets.given >= 0))
                return r;
        for (unsigned i = 0; i < options->n_listen && r == 0; i++) {
                if (daemon->sockets.n_listening == LISTENERS_MAX) {
                        log_error("no more than %d sockets to listen on, with those that were passed", LISTENERS_MAX);
                        return -E2BIG;
                }
                r = open_socket(daemon, options->listen[i]);
        }
        return r;
}

static void remove_sockets(struct daemon *daemon)
{
        for (unsigned i = 0; i < daemon->sockets.n_listening; i++) {
                if (i >= daemon->n_given) /* the others are for whoever passed them */
                        unlink(daemon->paths[i]);
                free(daemon->paths[i]);
        }
}

static int64_t idle_usec(const struct daemon *daemon)
{
        if (daemon->options.idle_usec != IDLE_NOT_SAID)
                return daemon->options.idle_usec;
        return daemon->n_given > 0 ? IDLE_GIVEN_USEC : -1;
}

static int prepare(struct daemon *daemon)
{
        const struct options *options = &daemon->options;
        int r;

        ignore_signals();
        raise_descriptor_limit();
        r = notify_init(&daemon->notify);
        if (r == 0)
                r = bags_init(&daemon->bags, &daemon->notify);
        if (r < 0)
                return fail("cannot take", "what was passed by the service manager", r);
        r = make_directory(options->runtime_directory, options->system ? 0755 : 0700);
        if (r == 0 && !options->system)
                r = make_parents(options->state_directory, 0700);
        if (r == 0)
                r = make_directory(options->state_directory, 0700);
        if (r == 0)
                r = lock_directory(daemon);
        return r == 0 ? open_sockets(daemon) : r;
}

static void on_reload(uv_signal_t *handle, int number)
{
        struct daemon *daemon = handle->data;

        (void)number;
        if (daemon->server.stopping)
                return;
        server_tick(&daemon->server);
        notify_reloading(&daemon->notify);
        configuring_reload(&daemon->options, &daemon->configuration, &daemon->broker);
        notify_ready(&daemon->notify);
}

/* It is deadly again when its handle is closed. */
static void block_reload(void)
{
        sigset_t set;

        sigemptyset(&set);
        sigaddset(&set, SIGHUP);
        sigprocmask(SIG_BLOCK, &set, NULL);
}

static int follow_reload(struct daemon *daemon)
{
        int r = uv_signal_init(&daemon->loop, &daemon->reload);

        daemon->reload.data = daemon;
        return r < 0 ? r : uv_signal_start(&daemon->reload, on_reload, SIGHUP);
}

/* Until a signal ends it; then until the last thread has given back what it was given. */
static int run(struct daemon *daemon)
{
        int r;

        manager_init(&daemon->server.manager, &daemon->notify, idle_usec(daemon));
        daemon->server.handover.bags = daemon->notify.is_heard ? &daemon->bags : NULL;
        r = server_init(&daemon->server, &daemon->loop, &daemon->broker, &daemon->sockets);
        if (r == 0) {
                bags_settle(&daemon->bags);
                for (unsigned i = 0; i < daemon->sockets.n_listening; i++)
                        log_notice("listening on %s", daemon->paths[i] ? daemon->paths[i] : "a socket without a path");
                uv_run(&daemon->loop, UV_RUN_DEFAULT);
        }
        server_stop(&daemon->server, true); /* who could not start gives up nothing that is not its own yet */
        uv_run(&daemon->loop, UV_RUN_DEFAULT);
        return r;
}

static int keep(void *data, const char *name, int fd, bool alone, struct kept **ret)
{
        return bags_keep(data, name, fd, alone, ret);
}

static void drop(void *data, struct kept *kept)
{
        bags_drop(data, kept);
}

static int take(void *data, const char *name, struct kept **ret)
{
        return bags_take(data, name, ret);
}

static int serve(struct daemon *daemon)
{
        const struct broker_settings settings = {
                .limits = daemon->configuration.limits,
                .socket = daemon->paths[0],
                .runtime_directory = daemon->options.runtime_directory,
                .state_directory = daemon->options.state_directory,
                .give_back = server_give_back,
                .give_back_data = &daemon->loop,
                .keeper = {
                        .keep = daemon->notify.is_heard ? keep : NULL,
                        .drop = drop,
                        .take = take,
                        .data = &daemon->bags,
                },
                .take_up = handover_take,
                .take_up_data = &daemon->server,
        };
        int r = uv_loop_init(&daemon->loop);

        if (r == 0)
                r = follow_reload(daemon); /* whoever hears that we are ready may ask for it at once */
        if (r < 0)
                return fail("cannot make", "the loop", r);
        r = broker_init(&daemon->broker, &settings);
        if (r == 0) {
                configuring_apply(&daemon->configuration, &daemon->broker);
                r = run(daemon);
                if (r < 0)
                        fail("cannot start", "serving", r);
                broker_deinit(&daemon->broker);
                block_reload();
                server_finish(&daemon->server);
        } else {
                fail("cannot make", "the broker", r);
                uv_close((uv_handle_t *)&daemon->reload, NULL);
                uv_run(&daemon->loop, UV_RUN_DEFAULT);
        }
        uv_loop_close(&daemon->loop);
        uv_library_shutdown();
        return r;
}

static int begin(struct daemon *daemon)
{
        int r = configuring_read(&daemon->options, &daemon->configuration);

        if (r < 0)
                return fail("cannot read", "the configuration", r);
        if (daemon->options.check_config)
                return configuring_check(&daemon->configuration) ? 0 : -EINVAL;
        log_set_level(daemon->configuration.level);
        configuring_complain(&daemon->configuration);
        r = prepare(daemon);
        if (r == 0)
                r = serve(daemon);
        remove_sockets(daemon);
        close_fd(daemon->lock);
        bags_deinit(&daemon->bags);
        notify_deinit(&daemon->notify);
        return r;
}

int main(int argc, char **argv)
{
        struct daemon daemon = { .lock = -1, .sockets.given = -1 };
        int r = options_read(&daemon.options, argc, argv);

        r = r == 0 ? begin(&daemon) : r > 0 ? 0 : r;
        configuration_deinit(&daemon.configuration);
        options_deinit(&daemon.options);
        return r == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
