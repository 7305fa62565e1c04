#pragma once

/* One sendmsg(2) or recvmsg(2), just as the test says: for peers that do what no well-behaved one would. */

#include "proto/fdset.h"

#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>

/* One more than the kernel carries, so that a test can be refused. */
union raw_control {
        struct cmsghdr header;
        char bytes[CMSG_SPACE((FDSET_MAX + 1) * sizeof(int))];
};

/* As sendmsg(2). The descriptors stay the caller's. */
static inline ssize_t raw_send(int socket, const void *bytes, size_t n, const int *fds, size_t n_fds)
{
        union raw_control control = {};
        struct iovec data = { (void *)bytes, n };
        struct msghdr header = { .msg_iov = &data, .msg_iovlen = 1 };

        if (n_fds > 0) {
                header.msg_control = &control;
                header.msg_controllen = CMSG_SPACE(n_fds * sizeof(int));
                control.header = (struct cmsghdr){ CMSG_LEN(n_fds * sizeof(int)), SOL_SOCKET, SCM_RIGHTS };
                memcpy(CMSG_DATA(&control.header), fds, n_fds * sizeof(int));
        }
        return sendmsg(socket, &header, MSG_NOSIGNAL);
}

/* As recvmsg(2). What comes along is pushed to `fds`. */
static inline ssize_t raw_receive(int socket, void *bytes, size_t n, struct fdset *fds)
{
        union raw_control control;
        struct iovec data = { bytes, n };
        struct msghdr header = {
                .msg_iov = &data,
                .msg_iovlen = 1,
                .msg_control = &control,
                .msg_controllen = sizeof(control),
        };
        ssize_t received = recvmsg(socket, &header, MSG_CMSG_CLOEXEC);
        size_t n_fds = 0;
        int fd;

        if (received >= 0 && header.msg_controllen > 0)
                n_fds = (control.header.cmsg_len - CMSG_LEN(0)) / sizeof(int);
        for (size_t i = 0; i < n_fds; i++) {
                memcpy(&fd, CMSG_DATA(&control.header) + i * sizeof(int), sizeof(fd));
                (void)fdset_push(fds, fd);
        }
        return received;
}
