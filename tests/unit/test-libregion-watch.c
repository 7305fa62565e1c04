/* Watching, and the explanation that is made of the same events. */

#include "tests/unit/fake-session.h"

#include <inttypes.h>
#include <sys/wait.h>

#define STANDS "{'continues':true,'parameters':{'sequence':40}}"
#define EVENT(sequence, kind, more) \
        "{'sequence':" sequence ",'realtimeUSec':5,'kind':'" kind "','environment':'shop'" more "}"
#define TELLS(sequence, kind, more, missed) \
        "{'continues':true,'parameters':{'event':" EVENT(sequence, kind, more) ",'sequence':" sequence missed "}}"
#define DIED ",'pid':77,'uid':5,'command':'maker','writtenRegions':['stock','index'],'signal':9,'reason':'It fell.'"

static struct region_watch *watch;

static void open_watch(void)
{
        fake_start();
        check(region_watch_open(fake_socket, "shop", -1, &watch));
}

static const struct region_event *next(int64_t timeout_usec)
{
        const struct region_event *event = NULL;

        check(region_watch_next(watch, timeout_usec, &event));
        return event;
}

static void close_watch(void)
{
        region_watch_close(watch);
        fake_finish();
}

START_TEST(a_watch_stands_once_it_is_open)
{
        fake_answers(STANDS);
        open_watch();
        ck_assert_int_eq(region_watch_sequence(watch), 40);
        ck_assert_int_ge(region_watch_fd(watch), 0);
        close_watch();
        ck_assert_str_eq(fake_asked(0), "{'method':'org.regionbroker.Watch','more':true,'parameters':{'environment':"
                                        "'shop'}}");
}
END_TEST

START_TEST(a_watch_can_begin_in_the_past)
{
        fake_answers(STANDS);
        fake_start();
        check(region_watch_open(fake_socket, NULL, 0, &watch));
        close_watch();
        ck_assert_str_eq(fake_asked(0), "{'method':'org.regionbroker.Watch','more':true,'parameters':{'since':0}}");
}
END_TEST

START_TEST(an_event_has_all_that_was_told)
{
        const struct region_event *event;

        fake_answers(STANDS);
        fake_adds(TELLS("41", "died", DIED, ",'missed':3"));
        open_watch();
        event = next(0);
        ck_assert_int_eq(event->sequence, 41);
        ck_assert_int_eq(event->realtime_usec, 5);
        ck_assert_int_eq(event->kind, REGION_EVENT_DIED);
        ck_assert_str_eq(region_event_word(event->kind), "died");
        ck_assert_str_eq(event->environment, "shop");
        ck_assert_ptr_null(event->region);
        ck_assert_int_eq(event->pid, 77);
        ck_assert_uint_eq(event->uid, 5);
        ck_assert_str_eq(event->command, "maker");
        ck_assert_uint_eq(event->n_written_regions, 2);
        ck_assert_str_eq(event->written_regions[1], "index");
        ck_assert_int_eq(event->exit_status, -1);
        ck_assert_int_eq(event->signal, 9);
        ck_assert_str_eq(event->reason, "It fell.");
        ck_assert_int_eq(event->bytes, -1);
        ck_assert_uint_eq(event->missed, 3);
        ck_assert_int_eq(region_watch_sequence(watch), 41);
        close_watch();
}
END_TEST

START_TEST(what_is_not_told_of_an_event_is_said_to_be_nothing)
{
        const struct region_event *event;

        fake_answers(STANDS);
        fake_adds(TELLS("41", "created", "", ""));
        open_watch();
        event = next(0);
        ck_assert_int_eq(event->pid, 0);
        ck_assert_uint_eq(event->uid, (uid_t)-1);
        ck_assert_uint_eq(event->n_written_regions, 0);
        ck_assert_int_eq(event->signal, 0);
        ck_assert_uint_eq(event->missed, 0);
        close_watch();
}
END_TEST

START_TEST(waiting_for_an_event_ends_in_time_and_the_watch_goes_on)
{
        const struct region_event *event;

        fake_answers(STANDS);
        open_watch();
        check_error(region_watch_next(watch, REGION_NO_WAIT, &event), REGION_E_TIMEOUT, "nothing came");
        check_error(region_watch_next(watch, 2000, &event), REGION_E_TIMEOUT, "nothing came");
        check_error(region_watch_next(watch, -7, &event), REGION_E_INVALID, "timeout_usec");
        ck_assert_int_ge(region_watch_fd(watch), 0);
        close_watch();
}
END_TEST

struct told {
        int n;
        int stop_at;
        int64_t sequence;
};

static bool tell(const struct region_event *event, void *data)
{
        struct told *told = data;

        told->sequence = event->sequence;
        return ++told->n != told->stop_at;
}

START_TEST(dispatching_tells_what_is_there_and_does_not_wait)
{
        struct told told = {};

        fake_answers(STANDS);
        fake_adds(TELLS("41", "created", "", ""));
        fake_adds(TELLS("42", "ready", "", ""));
        open_watch();
        while (told.n < 2) {
                ck_assert(check_wait(region_watch_fd(watch), POLLIN));
                check(region_watch_dispatch(watch, tell, &told));
        }
        ck_assert_int_eq(told.sequence, 42);
        check(region_watch_dispatch(watch, tell, &told));
        ck_assert_int_eq(told.n, 2);
        close_watch();
}
END_TEST

