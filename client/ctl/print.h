#pragma once

/* What regionctl says: complaints, JSON, and tables for people. */

#include "client/ctl/options.h"
#include "client/ctl/table.h"
#include "client/libregion.h"

#include <stdbool.h>

/* One line on standard error: regionctl: ... */
__attribute__((format(printf, 1, 2))) void complain(const char *format, ...);

/* The same of a word that a parser did not take, -ERANGE or another errno; returns the exit code for that. */
int complain_value(const char *where, const char *word, int error, const char *expected);

/* On standard output, with what could drive a terminal made visible: a process chooses its own name. */
void put_safe(const char *string);

/* Prints what the broker sent, on one line or indented; the exit code. */
int print_json(const char *json, enum json_mode mode);

/* A table of environments, one row each; the caller clears it. */
void environments_begin(struct table *table, const struct options *options);
void environments_add(struct table *table, const struct region_env_info *info);
/* The exit code. */
int environments_print(const struct table *table, const struct options *options);

int print_description(const struct region_description *description, const struct options *options);

/* Who holds it, one row for each process; the exit code. */
int print_attachments(const struct region_attachment *const *attachments, size_t n, const struct options *options);

/* Each takes the reply of a call: GetStatistics, GetConfiguration, Describe, Explain. */
int print_statistics(const char *json, const struct options *options);
int print_settings(const char *json, const struct options *options);
int print_stat(const char *json);
int print_explanation(const char *json, const struct options *options);
/* One of Watch: an event becomes a line; the first, which has none, says what is watched unless that is not wanted. */
int print_watched(const char *json, const char *environment, const struct options *options);
