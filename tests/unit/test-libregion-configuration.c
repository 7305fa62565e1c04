/* The configuration in a home: what it changes of what the broker is asked for, what is told of that, which file is
 * believed, and which line is refused. */

#include "tests/unit/fake-session.h"

#include "tests/support/scratch.h"

#include <errno.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>

#define OPEN_ANSWER SHOP("member")

static struct region_broker *broker;
static char *conf; /* the path of the file */

static void setup(void)
{
        conf = scratch_path("region-environment.conf");
}

static void teardown(void)
{
        owned(freep) char *target = scratch_path("target");

        unlink(target);
        unlink(conf);
        rmdir(conf);
        free(conf);
}

static void write_bytes(const void *bytes, size_t n)
{
        owned(closep) int fd = open(conf, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);

        ck_assert_int_ge(fd, 0);
        ck_assert_int_eq(write(fd, bytes, n), (ssize_t)n);
        ck_assert_int_eq(fchmod(fd, 0644), 0);
}

static void write_conf(const char *text)
{
        write_bytes(text, strlen(text));
}

/* Opens "shop" in the home; what was asked is known after finish(). */
static struct region_env *open_in_home(const struct region_env_options *options)
{
        struct region_env_options in_home = options ? *options : (struct region_env_options){};

        in_home.home = scratch;
        fake_answers_fd(OPEN_ANSWER, fake_memory(STOCK_SIZE));
        broker = start();
        return open_shop(broker, &in_home);
}

/* The definition of the first call, from after the home to before the end. */
static void check_asked(const char *wanted)
{
        owned(freep) char *whole = NULL;

        ck_assert_int_ge(asprintf(&whole, "%s,'session':1}}", wanted), 0);
        if (!strstr(fake_asked(0), whole))
                ck_abort_msg("'%s' lacks '%s'", fake_asked(0), whole);
}

/* Each as "field: wanted -> set @line", one to a line. */
static void check_overrides(const struct region_env *env, const char *wanted)
{
        const char *field, *asked, *set, *where;
        char text[2048] = "";
        size_t n = 0;

        for (size_t i = 0; region_env_override(env, i, &field, &asked, &set, &where); i++) {
                ck_assert_int_eq(strncmp(where, conf, strlen(conf)), 0);
                ck_assert_int_eq(where[strlen(conf)], ':');
                n += (size_t)snprintf(text + n, sizeof(text) - n, "%s: %s -> %s @%s\n", field, asked, set,
                                      where + strlen(conf) + 1);
        }
        ck_assert_str_eq(text, wanted);
}

static void check_refused(const struct region_env_options *options, const char *part)
{
        struct region_env_options in_home = options ? *options : (struct region_env_options){};
        struct region_env *env = NULL;

        in_home.home = scratch;
        broker = start();
        check_error(region_env_open(broker, "shop", &in_home, &env), REGION_E_INVALID, part);
        ck_assert_ptr_null(env);
        finish(broker);
        ck_assert_ptr_null(fake_asked(0));
}

/* --- what it says ------------------------------------------------------------------------------------------------ */

#define EVERYTHING                           \
        "# all there is\n"                   \
        "[environment]\n"                    \
        "backing = sysv\n"                   \
        "mode = 0660 ; also for the group\n" \
        "  group = shop\n"                   \
        "lifetime: persistent\n"             \
        "linger = 2min\r\n"                  \
        "recovery = yes\n"                   \
        "shm-key = 0x162e\n"                 \
        "sparse = yes\n"                     \
        "\n"                                 \
        "lock = yes\n"                       \
        "\thuge-pages = yes\n"               \
        "hugetlb = yes\n"                    \
        "region-directory = /srv/regions\n"  \
        "; and regions\n"                    \
        "[subsystems] # by size\n"           \
        "log = 64K\n"                        \
        "[region till]\n"                    \
        "size = 12M\n"                       \
        "backing = memfd\n"                  \
        "type = money\n"
#define TILL                              \
        {                                 \
                .name = "till", .size = 1 \
        }

static const struct region_spec till[] = { TILL };
static const struct region_spec till_of_money[] = {
        { .name = "till", .size = 12 << 20, .backing = REGION_BACKING_MEMFD, .type = "money" },
};
static const struct region_subsystem_sizes log_of_64K = { .log = 64 << 10 };

