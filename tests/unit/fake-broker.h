#pragma once

/* A broker that says what the test prepared, right or wrong, and remembers what it was asked. It serves one connection
 * at a socket in a fresh directory, in a thread of its own. What is asked beyond the prepared is answered by `{}`. */

#include "proto/terms.h"

#include <stdbool.h>
#include <stddef.h>

extern char fake_socket[];

/* Checked fixtures. */
void fake_setup(void);
void fake_teardown(void);

/* Before fake_start(): prepares the next answer, JSON with ' for ". The descriptors become the fake's. */
void fake_answers(const char *reply);
void fake_answers_fd(const char *reply, int fd);
void fake_answers_fds(const char *reply, const int *fds, size_t n);
/* …a further one to the same call. */
void fake_adds(const char *reply);
/* …said before it is asked, and then the connection is closed. */
void fake_says_and_closes(const char *reply);
/* …takes the call and closes. */
void fake_closes(void);
/* …closes without having heard anything. */
void fake_hangs_up(void);
/* …takes the call and says nothing until the client closes. */
void fake_is_silent(void);

/* …answers only when the test says so; the test can wait until it was asked. */
void fake_answers_later(const char *reply);
void fake_wait_until_asked(void);
void fake_answer_now(void);

/* Before fake_start(): so many connections come, one after the other; else it is one. */
void fake_expects(unsigned connections);
/* Starts to serve. */
void fake_start(void);
/* Waits for the client to close, after which all it asked is known. */
void fake_finish(void);
/* After fake_finish(): the index-th call, as it was sent but with ' for "; NULL where there was none. */
const char *fake_asked(size_t index);

/* Memory as the broker makes it: a memfd with its seals. */
int fake_memory(size_t size);
/* A control page, sealed as the broker seals it. */
int fake_control(enum state state);

#define REGION_IN(id, name, number, size, backing, more)                                                         \
        "{'id':'" id "','name':'" name "','number':" number ",'type':'user','size':" size ",'backing':'" backing \
        "','attachments':1" more "}"
#define REGION(name, number, size, backing, more) REGION_IN("r-" number, name, number, size, backing, more)
#define GRANT(region, access, fd) "{'region':" region ",'access':'" access "','regionFileDescriptor':" fd "}"
#define ENVIRONMENT(name, backing, more, regions)                                                                     \
        "{'id':'e-1','name':'" name "','generation':1,'state':'ready','uid':0,'gid':0,'mode':384,'backing':'" backing \
        "','lifetime':'attached','recovery':false,'createdUSec':5,'creatorPid':77,'creatorCommand':'maker',"          \
        "'attachments':1,'bytes':4096,'regions':[" regions "]" more "}"
/* CONTROL in an answer becomes the index of a control page that the fake sends along. */
#define OPENED(environment, role, grants)                            \
        "{'parameters':{'environment':" environment ",'role':'" role \
        "','controlFileDescriptor':CONTROL,'grants':[" grants "],'differences':[]}}"

/* The environment "shop" with one region "stock", as its member, its initializer, … gets it. */
#define STOCK_SIZE 8192
#define STOCK REGION("stock", "1", "8192", "memfd", "")
#define SHOP(role) SHOP_MORE(role, "")
#define SHOP_MORE(role, more) OPENED(ENVIRONMENT("shop", "memfd", more, STOCK), role, GRANT(STOCK, "write", "0"))
#define DETACH_SHOP "{'method':'org.regionbroker.Detach','parameters':{'environment':'shop','id':'e-1'}}"