START_TEST(dispatching_stops_when_it_is_told_to_and_loses_nothing)
{
        struct told told = { .stop_at = 1 };

        fake_answers(STANDS);
        fake_adds(TELLS("41", "created", "", ""));
        fake_adds(TELLS("42", "ready", "", ""));
        open_watch();
        ck_assert(check_wait(region_watch_fd(watch), POLLIN));
        check(region_watch_dispatch(watch, tell, &told));
        ck_assert_int_eq(told.sequence, 41);
        ck_assert_int_eq(next(0)->sequence, 42);
        close_watch();
}
END_TEST

START_TEST(a_broker_that_went_away_is_looked_for_after_its_last_event)
{
        struct told told = {};
        const struct region_event *event;

        fake_answers(STANDS);
        fake_says_and_closes(TELLS("41", "created", "", ""));
        open_watch();
        ck_assert_int_eq(next(0)->sequence, 41);
        check_error(region_watch_next(watch, REGION_NO_WAIT, &event), REGION_E_TIMEOUT, "nothing came");
        check(region_watch_dispatch(watch, tell, &told)); /* and is not the end: it is looked for */
        ck_assert(check_wait(region_watch_fd(watch), POLLIN));
        close_watch();
}
END_TEST

START_TEST(a_refused_watch_is_not_opened)
{
        fake_answers("{'error':'org.regionbroker.QuotaExceeded','parameters':{'limit':'watchesPerUser','used':8,"
                     "'wanted':1,'maximum':8}}");
        fake_start();
        check_error(region_watch_open(fake_socket, NULL, -1, &watch), REGION_E_QUOTA, "watchesPerUser");
        fake_finish();
}
END_TEST

START_TEST(a_child_is_refused_the_watch_of_its_parent)
{
        const struct region_event *event;
        int status;
        pid_t child;

        fake_answers(STANDS);
        fake_adds(TELLS("41", "created", "", ""));
        open_watch();
        child = fork();
        if (child == 0) {
                bool refused = region_watch_next(watch, 0, &event) == REGION_E_FORKED;

                region_watch_close(watch);
                _exit(refused ? 0 : 1);
        }
        ck_assert_int_eq(waitpid(child, &status, 0), child);
        ck_assert_int_eq(status, 0);
        ck_assert_int_eq(next(0)->sequence, 41);
        close_watch();
}
END_TEST

START_TEST(an_explanation_has_reasons_holders_and_history)
{
        struct region_explanation *explanation;
        struct region_broker *broker;

        fake_answers(
                "{'parameters':{'reasons':['It is held.','It is persistent.'],'attachments':[{'environment':'shop',"
                "'pid':77,'uid':0,'command':'maker','access':'write','sinceUSec':5,'standing':'connected'}],"
                "'history':[" EVENT("1", "created", "") "," EVENT("2", "died", DIED) "]}}");
        broker = start();
        check(region_explain(broker, "shop", "stock", &explanation));
        finish(broker);
        ck_assert_uint_eq(explanation->n_reasons, 2);
        ck_assert_str_eq(explanation->reasons[1], "It is persistent.");
        ck_assert_uint_eq(explanation->n_attachments, 1);
        ck_assert_int_eq(explanation->attachments[0]->pid, 77);
        ck_assert_uint_eq(explanation->n_events, 2);
        ck_assert_str_eq(explanation->events[1]->written_regions[0], "stock");
        region_explanation_free(explanation);
        region_explanation_free(NULL);
        ck_assert_str_eq(fake_asked(0), "{'method':'org.regionbroker.Explain','parameters':{'environment':'shop',"
                                        "'region':'stock'}}");
}
END_TEST

int main(void)
{
        Suite *suite = suite_create("libregion-watch");
        TCase *tcase = fake_case(suite, "watch");

        tcase_add_test(tcase, a_watch_stands_once_it_is_open);
        tcase_add_test(tcase, a_watch_can_begin_in_the_past);
        tcase_add_test(tcase, an_event_has_all_that_was_told);
        tcase_add_test(tcase, what_is_not_told_of_an_event_is_said_to_be_nothing);
        tcase_add_test(tcase, waiting_for_an_event_ends_in_time_and_the_watch_goes_on);
        tcase_add_test(tcase, dispatching_tells_what_is_there_and_does_not_wait);
        tcase_add_test(tcase, dispatching_stops_when_it_is_told_to_and_loses_nothing);
        tcase_add_test(tcase, a_broker_that_went_away_is_looked_for_after_its_last_event);
        tcase_add_test(tcase, a_refused_watch_is_not_opened);
        tcase_add_test(tcase, a_child_is_refused_the_watch_of_its_parent);
        tcase = fake_case(suite, "explanation");
        tcase_add_test(tcase, an_explanation_has_reasons_holders_and_history);
        return check_run(suite);
}
