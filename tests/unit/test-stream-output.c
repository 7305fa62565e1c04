/* What goes out. A SOCK_SEQPACKET pair shows how a stream cuts its output into sendmsg(2) calls. */

#include "stream-pair.h"

#include <errno.h>
#include <sys/ioctl.h>

/* One recvmsg(2) of the peer: its bytes and the number of descriptors, which are closed. */
static void expect_packet(const void *wanted, size_t n, size_t n_fds)
{
        struct fdset fds = {};
        char bytes[4096];

        ck_assert_int_eq(raw_receive(peer, bytes, sizeof(bytes), &fds), (ssize_t)n);
        ck_assert_mem_eq(bytes, wanted, n);
        ck_assert_uint_eq(fds.n, n_fds);
        fdset_clear(&fds);
}

static size_t peer_has_waiting(void)
{
        int n;

        ck_assert_int_eq(ioctl(peer, FIONREAD, &n), 0);
        return (size_t)n;
}

START_TEST(messages_go_out_in_order)
{
        ck_assert_int_eq(stream_flush(&stream), STREAM_DONE);
        queue("one", NULL);
        queue("two", NULL);
        ck_assert_uint_eq(stream.n_output, 8);
        ck_assert_int_eq(stream_flush(&stream), STREAM_DONE);
        ck_assert_uint_eq(stream.n_output, 0);
        expect_packet("one\0two", 8, 0);
}
END_TEST

START_TEST(small_messages_share_a_packet)
{
        char packet[100 * 2];
        size_t n = 0, n_packets = 0;

        reopen_pair(SOCK_SEQPACKET | SOCK_NONBLOCK, MESSAGE_MAX);
        for (int i = 0; i < 100; i++)
                queue("a", NULL);
        ck_assert_int_eq(stream_flush(&stream), STREAM_DONE);
        for (; n < sizeof(packet); n_packets++) {
                ssize_t part = recv(peer, packet + n, sizeof(packet) - n, 0);

                ck_assert_int_gt(part, 0);
                n += (size_t)part;
        }
        ck_assert_uint_le(n_packets, 10);
        for (size_t i = 0; i < n; i++)
                ck_assert_int_eq(packet[i], i % 2 == 0 ? 'a' : '\0');
}
END_TEST

START_TEST(a_message_with_descriptors_starts_a_packet)
{
        struct fdset second = {}, fourth = {};

        reopen_pair(SOCK_SEQPACKET | SOCK_NONBLOCK, MESSAGE_MAX);
        fdset_push(&second, new_memfd(1));
        fdset_push(&fourth, new_memfd(2));
        fdset_push(&fourth, new_memfd(3));
        queue("one", NULL);
        queue("two", &second);
        queue("three", NULL);
        queue("four", &fourth);
        ck_assert_uint_eq(second.n, 0);
        ck_assert_int_eq(stream_flush(&stream), STREAM_DONE);
        expect_packet("one", 4, 0);
        expect_packet("two\0three", 10, 1);
        expect_packet("four", 5, 2);
}
END_TEST

START_TEST(descriptors_are_closed_once_sent)
{
        int before = check_count_fds();
        struct fdset fds = {};

        for (int i = 0; i < FDSET_MAX; i++)
                fdset_push(&fds, new_memfd(i));
        queue("a", &fds);
        ck_assert_int_eq(stream_flush(&stream), STREAM_DONE);
        ck_assert_int_eq(check_count_fds(), before);
        expect_packet("a", 2, FDSET_MAX);
}
END_TEST

START_TEST(a_peer_that_never_reads_leaves_the_rest_queued)
{
        const size_t size = 100000;

        for (int i = 0; i < 20; i++)
                ck_assert_int_eq(stream_queue(&stream, repeated('x', size - 1), size, NULL), 0);
        for (int i = 0; i < 3; i++) {
                ck_assert_int_eq(stream_flush(&stream), STREAM_AGAIN);
                ck_assert_uint_gt(stream.n_output, 0);
                ck_assert_uint_eq(stream.n_output, 20 * size - peer_has_waiting());
        }
        ck_assert(STAILQ_FIRST(&stream.output));
}
END_TEST

