#include "daemon/host/people.h"

#include "proto/quantities.h"

#include "proto/util.h"

#include <errno.h>
#include <grp.h>
#include <pwd.h>

enum { RECORD_MAX = 4096 };

/* The greatest number there could be means nobody. */
static int find_number(const char *word, id_t *ret)
{
        int64_t number;

        if (number_parse(word, &number) < 0 || number >= UINT32_MAX)
                return -ENOENT;
        *ret = (id_t)number;
        return 0;
}

int people_find_user(const char *word, uid_t *ret)
{
        struct passwd record, *found = NULL;
        char buffer[RECORD_MAX];

        if (find_number(word, ret) == 0)
                return 0;
        if (getpwnam_r(word, &record, buffer, sizeof(buffer), &found) != 0 || !found)
                return -ENOENT;
        *ret = found->pw_uid;
        return 0;
}

int people_find_group(const char *word, gid_t *ret)
{
        struct group record, *found = NULL;
        char buffer[RECORD_MAX];

        if (find_number(word, ret) == 0)
                return 0;
        if (getgrnam_r(word, &record, buffer, sizeof(buffer), &found) != 0 || !found)
                return -ENOENT;
        *ret = found->gr_gid;
        return 0;
}

enum { GROUPS_MAX = 65536 }; /* as the kernel has it */

int people_find_groups(uid_t uid, gid_t **ret, size_t *ret_n)
{
        struct passwd record, *found = NULL;
        owned(freep) gid_t *groups = NULL;
        char buffer[RECORD_MAX];
        gid_t *grown;
        int n = 16, r;

        if (getpwuid_r(uid, &record, buffer, sizeof(buffer), &found) != 0 || !found)
                return -ENOENT;
        do { /* it says how many there are, where there are more */
                grown = reallocarray(groups, (size_t)n, sizeof(*groups));
                if (!grown)
                        return -ENOMEM;
                groups = grown;
                r = getgrouplist(found->pw_name, found->pw_gid, groups, &n);
        } while (r < 0 && n <= GROUPS_MAX);
        if (r < 0)
                return -ENOENT;
        *ret = take_ptr(groups);
        *ret_n = (size_t)n;
        return 0;
}
