#include "daemon/host/boot.h"

#include "proto/util.h"

#include <fcntl.h>
#include <string.h>

void boot_read_id(char ret[64])
{
        owned(closep) int fd = open("/proc/sys/kernel/random/boot_id", O_RDONLY | O_CLOEXEC);
        ssize_t n = fd < 0 ? -1 : read(fd, ret, 63);

        ret[n > 0 ? n : 0] = '\0';
        ret[strcspn(ret, "\n")] = '\0';
        if (!ret[0])
                strcpy(ret, "unknown");
}
