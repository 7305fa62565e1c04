/* The command line. One table has every option: getopt_long(3) reads it, --help prints it, and the verb's row says which
 * groups of it make sense there. A word that is not understood ends everything before the broker is asked anything. */

#include "client/ctl/options.h"

#include "client/ctl/print.h"
#include "client/ctl/specs.h"
#include "client/ctl/verbs.h"
#include "proto/quantities.h"
#include "proto/util.h"

#include <assert.h>
#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <string.h>

enum option_key {
        KEY_HELP = 'h',
        KEY_PRETTY = 'j',
        KEY_QUIET = 'q',
        KEY_VERSION = 256, /* from here on: no short form */
        KEY_SOCKET,
        KEY_SYSTEM,
        KEY_USER,
        KEY_JSON,
        KEY_NO_LEGEND,
        KEY_BACKING,
        KEY_MODE,
        KEY_GROUP,
        KEY_LIFETIME,
        KEY_LINGER,
        KEY_HOME,
        KEY_REGION_DIRECTORY,
        KEY_SHM_KEY,
        KEY_SCHEMA,
        KEY_RECOVERY,
        KEY_SPARSE,
        KEY_LOCK,
        KEY_HUGE_PAGES,
        KEY_HUGETLB,
        KEY_SUBSYSTEM,
        KEY_IGNORE_CONFIGURATION,
        KEY_EXCLUSIVE,
        KEY_WAIT,
        KEY_CREATE,
        KEY_READ,
        KEY_FORCE,
        KEY_MORE,
        KEY_SINCE,
};

struct option_row {
        enum option_key key;
        enum option_group group;
        const char *name;  /* NULL: only the letter */
        const char *value; /* what --help calls it; NULL: it takes none */
        const char *help;
};

/* clang-format off */
static const struct option_row option_rows[] = {
        { KEY_SOCKET,           OPTIONS_GLOBAL,     "socket",           "PATH",     "ask the broker at this socket" },
        { KEY_SYSTEM,           OPTIONS_GLOBAL,     "system",           NULL,       "ask the system's broker" },
        { KEY_USER,             OPTIONS_GLOBAL,     "user",             NULL,       "ask the user's own broker" },
        { KEY_JSON,             OPTIONS_GLOBAL,     "json",             "FORM",     "print JSON: short, pretty or off" },
        { KEY_PRETTY,           OPTIONS_GLOBAL,     NULL,               NULL,       "the same as --json=pretty" },
        { KEY_NO_LEGEND,        OPTIONS_GLOBAL,     "no-legend",        NULL,       "print tables without their headings" },
        { KEY_QUIET,            OPTIONS_GLOBAL,     "quiet",            NULL,       "do not say what was done" },
        { KEY_VERSION,          OPTIONS_GLOBAL,     "version",          NULL,       "print the version" },
        { KEY_HELP,             OPTIONS_GLOBAL,     "help",             NULL,       "print this help" },

        { KEY_BACKING,          OPTIONS_DEFINITION, "backing",          "BACKING",  BACKING_EXPECTED },
        { KEY_MODE,             OPTIONS_DEFINITION, "mode",             "MODE",     "permission bits, octal (0600)" },
        { KEY_GROUP,            OPTIONS_DEFINITION, "group",            "GROUP",    "the group that the mode speaks of" },
        { KEY_LIFETIME,         OPTIONS_DEFINITION, "lifetime",         "LIFETIME", LIFETIME_EXPECTED },
        { KEY_LINGER,           OPTIONS_DEFINITION, "linger",           "DURATION", "attached: stay so long after the last holder" },
        { KEY_HOME,             OPTIONS_DEFINITION, "home",             "DIR",      "directory of its files, and its second name" },
        { KEY_REGION_DIRECTORY, OPTIONS_DEFINITION, "region-directory", "DIR",      "directory of region files, if not the home" },
        { KEY_SHM_KEY,          OPTIONS_DEFINITION, "shm-key",          "KEY",      "first System V key of a run, as 99 or 0x63" },
        { KEY_SCHEMA,           OPTIONS_DEFINITION, "schema",           "TEXT",     "name and version of the layout" },
        { KEY_RECOVERY,         OPTIONS_DEFINITION, "recovery",         NULL,       "a death while writing asks for repair" },
        { KEY_SPARSE,           OPTIONS_DEFINITION, "sparse",           NULL,       "do not reserve the memory at once" },
        { KEY_LOCK,             OPTIONS_DEFINITION, "lock",             NULL,       "keep it out of swap" },
        { KEY_HUGE_PAGES,       OPTIONS_DEFINITION, "huge-pages",       NULL,       "insist on huge pages" },
        { KEY_HUGETLB,          OPTIONS_DEFINITION, "hugetlb",          NULL,       "take huge pages of the machine's pool" },
        { KEY_SUBSYSTEM,        OPTIONS_DEFINITION, "subsystem",        "NAME",     "mutex, lock, log, mpool, txn, with =SIZE or =SIZE*N" },
        { KEY_IGNORE_CONFIGURATION, OPTIONS_DEFINITION, "ignore-configuration", NULL, "do not read region-environment.conf in its home" },
        { KEY_EXCLUSIVE,        OPTIONS_DEFINITION, "exclusive",        NULL,       "fail if it exists" },

        { KEY_WAIT,             OPTIONS_WAIT,       "wait",             "DURATION", "for others, at most so long; or infinity" },
        { KEY_CREATE,           OPTIONS_HOLD,       "create",           NULL,       "hold: create it if it does not exist" },
        { KEY_READ,             OPTIONS_HOLD,       "read",             NULL,       "hold: for reading only" },
        { KEY_FORCE,            OPTIONS_REMOVE,     "force",            NULL,       "remove: also while it is held" },
        { KEY_MORE,             OPTIONS_CALL,       "more",             NULL,       "call: ask for more than one reply" },
        { KEY_SINCE,            OPTIONS_WATCH,      "since",            "NUMBER",   "watch: begin after this event" },
};
/* clang-format on */

