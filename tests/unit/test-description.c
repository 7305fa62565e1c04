/* Descriptions of environments: as text, of which each word has to be right, and as files, which nobody else can have
 * written. */

#include "daemon/host/description.h"

#include "proto/util.h"
#include "tests/support/check.h"
#include "tests/support/scratch.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>

static struct described_region regions[] = {
        { { 0x1234, 18 }, 1, 4096, { 6160, 1790000000000000000 }, (char *)"user", (char *)"stock", false },
        { { 0xfedcba9876543210, 20 }, 3, 8192, { UINT64_MAX, 0 }, (char *)"", (char *)"a b\\c", false },
        { { 0x1234, 19 }, 2, 4096, { 6162, 1 }, (char *)"txn", (char *)"gone", true },
};

static const struct description whole = {
        .id = { 0x1234, 17 },
        .broker = 0x5678,
        .name = (char *)"shop one",
        .home = (char *)"/srv/new\nline",
        .directory = (char *)"/srv/\303\244",
        .schema = (char *)"",
        .uid = 1000,
        .gid = 100,
        .mode = 0640,
        .created_usec = 1790000000000000,
        .generation = 3,
        .deaths = UINT64_MAX,
        .recovery = true,
        .reserve = true,
        .huge_pages = true,
        .last_number = 3,
        .regions = regions,
        .n_regions = array_size(regions),
};

/* --- as text ----------------------------------------------------------------------------------------------------- */

static void check_same(const struct description *one, const struct description *other)
{
        owned(freep) char *a = NULL, *b = NULL;
        size_t n_a, n_b;

        a = description_print(one, &n_a);
        b = description_print(other, &n_b);
        ck_assert_str_eq(a, b);
}

START_TEST(what_is_printed_is_parsed)
{
        owned(description_clear) struct description found = {};
        owned(freep) char *text = NULL;
        char why[DESCRIPTION_WHY_SIZE];
        size_t n;

        text = description_print(&whole, &n);
        ck_assert_ptr_nonnull(text);
        ck_assert_uint_eq(strlen(text), n);
        ck_assert_ptr_nonnull(strstr(text, "\nname: shop\\040one\nhome: /srv/new\\012line\n"));
        ck_assert_msg(description_parse(text, n, &found, why) == 0, "%s", why);
        check_same(&found, &whole);
        ck_assert_str_eq(found.home, whole.home);
        ck_assert_str_eq(found.schema, "");
        ck_assert_uint_eq(found.deaths, UINT64_MAX);
        ck_assert_uint_eq(found.n_regions, 3);
        ck_assert_str_eq(found.regions[1].name, "a b\\c");
        ck_assert_str_eq(found.regions[1].type, "");
        ck_assert_uint_eq(found.regions[1].id.instance, 0xfedcba9876543210);
        ck_assert(found.regions[2].stray);
}
END_TEST

/* With a sum that fits. */
static int parse_changed(const char *from, const char *to, char *why)
{
        owned(description_clear) struct description found = {};
        owned(freep) char *text = NULL, *changed = NULL;
        char *at;
        size_t n;
        int length;

        text = description_print(&whole, &n);
        *strstr(text, "sum: ") = '\0';
        at = strstr(text, from);
        ck_assert_msg(at, "nothing is like %s", from);
        changed = malloc(n + strlen(to) + 64);
        ck_assert_ptr_nonnull(changed);
        length = sprintf(changed, "%.*s%s%s", (int)(at - text), text, to, at + strlen(from));
        length += sprintf(changed + length, "sum: %016" PRIx64 "\n", description_sum(changed, (size_t)length));
        return description_parse(changed, (size_t)length, &found, why);
}

