/* QSharedMemory: a System V segment, found by a key and guarded by a semaphore.
 *
 * usage: peer-qt ROUNDS */

#include "tests/bench/samples.h"

#include <QSharedMemory>
#include <cstdlib>

enum { BYTES = 4096 };

static const char name[] = "region-broker-bench-qt";

static int64_t create(void *)
{
        int64_t before = begin_nsec();
        {
                QSharedMemory memory(name);

                if (!memory.create(BYTES))
                        die("%s", qPrintable(memory.errorString()));
                *static_cast<volatile char *>(memory.data()) = 1;
        }
        return since_nsec(before);
}

static int64_t attach(void *)
{
        int64_t before = begin_nsec();
        QSharedMemory memory(name);

        if (!memory.attach())
                die("%s", qPrintable(memory.errorString()));
        *static_cast<volatile char *>(memory.data()) = 1;
        return since_nsec(before);
}

int main(int argc, char **argv)
{
        contender creating = { "create", create, nullptr, nullptr, 0 };
        contender attaching = { "attach", attach, nullptr, nullptr, 0 };

        if (argc != 2)
                die("usage: peer-qt ROUNDS");
        count_cpu_time();
        race(&creating, 1, static_cast<unsigned>(std::atoi(argv[1])), 20);
        QSharedMemory holder(name);
        if (!holder.create(BYTES))
                die("%s", qPrintable(holder.errorString()));
        race(&attaching, 1, static_cast<unsigned>(std::atoi(argv[1])), 20);
        return 0;
}
