/* One function per method: arguments in, one verb, result out. */

#include "daemon/missing.h"
#include "daemon/server/dispatch.h"
#include "daemon/server/explain.h"
#include "daemon/server/report.h"
#include "daemon/server/session.h"
#include "proto/util.h"
#include "version.h"

#include <errno.h>
#include <fnmatch.h>
#include <string.h>

/* When a call that may wait gives up, from what it asked for at its first attempt. */
static void set_until(struct exchange *exchange, struct opt_int wait, int64_t otherwise)
{
        struct request *request = &exchange->request;

        if (request->again)
                return;
        if (!wait.given)
                request->until = otherwise;
        else if (wait.value > INT64_MAX - exchange->broker->now)
                request->until = -1;
        else
                request->until = exchange->broker->now + wait.value;
}

/* One grant in the words of the contract; its descriptor moves into `fds`. */
static int report_grant(struct grant *grant, const struct region_view *region, struct fdset *fds,
                        struct grant_view *view)
{
        int index;

        view->region = region;
        view->access = grant->access;
        if (grant->fd < 0)
                return 0;
        index = fdset_push(fds, take_fd(grant->fd));
        if (index < 0)
                return index;
        view->region_fd = (struct opt_int){ .given = true, .value = index };
        return 0;
}

/* Regions are told of in their order, and mostly granted in it, too. */
static const struct region_view *find_view(const struct opened *opened, const struct environment_view *environment,
                                           size_t grant)
{
        const struct region_view *views = environment->regions.items;
        size_t n = environment->regions.n;

        for (size_t i = 0; i < n; i++)
                if (views[(grant + i) % n].number == opened->grants[grant].region->number)
                        return &views[(grant + i) % n];
        return NULL;
}

static int report_opened(struct exchange *exchange, struct opened *opened, struct fdset *fds, struct open_result *ret)
{
        const struct open_args *args = exchange->args;
        struct arena *arena = &exchange->arena;
        struct grant_view *grants = arena_alloc(arena, opened->n_grants, sizeof(*grants));
        int r;

        ret->environment = report_environment(arena, exchange->broker, opened->environment);
        if (!grants || !ret->environment)
                return -ENOMEM;
        ret->role = opened->role;
        r = fdset_push(fds, take_fd(opened->control_fd));
        if (r < 0)
                return r;
        ret->control_fd = r;
        for (size_t i = 0; i < opened->n_grants; i++) {
                r = report_grant(&opened->grants[i], find_view(opened, ret->environment, i), fds, &grants[i]);
                if (r < 0)
                        return r;
        }
        ret->grants = (struct struct_array){ .given = true, .n = opened->n_grants, .items = grants };
        return report_differences(arena, exchange->broker, opened->environment,
                                  opened->created ? NULL : args->definition, &ret->differences);
}

static int run_open(struct exchange *exchange)
{
        const struct open_args *args = exchange->args;
        owned(opened_deinit) struct opened opened = { .control_fd = -1 };
        owned(fdset_clear) struct fdset fds = {};
        struct open_result result = {};
        int r;

        set_until(exchange, args->wait_usec, -1);
        r = broker_open(exchange->broker, &exchange->request, args, &opened);
        if (r != 0)
                return r;
        r = report_opened(exchange, &opened, &fds, &result);
        return r < 0 ? r : exchange_reply(exchange, &result, &fds, false);
}

static int run_ready(struct exchange *exchange)
{
        const struct ready_args *args = exchange->args;
        uint64_t generation;
        int r = broker_ready(exchange->broker, &exchange->request, args->environment, &generation);

        if (r != 0)
                return r;
        return exchange_reply(exchange, &(struct ready_result){ .generation = (int64_t)generation }, NULL, false);
}

static int reply_grant(struct exchange *exchange, struct grant *grant)
{
        owned(fdset_clear) struct fdset fds = {};
        struct grant_view view = {};
        struct region_view *region = report_region(&exchange->arena, exchange->broker, grant->region);
        int r = region ? report_grant(grant, region, &fds, &view) : -ENOMEM;

        close_fd(grant->fd);
        return r < 0 ? r : exchange_reply(exchange, &(struct grant_result){ .grant = &view }, &fds, false);
}

static int run_add_region(struct exchange *exchange)
{
        struct grant grant;
        int r = broker_add_region(exchange->broker, &exchange->request, exchange->args, &grant);

        return r != 0 ? r : reply_grant(exchange, &grant);
}

static int run_attach(struct exchange *exchange)
{
        struct grant grant;
        int r = broker_attach(exchange->broker, &exchange->request, exchange->args, &grant);

        return r != 0 ? r : reply_grant(exchange, &grant);
}

static int run_detach(struct exchange *exchange)
{
        int r = broker_detach(exchange->broker, &exchange->request, exchange->args);

        return r != 0 ? r : exchange_reply(exchange, NULL, NULL, false);
}

