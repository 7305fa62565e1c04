#include "daemon/core/setting.h"

#include "proto/util.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static void setting_deinit(struct setting *setting)
{
        free(setting->name);
        free(setting->value);
        free(setting->source);
        *setting = (struct setting){};
}

void settings_deinit(struct settings *settings)
{
        for (size_t i = 0; i < settings->n; i++)
                setting_deinit(&settings->items[i]);
        free(settings->items);
        *settings = (struct settings){};
}

/* What JSON makes of it, at the most. */
static size_t text_cost(const char *text)
{
        size_t cost = 0;

        for (; *text; text++)
                cost += (unsigned char)*text < 0x20 || (unsigned char)*text >= 0x7f ? 6
                        : *text == '"' || *text == '\\'                             ? 2
                                                                                    : 1;
        return cost;
}

static size_t setting_cost(const struct setting *setting)
{
        return sizeof("{\"name\":\"\",\"value\":\"\",\"source\":\"\"},") + text_cost(setting->name) +
               text_cost(setting->value) + text_cost(setting->source);
}

static struct setting *find(const struct settings *settings, const char *name)
{
        for (size_t i = 0; i < settings->n; i++)
                if (strcmp(settings->items[i].name, name) == 0)
                        return &settings->items[i];
        return NULL;
}

const struct setting *settings_find(const struct settings *settings, const char *name)
{
        return find(settings, name);
}

static void settle(struct settings *settings, struct setting *place, struct setting *setting, size_t cost)
{
        if (place)
                setting_deinit(place);
        else
                place = &settings->items[settings->n++];
        *place = *setting;
        *setting = (struct setting){};
        settings->cost = cost;
}

int settings_put(struct settings *settings, const char *name, const char *value, const char *source)
{
        return settings_put_of(settings, NULL, name, value, source);
}

int settings_put_of(struct settings *settings, const struct declaration *of, const char *name, const char *value,
                    const char *source)
{
        owned(setting_deinit) struct setting setting = { strdup(name), strdup(value), strdup(source), of };
        struct setting *place = find(settings, name), *grown;
        size_t cost;

        if (!setting.name || !setting.value || !setting.source)
                return -ENOMEM;
        cost = settings->cost - (place ? setting_cost(place) : 0) + setting_cost(&setting);
        if (cost > SETTINGS_COST_MAX)
                return -E2BIG;
        if (!place) {
                grown = reallocarray(settings->items, settings->n + 1, sizeof(*grown));
                if (!grown)
                        return -ENOMEM;
                settings->items = grown;
        }
        settle(settings, place, &setting, cost);
        return 0;
}
