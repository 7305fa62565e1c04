/* Brokers that end, and others that begin in their place: programs of the library go on with their next call. */

#include "client/libregion.h"
#include "proto/util.h"
#include "tests/support/broker.h"
#include "tests/support/check.h"

#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/wait.h>

enum { SIZE = 8192, SECOND = 1000 * 1000 };

static struct region_broker *session;

static void check(enum region_result result)
{
        ck_assert_msg(result == REGION_OK, "%s: %s", region_result_name(result), region_error_message());
}

static void check_error(enum region_result result, enum region_result code, const char *part)
{
        ck_assert_msg(result == code, "%s and not %s: %s", region_result_name(result), region_result_name(code),
                      region_error_message());
        ck_assert_msg(strstr(region_error_message(), part), "'%s' lacks '%s'", region_error_message(), part);
}

static struct region_broker *connect_session(void)
{
        struct region_broker *made = NULL;

        check(region_broker_connect(broker.socket, &made));
        return made;
}

static void setup(void)
{
        broker_setup();
        session = connect_session();
}

static void teardown(void)
{
        region_broker_close(session);
        broker_teardown();
}

/* SIGINT makes an end of all there is, the others do not. */
static void end_broker(int how)
{
        if (how == SIGKILL) {
                daemon_kill(&broker);
                return;
        }
        ck_assert_int_eq(kill(broker.pid, how), 0);
        ck_assert(check_wait(broker.pidfd, POLLIN));
        ck_assert(daemon_stop(&broker)); /* it has, and in order */
}

static void restart(int how)
{
        end_broker(how);
        ck_assert(daemon_start(&broker, NULL));
}

/* --- environments ------------------------------------------------------------------------------------------------ */

static const enum region_backing backings[] = {
        REGION_BACKING_MEMFD, REGION_BACKING_SYSV, REGION_BACKING_POSIX, REGION_BACKING_FILE, REGION_BACKING_PRIVATE,
};
enum { N_BACKINGS = array_size(backings) };

static struct region_env *open_as(struct region_broker *by, const char *name, struct region_env_options options)
{
        const struct region_spec data = { .name = "data", .size = SIZE };
        struct region_env *env = NULL;

        options.create = REGION_CREATE_IF_ABSENT;
        options.lifetime = options.lifetime ? options.lifetime : REGION_LIFETIME_ATTACHED;
        options.regions = &data;
        options.n_regions = 1;
        check(region_env_open(by, name, &options, &env));
        return env;
}

static char *bytes_of(struct region_env *env)
{
        void *bytes = NULL;

        check(region_map(region_env_find(env, "data"), NULL, &bytes));
        return bytes;
}

/* An environment that is ready, with "stays" in its memory. */
static struct region_env *make(const char *name, struct region_env_options options)
{
        struct region_env *env = open_as(session, name, options);

        strcpy(bytes_of(env), "stays");
        check(region_env_ready(env));
        return env;
}

static struct region_env *make_backed(const char *name, enum region_backing backing)
{
        owned(freep) char *home = backing == REGION_BACKING_FILE ? broker_make_directory(name) : NULL;

        return make(name, (struct region_env_options){ .backing = backing, .home = home });
}

/* Of all attachments to the region. */
static void count(const char *name, enum region_standing standing, unsigned *ret_with, unsigned *ret_all)
{
        struct region_broker *looker = connect_session();
        struct region_description *description = NULL;

        *ret_with = *ret_all = 0;
        check(region_describe(looker, name, &description));
        for (size_t i = 0; i < description->n_attachments; i++) {
                if (!description->attachments[i]->region)
                        continue;
                *ret_all += 1;
                *ret_with += description->attachments[i]->standing == standing;
        }
        region_description_free(description);
        region_broker_close(looker);
}

static void check_standing(const char *name, enum region_standing standing, unsigned n, unsigned all)
{
        unsigned with, found;

        count(name, standing, &with, &found);
        ck_assert_uint_eq(with, n);
        ck_assert_uint_eq(found, all);
}

