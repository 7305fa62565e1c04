/* What comes in. */

#include "stream-pair.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/time.h>

/* --- what the peer does ------------------------------------------------------------------------------------------ */

static void peer_sends(const void *bytes, size_t n)
{
        ck_assert_int_eq(raw_send(peer, bytes, n, NULL, 0), (ssize_t)n);
}

/* Sends one copy of each descriptor with the bytes, then closes its own. */
static void peer_sends_fds(const void *bytes, size_t n, int *fds, size_t n_fds)
{
        ck_assert_int_eq(raw_send(peer, bytes, n, fds, n_fds), (ssize_t)n);
        for (size_t i = 0; i < n_fds; i++)
                fds[i] = close_fd(fds[i]);
}

/* Literals with the NUL that ends them, and without. */
#define peer_sends_message(string) peer_sends(string, sizeof(string))
#define peer_sends_part(string) peer_sends(string, sizeof(string) - 1)

/* --- what is expected -------------------------------------------------------------------------------------------- */

/* Reads what is not a message: the result. An error leaves nothing under way. */
static int read_nothing(void)
{
        struct fdset fds = {};
        char *text = NULL;
        size_t n = 0;
        int r = stream_read(&stream, &text, &n, &fds);

        ck_assert_int_ne(r, STREAM_MESSAGE);
        ck_assert(!text && n == 0 && fds.n == 0);
        if (r < 0)
                ck_assert(!stream.input && !stream.input_fds.fds);
        return r;
}

/* Reads the next message, which is `wanted` and has as many descriptors as `ret_fds` then holds. */
static void expect_message_fds(const char *wanted, struct fdset *ret_fds)
{
        owned(freep) char *text = NULL;
        size_t n;

        ck_assert_int_eq(stream_read(&stream, &text, &n, ret_fds), STREAM_MESSAGE);
        ck_assert_str_eq(text, wanted);
        ck_assert_uint_eq(n, strlen(wanted));
}

static void expect_message(const char *wanted)
{
        struct fdset fds = {};

        expect_message_fds(wanted, &fds);
        ck_assert_uint_eq(fds.n, 0);
}

/* --- reading ----------------------------------------------------------------------------------------------------- */

START_TEST(a_message_is_read_whole)
{
        peer_sends_message("{\"method\":\"a\"}");
        expect_message("{\"method\":\"a\"}");
        ck_assert_int_eq(read_nothing(), STREAM_AGAIN);
}
END_TEST

START_TEST(a_partial_message_waits_for_its_rest)
{
        peer_sends_part("{\"meth");
        ck_assert_int_eq(read_nothing(), STREAM_AGAIN);
        peer_sends_message("od\":\"a\"}");
        expect_message("{\"method\":\"a\"}");
}
END_TEST

START_TEST(a_message_comes_in_byte_by_byte)
{
        owned(freep) char *long_text = repeated('x', 20000);
        size_t allocated = 0, n_grown = 0;

        for (size_t i = 0; i < 20000; i++) {
                peer_sends(long_text + i, 1);
                ck_assert_int_eq(read_nothing(), STREAM_AGAIN);
                n_grown += stream.input_allocated != allocated;
                allocated = stream.input_allocated;
                ck_assert(allocated >= stream.n_input && allocated <= 2 * stream.n_input);
        }
        ck_assert_uint_le(n_grown, 20);
        peer_sends("", 1);
        expect_message(long_text);
}
END_TEST

START_TEST(many_messages_of_one_write_come_out_one_by_one)
{
        char burst[3 * 1000], name[4];

        for (int i = 0; i < 1000; i++) {
                snprintf(name, sizeof(name), "%02x", (unsigned)i & 0xff);
                memcpy(burst + 3 * i, name, 3);
        }
        peer_sends(burst, sizeof(burst));
        for (int i = 0; i < 1000; i++) {
                snprintf(name, sizeof(name), "%02x", (unsigned)i & 0xff);
                expect_message(name);
        }
        ck_assert_int_eq(read_nothing(), STREAM_AGAIN);
}
END_TEST

START_TEST(what_follows_a_message_is_left_in_the_socket)
{
        char rest[8];

        peer_sends("a\0upgrade", 9);
        expect_message("a");
        ck_assert_int_eq(recv(stream.fd, rest, sizeof(rest), 0), 7);
        ck_assert_mem_eq(rest, "upgrade", 7);
}
END_TEST

START_TEST(a_stream_at_rest_holds_no_memory)
{
        peer_sends("a\0b", 3);
        expect_message("a");
        ck_assert_ptr_null(stream.input);
        ck_assert_int_eq(read_nothing(), STREAM_AGAIN);
        ck_assert_ptr_nonnull(stream.input);
        peer_sends("", 1);
        expect_message("b");
        ck_assert_int_eq(read_nothing(), STREAM_AGAIN);
        ck_assert(!stream.input && !stream.input_fds.fds && stream.input_allocated == 0);
        ck_assert_uint_le(sizeof(struct stream), 128);
}
END_TEST