enum { N_OPTIONS = array_size(option_rows) };

static const char *group_title(enum option_group group)
{
        switch (group) {
        case OPTIONS_GLOBAL:
                return "Options:";
        case OPTIONS_DEFINITION:
                return "Options of create and hold --create:";
        case OPTIONS_WAIT:
                return "Options of create, hold and remove:";
        default:
                return "Options of one verb:";
        }
}

void options_help(void)
{
        const char *title = NULL;

        for (size_t i = 0; i < N_OPTIONS; i++) {
                const struct option_row *row = &option_rows[i];
                char letter[8] = "", name[64] = "";

                if (title != group_title(row->group)) {
                        title = group_title(row->group);
                        printf("\n%s\n", title);
                }
                if (row->key < KEY_VERSION)
                        snprintf(letter, sizeof(letter), "-%c%s", row->key, row->name != NULL ? "," : "");
                if (row->name != NULL)
                        snprintf(name, sizeof(name), "--%s%s%s", row->name, row->value != NULL ? "=" : "",
                                 row->value != NULL ? row->value : "");
                printf("  %-3s %-24s %s\n", letter, name, row->help);
        }
}

static const struct option_row *option_find(int key)
{
        for (size_t i = 0; i < N_OPTIONS; i++)
                if ((int)option_rows[i].key == key)
                        return &option_rows[i];
        return NULL;
}

static int parse_json(const char *word, enum json_mode *ret)
{
        static const char *const words[] = { [JSON_OFF] = "off", [JSON_SHORT] = "short", [JSON_PRETTY] = "pretty" };

        for (size_t i = 0; i < array_size(words); i++) {
                if (strcmp(word, words[i]) == 0) {
                        *ret = (enum json_mode)i;
                        return 0;
                }
        }
        return complain_value("--json", word, -EINVAL, "short, pretty or off");
}

static int parse_directory(const char *where, const char *word, const char **ret)
{
        if (word[0] != '/')
                return complain_value(where, word, -EINVAL, "an absolute directory, beginning with /");
        *ret = word;
        return 0;
}

