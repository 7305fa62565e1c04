/* A socket as messages, each with its descriptors.
 *
 * In: the kernel glues bytes that were sent earlier to descriptors that were sent later, so a reader that takes all
 * there is cannot tell whose descriptors it got. Therefore a message is looked at first (MSG_PEEK) and then read
 * exactly to its NUL: the descriptors of a message always come with its own first chunk. The look decides only how
 * much is read; what was read decides the rest.
 *
 * Where no descriptors are taken there is nothing to mix up but whom to blame, and one read takes all there is, which is
 * what makes a row of calls cheap. The kernel ends a read behind bytes that had descriptors, so it is the last message that
 * begins there which they came with.
 *
 * Out: a queue of messages, each with its descriptors until its first byte is out. One sendmsg(2) carries many
 * messages, but only the first of them may have descriptors: the receiver gives them to the message they come with. */

#include "stream.h"

#include "util.h"

#include <assert.h>
#include <errno.h>
#include <linux/sockios.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/param.h>
#include <sys/socket.h>
#include <sys/uio.h>

/* Most messages fit. Of a long row of small ones each look copies all of it, so more would only be slower. */
#define PEEK_SIZE 4096

#define GATHER_MAX 32 /* messages in one sendmsg(2) */

struct stream_ahead {
        size_t at, n;
        size_t refused; /* where the message begins that descriptors came with; none where that is `n` */
        char bytes[];
};

struct stream_output {
        STAILQ_ENTRY(stream_output) next;
        char *text; /* owned */
        size_t n;
        size_t sent;
        struct fdset fds; /* empty once the first byte is sent */
};

/* Room for all the descriptors of one message; the union aligns it. */
union control {
        struct cmsghdr header;
        char bytes[CMSG_SPACE(FDSET_MAX * sizeof(int))];
};

static void output_free(struct stream_output *output)
{
        fdset_clear(&output->fds);
        free(output->text);
        free(output);
}

static void stream_drop_input(struct stream *stream)
{
        free(take_ptr(stream->input));
        stream->n_input = 0;
        stream->input_allocated = 0;
        fdset_clear(&stream->input_fds);
}

static void stream_drop_ahead(struct stream *stream)
{
        free(take_ptr(stream->ahead));
}

void stream_init(struct stream *stream, int fd, size_t message_max)
{
        int inline_urgent = 1;

        *stream = (struct stream){ .fd = fd, .message_max = message_max, .fds_max = FDSET_MAX };
        STAILQ_INIT(&stream->output);

        /* An urgent byte (MSG_OOB) is hidden from a look and yet keeps the socket readable: the loop would spin on it.
         * Inline it is a byte like any other. A kernel that knows no urgent bytes may refuse. */
        (void)setsockopt(fd, SOL_SOCKET, SO_OOBINLINE, &inline_urgent, sizeof(inline_urgent));
}

static void add_to_tally(struct stream *stream, int64_t n)
{
        if (!stream->tally)
                return;
        stream->n_unread += n;
        *stream->tally += n;
}

void stream_deinit(struct stream *stream)
{
        struct stream_output *output;

        while ((output = STAILQ_FIRST(&stream->output))) {
                STAILQ_REMOVE_HEAD(&stream->output, next);
                output_free(output);
        }
        stream->n_output = 0;
        stream_drop_input(stream);
        stream_drop_ahead(stream);
        add_to_tally(stream, -stream->n_unread);
        stream->fd = close_fd(stream->fd);
}

/* How many of the bytes that wait belong to the message at hand; 0 at the end of the stream. */
static ssize_t stream_peek(const struct stream *stream)
{
        char bytes[PEEK_SIZE];
        const char *end;
        ssize_t n;

        do
                n = recv(stream->fd, bytes, sizeof(bytes), MSG_PEEK);
        while (n < 0 && errno == EINTR);
        if (n < 0)
                return -errno;
        end = memchr(bytes, '\0', (size_t)n);
        return end ? end - bytes + 1 : n;
}

static int stream_reserve(struct stream *stream, size_t n)
{
        size_t needed = stream->n_input + n;
        size_t allocated = MAX(needed, MIN(2 * stream->input_allocated, stream->message_max + 1));
        char *input;

        if (needed <= stream->input_allocated)
                return 0;
        input = realloc(stream->input, allocated);
        if (!input)
                return -ENOMEM;
        stream->input = input;
        stream->input_allocated = allocated;
        return 0;
}

