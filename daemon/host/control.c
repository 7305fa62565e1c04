/* One page of shared memory that members read and only we write. Its mode leaves reading to our own uid alone, so a
 * client cannot turn its descriptor into a writable one. */

#include "daemon/host/control.h"

#include "daemon/host/reopen.h"
#include "proto/util.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/futex.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>

static int make_memfd(struct control *control, const char **ret_operation)
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
        return 0;
}

/* In our own directory nobody else can make it shorter, and its space is ours before it is written to. */
static int make_file(struct control *control, const char *path, const char **ret_operation)
{
        *ret_operation = "open";
        control->fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0400);
        if (control->fd < 0)
                return errno;
        *ret_operation = "strdup";
        control->path = strdup(path);
        if (!control->path) {
                unlink(path);
                return ENOMEM;
        }
        *ret_operation = "posix_fallocate";
        return posix_fallocate(control->fd, 0, CONTROL_SIZE);
}

static int map(struct control *control, const char **ret_operation)
{
        *ret_operation = "mmap";
        control->page = mmap(NULL, CONTROL_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, control->fd, 0);
        if (control->page != MAP_FAILED)
                return 0;
        control->page = NULL;
        return errno;
}

static int fill(struct control *control, const char *path, const char **ret_operation)
{
        int error = path ? make_file(control, path, ret_operation) : make_memfd(control, ret_operation);

        if (error == 0)
                error = map(control, ret_operation);
        if (error != 0)
                return error;
        control->page->magic = CONTROL_MAGIC;
        control->page->version = CONTROL_VERSION;
        return 0;
}

struct control *control_new(const char *path, const char **ret_operation, int *ret_error)
{
        struct control *control = calloc(1, sizeof(*control));

        *ret_operation = "calloc";
        *ret_error = ENOMEM;
        if (!control)
                return NULL;
        control->fd = -1;
        *ret_error = fill(control, path, ret_operation);
        return *ret_error ? control_remove(control) : control;
}

/* Its mode keeps members from writing, and us as well unless we are root: it is lifted for a moment. */
static int open_writable(const char *path)
{
        owned(closep) int fd = open(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
        struct stat st;
        int writable;

        if (fd < 0 || fstat(fd, &st) < 0 || !S_ISREG(st.st_mode) || st.st_size < CONTROL_SIZE || fchmod(fd, 0600) < 0)
                return -1;
        writable = reopen(fd, O_RDWR);
        fchmod(fd, 0400);
        return writable;
}

struct control *control_find(const char *path)
{
        struct control *control = calloc(1, sizeof(*control));
        const char *operation;

        if (!control)
                return NULL;
        control->fd = open_writable(path);
        control->path = control->fd < 0 ? NULL : strdup(path);
        if (!control->path || map(control, &operation) != 0 || control->page->magic != CONTROL_MAGIC ||
            control->page->version != CONTROL_VERSION)
                return control_free(control);
        return control;
}

struct control *control_remove(struct control *control)
{
        if (control && control->path)
                unlink(control->path);
        return control_free(control);
}

struct control *control_free(struct control *control)
{
        if (!control)
                return NULL;
        if (control->page)
                munmap(control->page, CONTROL_SIZE);
        close_fd(control->fd);
        free(control->path);
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

        control_page_write(page, (struct control_shown){ generation, deaths, state, flags });
        syscall(SYS_futex, &page->change, FUTEX_WAKE, INT_MAX, NULL, NULL, 0);
}