static void check_gone(const char *name)
{
        struct region_description *description;
        int64_t begun = 0;
        enum region_result r;

        while ((r = region_describe(session, name, &description)) == REGION_OK) {
                ck_assert_msg(check_pause(&begun), "%s is still there: %u attached", name,
                              description->env->attachments);
                region_description_free(description);
        }
        ck_assert_int_eq(r, REGION_E_NOT_FOUND);
}

/* --- the next call ----------------------------------------------------------------------------------------------- */

static const int ends[] = { SIGKILL, SIGTERM };

START_TEST(what_a_program_has_it_still_has_and_goes_on_with)
{
        enum region_backing backing = backings[_i / 2];
        struct region_env *env = make_backed("e", backing);
        struct region *added;
        char *bytes = bytes_of(env);

        restart(ends[_i % 2]);
        check_standing("e", REGION_RESUMED, 1, 1);
        check(region_env_add(env, &(struct region_spec){ .name = "more", .size = SIZE }, &added));
        check_standing("e", REGION_CONNECTED, 2, 2);
        ck_assert_str_eq(bytes, "stays");
        strcpy(bytes, "moved on");
        if (backing != REGION_BACKING_PRIVATE) {
                struct region_broker *other = connect_session();
                struct region_env *joined = open_as(other, "e", (struct region_env_options){});

                ck_assert_str_eq(bytes_of(joined), "moved on");
                region_broker_close(other);
        }
        region_env_close(env);
        check_gone("e");
}
END_TEST

START_TEST(one_session_takes_up_all_of_its_environments)
{
        struct region_env *envs[N_BACKINGS];
        char name[2] = "a";

        for (size_t i = 0; i < N_BACKINGS; i++, name[0]++)
                envs[i] = make_backed(name, backings[i]);
        for (int round = 0; round < 3; round++) {
                restart(ends[round % 2]);
                check_gone("nothing"); /* any call does it */
                for (name[0] = 'a'; name[0] < 'a' + N_BACKINGS; name[0]++)
                        check_standing(name, REGION_CONNECTED, 1, 1);
        }
        for (size_t i = 0; i < N_BACKINGS; i++)
                ck_assert_str_eq(bytes_of(envs[i]), "stays");
}
END_TEST

static void *describe(void *data)
{
        struct region_description *description;
        enum region_result *ret = data;

        *ret = region_describe(session, "e", &description);
        if (*ret == REGION_OK)
                region_description_free(description);
        return NULL;
}

START_TEST(a_call_while_no_broker_is_there_waits_for_the_next)
{
        struct region_env *env = make_backed("e", REGION_BACKING_SYSV);
        enum region_result result = REGION_E_ABSENT;
        pthread_t thread;

        end_broker(SIGTERM);
        ck_assert_int_lt(access(broker.socket, F_OK), 0); /* not even its socket */
        ck_assert_int_eq(pthread_create(&thread, NULL, describe, &result), 0);
        ck_assert(daemon_start(&broker, NULL));
        ck_assert_int_eq(pthread_join(thread, NULL), 0);
        check(result);
        check_standing("e", REGION_CONNECTED, 1, 1);
        region_env_close(env);
}
END_TEST

START_TEST(a_broker_that_does_not_come_back_is_absent_and_memory_stays)
{
        struct region_env *env = make_backed("e", backings[_i]);
        struct region *region;

        end_broker(SIGKILL);
        region_broker_set_timeout(session, 1000);
        check_error(region_env_attach(env, "other", 0, &region), REGION_E_ABSENT, "no broker answers at");
        ck_assert_str_eq(bytes_of(env), "stays");
        region_env_close(env);
        region_broker_close(session);
        ck_assert(daemon_start(&broker, NULL)); /* which cleans up */
        session = connect_session();
}
END_TEST