static int parse_wait(const char *word, struct options *options)
{
        int64_t usec;
        int r;

        options->wait_given = true;
        options->env.wait_usec = 0; /* libregion's word for as long as it takes */
        if (strcmp(word, "infinity") == 0)
                return 0;
        r = duration_parse(word, &usec);
        if (r < 0)
                return complain_value("--wait", word, r, DURATION_EXPECTED ", or infinity");
        options->env.wait_usec = usec == 0 ? REGION_NO_WAIT : usec;
        return 0;
}

static int parse_since(const char *word, int64_t *ret)
{
        int r = number_parse(word, ret);

        return r < 0 ? complain_value("--since", word, r, SEQUENCE_EXPECTED) : 0;
}

static int add_subsystem(struct options *options, const char *word)
{
        options->env.sizes = &options->sizes;
        if (region_subsystems_parse(word, &options->env.subsystems, &options->sizes) == REGION_OK)
                return 0;
        complain("--subsystem: %s", region_error_message());
        return CTL_USAGE;
}

static int set_socket(struct options *options, const char *directory, const char *name)
{
        if (options->socket != NULL) {
                complain("only one of --socket, --system and --user can be given");
                return CTL_USAGE;
        }
        if (directory == NULL) {
                complain("--user: XDG_RUNTIME_DIR is not set, so there is no place for a user's own broker");
                return CTL_NO_BROKER;
        }
        if (asprintf(&options->socket, "%s%s", directory, name) < 0) {
                options->socket = NULL;
                complain("out of memory");
                return CTL_REFUSED;
        }
        return 0;
}

static int apply_global(struct options *options, enum option_key key, const char *value)
{
        switch (key) {
        case KEY_SOCKET:
                return set_socket(options, value, "");
        case KEY_SYSTEM:
                return set_socket(options, "/run", "/region-broker/org.regionbroker");
        case KEY_USER:
                return set_socket(options, secure_getenv("XDG_RUNTIME_DIR"), "/region-broker/org.regionbroker");
        case KEY_JSON:
                return parse_json(value, &options->json);
        case KEY_PRETTY:
                options->json = JSON_PRETTY;
                return 0;
        case KEY_NO_LEGEND:
                options->no_legend = true;
                return 0;
        case KEY_QUIET:
                options->quiet = true;
                return 0;
        case KEY_VERSION:
                options->verb = verb_find("version");
                return 0;
        default:
                options->verb = verb_find("help");
                return 0;
        }
}

/* What creates an environment: straight into the struct that libregion takes. */
static int apply_definition(struct region_env_options *env, enum option_key key, const char *value)
{
        int r;

        switch (key) {
        case KEY_BACKING:
                return backing_parse("--backing", value, &env->backing);
        case KEY_MODE:
                r = mode_parse(value, &env->mode);
                return r < 0 ? complain_value("--mode", value, r, MODE_EXPECTED) : 0;
        case KEY_GROUP:
                env->group = value;
                return 0;
        case KEY_LIFETIME:
                env->lifetime = region_lifetime_from_word(value);
                return env->lifetime != 0 ? 0 : complain_value("--lifetime", value, -EINVAL, LIFETIME_EXPECTED);
        case KEY_LINGER:
                r = duration_parse(value, &env->linger_usec);
                return r < 0 ? complain_value("--linger", value, r, DURATION_EXPECTED) : 0;
        case KEY_HOME:
                return parse_directory("--home", value, &env->home);
        case KEY_REGION_DIRECTORY:
                return parse_directory("--region-directory", value, &env->region_directory);
        case KEY_SHM_KEY:
                r = key_parse(value, &env->shm_key);
                return r < 0 ? complain_value("--shm-key", value, r, KEY_EXPECTED) : 0;
        case KEY_SCHEMA:
                env->schema = value;
                return 0;
        case KEY_RECOVERY:
                env->recovery = true;
                return 0;
        case KEY_SPARSE:
                env->sparse = true;
                return 0;
        case KEY_LOCK:
                env->lock = true;
                return 0;
        case KEY_HUGE_PAGES:
                env->huge_pages = true;
                return 0;
        case KEY_IGNORE_CONFIGURATION:
                env->ignore_configuration = true;
                return 0;
        case KEY_HUGETLB:
                env->hugetlb = true;
                return 0;
        default:
                env->create = REGION_CREATE_ALWAYS;
                return 0;
        }
}

