/* A bag is a socket with messages in its queue, each a name and a descriptor; the socket is in the manager's store, and what
 * waits in its queue lives with it. For two reasons not every descriptor has an entry there of its own. systemd compares each
 * that it is given with all that it has, so that thousands would keep the first process of the machine busy. And all names
 * of the store have to fit into one variable when the service is started again.
 *
 * Nothing can be taken out of a queue's midst. A bag goes when the last that counts in it was dropped, and when few are left
 * these go into another first. Bags of the broker before us are only peeked into, and stay as they are where enough is left
 * in them: kept twice, all of it could be more than the kernel lets one user have in queues. What is for the broker after us
 * alone has bags of its own: it is to be in no queue any more when that has begun. */

#include "daemon/host/bag.h"

#include "daemon/host/notify.h"
#include "proto/util.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <sys/socket.h>

enum {
        BAG_MAX = 128,         /* of one; their messages fit into a socket's buffer, also where that is small */
        BAG_FEW = BAG_MAX / 4, /* so few are moved, that the bag may go */
};

struct bag {
        char name[NOTIFY_NAME_MAX + 1];
        int fd;    /* where to put in; -1: it is full */
        int queue; /* one that was passed, while it is peeked into; else -1 */
        unsigned n_put;
        unsigned n_kept;
        LIST_HEAD(, kept) kept;
        LIST_ENTRY(bag) link;
};

struct kept {
        struct bag *bag;
        char name[BAG_NAME_MAX + 1];
        int fd; /* borrowed */
        LIST_ENTRY(kept) in_bag;
};

/* Where in a bag of the one before us a name is. Descriptors are made of those alone that are asked for: many may be of
 * memory that is gone. */
struct found {
        char name[BAG_NAME_MAX + 1];
        struct bag *bag;
        int offset; /* of its message */
};

/* --- one message ------------------------------------------------------------------------------------------------- */

union control {
        struct cmsghdr header;
        char bytes[CMSG_SPACE(sizeof(int))];
};

static int put(int bag, const char *name, int fd)
{
        union control control = {};
        struct iovec text = { (void *)(uintptr_t)name, strlen(name) };
        struct msghdr message = {
                .msg_iov = &text,
                .msg_iovlen = 1,
                .msg_control = &control,
                .msg_controllen = sizeof(control),
        };

        control.header.cmsg_level = SOL_SOCKET;
        control.header.cmsg_type = SCM_RIGHTS;
        control.header.cmsg_len = CMSG_LEN(sizeof(int));
        memcpy(CMSG_DATA(&control.header), &fd, sizeof(fd));
        return sendmsg(bag, &message, MSG_DONTWAIT | MSG_NOSIGNAL) < 0 ? -errno : 0;
}

/* The message at the offset, which stays in the queue: how long its name is, or 0 where there is none. A descriptor is made
 * only where one is wanted (NULL: not); -1 where that failed. */
