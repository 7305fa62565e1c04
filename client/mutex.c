/* A robust mutex of the C library and who has it. The kernel keeps the list of what a thread has locked and hands a
 * dead thread's locks to those who wait. The owner writes who it is after taking and wipes that before giving up: it
 * may be missing, but a dead owner is never taken for the one before it. */

#include "client/failure.h"

#include "proto/util.h"

#include <errno.h>
#include <pthread.h>
#include <stdint.h>
#include <string.h>
#include <time.h>

/* A command, in words that are read and written whole. */
struct name {
        uint64_t words[2];
};

/* What is in shared memory, so part of the ABI. */
struct content {
        uint64_t magic;
        pthread_mutex_t mutex;
        uint64_t recovered;
        int32_t owner; /* pid, or 0 */
        int32_t unused;
        struct name command; /* of the owner, or of the one before */
};

_Static_assert(sizeof(struct content) <= sizeof(struct region_mutex), "it fits");
_Static_assert(_Alignof(struct content) <= _Alignof(struct region_mutex), "likewise");
_Static_assert(sizeof(pid_t) == sizeof(int32_t), "likewise");

/* "RBMUTX", the size that tells a 32-bit program from a 64-bit one, and the version. */
#define MAGIC (UINT64_C(0x52424d5554580000) | sizeof(pthread_mutex_t) << 8 | 1)

/* --- who we are -------------------------------------------------------------------------------------------------- */

/* Kept, for asking the kernel costs as much as ten locks. */
static struct {
        int32_t pid;
        struct name command;
} self;

static void learn_self(void)
{
        self.pid = getpid();
        memcpy(&self.command, program_invocation_short_name,
               strnlen(program_invocation_short_name, sizeof(self.command) - 1));
}

__attribute__((constructor)) static void begin(void)
{
        learn_self();
        pthread_atfork(NULL, NULL, learn_self);
}

/* --- inside ------------------------------------------------------------------------------------------------------ */

static struct content *content_of(struct region_mutex *mutex)
{
        return (struct content *)(void *)mutex;
}

static inline bool is_mutex(const struct region_mutex *mutex)
{
        const struct content *content = (const struct content *)(const void *)mutex;

        return mutex && __atomic_load_n(&content->magic, __ATOMIC_RELAXED) == MAGIC;
}

static enum region_result note_no_mutex(void)
{
        return failure_note(REGION_E_INVALID,
                            "there is no mutex, or one of another version of the library; initialise it first");
}

static inline void set_owner(struct content *content)
{
        for (size_t i = 0; i < array_size(self.command.words); i++)
                __atomic_store_n(&content->command.words[i], self.command.words[i], __ATOMIC_RELAXED);
        __atomic_store_n(&content->owner, self.pid, __ATOMIC_RELEASE);
}

static inline void wipe_owner(struct content *content)
{
        __atomic_store_n(&content->owner, 0, __ATOMIC_RELAXED);
}

/* What changes hands meanwhile is nobody's. */
static void look(const struct content *content, struct region_mutex_info *ret)
{
        int32_t owner = __atomic_load_n(&content->owner, __ATOMIC_ACQUIRE);
        struct name name;

        *ret = (struct region_mutex_info){ .recovered = __atomic_load_n(&content->recovered, __ATOMIC_RELAXED) };
        for (size_t i = 0; i < array_size(name.words); i++)
                name.words[i] = __atomic_load_n(&content->command.words[i], __ATOMIC_ACQUIRE);
        if (owner == 0 || __atomic_load_n(&content->owner, __ATOMIC_RELAXED) != owner)
                return;
        ret->pid = owner;
        memcpy(ret->command, &name, sizeof(ret->command) - 1);
}

/* What pthread's answer means. `owner`: who had it before the answer. */
__attribute__((noinline)) static enum region_result note_answer(int answer, const struct region_mutex_info *owner)
{
        const char *command = owner->pid ? owner->command : NULL;
        const char *name = command ? command : "a process";

        switch (answer) {
        case EOWNERDEAD:
                failure_note(REGION_E_OWNER_DIED,
                             "%s (pid %d) or a thread of it died with this mutex; repair what it protects and make it"
                             " consistent",
                             name, (int)owner->pid);
                break;
        case ENOTRECOVERABLE:
                return failure_note(REGION_E_NOT_RECOVERABLE,
                                    "what this mutex protects was given up after a process died with it; initialise"
                                    " both anew");
        case EBUSY:
                failure_note(REGION_E_BUSY, "%s (pid %d) has this mutex", name, (int)owner->pid);
                break;
        case ETIMEDOUT:
                failure_note(REGION_E_TIMEOUT, "%s (pid %d) had this mutex for all that time", name, (int)owner->pid);
                break;
        case EDEADLK:
                return failure_note(REGION_E_INVALID, "this thread has this mutex already");
        case EPERM:
                return failure_note(REGION_E_INVALID, "this thread does not have this mutex");
        default:
                return failure_note_system(REGION_E_RESOURCE, "pthread_mutex", answer, "the mutex failed (%s)",
                                           errno_text(answer));
        }
        failure_add_facts(owner->pid, command, NULL, answer);
        return region_last_error()->code;
}

