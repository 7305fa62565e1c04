/* What is asked of one environment and outlives the answer: copies in an arena of their own, freed as one. */

#include "client/environment.h"
#include "client/failure.h"
#include "client/info.h"
#include "client/session.h"

#include "proto/util.h"

/* --- what is ----------------------------------------------------------------------------------------------------- */

struct described {
        struct region_description description;
        struct arena arena;
};

static struct described *described_free(struct described *described)
{
        if (!described)
                return NULL;
        arena_clear(&described->arena);
        free(described);
        return NULL;
}

static void described_freep(struct described **described)
{
        described_free(*described);
}

static enum region_result described_new(const struct describe_result *result, struct described **ret)
{
        owned(described_freep) struct described *made = calloc(1, sizeof(*made));
        enum region_result r;

        if (!made)
                return failure_note_memory();
        made->description.n_attachments = result->attachments.n;
        r = info_of_environment(&made->arena, result->environment, &made->description.env);
        if (r == REGION_OK)
                r = info_of_attachments(&made->arena, &result->attachments, &made->description.attachments);
        if (r == REGION_OK)
                *ret = take_ptr(made);
        return r;
}

enum region_result region_describe(struct region_broker *broker, const char *name, struct region_description **ret)
{
        owned(answer_clear) struct answer answer = {};
        owned(broker_leavep) struct region_broker *inside = NULL;
        struct describe_args args = {};
        struct describe_result result;
        struct described *described = NULL;
        enum region_result r;

        r = environment_name(name, &args.environment);
        if (r == REGION_OK)
                r = broker_enter(broker, &inside);
        if (r == REGION_OK)
                r = broker_ask(broker, "org.regionbroker.Describe", &args, &answer, &result);
        if (r == REGION_OK)
                r = described_new(&result, &described);
        if (r == REGION_OK)
                *ret = &described->description;
        return r;
}

void region_description_free(struct region_description *description)
{
        if (description)
                described_free(container_of(description, struct described, description));
}

/* --- why it is so ------------------------------------------------------------------------------------------------ */

struct explained {
        struct region_explanation explanation;
        struct arena arena;
};

static struct explained *explained_free(struct explained *explained)
{
        if (!explained)
                return NULL;
        arena_clear(&explained->arena);
        free(explained);
        return NULL;
}

static void explained_freep(struct explained **explained)
{
        explained_free(*explained);
}

static enum region_result copy_events(struct explained *explained, const struct struct_array *views)
{
        const struct event_view *view = views->items;
        const struct region_event **events = arena_alloc(&explained->arena, views->n, sizeof(*events));
        enum region_result r = REGION_OK;

        if (!events)
                return failure_note_memory();
        for (size_t i = 0; i < views->n && r == REGION_OK; i++)
                r = info_of_event(&explained->arena, &view[i], 0, &events[i]);
        explained->explanation.events = events;
        explained->explanation.n_events = views->n;
        return r;
}

static enum region_result explained_new(const struct explain_result *result, struct explained **ret)
{
        owned(explained_freep) struct explained *made = calloc(1, sizeof(*made));
        enum region_result r;

        if (!made)
                return failure_note_memory();
        made->explanation.n_reasons = result->reasons.n;
        made->explanation.n_attachments = result->attachments.n;
        r = info_of_strings(&made->arena, &result->reasons, &made->explanation.reasons);
        if (r == REGION_OK)
                r = info_of_attachments(&made->arena, &result->attachments, &made->explanation.attachments);
        if (r == REGION_OK)
                r = copy_events(made, &result->history);
        if (r == REGION_OK)
                *ret = take_ptr(made);
        return r;
}

enum region_result region_explain(struct region_broker *broker, const char *name, const char *region,
                                  struct region_explanation **ret)
{
        owned(answer_clear) struct answer answer = {};
        owned(broker_leavep) struct region_broker *inside = NULL;
        struct explain_args args = { .region = region };
        struct explain_result result;
        struct explained *explained = NULL;
        enum region_result r;

        r = environment_name(name, &args.environment);
        if (r == REGION_OK)
                r = broker_enter(broker, &inside);
        if (r == REGION_OK)
                r = broker_ask(broker, "org.regionbroker.Explain", &args, &answer, &result);
        if (r == REGION_OK)
                r = explained_new(&result, &explained);
        if (r == REGION_OK)
                *ret = &explained->explanation;
        return r;
}

void region_explanation_free(struct region_explanation *explanation)
{
        if (explanation)
                explained_free(container_of(explanation, struct explained, explanation));
}