START_TEST(each_word_has_to_be_right)
{
        static const struct {
                const char *from, *to, *why;
        } changes[] = {
                { "region-broker environment 1", "region-broker environment 2", "another version" },
                { "region-broker environment 1", "region-broker reference 1", "does not begin with" },
                { "id: 0000000000001234-17", "id: 1234-17", "no id" },
                { "id: 0000000000001234-17", "id: 0000000000001234-0", "is 0" },
                { "id: 0000000000001234-17", "id: 0000000000001234-17 ", "goes on" },
                { "id: 0000000000001234-17", "id: ", "missing in line 2" },
                { "broker: ", "brother: ", "line 3 is not \"broker: ...\"" },
                { "broker: 0000000000005678", "broker: 000000000000567g", "no number" },
                { "name: ", "game: ", "line 4" },
                { "one\n", "one \n", "\\ooo" },
                { "\\040one", "\\40one", "\\ooo" },
                { "\\040one", "\\000one", "\\ooo" },
                { "\\040one", "\\440one", "\\ooo" },
                { "home: ", "hole: ", "line 5" },
                { "directory: ", "hole: ", "line 6" },
                { "schema: ", "hole: ", "line 7" },
                { "owner: 1000 100 0640", "owner: 1000 100", "missing" },
                { "owner: 1000 100 0640", "owner: -1 100 0640", "no number" },
                { "owner: 1000 100 0640", "owner: 4294967295 100 0640", "no number" },
                { "owner: 1000 100 0640", "owner: 1000 4294967295 0640", "no number" },
                { "owner: 1000 100 0640", "owner: 1000 100 01000", "no number" },
                { "owner: 1000 100 0640", "owner: 1000 100 0648", "no number" },
                { "created: 1790000000000000", "created: 9223372036854775808", "no number" },
                { "generation: 3", "generation: +3", "no number" },
                { "generation: 3", "generation: 18446744073709551616", "no number" },
                { "deaths: ", "deaths: 1", "no number" },
                { "recovery: yes", "recovery: true", "neither yes nor no" },
                { "reserve: yes\n", "", "\"reserve: ...\"" },
                { "lock: no", "lock: ", "neither yes nor no" },
                { "huge-pages: yes", "huge-pages: YES", "neither yes nor no" },
                { "writing: no", "writing: no ", "neither yes nor no" },
                { "last-number: 3", "last-number: 2", "cannot be" },
                { "last-number: 3", "last-number: 2147483648", "no number" },
                { "region: 1 ", "region: 0 ", "cannot be" },
                { "region: 1 ", "region: 3 ", "out of order" },
                { " 4096 ", " 0 ", "cannot be" },
                { " 4096 ", " 9223372036854775808 ", "no number" },
                { " 6160 ", "  ", "missing" },
                { " 1790000000000000000 ", " x ", "no number" },
                { " stock user", " stock", "missing" },
                { " stock user", "  user", "missing" },
                { " stock user", " stock user more", "\\ooo" },
                { "stray: ", "strange: ", "nothing to say" },
                { "gone txn\n", "gone txn", "nothing to say" },
                { "gone txn\n", "gone txn\nregion: 4\n", "nothing to say" },
        };
        char why[DESCRIPTION_WHY_SIZE];

        ck_assert_int_eq(parse_changed("shop", "shop", why), 0);
        for (size_t i = 0; i < array_size(changes); i++) {
                strcpy(why, "nothing");
                ck_assert_msg(parse_changed(changes[i].from, changes[i].to, why) == -EBADMSG, "%s", changes[i].to);
                ck_assert_msg(strstr(why, changes[i].why), "%s: %s", changes[i].to, why);
        }
}
END_TEST

START_TEST(what_was_cut_off_anywhere_or_changed_anywhere_is_noticed)
{
        owned(freep) char *text = NULL;
        char why[DESCRIPTION_WHY_SIZE];
        struct description found;
        size_t n;

        text = description_print(&whole, &n);
        for (size_t i = 0; i < n; i++)
                ck_assert_int_eq(description_parse(text, i, &found, why), -EBADMSG);
        for (size_t i = 0; i < n; i++) {
                text[i] ^= 1;
                ck_assert_int_eq(description_parse(text, n, &found, why), -EBADMSG);
                text[i] ^= 1;
        }
}
END_TEST