static int peek(const struct found *found, char name[BAG_NAME_MAX + 1], int *ret_fd)
{
        union control control = {};
        struct iovec text = { name, BAG_NAME_MAX };
        struct msghdr message = {
                .msg_iov = &text,
                .msg_iovlen = 1,
                .msg_control = ret_fd ? &control : NULL,
                .msg_controllen = ret_fd ? sizeof(control) : 0,
        };
        ssize_t n;

        if (setsockopt(found->bag->queue, SOL_SOCKET, SO_PEEK_OFF, &found->offset, sizeof(found->offset)) < 0)
                return -errno;
        n = recvmsg(found->bag->queue, &message, MSG_PEEK | MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
        name[n > 0 ? n : 0] = '\0';
        if (!ret_fd)
                return n > 0 ? (int)n : 0;
        *ret_fd = -1;
        if (n > 0 && message.msg_controllen > 0 && control.header.cmsg_type == SCM_RIGHTS)
                memcpy(ret_fd, CMSG_DATA(&control.header), sizeof(int));
        return n > 0 ? (int)n : 0;
}

/* --- one bag ----------------------------------------------------------------------------------------------------- */

static struct bag *new_bag(struct bags *bags)
{
        struct bag *bag = calloc(1, sizeof(*bag));

        if (!bag)
                return NULL;
        bag->fd = bag->queue = -1;
        LIST_INIT(&bag->kept);
        LIST_INSERT_HEAD(&bags->bags, bag, link);
        return bag;
}

static void forget_open(struct bags *bags, const struct bag *bag)
{
        if (bags->open == bag)
                bags->open = NULL;
        if (bags->open_for_next == bag)
                bags->open_for_next = NULL;
}

/* Its queue may be gone with the manager's entry, or stay there with those in it. */
static void free_bag(struct bags *bags, struct bag *bag)
{
        struct kept *kept;

        while ((kept = LIST_FIRST(&bag->kept))) {
                LIST_REMOVE(kept, in_bag);
                free(kept);
        }
        forget_open(bags, bag);
        LIST_REMOVE(bag, link);
        close_fd(bag->fd);
        close_fd(bag->queue);
        free(bag);
}

/* --- what was passed --------------------------------------------------------------------------------------------- */

static int add_found(struct bags *bags, const struct found *found)
{
        struct found *grown = bags->found;

        if ((bags->n_found & (bags->n_found - 1)) == 0) /* full at each power of two */
                grown = reallocarray(grown, bags->n_found ? bags->n_found * 2 : 1, sizeof(*grown));
        if (!grown)
                return -ENOMEM;
        bags->found = grown;
        bags->found[bags->n_found++] = *found;
        return 0;
}

static int look_into(struct bags *bags, struct bag *bag)
{
        struct found found = { .bag = bag };
        int n, r = 0;

        while (r == 0 && (n = peek(&found, found.name, NULL)) > 0) {
                r = add_found(bags, &found);
                found.offset += n;
        }
        return r < 0 ? r : n;
}

static int add_passed(struct bags *bags, struct passed *passed)
{
        struct bag *bag = new_bag(bags);

        if (!bag)
                return -ENOMEM;
        snprintf(bag->name, sizeof(bag->name), "%s", passed->name);
        bag->queue = take_fd(passed->fd);
        return look_into(bags, bag);
}

static int compare(const void *a, const void *b)
{
        const struct found *one = a, *other = b;

        return strcmp(one->name, other->name);
}

int bags_init(struct bags *bags, struct notify *notify)
{
        int r = 0;

        *bags = (struct bags){ .notify = notify };
        LIST_INIT(&bags->bags);
        /* of names that are in the store already */
        if (getrandom(&bags->last, sizeof(bags->last), 0) != sizeof(bags->last))
                return -errno;
        for (size_t i = 0; i < notify->n_passed && r == 0; i++)
                if (notify->passed[i].kind == PASSED_BAG)
                        r = add_passed(bags, &notify->passed[i]);
        if (bags->n_found > 0)
                qsort(bags->found, bags->n_found, sizeof(*bags->found), compare);
        return r;
}

static void add_kept(struct bag *bag, struct kept *kept)
{
        bag->n_kept++;
        kept->bag = bag;
        LIST_INSERT_HEAD(&bag->kept, kept, in_bag);
}

static struct kept *new_kept(const char *name, int fd)
{
        struct kept *kept = calloc(1, sizeof(*kept));

        if (!kept)
                return NULL;
        snprintf(kept->name, sizeof(kept->name), "%s", name);
        kept->fd = fd;
        return kept;
}

int bags_take(struct bags *bags, const char *name, struct kept **ret)
{
        struct kept *kept = new_kept(name, -1);
        struct found *found = NULL, key;

        if (!kept)
                return -1;
        memcpy(key.name, kept->name, sizeof(key.name));
        if (bags->n_found > 0)
                found = bsearch(&key, bags->found, bags->n_found, sizeof(*found), compare);
        if (found)
                peek(found, key.name, &kept->fd);
        if (kept->fd < 0) {
                free(kept);
                return -1;
        }
        add_kept(found->bag, kept);
        *ret = kept;
        return kept->fd;
}

/* --- keeping ----------------------------------------------------------------------------------------------------- */

static void close_bag(struct bags *bags, struct bag *bag)
{
        bag->fd = close_fd(bag->fd);
        forget_open(bags, bag);
}

static int open_bag(struct bags *bags, struct bag **ret)
{
        struct bag *bag;
        int ends[2], r;

        if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) < 0)
                return -errno;
        bag = new_bag(bags);
        if (!bag) {
                close(ends[0]);
                close(ends[1]);
                return -ENOMEM;
        }
        snprintf(bag->name, sizeof(bag->name), "bag-%016" PRIx64, ++bags->last);
        r = notify_keep(bags->notify, bag->name, ends[1]);
        close(ends[1]);
        bag->fd = ends[0];
        if (r < 0)
                free_bag(bags, bag);
        else
                *ret = bag;
        return r;
}

