#pragma once

#include "daemon/core/tree.h"

#include <stdbool.h>
#include <stdint.h>

/* What is due when: deadlines, lingering, the next look. Whoever waits embeds an item. */
struct agenda_item {
        int64_t at; /* microseconds; 0 while not on the agenda */
        void (*on_due)(struct agenda_item *item, void *data);
        RB_ENTRY(agenda_item) by_time;
};

RB_HEAD(agenda, agenda_item);

/* Puts the item on the agenda, or moves it; `on_due` has been set. */
void agenda_set(struct agenda *agenda, struct agenda_item *item, int64_t at);
void agenda_cancel(struct agenda *agenda, struct agenda_item *item);
/* When the first item is due, or -1. */
int64_t agenda_next(const struct agenda *agenda);
/* Takes off and calls all that is due at `now`. */
void agenda_run(struct agenda *agenda, int64_t now, void *data);