START_TEST(more_regions_than_there_can_be_are_refused)
{
        struct described_region many[DESCRIPTION_MAX_REGIONS + 1];
        struct description description = whole, found;
        owned(freep) char *text = NULL;
        char why[DESCRIPTION_WHY_SIZE];
        size_t n;

        for (unsigned i = 0; i < array_size(many); i++) {
                many[i] = regions[0];
                many[i].number = i + 1;
        }
        description.regions = many;
        description.n_regions = description.last_number = array_size(many);
        text = description_print(&description, &n);
        ck_assert_int_eq(description_parse(text, n, &found, why), -EBADMSG);
        ck_assert_ptr_nonnull(strstr(why, "more than there can be"));
}
END_TEST

/* --- as files ---------------------------------------------------------------------------------------------------- */

static int directory;

static void open_directory(void)
{
        directory = open(scratch, O_PATH | O_DIRECTORY | O_CLOEXEC);
        ck_assert_int_ge(directory, 0);
}

static void close_directory(void)
{
        description_remove(directory);
        close(directory);
}

static int read_it(bool in_force, char *why)
{
        owned(description_clear) struct description found = {};
        int r = description_read(directory, in_force, &found, why);

        if (r == 0)
                check_same(&found, &whole);
        return r;
}

START_TEST(what_was_put_is_read_and_in_force_takes_the_place_of_the_one_before)
{
        struct description next = whole;
        char why[DESCRIPTION_WHY_SIZE];
        struct stat st;

        ck_assert_int_eq(read_it(true, why), -ENOENT);
        ck_assert_int_eq(description_put(directory, &whole, false), 0);
        ck_assert_int_eq(read_it(true, why), -ENOENT);
        ck_assert_int_eq(read_it(false, why), 0);
        next.generation = 4;
        ck_assert_int_eq(description_put(directory, &next, true), 0);
        ck_assert_int_eq(read_it(false, why), -ENOENT);
        ck_assert_int_eq(description_put(directory, &whole, true), 0);
        ck_assert_int_eq(read_it(true, why), 0);
        ck_assert_int_eq(fstatat(directory, DESCRIPTION_NAME, &st, 0), 0);
        ck_assert_uint_eq(st.st_mode & 07777, 0400);
}
END_TEST

START_TEST(void_it_is_not_in_force_any_more_and_again_is_harmless)
{
        char why[DESCRIPTION_WHY_SIZE];

        description_void(directory);
        ck_assert_int_eq(description_put(directory, &whole, true), 0);
        for (int i = 0; i < 2; i++) {
                description_void(directory);
                ck_assert_int_eq(read_it(true, why), -ENOENT);
                ck_assert_int_eq(read_it(false, why), 0);
        }
        for (int i = 0; i < 2; i++) {
                description_remove(directory);
                ck_assert_int_eq(read_it(false, why), -ENOENT);
        }
}
END_TEST

