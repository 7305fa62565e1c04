#include "tests/bench/wire.h"

#include "tests/bench/samples.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

int wire_connect(const char *socket_path)
{
        struct sockaddr_un address = { .sun_family = AF_UNIX };
        int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

        if (strlen(socket_path) >= sizeof(address.sun_path))
                die("%s is too long for a socket", socket_path);
        strcpy(address.sun_path, socket_path);
        if (fd < 0 || connect(fd, (struct sockaddr *)&address, sizeof(address)) < 0)
                die("cannot connect to %s: %m", socket_path);
        return fd;
}

static void take_fds(struct msghdr *header, struct wire_reply *reply)
{
        for (struct cmsghdr *c = CMSG_FIRSTHDR(header); c; c = CMSG_NXTHDR(header, c)) {
                size_t n = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);

                if (c->cmsg_type != SCM_RIGHTS)
                        continue;
                memcpy(reply->fds + reply->n_fds, CMSG_DATA(c), n * sizeof(int));
                reply->n_fds += n;
        }
}

/* Replies are taken one at a time, so that none but its own bytes come along; the first chunk has the descriptors. A watch
 * may have the next one behind it, which stays where it is. */
void wire_take(int peer, struct wire_reply *reply)
{
        char control[CMSG_SPACE(WIRE_FDS_MAX * sizeof(int))];
        const char *end = NULL;
        ssize_t n;

        reply->n = reply->n_fds = 0;
        while (!end) {
                struct iovec data = { reply->text + reply->n, sizeof(reply->text) - reply->n };
                struct msghdr header = { .msg_iov = &data, .msg_iovlen = 1 };

                n = recv(peer, data.iov_base, data.iov_len, MSG_PEEK);
                if (n <= 0)
                        die("the other side has closed: %m");
                end = memchr(data.iov_base, '\0', (size_t)n);
                data.iov_len = end ? (size_t)(end - reply->text) + 1 - reply->n : (size_t)n;
                header.msg_control = control;
                header.msg_controllen = sizeof(control);
                n = recvmsg(peer, &header, MSG_CMSG_CLOEXEC);
                if (n <= 0)
                        die("the other side has closed: %m");
                take_fds(&header, reply);
                reply->n += (size_t)n;
        }
}

void wire_close_fds(struct wire_reply *reply)
{
        for (size_t i = 0; i < reply->n_fds; i++)
                close(reply->fds[i]);
        reply->n_fds = 0;
}

void wire_ask(int peer, const char *call, size_t n, struct wire_reply *reply)
{
        if (send(peer, call, n, MSG_NOSIGNAL) != (ssize_t)n)
                die("cannot send: %m");
        wire_take(peer, reply);
}

__attribute__((format(printf, 3, 0))) static size_t write_call(char *call, size_t size, const char *format,
                                                               va_list args)
{
        int n = vsnprintf(call, size, format, args);

        if (n < 0 || (size_t)n >= size)
                die("a call is too long");
        for (char *c = call; *c; c++)
                if (*c == '\'')
                        *c = '"';
        return (size_t)n + 1;
}

size_t wire_write(char *call, size_t size, const char *format, ...)
{
        va_list args;
        size_t n;

        va_start(args, format);
        n = write_call(call, size, format, args);
        va_end(args);
        return n;
}

void wire_call(int peer, struct wire_reply *reply, const char *format, ...)
{
        static char call[WIRE_MAX];
        va_list args;
        size_t n;

        va_start(args, format);
        n = write_call(call, sizeof(call), format, args);
        va_end(args);
        wire_ask(peer, call, n, reply);
        wire_close_fds(reply);
        if (strncmp(reply->text, "{\"error\"", strlen("{\"error\"")) == 0)
                die("%s: %s", call, reply->text);
}

long long wire_number(const struct wire_reply *reply, const char *name)
{
        char key[64];
        const char *found;

        snprintf(key, sizeof(key), "\"%s\":", name);
        found = strstr(reply->text, key);
        if (!found)
                die("no %s in %s", name, reply->text);
        return strtoll(found + strlen(key), NULL, 10);
}
