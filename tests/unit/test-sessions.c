/* Sessions as they are written for the next broker. That it goes on with them is in tests/integration/test-handover.py. */

#include "broker-room.h"
#include "daemon/host/store.h"
#include "daemon/sessions.h"
#include "proto/util.h"

#include <errno.h>
#include <string.h>

static struct session_records records;

static struct session_record *add(uint64_t number)
{
        struct session_record *record = calloc(1, sizeof(*record));

        ck_assert_ptr_nonnull(record);
        record->number = number;
        TAILQ_INSERT_TAIL(&records, record, link);
        return record;
}

/* Everything differs from nothing. */
static void fill(struct session_record *record)
{
        record->process_id = 11;
        record->uid = 12;
        record->is_over = record->input_ended = true;
        record->n_unread = 13;
        record->input = strdup("half");
        record->n_input = 4;
        record->refused = 2;
        record->output = malloc(6);
        record->n_output = 6;
        memcpy(record->output, "a\0bcd", 6);
        record->members = calloc(2, sizeof(*record->members));
        record->n_members = 2;
        record->members[0] = (struct member_key){ 14, 15 };
        record->members[1] = (struct member_key){ 16, 17 };
        record->call = (struct call_record){
                .text = strdup("{}"),
                .refused_fds = true,
                .until = -1,
                .again = true,
                .watches = true,
                .missed = 18,
                .awaited_id = 19,
                .awaited_bytes = 20,
                .cursor = 21,
        };
}

static void check_call(const struct call_record *a, const struct call_record *b)
{
        ck_assert_pstr_eq(a->text, b->text);
        ck_assert_int_eq(a->refused_fds, b->refused_fds);
        ck_assert_int_eq(a->until, b->until);
        ck_assert_int_eq(a->again, b->again);
        ck_assert_int_eq(a->watches, b->watches);
        ck_assert_int_eq(a->missed, b->missed);
        ck_assert_uint_eq(a->awaited_id, b->awaited_id);
        ck_assert_int_eq(a->awaited_bytes, b->awaited_bytes);
        ck_assert_uint_eq(a->cursor, b->cursor);
}

static void check_bytes(const char *a, size_t n_a, const char *b, size_t n_b)
{
        ck_assert_uint_eq(n_a, n_b);
        if (n_a > 0)
                ck_assert_mem_eq(a, b, n_a);
}

static void check_same(const struct session_record *a, const struct session_record *b)
{
        ck_assert_uint_eq(a->number, b->number);
        ck_assert_uint_eq(a->process_id, b->process_id);
        ck_assert_uint_eq(a->uid, b->uid);
        ck_assert_int_eq(a->is_over, b->is_over);
        ck_assert_int_eq(a->input_ended, b->input_ended);
        ck_assert_uint_eq(a->refused, b->refused);
        ck_assert_int_eq(a->n_unread, b->n_unread);
        check_bytes(a->input, a->n_input, b->input, b->n_input);
        check_bytes(a->output, a->n_output, b->output, b->n_output);
        ck_assert_uint_eq(a->n_members, b->n_members);
        if (a->n_members > 0)
                ck_assert_mem_eq(a->members, b->members, a->n_members * sizeof(*a->members));
        check_call(&a->call, &b->call);
}

static size_t count_read(void)
{
        const struct session_record *record;
        size_t n = 0;

        TAILQ_FOREACH(record, &room.sessions_before, link)
                n++;
        return n;
}

/* One is cut short after so many bytes; it must not be believed. */
static void check_cut(uint64_t number, const uint8_t *bytes, size_t n)
{
        size_t before = count_read();

        for (size_t i = 0; i < n; i++) {
                struct reading reading = { .bytes = bytes, .n = i };

                ck_assert_int_eq(sessions_read(&room, number, &reading), 0);
        }
        ck_assert_uint_eq(count_read(), before);
}

static int on_record(void *data, const struct store_key *key, const void *bytes, size_t n)
{
        struct reading reading = { .bytes = bytes, .n = n };
        unsigned *n_read = data;

        if (key->kind != LEDGER_SESSION)
                return 0;
        ++*n_read;
        check_cut(key->first, bytes, n);
        return sessions_read(&room, key->first, &reading);
}

static unsigned read_all(void)
{
        unsigned n = 0;

        ck_assert_int_eq(store_read(room.ledger.store, on_record, &n), 0);
        return n;
}

static void setup(void)
{
        TAILQ_INIT(&records);
}

START_TEST(a_session_is_read_as_it_was_written_and_once)
{
        struct session_record *first, *second;

        add(7);
        fill(add(3));
        ck_assert_int_eq(sessions_write(&room, &records), 0);
        ck_assert_uint_eq(read_all(), 2);
        first = TAILQ_FIRST(&room.sessions_before); /* in the order of their numbers */
        second = TAILQ_NEXT(first, link);
        check_same(first, TAILQ_LAST(&records, session_records));
        check_same(second, TAILQ_FIRST(&records));

        ledger_commit(&room);
        ck_assert_uint_eq(read_all(), 0);
        session_records_clear(&records);
        ck_assert(TAILQ_EMPTY(&records));
}
END_TEST

START_TEST(a_session_of_another_layout_is_lost_and_nothing_else)
{
        struct record record = {};
        struct reading reading;

        record_put(&record, 2);
        reading = (struct reading){ .bytes = record.bytes, .n = record.n };
        ck_assert_int_eq(sessions_read(&room, 1, &reading), 0);
        record_clear(&record);
        ck_assert(TAILQ_EMPTY(&room.sessions_before));
}
END_TEST

int main(void)
{
        Suite *suite = suite_create("sessions");
        TCase *tcase = room_case(suite, "sessions", setup);

        tcase_add_test(tcase, a_session_is_read_as_it_was_written_and_once);
        tcase_add_test(tcase, a_session_of_another_layout_is_lost_and_nothing_else);
        return check_run(suite);
}
