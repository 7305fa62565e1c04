/* Looking at an environment without a call. The broker says in `begun` that it starts to write and in `change` that it is
 * done. It writes what it shows to two places in turn, so that the last change stands whole in one of them while the next is
 * written, and a reader neither waits for a broker that was held up or killed in the midst of that, nor reads the half of it.
 * Only one that is itself held up during two changes has to read again. */

#include "client/health.h"

#include "client/connection.h"
#include "client/environment.h"
#include "client/failure.h"

#include "proto/util.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <stddef.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

/* Each in vain means two changes; and a page that no broker writes is not to hold up anybody either. */
enum { TRIES = 1000 };

_Static_assert(sizeof(struct control_page) <= CONTROL_SIZE, "it fits into its page");

/* --- the page ---------------------------------------------------------------------------------------------------- */

static const char *descriptor_fault(int fd)
{
        struct stat status;
        int flags;

        if (fd < 0)
                return "it was not sent";
        flags = fcntl(fd, F_GETFL);
        if (flags < 0 || fstat(fd, &status) < 0 || !S_ISREG(status.st_mode) || (flags & O_ACCMODE) == O_WRONLY)
                return "it is no memory to be read";
        return status.st_size < CONTROL_SIZE ? "it is too short" : NULL;
}

static enum region_result note_unfit(const char *name, const char *fault)
{
        return failure_note(REGION_E_PROTOCOL,
                            "the control page that the broker gave for environment '%s' is unfit: %s", name, fault);
}

enum region_result health_map(const char *name, int64_t index, struct fdset *fds, const struct control_page **ret)
{
        owned(closep) int fd = -1;
        struct control_page *page;
        const char *fault;

        if (index >= 0 && (uint64_t)index < fds->n)
                fd = fdset_take(fds, (size_t)index);
        fault = descriptor_fault(fd);
        if (fault)
                return note_unfit(name, fault);
        page = mmap(NULL, CONTROL_SIZE, PROT_READ, MAP_SHARED, fd, 0);
        if (page == MAP_FAILED)
                return failure_note_system(REGION_E_RESOURCE, "mmap", errno,
                                           "the control page of environment '%s' cannot be mapped (%s)", name,
                                           errno_text(errno));
        if (page->magic != CONTROL_MAGIC || page->version != CONTROL_VERSION) {
                health_unmap(page);
                return note_unfit(name, "this library does not know its layout");
        }
        *ret = page;
        return REGION_OK;
}

enum region_result health_replace(const char *name, const struct control_page *page, const struct control_page *fresh)
{
        void *place = (void *)(uintptr_t)page, *from = (void *)(uintptr_t)fresh;

        /* of a size of 0 it is not moved but mapped once more; who reads meanwhile finds the one or the other */
        if (mremap(from, 0, CONTROL_SIZE, MREMAP_MAYMOVE | MREMAP_FIXED, place) != MAP_FAILED)
                return REGION_OK;
        return failure_note_system(REGION_E_RESOURCE, "mremap", errno,
                                   "the control page of environment '%s' cannot be mapped (%s)", name,
                                   errno_text(errno));
}

void health_unmap(const struct control_page *page)
{
        if (page)
                munmap((void *)(uintptr_t)page, CONTROL_SIZE);
}

/* --- looking ----------------------------------------------------------------------------------------------------- */

enum region_state region_env_state(const struct region_env *env)
{
        return (enum region_state)__atomic_load_n(&env->control->state, __ATOMIC_ACQUIRE);
}

/* False when the broker has come back to the place that was read. */
static bool read_once(const struct control_page *page, struct region_health *health)
{
        const struct control_shown *shown;

        health->change = __atomic_load_n(&page->change, __ATOMIC_ACQUIRE);
        shown = &page->shown[health->change % 2];
        /* each an acquire, so that `begun` is read after them */
        health->state = (enum region_state)__atomic_load_n(&shown->state, __ATOMIC_ACQUIRE);
        health->generation = __atomic_load_n(&shown->generation, __ATOMIC_ACQUIRE);
        health->deaths = __atomic_load_n(&shown->deaths, __ATOMIC_ACQUIRE);
        health->draining = __atomic_load_n(&shown->flags, __ATOMIC_ACQUIRE) & CONTROL_DRAINING;
        return __atomic_load_n(&page->begun, __ATOMIC_RELAXED) - health->change <= 1;
}

void region_env_health(const struct region_env *env, struct region_health *ret)
{
        *ret = (struct region_health){};
        for (int i = 0; i < TRIES && !read_once(env->control, ret); i++)
                ;
}

/* --- waiting ----------------------------------------------------------------------------------------------------- */

/* Sleeps while the word is `value`, until the deadline at most: 0 or -errno. */
static int futex_wait(const uint32_t *word, uint32_t value, int64_t deadline)
{
        struct timespec until = { deadline / 1000000, deadline % 1000000 * 1000 };

        if (syscall(SYS_futex, word, FUTEX_WAIT_BITSET, value, deadline == DEADLINE_NEVER ? NULL : &until, NULL,
                    FUTEX_BITSET_MATCH_ANY) == 0)
                return 0;
        return -errno;
}

enum region_result region_env_wait_change(struct region_env *env, uint32_t change, int64_t timeout_usec)
{
        const uint32_t *word = &env->control->change;
        int64_t deadline;
        int r = 0;

        if (timeout_usec < 0 && timeout_usec != REGION_NO_WAIT)
                return failure_note(REGION_E_INVALID, "timeout_usec is neither a time, nor 0, nor REGION_NO_WAIT");
        deadline = timeout_usec == 0 ? DEADLINE_NEVER : deadline_in(timeout_usec == REGION_NO_WAIT ? 0 : timeout_usec);
        while (__atomic_load_n(word, __ATOMIC_ACQUIRE) == change) {
                if (timeout_usec == REGION_NO_WAIT || r == -ETIMEDOUT)
                        return failure_note(REGION_E_TIMEOUT, "environment '%s' has not changed in that time",
                                            env->info->name);
                r = futex_wait(word, change, deadline);
                if (r < 0 && r != -EINTR && r != -EAGAIN && r != -ETIMEDOUT)
                        return failure_note_system(REGION_E_RESOURCE, "futex", -r,
                                                   "environment '%s' cannot be waited for (%s)", env->info->name,
                                                   errno_text(-r));
        }
        return REGION_OK;
}
