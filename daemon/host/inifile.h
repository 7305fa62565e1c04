#pragma once

/* One file of sections and keys, as inih reads it. */

enum { INIFILE_MAX_BYTES = 256 * 1024, INIFILE_MAX_WRONG = 100 };

/* What is done with what it has; each is told the number of the line, from 1. Texts live for the time of the call. */
struct inifile_reader {
        /* `section` is empty before the first one */
        void (*on_key)(void *data, unsigned line, const char *section, const char *key, const char *value);
        /* a line that is neither a section nor a key with a value, or one that cannot be read whole: why */
        void (*on_wrong)(void *data, unsigned line, const char *why);
        void *data;
};

/* Reads the whole file; nothing of it is told where it cannot be read or believed. A file that is no other than /dev/null is
 * an empty one. 0; -ENOENT; -EPERM: others than root and the user of this process could have written it; -EFBIG; -EINVAL: it
 * is no plain file, or holds a NUL byte; -errno. */
int inifile_read(const char *path, const struct inifile_reader *reader);
