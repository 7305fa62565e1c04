/* Sockets in the file system. */

#include "daemon/server/listener.h"

#include "proto/util.h"

#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

static int make_address(const char *path, struct sockaddr_un *ret)
{
        *ret = (struct sockaddr_un){ .sun_family = AF_UNIX };
        if (strlen(path) >= sizeof(ret->sun_path))
                return -ENAMETOOLONG;
        strcpy(ret->sun_path, path);
        return 0;
}

/* Who stands in the way: 0 nobody, for a socket file is left behind by one who was killed, and nobody listens there;
 * -EADDRINUSE, -EEXIST. */
static int find_other(const struct sockaddr_un *address, struct identity *ret)
{
        owned(closep) int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        const char *operation;
        struct stat st;

        if (fd < 0 || lstat(address->sun_path, &st) < 0)
                return -EADDRINUSE;
        if (!S_ISSOCK(st.st_mode))
                return -EEXIST;
        if (connect(fd, (const struct sockaddr *)address, sizeof(*address)) < 0)
                return errno == ECONNREFUSED ? 0 : -EADDRINUSE;
        identity_read(fd, ret, &operation); /* whoever called listen(2) */
        return -EADDRINUSE;
}

static int bind_address(int fd, const struct sockaddr_un *address, mode_t mode, struct identity *other)
{
        mode_t before = umask(~mode & 0777); /* so that the file never stands there with another mode */
        int r = bind(fd, (const struct sockaddr *)address, sizeof(*address)) < 0 ? -errno : 0;

        if (r == -EADDRINUSE) {
                r = find_other(address, other);
                if (r == 0 && unlink(address->sun_path) == 0)
                        r = bind(fd, (const struct sockaddr *)address, sizeof(*address)) < 0 ? -errno : 0;
                else if (r == 0)
                        r = -errno;
        }
        umask(before);
        return r;
}

int listener_open(const char *path, bool open_to_all, struct identity *ret_other)
{
        owned(closep) int fd = -1;
        struct sockaddr_un address;
        int r = make_address(path, &address);

        if (r < 0)
                return r;
        fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        if (fd < 0)
                return -errno;
        *ret_other = (struct identity){ .pidfd = -1 };
        r = bind_address(fd, &address, open_to_all ? 0666 : 0600, ret_other);
        if (r < 0)
                return r;
        return listen(fd, SOMAXCONN) < 0 ? -errno : take_fd(fd);
}

int listener_adopt(int fd, char **ret_path)
{
        struct sockaddr_un address = {};
        socklen_t size = sizeof(address);
        int flags = fcntl(fd, F_GETFL);

        if (flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0)
                return -errno;
        if (listen(fd, SOMAXCONN) < 0 || getsockname(fd, (struct sockaddr *)&address, &size) < 0)
                return -errno;
        *ret_path = NULL;
        if (size <= offsetof(struct sockaddr_un, sun_path) || !address.sun_path[0])
                return 0;
        *ret_path = strndup(address.sun_path, sizeof(address.sun_path));
        return *ret_path ? 0 : -ENOMEM;
}
