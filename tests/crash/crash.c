/* Loaded before libc into a broker that knows nothing of it: counts each effect of the broker on what is outside of it,
 * in one order, and kills it at one of them. In its environment:
 *
 *   CRASH_LOG=PATH           appended to, a line each: N KIND OPERATION, then made WHAT where something was made
 *   CRASH_AT=N:before|after  killed then; without it, only counted
 *   CRASH_PAGES=1            each page of the ledger that is written counts as well: a commit can be torn
 *
 * What only reads, and what goes with the process (sockets, mappings, locks), is no effect. */

#undef _FILE_OFFSET_BITS /* both names of what has two */

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/shm.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

static atomic_int count;
static int log_fd = -1, at;
static bool at_its_end, counts_pages;

__attribute__((constructor)) static void begin(void)
{
        const char *path = getenv("CRASH_LOG"), *when = getenv("CRASH_AT");

        if (path)
                log_fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
        if (when)
                at = atoi(when);
        at_its_end = when && strstr(when, ":after");
        counts_pages = getenv("CRASH_PAGES");
        atomic_store(&count, 0); /* the log is no effect of the broker's */
}

/* Straight to the kernel, since we stand before write(2) as well. */
__attribute__((format(printf, 1, 2))) static void say(const char *format, ...)
{
        char line[512];
        va_list values;
        int n;

        va_start(values, format);
        n = vsnprintf(line, sizeof(line), format, values);
        va_end(values);
        if (log_fd >= 0)
                syscall(SYS_write, log_fd, line, (size_t)(n < (int)sizeof(line) ? n : (int)sizeof(line) - 1));
}

/* Another thread is about to kill us all, and what comes after that must not happen. */
static void wait_for_the_end(void)
{
        for (;;)
                pause();
}

static void die(void)
{
        kill(getpid(), SIGKILL);
        wait_for_the_end();
}

static int effect(const char *kind, const char *operation)
{
        int n = atomic_fetch_add(&count, 1) + 1;

        if (at > 0 && n > at)
                wait_for_the_end();
        say("%d %s %s\n", n, kind, operation);
        if (n == at && !at_its_end)
                die();
        return n;
}

static void done(int n)
{
        if (n == at)
                die();
}

#define NEXT(function)                     \
        static __typeof__(function) *next; \
        if (!next)                         \
                *(void **)&next = dlsym(RTLD_NEXT, #function);

/* A call that is one effect: counted, made, and its result returned. */
#define AS_EFFECT(kind, operation, call)                 \
        ({                                               \
                int effect_n = effect(kind, operation);  \
                __typeof__(call) effect_result = (call); \
                int effect_errno = errno;                \
                done(effect_n);                          \
                errno = effect_errno;                    \
                effect_result;                           \
        })

/* --- the ledger -------------------------------------------------------------------------------------------------- */

typedef struct MDB_txn MDB_txn;
int mdb_txn_commit(MDB_txn *txn);

int mdb_txn_commit(MDB_txn *txn)
{
        NEXT(mdb_txn_commit)
        return AS_EFFECT("ledger", "mdb_txn_commit", next(txn));
}

ssize_t pwrite(int fd, const void *bytes, size_t n, off_t offset)
{
        NEXT(pwrite)
        return counts_pages ? AS_EFFECT("page", "pwrite", next(fd, bytes, n, offset)) : next(fd, bytes, n, offset);
}

ssize_t writev(int fd, const struct iovec *vector, int n)
{
        NEXT(writev)
        return counts_pages ? AS_EFFECT("page", "writev", next(fd, vector, n)) : next(fd, vector, n);
}

/* --- what is said ------------------------------------------------------------------------------------------------ */

static const char *kind_of(int fd, const struct msghdr *message)
{
        int type = 0;

        getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &(socklen_t){ sizeof(type) });
        if (type == SOCK_STREAM)
                return "answer";
        if (type == SOCK_SEQPACKET)
                return "kept";
        return message->msg_iovlen > 0 && strncmp(message->msg_iov->iov_base, "FDSTORE", strlen("FDSTORE")) == 0
                       ? "kept"
                       : NULL;
}

ssize_t sendmsg(int fd, const struct msghdr *message, int flags)
{
        const char *kind = kind_of(fd, message);
        NEXT(sendmsg)

        return kind ? AS_EFFECT(kind, "sendmsg", next(fd, message, flags)) : next(fd, message, flags);
}