/* Two streams, each with its end of the pair: what one writes in parts the other reads whole. */
START_TEST(a_large_message_goes_out_in_parts)
{
        const size_t size = 1024 * 1024;
        owned(freep) char *text = NULL;
        struct fdset fds = {};
        struct stream reader;
        int n_again = 0, w, r;
        size_t n;

        stream_init(&reader, take_fd(peer), size);
        fdset_push(&fds, new_memfd(7));
        queue("small", NULL);
        ck_assert_int_eq(stream_queue(&stream, repeated('y', size), size + 1, &fds), 0);
        queue("after", NULL);
        ck_assert_int_eq(stream_flush(&stream), STREAM_AGAIN);
        ck_assert_int_eq(stream_read(&reader, &text, &n, &fds), STREAM_MESSAGE);
        ck_assert_str_eq(text, "small");
        free(take_ptr(text));
        do {
                w = stream_flush(&stream);
                ck_assert(w == STREAM_AGAIN || w == STREAM_DONE);
                r = stream_read(&reader, &text, &n, &fds);
                n_again += r == STREAM_AGAIN;
                ck_assert(r == STREAM_AGAIN || r == STREAM_MESSAGE);
        } while (r == STREAM_AGAIN);
        ck_assert_int_gt(n_again, 1);
        ck_assert_uint_eq(n, size);
        ck_assert_uint_eq(strspn(text, "y"), size);
        expect_memfd(&fds, 0, 7);
        fdset_clear(&fds);

        ck_assert_int_eq(stream_flush(&stream), STREAM_DONE);
        free(take_ptr(text));
        ck_assert_int_eq(stream_read(&reader, &text, &n, &fds), STREAM_MESSAGE);
        ck_assert_str_eq(text, "after");
        ck_assert_uint_eq(fds.n, 0);
        stream_deinit(&reader);
}
END_TEST

START_TEST(descriptors_stay_while_the_socket_is_full)
{
        owned(freep) char *filler = repeated('x', 4096);
        struct fdset fds = {};
        int before;

        while (send(stream.fd, filler, 4096, 0) > 0)
                ;
        while (send(stream.fd, filler, 1, 0) > 0)
                ;
        ck_assert_int_eq(errno, EAGAIN);
        fdset_push(&fds, new_memfd(1));
        queue("a", &fds);
        before = check_count_fds();
        ck_assert_int_eq(stream_flush(&stream), STREAM_AGAIN);
        ck_assert_int_eq(check_count_fds(), before);
        ck_assert_uint_eq(stream.n_output, 2);
        while (peer_has_waiting() > 0)
                ck_assert_int_gt(recv(peer, filler, 4096, 0), 0);
        ck_assert(check_wait(stream.fd, POLLOUT));
        ck_assert_int_eq(stream_flush(&stream), STREAM_DONE);
        ck_assert_int_eq(check_count_fds(), before - 1);
        expect_packet("a", 2, 1);
}
END_TEST

START_TEST(a_peer_that_is_gone_raises_no_signal)
{
        peer = close_fd(peer);
        queue("a", NULL);
        ck_assert_int_eq(stream_flush(&stream), -EPIPE);
        ck_assert_uint_eq(stream.n_output, 2);
}
END_TEST

START_TEST(answers_still_go_out_after_a_broken_message)
{
        struct fdset fds = {};
        char *text;
        size_t n;

        queue("answer", NULL);
        ck_assert_int_eq(raw_send(peer, "", 1, NULL, 0), 1);
        ck_assert_int_eq(stream_read(&stream, &text, &n, &fds), -EPROTO);
        ck_assert_int_eq(stream_flush(&stream), STREAM_DONE);
        queue("another", NULL);
        ck_assert_int_eq(stream_flush(&stream), STREAM_DONE);
        expect_packet("answer\0another", 15, 0);
}
END_TEST

START_TEST(descriptors_beyond_the_tally_wait_until_others_are_taken)
{
        struct fdset fds = {};
        static int64_t tally; /* it outlives the stream */

        stream.tally = &tally;
        stream.tally_max = 2;
        for (char c = '1'; c <= '3'; c++) {
                fdset_push(&fds, new_memfd(c));
                queue((char[]){ c, '\0' }, &fds);
        }
        ck_assert_int_eq(stream_flush(&stream), STREAM_HELD);
        ck_assert_int_eq(tally, 2);
        ck_assert(!stream_settle(&stream));

        expect_packet("1", 2, 1);
        expect_packet("2", 2, 1);
        ck_assert(stream_settle(&stream));
        ck_assert_int_eq(tally, 0);
        ck_assert_int_eq(stream_flush(&stream), STREAM_DONE);
        ck_assert_int_eq(tally, 1);
        stream_deinit(&stream);
        ck_assert_int_eq(tally, 0);
}
END_TEST

START_TEST(one_message_may_exceed_a_tally_that_is_empty)
{
        struct fdset fds = {};
        static int64_t tally; /* it outlives the stream */

        stream.tally = &tally;
        stream.tally_max = 1;
        fdset_push(&fds, new_memfd('1'));
        fdset_push(&fds, new_memfd('2'));
        queue("both", &fds);
        ck_assert_int_eq(stream_flush(&stream), STREAM_DONE);
        ck_assert_int_eq(tally, 2);
}
END_TEST

