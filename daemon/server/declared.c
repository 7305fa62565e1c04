/* What exists may be in use, and is what its users agreed on: it stays as it is, and a difference is for people to see. */

#include "daemon/server/declared.h"

#include "daemon/declaring.h"
#include "daemon/host/directory.h"
#include "daemon/log.h"
#include "daemon/server/report.h"
#include "proto/arena.h"
#include "proto/util.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

/* --- differences ------------------------------------------------------------------------------------------------- */

static void say_difference(const struct declaration *declaration, const char *field, const char *wanted,
                           const char *found)
{
        log_line_of(LOG_LEVEL_WARNING, LOG_FIELDS(.environment = declaration->name),
                    "environment %s is not as %s declares it: its %s is %s, not %s; it stays so until it is removed",
                    declaration->name, declaration->file, field, found[0] ? found : "none", wanted);
}

static void compare_numbers(const struct declaration *declaration, const char *field, uint64_t wanted, uint64_t found)
{
        char words[2][24];

        if (wanted == found)
                return;
        snprintf(words[0], sizeof(words[0]), "%" PRIu64, wanted);
        snprintf(words[1], sizeof(words[1]), "%" PRIu64, found);
        say_difference(declaration, field, words[0], words[1]);
}

/* Modes are read as they are written. */
static void say_one(const struct declaration *declaration, const struct difference *difference)
{
        char words[2][24];

        if (strcmp(difference->field, "mode") != 0) {
                say_difference(declaration, difference->field, difference->wanted, difference->found);
                return;
        }
        snprintf(words[0], sizeof(words[0]), "%04lo", strtol(difference->wanted, NULL, 10));
        snprintf(words[1], sizeof(words[1]), "%04lo", strtol(difference->found, NULL, 10));
        say_difference(declaration, difference->field, words[0], words[1]);
}

static int compare(const struct broker *broker, const struct declaration *declaration,
                   const struct environment *environment, struct arena *arena)
{
        const struct definition *definition = &declaration->definition;
        const char *schema = environment->schema ? environment->schema : "";
        owned(freep) char *directory = NULL;
        const struct difference *differences;
        struct struct_array list;
        int r = report_differences(arena, broker, environment, definition, &list);

        if (r < 0)
                return r;
        compare_numbers(declaration, "owner", declaration->uid, environment->uid);
        compare_numbers(declaration, "group", declaration->gid, environment->gid);
        if (definition->schema && strcmp(definition->schema, schema) != 0)
                say_difference(declaration, "schema", definition->schema, schema);
        if (definition->region_directory)
                directory = directory_canonical(definition->region_directory);
        if (directory && strcmp(directory, environment->directory_path ? environment->directory_path : "") != 0)
                say_difference(declaration, "region directory", directory,
                               environment->directory_path ? environment->directory_path : "");
        differences = list.items;
        for (size_t i = 0; i < list.n; i++)
                say_one(declaration, &differences[i]);
        return 0;
}

/* --- what could not be made -------------------------------------------------------------------------------------- */

static void write_reason(const struct refusal *refusal, int r, char *text, size_t size)
{
        switch (r < 0 ? 0 : refusal->code) {
        case 0:
                snprintf(text, size, "%s", strerror(-r));
                break;
        case REFUSED_QUOTA:
                snprintf(text, size,
                         "its owner's limit %s is %" PRId64 ", of which %" PRId64 " are used, and it takes %" PRId64,
                         refusal->name, refusal->maximum, refusal->used, refusal->wanted);
                break;
        case REFUSED_NAME:
                snprintf(text, size, "%s", refusal->reason);
                break;
        case REFUSED_ENVIRONMENT_EXISTS:
                snprintf(text, size, "its home is that of environment %s", refusal->environment->name);
                break;
        case REFUSED_KEY_IN_USE:
                snprintf(text, size, "System V key 0x%" PRIx64 " is of segment %" PRId64 " of uid %" PRId64,
                         (uint64_t)refusal->shm_key, refusal->shm_id, refusal->shm_uid);
                break;
        default: /* what the machine refused */
                snprintf(text, size, "%s: %s", refusal->operation,
                         refusal->reason ? refusal->reason : strerror(refusal->error));
        }
}

static void make(struct broker *broker, const struct declaration *declaration)
{
        struct environment *environment;
        struct refusal refusal = {};
        char reason[512];
        int r = declaring_make(broker, declaration, &refusal, &environment);

        if (r == 0)
                return;
        write_reason(&refusal, r, reason, sizeof(reason));
        log_line_of(LOG_LEVEL_WARNING, LOG_FIELDS(.environment = declaration->name, .uid = &declaration->uid),
                    "environment %s, declared in %s, is not made: %s", declaration->name, declaration->file, reason);
}

void declared_settle(struct broker *broker)
{
        const struct declarations *declared = &broker->registry.rules->declared;
        owned(arena_clear) struct arena arena = {};

        for (size_t i = 0; i < declared->n; i++) {
                const struct declaration *declaration = declared->items[i];
                const struct environment *environment = registry_find(&broker->registry, declaration->name);

                if (!environment && declaration->at_start)
                        make(broker, declaration);
                else if (environment && compare(broker, declaration, environment, &arena) < 0)
                        log_error("cannot compare environment %s with what is declared: out of memory",
                                  declaration->name);
        }
}
