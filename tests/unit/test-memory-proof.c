/* Who holds memory, and that nobody does. */

#include "proto/fdset.h"
#include "tests/support/child.h"
#include "tests/support/raw.h"
#include "tests/unit/memory-kinds.h"

START_TEST(a_mapping_alone_holds_it)
{
        struct memory *memory = make(_i);
        char *bytes = map(memory);

        ck_assert_int_eq(memory_is_held(memory), 1);
        ck_assert_int_eq(memory_is_held(memory), 1); /* asking changes nothing */
        unmap(memory, bytes);
        ck_assert_int_eq(memory_is_held(memory), 0);
        memory_release(memory);
}
END_TEST

START_TEST(a_descriptor_alone_holds_it_for_reading_and_for_writing)
{
        struct memory *memory = make(_i);

        for (enum access access = ACCESS_READ; access <= ACCESS_WRITE; access++) {
                int fd = grant(memory, access), duplicate = fcntl(fd, F_DUPFD_CLOEXEC, 0);

                close_fd(fd);
                ck_assert_int_eq(memory_is_held(memory), 1);
                close_fd(duplicate);
                ck_assert_int_eq(memory_is_held(memory), 0);
        }
        memory_release(memory);
}
END_TEST

START_TEST(a_mapping_of_one_page_for_reading_holds_it)
{
        struct memory *memory = make(_i);
        int fd = grant(memory, ACCESS_READ);
        void *page = mmap(NULL, 4096, PROT_READ, MAP_SHARED, fd, SIZE - 4096);

        ck_assert_ptr_ne(page, MAP_FAILED);
        close_fd(fd);
        ck_assert_int_eq(memory_is_held(memory), 1);
        munmap(page, 4096);
        ck_assert_int_eq(memory_is_held(memory), 0);

        /* a private one is of the same file */
        fd = grant(memory, ACCESS_READ);
        page = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
        ck_assert_ptr_ne(page, MAP_FAILED);
        close_fd(fd);
        ck_assert_int_eq(memory_is_held(memory), 1);
        munmap(page, 4096);
        ck_assert_int_eq(memory_is_held(memory), 0);
        memory_release(memory);
}
END_TEST

/* Lives until it is told to end. */
static void live(int channel, const void *data)
{
        (void)data;
        child_tell(channel, 0);
        child_hear(channel);
}

START_TEST(a_forked_child_holds_what_it_inherited)
{
        struct memory *memory = make(_i);
        char *bytes = map(memory);
        struct child child;

        child_fork(&child, live, NULL);
        unmap(memory, bytes);
        ck_assert_int_eq(memory_is_held(memory), 1);
        child_end(&child);
        check_becomes_free(memory);

        bytes = map(memory);
        child_fork(&child, live, NULL);
        unmap(memory, bytes);
        ck_assert_int_eq(memory_is_held(memory), 1);
        child_kill(&child);
        check_becomes_free(memory);
        memory_release(memory);
}
END_TEST

static void map_when_told(int channel, const void *data)
{
        const struct memory *const *memory = data;

        child_hear(channel);
        map(*memory);
        child_tell(channel, 0);
        child_hear(channel);
}

START_TEST(one_of_several_processes_is_enough)
{
        const struct memory *memory = make(_i);
        struct child children[3];

        for (size_t i = 0; i < array_size(children); i++) {
                child_fork(&children[i], map_when_told, &memory);
                child_tell(children[i].channel, 0);
                child_hear(children[i].channel);
        }
        for (size_t i = 0; i < array_size(children); i++) {
                ck_assert_int_eq(memory_is_held(memory), 1);
                child_kill(&children[i]);
        }
        check_becomes_free(memory);
        memory_release((struct memory *)(uintptr_t)memory);
}
END_TEST

static int take_passed(int socket)
{
        struct fdset fds = {};
        char byte;
        int fd;

        ck_assert_int_eq(raw_receive(socket, &byte, 1, &fds), 1);
        fd = fdset_take(&fds, 0);
        fdset_clear(&fds);
        return fd;
}

START_TEST(a_descriptor_that_was_passed_on_holds_it_also_on_its_way)
{
        struct memory *memory = make(_i);
        int fd = grant(memory, ACCESS_READ), pair[2];

        ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
        ck_assert_int_eq(raw_send(pair[0], "x", 1, &fd, 1), 1);
        close_fd(fd);
        ck_assert_int_eq(memory_is_held(memory), 1);

        fd = take_passed(pair[1]);
        ck_assert_int_ge(fd, 0);
        ck_assert_int_eq(memory_is_held(memory), 1);

        ck_assert_int_eq(raw_send(pair[0], "x", 1, &fd, 1), 1);
        close_fd(fd);
        ck_assert_int_eq(memory_is_held(memory), 1);
        close_fd(pair[1]); /* never received */
        ck_assert_int_eq(memory_is_held(memory), 0);
        close_fd(pair[0]);
        memory_release(memory);
}
END_TEST

static void take_and_keep(int channel, const void *data)
{
        const int *pair = data;
        int fd;

        close(pair[0]);
        fd = take_passed(pair[1]);
        close(pair[1]);
        child_tell(channel, fd < 0);
        child_hear(channel);
}

START_TEST(who_was_passed_a_descriptor_holds_it_until_death)
{
        struct memory *memory = make(_i);
        int fd = grant(memory, ACCESS_WRITE), pair[2];
        struct child child;

        ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
        ck_assert_int_eq(raw_send(pair[0], "x", 1, &fd, 1), 1);
        close_fd(fd);
        child_fork(&child, take_and_keep, pair);
        close_fd(pair[0]);
        close_fd(pair[1]);
        ck_assert_int_eq(child_hear(child.channel), 0);
        ck_assert_int_eq(memory_is_held(memory), 1);
        child_kill(&child);
        check_becomes_free(memory);
        memory_release(memory);
}
END_TEST

START_TEST(a_segment_that_another_removed_is_held_until_the_last_detaches)
{
        struct memory *memory = make(SYSV);
        int id = memory_shm_id(memory);
        char *bytes = map(memory);

        remove_segment(id);
        ck_assert(segment_exists(id));
        ck_assert_int_eq(memory_is_held(memory), 1);
        unmap(memory, bytes);
        ck_assert(!segment_exists(id));
        ck_assert_int_eq(memory_is_held(memory), 0);
        memory_release(memory);
}
END_TEST

int main(void)
{
        Suite *suite = suite_create("memory-proof");
        TCase *tcase = kinds_case(suite, "memory-proof");

        tcase_add_loop_test(tcase, a_mapping_alone_holds_it, 0, N_KINDS);
        tcase_add_loop_test(tcase, a_descriptor_alone_holds_it_for_reading_and_for_writing, 0, WITH_DESCRIPTORS);
        tcase_add_loop_test(tcase, a_mapping_of_one_page_for_reading_holds_it, 0, WITH_DESCRIPTORS);
        tcase_add_loop_test(tcase, a_forked_child_holds_what_it_inherited, 0, N_KINDS);
        tcase_add_loop_test(tcase, one_of_several_processes_is_enough, 0, N_KINDS);
        tcase_add_loop_test(tcase, a_descriptor_that_was_passed_on_holds_it_also_on_its_way, 0, WITH_DESCRIPTORS);
        tcase_add_loop_test(tcase, who_was_passed_a_descriptor_holds_it_until_death, 0, WITH_DESCRIPTORS);
        tcase_add_test(tcase, a_segment_that_another_removed_is_held_until_the_last_detaches);
        return check_run(suite);
}
