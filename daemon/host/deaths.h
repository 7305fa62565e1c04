#pragma once

struct process;

/* News of deaths: the pidfds of all processes that matter, behind one descriptor to poll. */
struct deaths {
        int fd;
};

int deaths_init(struct deaths *deaths); /* -errno */
void deaths_deinit(struct deaths *deaths);

/* Follows process->pidfd until it is dead or removed. -errno (ENOSPC: /proc/sys/fs/epoll/max_user_watches). */
int deaths_add(struct deaths *deaths, struct process *process);
void deaths_remove(struct deaths *deaths, struct process *process);

/* Whether it is dead, or will be in a moment: it has begun to exit, with all its threads, and gives up one thing after the
 * other, the processor to busier ones in between. A negative errno where it cannot be seen. */
int deaths_is_near(const struct process *process);

/* Fills in how a dead process ended, as far as the kernel tells us. */
void deaths_read_exit(struct process *process);

/* One that died, removed by this call; NULL when there are no news. */
struct process *deaths_next(struct deaths *deaths);