#define EVERYTHING_ASKED                                                                                               \
        "'regionDirectory':'/srv/regions','shmKey':5678,'mode':432,'group':'shop','lifetime':'persistent',"            \
        "'lingerUSec':120000000,'recovery':true,'reserve':false,'lock':true,'hugePages':true,"                         \
        "'hugetlb':true,'regions':[{'name':'env','type':'env','size':65536},{'name':'log','type':'log','size':65536}," \
        "{'name':'till','type':'money','size':12582912,'backing':'memfd'}]}"

START_TEST(what_the_file_says_wins_and_is_told)
{
        const struct region_env_options options = { .create = REGION_CREATE_IF_ABSENT,
                                                    .regions = till,
                                                    .n_regions = 1 };
        struct region_env *env;

        write_conf(EVERYTHING);
        env = open_in_home(&options);
        check_overrides(env, "subsystems.log: absent -> 64K @18\n"
                             "backing: default -> sysv @3\n"
                             "mode: 0600 -> 0660 @4\n"
                             "group: default -> shop @5\n"
                             "lifetime: default -> persistent @6\n"
                             "linger: 0 -> 2min @7\n"
                             "recovery: no -> yes @8\n"
                             "shm-key: default -> 0x162e @9\n"
                             "sparse: no -> yes @10\n"
                             "lock: no -> yes @12\n"
                             "huge-pages: no -> yes @13\n"
                             "hugetlb: no -> yes @14\n"
                             "region-directory: default -> /srv/regions @15\n"
                             "regions.till.size: 1 -> 12M @20\n"
                             "regions.till.backing: default -> memfd @21\n"
                             "regions.till.type: default -> money @22\n");
        finish(broker);
        check_asked(EVERYTHING_ASKED);
}
END_TEST

START_TEST(what_the_program_wanted_anyway_is_no_override)
{
        const struct region_env_options options = {
                .create = REGION_CREATE_IF_ABSENT,
                .backing = REGION_BACKING_SYSV,
                .region_directory = "/srv/regions",
                .shm_key = 0x162e,
                .mode = 0660,
                .group = "shop",
                .lifetime = REGION_LIFETIME_PERSISTENT,
                .linger_usec = 120000000,
                .recovery = true,
                .sparse = true,
                .lock = true,
                .huge_pages = true,
                .hugetlb = true,
                .subsystems = REGION_SUBSYSTEM_LOG,
                .sizes = &log_of_64K,
                .regions = till_of_money,
                .n_regions = 1,
        };

        write_conf(EVERYTHING);
        check_overrides(open_in_home(&options), "");
        finish(broker);
        check_asked(EVERYTHING_ASKED);
}
END_TEST

static const struct region_subsystem_sizes four_caches = { .mpool = 8 << 20, .mpool_caches = 4 };
static const struct region_spec two_regions[] = { TILL, { .name = "stock", .size = 5 } };

