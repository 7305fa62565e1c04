/* NSPR's named shared memory.
 *
 * usage: peer-nspr ROUNDS, in a directory where it may make a file */

#include "tests/bench/samples.h"

#include <prshm.h>
#include <stdlib.h>

enum { BYTES = 4096 };

static char name[] = "./nspr-bench";

static int64_t create(void *data)
{
        int64_t before = begin_nsec();
        PRSharedMemory *shm = PR_OpenSharedMemory(name, BYTES, PR_SHM_CREATE | PR_SHM_EXCL, 0600);
        void *memory = shm ? PR_AttachSharedMemory(shm, 0) : NULL;

        (void)data;
        if (!memory)
                die("PR_OpenSharedMemory");
        *(volatile char *)memory = 1;
        PR_DetachSharedMemory(shm, memory);
        PR_CloseSharedMemory(shm);
        PR_DeleteSharedMemory(name);
        return since_nsec(before);
}

static int64_t attach(void *data)
{
        int64_t before = begin_nsec();
        PRSharedMemory *shm = PR_OpenSharedMemory(name, BYTES, 0, 0600);
        void *memory = shm ? PR_AttachSharedMemory(shm, 0) : NULL;

        (void)data;
        if (!memory)
                die("PR_OpenSharedMemory");
        *(volatile char *)memory = 1;
        before = since_nsec(before);
        PR_DetachSharedMemory(shm, memory);
        PR_CloseSharedMemory(shm);
        return before;
}

int main(int argc, char **argv)
{
        PRSharedMemory *holder;
        unsigned rounds;

        if (argc != 2)
                die("usage: peer-nspr ROUNDS");
        count_cpu_time();
        rounds = (unsigned)atoi(argv[1]);
        race(&(struct contender){ .key = "create", .run = create }, 1, rounds, 20);
        holder = PR_OpenSharedMemory(name, BYTES, PR_SHM_CREATE | PR_SHM_EXCL, 0600);
        race(&(struct contender){ .key = "attach", .run = attach }, 1, rounds, 20);
        PR_CloseSharedMemory(holder);
        PR_DeleteSharedMemory(name);
        return 0;
}
