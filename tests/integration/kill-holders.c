/* A holder exits with success only if every look was right; a SIGBUS or a wrong word is seen by its parent. */

#include "tests/integration/kill-holders.h"

#include "proto/util.h"
#include "tests/support/raw.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>

enum { FIRST_LOOK_MSEC = 20, LAST_LOOK_MSEC = 2000, BYSTANDER_HOLDS_MAX = 256 };

/* --- looking ----------------------------------------------------------------------------------------------------- */

static void *map(const struct mapping *mapping)
{
        void *address = mmap(NULL, mapping->size, PROT_READ, MAP_SHARED, mapping->fd, 0);

        return address == MAP_FAILED ? NULL : address;
}

static bool look(struct mapping *mapping, const struct stage *stage)
{
        bool only_now = !mapping->address;
        bool right;

        if (only_now)
                mapping->address = map(mapping);
        if (!mapping->address) {
                stage_complain(stage, "region %s cannot be mapped again: %m", mapping->name);
                return false;
        }
        right = mapping_verify(mapping, stage);
        if (only_now) {
                munmap((void *)(uintptr_t)mapping->address, mapping->size);
                mapping->address = NULL;
        }
        return right;
}

static bool look_at_all(struct mapping *mappings, size_t n, const struct stage *stage)
{
        bool right = true;

        for (size_t i = 0; i < n; i++)
                right &= look(&mappings[i], stage);
        return right;
}

static void keep_as(const struct stage *stage, struct mapping *mapping, enum keeping keeping)
{
        uint64_t place = mapping->is_private ? HELD_MAX : stage->tally->n_held++;

        if (place < HELD_MAX)
                stage->tally->held[place] = mapping->region;
        if (mapping->fd < 0)
                return;
        if (keeping == KEEP_MAPPING)
                mapping->fd = close_fd(mapping->fd);
        if (keeping == KEEP_DESCRIPTOR) {
                munmap((void *)(uintptr_t)mapping->address, mapping->size);
                mapping->address = NULL;
        }
}

/* --- survivors --------------------------------------------------------------------------------------------------- */

/* Within so long. All who are left wait for the same byte, and one has it. */
static bool is_released(const struct stage *stage, int msec)
{
        struct pollfd release = { .fd = stage->release[0], .events = POLLIN };
        char byte;

        return poll(&release, 1, msec) > 0 && read(release.fd, &byte, 1) >= 0;
}

_Noreturn void survivor_run(const struct stage *stage, struct mapping *mappings, size_t n, enum keeping keeping)
{
        int msec = FIRST_LOOK_MSEC;
        pid_t self = getpid();
        bool right;

        prctl(PR_SET_NAME, "survivor");
        for (size_t i = 0; i < n; i++)
                keep_as(stage, &mappings[i], keeping);
        while ((right = look_at_all(mappings, n, stage)) && !is_released(stage, msec))
                msec = msec * 2 < LAST_LOOK_MSEC ? msec * 2 : LAST_LOOK_MSEC;
        /* told before the last look, which may be our end */
        if (write(stage->ended[1], &self, sizeof(self)) != sizeof(self))
                right = false;
        right &= look_at_all(mappings, n, stage);
        _exit(right ? EXIT_SUCCESS : EXIT_FAILURE);
}

/* --- bystanders -------------------------------------------------------------------------------------------------- */

bool bystander_pass(const struct stage *stage, unsigned number, const struct mapping *mapping)
{
        struct mapping passed = *mapping;

        passed.address = NULL;
        return raw_send(stage->passing[number], &passed, sizeof(passed), &mapping->fd, 1) == (ssize_t)sizeof(passed);
}

void bystander_close_all(const struct stage *stage)
{
        for (unsigned i = 0; i < BYSTANDERS; i++)
                close_fd(stage->passing[i]);
}

/* 1: got one, mapped; 0: the end; -1: something else. */
static int receive(int socket, struct mapping *ret)
{
        struct fdset fds = {};
        ssize_t n = raw_receive(socket, ret, sizeof(*ret), &fds);
        int r = n == 0 ? 0 : -1;

        ret->fd = fdset_take(&fds, 0);
        ret->address = ret->fd >= 0 ? map(ret) : NULL;
        if (n == (ssize_t)sizeof(*ret) && ret->address)
                r = 1;
        fdset_clear(&fds);
        return r;
}

static _Noreturn void bystander_run(const struct stage *stage, int socket, struct dice *dice)
{
        static struct mapping held[BYSTANDER_HOLDS_MAX];
        struct mapping next;
        bool right = true;
        size_t n = 0;
        int r;

        while (right && (r = receive(socket, &next)) > 0) {
                stage->tally->received++;
                right &= look(&next, stage);
                keep_as(stage, &next, dice_below(dice, N_KEEPINGS));
                if (n < BYSTANDER_HOLDS_MAX)
                        held[n++] = next; /* beyond that it is leaked, and so held all the same */
                right &= look(&held[dice_below(dice, (unsigned)n)], stage);
        }
        if (right && r < 0)
                stage_complain(stage, "what was passed cannot be received or mapped: %m");
        right &= r == 0 && look_at_all(held, n, stage);
        _exit(right ? EXIT_SUCCESS : EXIT_FAILURE);
}

pid_t bystander_start(struct stage *stage, unsigned number)
{
        struct dice dice = { dice_mix(stage->seed + number) };
        int sockets[2];
        pid_t pid;

        if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, sockets) < 0)
                return -1;
        pid = fork();
        if (pid == 0) {
                prctl(PR_SET_NAME, "bystander");
                prctl(PR_SET_PDEATHSIG, SIGKILL);
                bystander_close_all(stage);
                close(sockets[0]);
                close(stage->release[1]);
                close(stage->ended[1]);
                bystander_run(stage, sockets[1], &dice);
        }
        close(sockets[1]);
        stage->passing[number] = sockets[0];
        return pid;
}