static const struct {
        struct region_env_options options;
        const char *text;
        const char *asked;
        const char *overrides;
} changes[] = {
        /* what the program wants is taken back */
        { { .recovery = true, .sparse = true, .lock = true, .huge_pages = true, .hugetlb = true },
          "[environment]\nrecovery=no\nsparse=no\nlock=no\nhuge-pages=no\nhugetlb=no\n",
          "'recovery':false,'reserve':true,'lock':false,'hugePages':false,'hugetlb':false,'regions':[]}",
          "recovery: yes -> no @2\nsparse: yes -> no @3\nlock: yes -> no @4\nhuge-pages: yes -> no @5\n"
          "hugetlb: yes -> no @6\n" },
        { { .mode = 0640, .linger_usec = 500000 },
          "[environment]\nmode=600\nlinger=0\n",
          "'mode':384,'lingerUSec':0,'regions':[]}",
          "mode: 0640 -> 0600 @2\nlinger: 500ms -> 0 @3\n" },
        /* one region of several, and a default that is said */
        { { .regions = two_regions, .n_regions = 2 },
          "[environment]\nmode=0600\n[region stock]\nsize=1K\n",
          "'mode':384,'regions':[{'name':'till','size':1},{'name':'stock','size':1024}]}",
          "regions.stock.size: 5 -> 1K @4\n" },
        /* a region more, its settings apart from each other */
        { { .create = REGION_CREATE_IF_ABSENT, .regions = till, .n_regions = 1 },
          "[region more]\ntype=log\n[environment]\nmode=0660\n[region more]\nsize=3\n",
          "'mode':432,'regions':[{'name':'till','size':1},{'name':'more','type':'log','size':3}]}",
          "regions.more: absent -> present @6\nmode: 0600 -> 0660 @4\n" },
        /* a region that a subsystem makes; the number of caches stays where it is not said */
        { { .subsystems = REGION_SUBSYSTEM_MPOOL, .sizes = &four_caches },
          "[region mpool2]\nsize=64K\n[subsystems]\nmpool=4M\n",
          "'regions':[{'name':'env','type':'env','size':65536},{'name':'mpool1','type':'mpool','size':1048576},"
          "{'name':'mpool2','type':'mpool','size':65536},{'name':'mpool3','type':'mpool','size':1048576},"
          "{'name':'mpool4','type':'mpool','size':1048576}]}",
          "subsystems.mpool: 8M*4 -> 4M*4 @4\nregions.mpool2.size: 1M -> 64K @2\n" },
        { { .subsystems = REGION_SUBSYSTEM_MPOOL },
          "[subsystems]\nmpool=2M*2\nenv=4K\n",
          "'regions':[{'name':'env','type':'env','size':4096},{'name':'mpool1','type':'mpool','size':1048576},"
          "{'name':'mpool2','type':'mpool','size':1048576}]}",
          "subsystems.mpool: 256K -> 2M*2 @2\nsubsystems.env: 64K -> 4K @3\n" },
        /* a program that compares need not list the regions: of those that the file adds, it compares */
        { { .schema = "v1" },
          "[region till]\ntype=money\n[region more]\nsize=7\n",
          "'schema':'v1','regions':[{'name':'more','size':7}]}",
          "regions.more: absent -> present @4\n" },
        /* a name that is longer than any that inih keeps */
        { { .regions = till, .n_regions = 1 },
          "[region "
          "a-very-long-name-of-a-region-that-is-longer-than-fifty-bytes-and-goes-on ]\nsize=1\n",
          "{'name':'a-very-long-name-of-a-region-that-is-longer-than-fifty-bytes-and-goes-on','size':1}]}",
          "regions.a-very-long-name-of-a-region-that-is-longer-than-fifty-bytes-and-goes-on: absent -> present @2\n" },
        /* the mark that some editors put before UTF-8, names with blanks, no end of the last line */
        { { .regions = till, .n_regions = 1 },
          "\xef\xbb\xbf[region caf\xc3\xa9 au lait]\nsize = 1",
          "'regions':[{'name':'till','size':1},{'name':'caf\xc3\xa9 au lait','size':1}]}",
          "regions.caf\xc3\xa9 au lait: absent -> present @2\n" },
        { {}, "", "'regions':[]}", "" },
        { {}, "\n\n#\n;\n[environment]\n[subsystems]\n[region x]\n", "'regions':[]}", "" },
};

START_TEST(a_file_changes_what_it_names_and_nothing_else)
{
        write_conf(changes[_i].text);
        check_overrides(open_in_home(&changes[_i].options), changes[_i].overrides);
        finish(broker);
        check_asked(changes[_i].asked);
}
END_TEST

START_TEST(without_a_file_nothing_changes)
{
        const struct region_env_options options = { .regions = till, .n_regions = 1 };

        check_overrides(open_in_home(&options), "");
        finish(broker);
        check_asked("'regions':[{'name':'till','size':1}]}");
}
END_TEST

/* --- whose home -------------------------------------------------------------------------------------------------- */

/* Opens by that name, NULL being the variable's; the file says what cannot be. */
static enum region_result open_with_nonsense(const char *name, const struct region_env_options *options)
{
        struct region_env *env;
        enum region_result r;

        write_conf("nonsense");
        broker = start();
        r = region_env_open(broker, name, options, &env);
        finish(broker);
        return r;
}

