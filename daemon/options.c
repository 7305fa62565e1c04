/* Command line and environment. Nothing that is wrong is passed over: the message names the option and what it takes. */

#include "daemon/options.h"

#include "proto/util.h"
#include "version.h"

#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

enum {
        OPTION_SYSTEM = 256,
        OPTION_USER,
        OPTION_LISTEN,
        OPTION_RUNTIME,
        OPTION_STATE,
        OPTION_IDLE,
        OPTION_LEVEL,
        OPTION_LIMIT,
        OPTION_CONFIG,
        OPTION_NO_CONFIG,
        OPTION_CHECK_CONFIG,
        OPTION_ENVIRONMENTS
};

static const struct option long_options[] = {
        { "system", no_argument, NULL, OPTION_SYSTEM },
        { "user", no_argument, NULL, OPTION_USER },
        { "listen", required_argument, NULL, OPTION_LISTEN },
        { "runtime-directory", required_argument, NULL, OPTION_RUNTIME },
        { "state-directory", required_argument, NULL, OPTION_STATE },
        { "idle-exit", required_argument, NULL, OPTION_IDLE },
        { "log-level", required_argument, NULL, OPTION_LEVEL },
        { "limit", required_argument, NULL, OPTION_LIMIT },
        { "config", required_argument, NULL, OPTION_CONFIG },
        { "no-config", no_argument, NULL, OPTION_NO_CONFIG },
        { "check-config", no_argument, NULL, OPTION_CHECK_CONFIG },
        { "environments", required_argument, NULL, OPTION_ENVIRONMENTS },
        { "version", no_argument, NULL, 'V' },
        { "help", no_argument, NULL, 'h' },
        {},
};

static void print_help(void)
{
        puts("region-broker: owns the shared memory of one machine\n"
             "\n"
             "Usage: region-broker [OPTION]...\n"
             "\n"
             "  --system                 serve all users: sockets and files under /run and /var/lib\n"
             "  --user                   serve one user: under $XDG_RUNTIME_DIR and $XDG_STATE_HOME\n"
             "                           (default: --system for root, --user for others)\n"
             "  --listen PATH            the socket to listen on; up to 8 times\n"
             "                           (default: org.regionbroker in the runtime directory)\n"
             "  --runtime-directory DIR  what belongs to this boot\n"
             "  --state-directory DIR    file regions of environments without a home\n"
             "  --idle-exit SECONDS      end after so long without environments and sessions, or \"never\"\n"
             "                           (default: 60 where the socket was passed by systemd, else never)\n"
             "  --log-level LEVEL        error, warning, notice, info (default) or debug\n"
             "  --limit NAME=VALUE       a limit of those below\n"
             "  --config FILE            read this file instead of the standard ones; up to 8 times, in this order\n"
             "  --no-config              read none\n"
             "  --environments DIR       environments are declared there, and not in environments.d of the\n"
             "                           standard directories\n"
             "  --check-config           say what is wrong with the files, and end; 1: something is\n"
             "  --version, -h, --help\n"
             "\n"
             "What the command line says counts more than what files say.\n"
             "\n"
             "Limits, with their defaults:");
        for (unsigned i = 0; i < n_limits; i++)
                printf("  %-24s %" PRId64 "\n", limit_rows[i].name, limit_rows[i].preset);
}

__attribute__((format(printf, 1, 2))) static int wrong(const char *format, ...)
{
        va_list args;

        fputs("region-broker: ", stderr);
        va_start(args, format);
        vfprintf(stderr, format, args);
        va_end(args);
        fputs("\nregion-broker: --help tells the options\n", stderr);
        return -EINVAL;
}

static int read_listen(struct options *options, const char *path)
{
        if (path[0] != '/')
                return wrong("--listen %s: an absolute path is expected", path);
        if (options->n_listen == LISTEN_MAX)
                return wrong("--listen: at most %d sockets", LISTEN_MAX);
        options->listen[options->n_listen++] = path;
        return 0;
}

static int read_directory(const char *option, const char *path, char **ret)
{
        char *copy;

        if (path[0] != '/')
                return wrong("--%s %s: an absolute path is expected", option, path);
        copy = strdup(path);
        if (!copy)
                return -ENOMEM;
        free(*ret);
        *ret = copy;
        return 0;
}

static int read_idle(struct options *options, const char *text)
{
        char *end;
        long long seconds;

        if (strcmp(text, "never") == 0) {
                options->idle_usec = -1;
                return 0;
        }
        errno = 0;
        seconds = strtoll(text, &end, 10);
        if (errno != 0 || *end || end == text || seconds < 0 || seconds > 366 * 86400)
                return wrong("--idle-exit %s: seconds are expected, up to a year, or \"never\"", text);
        options->idle_usec = seconds * 1000000;
        return 0;
}

static int read_level(struct options *options, const char *word)
{
        int level = log_level_from_word(word);

        if (level < 0)
                return wrong("--log-level %s: error, warning, notice, info or debug is expected", word);
        options->log_level = (enum log_level)level;
        options->level_given = true;
        return 0;
}

