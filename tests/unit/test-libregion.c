/* Sessions: finding the broker, sharing it, losing it. */

#include "tests/unit/fake-session.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>

/* --- finding it -------------------------------------------------------------------------------------------------- */

START_TEST(an_absent_broker_is_named_with_its_socket)
{
        struct region_broker *broker = NULL;

        check_error(region_broker_connect("/nowhere/socket", &broker), REGION_E_ABSENT,
                    "no broker answers at /nowhere/socket (No such file or directory)");
        ck_assert_int_eq(region_last_error()->errnum, ENOENT);
        ck_assert_str_eq(region_last_error()->operation, "connect");
        ck_assert_ptr_null(broker);
}
END_TEST

START_TEST(a_socket_that_nobody_listens_at_is_an_absent_broker)
{
        struct sockaddr_un address = { .sun_family = AF_UNIX };
        owned(closep) int dead = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
        struct region_broker *broker;

        ck_assert_int_eq(unlink(fake_socket), 0);
        strcpy(address.sun_path, fake_socket);
        ck_assert_int_eq(bind(dead, (const struct sockaddr *)&address, sizeof(address)), 0);
        check_error(region_broker_connect(fake_socket, &broker), REGION_E_ABSENT, "Connection refused");
        ck_assert_int_eq(region_last_error()->errnum, ECONNREFUSED);
}
END_TEST

START_TEST(a_path_that_no_socket_can_have_is_invalid)
{
        char path[200] = "/";
        struct region_broker *broker;

        memset(path + 1, 'a', sizeof(path) - 2);
        check_error(region_broker_connect(path, &broker), REGION_E_INVALID, "at most 107 bytes");
}
END_TEST

START_TEST(the_environment_variable_leads_to_the_broker)
{
        struct region_broker *broker = NULL;

        setenv("REGION_BROKER_SOCKET", fake_socket, 1);
        fake_start();
        ck_assert_int_eq(region_broker_connect(NULL, &broker), REGION_OK);
        ck_assert_str_eq(region_broker_socket(broker), fake_socket);
        region_broker_close(broker);
}
END_TEST

START_TEST(the_environment_variable_must_be_an_absolute_path)
{
        struct region_broker *broker;

        setenv("REGION_BROKER_SOCKET", "broker/socket", 1);
        check_error(region_broker_connect(NULL, &broker), REGION_E_INVALID, "'broker/socket'");
}
END_TEST

START_TEST(the_broker_of_the_user_comes_before_that_of_the_system)
{
        char directory[128], link[256];
        struct region_broker *broker = NULL;

        unsetenv("REGION_BROKER_SOCKET");
        snprintf(directory, sizeof(directory), "%s.runtime", fake_socket);
        ck_assert_int_eq(mkdir(directory, 0700), 0);
        setenv("XDG_RUNTIME_DIR", directory, 1);
        strcat(directory, "/region-broker");
        ck_assert_int_eq(mkdir(directory, 0700), 0);
        snprintf(link, sizeof(link), "%s/org.regionbroker", directory);
        ck_assert_int_eq(symlink(fake_socket, link), 0);

        fake_start();
        ck_assert_int_eq(region_broker_connect(NULL, &broker), REGION_OK);
        ck_assert_str_eq(region_broker_socket(broker), link);
        region_broker_close(broker);

        unlink(link);
        rmdir(directory);
        *strrchr(directory, '/') = '\0';
        rmdir(directory);
}
END_TEST

START_TEST(without_a_broker_of_the_user_that_of_the_system_is_asked)
{
        struct region_broker *broker = NULL;

        unsetenv("REGION_BROKER_SOCKET");
        setenv("XDG_RUNTIME_DIR", "/nowhere", 1);
        /* on a machine that runs one, it answers */
        if (region_broker_connect(NULL, &broker) == REGION_OK)
                ck_assert_str_eq(region_broker_socket(broker), "/run/region-broker/org.regionbroker");
        else
                check_error(REGION_E_ABSENT, REGION_E_ABSENT, "/run/region-broker/org.regionbroker");
        region_broker_close(broker);
}
END_TEST

