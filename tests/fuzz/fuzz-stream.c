/* What any peer can do to a stream. The input is a script: its first byte sets message_max; then come records of one
 * byte of bits (enum record below), one of length and so many bytes, each sent in one call.
 *
 * What was sent tells what has to come out: the bytes cut at their NULs, with each message the descriptors that were
 * sent inside of it, and an error only where a message gives cause for it. All messages go on through a second pair of
 * streams and have to come out of it unchanged. */

#include "proto/stream.h"
#include "proto/util.h"
#include "tests/support/raw.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <sys/mman.h>
#include <sys/param.h>
#include <sys/stat.h>

enum record {
        RECORD_FDS = 3, /* mask: how many descriptors go along */
        RECORD_READ = 4,
        RECORD_URGENT = 8,
        RECORD_FLUSH = 16,
};

#define RECORDS_MAX 512
#define BYTES_MAX 65536

/* All that was sent, and where descriptors went along. */
struct script {
        size_t message_max;
        char bytes[BYTES_MAX];
        size_t n;
        struct {
                size_t at;
                size_t n_fds;
        } records[RECORDS_MAX];
        size_t n_records;
};

/* One way through sockets: how much of the script has come out of it. */
struct way {
        struct stream stream;
        size_t n_seen;
        bool over;
};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct script script;
static int objects[RECORD_FDS]; /* told apart by their inodes */

static void make_objects(void)
{
        if (objects[0] > 0)
                return;
        for (size_t i = 0; i < array_size(objects); i++) {
                objects[i] = memfd_create("object", MFD_CLOEXEC);
                assert(objects[i] > 0);
        }
}

/* Which of the lowest 64 descriptors are open. */
static uint64_t open_fds(void)
{
        uint64_t open = 0;

        for (int fd = 0; fd < 64; fd++)
                open |= (uint64_t)(fcntl(fd, F_GETFD) >= 0) << fd;
        return open;
}

static void check_fds(struct fdset *fds)
{
        for (size_t i = 0; i < fds->n; i++) {
                struct stat sent, came;

                assert(fstat(objects[i], &sent) == 0 && fstat(fds->fds[i], &came) == 0);
                assert(sent.st_ino == came.st_ino);
                assert(fcntl(fds->fds[i], F_GETFD) & FD_CLOEXEC);
        }
}

/* How often, and in all how many, descriptors were sent with bytes `begin` to `end` of the script. */
static size_t count_fds(size_t begin, size_t end, size_t *ret_times)
{
        size_t n = 0;

        *ret_times = 0;
        for (size_t i = 0; i < script.n_records; i++) {
                if (script.records[i].at < begin || script.records[i].at >= end || script.records[i].n_fds == 0)
                        continue;
                n += script.records[i].n_fds;
                ++*ret_times;
        }
        return n;
}

static void check_message(struct way *way, const char *text, size_t n, struct fdset *fds)
{
        const char *wanted = script.bytes + way->n_seen;
        size_t times;

        assert(n > 0 && n <= script.message_max);
        assert(way->n_seen + n + 1 <= script.n);
        assert(strnlen(wanted, n + 1) == n && memcmp(text, wanted, n + 1) == 0);
        assert(count_fds(way->n_seen, way->n_seen + n + 1, &times) == fds->n && times <= 1);
        check_fds(fds);
        way->n_seen += n + 1;
}

/* The message that was refused: long, empty, unfinished, or with descriptors sent inside of it. */
static void check_refusal(const struct way *way, int error)
{
        const char *refused = script.bytes + way->n_seen;
        size_t rest = script.n - way->n_seen, n = strnlen(refused, rest), times;

        if (error == -EMSGSIZE) {
                assert(n > script.message_max);
                return;
        }
        assert(error == -EPROTO);
        assert(n == 0 || n == rest || count_fds(way->n_seen + 1, way->n_seen + n + 1, &times) > 0);
}

/* Reads until nothing waits, passing the messages on to `next`, if there is one. */
static void way_read(struct way *way, struct stream *next)
{
        while (!way->over) {
                owned(fdset_clear) struct fdset fds = {};
                owned(freep) char *text = NULL;
                size_t n;
                int r = stream_read(&way->stream, &text, &n, &fds);

                if (r == STREAM_AGAIN)
                        return;
                if (r == STREAM_MESSAGE) {
                        check_message(way, text, n, &fds);
                        if (next) {
                                r = stream_queue(next, take_ptr(text), n + 1, &fds);
                                assert(r == 0);
                        }
                        continue;
                }
                if (r == STREAM_END)
                        assert(!next || way->n_seen == script.n);
                else
                        check_refusal(way, r);
                way->over = true;
        }
}

static void open_pair(int pair[2])
{
        int r = socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair);

        assert(r == 0);
}

/* Sends one record: how many bytes of the input it took, 0 when the socket or the script is full. */
static size_t send_record(int peer, const uint8_t *data, size_t size)
{
        size_t n = MIN((size_t)data[1], size - 2), n_fds = data[0] & RECORD_FDS;
        ssize_t sent;

        if (script.n_records == RECORDS_MAX || script.n + n > BYTES_MAX)
                return 0;
        if (data[0] & RECORD_URGENT) {
                n_fds = 0;
                sent = send(peer, data + 2, n, n > 0 ? MSG_OOB | MSG_NOSIGNAL : MSG_NOSIGNAL);
        } else {
                sent = raw_send(peer, data + 2, n, objects, n_fds);
        }
        if (sent < 0)
                return 0;
        if (sent > 0)
                script.records[script.n_records++] = (typeof(script.records[0])){ script.n, n_fds };
        memcpy(script.bytes + script.n, data + 2, (size_t)sent);
        script.n += (size_t)sent;
        return n + 2;
}

static void run_script(const uint8_t *data, size_t size)
{
        struct way first = {}, second = {};
        int in[2], out[2], r;
        struct stream echo;

        open_pair(in);
        open_pair(out);
        stream_init(&first.stream, in[0], script.message_max);
        stream_init(&echo, out[0], 1);
        stream_init(&second.stream, out[1], script.message_max);

        while (size >= 2) {
                size_t n = send_record(in[1], data, size);

                if (n == 0)
                        break;
                if (data[0] & RECORD_READ)
                        way_read(&first, &echo);
                if (data[0] & RECORD_FLUSH) {
                        r = stream_flush(&echo);
                        assert(r == STREAM_DONE || r == STREAM_AGAIN);
                        way_read(&second, NULL);
                }
                data += n;
                size -= n;
        }
        close_fd(in[1]);
        way_read(&first, &echo);
        assert(first.over);
        while (stream_flush(&echo) == STREAM_AGAIN)
                way_read(&second, NULL);
        stream_deinit(&echo);
        way_read(&second, NULL);
        assert(second.over && second.n_seen == first.n_seen);
        stream_deinit(&first.stream);
        stream_deinit(&second.stream);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        uint64_t before;

        make_objects();
        before = open_fds();
        if (size > 0) {
                script.message_max = 1 + data[0] * 4u;
                script.n = 0;
                script.n_records = 0;
                run_script(data + 1, size - 1);
        }
        assert(open_fds() == before);
        return 0;
}