START_TEST(a_home_that_names_the_environment_has_its_file_read)
{
        const struct region_env_options options = { .create = REGION_CREATE_IF_ABSENT };
        owned(freep) char *slash = NULL;

        ck_assert_int_ge(asprintf(&slash, "%s/", scratch), 0);
        setenv("REGION_ENVIRONMENT", scratch, 1);
        check_error(open_with_nonsense(_i == 0 ? scratch : _i == 1 ? slash : NULL, &options), REGION_E_INVALID, conf);
}
END_TEST

static const struct region_env_options deaf[] = {
        { .access = REGION_READ, .wait_usec = 5 },                           /* neither makes nor compares */
        { .create = REGION_CREATE_IF_ABSENT, .ignore_configuration = true }, /* does not want it */
        { .create = REGION_CREATE_IF_ABSENT, .home = "/nonexistent" },       /* has another home */
        { .create = REGION_CREATE_IF_ABSENT, .home = "." }                   /* has none: the broker says so */
};

START_TEST(the_file_is_read_by_whom_it_concerns)
{
        fake_answers_fd(OPEN_ANSWER, fake_memory(STOCK_SIZE));
        ck_assert_int_eq(chdir(scratch), 0);
        check(open_with_nonsense(scratch, &deaf[_i]));
}
END_TEST

START_TEST(the_options_home_goes_before_the_name)
{
        const struct region_env_options options = { .home = scratch };

        check_error(open_with_nonsense("/nonexistent", &options), REGION_E_INVALID, conf);
}
END_TEST

/* --- trust ------------------------------------------------------------------------------------------------------- */

/* What it points to would do. */
static void make_link(void)
{
        owned(freep) char *target = scratch_path("target");

        write_conf("");
        ck_assert_int_eq(rename(conf, target), 0);
        ck_assert_int_eq(symlink("target", conf), 0);
}

static void make_directory(void)
{
        ck_assert_int_eq(mkdir(conf, 0755), 0);
}

/* Nobody ever writes into it. */
static void make_fifo(void)
{
        ck_assert_int_eq(mkfifo(conf, 0644), 0);
}

static void make_socket(void)
{
        struct sockaddr_un address = { .sun_family = AF_UNIX };
        owned(closep) int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

        ck_assert_uint_lt(strlen(conf), sizeof(address.sun_path));
        strcpy(address.sun_path, conf);
        ck_assert_int_eq(bind(fd, (struct sockaddr *)&address, sizeof(address)), 0);
}

static void make_writable_for_group(void)
{
        write_conf("");
        ck_assert_int_eq(chmod(conf, 0664), 0);
}

static void make_writable_for_others(void)
{
        write_conf("");
        ck_assert_int_eq(chmod(conf, 0646), 0);
}

static void make_too_large(void)
{
        char text[64 * 1024 + 1];

        memset(text, '\n', sizeof(text));
        write_bytes(text, sizeof(text));
}

static const struct {
        void (*make)(void);
        const char *reason;
} untrusted[] = {
        { make_link, "is not used: it is not a regular file; remove it" },
        { make_directory, "is not used: it is not a regular file" },
        { make_fifo, "is not used: it is not a regular file" },
        { make_socket, "is not used: it is not a regular file" },
        { make_writable_for_group, "is not used: its group or others can write it; chmod go-w it" },
        { make_writable_for_others, "is not used: its group or others can write it" },
        { make_too_large, "is not used: it is larger than 65536 bytes" },
};

START_TEST(a_file_that_cannot_be_trusted_is_refused)
{
        untrusted[_i].make();
        check_refused(NULL, untrusted[_i].reason);
        ck_assert_ptr_nonnull(strstr(region_error_message(), conf));
}
END_TEST

START_TEST(a_file_as_large_as_may_be_is_read_to_its_end)
{
        char text[64 * 1024];

        memset(text, '\n', sizeof(text));
        memcpy(text + sizeof(text) - 2, "x\n", 2);
        write_bytes(text, sizeof(text));
        check_refused(NULL, ".conf:65535: expected NAME = VALUE or [SECTION]");
}
END_TEST

/* Somebody else, from here on. */
static void become_somebody_else(void)
{
        ck_assert_int_eq(setegid(65534), 0);
        ck_assert_int_eq(seteuid(65534), 0);
}