static int apply(struct options *options, const struct option_row *row, const char *value)
{
        switch (row->group) {
        case OPTIONS_GLOBAL:
                return apply_global(options, row->key, value);
        case OPTIONS_DEFINITION:
                if (options->definition_option == NULL)
                        options->definition_option = row->name;
                if (row->key == KEY_SUBSYSTEM)
                        return add_subsystem(options, value);
                return apply_definition(&options->env, row->key, value);
        case OPTIONS_WAIT:
                return parse_wait(value, options);
        case OPTIONS_HOLD:
                *(row->key == KEY_CREATE ? &options->create : &options->read) = true;
                return 0;
        case OPTIONS_REMOVE:
                options->force = true;
                return 0;
        case OPTIONS_WATCH:
                return parse_since(value, &options->since);
        default:
                options->more = true;
                return 0;
        }
}

/* The options in getopt's own form; it ends with an empty row. */
static void getopt_rows(struct option *ret)
{
        for (size_t i = 0; i < N_OPTIONS; i++) {
                const struct option_row *row = &option_rows[i];
                int has_arg = row->value != NULL ? required_argument : no_argument;

                if (row->name != NULL)
                        *ret++ = (struct option){ row->name, has_arg, NULL, (int)row->key };
        }
        *ret = (struct option){ 0 };
}

static int complain_getopt(int result, char *const *argv)
{
        const struct option_row *row = option_find(optopt);
        const char *word = argv[optind - 1];

        assert(row != NULL || result != ':');
        if (result == ':')
                complain("--%s needs a value: %s", row->name, row->value);
        else if (row != NULL)
                complain("--%s takes no value", row->name);
        else if (optopt != 0)
                complain("unknown option -%c; see regionctl --help", optopt);
        else
                complain("unknown option %s; see regionctl --help", word);
        return CTL_USAGE;
}

/* The first operand is the verb; then its row judges the rest. */
static int find_verb(struct options *options, const bool *seen)
{
        const struct verb *verb;

        if (options->n_operands == 0) {
                complain("what is to be done? See regionctl --help");
                return CTL_USAGE;
        }
        verb = verb_find(options->operands[0]);
        if (verb == NULL) {
                complain("unknown verb '%s'; see regionctl --help", options->operands[0]);
                return CTL_USAGE;
        }
        options->verb = verb;
        options->operands++;
        options->n_operands--;

        for (size_t i = 0; i < N_OPTIONS; i++) {
                if (seen[i] && (option_rows[i].group & (verb->options | OPTIONS_GLOBAL)) == 0) {
                        complain("--%s does not belong to %s", option_rows[i].name, verb->name);
                        return CTL_USAGE;
                }
        }
        if (options->n_operands < verb->min_operands || options->n_operands > verb->max_operands) {
                complain("expected: regionctl %s %s", verb->name, verb->operands);
                return CTL_USAGE;
        }
        return 0;
}

int options_parse(int argc, char **argv, struct options *ret)
{
        struct option rows[N_OPTIONS + 1];
        bool seen[N_OPTIONS] = { false };
        int key, r;

        *ret = (struct options){ .since = -1 };
        getopt_rows(rows);
        while ((key = getopt_long(argc, argv, ":hjq", rows, NULL)) != -1) {
                const struct option_row *row;

                if (key == '?' || key == ':')
                        return complain_getopt(key, argv);
                row = option_find(key);
                assert(row != NULL); /* getopt knows those of the table alone */
                r = apply(ret, row, optarg);
                if (r != 0)
                        return r;
                seen[row - option_rows] = true;
        }
        ret->operands = argv + optind;
        ret->n_operands = (size_t)(argc - optind);
        return ret->verb != NULL ? 0 : find_verb(ret, seen); /* --help and --version are verbs already */
}

void options_deinit(struct options *options)
{
        free(options->socket);
        options->socket = NULL;
}
