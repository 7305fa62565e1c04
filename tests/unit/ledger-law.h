#pragma once

/* The law of the ledger: what is written down after a commit is exactly what is true, and a broker that reads it writes
 * the same again. */

struct broker;

void law_check(struct broker *broker);
/* Removes the ledger from a directory. */
void law_clear(const char *directory);
