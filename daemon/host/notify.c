/* libsystemd. Messages are datagrams that the manager has in its queue as soon as they are sent, so that it acts on them
 * whatever becomes of us then; only when that queue is full does a send wait for it.
 *
 * The names of all that is passed to a process come in one variable of its environment, and the kernel takes no variable of
 * more than 32 pages: with more than that in the store the service could never be started again, and all would be lost. So
 * their length is a limit of its own. */

#include "daemon/host/notify.h"

#include "proto/util.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <systemd/sd-daemon.h>
#include <time.h>

enum {
        NAMES_MAX_BYTES = 32 * 4096 - 256, /* the rest is for the variable's own name, and for sockets */
        KEPT_MAX = 1 << 20,                /* more than any manager takes */
};

/* What systemd 254 and newer say; for others the unit does. */
static size_t read_kept_max(void)
{
        const char *text = secure_getenv("FDSTORE");
        char *end;
        unsigned long value;

        if (!text || !text[0])
                return KEPT_MAX;
        value = strtoul(text, &end, 10);
        return *end || value > KEPT_MAX ? KEPT_MAX : value;
}

static enum passed_kind kind_of(int fd)
{
        if (sd_is_socket(fd, AF_UNIX, SOCK_STREAM, 1) > 0)
                return PASSED_LISTENING;
        if (sd_is_socket(fd, AF_UNIX, SOCK_SEQPACKET, 0) > 0)
                return PASSED_BAG;
        return sd_is_socket(fd, AF_UNIX, SOCK_STREAM, 0) > 0 ? PASSED_CONNECTED : PASSED_OTHER;
}

static void take_passed(struct notify *notify, char **names, size_t n)
{
        for (size_t i = 0; i < n; i++) {
                struct passed *passed = &notify->passed[i];

                passed->fd = SD_LISTEN_FDS_START + (int)i;
                passed->name = names[i];
                passed->kind = kind_of(passed->fd);
                notify->kept_bytes += strlen(passed->name) + 1;
                notify->n_kept += passed->kind == PASSED_OTHER || passed->kind == PASSED_BAG;
        }
        notify->n_passed = n;
}

int notify_init(struct notify *notify)
{
        owned(freep) char **names = NULL;
        uint64_t watchdog = 0;
        int n = sd_listen_fds_with_names(1, &names);

        *notify = (struct notify){ .is_heard = secure_getenv("NOTIFY_SOCKET"), .n_kept_max = read_kept_max() };
        if (sd_watchdog_enabled(1, &watchdog) > 0)
                notify->watchdog_usec = (int64_t)watchdog;
        if (n <= 0)
                return n;
        notify->passed = calloc((size_t)n, sizeof(*notify->passed));
        if (!notify->passed) {
                for (int i = 0; i < n; i++)
                        free(names[i]);
                return -ENOMEM;
        }
        take_passed(notify, names, (size_t)n);
        return 0;
}

void notify_deinit(struct notify *notify)
{
        for (size_t i = 0; i < notify->n_passed; i++) {
                close_fd(notify->passed[i].fd);
                free(notify->passed[i].name);
        }
        free(notify->passed);
        *notify = (struct notify){};
}

/* --- telling ----------------------------------------------------------------------------------------------------- */

void notify_ready(const struct notify *notify)
{
        if (notify->is_heard)
                sd_notify(0, "READY=1");
}

/* The time tells a manager of Type=notify-reload that we answer the signal it sent, and not an earlier one. */
void notify_reloading(const struct notify *notify)
{
        struct timespec now;

        clock_gettime(CLOCK_MONOTONIC, &now);
        if (notify->is_heard)
                sd_notifyf(0, "RELOADING=1\nMONOTONIC_USEC=%" PRId64,
                           (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000);
}

void notify_stopping(const struct notify *notify)
{
        if (notify->is_heard)
                sd_notify(0, "STOPPING=1");
}

void notify_status(const struct notify *notify, const char *line)
{
        if (notify->is_heard)
                sd_notifyf(0, "STATUS=%s", line);
}

void notify_alive(const struct notify *notify)
{
        if (notify->is_heard)
                sd_notify(0, "WATCHDOG=1");
}

/* --- the store --------------------------------------------------------------------------------------------------- */

int notify_keep(struct notify *notify, const char *name, int fd)
{
        size_t bytes = strlen(name) + 1;
        char message[96];
        int r;

        if (!notify->is_heard)
                return -EOPNOTSUPP;
        if (notify->n_kept >= notify->n_kept_max || notify->kept_bytes + bytes > NAMES_MAX_BYTES)
                return -ENOSPC;
        /* FDPOLL=0: a peer that hangs up meanwhile is for us to see */
        snprintf(message, sizeof(message), "FDSTORE=1\nFDPOLL=0\nFDNAME=%s", name);
        r = sd_pid_notify_with_fds(0, 0, message, &fd, 1);
        if (r <= 0)
                return r < 0 ? r : -EOPNOTSUPP;
        notify->n_kept++;
        notify->kept_bytes += bytes;
        return 0;
}

void notify_drop(struct notify *notify, const char *name)
{
        if (!notify->is_heard || notify->n_kept == 0)
                return;
        sd_notifyf(0, "FDSTOREREMOVE=1\nFDNAME=%s", name);
        notify->n_kept--;
        notify->kept_bytes -= strlen(name) + 1;
}

void notify_drop_rest(struct notify *notify, void (*each)(const char *name))
{
        for (size_t i = 0; i < notify->n_passed; i++) {
                struct passed *passed = &notify->passed[i];

                if (passed->fd < 0 || passed->kind == PASSED_LISTENING)
                        continue;
                passed->fd = close_fd(passed->fd);
                notify_drop(notify, passed->name);
                if (each && passed->kind != PASSED_BAG)
                        each(passed->name);
        }
}