static int run_delete_region(struct exchange *exchange)
{
        int r = broker_delete_region(exchange->broker, &exchange->request, exchange->args);

        return r != 0 ? r : exchange_reply(exchange, NULL, NULL, false);
}

static int run_remove(struct exchange *exchange)
{
        const struct remove_args *args = exchange->args;
        struct remove_result result;
        int r;

        if (args->wait_usec.given && args->wait_usec.value < 0) {
                exchange->request.refusal.name = "waitUSec";
                return refuse(&exchange->request.refusal, REFUSED_INVALID_PARAMETER);
        }
        set_until(exchange, args->wait_usec, 0);
        r = broker_remove(exchange->broker, &exchange->request, args, &result.bytes);
        return r != 0 ? r : exchange_reply(exchange, &result, NULL, false);
}

/* The next after `id` that the pattern fits. */
static struct environment *find_listed(struct exchange *exchange, uint64_t id)
{
        const struct list_args *args = exchange->args;
        struct environment *environment;

        do {
                environment = broker_list(exchange->broker, exchange->request.peer, id);
                if (environment)
                        id = environment->id;
        } while (environment && args->pattern && fnmatch(args->pattern, environment->name, 0) != 0);
        return environment;
}

static int reply_listed(struct exchange *exchange, const struct environment *environment, bool continues)
{
        owned(arena_clear) struct arena arena = {};
        struct environment_result result = {
                .environment = report_environment(&arena, exchange->broker, environment),
        };

        return result.environment ? exchange_reply(exchange, &result, NULL, continues) : -ENOMEM;
}

/* One reply each, and no more than the peer reads. None at all is an error, as a reply has to have one. */
static int run_list(struct exchange *exchange)
{
        const struct list_args *args = exchange->args;
        struct environment *environment = find_listed(exchange, exchange->cursor), *next;
        int r = 0;

        if (!environment) {
                exchange->request.refusal.name = args->pattern ? args->pattern : "*";
                return refuse(&exchange->request.refusal, REFUSED_NO_ENVIRONMENT);
        }
        for (; environment && r == 0; environment = next) {
                if (session_is_congested(exchange->session))
                        return METHOD_CONTINUES;
                next = find_listed(exchange, environment->id);
                r = reply_listed(exchange, environment, next != NULL);
                exchange->cursor = environment->id;
        }
        return r;
}

static int run_describe(struct exchange *exchange)
{
        const struct describe_args *args = exchange->args;
        struct environment *environment;
        struct environment_view *view;
        struct describe_result result;
        int r;

        r = broker_describe(exchange->broker, &exchange->request, args->environment, &environment);
        if (r != 0)
                return r;
        view = report_environment(&exchange->arena, exchange->broker, environment);
        if (!view)
                return -ENOMEM;
        report_segments(view);
        result.environment = view;
        r = report_attachments(&exchange->arena, environment, NULL, &result.attachments);
        return r < 0 ? r : exchange_reply(exchange, &result, NULL, false);
}

/* From who may have what is missing a descriptor is taken, one with a call. */
static void expect_offer(struct exchange *exchange, const struct environment *environment)
{
        if (missing_is_any(environment))
                session_expect_fd(exchange->session);
}

static int run_adopt(struct exchange *exchange)
{
        struct environment *environment;
        struct environment_result result;
        int r = broker_adopt(exchange->broker, &exchange->request, exchange->args, &environment);

        if (r != 0)
                return r;
        result.environment = report_environment(&exchange->arena, exchange->broker, environment);
        if (!result.environment)
                return -ENOMEM;
        expect_offer(exchange, environment);
        return exchange_reply(exchange, &result, NULL, false);
}

static int run_resume(struct exchange *exchange)
{
        owned(fdset_clear) struct fdset fds = {};
        struct resumed resumed;
        struct resume_result result;
        int r = broker_resume(exchange->broker, &exchange->request, exchange->args, &resumed);

        if (r != 0)
                return r;
        result.role = resumed.role;
        result.control_fd = fdset_push(&fds, resumed.control_fd);
        if (result.control_fd < 0)
                return (int)result.control_fd;
        result.environment = report_environment(&exchange->arena, exchange->broker, resumed.environment);
        if (!result.environment)
                return -ENOMEM;
        expect_offer(exchange, resumed.environment);
        return exchange_reply(exchange, &result, &fds, false);
}

static int run_offer(struct exchange *exchange)
{
        const struct offer_args *args = exchange->args;
        const struct fdset *fds = &exchange->call->fds;
        int r;

        if (args->region_fd != 0 || fds->n == 0) {
                exchange->request.refusal.name = "regionFileDescriptor";
                return refuse(&exchange->request.refusal, REFUSED_INVALID_PARAMETER);
        }
        r = broker_offer(exchange->broker, &exchange->request, args, fds->fds[0]);
        return r != 0 ? r : exchange_reply(exchange, NULL, NULL, false);
}