static int put_in(struct bag *bag, struct kept *kept)
{
        int r = put(bag->fd, kept->name, kept->fd);

        if (r < 0)
                return r;
        bag->n_put++;
        add_kept(bag, kept);
        return 0;
}

/* `open`: which of those that more goes into. */
static int put_in_open(struct bags *bags, struct bag **open, struct kept *kept)
{
        int r;

        if (*open && (*open)->n_put == BAG_MAX)
                close_bag(bags, *open);
        r = *open ? put_in(*open, kept) : open_bag(bags, open);
        if (r == -EAGAIN) { /* its buffer is smaller than we thought */
                close_bag(bags, *open);
                r = open_bag(bags, open);
        }
        return r == 0 && !kept->bag ? put_in(*open, kept) : r;
}

static int put_alone(struct bags *bags, struct kept *kept)
{
        struct bag *bag;
        int r = open_bag(bags, &bag);

        if (r < 0)
                return r;
        r = put_in(bag, kept);
        if (r == 0) {
                close_bag(bags, bag);
                return 0;
        }
        notify_drop(bags->notify, bag->name);
        free_bag(bags, bag);
        return r;
}

int bags_keep(struct bags *bags, const char *name, int fd, bool alone, struct kept **ret)
{
        struct kept *kept = new_kept(name, fd);
        int r;

        if (!kept)
                return -ENOMEM;
        r = alone ? put_alone(bags, kept) : put_in_open(bags, &bags->open, kept);
        if (r < 0)
                free(kept);
        else
                *ret = kept;
        return r;
}

int bags_hand_on(struct bags *bags, const char *name, int fd)
{
        struct kept *kept = new_kept(name, fd);
        int r;

        if (!kept)
                return -ENOMEM;
        r = put_in_open(bags, &bags->open_for_next, kept);
        if (r < 0)
                free(kept);
        return r; /* its bag's, which nobody looks at any more */
}

/* Into others, and only then out of this one. What there is no room for stays. */
static void move_few(struct bags *bags, struct bag *bag)
{
        struct kept *kept, *next;

        for (kept = LIST_FIRST(&bag->kept); kept; kept = next) {
                next = LIST_NEXT(kept, in_bag);
                LIST_REMOVE(kept, in_bag);
                kept->bag = NULL;
                if (put_in_open(bags, &bags->open, kept) < 0) {
                        kept->bag = bag;
                        LIST_INSERT_HEAD(&bag->kept, kept, in_bag);
                        return;
                }
                bag->n_kept--;
        }
}

/* Something in it does not count any more. */
static void look_at(struct bags *bags, struct bag *bag)
{
        if (bag->fd < 0 && bag->n_kept <= BAG_FEW)
                move_few(bags, bag);
        if (bag->n_kept == 0) {
                notify_drop(bags->notify, bag->name);
                free_bag(bags, bag);
        }
}

struct kept *bags_drop(struct bags *bags, struct kept *kept)
{
        struct bag *bag = kept->bag;

        LIST_REMOVE(kept, in_bag);
        free(kept);
        bag->n_kept--;
        if (bag->queue < 0)
                look_at(bags, bag);
        return NULL;
}

void bags_settle(struct bags *bags)
{
        struct bag *bag, *next;

        for (bag = LIST_FIRST(&bags->bags); bag; bag = next) {
                next = LIST_NEXT(bag, link);
                if (bag->queue < 0)
                        continue;
                bag->queue = close_fd(bag->queue);
                look_at(bags, bag);
        }
        bags->n_found = 0;
}

void bags_deinit(struct bags *bags)
{
        while (!LIST_EMPTY(&bags->bags))
                free_bag(bags, LIST_FIRST(&bags->bags));
        free(bags->found);
        *bags = (struct bags){};
}