static void *connect_in_thread(void *data)
{
        struct region_broker **broker = data;

        return region_broker_connect(fake_socket, broker) == REGION_OK ? broker : NULL;
}

START_TEST(a_broker_with_a_full_backlog_is_waited_for)
{
        struct sockaddr_un address = { .sun_family = AF_UNIX };
        struct region_broker *broker = NULL;
        int waiting[64], n = 0;
        pthread_t thread;
        void *result;

        strcpy(address.sun_path, fake_socket);
        do {
                waiting[n] = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
                ck_assert_int_lt(n, (int)array_size(waiting) - 1);
        } while (connect(waiting[n++], (const struct sockaddr *)&address, sizeof(address)) == 0);
        ck_assert_int_eq(errno, EAGAIN);

        ck_assert_int_eq(pthread_create(&thread, NULL, connect_in_thread, &broker), 0);
        fake_start(); /* takes the first, which makes room */
        pthread_join(thread, &result);
        ck_assert_ptr_nonnull(result);
        region_broker_close(broker);
        while (n > 0)
                close(waiting[--n]);
}
END_TEST

/* --- losing it --------------------------------------------------------------------------------------------------- */

START_TEST(a_broker_that_goes_away_ends_the_session)
{
        struct region_broker *broker;

        fake_closes();
        broker = start();
        check_error(ping(broker), REGION_E_DISCONNECTED, "went away");
        check_absent(broker);
        region_broker_close(broker);
}
END_TEST

START_TEST(what_the_broker_said_at_the_door_is_heard)
{
        struct region_broker *broker;

        fake_says_and_closes("{'error':'org.regionbroker.QuotaExceeded','parameters':"
                             "{'limit':'sessions','used':3,'wanted':1,'maximum':3}}");
        broker = start();
        fake_finish(); /* so that sending fails for certain */
        check_error(ping(broker), REGION_E_QUOTA, "the broker's limit sessions is 3; 3 are in use");
        check_absent(broker);
        region_broker_close(broker);
}
END_TEST

START_TEST(a_silent_broker_times_out_and_ends_the_session)
{
        struct region_broker *broker;

        fake_is_silent();
        broker = start();
        region_broker_set_timeout(broker, 1000);
        check_error(ping(broker), REGION_E_TIMEOUT, "did not answer in time");
        check_absent(broker);
        region_broker_close(broker);
}
END_TEST

static const char *const garbage[] = { "[]", "no json", "{'parameters':3}", "", "{'continues':true}" };

START_TEST(what_is_no_reply_ends_the_session)
{
        struct region_broker *broker;

        fake_answers(garbage[_i]);
        broker = start();
        check_error(region_env_remove(broker, "shop", false, 0, NULL), REGION_E_PROTOCOL, "the connection is closed");
        check_absent(broker);
        region_broker_close(broker);
}
END_TEST

static void *ping_once(void *broker)
{
        return ping(broker) == REGION_OK ? broker : NULL;
}

START_TEST(a_child_is_refused_a_session_that_another_thread_was_using)
{
        struct region_broker *broker;
        pthread_t thread;
        void *result;
        int status;
        pid_t child;

        fake_answers_later("{}");
        broker = start();
        ck_assert_int_eq(pthread_create(&thread, NULL, ping_once, broker), 0);
        fake_wait_until_asked();
        child = fork();
        if (child == 0) {
                bool refused = ping(broker) == REGION_E_FORKED &&
                               region_env_open(broker, "shop", NULL, NULL) == REGION_E_FORKED;

                region_broker_close(broker);
                _exit(refused ? 0 : 1);
        }
        ck_assert_int_eq(waitpid(child, &status, 0), child);
        ck_assert_int_eq(status, 0);
        fake_answer_now();
        pthread_join(thread, &result);
        ck_assert_ptr_eq(result, broker);
        finish(broker);
        ck_assert_str_eq(fake_asked(0), "{'method':'" PING "'}");
        ck_assert_ptr_null(fake_asked(1));
}
END_TEST