/* Afterwards it is ours: also what is to be made consistent. */
static inline enum region_result took(struct content *content, int answer)
{
        struct region_mutex_info owner;

        if (__builtin_expect(answer == 0, 1)) {
                set_owner(content);
                return REGION_OK;
        }
        look(content, &owner);
        if (answer == EOWNERDEAD)
                set_owner(content);
        return note_answer(answer, &owner);
}

/* --- the calls --------------------------------------------------------------------------------------------------- */

static int make(pthread_mutex_t *mutex)
{
        pthread_mutexattr_t attributes;
        int r;

        r = pthread_mutexattr_init(&attributes);
        if (r != 0)
                return r;
        pthread_mutexattr_setpshared(&attributes, PTHREAD_PROCESS_SHARED);
        pthread_mutexattr_setrobust(&attributes, PTHREAD_MUTEX_ROBUST);
        pthread_mutexattr_settype(&attributes, PTHREAD_MUTEX_ERRORCHECK);
        r = pthread_mutex_init(mutex, &attributes);
        pthread_mutexattr_destroy(&attributes);
        return r;
}

enum region_result region_mutex_init(struct region_mutex *mutex)
{
        struct content *content = content_of(mutex);
        int r;

        if (!mutex || (uintptr_t)mutex % _Alignof(struct region_mutex) != 0)
                return failure_note(REGION_E_INVALID, "a mutex begins at a multiple of %zu bytes",
                                    _Alignof(struct region_mutex));
        memset(mutex, 0, sizeof(*mutex));
        r = make(&content->mutex);
        if (r != 0)
                return note_answer(r, &(struct region_mutex_info){});
        __atomic_store_n(&content->magic, MAGIC, __ATOMIC_RELEASE);
        return REGION_OK;
}

enum region_result region_mutex_lock(struct region_mutex *mutex)
{
        struct content *content = content_of(mutex);

        if (!is_mutex(mutex))
                return note_no_mutex();
        return took(content, pthread_mutex_lock(&content->mutex));
}

enum region_result region_mutex_trylock(struct region_mutex *mutex)
{
        struct content *content = content_of(mutex);

        if (!is_mutex(mutex))
                return note_no_mutex();
        return took(content, pthread_mutex_trylock(&content->mutex));
}

enum region_result region_mutex_timedlock(struct region_mutex *mutex, int64_t timeout_usec)
{
        struct content *content = content_of(mutex);
        struct timespec until;

        if (timeout_usec < 0)
                return failure_note(REGION_E_INVALID, "timeout_usec is less than 0");
        if (!is_mutex(mutex))
                return note_no_mutex();
        clock_gettime(CLOCK_MONOTONIC, &until);
        until.tv_sec += timeout_usec / 1000000;
        until.tv_nsec += timeout_usec % 1000000 * 1000;
        if (until.tv_nsec >= 1000000000) {
                until.tv_nsec -= 1000000000;
                until.tv_sec++;
        }
        return took(content, pthread_mutex_clocklock(&content->mutex, CLOCK_MONOTONIC, &until));
}

enum region_result region_mutex_unlock(struct region_mutex *mutex)
{
        struct content *content = content_of(mutex);
        int32_t nobody = 0;
        int r;

        if (!is_mutex(mutex))
                return note_no_mutex();
        if (__atomic_load_n(&content->owner, __ATOMIC_RELAXED) != self.pid)
                return note_answer(EPERM, &(struct region_mutex_info){});
        wipe_owner(content);
        r = pthread_mutex_unlock(&content->mutex);
        if (__builtin_expect(r == 0, 1))
                return REGION_OK;
        /* another thread of this process has it */
        __atomic_compare_exchange_n(&content->owner, &nobody, self.pid, false, __ATOMIC_RELAXED, __ATOMIC_RELAXED);
        return note_answer(r, &(struct region_mutex_info){});
}

enum region_result region_mutex_consistent(struct region_mutex *mutex)
{
        struct content *content = content_of(mutex);

        if (!is_mutex(mutex))
                return note_no_mutex();
        if (__atomic_load_n(&content->owner, __ATOMIC_RELAXED) != self.pid ||
            pthread_mutex_consistent(&content->mutex) != 0)
                return failure_note(REGION_E_INVALID, "this thread has no mutex whose owner died");
        __atomic_fetch_add(&content->recovered, 1, __ATOMIC_RELAXED);
        return REGION_OK;
}

enum region_result region_mutex_destroy(struct region_mutex *mutex)
{
        struct content *content = content_of(mutex);
        struct region_mutex_info owner;
        int r;

        if (!is_mutex(mutex))
                return note_no_mutex();
        look(content, &owner);
        r = pthread_mutex_trylock(&content->mutex);
        if (r == EBUSY)
                return note_answer(r, &owner);
        __atomic_store_n(&content->magic, 0, __ATOMIC_RELAXED);
        if (r == 0 || r == EOWNERDEAD)
                pthread_mutex_unlock(&content->mutex);
        pthread_mutex_destroy(&content->mutex);
        return REGION_OK;
}

enum region_result region_mutex_look(const struct region_mutex *mutex, struct region_mutex_info *ret)
{
        if (!is_mutex(mutex))
                return note_no_mutex();
        look((const struct content *)(const void *)mutex, ret);
        return REGION_OK;
}
