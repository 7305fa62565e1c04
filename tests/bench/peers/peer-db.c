/* Berkeley DB: an environment with the regions of its lock, log and cache subsystems, in files or in System V memory.
 *
 * usage: peer-db file|sysv ROUNDS, in an empty directory */

#include "tests/bench/samples.h"

#include <db.h>
#include <stdlib.h>
#include <string.h>

enum { FLAGS = DB_INIT_LOCK | DB_INIT_LOG | DB_INIT_MPOOL };

static uint32_t kind;

static DB_ENV *open_env(uint32_t flags)
{
        DB_ENV *env;

        if (db_env_create(&env, 0) != 0)
                die("db_env_create");
        if (kind == DB_SYSTEM_MEM)
                env->set_shm_key(env, 0x52420042);
        env->set_errfile(env, stderr);
        if (env->open(env, ".", flags | kind, 0600) != 0)
                die("DB_ENV->open");
        return env;
}

static int64_t join(void *data)
{
        int64_t before = begin_nsec();
        DB_ENV *env = open_env(0);

        (void)data;
        before = since_nsec(before);
        env->close(env, 0);
        return before;
}

static int64_t create(void *data)
{
        int64_t before = begin_nsec();
        DB_ENV *env = open_env(DB_CREATE | FLAGS);

        (void)data;
        env->close(env, 0);
        if (db_env_create(&env, 0) != 0 || env->remove(env, ".", 0) != 0)
                die("DB_ENV->remove");
        return since_nsec(before);
}

int main(int argc, char **argv)
{
        unsigned rounds;
        DB_ENV *holder;

        if (argc != 3)
                die("usage: peer-db file|sysv ROUNDS");
        count_cpu_time();
        kind = strcmp(argv[1], "sysv") == 0 ? DB_SYSTEM_MEM : 0;
        rounds = (unsigned)atoi(argv[2]);
        race(&(struct contender){ .key = "create", .run = create }, 1, rounds, 5);
        holder = open_env(DB_CREATE | FLAGS);
        race(&(struct contender){ .key = "join", .run = join }, 1, rounds, 20);
        holder->close(holder, 0);
        if (db_env_create(&holder, 0) == 0)
                holder->remove(holder, ".", DB_FORCE);
        return 0;
}