/* Sizes around that of a look, and others. */
static const size_t sizes[] = { 1, 2, 100, 4094, 4095, 4096, 4097, 4098, 8192, 20000, 65536 };

START_TEST(a_message_of_the_largest_size_passes)
{
        size_t max = sizes[_i];
        owned(freep) char *text = repeated('x', max);

        reopen_pair(SOCK_STREAM | SOCK_NONBLOCK, max);
        peer_sends(text, max);
        ck_assert_int_eq(read_nothing(), STREAM_AGAIN);
        peer_sends("", 1);
        expect_message(text);
        peer_sends(text, max + 1);
        expect_message(text);
}
END_TEST

START_TEST(a_message_that_is_too_long_is_refused_at_once)
{
        size_t max = sizes[_i];
        owned(freep) char *text = repeated('x', max + 1);

        reopen_pair(SOCK_STREAM | SOCK_NONBLOCK, max);
        peer_sends(text, max + 2);
        ck_assert_int_eq(read_nothing(), -EMSGSIZE);
        reopen_pair(SOCK_STREAM | SOCK_NONBLOCK, max);
        peer_sends(text, max);
        ck_assert_int_eq(read_nothing(), STREAM_AGAIN);
        peer_sends("x", 1);
        ck_assert_int_eq(read_nothing(), -EMSGSIZE);
}
END_TEST

START_TEST(an_empty_message_is_refused)
{
        peer_sends("a\0", 3);
        expect_message("a");
        ck_assert_int_eq(read_nothing(), -EPROTO);
}
END_TEST

START_TEST(the_end_between_messages_is_an_end)
{
        peer_sends("a\0b", 4);
        ck_assert_int_eq(shutdown(peer, SHUT_WR), 0);
        expect_message("a");
        expect_message("b");
        ck_assert_int_eq(read_nothing(), STREAM_END);
        ck_assert_int_eq(read_nothing(), STREAM_END);
}
END_TEST

START_TEST(the_end_inside_a_message_is_refused)
{
        int fd = new_memfd(1);

        peer_sends_message("a");
        peer_sends_fds("b", 1, &fd, 1);
        peer = close_fd(peer);
        expect_message("a");
        ck_assert_int_eq(read_nothing(), -EPROTO);
}
END_TEST

START_TEST(messages_of_a_peer_that_closed_with_data_under_way_are_handed_out)
{
        queue("a reply that the peer will never read", NULL);
        ck_assert_int_eq(stream_flush(&stream), STREAM_DONE);
        peer_sends_message("a");
        peer_sends_message("b");
        peer = close_fd(peer);
        expect_message("a");
        queue("another", NULL);
        ck_assert_int_eq(stream_flush(&stream), -EPIPE);
        expect_message("b");
        ck_assert_int_eq(read_nothing(), -ECONNRESET);
}
END_TEST

START_TEST(an_urgent_byte_is_a_byte_like_any_other)
{
        struct pollfd readable = { .fd = stream.fd, .events = POLLIN };

        peer_sends_part("a");
        if (send(peer, "b", 1, MSG_OOB) < 0) {
                ck_assert_int_eq(errno, EOPNOTSUPP);
                return;
        }
        ck_assert_int_eq(read_nothing(), STREAM_AGAIN);
        ck_assert_int_eq(poll(&readable, 1, 0), 0);
        peer_sends_message("c");
        expect_message("abc");
}
END_TEST

static void on_alarm(int signal)
{
        ssize_t n = send(peer, "a", 2, 0);

        (void)signal;
        (void)n;
}

START_TEST(a_signal_does_not_disturb_a_read)
{
        struct sigaction action = { .sa_handler = on_alarm };
        struct itimerval soon = { .it_value.tv_usec = 10000 };

        reopen_pair(SOCK_STREAM, MESSAGE_MAX); /* blocking, so that there is a call to interrupt */
        ck_assert_int_eq(sigaction(SIGALRM, &action, NULL), 0);
        ck_assert_int_eq(setitimer(ITIMER_REAL, &soon, NULL), 0);
        expect_message("a");
}
END_TEST

/* --- descriptors that come in ------------------------------------------------------------------------------------ */