/* Of a page of control, which has been written by now. */
long syscall(long number, ...)
{
        long words[6];
        va_list values;
        NEXT(syscall)

        va_start(values, number);
        for (int i = 0; i < 6; i++)
                words[i] = va_arg(values, long);
        va_end(values);
        if (number == SYS_futex && words[1] == FUTEX_WAKE)
                return AS_EFFECT("control", "futex",
                                 next(number, words[0], words[1], words[2], words[3], words[4], words[5]));
        return next(number, words[0], words[1], words[2], words[3], words[4], words[5]);
}

/* --- what is made ------------------------------------------------------------------------------------------------ */

int shmget(key_t key, size_t size, int flags)
{
        int n = effect("made", "shmget"), id;
        NEXT(shmget)

        id = next(key, size, flags);
        if (id >= 0)
                say("made segment %d\n", id);
        done(n);
        return id;
}

int shmctl(int id, int command, struct shmid_ds *segment)
{
        NEXT(shmctl)
        if (command == IPC_SET)
                return AS_EFFECT("made", "shmctl-IPC_SET", next(id, command, segment));
        if (command == IPC_RMID)
                return AS_EFFECT("removed", "shmctl-IPC_RMID", next(id, command, segment));
        return next(id, command, segment);
}

int memfd_create(const char *name, unsigned flags)
{
        NEXT(memfd_create)
        return AS_EFFECT("made", "memfd_create", next(name, flags));
}

int shm_open(const char *name, int flags, mode_t mode)
{
        int n = effect("made", "shm_open"), fd;
        NEXT(shm_open)

        fd = next(name, flags, mode);
        if (fd >= 0)
                say("made name /dev/shm%s\n", name);
        done(n);
        return fd;
}

static bool makes(int flags)
{
        return flags & O_CREAT || (flags & O_TMPFILE) == O_TMPFILE;
}

#define MODE_AFTER(flags)                                   \
        ({                                                  \
                mode_t after_mode = 0;                      \
                if (makes(flags)) {                         \
                        va_list after;                      \
                        va_start(after, flags);             \
                        after_mode = va_arg(after, mode_t); \
                        va_end(after);                      \
                }                                           \
                after_mode;                                 \
        })

int open64(const char *path, int flags, ...)
{
        mode_t mode = MODE_AFTER(flags);
        NEXT(open64)

        return makes(flags) ? AS_EFFECT("made", "open", next(path, flags, mode)) : next(path, flags, mode);
}

int openat64(int directory, const char *path, int flags, ...)
{
        mode_t mode = MODE_AFTER(flags);
        NEXT(openat64)

        return makes(flags) ? AS_EFFECT("made", "openat", next(directory, path, flags, mode))
                            : next(directory, path, flags, mode);
}

int mkdir(const char *path, mode_t mode)
{
        NEXT(mkdir)
        return AS_EFFECT("made", "mkdir", next(path, mode));
}

int linkat(int from, const char *old, int to, const char *new, int flags)
{
        NEXT(linkat)
        return AS_EFFECT("made", "linkat", next(from, old, to, new, flags));
}

int ftruncate64(int fd, off64_t size)
{
        NEXT(ftruncate64)
        return AS_EFFECT("made", "ftruncate", next(fd, size));
}

int posix_fallocate64(int fd, off64_t offset, off64_t n)
{
        NEXT(posix_fallocate64)
        return AS_EFFECT("made", "posix_fallocate", next(fd, offset, n));
}

int fchmod(int fd, mode_t mode)
{
        NEXT(fchmod)
        return AS_EFFECT("made", "fchmod", next(fd, mode));
}

/* --- what is taken away ------------------------------------------------------------------------------------------ */

int unlink(const char *path)
{
        NEXT(unlink)
        return AS_EFFECT("removed", "unlink", next(path));
}

int unlinkat(int directory, const char *path, int flags)
{
        NEXT(unlinkat)
        return AS_EFFECT("removed", "unlinkat", next(directory, path, flags));
}

int rmdir(const char *path)
{
        NEXT(rmdir)
        return AS_EFFECT("removed", "rmdir", next(path));
}

int rename(const char *from, const char *to)
{
        NEXT(rename)
        return AS_EFFECT("removed", "rename", next(from, to));
}

/* Pages that are given back. */
int fallocate64(int fd, int mode, off64_t offset, off64_t n)
{
        NEXT(fallocate64)
        return AS_EFFECT("removed", "fallocate", next(fd, mode, offset, n));
}