/* Takes over the descriptors that came with a chunk: each is in `fds` or closed. -EPROTO: the kernel dropped some. */
static int take_descriptors(struct msghdr *header, struct fdset *fds)
{
        int r = header->msg_flags & MSG_CTRUNC ? -EPROTO : 0;

        for (struct cmsghdr *c = CMSG_FIRSTHDR(header); c; c = CMSG_NXTHDR(header, c)) {
                size_t n = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);

                if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
                        continue;
                for (size_t i = 0; i < n; i++) {
                        int fd, pushed;

                        memcpy(&fd, CMSG_DATA(c) + i * sizeof(int), sizeof(int));
                        pushed = fdset_push(fds, fd);
                        if (pushed < 0)
                                r = pushed;
                }
        }
        return r;
}

/* recvmsg(2): how many bytes came, 0 at the end; their descriptors are in `fds`. */
static ssize_t stream_receive(const struct stream *stream, void *bytes, size_t n, struct fdset *fds)
{
        union control control;
        struct iovec data = { bytes, n };
        struct msghdr header = {
                .msg_iov = &data,
                .msg_iovlen = 1,
                .msg_control = &control,
                .msg_controllen = sizeof(control),
        };
        ssize_t received;
        int r;

        do
                received = recvmsg(stream->fd, &header, MSG_CMSG_CLOEXEC);
        while (received < 0 && errno == EINTR);
        if (received < 0)
                return -errno;
        r = take_descriptors(&header, fds);
        return r < 0 ? r : received;
}

/* Moves the next `n` bytes and their descriptors into the message at hand: how many came, 0 at the end. */
static ssize_t stream_read_exactly(struct stream *stream, size_t n)
{
        owned(fdset_clear) struct fdset fds = {};
        ssize_t received;
        int r;

        r = stream_reserve(stream, n);
        if (r < 0)
                return r;
        received = stream_receive(stream, stream->input + stream->n_input, n, &fds);
        if (received < 0)
                return received;
        if (stream->n_input == 0)
                stream->input_refused_fds = false;
        if (fds.n > 0) {
                if (stream->n_input > 0)
                        return -EPROTO;
                stream->input_refused_fds = fds.n > stream->fds_max;
                if (!stream->input_refused_fds)
                        fdset_move(&stream->input_fds, &fds);
        }
        stream->n_input += (size_t)received;
        return received;
}

/* Where in what was read the last message begins; `n` where none does. */
static size_t last_beginning(const struct stream *stream, const char *bytes, size_t n)
{
        const char *end = memrchr(bytes, '\0', n - 1);

        if (end)
                return (size_t)(end + 1 - bytes);
        return stream->n_input == 0 ? 0 : n;
}

int stream_go_on(struct stream *stream, const char *bytes, size_t n, size_t refused)
{
        if (n == 0)
                return 0;
        stream->ahead = malloc(sizeof(*stream->ahead) + n);
        if (!stream->ahead)
                return -ENOMEM;
        stream->ahead->at = 0;
        stream->ahead->n = n;
        stream->ahead->refused = refused;
        memcpy(stream->ahead->bytes, bytes, n);
        return 0;
}

/* Reads what there is, and what it has of the message at hand goes there: how much that is, 0 at the end. The rest is
 * kept. */
static ssize_t stream_read_ahead(struct stream *stream)
{
        owned(fdset_clear) struct fdset fds = {};
        char bytes[PEEK_SIZE];
        size_t n, refused;
        const char *end;
        ssize_t received;
        int r;

        received = stream_receive(stream, bytes, sizeof(bytes), &fds);
        if (received <= 0)
                return received;
        stream->dry = (size_t)received < sizeof(bytes);
        refused = fds.n > 0 ? last_beginning(stream, bytes, (size_t)received) : (size_t)received;
        if (fds.n > 0 && refused == (size_t)received)
                return -EPROTO;

        end = memchr(bytes, '\0', (size_t)received);
        n = end ? (size_t)(end + 1 - bytes) : (size_t)received;
        r = stream_reserve(stream, n);
        if (r < 0)
                return r;
        r = stream_go_on(stream, bytes + n, (size_t)received - n, refused < n ? (size_t)received - n : refused - n);
        if (r < 0)
                return r;
        if (stream->n_input == 0)
                stream->input_refused_fds = refused < n;
        memcpy(stream->input + stream->n_input, bytes, n);
        stream->n_input += n;
        return (ssize_t)n;
}

