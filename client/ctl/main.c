/* regionctl: reads the command line, runs one verb, and makes sure that what was said has arrived. */

#include "client/ctl/options.h"
#include "client/ctl/print.h"
#include "client/ctl/verbs.h"

#include <locale.h>
#include <stdio.h>

int main(int argc, char **argv)
{
        struct options options;
        int r;

        setlocale(LC_CTYPE, ""); /* how wide a character is; numbers and sentences stay as they are */
        r = options_parse(argc, argv, &options);
        if (r == 0)
                r = options.verb->run(&options);
        options_deinit(&options);
        if (fflush(stdout) != 0 || ferror(stdout)) {
                complain("cannot write the output: %m");
                return r != CTL_DONE ? r : CTL_FAILED;
        }
        return r;
}
