#include "tests/bench/limit.h"

#include "tests/bench/samples.h"
#include "tests/bench/wire.h"

#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

enum { FDS_MAX = 16, REGION_BYTES = 64 * 1024 };

static struct limit_answer answers[LIMIT_ANSWERS_MAX];
static int fds[FDS_MAX];
static char *texts[LIMIT_ANSWERS_MAX];
static char queue[1024 * 1024];

static int listen_at(const char *path)
{
        struct sockaddr_un address = { .sun_family = AF_UNIX };
        int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

        strncpy(address.sun_path, path, sizeof(address.sun_path) - 1);
        unlink(path);
        if (fd < 0 || bind(fd, (struct sockaddr *)&address, sizeof(address)) < 0 || listen(fd, 1024) < 0)
                die("cannot listen on %s: %m", path);
        return fd;
}

static void make_memory(void)
{
        for (size_t i = 0; i < FDS_MAX; i++) {
                fds[i] = memfd_create("limit", MFD_CLOEXEC);
                if (fds[i] < 0 || ftruncate(fds[i], REGION_BYTES) < 0)
                        die("cannot make memory: %m");
        }
}

static void make_texts(size_t n)
{
        for (size_t i = 0; i < n; i++) {
                texts[i] = malloc(answers[i].n);
                if (!texts[i])
                        die("out of memory");
                memset(texts[i], ' ', answers[i].n - 1);
                texts[i][answers[i].n - 1] = '\0';
        }
}

static void answer(int peer, const char *bytes, size_t n, size_t n_fds)
{
        char control[CMSG_SPACE(FDS_MAX * sizeof(int))] = {};
        struct iovec data = { (void *)(uintptr_t)bytes, n };
        struct msghdr header = { .msg_iov = &data, .msg_iovlen = 1 };

        if (n_fds > 0) {
                header.msg_control = control;
                header.msg_controllen = CMSG_SPACE(n_fds * sizeof(int));
                *CMSG_FIRSTHDR(&header) = (struct cmsghdr){
                        .cmsg_len = CMSG_LEN(n_fds * sizeof(int)),
                        .cmsg_level = SOL_SOCKET,
                        .cmsg_type = SCM_RIGHTS,
                };
                memcpy(CMSG_DATA(CMSG_FIRSTHDR(&header)), fds, n_fds * sizeof(int));
        }
        while (n > 0) {
                ssize_t sent = sendmsg(peer, &header, MSG_NOSIGNAL);

                if (sent <= 0)
                        return; /* it has left */
                n -= (size_t)sent;
                data.iov_base = (char *)data.iov_base + sent;
                data.iov_len = n;
                header.msg_controllen = 0;
                header.msg_control = NULL;
        }
}

/* All calls that have come whole; those of one read are answered with one send, unless there are descriptors. */
static bool serve(int peer)
{
        static char calls[64 * 1024];
        ssize_t n = recv(peer, calls, sizeof(calls), 0);
        const char *call = calls;
        size_t queued = 0;

        if (n <= 0)
                return false;
        for (const char *end; (end = memchr(call, '\0', (size_t)(calls + n - call))); call = end + 1) {
                int which = call[0] - '0';
                const struct limit_answer *wanted = &answers[which];

                if (wanted->n_fds > 0) {
                        answer(peer, texts[which], wanted->n, wanted->n_fds);
                        continue;
                }
                if (queued + wanted->n > sizeof(queue)) {
                        answer(peer, queue, queued, 0);
                        queued = 0;
                }
                memcpy(queue + queued, texts[which], wanted->n); /* its bytes have to be written, like anybody's */
                queued += wanted->n;
        }
        if (queued > 0)
                answer(peer, queue, queued, 0);
        return true;
}

__attribute__((noreturn)) static void run(int listening)
{
        struct epoll_event event = { .events = EPOLLIN, .data.fd = listening };
        int epoll = epoll_create1(EPOLL_CLOEXEC);

        epoll_ctl(epoll, EPOLL_CTL_ADD, listening, &event);
        for (;;) {
                int n = epoll_wait(epoll, &event, 1, -1);
                int peer = event.data.fd;

                if (n != 1)
                        continue;
                if (peer == listening) {
                        event.events = EPOLLIN;
                        event.data.fd = accept4(listening, NULL, NULL, SOCK_CLOEXEC);
                        epoll_ctl(epoll, EPOLL_CTL_ADD, event.data.fd, &event);
                } else if (!serve(peer)) {
                        close(peer);
                }
        }
}

pid_t limit_start(const char *socket_path, int cpu, const struct limit_answer *wanted, size_t n)
{
        int listening = listen_at(socket_path);
        pid_t pid = fork();

        if (pid < 0)
                die("fork: %m");
        if (pid > 0) {
                close(listening);
                return pid;
        }
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        memcpy(answers, wanted, n * sizeof(*wanted));
        make_memory();
        make_texts(n);
        pin(cpu);
        run(listening);
}