START_TEST(another_broker_in_its_place_knows_nothing_and_memory_stays)
{
        struct region_env *env = make_backed("e", backings[_i]), *anew;
        struct region_env *other;
        struct region *region;

        restart(SIGINT);
        check_error(region_env_attach(env, "other", 0, &region), REGION_E_NOT_FOUND, "does not know it");
        check_error(region_env_ready(env), REGION_E_NOT_FOUND, "'e'");
        ck_assert_str_eq(bytes_of(env), "stays");
        other = make("other", (struct region_env_options){});
        anew = make("e", (struct region_env_options){}); /* another of that name is no business of the old one's */
        check_error(region_env_delete(env, "data", true), REGION_E_NOT_FOUND, "'e'");
        region_env_close(env);
        check_standing("e", REGION_CONNECTED, 1, 1);
        region_env_close(anew);
        region_env_close(other);
}
END_TEST

START_TEST(what_is_closed_while_no_broker_is_there_is_told_to_the_next)
{
        struct region_env *env = make_backed("e", backings[_i]), *other = make_backed("other", REGION_BACKING_SYSV);
        struct region *added;

        check(region_env_add(other, &(struct region_spec){ .name = "more", .size = SIZE }, &added));
        end_broker(SIGKILL);
        region_env_close(env);
        region_broker_set_timeout(session, 1000);
        check_error(region_detach(added), REGION_E_ABSENT, "");
        region_broker_set_timeout(session, 60 * SECOND);
        ck_assert(daemon_start(&broker, NULL));
        check_gone("e");
        check_standing("other", REGION_CONNECTED, 1, 1);
        region_env_close(other);
}
END_TEST

/* --- parts ------------------------------------------------------------------------------------------------------- */

struct opening {
        struct region_broker *session;
        int64_t wait_usec;
        enum region_result result;
        struct region_env *env;
};

static void *open_waiting(void *data)
{
        struct opening *opening = data;
        const struct region_env_options options = { .wait_usec = opening->wait_usec };

        opening->result = region_env_open(opening->session, "e", &options, &opening->env);
        return NULL;
}

/* Begins to wait in another thread, and does wait. */
static pthread_t begin_waiting(struct opening *opening)
{
        int peer = broker_connect();
        int64_t calls = broker_statistic(peer, "counters.calls");
        pthread_t thread;

        opening->session = connect_session();
        ck_assert_int_eq(pthread_create(&thread, NULL, open_waiting, opening), 0);
        broker_wait_for_calls(peer, calls, 1);
        close(peer);
        return thread;
}

START_TEST(an_initializer_stays_one_and_who_waits_for_it_goes_on_waiting)
{
        struct region_env *env = open_as(session, "e", (struct region_env_options){ .backing = REGION_BACKING_SYSV });
        struct opening opening = { .wait_usec = 600 * (int64_t)SECOND };
        pthread_t thread = begin_waiting(&opening);

        restart(ends[_i]);
        strcpy(bytes_of(env), "made");
        check(region_env_ready(env));
        ck_assert_int_eq(pthread_join(thread, NULL), 0);
        check(opening.result);
        ck_assert_int_eq(region_env_role(opening.env), REGION_ROLE_MEMBER);
        ck_assert_str_eq(bytes_of(opening.env), "made");
        region_broker_close(opening.session);
        region_env_close(env);
}
END_TEST

START_TEST(who_waits_waits_no_longer_than_it_wanted_to)
{
        struct region_env *env = open_as(session, "e", (struct region_env_options){ .backing = REGION_BACKING_SYSV });
        struct opening opening = { .wait_usec = 2 * SECOND };
        pthread_t thread = begin_waiting(&opening);

        restart(SIGKILL);
        ck_assert_int_eq(pthread_join(thread, NULL), 0);
        ck_assert_int_eq(opening.result, REGION_E_NOT_READY);
        region_broker_close(opening.session);
        region_env_close(env);
}
END_TEST

