#pragma once

struct broker;

/* What the broker before us left, found again: its ledger, what the kernel says of the memory and the processes, and nothing
 * else. It is called once, before anybody is served, with the time set and the ledger open. Whoever died meanwhile is found
 * dead, and what follows from that is done. What is not found again is reported and left alone. -errno where the ledger
 * cannot be read at all, said so in the log. */
int recovery_run(struct broker *broker);

/* Its two halves: what was written is true again, which changes nothing in the world; 1: it was of another boot. */
struct recovery;
int recovery_load(struct broker *broker, struct recovery **ret);
/* What follows. Frees. -errno: of that nothing is done but what was half made taken away. */
int recovery_go_on(struct recovery *recovery);
/* Frees, and nothing follows. Takes NULL. */
void recovery_drop(struct recovery *recovery);
