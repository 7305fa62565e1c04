#include "tests/support/broker.h"

#include "proto/util.h"
#include "tests/support/check.h"
#include "tests/support/ipc.h"
#include "tests/support/raw.h"

#include <errno.h>
#include <grp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/shm.h>
#include <sys/stat.h>
#include <sys/wait.h>

struct daemon broker;

/* --- fixtures ---------------------------------------------------------------------------------------------------- */

/* Segments that its process made, or an earlier one of that number. */
static size_t count_segments(pid_t pid)
{
        struct ipc_snapshot snapshot;
        size_t n;

        ck_assert_int_eq(ipc_snapshot_take(&snapshot, pid, "region-broker."), 0);
        n = snapshot.n_segments;
        ipc_snapshot_deinit(&snapshot);
        return n;
}

static size_t segments_before;

void broker_start(const char *const *options)
{
        ck_assert(daemon_start(&broker, options));
        segments_before = count_segments(broker.pid);
}

void broker_setup(void)
{
        broker_start(NULL);
}

void broker_start_for_all(void)
{
        static const char *const options[] = { "--system", NULL };

        broker_start(options);
        ck_assert_int_eq(chmod(broker.directory, 0755), 0);
}

void broker_teardown(void)
{
        pid_t pid = broker.pid;
        int64_t begun = 0;

        if (!pid) { /* the test has ended it */
                daemon_deinit(&broker);
                return;
        }
        ck_assert_msg(daemon_stop(&broker), "the broker did not live to stop in order");
        ck_assert_msg(!daemon_has_line(&broker, "runtime error:"), "%s", broker.log);
        /* who looks at a dying process in /proc keeps what it has mapped for that moment */
        while (count_segments(pid) > segments_before)
                ck_assert_msg(check_pause(&begun), "the broker has left System V segments");
        daemon_deinit(&broker);
}

/* --- its directory ----------------------------------------------------------------------------------------------- */

char *broker_path(const char *format, ...)
{
        owned(freep) char *name = NULL;
        char *path;
        va_list args;

        va_start(args, format);
        ck_assert_int_ge(vasprintf(&name, format, args), 0);
        va_end(args);
        ck_assert_int_ge(asprintf(&path, "%s/%s", broker.directory, name), 0);
        return path;
}

char *broker_make_directory(const char *name)
{
        char *path = broker_path("%s", name);

        ck_assert_int_eq(mkdir(path, 0700), 0);
        return path;
}

/* --- sessions ---------------------------------------------------------------------------------------------------- */

int broker_connect(void)
{
        return varlink_connect(broker.socket);
}

struct user {
        uid_t uid;
        gid_t gid;
};

void broker_become(uid_t uid, gid_t gid)
{
        ck_assert_int_eq(setgroups(0, NULL), 0);
        ck_assert_int_eq(setresgid(gid, gid, gid), 0);
        ck_assert_int_eq(setresuid(uid, uid, uid), 0);
}

/* Who connects is who the broker sees, whoever uses the socket then. */
static void connect_for_test(int channel, const void *data)
{
        const struct user *user = data;
        int peer;

        if (user->uid != 0)
                broker_become(user->uid, user->gid);
        peer = broker_connect();
        ck_assert_int_eq(raw_send(channel, "", 1, &peer, 1), 1);
        close(peer);
        child_hear(channel);
}

int broker_connect_as(struct child *child, uid_t uid, gid_t gid)
{
        owned(fdset_clear) struct fdset fds = {};
        const struct user user = { uid, gid };
        char byte;

        child_start(child, connect_for_test, &user);
        ck_assert(check_wait(child->channel, POLLIN));
        ck_assert_int_eq(raw_receive(child->channel, &byte, 1, &fds), 1);
        ck_assert_uint_eq(fds.n, 1);
        return fdset_take(&fds, 0);
}

int broker_connect_from(struct child *child, uid_t uid)
{
        return broker_connect_as(child, uid, uid);
}

/* --- its numbers ------------------------------------------------------------------------------------------------- */

int64_t broker_statistic(int peer, const char *path)
{
        owned(varlink_clear) struct varlink_reply reply = {};

        varlink_ask(peer, &reply, "GetStatistics", NULL);
        ck_assert_reply(&reply, NULL);
        return varlink_number(&reply, "%s", path);
}

void broker_wait_for_statistic(int peer, const char *path, int64_t wanted)
{
        int64_t begun = 0, found;

        while ((found = broker_statistic(peer, path)) != wanted)
                ck_assert_msg(check_pause(&begun), "%s is %lld and not %lld", path, (long long)found,
                              (long long)wanted);
}