static void die_writing(int channel, const void *data)
{
        struct region_env *env;

        (void)data;
        session = connect_session();
        env = open_as(session, "e", (struct region_env_options){});
        bytes_of(env);
        child_tell(channel, 1);
        child_hear(channel);
}

static void make_dirty(struct region_env *env)
{
        struct child child;
        struct region_health health;

        child_start(&child, die_writing, NULL);
        ck_assert_int_eq(child_hear(child.channel), 1);
        child_kill(&child);
        for (region_env_health(env, &health); health.state != REGION_STATE_DIRTY; region_env_health(env, &health))
                region_env_wait_change(env, health.change, SECOND);
}

START_TEST(a_recoverer_stays_one)
{
        const struct region_env_options options = { .backing = REGION_BACKING_SYSV, .recovery = true };
        struct region_env *env = make("e", options);
        struct region_health health;

        make_dirty(env);
        check(region_env_recover(env, REGION_NO_WAIT));
        ck_assert_int_eq(region_env_role(env), REGION_ROLE_RECOVERER);
        restart(ends[_i]);
        check_gone("nothing");
        ck_assert_int_eq(region_env_role(env), REGION_ROLE_RECOVERER);
        check(region_env_ready(env));
        region_env_health(env, &health);
        ck_assert_int_eq(health.state, REGION_STATE_READY);
        ck_assert_uint_eq(health.generation, 2);
        region_env_close(env);
}
END_TEST

START_TEST(health_goes_on_being_told_without_a_call)
{
        struct region_env *env = make("e",
                                      (struct region_env_options){ .backing = REGION_BACKING_SYSV, .recovery = true });
        struct region_health health;

        restart(ends[_i]);
        region_env_health(env, &health);
        ck_assert_int_eq(health.state, REGION_STATE_READY);
        make_dirty(env);
        ck_assert_int_eq(region_env_state(env), REGION_STATE_DIRTY);
        check_gone("nothing"); /* taken up again it is the same page */
        region_env_health(env, &health);
        ck_assert_int_eq(health.state, REGION_STATE_DIRTY);
        ck_assert_uint_eq(health.deaths, 1);
        region_env_close(env);
}
END_TEST

/* --- several of one process -------------------------------------------------------------------------------------- */

static enum region_access access_of(const char *name, unsigned *ret_n)
{
        struct region_description *description = NULL;
        enum region_access most = 0;

        *ret_n = 0;
        check(region_describe(session, name, &description));
        for (size_t i = 0; i < description->n_attachments; i++)
                if (description->attachments[i]->region) {
                        *ret_n += 1;
                        most = description->attachments[i]->access > most ? description->attachments[i]->access : most;
                }
        region_description_free(description);
        return most;
}

START_TEST(sessions_of_one_process_do_not_take_each_others_place)
{
        struct region_env *writer = make_backed("e", REGION_BACKING_SYSV), *reader = NULL;
        struct region_broker *second = connect_session();
        const struct region_env_options options = { .access = REGION_READ };
        struct region *region;
        unsigned n;

        check(region_env_open(second, "e", &options, &reader));
        restart(SIGKILL);
        /* the later one comes first, and leaves */
        check_error(region_env_attach(reader, "other", 0, &region), REGION_E_NO_REGION, "");
        region_env_close(reader);
        ck_assert_int_eq(access_of("e", &n), REGION_WRITE);
        ck_assert_uint_eq(n, 1);
        region_env_close(writer);
        check_gone("e");
        region_broker_close(second);
}
END_TEST

START_TEST(another_session_of_the_process_that_must_not_find_it_is_refused)
{
        struct region_env *env = make_backed("e", REGION_BACKING_SYSV), *second_env;
        struct region_broker *second = connect_session();
        const struct region_env_options options = { .create = REGION_CREATE_ALWAYS };

        restart(SIGKILL);
        check_error(region_env_open(second, "e", &options, &second_env), REGION_E_EXISTS, "");
        region_env_close(env);
        region_broker_close(second);
}
END_TEST