static int read_config(struct options *options, const char *path)
{
        if (path[0] != '/')
                return wrong("--config %s: an absolute path is expected", path);
        if (options->n_config == CONFIG_MAX)
                return wrong("--config: at most %d files", CONFIG_MAX);
        options->config[options->n_config++] = path;
        return 0;
}

static int read_environments(struct options *options, const char *path)
{
        if (path[0] != '/')
                return wrong("--environments %s: an absolute path is expected", path);
        options->environments = path;
        return 0;
}

static int read_limit(struct options *options, const char *text)
{
        const char *equals = strchr(text, '=');
        owned(freep) char *name = NULL;
        char expected[LIMIT_TEXT_MAX];
        int64_t value;
        int row, r;

        if (!equals || equals == text || !equals[1])
                return wrong("--limit %s: NAME=VALUE is expected", text);
        name = strndup(text, (size_t)(equals - text));
        if (!name)
                return -ENOMEM;
        row = limits_find(name);
        if (row < 0)
                return wrong("--limit %s: there is no limit of that name", text);
        r = limits_parse((unsigned)row, equals + 1, &value);
        if (r < 0)
                return wrong("--limit %s: %s%s is expected after the =", text,
                             r == -ERANGE ? "the value is out of range; " : "",
                             limits_expected((unsigned)row, expected));
        some_limits_set(&options->limits, (unsigned)row, value);
        return 0;
}

static int read_one(struct options *options, int option, const char *value)
{
        switch (option) {
        case OPTION_SYSTEM:
        case OPTION_USER:
                options->system = option == OPTION_SYSTEM;
                return 0;
        case OPTION_LISTEN:
                return read_listen(options, value);
        case OPTION_RUNTIME:
                return read_directory("runtime-directory", value, &options->runtime_directory);
        case OPTION_STATE:
                return read_directory("state-directory", value, &options->state_directory);
        case OPTION_IDLE:
                return read_idle(options, value);
        case OPTION_LEVEL:
                return read_level(options, value);
        case OPTION_LIMIT:
                return read_limit(options, value);
        case OPTION_CONFIG:
                return read_config(options, value);
        case OPTION_ENVIRONMENTS:
                return read_environments(options, value);
        case OPTION_NO_CONFIG:
                options->no_config = true;
                return 0;
        case OPTION_CHECK_CONFIG:
                options->check_config = true;
                return 0;
        case 'V':
                puts("region-broker " REGION_BROKER_VERSION);
                return 1;
        case 'h':
                print_help();
                return 1;
        default: /* getopt has said what is wrong */
                fputs("region-broker: --help tells the options\n", stderr);
                return -EINVAL;
        }
}

/* PREFIX/region-broker where the variable names an absolute directory. */
static char *below(const char *variable, const char *suffix)
{
        const char *prefix = secure_getenv(variable);
        char *path;

        if (!prefix || prefix[0] != '/' || asprintf(&path, "%s%s/region-broker", prefix, suffix) < 0)
                return NULL;
        return path;
}

/* Where the files are that are read unless others are named; a user without a home has none. */
static void fill_config_directory(struct options *options)
{
        options->config_directory = options->system ? strdup(CONFIGURATION_DIRECTORY) : below("XDG_CONFIG_HOME", "");
        if (!options->config_directory && !options->system)
                options->config_directory = below("HOME", "/.config");
}

static int fill_directories(struct options *options)
{
        options->runtime_given = options->runtime_directory;
        options->state_given = options->state_directory;
        if (!options->runtime_directory)
                options->runtime_directory = options->system ? strdup("/run/region-broker")
                                                             : below("XDG_RUNTIME_DIR", "");
        if (!options->state_directory)
                options->state_directory = options->system ? strdup("/var/lib/region-broker")
                                                           : below("XDG_STATE_HOME", "");
        if (!options->state_directory)
                options->state_directory = below("HOME", "/.local/state");
        if (!options->runtime_directory)
                return wrong("XDG_RUNTIME_DIR is not set; name a directory with --runtime-directory");
        if (!options->state_directory)
                return wrong("neither XDG_STATE_HOME nor HOME is set; name a directory with --state-directory");
        if (options->n_listen > 0)
                return 0;
        if (asprintf(&options->default_socket, "%s/org.regionbroker", options->runtime_directory) < 0) {
                options->default_socket = NULL;
                return -ENOMEM;
        }
        options->listen[options->n_listen++] = options->default_socket;
        options->listen_by_default = true;
        return 0;
}

int options_read(struct options *options, int argc, char **argv)
{
        int option, r;

        *options = (struct options){ .system = geteuid() == 0,
                                     .idle_usec = IDLE_NOT_SAID,
                                     .log_level = LOG_LEVEL_INFO };
        while ((option = getopt_long(argc, argv, "h", long_options, NULL)) != -1) {
                r = read_one(options, option, optarg);
                if (r != 0)
                        return r;
        }
        if (optind < argc)
                return wrong("%s: no argument is expected", argv[optind]);
        if (options->no_config && options->n_config > 0)
                return wrong("--no-config and --config exclude each other");
        fill_config_directory(options);
        return options->check_config ? 0 : fill_directories(options);
}

void options_deinit(struct options *options)
{
        free(options->runtime_directory);
        free(options->state_directory);
        free(options->default_socket);
        free(options->config_directory);
}
