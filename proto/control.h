#pragma once

/* The control page: one page per environment, written by the broker alone, mapped read-only by every member. */

#include <stdint.h>

#define CONTROL_MAGIC 0x4c525443u /* "CTRL" in memory */
#define CONTROL_VERSION 1
#define CONTROL_SIZE 4096

/* Bits of `flags` */
enum { CONTROL_DRAINING = 1 /* a Remove waits for the members to leave */ };

/* The same fields once more, for who reads several of them: the next change leaves these as they are. */
struct control_shown {
        uint64_t generation;
        uint64_t deaths;
        uint32_t state;
        uint32_t flags;
};

struct control_page {
        uint32_t magic;
        uint32_t version;
        uint32_t change; /* grows by one with every change below; a futex word */
        uint32_t state;  /* enum state */
        uint64_t generation;
        uint64_t deaths; /* processes that died while attached */
        uint32_t flags;
        uint32_t begun;                /* one ahead of `change` while the fields are being written, else the same */
        struct control_shown shown[2]; /* after an even number of changes, and after an odd one */
};

/* Writes the next change. Who waits for it is to be woken then. Each store is a release, so that who sees one of the fields
 * sees `begun`; and `change` is the last, so that who sees it sees the rest. */
static inline void control_page_write(struct control_page *page, struct control_shown next)
{
        uint32_t change = page->change + 1;
        struct control_shown *shown = &page->shown[change % 2];

        __atomic_store_n(&page->begun, change, __ATOMIC_RELAXED);
        __atomic_store_n(&shown->generation, next.generation, __ATOMIC_RELEASE);
        __atomic_store_n(&shown->deaths, next.deaths, __ATOMIC_RELEASE);
        __atomic_store_n(&shown->flags, next.flags, __ATOMIC_RELEASE);
        __atomic_store_n(&shown->state, next.state, __ATOMIC_RELEASE);
        __atomic_store_n(&page->generation, next.generation, __ATOMIC_RELEASE);
        __atomic_store_n(&page->deaths, next.deaths, __ATOMIC_RELEASE);
        __atomic_store_n(&page->flags, next.flags, __ATOMIC_RELEASE);
        __atomic_store_n(&page->state, next.state, __ATOMIC_RELEASE);
        __atomic_store_n(&page->change, change, __ATOMIC_RELEASE);
}
