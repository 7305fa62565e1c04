#pragma once

#include "daemon/broker.h"
#include "proto/arena.h"
#include "proto/errors.h"
#include "proto/fdset.h"
#include "proto/message.h"

struct session;

/* One call and its replies. */
struct exchange {
        struct session *session;
        struct broker *broker;
        struct call *call;
        const struct method *method;
        void *args; /* the struct of its parameters */
        struct arena arena;
        struct request request;
        bool streaming;  /* it has more to say when the peer has read some; else it is parked */
        uint64_t cursor; /* List: the last environment that was told */
};

/* What a method's function returns beside 0, a refusal and -errno: it has more to say when the peer has read some. */
enum { METHOD_CONTINUES = 1000 };

struct method {
        const char *name;
        int (*run)(struct exchange *exchange);
        bool takes_fd;                  /* calls may come with a descriptor */
        const struct method_type *type; /* filled in by dispatch_init() */
};

extern struct method methods[];
extern const size_t n_methods;

/* Joins the table of methods with that of the contract. */
void dispatch_init(void);

/* Begins to answer a call, taking it over. NULL when it is answered already; else it is to go on by dispatch_continue(). */
struct exchange *dispatch_begin(struct session *session, struct broker *broker, struct call *call);
/* Asks the method again. True when the call is answered now. */
bool dispatch_continue(struct exchange *exchange);
/* A call that is under way, for the broker after us. -ENOMEM. */
int dispatch_describe(const struct exchange *exchange, struct call_record *ret);
/* There it is under way again, from its next dispatch_continue() on. NULL when it is answered instead, or lost with its
 * session. */
struct exchange *dispatch_resume(struct session *session, struct broker *broker, const struct call_record *record);
/* Takes NULL. A parked call is parked no more. */
struct exchange *exchange_free(struct exchange *exchange);

/* One reply with a method's result and descriptors, which it takes over; `continues`: more will follow. */
int exchange_reply(struct exchange *exchange, const void *result, struct fdset *fds, bool continues);
int exchange_error(struct exchange *exchange, enum wire_error error, const struct error_fields *fields);

/* A refusal as the message that says so. */
int dispatch_write_refusal(struct text *text, const struct call *call, const struct refusal *refusal,
                           struct arena *arena);
