/* An ordered set of moments. Items of the same moment are told apart by their address. */

#include "daemon/core/agenda.h"

static int compare(const struct agenda_item *a, const struct agenda_item *b)
{
        if (a->at != b->at)
                return a->at < b->at ? -1 : 1;
        return a < b ? -1 : a > b;
}

TREE_GENERATE(agenda, agenda_item, by_time, compare)

void agenda_cancel(struct agenda *agenda, struct agenda_item *item)
{
        if (item->at == 0)
                return;
        RB_REMOVE(agenda, agenda, item);
        item->at = 0;
}

void agenda_set(struct agenda *agenda, struct agenda_item *item, int64_t at)
{
        agenda_cancel(agenda, item);
        item->at = at > 0 ? at : 1;
        RB_INSERT(agenda, agenda, item);
}

int64_t agenda_next(const struct agenda *agenda)
{
        /* RB_MIN does not know const, and changes nothing */
        const struct agenda_item *first = RB_MIN(agenda, (struct agenda *)(uintptr_t)agenda);

        return first ? first->at : -1;
}

void agenda_run(struct agenda *agenda, int64_t now, void *data)
{
        struct agenda_item *item;

        while ((item = RB_MIN(agenda, agenda)) && item->at <= now) {
                agenda_cancel(agenda, item);
                item->on_due(item, data);
        }
}