/* The same from what was read before: a message, or the beginning of one that has yet to come. */
static ssize_t stream_take_ahead(struct stream *stream)
{
        struct stream_ahead *ahead = stream->ahead;
        const char *first = ahead->bytes + ahead->at;
        const char *end = memchr(first, '\0', ahead->n - ahead->at);
        size_t n = end ? (size_t)(end + 1 - first) : ahead->n - ahead->at;
        int r = stream_reserve(stream, n);

        if (r < 0)
                return r;
        stream->input_refused_fds = ahead->at == ahead->refused;
        memcpy(stream->input, first, n);
        stream->n_input = n;
        ahead->at += n;
        if (ahead->at == ahead->n)
                stream_drop_ahead(stream);
        return (ssize_t)n;
}

/* What the latest `n` bytes made of the message at hand: STREAM_MESSAGE, or 0 while it is unfinished. */
static int stream_judge(const struct stream *stream, size_t n)
{
        const char *chunk = stream->input + stream->n_input - n;
        const char *end = memchr(chunk, '\0', n);
        size_t length = end ? (size_t)(end - stream->input) : stream->n_input;

        if (length > stream->message_max)
                return -EMSGSIZE;
        if (!end)
                return 0;
        return length > 0 && end == chunk + n - 1 ? STREAM_MESSAGE : -EPROTO;
}

/* More of the message at hand: how many bytes, 0 at the end. */
static ssize_t stream_fetch(struct stream *stream)
{
        ssize_t n;

        if (stream->ahead)
                return stream_take_ahead(stream);
        if (stream->fds_max == 0)
                return stream_read_ahead(stream);
        n = stream_peek(stream);
        return n > 0 ? stream_read_exactly(stream, (size_t)n) : n;
}

/* One read: STREAM_MESSAGE, STREAM_END, 0 while the message is unfinished; -EAGAIN where nothing waits. */
static int stream_read_chunk(struct stream *stream)
{
        ssize_t n = stream_fetch(stream);

        if (n < 0)
                return (int)n;
        if (n == 0)
                return stream->n_input > 0 ? -EPROTO : STREAM_END;
        return stream_judge(stream, (size_t)n);
}

int stream_read(struct stream *stream, char **ret_text, size_t *ret_n, struct fdset *fds)
{
        int r;

        do
                r = stream_read_chunk(stream);
        while (r == 0);
        if (r == -EAGAIN)
                return STREAM_AGAIN;
        if (r < 0) {
                stream_drop_input(stream);
                stream_drop_ahead(stream);
        }
        if (r != STREAM_MESSAGE)
                return r;

        *ret_n = stream->n_input - 1;
        *ret_text = take_ptr(stream->input);
        fdset_move(fds, &stream->input_fds);
        stream_drop_input(stream);
        return STREAM_MESSAGE;
}

bool stream_is_ahead(const struct stream *stream)
{
        return stream->ahead;
}

bool stream_was_emptied(const struct stream *stream)
{
        return stream->dry && !stream->ahead;
}

int stream_copy_input(const struct stream *stream, char **ret, size_t *ret_n, size_t *ret_refused)
{
        const struct stream_ahead *ahead = stream->ahead;

        assert(!ahead || stream->n_input == 0); /* a message is read as far as it goes */
        if (stream->input_fds.n > 0)
                return -EBUSY;
        *ret_n = ahead ? ahead->n - ahead->at : stream->n_input;
        *ret_refused = ahead ? ahead->refused - ahead->at : stream->input_refused_fds ? 0 : *ret_n;
        *ret = *ret_n > 0 ? malloc(*ret_n) : NULL;
        if (*ret)
                memcpy(*ret, ahead ? ahead->bytes + ahead->at : stream->input, *ret_n);
        return *ret || *ret_n == 0 ? 0 : -ENOMEM;
}