static void become_root_again(void)
{
        ck_assert_int_eq(seteuid(0), 0);
        ck_assert_int_eq(setegid(0), 0);
}

START_TEST(a_file_of_another_user_is_refused)
{
        write_conf("");
        ck_assert_int_eq(chown(conf, 12345, 12345), 0);
        check_refused(NULL, "is not used: it belongs to uid 12345, and has to belong to root or to uid 0; chown it");
}
END_TEST

/* Of root (0), or of the effective user (1). */
START_TEST(a_file_of_root_or_of_the_effective_user_is_read)
{
        struct region_env *env;

        write_conf("[environment]\nmode=0660\n");
        ck_assert_int_eq(chown(conf, _i == 0 ? 0 : 65534, 12345), 0);
        fake_answers_fd(OPEN_ANSWER, fake_memory(STOCK_SIZE));
        broker = start();
        become_somebody_else();
        env = open_shop(broker, &(struct region_env_options){ .home = scratch });
        check_overrides(env, "mode: 0600 -> 0660 @2\n");
        become_root_again();
        finish(broker);
}
END_TEST

START_TEST(a_file_that_cannot_be_read_is_refused)
{
        struct region_env *env;

        write_conf("");
        ck_assert_int_eq(chmod(conf, 0600), 0);
        broker = start();
        become_somebody_else();
        check_error(region_env_open(broker, "shop", &(struct region_env_options){ .home = scratch }, &env),
                    REGION_E_INVALID, "is not used: this process may not read it");
        become_root_again();
        finish(broker);
        ck_assert_ptr_null(fake_asked(0));
}
END_TEST

START_TEST(in_a_directory_that_cannot_be_entered_there_is_no_file)
{
        write_conf("nonsense");
        ck_assert_int_eq(chmod(scratch, 0700), 0);
        fake_answers_fd(OPEN_ANSWER, fake_memory(STOCK_SIZE));
        broker = start();
        become_somebody_else();
        check_overrides(open_shop(broker, &(struct region_env_options){ .home = scratch }), "");
        become_root_again();
        finish(broker);
}
END_TEST

START_TEST(a_process_without_descriptors_is_told_that_and_not_that_there_is_no_file)
{
        struct rlimit limit, none;
        struct region_env *env;

        write_conf("");
        broker = start();
        ck_assert_int_eq(getrlimit(RLIMIT_NOFILE, &limit), 0);
        none = limit;
        none.rlim_cur = 0;
        ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &none), 0);
        check_error(region_env_open(broker, "shop", &(struct region_env_options){ .home = scratch }, &env),
                    REGION_E_RESOURCE, "region-environment.conf cannot be opened (Too many open files)");
        ck_assert_int_eq(region_last_error()->errnum, EMFILE);
        ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &limit), 0);
        finish(broker);
        ck_assert_ptr_null(fake_asked(0));
}
END_TEST

/* --- wrong lines ------------------------------------------------------------------------------------------------- */

#define A_10 "aaaaaaaaaa"
#define A_50 A_10 A_10 A_10 A_10 A_10

