/* All from the loop and on its agenda: a loop that hangs does not say that it is alive. */

#include "daemon/server/manager.h"

#include "daemon/host/notify.h"
#include "daemon/log.h"
#include "daemon/server/server.h"
#include "proto/util.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

enum { STATUS_INTERVAL_USEC = 1000000 };

void manager_init(struct manager *manager, struct notify *notify, int64_t idle_usec)
{
        *manager = (struct manager){ .notify = notify, .idle_usec = idle_usec };
}

static void report_dropped(const char *name)
{
        log_warning("the service manager kept a descriptor %s for us that belongs to nothing; it was dropped", name);
}

/* --- status ------------------------------------------------------------------------------------------------------ */

static void tell(struct manager *manager, struct broker *broker)
{
        const struct registry *registry = &broker->registry;
        const int64_t now[] = { registry->n_environments, registry->n_regions, registry->bytes,
                                registry->n_attachments };
        char line[160];

        agenda_cancel(&broker->agenda, &manager->status);
        snprintf(line, sizeof(line),
                 "%" PRId64 " environments, %" PRId64 " regions, %" PRId64 " bytes, %" PRId64 " attachments", now[0],
                 now[1], now[2], now[3]);
        memcpy(manager->told, now, sizeof(now));
        manager->told_usec = broker->now;
        notify_status(manager->notify, line);
}

static bool knows(const struct manager *manager, const struct registry *registry)
{
        return manager->told[0] == registry->n_environments && manager->told[1] == registry->n_regions &&
               manager->told[2] == registry->bytes && manager->told[3] == registry->n_attachments;
}

static void on_status(struct agenda_item *item, void *data)
{
        tell(container_of(item, struct manager, status), data);
}

/* At most once in a while; the last word is said in any case. */
static void keep_informed(struct manager *manager, struct broker *broker)
{
        if (!manager->notify->is_heard || manager->status.at != 0 || knows(manager, &broker->registry))
                return;
        if (broker->now - manager->told_usec >= STATUS_INTERVAL_USEC) {
                tell(manager, broker);
                return;
        }
        manager->status.on_due = on_status;
        agenda_set(&broker->agenda, &manager->status, manager->told_usec + STATUS_INTERVAL_USEC);
}

/* --- watchdog ---------------------------------------------------------------------------------------------------- */

static void on_alive(struct agenda_item *item, void *data)
{
        struct manager *manager = container_of(item, struct manager, alive);
        struct broker *broker = data;

        notify_alive(manager->notify);
        agenda_set(&broker->agenda, &manager->alive, broker->now + manager->notify->watchdog_usec / 2);
}

/* --- idle -------------------------------------------------------------------------------------------------------- */

static bool is_idle(const struct server *server)
{
        if (!LIST_EMPTY(&server->sessions))
                return false;
        return server->manager.serves_given || server->broker->registry.n_environments == 0;
}

static void on_idle(struct agenda_item *item, void *data)
{
        (void)data;
        container_of(item, struct manager, idle)->is_over = true;
}

/* Whoever connects after this is not accepted any more: the socket is the manager's too, who starts the next broker for
 * what waits there. */
static bool is_over(struct server *server)
{
        struct manager *manager = &server->manager;
        struct agenda *agenda = &server->broker->agenda;

        if (!is_idle(server)) {
                agenda_cancel(agenda, &manager->idle);
                manager->is_over = false;
        } else if (manager->serves_given) {
                manager->is_over = true;
        } else if (manager->idle_usec >= 0 && manager->idle.at == 0 && !manager->is_over) {
                manager->idle.on_due = on_idle;
                agenda_set(agenda, &manager->idle, server->broker->now + manager->idle_usec);
        }
        return manager->is_over;
}

/* --- beginning and end ------------------------------------------------------------------------------------------- */

void manager_begin(struct server *server)
{
        struct manager *manager = &server->manager;

        notify_drop_rest(manager->notify, report_dropped);
        notify_ready(manager->notify);
        tell(manager, server->broker);
        manager->alive.on_due = on_alive;
        if (manager->notify->watchdog_usec > 0)
                on_alive(&manager->alive, server->broker);
}

bool manager_settle(struct server *server)
{
        keep_informed(&server->manager, server->broker);
        return is_over(server);
}

void manager_end(struct server *server)
{
        struct agenda *agenda = &server->broker->agenda;

        agenda_cancel(agenda, &server->manager.status);
        agenda_cancel(agenda, &server->manager.alive);
        agenda_cancel(agenda, &server->manager.idle);
        notify_stopping(server->manager.notify);
}