START_TEST(a_private_environment_is_still_its_owners_alone)
{
        struct region_env *env = make_backed("e", REGION_BACKING_PRIVATE), *again;
        struct region_broker *second;

        restart(ends[_i]);
        check_error(region_env_open(session, "e", NULL, &again), REGION_E_BUSY, "");
        second = connect_session();
        check_error(region_env_open(second, "e", NULL, &again), REGION_E_BUSY, "");
        region_broker_close(second);
        ck_assert_str_eq(bytes_of(env), "stays");
        region_env_close(env);
        check_gone("e");
}
END_TEST

START_TEST(a_forked_child_adopts_at_the_next_broker)
{
        struct region_env *env = make_backed("e", backings[_i]);
        char *bytes = bytes_of(env);
        struct region *region;
        int status;
        pid_t child;

        restart(SIGKILL);
        child = fork();
        if (child == 0) {
                check_error(region_env_attach(env, "other", 0, &region), REGION_E_NO_REGION, "");
                check_standing("e", REGION_CONNECTED, 1, 2); /* the parent has not called yet */
                ck_assert_str_eq(bytes, "stays");
                region_env_close(env);
                _exit(0);
        }
        ck_assert_int_eq(waitpid(child, &status, 0), child);
        ck_assert_int_eq(status, 0);
        check_gone("nothing");
        check_standing("e", REGION_CONNECTED, 1, 1);
        region_env_close(env);
}
END_TEST

/* --- locks ------------------------------------------------------------------------------------------------------- */

static void lock_and_wait(int channel, const void *data)
{
        struct region_env *env;

        (void)data;
        session = connect_session();
        env = open_as(session, "e", (struct region_env_options){});
        child_tell(channel, region_mutex_lock((void *)(bytes_of(env) + 4096)));
        child_hear(channel);
}

START_TEST(a_lock_is_held_over_it_and_its_owners_death_is_told)
{
        struct region_env *env = make_backed("e", REGION_BACKING_SYSV);
        struct region_mutex *mutex = (void *)(bytes_of(env) + 4096);
        struct child child;

        check(region_mutex_init(mutex));
        child_start(&child, lock_and_wait, NULL);
        ck_assert_int_eq(child_hear(child.channel), REGION_OK);
        restart(SIGKILL);
        ck_assert_int_eq(region_mutex_trylock(mutex), REGION_E_BUSY);
        child_kill(&child);
        ck_assert_int_eq(region_mutex_lock(mutex), REGION_E_OWNER_DIED);
        check(region_mutex_consistent(mutex));
        check(region_mutex_unlock(mutex));
        region_env_close(env);
}
END_TEST

/* --- memory that went with the broker ---------------------------------------------------------------------------- */

/* A member that calls when it is told to, and not before. */
static void be_member(int channel, const void *access)
{
        const struct region_env_options options = { .access = *(const enum region_access *)access };
        struct region_env *env;

        session = connect_session();
        env = open_as(session, "e", options);
        bytes_of(env);
        child_tell(channel, 1);
        for (;;) {
                child_hear(channel);
                check_gone("nothing");
                ck_assert_str_eq(bytes_of(env), "stays");
                child_tell(channel, 2);
        }
}

static void start_member(struct child *child, enum region_access access)
{
        child_start(child, be_member, &access);
        ck_assert_int_eq(child_hear(child->channel), 1);
}

static bool is_missing(const char *name)
{
        struct region_description *description = NULL;
        bool missing;

        check(region_describe(session, name, &description));
        missing = description->env->regions[0]->missing;
        region_description_free(description);
        return missing;
}

/* Two children are members, and this process looks on. */
static void start_members(struct child members[2], enum region_access second)
{
        struct region_env *env = make_backed("e", REGION_BACKING_MEMFD);

        start_member(&members[0], REGION_WRITE);
        start_member(&members[1], second);
        region_env_close(env);
}

