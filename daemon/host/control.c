/* One page of shared memory that members read and only we write. Its mode leaves reading to our own uid alone, so a
 * client cannot turn its descriptor into a writable one. */

#include "daemon/host/control.h"

#include "daemon/host/reopen.h"
#include "proto/util.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/futex.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>

static int fill(struct control *control, const char **ret_operation)
{
        *ret_operation = "memfd_create";
        control->fd = memfd_create("control", MFD_CLOEXEC | MFD_ALLOW_SEALING);
        if (control->fd < 0)
                return errno;
        *ret_operation = "ftruncate";
        if (ftruncate(control->fd, CONTROL_SIZE) < 0)
                return errno;
        *ret_operation = "fcntl F_ADD_SEALS";
        if (fcntl(control->fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) < 0 ||
            fchmod(control->fd, 0400) < 0)
                return errno;
        *ret_operation = "mmap";
        control->page = mmap(NULL, CONTROL_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, control->fd, 0);
        if (control->page == MAP_FAILED) {
                control->page = NULL;
                return errno;
        }
        control->page->magic = CONTROL_MAGIC;
        control->page->version = CONTROL_VERSION;
        return 0;
}

struct control *control_new(const char **ret_operation, int *ret_error)
{
        struct control *control = calloc(1, sizeof(*control));

        *ret_operation = "calloc";
        *ret_error = ENOMEM;
        if (!control)
                return NULL;
        control->fd = -1;
        *ret_error = fill(control, ret_operation);
        return *ret_error ? control_free(control) : control;
}

struct control *control_free(struct control *control)
{
        if (!control)
                return NULL;
        if (control->page)
                munmap(control->page, CONTROL_SIZE);
        close_fd(control->fd);
        free(control);
        return NULL;
}

int control_open(const struct control *control)
{
        return reopen(control->fd, O_RDONLY);
}

void control_show(struct control *control, uint32_t state, uint64_t generation, uint64_t deaths, uint32_t flags)
{
        struct control_page *page = control->page;
        uint32_t next = page->change + 1;

        __atomic_store_n(&page->begun, next, __ATOMIC_RELAXED);
        __atomic_store_n(&page->generation, generation, __ATOMIC_RELEASE); /* who sees one of these sees `begun` */
        __atomic_store_n(&page->deaths, deaths, __ATOMIC_RELEASE);
        __atomic_store_n(&page->flags, flags, __ATOMIC_RELEASE);
        __atomic_store_n(&page->state, state, __ATOMIC_RELEASE);
        __atomic_store_n(&page->change, next, __ATOMIC_RELEASE); /* last: who sees it sees the rest */
        syscall(SYS_futex, &page->change, FUTEX_WAKE, INT_MAX, NULL, NULL, 0);
}
