#include "daemon/host/dropins.h"

#include "proto/util.h"

#include <dirent.h>
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

struct found {
        char **paths;
        size_t n;
};

static const char *name_of(const char *path)
{
        return strrchr(path, '/') + 1;
}

static bool has_name(const struct found *found, const char *name)
{
        for (size_t i = 0; i < found->n; i++)
                if (strcmp(name_of(found->paths[i]), name) == 0)
                        return true;
        return false;
}

static bool is_dropin(const char *name)
{
        size_t n = strlen(name);

        return name[0] != '.' && n > strlen(".conf") && strcmp(name + n - strlen(".conf"), ".conf") == 0;
}

static int add(struct found *found, const char *directory, const char *name)
{
        char **grown, *path;

        if (!is_dropin(name) || has_name(found, name))
                return 0;
        grown = reallocarray(found->paths, found->n + 1, sizeof(*grown));
        if (!grown)
                return -ENOMEM;
        found->paths = grown;
        if (asprintf(&path, "%s/%s", directory, name) < 0)
                return -ENOMEM;
        found->paths[found->n++] = path;
        return 0;
}

static void closedirp(DIR **directory)
{
        if (*directory)
                closedir(*directory);
}

static int add_all(struct found *found, const char *path)
{
        owned(closedirp) DIR *directory = opendir(path);
        const struct dirent *entry;
        int r;

        if (!directory)
                return errno == ENOENT ? 0 : -errno;
        for (errno = 0; (entry = readdir(directory)); errno = 0) {
                r = add(found, path, entry->d_name);
                if (r < 0)
                        return r;
        }
        return -errno;
}

static int compare(const void *a, const void *b)
{
        return strcmp(name_of(*(char *const *)a), name_of(*(char *const *)b));
}

void dropins_free(char **paths, size_t n)
{
        for (size_t i = 0; i < n; i++)
                free(paths[i]);
        free(paths);
}

int dropins_find(const char *const *directories, char ***ret, size_t *ret_n, const char **ret_failed)
{
        struct found found = {};
        int r;

        for (; *directories; directories++) {
                r = add_all(&found, *directories);
                if (r < 0) {
                        dropins_free(found.paths, found.n);
                        *ret_failed = *directories;
                        return r;
                }
        }
        if (found.n > 0)
                qsort(found.paths, found.n, sizeof(*found.paths), compare);
        *ret = found.paths;
        *ret_n = found.n;
        return 0;
}