static int run_explain(struct exchange *exchange)
{
        struct explain_result result;
        int r = explain(exchange, exchange->args, &result);

        return r != 0 ? r : exchange_reply(exchange, &result, NULL, false);
}

/* The first reply says at once that the watch stands. */
static int begin_watch(struct exchange *exchange)
{
        const struct watch_args *args = exchange->args;
        char instance[REGISTRY_ID_SIZE];
        struct watch_result result = {};
        bool is_another;
        int r;

        if (args->since.given && args->since.value < 0) {
                exchange->request.refusal.name = "since";
                return refuse(&exchange->request.refusal, REFUSED_INVALID_PARAMETER);
        }
        registry_write_instance(&exchange->broker->registry, instance);
        is_another = args->instance && strcmp(args->instance, instance) != 0;
        r = broker_watch(exchange->broker, &exchange->request,
                         !args->since.given ? -1
                         : is_another       ? 0
                                            : args->since.value,
                         &exchange->cursor);
        if (r != 0)
                return r;
        result.sequence = (int64_t)exchange->cursor;
        result.instance = instance;
        return exchange_reply(exchange, &result, NULL, true);
}

/* One reply an event, for as long as the peer listens. */
static int run_watch(struct exchange *exchange)
{
        const struct watch_args *args = exchange->args;
        const struct event *event;
        struct event_view view;
        int64_t missed;
        int r = exchange->request.watches ? 0 : begin_watch(exchange);

        while (r == 0) {
                if (session_is_congested(exchange->session))
                        return METHOD_CONTINUES;
                event = broker_next_event(exchange->broker, &exchange->request, args->environment, &exchange->cursor,
                                          &missed);
                if (!event)
                        return broker_await_event(exchange->broker, &exchange->request);
                report_event(event, &view);
                r = exchange_reply(exchange,
                                   &(struct watch_result){
                                           .event = &view,
                                           .sequence = view.sequence,
                                           .missed = { missed > 0, missed },
                                   },
                                   NULL, true);
        }
        return r;
}

static int run_get_statistics(struct exchange *exchange)
{
        struct statistics_result result;
        int r = report_statistics(&exchange->arena, exchange->broker, &result);

        return r < 0 ? r : exchange_reply(exchange, &result, NULL, false);
}

static int run_get_configuration(struct exchange *exchange)
{
        struct configuration_result result = {};
        int r = report_settings(&exchange->arena, exchange->broker, exchange->request.peer, &result.settings);

        return r < 0 ? r : exchange_reply(exchange, &result, NULL, false);
}

static int run_get_info(struct exchange *exchange)
{
        const char *interfaces[4];
        struct info_result result = {
                .vendor = "Region Broker",
                .product = "region-broker",
                .version = REGION_BROKER_VERSION,
                .url = "",
                .interfaces = { .given = true, .items = interfaces },
        };

        for (const char *const *interface = contract_interfaces; *interface; interface++)
                interfaces[result.interfaces.n++] = *interface;
        return exchange_reply(exchange, &result, NULL, false);
}

static int run_get_interface_description(struct exchange *exchange)
{
        const struct description_args *args = exchange->args;
        struct description_result result = { .description = contract_description(args->interface) };
        struct error_fields fields = { .interface = args->interface };

        if (!result.description)
                return exchange_error(exchange, ERROR_INTERFACE_NOT_FOUND, &fields);
        return exchange_reply(exchange, &result, NULL, false);
}

struct method methods[] = {
        { "org.varlink.service.GetInfo", run_get_info, false, NULL },
        { "org.varlink.service.GetInterfaceDescription", run_get_interface_description, false, NULL },
        { "org.regionbroker.Open", run_open, false, NULL },
        { "org.regionbroker.Ready", run_ready, false, NULL },
        { "org.regionbroker.AddRegion", run_add_region, false, NULL },
        { "org.regionbroker.Attach", run_attach, false, NULL },
        { "org.regionbroker.Detach", run_detach, false, NULL },
        { "org.regionbroker.DeleteRegion", run_delete_region, false, NULL },
        { "org.regionbroker.Remove", run_remove, false, NULL },
        { "org.regionbroker.List", run_list, false, NULL },
        { "org.regionbroker.Describe", run_describe, false, NULL },
        { "org.regionbroker.Adopt", run_adopt, false, NULL },
        { "org.regionbroker.Resume", run_resume, false, NULL },
        { "org.regionbroker.Offer", run_offer, true, NULL },
        { "org.regionbroker.Explain", run_explain, false, NULL },
        { "org.regionbroker.Watch", run_watch, false, NULL },
        { "org.regionbroker.GetStatistics", run_get_statistics, false, NULL },
        { "org.regionbroker.GetConfiguration", run_get_configuration, false, NULL },
};

const size_t n_methods = array_size(methods);
