/* What peers ask for, against what there can be: names, sizes, numbers. Nothing here touches the machine. */

#include "daemon/definition.h"

#include "daemon/core/policy.h"

#include <string.h>
#include <unistd.h>

int definition_refuse(struct refusal *refusal, const char *parameter)
{
        refusal->name = parameter;
        return refuse(refusal, REFUSED_INVALID_PARAMETER);
}

int definition_check_name(const char *name, struct refusal *refusal)
{
        const char *reason = NULL;

        if (!name[0])
                reason = "it is empty";
        else if (strlen(name) > NAME_MAX_BYTES)
                reason = "it is longer than 255 bytes";
        else if (strchr(name, '/'))
                reason = "it has a slash inside; only the path of a home, which begins with one, may";
        for (const char *c = name; *c && !reason; c++)
                if ((unsigned char)*c < 0x20 || *c == 0x7f)
                        reason = "it has a control character";
        if (!reason)
                return 0;
        refusal->name = name;
        refusal->reason = reason;
        return refuse(refusal, REFUSED_NAME);
}

int definition_check_reserved(const struct broker *broker, struct request *request, const char *name)
{
        const struct name_rule *rule = rules_reserving(broker->registry.rules, name);

        if (policy_may_use_name(request->peer, rule))
                return 0;
        request->refusal.name = name;
        request->refusal.reason = rule->reason;
        return refuse(&request->refusal, REFUSED_NAME);
}

void definition_fill_in(const struct broker *broker, struct definition *definition)
{
        const struct rules *rules = broker->registry.rules;

        if (!definition->backing)
                definition->backing = rules->backing;
        if (!definition->mode.given)
                definition->mode = rules->mode;
}

int64_t definition_round_size(const struct broker *broker, bool hugetlb, int64_t size)
{
        int64_t page = hugetlb && broker->huge_page_size > 0 ? broker->huge_page_size : sysconf(_SC_PAGESIZE);

        return (size + page - 1) / page * page;
}

/* What has a name in a filesystem is not of the pool. */
static bool is_fit_for_hugetlb(enum backing backing)
{
        return backing != BACKING_POSIX && backing != BACKING_FILE;
}

static int check_spec(struct broker *broker, const struct spec *spec, bool hugetlb, const char *parameter,
                      struct refusal *refusal)
{
        int64_t most = broker->settings.limits.region_bytes;
        int r = definition_check_name(spec->name, refusal);

        if (r != 0)
                return r;
        if (spec->size <= 0 || (spec->type && strlen(spec->type) > TYPE_MAX_BYTES) ||
            (hugetlb && !is_fit_for_hugetlb(spec->backing)))
                return definition_refuse(refusal, parameter);
        r = quota_check("regionBytes", 0, spec->size, most, refusal);
        if (r == 0 && hugetlb)
                r = quota_check("regionBytes", 0, definition_round_size(broker, true, spec->size), most, refusal);
        return r;
}

/* What is there already may be more than the budget, which may have shrunk; what takes none of it is not refused for that. */
static int check_memory(const struct broker *broker, int64_t wanted, struct refusal *refusal)
{
        if (wanted == 0)
                return 0;
        return quota_check("memoryBytes", broker->registry.memory_bytes, wanted, broker->settings.limits.memory_bytes,
                           refusal);
}

static int check_specs(struct broker *broker, struct request *request, const struct definition *definition)
{
        const struct spec *specs = definition->regions.items;
        struct refusal *refusal = &request->refusal;
        bool hugetlb = definition->hugetlb.value;
        int64_t bytes = 0, memory_bytes = 0, size;
        int r;

        r = quota_check("regionsPerEnvironment", 0, (int64_t)definition->regions.n,
                        broker->settings.limits.regions_per_environment, refusal);
        if (r != 0)
                return r;
        for (size_t i = 0; i < definition->regions.n; i++) {
                enum backing backing = definition->backing ? definition->backing : BACKING_MEMFD;

                r = check_spec(broker, &specs[i], hugetlb, "definition", refusal);
                if (r != 0)
                        return r;
                if (specs[i].backing && (specs[i].backing == BACKING_PRIVATE) != (backing == BACKING_PRIVATE))
                        return definition_refuse(refusal, "definition"); /* heap memory cannot be shared in part */
                for (size_t j = 0; j < i; j++)
                        if (strcmp(specs[i].name, specs[j].name) == 0)
                                return definition_refuse(refusal, "definition");
                size = definition_round_size(broker, hugetlb, specs[i].size);
                bytes += size; /* cannot overflow: 250 times 2^46 */
                if (backing_is_memory(specs[i].backing ? specs[i].backing : backing))
                        memory_bytes += size;
        }
        r = quota_check_regions(request->peer->account, &broker->settings.limits, 1, (int64_t)definition->regions.n,
                                bytes, refusal);
        return r == 0 ? check_memory(broker, memory_bytes, refusal) : r;
}

static bool is_path_fit(const char *path)
{
        return !path || (path[0] == '/' && strlen(path) <= PATH_MAX_BYTES);
}

int definition_check(struct broker *broker, struct request *request, const struct definition *definition)
{
        const struct opt_int *key = &definition->shm_key, *linger = &definition->linger_usec;
        int64_t last_key = INT32_MAX - (definition->regions.n > 0 ? (int64_t)definition->regions.n - 1 : 0);
        bool is_private = definition->backing == BACKING_PRIVATE;
        int r = 0;

        if (!is_path_fit(definition->home) || !is_path_fit(definition->region_directory) ||
            (definition->mode.given && (definition->mode.value < 0 || definition->mode.value > 0777)) ||
            (linger->given && linger->value < 0) || (key->given && (key->value < 1 || key->value > last_key)) ||
            (definition->schema && strlen(definition->schema) > NAME_MAX_BYTES) ||
            (is_private && definition->lifetime == LIFETIME_PERSISTENT) ||
            (definition->hugetlb.value && !is_fit_for_hugetlb(definition->backing)))
                return definition_refuse(&request->refusal, "definition");
        if (linger->given)
                r = quota_check("lingerUSec", 0, linger->value, broker->settings.limits.linger_usec, &request->refusal);
        return r == 0 ? check_specs(broker, request, definition) : r;
}

int definition_check_region(struct broker *broker, struct request *request, const struct environment *environment,
                            const struct spec *spec)
{
        struct refusal *refusal = &request->refusal;
        int64_t size;
        int r = check_spec(broker, spec, environment->hugetlb, "region", refusal);

        if (r != 0)
                return r;
        if (spec->backing && (spec->backing == BACKING_PRIVATE) != (environment->backing == BACKING_PRIVATE))
                return definition_refuse(refusal, "region");
        r = quota_check("regionsPerEnvironment", environment->n_regions, 1,
                        broker->settings.limits.regions_per_environment, refusal);
        if (r != 0)
                return r;
        size = definition_round_size(broker, environment->hugetlb, spec->size);
        r = quota_check_regions(environment->account, &broker->settings.limits, 0, 1, size, refusal);
        if (r != 0 || !backing_is_memory(spec->backing ? spec->backing : environment->backing))
                return r;
        return check_memory(broker, size, refusal);
}
