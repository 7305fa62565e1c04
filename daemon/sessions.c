/* Layout, version 1 (N is a number, S a signed one, T a text, B bytes: host/record):
 *
 *   session  N version  N process-id  N uid  N is-over  N input-ended  S unread-descriptors  B input  N refused-from
 *            B output  N members  { N environment  N number }...  T call (NULL: none)  N refused-descriptors  S until
 *            N again  N watches  S missed  N awaited-id  S awaited-bytes  N cursor */

#include "daemon/sessions.h"

#include "daemon/broker.h"
#include "daemon/host/store.h"
#include "daemon/log.h"

#include <errno.h>
#include <stdlib.h>

enum { VERSION = 1 };

struct session_record *session_record_free(struct session_record *record)
{
        if (!record)
                return NULL;
        free(record->input);
        free(record->output);
        free(record->members);
        free(record->call.text);
        free(record);
        return NULL;
}

void session_records_clear(struct session_records *records)
{
        struct session_record *record;

        while ((record = TAILQ_FIRST(records))) {
                TAILQ_REMOVE(records, record, link);
                session_record_free(record);
        }
}

/* --- writing ----------------------------------------------------------------------------------------------------- */

static void put_call(struct record *record, const struct call_record *call)
{
        record_put_text(record, call->text);
        record_put(record, call->refused_fds);
        record_put_signed(record, call->until);
        record_put(record, call->again);
        record_put(record, call->watches);
        record_put_signed(record, call->missed);
        record_put(record, call->awaited_id);
        record_put_signed(record, call->awaited_bytes);
        record_put(record, call->cursor);
}

static void put_session(struct record *record, const struct session_record *session)
{
        record_put(record, VERSION);
        record_put(record, session->process_id);
        record_put(record, session->uid);
        record_put(record, session->is_over);
        record_put(record, session->input_ended);
        record_put_signed(record, session->n_unread);
        record_put_bytes(record, session->input, session->n_input);
        record_put(record, session->refused);
        record_put_bytes(record, session->output, session->n_output);
        record_put(record, session->n_members);
        for (size_t i = 0; i < session->n_members; i++) {
                record_put(record, session->members[i].environment);
                record_put(record, session->members[i].number);
        }
        put_call(record, &session->call);
}

static int put_all(struct store *store, const struct session_records *sessions, struct record *record)
{
        const struct session_record *session;
        int r = 0;

        TAILQ_FOREACH(session, sessions, link) {
                const struct store_key key = { LEDGER_SESSION, session->number, 0 };

                record->n = 0;
                put_session(record, session);
                r = record->failed ? -ENOMEM : store_put(store, &key, record->bytes, record->n);
                if (r < 0)
                        break;
        }
        return r;
}

int sessions_write(struct broker *broker, const struct session_records *records)
{
        struct store *store = broker->ledger.store;
        struct record record = {};
        int r;

        ledger_commit(broker);
        r = broker->ledger.failure;
        if (r == 0)
                r = store_begin(store);
        if (r < 0)
                return r;
        r = put_all(store, records, &record);
        record_clear(&record);
        if (r == 0)
                return store_commit(store);
        store_abort(store);
        return r;
}

/* --- reading ----------------------------------------------------------------------------------------------------- */

static int take_members(struct reading *reading, struct session_record *ret)
{
        uint64_t n = record_take(reading);

        if (n > reading->n / sizeof(struct member_key))
                return -EBADMSG;
        ret->members = calloc(n + 1, sizeof(*ret->members));
        if (!ret->members)
                return -ENOMEM;
        for (; ret->n_members < n; ret->n_members++) {
                ret->members[ret->n_members].environment = record_take(reading);
                ret->members[ret->n_members].number = record_take(reading);
        }
        return 0;
}

static void take_call(struct reading *reading, struct call_record *ret)
{
        ret->text = record_take_text(reading);
        ret->refused_fds = record_take(reading);
        ret->until = record_take_signed(reading);
        ret->again = record_take(reading);
        ret->watches = record_take(reading);
        ret->missed = record_take_signed(reading);
        ret->awaited_id = record_take(reading);
        ret->awaited_bytes = record_take_signed(reading);
        ret->cursor = record_take(reading);
}

static int take_session(struct reading *reading, struct session_record *ret)
{
        int r;

        if (record_take(reading) != VERSION)
                return -EBADMSG;
        ret->process_id = record_take(reading);
        ret->uid = (uid_t)record_take(reading);
        ret->is_over = record_take(reading);
        ret->input_ended = record_take(reading);
        ret->n_unread = record_take_signed(reading);
        ret->input = record_take_bytes(reading, &ret->n_input);
        ret->refused = record_take(reading);
        ret->output = record_take_bytes(reading, &ret->n_output);
        r = take_members(reading, ret);
        if (r < 0)
                return r;
        take_call(reading, &ret->call);
        return record_is_read(reading) ? 0 : -EBADMSG;
}

int sessions_read(struct broker *broker, uint64_t number, struct reading *reading)
{
        struct session_record *record = calloc(1, sizeof(*record));
        int r;

        if (!record)
                return -ENOMEM;
        record->number = number;
        r = changes_take_away(&broker->registry.changes, CHANGE_SESSION, number, 0);
        if (r == 0)
                r = take_session(reading, record);
        if (r == 0)
                TAILQ_INSERT_TAIL(&broker->sessions_before, record, link);
        else
                session_record_free(record);
        if (r != -EBADMSG)
                return r;
        log_warning("a session of the broker before is lost: its record is not of this version");
        return 0;
}