START_TEST(one_of_its_members_brings_back_what_the_broker_lost)
{
        struct opening opening = { .wait_usec = 600 * (int64_t)SECOND };
        struct child members[2];
        pthread_t thread;

        start_members(members, _i == 0 ? REGION_WRITE : REGION_READ);
        restart(SIGKILL);
        ck_assert(is_missing("e"));
        check_error(region_env_open(session, "e", &(struct region_env_options){ .wait_usec = REGION_NO_WAIT },
                                    &opening.env),
                    REGION_E_NOT_READY, "missing");
        thread = begin_waiting(&opening);
        child_tell(members[1].channel, 1);
        ck_assert_int_eq(child_hear(members[1].channel), 2);
        ck_assert_int_eq(pthread_join(thread, NULL), 0);
        check(opening.result);
        ck_assert(!is_missing("e"));
        ck_assert_str_eq(bytes_of(opening.env), "stays");
        strcpy(bytes_of(opening.env) + 100, "for all");
        region_broker_close(opening.session);

        check_standing("e", REGION_RESUMED, 1, 2); /* who does not call is still one */
        child_kill(&members[0]);
        child_kill(&members[1]);
        check_gone("e");
}
END_TEST

START_TEST(what_nobody_is_left_to_bring_back_is_retired)
{
        struct opening opening = { .wait_usec = 600 * (int64_t)SECOND };
        struct child members[2];
        pthread_t thread;

        start_members(members, REGION_WRITE);
        restart(SIGTERM);
        thread = begin_waiting(&opening);
        child_kill(&members[0]);
        ck_assert(is_missing("e"));
        child_kill(&members[1]);
        ck_assert_int_eq(pthread_join(thread, NULL), 0);
        ck_assert_int_eq(opening.result, REGION_E_NOT_FOUND);
        region_broker_close(opening.session);
        check_gone("e");
}
END_TEST

/* --- watches ----------------------------------------------------------------------------------------------------- */

static void check_next(struct region_watch *watch, enum region_event_kind kind, int64_t *sequence)
{
        const struct region_event *event = NULL;

        check(region_watch_next(watch, 60 * SECOND, &event));
        ck_assert_msg(event->kind == kind, "%s and not %s", region_event_word(event->kind), region_event_word(kind));
        ck_assert_uint_eq(event->missed, 0);
        ck_assert_int_gt(event->sequence, *sequence);
        *sequence = event->sequence;
}

START_TEST(a_watch_goes_on_after_its_last_event)
{
        struct region_env *env = open_as(session, "e", (struct region_env_options){ .backing = REGION_BACKING_SYSV });
        struct region_watch *watch;
        int64_t sequence = 0;
        int fd;

        check(region_watch_open(broker.socket, "e", 0, &watch));
        fd = region_watch_fd(watch);
        check_next(watch, REGION_EVENT_CREATED, &sequence);
        check(region_env_ready(env));
        end_broker(ends[_i]); /* with two events that were told to nobody */
        ck_assert(check_wait(fd, POLLIN));
        ck_assert(daemon_start(&broker, NULL));
        check_next(watch, REGION_EVENT_ATTACHED, &sequence);
        check_next(watch, REGION_EVENT_READY, &sequence);
        ck_assert_int_eq(region_watch_fd(watch), fd);
        region_env_close(env);
        ck_assert(check_wait(fd, POLLIN));
        check_next(watch, REGION_EVENT_DETACHED, &sequence);
        check_next(watch, REGION_EVENT_RECLAIMED, &sequence);
        region_watch_close(watch);
}
END_TEST

