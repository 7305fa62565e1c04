#pragma once

/* A session with the fake broker, and what its tests expect of a call. */

#include "client/libregion.h"
#include "proto/util.h"
#include "tests/support/check.h"
#include "tests/unit/fake-broker.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>

static inline struct region_broker *session(void)
{
        struct region_broker *broker = NULL;

        ck_assert_msg(region_broker_connect(fake_socket, &broker) == REGION_OK, "%s", region_error_message());
        return broker;
}

/* Starts the fake and connects to it. */
static inline struct region_broker *start(void)
{
        fake_start();
        return session();
}

/* Afterwards all that was asked is known. */
static inline void finish(struct region_broker *broker)
{
        region_broker_close(broker);
        fake_finish();
}

static inline void check(enum region_result result)
{
        ck_assert_msg(result == REGION_OK, "%s: %s", region_result_name(result), region_error_message());
}

static inline void check_error(enum region_result result, enum region_result code, const char *part)
{
        const char *message = region_error_message();

        ck_assert_msg(result == code, "%s and not %s: %s", region_result_name(result), region_result_name(code),
                      message);
        ck_assert_int_eq(region_last_error()->code, code);
        if (!strstr(message, part))
                ck_abort_msg("'%s' lacks '%s'", message, part);
}

/* A call that the fake does not mind. */
#define PING "org.example.Ping"

static inline enum region_result ping(struct region_broker *broker)
{
        return region_broker_call(broker, PING, NULL, false, NULL, NULL);
}

/* Nobody listens any more, and it is not waited for long. */
static inline void check_absent(struct region_broker *broker)
{
        fake_finish();
        region_broker_set_timeout(broker, 1000);
        check_error(ping(broker), REGION_E_ABSENT, "no broker answers");
}

static inline struct region_env *open_shop(struct region_broker *broker, const struct region_env_options *options)
{
        struct region_env *env = NULL;

        check(region_env_open(broker, "shop", options, &env));
        return env;
}

static inline void *map(struct region *region, void *hint)
{
        void *address = NULL;

        check(region_map(region, hint, &address));
        ck_assert_ptr_eq(region_address(region), address);
        return address;
}

/* Another description of the same memory, for the test to keep or for a grant that is for reading. */
static inline int reopen(int fd, int flags)
{
        char path[64];

        snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
        fd = open(path, flags | O_CLOEXEC);
        ck_assert_int_ge(fd, 0);
        return fd;
}

static inline TCase *fake_case(Suite *suite, const char *name)
{
        TCase *tcase = check_case(suite, name);

        tcase_add_checked_fixture(tcase, fake_setup, fake_teardown);
        return tcase;
}
