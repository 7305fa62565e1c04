#pragma once

/* A peer of the broker that shares no code with proto/: the other side of the contract, written from the contract alone.
 * It sends what it is told, right or wrong, and reads one reply at a time. A wait that ends in nothing fails the test.
 *
 * In formats of JSON a ' stands for a ", so that they can be read. */

#include "proto/fdset.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define BROKER "org.regionbroker."
#define SERVICE "org.varlink.service."

/* One reply. Zero-initialised it is empty; each function that fills it clears it first. */
struct varlink_reply {
        char *text;  /* as it came */
        char *error; /* NULL: success */
        bool continues;
        struct varlink_member *members; /* its parameters, flat */
        size_t n_members;
        struct fdset fds;
};

void varlink_clear(struct varlink_reply *reply);

int varlink_connect(const char *socket);

/* All of the bytes, `fds` with the first of them; false when the other side has closed. */
bool varlink_send(int peer, const void *bytes, size_t n, const int *fds, size_t n_fds);
/* One message as the format says. */
__attribute__((format(printf, 2, 3))) bool varlink_say(int peer, const char *format, ...);
/* One call; a method without a dot is one of the broker's. `format`: its parameters, or NULL. */
__attribute__((format(printf, 3, 4))) bool varlink_call(int peer, const char *method, const char *format, ...);
/* The next reply; false when the other side has closed instead. */
bool varlink_receive(int peer, struct varlink_reply *reply);
/* The call and its reply. */
__attribute__((format(printf, 4, 5))) void varlink_ask(int peer, struct varlink_reply *reply, const char *method,
                                                       const char *format, ...);

/* A parameter of the reply by its path, as in "environment.regions.0.name": strings without their quotes, all else as it
 * was written. Of an array or object it is the number of its elements. NULL where there is none, and where it is null. */
__attribute__((format(printf, 2, 3))) const char *varlink_value(const struct varlink_reply *reply, const char *path,
                                                                ...);
/* The same for a number, or a number of elements, that has to be there. */
__attribute__((format(printf, 2, 3))) int64_t varlink_number(const struct varlink_reply *reply, const char *path, ...);
/* The reply is this error (without a dot: one of the broker's), or a success where `error` is NULL. */
bool varlink_is(const struct varlink_reply *reply, const char *error);
bool varlink_has(const struct varlink_reply *reply, const char *path, const char *value);

#define ck_assert_reply(reply, wanted) ck_assert_msg(varlink_is(reply, wanted), "not %s: %s", #wanted, (reply)->text)
#define ck_assert_value(reply, path, wanted) \
        ck_assert_msg(varlink_has(reply, path, wanted), "%s is not %s: %s", path, #wanted, (reply)->text)
