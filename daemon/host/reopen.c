/* Through /proc, which reaches memory files that have no name, too. */

#include "daemon/host/reopen.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>

int reopen(int fd, int flags)
{
        char path[64];
        int reopened;

        snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
        reopened = open(path, flags | O_CLOEXEC | O_NOCTTY);
        return reopened < 0 ? -errno : reopened;
}
