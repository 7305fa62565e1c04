/* Eclipse iceoryx: a fresh process registers with RouDi and maps its memory. With "wait" it stays until it is killed.
 *
 * usage: peer-iceoryx NAME [wait] */

#include "tests/bench/samples.h"

#include "iceoryx_posh/runtime/posh_runtime.hpp"

#include <unistd.h>

int main(int argc, char **argv)
{
        int64_t before = begin_nsec();

        if (argc < 2)
                die("usage: peer-iceoryx NAME [wait]");
        iox::runtime::PoshRuntime::initRuntime(iox::RuntimeName_t(iox::cxx::TruncateToCapacity, argv[1]));
        tell("join", static_cast<double>(since_nsec(before)));
        while (argc > 2)
                pause();
        return 0;
}
