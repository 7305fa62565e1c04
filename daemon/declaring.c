/* The broker asks itself, in the owner's name. Zeros are fit for use, or else the environment is left as one that has no
 * initializer yet, which the first opener becomes. */

#include "daemon/declaring.h"

#include "daemon/creation.h"
#include "daemon/definition.h"
#include "daemon/describing.h"
#include "daemon/events.h"
#include "daemon/host/directory.h"
#include "daemon/lifecycle.h"
#include "daemon/log.h"
#include "daemon/places.h"
#include "proto/util.h"

#include <errno.h>
#include <string.h>

static const struct declaration *find_home(const struct declarations *declared, const char *path)
{
        for (size_t i = 0; i < declared->n; i++)
                if (declared->items[i]->definition.home && strcmp(declared->items[i]->definition.home, path) == 0)
                        return declared->items[i];
        return NULL;
}

const struct declaration *declaring_find(const struct broker *broker, const char *name)
{
        const struct declarations *declared = &broker->registry.rules->declared;
        const struct declaration *declaration;
        owned(freep) char *canonical = NULL;

        if (declared->n == 0)
                return NULL;
        if (name[0] != '/')
                return declarations_find(declared, name);
        declaration = find_home(declared, name);
        if (declaration)
                return declaration;
        canonical = directory_canonical(name);
        return canonical ? find_home(declared, canonical) : NULL;
}

static void appear(struct broker *broker, const struct declaration *declaration, struct environment *environment,
                   const struct process *self)
{
        registry_add(&broker->registry, environment);
        if (!declaration->by_opener) {
                environment->state = STATE_READY;
                environment->generation++;
        }
        broker->counters.created++;
        lifecycle_show(broker, environment);
        events_note(broker, EVENT_KIND_CREATED, environment, NULL, self, "declared", environment->bytes);
        if (!declaration->by_opener)
                events_note(broker, EVENT_KIND_READY, environment, NULL, self, NULL, -1);
        log_line_of(LOG_LEVEL_INFO, LOG_FIELDS(.environment = environment->name, .uid = &environment->uid),
                    "created environment %s: %u regions, %lld bytes, for uid %u, as declared in %s", environment->name,
                    environment->n_regions, (long long)environment->bytes, environment->uid, declaration->file);
}

/* Who opens it has not asked for what is refused. */
static int explain(struct request *request, const struct declaration *declaration, const char *reason)
{
        request->refusal.name = declaration->name;
        request->refusal.reason = reason;
        return refuse(&request->refusal, REFUSED_NAME);
}

static int make(struct broker *broker, const struct declaration *declaration, struct request *request,
                struct environment **ret)
{
        struct definition definition = declaration->definition;
        int r;

        definition_fill_in(broker, &definition);
        r = definition_check_reserved(broker, request, declaration->name);
        if (r == 0)
                r = definition_check(broker, request, &definition);
        if (r == 0)
                r = creation_make(broker, request, declaration->name, &definition, ret);
        if (r == 0 && !declaration->by_opener) {
                r = describing_ready(broker, &request->refusal, *ret, (*ret)->generation + 1);
                if (r != 0)
                        creation_undo(broker, *ret);
        }
        if (r == REFUSED_PERMISSION)
                return explain(request, declaration, "its owner may not write to its home or region directory");
        if (r == REFUSED_INVALID_PARAMETER)
                return explain(request, declaration, "its System V keys go past the last there is");
        return r;
}

/* It may lie in its home since before the machine was started. */
static int find_or_make(struct broker *broker, const struct declaration *declaration, struct request *request,
                        struct environment **ret)
{
        int r = places_look_for(broker, request, declaration->name, declaration->definition.home);

        if (r != 0)
                return r;
        *ret = registry_find(&broker->registry, declaration->name);
        if (*ret)
                return 0;
        r = make(broker, declaration, request, ret);
        if (r == 0)
                appear(broker, declaration, *ret, request->peer->process);
        return r;
}

int declaring_make(struct broker *broker, const struct declaration *declaration, struct refusal *refusal,
                   struct environment **ret)
{
        struct peer owner = {
                .uid = declaration->uid,
                .gid = declaration->gid,
                .groups = declaration->groups,
                .n_groups = declaration->n_groups,
        };
        struct request request = { .peer = &owner };
        int r = broker_find_self(broker, &owner.process);

        if (r < 0)
                return r;
        owner.account = registry_account(&broker->registry, owner.uid);
        if (owner.account) {
                registry_apply_rules(&broker->registry, owner.account, &owner);
                r = find_or_make(broker, declaration, &request, ret);
        } else {
                r = -ENOMEM;
        }
        registry_release_account(&broker->registry, owner.account);
        broker_release_process(broker, owner.process);
        *refusal = request.refusal;
        return r;
}