START_TEST(a_watch_says_that_another_broker_knows_nothing_of_what_was)
{
        const struct region_event *event;
        struct region_watch *watch;
        int64_t sequence = 0;

        make_backed("e", REGION_BACKING_SYSV);
        check(region_watch_open(broker.socket, NULL, -1, &watch));
        restart(SIGINT);
        make("f", (struct region_env_options){});
        check_error(region_watch_next(watch, 60 * SECOND, &event), REGION_E_DISCONNECTED, "begun anew");
        check_next(watch, REGION_EVENT_CREATED, &sequence);
        check_next(watch, REGION_EVENT_ATTACHED, &sequence);
        check_next(watch, REGION_EVENT_READY, &sequence);
        region_watch_close(watch);
}
END_TEST

START_TEST(a_watch_of_a_broker_that_does_not_come_back_says_so_in_the_end)
{
        const struct region_event *event;
        struct region_watch *watch;

        check(region_watch_open(broker.socket, NULL, -1, &watch));
        end_broker(SIGKILL);
        check_error(region_watch_next(watch, REGION_NO_WAIT, &event), REGION_E_TIMEOUT, "nothing came");
        check_error(region_watch_next(watch, 0, &event), REGION_E_ABSENT, "no broker answers at");
        region_watch_close(watch);
        ck_assert(daemon_start(&broker, NULL));
}
END_TEST

static TCase *with_broker(Suite *suite, const char *name)
{
        TCase *tcase = check_case(suite, name);

        tcase_add_checked_fixture(tcase, setup, teardown);
        return tcase;
}

int main(void)
{
        Suite *suite = suite_create("reconnect");
        TCase *tcase = with_broker(suite, "calls");

        tcase_add_loop_test(tcase, what_a_program_has_it_still_has_and_goes_on_with, 0, 2 * N_BACKINGS);
        tcase_add_test(tcase, one_session_takes_up_all_of_its_environments);
        tcase_add_test(tcase, a_call_while_no_broker_is_there_waits_for_the_next);
        tcase_add_loop_test(tcase, a_broker_that_does_not_come_back_is_absent_and_memory_stays, 0, N_BACKINGS);
        tcase_add_loop_test(tcase, another_broker_in_its_place_knows_nothing_and_memory_stays, 0, N_BACKINGS);
        tcase_add_loop_test(tcase, what_is_closed_while_no_broker_is_there_is_told_to_the_next, 0, N_BACKINGS);
        tcase = with_broker(suite, "parts");
        tcase_add_loop_test(tcase, an_initializer_stays_one_and_who_waits_for_it_goes_on_waiting, 0, 2);
        tcase_add_test(tcase, who_waits_waits_no_longer_than_it_wanted_to);
        tcase_add_loop_test(tcase, a_recoverer_stays_one, 0, 2);
        tcase_add_loop_test(tcase, health_goes_on_being_told_without_a_call, 0, 2);
        tcase = with_broker(suite, "sessions");
        tcase_add_test(tcase, sessions_of_one_process_do_not_take_each_others_place);
        tcase_add_test(tcase, another_session_of_the_process_that_must_not_find_it_is_refused);
        tcase_add_loop_test(tcase, a_private_environment_is_still_its_owners_alone, 0, 2);
        tcase_add_loop_test(tcase, a_forked_child_adopts_at_the_next_broker, 0, N_BACKINGS - 1);
        tcase_add_test(tcase, a_lock_is_held_over_it_and_its_owners_death_is_told);
        tcase = with_broker(suite, "missing");
        tcase_add_loop_test(tcase, one_of_its_members_brings_back_what_the_broker_lost, 0, 2);
        tcase_add_test(tcase, what_nobody_is_left_to_bring_back_is_retired);
        tcase = with_broker(suite, "watch");
        tcase_add_loop_test(tcase, a_watch_goes_on_after_its_last_event, 0, 2);
        tcase_add_test(tcase, a_watch_says_that_another_broker_knows_nothing_of_what_was);
        tcase_add_test(tcase, a_watch_of_a_broker_that_does_not_come_back_says_so_in_the_end);
        return check_run(suite);
}
