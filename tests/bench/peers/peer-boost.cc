/* Boost.Interprocess: a managed segment, which holds an allocator and an index of names.
 *
 * usage: peer-boost ROUNDS */

#include "tests/bench/samples.h"

#include <boost/interprocess/managed_shared_memory.hpp>
#include <cstdlib>

namespace ipc = boost::interprocess;

enum { BYTES = 65536 };

static const char name[] = "region-broker-bench-boost";

static int64_t create(void *)
{
        int64_t before = begin_nsec();
        {
                ipc::managed_shared_memory segment(ipc::create_only, name, BYTES);

                segment.construct<int>("first")(1);
        }
        ipc::shared_memory_object::remove(name);
        return since_nsec(before);
}

static int64_t attach(void *)
{
        int64_t before = begin_nsec();
        ipc::managed_shared_memory segment(ipc::open_only, name);

        if (!segment.find<int>("first").first)
                die("it is not there");
        return since_nsec(before);
}

int main(int argc, char **argv)
{
        contender creating = { "create", create, nullptr, nullptr, 0 };
        contender attaching = { "attach", attach, nullptr, nullptr, 0 };

        if (argc != 2)
                die("usage: peer-boost ROUNDS");
        count_cpu_time();
        ipc::shared_memory_object::remove(name);
        race(&creating, 1, static_cast<unsigned>(std::atoi(argv[1])), 20);
        {
                ipc::managed_shared_memory holder(ipc::create_only, name, BYTES);

                holder.construct<int>("first")(1);
                race(&attaching, 1, static_cast<unsigned>(std::atoi(argv[1])), 20);
        }
        ipc::shared_memory_object::remove(name);
        return 0;
}