START_TEST(descriptors_come_with_their_message_in_order)
{
        struct fdset fds = {};
        int sent[] = { new_memfd(10), new_memfd(11), -1 }, pipe_fds[2];
        owned(closep) int written = -1, read_end = -1;
        char c;

        ck_assert_int_eq(pipe2(pipe_fds, O_CLOEXEC), 0);
        written = pipe_fds[1];
        sent[2] = pipe_fds[0];
        peer_sends_fds("a", 2, sent, 3);
        expect_message_fds("a", &fds);
        ck_assert_uint_eq(fds.n, 3);
        expect_memfd(&fds, 0, 10);
        expect_memfd(&fds, 1, 11);
        read_end = fdset_take(&fds, 2);
        ck_assert_int_eq(write(written, "!", 1), 1);
        ck_assert_int_eq(read(read_end, &c, 1), 1);
        fdset_clear(&fds);
}
END_TEST

START_TEST(descriptors_of_the_first_byte_wait_for_the_last)
{
        struct fdset fds = {};
        owned(freep) char *text = repeated('x', 30000);
        int fd = new_memfd(1);

        peer_sends_fds(text, 1, &fd, 1);
        ck_assert_int_eq(read_nothing(), STREAM_AGAIN);
        peer_sends(text + 1, 30000);
        expect_message_fds(text, &fds);
        expect_memfd(&fds, 0, 1);
        fdset_clear(&fds);
}
END_TEST

START_TEST(a_message_carries_as_many_descriptors_as_the_kernel_allows)
{
        struct fdset fds = {};
        int sent[FDSET_MAX + 1];

        for (int i = 0; i <= FDSET_MAX; i++)
                sent[i] = new_memfd(i);
        ck_assert_int_eq(raw_send(peer, "a", 2, sent, FDSET_MAX + 1), -1);
        ck_assert_int_eq(errno, EINVAL);
        peer_sends_fds("a", 2, sent, FDSET_MAX);
        expect_message_fds("a", &fds);
        ck_assert_uint_eq(fds.n, FDSET_MAX);
        for (int i = 0; i < FDSET_MAX; i++)
                expect_memfd(&fds, (size_t)i, i);
        fdset_clear(&fds);
        close_fd(sent[FDSET_MAX]);
}
END_TEST

/* The kernel would hand out "one two" and the descriptor of "two" in one go. */
START_TEST(descriptors_stay_with_their_message_when_the_kernel_glues)
{
        struct fdset fds = {};
        int second = new_memfd(2), fourth[] = { new_memfd(4), new_memfd(5) };

        peer_sends_message("one");
        peer_sends_fds("two", 4, &second, 1);
        peer_sends_message("three");
        peer_sends_fds("four", 5, fourth, 2);
        expect_message("one");
        expect_message_fds("two", &fds);
        ck_assert_uint_eq(fds.n, 1);
        expect_memfd(&fds, 0, 2);
        fdset_clear(&fds);
        expect_message("three");
        expect_message_fds("four", &fds);
        ck_assert_uint_eq(fds.n, 2);
        expect_memfd(&fds, 1, 5);
        fdset_clear(&fds);
}
END_TEST

START_TEST(descriptors_in_mid_message_are_refused_and_closed)
{
        int first = new_memfd(1), second = new_memfd(2);

        peer_sends_fds("a", 1, &first, 1);
        ck_assert_int_eq(read_nothing(), STREAM_AGAIN);
        peer_sends_fds("b", 2, &second, 1);
        ck_assert_int_eq(read_nothing(), -EPROTO);
}
END_TEST

START_TEST(descriptors_beyond_the_open_file_limit_are_refused_and_closed)
{
        struct rlimit limit;
        int sent[20];

        for (size_t i = 0; i < array_size(sent); i++)
                sent[i] = new_memfd(1);
        peer_sends_fds("a", 2, sent, array_size(sent));
        ck_assert_int_eq(getrlimit(RLIMIT_NOFILE, &limit), 0);
        limit.rlim_cur = (rlim_t)check_count_fds() + 10;
        ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &limit), 0);
        if (check_on_valgrind()) /* which lowers its own limit, not the kernel's */
                return;
        ck_assert_int_eq(read_nothing(), -EPROTO);
}
END_TEST

START_TEST(descriptors_nobody_read_are_closed_with_the_stream)
{
        int before = check_count_fds(), first = new_memfd(1), second = new_memfd(2);
        struct fdset fds = {};

        peer_sends_fds("unfinished", 5, &first, 1);
        ck_assert_int_eq(read_nothing(), STREAM_AGAIN);
        fdset_push(&fds, second);
        queue("unsent", &fds);
        ck_assert_int_eq(check_count_fds(), before + 2);
        stream_deinit(&stream);
        ck_assert_int_eq(check_count_fds(), before - 1);
}
END_TEST

/* --- reading where no descriptors are taken ---------------------------------------------------------------------- */

/* Reads the next message, and whether descriptors came with it. */
static void expect_refused(const char *wanted, bool refused)
{
        expect_message(wanted);
        ck_assert_int_eq(stream.input_refused_fds, refused);
}