int stream_copy_output(const struct stream *stream, char **ret, size_t *ret_n)
{
        const struct stream_output *output;
        char *end;

        STAILQ_FOREACH(output, &stream->output, next)
                if (output->fds.n > 0)
                        return -EBUSY;
        *ret_n = stream->n_output;
        *ret = end = stream->n_output > 0 ? malloc(stream->n_output) : NULL;
        if (!end)
                return stream->n_output > 0 ? -ENOMEM : 0;
        STAILQ_FOREACH(output, &stream->output, next)
                end = mempcpy(end, output->text + output->sent, output->n - output->sent);
        return 0;
}

int stream_queue(struct stream *stream, char *text, size_t n, struct fdset *fds)
{
        struct stream_output *output;

        assert(n > 0 && text[n - 1] == '\0');
        output = malloc(sizeof(*output));
        if (!output) {
                free(text);
                if (fds)
                        fdset_clear(fds);
                return -ENOMEM;
        }
        *output = (struct stream_output){ .text = text, .n = n };
        if (fds)
                fdset_move(&output->fds, fds);
        STAILQ_INSERT_TAIL(&stream->output, output, next);
        stream->n_output += n;
        return 0;
}

static void put_descriptors(struct msghdr *header, union control *control, const struct fdset *fds)
{
        size_t size = fds->n * sizeof(int);

        memset(control, 0, CMSG_SPACE(size));
        control->header = (struct cmsghdr){
                .cmsg_len = CMSG_LEN(size),
                .cmsg_level = SOL_SOCKET,
                .cmsg_type = SCM_RIGHTS,
        };
        memcpy(CMSG_DATA(&control->header), fds->fds, size);
        header->msg_control = control;
        header->msg_controllen = CMSG_SPACE(size);
}

/* One sendmsg(2): the first message, and those after it up to the next that has descriptors. */
static ssize_t stream_send(struct stream *stream)
{
        struct stream_output *first = STAILQ_FIRST(&stream->output), *output;
        struct iovec parts[GATHER_MAX];
        struct msghdr header = { .msg_iov = parts };
        union control control;
        ssize_t n;

        STAILQ_FOREACH(output, &stream->output, next) {
                if (header.msg_iovlen == GATHER_MAX || (output != first && output->fds.n > 0))
                        break;
                parts[header.msg_iovlen++] = (struct iovec){ output->text + output->sent, output->n - output->sent };
        }
        if (first->fds.n > 0)
                put_descriptors(&header, &control, &first->fds);
        do
                n = sendmsg(stream->fd, &header, MSG_NOSIGNAL);
        while (n < 0 && errno == EINTR);
        return n < 0 ? -errno : n;
}

/* Takes `n` sent bytes off the queue. */
static void stream_advance(struct stream *stream, size_t n)
{
        stream->n_output -= n;
        while (n > 0) {
                struct stream_output *output = STAILQ_FIRST(&stream->output);
                size_t part = MIN(n, output->n - output->sent);

                fdset_clear(&output->fds);
                output->sent += part;
                n -= part;
                if (output->sent == output->n) {
                        STAILQ_REMOVE_HEAD(&stream->output, next);
                        output_free(output);
                }
        }
}

bool stream_settle(struct stream *stream)
{
        int unread;

        /* what the peer has not read yet is still the socket's */
        if (stream->n_unread > 0 && ioctl(stream->fd, SIOCOUTQ, &unread) == 0 && unread == 0)
                add_to_tally(stream, -stream->n_unread);
        return stream->n_unread == 0;
}

/* `n` more are too many. One message may exceed the tally where nothing else is on it, else it could never go. */
static bool is_held(struct stream *stream, int64_t n)
{
        if (!stream->tally || n == 0)
                return false;
        stream_settle(stream); /* who asks again has mostly read what it had */
        return *stream->tally > 0 && *stream->tally + n > stream->tally_max;
}

int stream_flush(struct stream *stream)
{
        while (!STAILQ_EMPTY(&stream->output)) {
                int64_t n_fds = (int64_t)STAILQ_FIRST(&stream->output)->fds.n;
                ssize_t n = is_held(stream, n_fds) ? -ETOOMANYREFS : stream_send(stream);

                if (n == -EAGAIN)
                        return STREAM_AGAIN;
                if (n == -ETOOMANYREFS)
                        return STREAM_HELD;
                if (n < 0)
                        return (int)n;
                add_to_tally(stream, n_fds);
                stream_advance(stream, (size_t)n);
        }
        return STREAM_DONE;
}
