#pragma once

/* What people read in columns. */

#include <libsmartcols/libsmartcols.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* Rows are collected and then printed, so that columns fit. When memory runs out, printing says so. Zero-initialised it
 * holds nothing. */
struct table {
        struct libscols_table *scols;
        bool failed;
};

struct column {
        const char *name;
        int flags;
};

void table_begin(struct table *table, const struct column *columns, size_t n, bool headings);
/* One cell for each column. What is NULL becomes a dash, so that scripts can count columns. */
void table_add(struct table *table, const char *const *cells);
/* Prints it, if there is a row; the exit code. */
int table_print(const struct table *table);
void table_clear(struct table *table);

/* A list of facts is a table of two columns. */
void facts_begin(struct table *table);
__attribute__((format(printf, 3, 4))) void facts_add(struct table *table, const char *name, const char *format, ...);

/* A value's text lives in its row's own scope; this is one of them. */
#define TEXT ((char[VALUE_TEXT_MAX]){ 0 })

/* Each fills `text`, of VALUE_TEXT_MAX bytes, where it needs to, and returns the words. */
const char *number_text(int64_t value, char *text);
const char *mode_text(mode_t mode, char *text);
const char *user_text(uid_t uid, char *text);
const char *group_text(gid_t gid, char *text);
