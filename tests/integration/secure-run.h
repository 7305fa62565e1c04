#pragma once

/* Running a program that has more rights than its caller: what it does is in secure-client.c. */

#include "tests/integration/secure-client.h"
#include "tests/support/broker.h"
#include "tests/support/check.h"

#include "proto/util.h"

#include <stdio.h>
#include <sys/wait.h>

/* Run by a process whose user is another than the one whose rights it has, the kernel takes it for setuid. The home it
 * is told of is the broker's directory. Takes root. */
static inline void secure_client_run(void)
{
        owned(freep) char *program = NULL;
        int status;
        pid_t pid;

        ck_assert_int_ge(asprintf(&program, "%s/tests/secure-client", getenv("BUILD")), 0);
        pid = fork();
        ck_assert_int_ge(pid, 0);
        if (pid == 0) {
                if (setresuid(65534, 0, 0) == 0)
                        execl(program, program, broker.socket, broker.directory, NULL);
                _exit(EXIT_FAILURE);
        }
        ck_assert_int_eq(waitpid(pid, &status, 0), pid);
        ck_assert(WIFEXITED(status));
        if (WEXITSTATUS(status) == NOT_SECURE)
                fputs("secure-client: setuid programs are not tried, for the kernel here makes none\n", stderr);
        else
                ck_assert_int_eq(WEXITSTATUS(status), EXIT_SUCCESS);
}
