#pragma once

/* Sessions of the real library with the one broker of a test, and what its calls are to answer. A failure has the library's
 * own sentence. */

#include "client/libregion.h"

#include "tests/support/broker.h"
#include "tests/support/check.h"

/* Of what most environments here are made: one region. */
enum { DATA_SIZE = 16384 };

/* To create or join an environment with a region "data" of that backing. */
static inline struct region_env_options with_data(enum region_backing backing)
{
        static const struct region_spec data = { .name = "data", .size = DATA_SIZE };

        return (struct region_env_options){
                .create = REGION_CREATE_IF_ABSENT,
                .backing = backing,
                .regions = &data,
                .n_regions = 1,
        };
}

static inline void check(enum region_result result)
{
        ck_assert_msg(result == REGION_OK, "%s: %s", region_result_name(result), region_error_message());
}

static inline void check_error(enum region_result result, enum region_result code)
{
        ck_assert_msg(result == code, "%s and not %s: %s", region_result_name(result), region_result_name(code),
                      region_error_message());
}

/* The sentence has to have this part, too. */
static inline void check_told(enum region_result result, enum region_result code, const char *part)
{
        check_error(result, code);
        ck_assert_msg(strstr(region_error_message(), part) != NULL, "'%s' lacks '%s'", region_error_message(), part);
}

static inline struct region_broker *connect_session(void)
{
        struct region_broker *session;

        check(region_broker_connect(broker.socket, &session));
        return session;
}

/* Opens it, and says ready where that is to be said. */
static inline struct region_env *open_env(struct region_broker *session, const char *name,
                                          const struct region_env_options *options)
{
        struct region_env *env;

        check(region_env_open(session, name, options, &env));
        if (region_env_role(env) != REGION_ROLE_MEMBER)
                check(region_env_ready(env));
        return env;
}

/* Maps its region of that name, at `wish` if that is not NULL and free. */
static inline char *map_region_at(struct region_env *env, const char *name, void *wish)
{
        void *address;

        check(region_map(region_env_find(env, name), wish, &address));
        return address;
}

static inline char *map_region(struct region_env *env, const char *name)
{
        return map_region_at(env, name, NULL);
}

static inline void wait_for_state(struct region_env *env, enum region_state state)
{
        struct region_health health;

        for (region_env_health(env, &health); health.state != state; region_env_health(env, &health))
                check(region_env_wait_change(env, health.change, (int64_t)CHECK_WAIT_MSEC * 1000));
}

/* How many sessions are in it. */
static inline unsigned count_members(struct region_broker *session, const char *name)
{
        struct region_description *description;
        unsigned n;

        check(region_describe(session, name, &description));
        n = description->env->attachments;
        region_description_free(description);
        return n;
}

static inline void check_bytes(const char *bytes, size_t n, char wanted)
{
        for (size_t i = 0; i < n; i++)
                ck_assert_msg(bytes[i] == wanted, "byte %zu is %#x and not %#x", i, bytes[i], wanted);
}
