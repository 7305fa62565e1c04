#pragma once

/* The broker's socket without libregion and without reading what it says: bytes, up to the NUL, and descriptors. */

#include <stddef.h>

enum { WIRE_MAX = 256 * 1024, WIRE_FDS_MAX = 253 };

/* One reply. */
struct wire_reply {
        size_t n; /* bytes, with the NUL at the end */
        char text[WIRE_MAX];
        int fds[WIRE_FDS_MAX];
        size_t n_fds;
};

int wire_connect(const char *socket);
/* Sends a call, which ends with its NUL, and takes its reply. The descriptors are the caller's. */
void wire_ask(int peer, const char *call, size_t n, struct wire_reply *reply);
/* The same for a call as the format says, in which a ' stands for a ". Descriptors are closed; an error ends the program. */
__attribute__((format(printf, 3, 4))) void wire_call(int peer, struct wire_reply *reply, const char *format, ...);
/* A call written like that. */
__attribute__((format(printf, 3, 4))) size_t wire_write(char *call, size_t size, const char *format, ...);
/* The next reply. */
void wire_take(int peer, struct wire_reply *reply);
void wire_close_fds(struct wire_reply *reply);
/* A number that the reply has under that name. */
long long wire_number(const struct wire_reply *reply, const char *name);