/* The rest of the test is with another stream on the same socket. */
static void go_on(void)
{
        size_t n_input, n_output, refused;
        char *input, *output;
        int fd;

        ck_assert_int_eq(stream_copy_input(&stream, &input, &n_input, &refused), 0);
        ck_assert_int_eq(stream_copy_output(&stream, &output, &n_output), 0);
        ck_assert_uint_eq(n_output, stream.n_output);
        fd = take_fd(stream.fd);
        stream_deinit(&stream);
        stream_init(&stream, fd, MESSAGE_MAX);
        stream.fds_max = 0;
        ck_assert_int_eq(stream_go_on(&stream, input, n_input, refused), 0);
        if (output)
                ck_assert_int_eq(stream_queue(&stream, output, n_output, NULL), 0);
        free(input);
}

static void expect_message(const char *wanted, bool refused_fds)
{
        owned(freep) char *text = NULL;
        size_t n;

        ck_assert_int_eq(stream_read(&stream, &text, &n, &(struct fdset){}), STREAM_MESSAGE);
        ck_assert_str_eq(text, wanted);
        ck_assert_int_eq(stream.input_refused_fds, refused_fds);
}

START_TEST(what_is_to_be_sent_goes_on_in_another_stream)
{
        owned(freep) char *wanted = repeated('a', 400000), *bytes = malloc(400001);
        ssize_t part;

        queue(wanted, NULL);
        queue("last", NULL);
        ck_assert_int_eq(stream_flush(&stream), STREAM_AGAIN);
        go_on();
        for (size_t n = 0; n < 400001; n += (size_t)part) {
                part = recv(peer, bytes + n, 400001 - n, 0);
                ck_assert_int_gt(part, 0);
                stream_flush(&stream);
        }
        ck_assert_str_eq(bytes, wanted);
        expect_packet("last", 5, 0);
}
END_TEST

START_TEST(what_was_read_goes_on_in_another_stream)
{
        struct fdset fds = {};
        char *text;
        size_t n;

        stream.fds_max = 0;
        fdset_push(&fds, new_memfd(1));
        ck_assert_int_eq(raw_send(peer, "one\0two\0ha", 10, fds.fds, 1), 10);
        fdset_clear(&fds);
        expect_message("one", false);
        go_on(); /* with a message and a half, of which the last came with a descriptor */
        expect_message("two", false);
        go_on();
        ck_assert_int_eq(stream_read(&stream, &text, &n, &(struct fdset){}), STREAM_AGAIN);
        go_on();
        ck_assert_int_eq(send(peer, "lf\0three", 9, 0), 9);
        expect_message("half", true);
        go_on();
        expect_message("three", false);
        go_on();
        ck_assert_int_eq(stream_read(&stream, &text, &n, &(struct fdset){}), STREAM_AGAIN);
}
END_TEST

START_TEST(descriptors_that_were_not_sent_cannot_go_on)
{
        struct fdset fds = {};
        char *output;
        size_t n;

        ck_assert_int_eq(stream_copy_output(&stream, &output, &n), 0);
        ck_assert_ptr_null(output);
        fdset_push(&fds, new_memfd(1));
        queue("one", NULL);
        queue("two", &fds);
        ck_assert_int_eq(stream_copy_output(&stream, &output, &n), -EBUSY);
}
END_TEST

int main(void)
{
        Suite *suite = suite_create("stream-output");
        TCase *out = stream_case(suite, "writing");

        tcase_add_test(out, messages_go_out_in_order);
        tcase_add_test(out, small_messages_share_a_packet);
        tcase_add_test(out, a_message_with_descriptors_starts_a_packet);
        tcase_add_test(out, descriptors_are_closed_once_sent);
        tcase_add_test(out, a_peer_that_never_reads_leaves_the_rest_queued);
        tcase_add_test(out, a_large_message_goes_out_in_parts);
        tcase_add_test(out, descriptors_stay_while_the_socket_is_full);
        tcase_add_test(out, a_peer_that_is_gone_raises_no_signal);
        tcase_add_test(out, answers_still_go_out_after_a_broken_message);
        tcase_add_test(out, descriptors_beyond_the_tally_wait_until_others_are_taken);
        tcase_add_test(out, one_message_may_exceed_a_tally_that_is_empty);
        tcase_add_test(out, what_is_to_be_sent_goes_on_in_another_stream);
        tcase_add_test(out, what_was_read_goes_on_in_another_stream);
        tcase_add_test(out, descriptors_that_were_not_sent_cannot_go_on);
        return check_run(suite);
}