void broker_wait_for_calls(int peer, int64_t before, int64_t n)
{
        int64_t begun = 0, own = 1, found;

        while ((found = broker_statistic(peer, "counters.calls") - before - own) < n) {
                ck_assert_msg(check_pause(&begun), "%lld of %lld calls have come", (long long)found, (long long)n);
                own++;
        }
        ck_assert_int_eq(found, n);
}

void broker_wait_for_fds(int wanted)
{
        int64_t begun = 0;
        int found;

        while ((found = ipc_count_fds(broker.pid)) > wanted)
                ck_assert_msg(check_pause(&begun), "the broker has %d descriptors open and not %d", found, wanted);
}

void broker_pause(void)
{
        siginfo_t stop;

        ck_assert_int_eq(kill(broker.pid, SIGSTOP), 0);
        ck_assert_int_eq(waitid(P_PID, (id_t)broker.pid, &stop, WSTOPPED), 0);
}

void broker_resume(void)
{
        ck_assert_int_eq(kill(broker.pid, SIGCONT), 0);
}

/* A figure of /proc/PID/status, in bytes. */
static int64_t read_status(const char *name)
{
        char path[64], line[256];
        long long kilobytes = -1;
        FILE *status;

        snprintf(path, sizeof(path), "/proc/%d/status", (int)broker.pid);
        status = fopen(path, "re");
        ck_assert_ptr_nonnull(status);
        while (kilobytes < 0 && fgets(line, sizeof(line), status))
                if (strncmp(line, name, strlen(name)) == 0)
                        sscanf(line + strlen(name), ": %lld kB", &kilobytes);
        fclose(status);
        ck_assert_int_ge(kilobytes, 0);
        return kilobytes * 1024;
}

int64_t broker_memory(void)
{
        return read_status("RssAnon") +
               read_status("VmSwap"); /* what is read from files comes and goes as the kernel likes */
}

int64_t broker_peak_memory(void)
{
        return read_status("VmHWM");
}

bool broker_is_sanitized(void)
{
        return read_status("VmSize") > INT64_C(1) << 40; /* its shadow is larger than any machine */
}

/* --- environments ------------------------------------------------------------------------------------------------ */

void broker_open(int peer, struct varlink_reply *reply, const char *environment, const char *definition, ...)
{
        owned(varlink_clear) struct varlink_reply ready = {};
        owned(freep) char *text = NULL;
        va_list args;

        va_start(args, definition);
        ck_assert_int_ge(vasprintf(&text, definition, args), 0);
        va_end(args);
        varlink_ask(peer, reply, "Open", "{'environment':'%s','create':'ifAbsent','definition':{%s}}", environment,
                    text);
        ck_assert_reply(reply, NULL);
        if (!varlink_has(reply, "role", "initializer"))
                return;
        varlink_ask(peer, &ready, "Ready", "{'environment':'%s'}", environment);
        ck_assert_reply(&ready, NULL);
}

void broker_detach(int peer, const char *environment)
{
        owned(varlink_clear) struct varlink_reply reply = {};

        varlink_ask(peer, &reply, "Detach", "{'environment':'%s'}", environment);
        ck_assert_reply(&reply, NULL);
}

/* --- its memory -------------------------------------------------------------------------------------------------- */

void *broker_map(const struct varlink_reply *reply, size_t index, size_t size, int protection)
{
        ck_assert_uint_lt(index, reply->fds.n);
        return mmap(NULL, size, protection, MAP_SHARED, reply->fds.fds[index], 0);
}

void *broker_map_grant(const struct varlink_reply *reply, const char *path)
{
        size_t size = (size_t)varlink_number(reply, "%s.region.size", path);
        bool writes = strcmp(varlink_value(reply, "%s.access", path), "write") == 0;
        void *address;

        if (varlink_value(reply, "%s.regionFileDescriptor", path))
                address = broker_map(reply, (size_t)varlink_number(reply, "%s.regionFileDescriptor", path), size,
                                     writes ? PROT_READ | PROT_WRITE : PROT_READ);
        else
                address = shmat((int)varlink_number(reply, "%s.region.shmId", path), NULL, writes ? 0 : SHM_RDONLY);
        ck_assert_msg(address != MAP_FAILED, "%s: %s", path, strerror(errno));
        return address;
}

void broker_unmap(void *address, size_t size)
{
        if (shmdt(address) < 0)
                ck_assert_int_eq(munmap(address, size), 0);
}