/* --- threads ----------------------------------------------------------------------------------------------------- */

static void *call_often(void *broker)
{
        for (int i = 0; i < 50; i++)
                if (ping(broker) != REGION_OK)
                        return NULL;
        return broker;
}

START_TEST(threads_share_a_session)
{
        struct region_broker *broker = start();
        pthread_t threads[4];
        void *result;

        for (size_t i = 0; i < array_size(threads); i++)
                ck_assert_int_eq(pthread_create(&threads[i], NULL, call_often, broker), 0);
        for (size_t i = 0; i < array_size(threads); i++) {
                pthread_join(threads[i], &result);
                ck_assert_ptr_eq(result, broker);
        }
        region_broker_close(broker);
}
END_TEST

static void *fail_in_thread(void *unused)
{
        struct region_broker *broker;

        region_broker_connect("/nowhere/socket", &broker);
        return unused;
}

START_TEST(each_thread_has_its_own_error)
{
        pthread_t thread;

        ck_assert_int_eq(pthread_create(&thread, NULL, fail_in_thread, NULL), 0);
        pthread_join(thread, NULL);
        ck_assert_int_eq(region_last_error()->code, REGION_OK);
        ck_assert_str_eq(region_error_message(), "no call of this thread has failed");
}
END_TEST

START_TEST(words_are_those_of_the_contract)
{
        ck_assert_int_eq(region_backing_from_word("sysv"), REGION_BACKING_SYSV);
        ck_assert_int_eq(region_backing_from_word("paper"), 0);
        ck_assert_int_eq(region_lifetime_from_word("creator"), REGION_LIFETIME_CREATOR);
        ck_assert_str_eq(region_backing_word(REGION_BACKING_PRIVATE), "private");
        ck_assert_str_eq(region_access_word(REGION_READ), "read");
        ck_assert_str_eq(region_lifetime_word(REGION_LIFETIME_PERSISTENT), "persistent");
        ck_assert_str_eq(region_role_word(REGION_ROLE_RECOVERER), "recoverer");
        ck_assert_str_eq(region_standing_word(REGION_RESUMED), "resumed");
        ck_assert_str_eq(region_state_word(0), "?");
        ck_assert_str_eq(region_result_name(REGION_E_BUSY), "REGION_E_BUSY");
        ck_assert_str_eq(region_result_name(99), "?");
}
END_TEST

int main(void)
{
        Suite *suite = suite_create("libregion");
        TCase *finding = fake_case(suite, "finding");
        TCase *losing = fake_case(suite, "losing");
        TCase *sharing = fake_case(suite, "sharing");
        TCase *alone = check_case(suite, "alone");

        tcase_add_test(finding, an_absent_broker_is_named_with_its_socket);
        tcase_add_test(finding, a_socket_that_nobody_listens_at_is_an_absent_broker);
        tcase_add_test(finding, a_path_that_no_socket_can_have_is_invalid);
        tcase_add_test(finding, the_environment_variable_leads_to_the_broker);
        tcase_add_test(finding, the_environment_variable_must_be_an_absolute_path);
        tcase_add_test(finding, the_broker_of_the_user_comes_before_that_of_the_system);
        tcase_add_test(finding, without_a_broker_of_the_user_that_of_the_system_is_asked);
        tcase_add_test(finding, a_broker_with_a_full_backlog_is_waited_for);

        tcase_add_test(losing, a_broker_that_goes_away_ends_the_session);
        tcase_add_test(losing, what_the_broker_said_at_the_door_is_heard);
        tcase_add_test(losing, a_silent_broker_times_out_and_ends_the_session);
        tcase_add_loop_test(losing, what_is_no_reply_ends_the_session, 0, (int)array_size(garbage));
        tcase_add_test(losing, a_child_is_refused_a_session_that_another_thread_was_using);

        tcase_add_test(sharing, threads_share_a_session);

        tcase_add_test(alone, each_thread_has_its_own_error);
        tcase_add_test(alone, words_are_those_of_the_contract);

        return check_run(suite);
}
