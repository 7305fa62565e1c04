/* s6-fdholder: a descriptor is asked for over the session, mapped and touched.
 *
 * usage: peer-s6 SOCKET PID ROUNDS */

#include "tests/bench/samples.h"

#include <s6/fdholder.h>
#include <skalibs/tai.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

enum { BYTES = 65536 };

static s6_fdholder_t holder = S6_FDHOLDER_ZERO;
static tain deadline;

static int64_t attach(void *data)
{
        int64_t before = begin_nsec();
        void *memory;
        int fd;

        (void)data;
        tain_now_g();
        tain_addsec_g(&deadline, 30);
        fd = s6_fdholder_retrieve_g(&holder, "memory", &deadline);
        memory = fd < 0 ? MAP_FAILED : mmap(NULL, BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
        if (memory == MAP_FAILED)
                die("s6_fdholder_retrieve: %m");
        *(volatile char *)memory = 1;
        before = since_nsec(before);
        munmap(memory, BYTES);
        close(fd);
        return before;
}

int main(int argc, char **argv)
{
        int fd = memfd_create("memory", MFD_CLOEXEC);
        tain limit;

        if (argc != 4)
                die("usage: peer-s6 SOCKET PID ROUNDS");
        if (fd < 0 || ftruncate(fd, BYTES) < 0)
                die("memfd: %m");
        follow_process(atoi(argv[2]));
        tain_now_set_stopwatch_g();
        tain_addsec_g(&deadline, 30);
        if (!s6_fdholder_start_g(&holder, argv[1], &deadline))
                die("s6_fdholder_start: %m");
        tain_addsec_g(&limit, 3600);
        if (!s6_fdholder_store_g(&holder, fd, "memory", &limit, &deadline))
                die("s6_fdholder_store: %m");
        race(&(struct contender){ .key = "attach", .run = attach }, 1, (unsigned)atoi(argv[3]), 20);
        return 0;
}