/* What a member of an environment can make: a file of the broker's, with any content, under any name. */
START_TEST(a_file_of_a_region_is_no_description_and_is_left_alone)
{
        owned(closep) int fd = openat(directory, DESCRIPTION_NAME, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
        owned(freep) char *text = NULL;
        char why[DESCRIPTION_WHY_SIZE];
        size_t n;

        text = description_print(&whole, &n);
        ck_assert_int_eq(write(fd, text, n), (ssize_t)n);
        ck_assert_int_eq(read_it(true, why), -EPERM);
        ck_assert_int_eq(description_put(directory, &whole, true), -EEXIST);
        description_void(directory);
        description_remove(directory);
        ck_assert_int_eq(fchmod(fd, 0400), 0); /* which a member cannot do */
        ck_assert_int_eq(read_it(true, why), 0);
        ck_assert_int_eq(linkat(directory, DESCRIPTION_NAME, directory, "other", 0), 0);
        ck_assert_int_eq(read_it(true, why), -EPERM);
        ck_assert_int_eq(unlinkat(directory, "other", 0), 0);
}
END_TEST

START_TEST(what_is_no_file_is_not_read)
{
        char why[DESCRIPTION_WHY_SIZE];

        ck_assert_int_eq(symlinkat("/dev/zero", directory, DESCRIPTION_NAME), 0);
        ck_assert_int_eq(read_it(true, why), -ELOOP);
        ck_assert_int_eq(unlinkat(directory, DESCRIPTION_NAME, 0), 0);
        ck_assert_int_eq(mkfifoat(directory, DESCRIPTION_NAME, 0400), 0);
        ck_assert_int_eq(read_it(true, why), -EPERM);
        ck_assert_int_eq(description_put(directory, &whole, true), -EEXIST);
        ck_assert_int_eq(unlinkat(directory, DESCRIPTION_NAME, 0), 0);
}
END_TEST

START_TEST(what_is_too_large_is_not_read)
{
        owned(closep) int fd = openat(directory, DESCRIPTION_NAME, O_WRONLY | O_CREAT | O_CLOEXEC, 0400);
        char why[DESCRIPTION_WHY_SIZE];

        ck_assert_int_eq(ftruncate(fd, DESCRIPTION_MAX_BYTES + 1), 0);
        ck_assert_int_eq(read_it(true, why), -EFBIG);
        ck_assert_int_eq(ftruncate(fd, 0), 0);
        ck_assert_int_eq(read_it(true, why), -EBADMSG);
}
END_TEST

START_TEST(the_file_of_a_region_is_checked)
{
        struct described_region region = { .number = 7, .size = 4096, .name = (char *)"a" };
        owned(closep) int fd = -1;
        char why[DESCRIPTION_WHY_SIZE];
        uint64_t device, inode;
        bool is_same;

        ck_assert_int_eq(description_check_file(directory, &region, &device, &inode, &is_same, why), -ENOENT);
        fd = openat(directory, "__db.007", O_RDWR | O_CREAT | O_CLOEXEC, 0600);
        ck_assert_int_eq(description_check_file(directory, &region, &device, &inode, &is_same, why), -ESTALE);
        ck_assert_int_eq(ftruncate(fd, 4096), 0);
        ck_assert_int_eq(description_check_file(directory, &region, &device, &inode, &is_same, why), 0);
        ck_assert(!is_same);
        ck_assert_int_eq(file_identify(fd, &region.file), 0);
        ck_assert_int_eq(description_check_file(directory, &region, &device, &inode, &is_same, why), 0);
        ck_assert(is_same && inode == region.file.inode);
        region.file.born_nsec ^= 1;
        ck_assert_int_eq(description_check_file(directory, &region, &device, &inode, &is_same, why), 0);
        ck_assert(!is_same);
        ck_assert_int_eq(fchmod(fd, 0644), 0);
        ck_assert_int_eq(description_check_file(directory, &region, &device, &inode, &is_same, why), -EPERM);
        ck_assert_int_eq(unlinkat(directory, "__db.007", 0), 0);
}
END_TEST

int main(void)
{
        Suite *suite = suite_create("description");
        TCase *text = check_case(suite, "text"), *files = check_case(suite, "files");

        tcase_add_test(text, what_is_printed_is_parsed);
        tcase_add_test(text, each_word_has_to_be_right);
        tcase_add_test(text, what_was_cut_off_anywhere_or_changed_anywhere_is_noticed);
        tcase_add_test(text, more_regions_than_there_can_be_are_refused);

        scratch_add(files);
        tcase_add_checked_fixture(files, open_directory, close_directory);
        tcase_add_test(files, what_was_put_is_read_and_in_force_takes_the_place_of_the_one_before);
        tcase_add_test(files, void_it_is_not_in_force_any_more_and_again_is_harmless);
        tcase_add_test(files, a_file_of_a_region_is_no_description_and_is_left_alone);
        tcase_add_test(files, what_is_no_file_is_not_read);
        tcase_add_test(files, what_is_too_large_is_not_read);
        tcase_add_test(files, the_file_of_a_region_is_checked);
        return check_run(suite);
}
