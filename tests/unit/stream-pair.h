#pragma once

/* What the tests of the stream share: a stream, and the other end of its socket, which they use raw where they have to
 * see or send what a stream would not. */

#include "proto/stream.h"
#include "proto/util.h"
#include "tests/support/check.h"
#include "tests/support/raw.h"

#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>

#define MESSAGE_MAX (256 * 1024)

static struct stream stream;
static int peer;

static inline void open_pair(int type, size_t message_max)
{
        const int room = 104 * 1024; /* which the kernel doubles; what it has by itself is the administrator's to say */
        int pair[2];

        ck_assert_int_eq(socketpair(AF_UNIX, type | SOCK_CLOEXEC, 0, pair), 0);
        for (size_t i = 0; i < array_size(pair); i++)
                ck_assert_int_eq(setsockopt(pair[i], SOL_SOCKET, SO_SNDBUF, &room, sizeof(room)), 0);
        stream_init(&stream, pair[0], message_max);
        peer = pair[1];
}

static inline void setup(void)
{
        open_pair(SOCK_STREAM | SOCK_NONBLOCK, MESSAGE_MAX);
}

static inline void teardown(void)
{
        stream_deinit(&stream);
        peer = close_fd(peer);
}

static inline void reopen_pair(int type, size_t message_max)
{
        teardown();
        open_pair(type, message_max);
}

/* A memfd whose size tells it from others. */
static inline int new_memfd(off_t size)
{
        int fd = memfd_create("test", MFD_CLOEXEC);

        ck_assert_int_ge(fd, 0);
        ck_assert_int_eq(ftruncate(fd, size), 0);
        return fd;
}

static inline void expect_memfd(struct fdset *fds, size_t index, off_t size)
{
        owned(closep) int fd = fdset_take(fds, index);
        struct stat st;

        ck_assert_int_eq(fstat(fd, &st), 0);
        ck_assert_int_eq(st.st_size, size);
        ck_assert(fcntl(fd, F_GETFD) & FD_CLOEXEC);
}

static inline char *repeated(char c, size_t n)
{
        char *text = malloc(n + 1);

        memset(text, c, n);
        text[n] = '\0';
        return text;
}

static inline void queue(const char *message, struct fdset *fds)
{
        ck_assert_int_eq(stream_queue(&stream, strdup(message), strlen(message) + 1, fds), 0);
}

static inline TCase *stream_case(Suite *suite, const char *name)
{
        TCase *tcase = check_case(suite, name);

        tcase_add_checked_fixture(tcase, setup, teardown);
        return tcase;
}