static const struct {
        const char *text;
        const char *sentence;
} wrong[] = {
        { "nonsense\n", ":1: expected NAME = VALUE or [SECTION]" },
        { "\n\n[environment]\n\nmode\n", ":5: expected NAME = VALUE or [SECTION]" },
        { "nonsense\n[environment]\nmode=8\n", ":1: expected NAME = VALUE" },
        { "nonsense\n[x]\n", ":1: expected NAME = VALUE" },
        { "[x]\nnonsense\n", ":1: '[x]' is no section" },
        { "[environment]\nmode=8\nnonsense\n", ":3: expected NAME = VALUE" }, /* what cannot be read comes first */
        { "mode=0600\n", ":1: 'mode' stands in no section; expected [environment], [subsystems] or [region NAME]" },
        { "[enviroment]\n", ":1: '[enviroment]' is no section; expected [environment], [subsystems] or [region NAME]" },
        { "[environment\n", ":1: '[environment' is no section" },
        { "[]\n", ":1: '[]' is no section" },
        { "[region]\n", ":1: '[region]' is no section" },
        { "[region  ]\n", ":1: '[region  ]' is no section" },
        { "[regions a]\n", ":1: '[regions a]' is no section" },
        { "[environment] mode=0600\n", ":1: '[environment] mode=0600' is no section" },
        { "[environment]\nbackings=memfd\n",
          ":2: 'backings' cannot be set here; expected one of backing, mode, group, lifetime, linger, recovery,"
          " shm-key, sparse, lock, huge-pages, hugetlb, region-directory" },
        { "[environment]\nsize=1K\n", ":2: 'size' cannot be set here" },
        { "[environment]\nschema=v1\n", ":2: 'schema' cannot be set here" },
        { "[environment]\nhome=/srv\n", ":2: 'home' cannot be set here" },
        { "[region till]\nmode=0600\n", ":2: 'mode' cannot be set here; expected one of size, backing, type" },
        { "[environment]\nbacking=disk\n",
          ":2: backing: 'disk' is not understood; expected memfd, sysv, posix, file or" },
        { "[environment]\nmode=1777\n", ":2: mode: '1777' is out of range; expected octal permission bits" },
        { "[environment]\nmode=\n", ":2: mode: '' is not understood" },
        { "[environment]\ngroup=\n", ":2: group: '' is not understood; expected the name of a group" },
        { "[environment]\nlifetime=long\n", ":2: lifetime: 'long' is not understood; expected creator, attached or" },
        { "[environment]\nlinger=soon\n", ":2: linger: 'soon' is not understood; expected a whole number with us, ms" },
        { "[environment]\nrecovery=true\n", ":2: recovery: 'true' is not understood; expected yes or no" },
        { "[environment]\nshm-key=0\n", ":2: shm-key: '0' is out of range; expected a System V key" },
        { "[environment]\nsparse=1\n", ":2: sparse: '1' is not understood; expected yes or no" },
        { "[environment]\nlock=YES\n", ":2: lock: 'YES' is not understood" },
        { "[environment]\nhuge-pages=\n", ":2: huge-pages: '' is not understood" },
        { "[environment]\nhugetlb=1\n", ":2: hugetlb: '1' is not understood; expected yes or no" },
        { "[environment]\nregion-directory=here\n",
          ":2: region-directory: 'here' is not understood; expected an absolute" },
        { "[region till]\nsize=0\n", ":2: size: '0' is out of range; expected a whole number above zero" },
        { "[region till]\nsize=64KB\n", ":2: size: '64KB' is not understood" },
        { "[region till]\nbacking=no\n", ":2: backing: 'no' is not understood" },
        { "[region till]\ntype=\n", ":2: type: '' is not understood; expected a word" },
        { "[region new]\ntype=log\n", ":2: the program makes no region 'new'; set its size here for it to be added" },
        { "[subsystems]\ndisk=1K\n", ":2: 'disk' is no subsystem; expected mutex, lock, log, mpool, txn or env" },
        { "[subsystems]\nlog=1K*2\n", ":2: log: '1K*2' is not understood; expected a size" },
        { "[subsystems]\nmpool=1M*65\n", ":2: mpool: '1M*65' is out of range; expected a size as in 64K, for mpool" },
        { "[environment]\nmode=0600\n\nmode=0600\n", ":4: 'mode' was set in line 2; set it once" },
        { "[environment]\nmode=0600\n[region a]\nsize=1\n[environment]\nmode=0600\n", ":6: 'mode' was set in line 2" },
        { "[region a]\nsize=1\n[region b]\nsize=1\n[region a]\nsize=1\n", ":6: 'size' was set in line 2" },
        { "[subsystems]\nlog=1K\n[environment]\n[subsystems]\nlog=1K\n", ":5: 'log' was set in line 2" },
        { "[environment]\ngroup=caf\xe9\n", ":2: it is not text in UTF-8" },
        { "#" A_50 A_50 A_50 A_50 "\n", ":1: it is longer than 199 bytes; make it shorter" },
        { "[subsystems]\nlog=1K\n[region till]\nsize=1\n", NULL }, /* so much for the test itself */
};

