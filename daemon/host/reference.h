#pragma once

#include <stdint.h>
#include <sys/types.h>

struct environment;

/* The file `__db.001` that an environment leaves in its home where its memory is elsewhere: it tells who knows only the
 * directory which broker, environment, keys and ids belong to it. Nobody takes it as proof of anything: one of another boot, or
 * of a broker that has gone, is stale and is replaced. */
struct reference;

struct reference_broker {
        uint64_t instance;
        const char *socket; /* where it listens; NULL where that is not known */
};

/* Writes it into the directory, whole or not at all. -EEXIST: a broker that lives has its own there, *ret_holder is its
 * process; or what stands there is no reference (*ret_holder 0). Neither is touched. Else -errno. */
int reference_write(int directory, const char *directory_path, const struct environment *environment,
                    const struct reference_broker *broker, struct reference **ret, pid_t *ret_holder);
/* Removes the file if it still is the one that was written, and frees. Takes NULL. */
struct reference *reference_remove(struct reference *reference);
/* Leaves the file and frees. Takes NULL. */
struct reference *reference_forget(struct reference *reference);
/* Removes the one that a broker of this instance wrote for the environment of that id, in whichever process it was. */
void reference_clear(int directory, uint64_t instance, uint64_t environment);
