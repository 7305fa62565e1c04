/* Descriptors in the order they were pushed. A slot that was taken keeps its place, since messages name descriptors by
 * their index. */

#include "fdset.h"

#include "util.h"

#include <assert.h>
#include <errno.h>
#include <sys/param.h>

static int fdset_grow(struct fdset *set)
{
        size_t allocated = set->allocated > 0 ? MIN(2 * set->allocated, (size_t)FDSET_MAX) : 4;
        int *fds;

        if (set->n == FDSET_MAX)
                return -ENOBUFS;
        fds = reallocarray(set->fds, allocated, sizeof(*fds));
        if (!fds)
                return -ENOMEM;
        set->fds = fds;
        set->allocated = allocated;
        return 0;
}

int fdset_push(struct fdset *set, int fd)
{
        owned(closep) int pushed = fd;

        assert(fd >= 0);
        if (set->n == set->allocated) {
                int r = fdset_grow(set);
                if (r < 0)
                        return r;
        }
        set->fds[set->n] = take_fd(pushed);
        return (int)set->n++;
}

int fdset_take(struct fdset *set, size_t index)
{
        return index < set->n ? take_fd(set->fds[index]) : -1;
}

void fdset_move(struct fdset *to, struct fdset *from)
{
        assert(to->n == 0);
        fdset_clear(to);
        *to = *from;
        *from = (struct fdset){};
}

void fdset_clear(struct fdset *set)
{
        for (size_t i = 0; i < set->n; i++)
                close_fd(set->fds[i]);
        free(set->fds);
        *set = (struct fdset){};
}
