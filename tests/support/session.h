#pragma once

/* Sessions of the real library with the one broker of a test, and what its calls are to answer. */

#include "client/libregion.h"

#include "tests/support/broker.h"
#include "tests/support/check.h"

static inline void check(enum region_result result)
{
        ck_assert_msg(result == REGION_OK, "%s: %s", region_result_name(result), region_error_message());
}

static inline void check_error(enum region_result result, enum region_result code)
{
        ck_assert_msg(result == code, "%s and not %s: %s", region_result_name(result), region_result_name(code),
                      region_error_message());
}

static inline struct region_broker *connect_session(void)
{
        struct region_broker *session;

        check(region_broker_connect(broker.socket, &session));
        return session;
}

/* Opens it, and says ready where that is to be said. */
static inline struct region_env *open_ready(struct region_broker *session, const char *name,
                                            const struct region_env_options *options)
{
        struct region_env *env;

        check(region_env_open(session, name, options, &env));
        if (region_env_role(env) != REGION_ROLE_MEMBER)
                check(region_env_ready(env));
        return env;
}

/* Maps a region of it, at `wish` if that is not NULL and free. */
static inline char *map_region(struct region_env *env, const char *region, void *wish)
{
        void *address;

        check(region_map(region_env_find(env, region), wish, &address));
        return address;
}

/* How many sessions are in an environment. */
static inline unsigned count_members(struct region_broker *session, const char *name)
{
        struct region_description *description;
        unsigned n;

        check(region_describe(session, name, &description));
        n = description->env->attachments;
        region_description_free(description);
        return n;
}
