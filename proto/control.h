#pragma once

/* The control page: one page per environment, written by the broker alone, mapped read-only by every member. */

#include <stdint.h>

#define CONTROL_MAGIC 0x4c525443u /* "CTRL" in memory */
#define CONTROL_VERSION 1
#define CONTROL_SIZE 4096

/* Bits of `flags` */
enum { CONTROL_DRAINING = 1 /* a Remove waits for the members to leave */ };

struct control_page {
        uint32_t magic;
        uint32_t version;
        uint32_t change; /* grows by one with every change below; a futex word */
        uint32_t state;  /* enum state */
        uint64_t generation;
        uint64_t deaths; /* processes that died while attached */
        uint32_t flags;
        uint32_t begun; /* one ahead of `change` while the fields are being written, else the same */
};
