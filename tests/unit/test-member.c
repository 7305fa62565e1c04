#include "daemon/core/environment.h"
#include "daemon/core/member.h"
#include "daemon/core/peer.h"
#include "daemon/core/region.h"
#include "proto/util.h"
#include "tests/support/check.h"

enum { LATER = 1700000000 };

static struct process process;
static struct peer peer, other;
static struct environment *environment;
static struct region *first, *second;

static struct region *make_region(const char *name, enum backing backing)
{
        struct region *region = region_new(&(struct spec){ .name = name, .size = 1 }, backing);

        ck_assert_ptr_nonnull(region);
        environment_add_region(environment, region);
        return region;
}

static void make_environment(enum backing backing)
{
        const struct definition definition = {};

        process = (struct process){ .pid = 4242, .uid = 1000, .command = "shepherd" };
        peer = other = (struct peer){ .process = &process };
        environment = environment_new("sheep", &definition, backing);
        ck_assert_ptr_nonnull(environment);
        first = make_region("first", backing);
        second = make_region("second", backing);
}

static void setup(void)
{
        make_environment(BACKING_MEMFD);
}

static void teardown(void)
{
        struct region *region;

        while ((region = TAILQ_FIRST(&environment->regions))) {
                environment_remove_region(environment, region);
                region_free(region);
        }
        environment_free(environment);
}

static struct member *join(struct peer *who)
{
        struct member *member = member_new(who, environment, ACCESS_WRITE, LATER);

        ck_assert_ptr_nonnull(member);
        member_join(member);
        return member;
}

static struct attachment *attach(struct member *member, struct region *region)
{
        struct attachment *attachment = attachment_new(member, region, ACCESS_WRITE, LATER);

        ck_assert_ptr_nonnull(attachment);
        attachment_join(attachment);
        return attachment;
}

START_TEST(a_new_member_is_part_of_nothing_yet)
{
        owned(member_freep) struct member *member = member_new(&peer, environment, ACCESS_READ, LATER);

        ck_assert_ptr_eq(member->peer, &peer);
        ck_assert_ptr_eq(member->environment, environment);
        ck_assert_int_eq(member->access, ACCESS_READ);
        ck_assert_int_eq(member->since_usec, LATER);
        ck_assert_uint_eq(environment->n_members, 0);
        ck_assert_ptr_null(member_find(&peer, environment));
}
END_TEST

START_TEST(each_session_is_a_member_of_its_own)
{
        struct member *mine = join(&peer), *others = join(&other);

        ck_assert_uint_eq(environment->n_members, 2);
        ck_assert_ptr_eq(member_find(&peer, environment), mine);
        ck_assert_ptr_eq(member_find(&other, environment), others);
        ck_assert_ptr_eq(TAILQ_FIRST(&environment->members), mine);
        ck_assert_ptr_null(member_leave(mine));
        ck_assert_uint_eq(environment->n_members, 1);
        ck_assert_ptr_null(member_find(&peer, environment));
        ck_assert_ptr_eq(member_find(&other, environment), others);
        member_leave(others);
        ck_assert(TAILQ_EMPTY(&environment->members));
}
END_TEST

START_TEST(an_attachment_is_found_with_its_member_and_counted_at_its_region)
{
        struct member *mine = join(&peer), *others = join(&other);
        struct attachment *attachment = attach(mine, first);

        attach(others, first);
        ck_assert_uint_eq(first->n_attachments, 2);
        ck_assert_uint_eq(second->n_attachments, 0);
        ck_assert_ptr_eq(attachment_find(mine, first), attachment);
        ck_assert_ptr_null(attachment_find(mine, second));
        ck_assert_ptr_ne(attachment_find(others, first), attachment);
        ck_assert_ptr_null(attachment_leave(attachment));
        ck_assert_uint_eq(first->n_attachments, 1);
        ck_assert_ptr_null(attachment_find(mine, first));
        ck_assert_ptr_null(attachment_leave(NULL));
        member_leave(mine);
        member_leave(others);
}
END_TEST

START_TEST(who_leaves_the_environment_leaves_all_its_regions)
{
        struct member *mine = join(&peer), *others = join(&other);

        attach(mine, first);
        attach(mine, second);
        attach(others, second);
        member_leave(mine);
        ck_assert_uint_eq(first->n_attachments, 0);
        ck_assert_uint_eq(second->n_attachments, 1);
        ck_assert(LIST_EMPTY(&first->attachments));
        member_leave(others);
        ck_assert(LIST_EMPTY(&second->attachments));
}
END_TEST

START_TEST(a_region_remembers_who_left_it_last)
{
        struct process later = { .pid = 4243, .uid = 1001, .command = "wolf" };
        struct member *mine = join(&peer), *others;

        other.process = &later;
        others = join(&other);
        ck_assert_int_eq(first->departed.pid, 0);
        attach(mine, first);
        attach(others, first)->access = ACCESS_READ;
        member_leave(mine);
        ck_assert_int_eq(first->departed.pid, 4242);
        ck_assert_uint_eq(first->departed.uid, 1000);
        ck_assert_str_eq(first->departed.command, "shepherd");
        ck_assert_int_eq(first->departed.access, ACCESS_WRITE);
        ck_assert_int_eq(first->departed.since_usec, LATER);
        member_leave(others);
        ck_assert_int_eq(first->departed.pid, 4243);
        ck_assert_str_eq(first->departed.command, "wolf");
        ck_assert_int_eq(first->departed.access, ACCESS_READ);
        ck_assert_int_eq(second->departed.pid, 0); /* nobody had been there */
}
END_TEST

START_TEST(an_initializer_that_leaves_is_none_any_more)
{
        struct member *mine = join(&peer), *others = join(&other);

        environment->initializer = mine;
        member_leave(others);
        ck_assert_ptr_eq(environment->initializer, mine);
        member_leave(mine);
        ck_assert_ptr_null(environment->initializer);
}
END_TEST

START_TEST(private_memory_is_held_from_its_beginning_and_again_once_attached)
{
        struct member *member;

        teardown();
        make_environment(BACKING_PRIVATE);
        ck_assert(first->privately_held);
        first->privately_held = false; /* its process said that it let go */
        member = join(&peer);
        ck_assert(!first->privately_held);
        attach(member, first);
        ck_assert(first->privately_held);
        member_leave(member);
        ck_assert(first->privately_held); /* leaving is not letting go: it is the process's own heap */
}
END_TEST

START_TEST(shared_memory_is_never_held_privately)
{
        struct member *member = join(&peer);

        attach(member, first);
        ck_assert(!first->privately_held);
        member_leave(member);
}
END_TEST

int main(void)
{
        Suite *suite = suite_create("member");
        TCase *tcase = check_case(suite, "member");

        tcase_add_checked_fixture(tcase, setup, teardown);
        tcase_add_test(tcase, a_new_member_is_part_of_nothing_yet);
        tcase_add_test(tcase, each_session_is_a_member_of_its_own);
        tcase_add_test(tcase, an_attachment_is_found_with_its_member_and_counted_at_its_region);
        tcase_add_test(tcase, who_leaves_the_environment_leaves_all_its_regions);
        tcase_add_test(tcase, a_region_remembers_who_left_it_last);
        tcase_add_test(tcase, an_initializer_that_leaves_is_none_any_more);
        tcase_add_test(tcase, private_memory_is_held_from_its_beginning_and_again_once_attached);
        tcase_add_test(tcase, shared_memory_is_never_held_privately);
        return check_run(suite);
}
