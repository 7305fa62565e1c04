/* Tables are libsmartcols', which also makes control characters in names harmless; on a terminal long cells wrap,
 * elsewhere every row is one line and nothing is cut. */

#include "client/ctl/table.h"

#include "client/ctl/asking.h"
#include "client/ctl/values.h"
#include "proto/util.h"

#include <grp.h>
#include <inttypes.h>
#include <libsmartcols/libsmartcols.h>
#include <pwd.h>
#include <stdarg.h>
#include <stdio.h>

void table_begin(struct table *table, const struct column *columns, size_t n, bool headings)
{
        *table = (struct table){ .scols = scols_new_table() };
        table->failed = table->scols == NULL;
        for (size_t i = 0; i < n && !table->failed; i++)
                table->failed = scols_table_new_column(table->scols, columns[i].name, 0, columns[i].flags) == NULL;
        if (!table->failed)
                scols_table_enable_noheadings(table->scols, !headings);
}

void table_add(struct table *table, const char *const *cells)
{
        struct libscols_line *line = table->failed ? NULL : scols_table_new_line(table->scols, NULL);
        size_t n = line != NULL ? scols_table_get_ncols(table->scols) : 0;

        table->failed = line == NULL;
        for (size_t i = 0; i < n; i++)
                if (scols_line_set_data(line, i, cells[i] != NULL ? cells[i] : "-") < 0)
                        table->failed = true;
}

void table_clear(struct table *table)
{
        scols_unref_table(table->scols);
        *table = (struct table){ 0 };
}

int table_print(const struct table *table)
{
        bool failed = table->failed;

        if (!failed && !scols_table_is_empty(table->scols))
                failed = scols_print_table(table->scols) < 0;
        return failed ? out_of_memory() : CTL_DONE;
}

void facts_begin(struct table *table)
{
        static const struct column columns[] = { { "FACT", 0 }, { "VALUE", SCOLS_FL_WRAP } };

        table_begin(table, columns, array_size(columns), false);
}

void facts_add(struct table *table, const char *name, const char *format, ...)
{
        owned(freep) char *value = NULL;
        va_list arguments;

        va_start(arguments, format);
        if (vasprintf(&value, format, arguments) < 0)
                value = NULL;
        va_end(arguments);
        if (value == NULL)
                table->failed = true;
        table_add(table, (const char *const[]){ name, value });
}

const char *number_text(int64_t value, char *text)
{
        snprintf(text, VALUE_TEXT_MAX, "%" PRId64, value);
        return text;
}

const char *mode_text(mode_t mode, char *text)
{
        snprintf(text, VALUE_TEXT_MAX, "%04o", (unsigned)mode);
        return text;
}

const char *user_text(uid_t uid, char *text)
{
        const struct passwd *user = getpwuid(uid);

        return user != NULL ? user->pw_name : number_text(uid, text);
}

const char *group_text(gid_t gid, char *text)
{
        const struct group *group = getgrgid(gid);

        return group != NULL ? group->gr_name : number_text(gid, text);
}
