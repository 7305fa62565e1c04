/* Lists, walked from end to end: an administrator writes tens of rules, not thousands. */

#include "daemon/core/rules.h"

#include "daemon/core/policy.h"

#include <errno.h>
#include <fnmatch.h>
#include <stdlib.h>
#include <string.h>

const struct rules rules_none;

static void name_rule_deinit(struct name_rule *rule)
{
        free(rule->prefix);
        free(rule->reason);
}

void rules_forget_homes(struct rules *rules)
{
        for (size_t i = 0; i < rules->n_homes; i++)
                free(rules->homes[i]);
        rules->n_homes = 0;
}

void rules_deinit(struct rules *rules)
{
        for (size_t i = 0; i < rules->n_names; i++)
                name_rule_deinit(&rules->names[i]);
        rules_forget_homes(rules);
        declarations_deinit(&rules->declared);
        free(rules->users);
        free(rules->names);
        free(rules->homes);
        *rules = (struct rules){};
}

/* Room for one more behind the first `n`, zeroed; NULL when memory runs out. */
static void *grow(void *array, size_t n, size_t size)
{
        char *grown = reallocarray(*(void **)array, n + 1, size);

        if (!grown)
                return NULL;
        *(void **)array = grown;
        return memset(grown + n * size, 0, size);
}

struct user_rule *rules_user(struct rules *rules, bool is_group, id_t id)
{
        struct user_rule *rule;

        for (size_t i = 0; i < rules->n_users; i++)
                if (rules->users[i].is_group == is_group && rules->users[i].id == id)
                        return &rules->users[i];
        rule = grow(&rules->users, rules->n_users, sizeof(*rule));
        if (!rule)
                return NULL;
        rule->is_group = is_group;
        rule->id = id;
        rules->n_users++;
        return rule;
}

struct name_rule *rules_name(struct rules *rules, const char *prefix)
{
        struct name_rule *rule;

        for (size_t i = 0; i < rules->n_names; i++)
                if (strcmp(rules->names[i].prefix, prefix) == 0)
                        return &rules->names[i];
        rule = grow(&rules->names, rules->n_names, sizeof(*rule));
        if (!rule)
                return NULL;
        rule->prefix = strdup(prefix);
        if (!rule->prefix)
                return NULL;
        rules->n_names++;
        return rule;
}

int rules_add_home(struct rules *rules, const char *glob)
{
        char **home = grow(&rules->homes, rules->n_homes, sizeof(*home));

        if (!home)
                return -ENOMEM;
        *home = strdup(glob);
        if (!*home)
                return -ENOMEM;
        rules->n_homes++;
        return 0;
}

void rules_limits_of(const struct rules *rules, uid_t uid, const struct peer *peer, struct some_limits *ret)
{
        *ret = (struct some_limits){};
        for (size_t i = 0; i < rules->n_users; i++)
                if (rules->users[i].is_group && peer && policy_is_in_group(peer, rules->users[i].id))
                        some_limits_add(ret, &rules->users[i].limits);
        for (size_t i = 0; i < rules->n_users; i++)
                if (!rules->users[i].is_group && rules->users[i].id == uid)
                        some_limits_add(ret, &rules->users[i].limits);
}

const struct name_rule *rules_reserving(const struct rules *rules, const char *name)
{
        const struct name_rule *best = NULL;
        size_t n, longest = 0;

        for (size_t i = 0; i < rules->n_names; i++) {
                n = strlen(rules->names[i].prefix);
                if (n <= longest || strncmp(name, rules->names[i].prefix, n) != 0)
                        continue;
                best = &rules->names[i];
                longest = n;
        }
        return best;
}

bool rules_allow_home(const struct rules *rules, const char *path)
{
        for (size_t i = 0; i < rules->n_homes; i++)
                if (fnmatch(rules->homes[i], path, FNM_PATHNAME | FNM_LEADING_DIR) == 0)
                        return true;
        return !rules->homes_given;
}