START_TEST(a_wrong_line_is_named_with_what_is_expected)
{
        const struct region_env_options options = { .create = REGION_CREATE_ALWAYS, .regions = till, .n_regions = 1 };
        owned(freep) char *sentence = NULL;

        write_conf(wrong[_i].text);
        if (!wrong[_i].sentence) {
                open_in_home(&options);
                finish(broker);
                return;
        }
        ck_assert_int_ge(asprintf(&sentence, "%s%s", conf, wrong[_i].sentence), 0);
        check_refused(&options, sentence);
}
END_TEST

START_TEST(what_is_no_text_is_refused)
{
        write_bytes("[environment]\nmode=06\0"
                    "60\n",
                    24);
        check_refused(NULL, ".conf:2: it is not text");
}
END_TEST

START_TEST(a_line_may_be_as_long_as_inih_can_take)
{
        write_conf("#" A_50 A_50 A_50 A_10 A_10 A_10 A_10 "aaaaaaaa\n");
        check_overrides(open_in_home(NULL), "");
        finish(broker);
}
END_TEST

START_TEST(what_only_compares_has_its_file_checked_as_well)
{
        write_conf("[region unlisted]\nbacking=paper\n");
        check_refused(&(struct region_env_options){ .schema = "v1" }, ":2: backing: 'paper' is not understood");
}
END_TEST

START_TEST(a_subsystem_of_the_file_may_not_clash_with_a_region_of_the_program)
{
        static const struct region_spec log[] = { { .name = "log", .size = 1 } };

        write_conf("[subsystems]\nlog=1K\n");
        check_refused(&(struct region_env_options){ .regions = log, .n_regions = 1 },
                      "region 'log' is among the regions");
}
END_TEST

static void add_trust(TCase *trust)
{
        tcase_add_loop_test(trust, a_file_that_cannot_be_trusted_is_refused, 0, (int)array_size(untrusted));
        tcase_add_test(trust, a_file_as_large_as_may_be_is_read_to_its_end);
        tcase_add_test(trust, a_process_without_descriptors_is_told_that_and_not_that_there_is_no_file);
        if (geteuid() != 0) {
                fputs("test-libregion-configuration: other users are not tried, for that takes root\n", stderr);
                return;
        }
        tcase_add_test(trust, a_file_of_another_user_is_refused);
        tcase_add_loop_test(trust, a_file_of_root_or_of_the_effective_user_is_read, 0, 2);
        tcase_add_test(trust, a_file_that_cannot_be_read_is_refused);
        tcase_add_test(trust, in_a_directory_that_cannot_be_entered_there_is_no_file);
}

int main(void)
{
        Suite *suite = suite_create("libregion-configuration");
        TCase *saying = fake_case(suite, "saying"), *homes = fake_case(suite, "homes");
        TCase *trust = fake_case(suite, "trust"), *lines = fake_case(suite, "lines");
        TCase *all[] = { saying, homes, trust, lines };

        for (size_t i = 0; i < array_size(all); i++) {
                scratch_add(all[i]);
                tcase_add_checked_fixture(all[i], setup, teardown);
        }
        tcase_add_test(saying, what_the_file_says_wins_and_is_told);
        tcase_add_test(saying, what_the_program_wanted_anyway_is_no_override);
        tcase_add_loop_test(saying, a_file_changes_what_it_names_and_nothing_else, 0, (int)array_size(changes));
        tcase_add_test(saying, without_a_file_nothing_changes);

        tcase_add_loop_test(homes, a_home_that_names_the_environment_has_its_file_read, 0, 3);
        tcase_add_loop_test(homes, the_file_is_read_by_whom_it_concerns, 0, (int)array_size(deaf));
        tcase_add_test(homes, the_options_home_goes_before_the_name);

        add_trust(trust);

        tcase_add_loop_test(lines, a_wrong_line_is_named_with_what_is_expected, 0, (int)array_size(wrong));
        tcase_add_test(lines, what_is_no_text_is_refused);
        tcase_add_test(lines, a_line_may_be_as_long_as_inih_can_take);
        tcase_add_test(lines, what_only_compares_has_its_file_checked_as_well);
        tcase_add_test(lines, a_subsystem_of_the_file_may_not_clash_with_a_region_of_the_program);

        return check_run(suite);
}