START_TEST(what_follows_a_message_is_read_with_it_where_no_descriptors_are_taken)
{
        char rest[8];

        stream.fds_max = 0;
        peer_sends("a\0bc\0d", 6);
        expect_message("a");
        ck_assert(stream_is_ahead(&stream) && !stream_was_emptied(&stream));
        ck_assert_int_eq(recv(stream.fd, rest, sizeof(rest), MSG_DONTWAIT), -1);
        expect_message("bc");
        ck_assert_int_eq(read_nothing(), STREAM_AGAIN);
        peer_sends("e\0", 2);
        expect_message("de");
        ck_assert(!stream_is_ahead(&stream) && stream_was_emptied(&stream));
        ck_assert(!stream.input && !stream.ahead);
}
END_TEST

START_TEST(the_message_that_descriptors_came_with_is_told_among_others)
{
        int fds[2] = { dup(0), dup(0) };

        stream.fds_max = 0;
        peer_sends("a\0b\0", 4);
        peer_sends_fds("c", 2, fds, 1);
        peer_sends("d\0", 2);
        expect_refused("a", false);
        expect_refused("b", false);
        expect_refused("c", true);
        expect_refused("d", false);
        peer_sends("e\0", 2);
        peer_sends_fds("f", 1, fds + 1, 1);
        expect_refused("e", false);
        ck_assert_int_eq(read_nothing(), STREAM_AGAIN);
        peer_sends("g\0", 2);
        expect_refused("fg", true);
}
END_TEST

START_TEST(descriptors_in_mid_message_are_refused_where_none_are_taken)
{
        int fd = dup(0);
        stream.fds_max = 0;
        peer_sends("a\0b", 3);
        expect_message("a");
        ck_assert_int_eq(read_nothing(), STREAM_AGAIN);
        peer_sends_fds("c", 2, &fd, 1);
        ck_assert_int_eq(read_nothing(), -EPROTO);
        ck_assert_ptr_null(stream.ahead);
}
END_TEST

START_TEST(a_long_row_of_messages_comes_out_whole)
{
        char row[16000], text[16];
        size_t n = 0;

        stream.fds_max = 0;
        for (int i = 0; i < 1000; i++)
                n += (size_t)sprintf(row + n, "message %d", i) + 1;
        peer_sends(row, n);
        for (int i = 0; i < 1000; i++) {
                sprintf(text, "message %d", i);
                expect_message(text);
        }
        ck_assert_int_eq(read_nothing(), STREAM_AGAIN);
}
END_TEST

int main(void)
{
        Suite *suite = suite_create("stream");
        TCase *in = stream_case(suite, "reading"), *fds = stream_case(suite, "descriptors"),
              *none = stream_case(suite, "no descriptors");

        tcase_add_test(in, a_message_is_read_whole);
        tcase_add_test(in, a_partial_message_waits_for_its_rest);
        tcase_add_test(in, a_message_comes_in_byte_by_byte);
        tcase_add_test(in, many_messages_of_one_write_come_out_one_by_one);
        tcase_add_test(in, what_follows_a_message_is_left_in_the_socket);
        tcase_add_test(in, a_stream_at_rest_holds_no_memory);
        tcase_add_loop_test(in, a_message_of_the_largest_size_passes, 0, (int)array_size(sizes));
        tcase_add_loop_test(in, a_message_that_is_too_long_is_refused_at_once, 0, (int)array_size(sizes));
        tcase_add_test(in, an_empty_message_is_refused);
        tcase_add_test(in, the_end_between_messages_is_an_end);
        tcase_add_test(in, the_end_inside_a_message_is_refused);
        tcase_add_test(in, messages_of_a_peer_that_closed_with_data_under_way_are_handed_out);
        tcase_add_test(in, an_urgent_byte_is_a_byte_like_any_other);
        tcase_add_test(in, a_signal_does_not_disturb_a_read);

        tcase_add_test(fds, descriptors_come_with_their_message_in_order);
        tcase_add_test(fds, descriptors_of_the_first_byte_wait_for_the_last);
        tcase_add_test(fds, a_message_carries_as_many_descriptors_as_the_kernel_allows);
        tcase_add_test(fds, descriptors_stay_with_their_message_when_the_kernel_glues);
        tcase_add_test(fds, descriptors_in_mid_message_are_refused_and_closed);
        tcase_add_test(fds, descriptors_beyond_the_open_file_limit_are_refused_and_closed);
        tcase_add_test(fds, descriptors_nobody_read_are_closed_with_the_stream);

        tcase_add_test(none, what_follows_a_message_is_read_with_it_where_no_descriptors_are_taken);
        tcase_add_test(none, the_message_that_descriptors_came_with_is_told_among_others);
        tcase_add_test(none, descriptors_in_mid_message_are_refused_where_none_are_taken);
        tcase_add_test(none, a_long_row_of_messages_comes_out_whole);

        return check_run(suite);
}
