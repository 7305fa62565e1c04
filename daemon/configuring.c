#include "daemon/configuring.h"

#include "daemon/environments.h"
#include "daemon/server/declared.h"
#include "proto/util.h"
#include "version.h"

#include <errno.h>
#include <stdio.h>

static void read_files(const struct options *options, struct configuration *configuration)
{
        const char *const directories[] = { options->config_directory, options->system ? VENDOR_DIRECTORY : NULL,
                                            NULL };

        for (unsigned i = 0; i < options->n_config; i++)
                configuration_read(configuration, options->config[i]);
        if (options->n_config == 0 && !options->no_config && options->config_directory)
                configuration_read_standard(configuration, directories);
}

/* Where a file says nothing of an owner, they are of the user who is served; of all, root's. */
static void read_environments(const struct options *options, struct configuration *configuration)
{
        uid_t owner = options->system ? 0 : geteuid();
        bool standard = options->n_config == 0 && !options->no_config && options->config_directory;
        const char *directories[3] = { options->environments };
        owned(freep) char *own = NULL;

        if (!options->environments && standard) {
                if (asprintf(&own, "%s/environments.d", options->config_directory) < 0) {
                        own = NULL;
                        configuration->failed = true;
                }
                directories[0] = own;
                directories[1] = options->system ? VENDOR_DIRECTORY "/environments.d" : NULL;
        }
        environments_read(configuration, directories, owner);
}

static void note(struct configuration *configuration, const char *name, const char *value, bool given)
{
        configuration_note(configuration, name, value, given ? "command line" : "default");
}

/* What no file can set, for it decides which files are read, or is needed before. */
static void note_options(const struct options *options, struct configuration *configuration)
{
        char name[32];

        if (options->check_config)
                return;
        note(configuration, "daemon.runtimeDirectory", options->runtime_directory, options->runtime_given);
        note(configuration, "daemon.stateDirectory", options->state_directory, options->state_given);
        for (unsigned i = 0; i < options->n_listen; i++) {
                snprintf(name, sizeof(name), "daemon.listen.%u", i + 1);
                note(configuration, name, options->listen[i], !options->listen_by_default);
        }
}

int configuring_read(const struct options *options, struct configuration *ret)
{
        configuration_init(ret);
        note_options(options, ret);
        read_files(options, ret);
        read_environments(options, ret);
        configuration_set_limits(ret, &options->limits);
        if (options->level_given)
                configuration_set_level(ret, options->log_level);
        configuration_finish(ret);
        if (!ret->failed)
                return 0;
        configuration_deinit(ret);
        return -ENOMEM;
}

void configuring_complain(const struct configuration *configuration)
{
        for (size_t i = 0; i < configuration->n_complaints; i++)
                log_warning("%s", configuration->complaints[i]);
}

bool configuring_check(const struct configuration *configuration)
{
        for (size_t i = 0; i < configuration->n_complaints; i++)
                puts(configuration->complaints[i]);
        if (configuration->n_complaints == 0)
                printf("%u %s read, nothing is wrong\n", configuration->n_files,
                       configuration->n_files == 1 ? "file" : "files");
        return configuration->n_complaints == 0;
}

void configuring_apply(const struct configuration *configuration, struct broker *broker)
{
        log_set_level(configuration->level);
        broker_configure(broker, &configuration->limits, &configuration->rules, &configuration->settings);
}

int configuring_reload(const struct options *options, struct configuration *current, struct broker *broker)
{
        struct configuration next, before = *current;
        int r = configuring_read(options, &next);

        if (r < 0) {
                log_error("the configuration stays as it was: out of memory");
                return r;
        }
        configuring_complain(&next);
        if (next.n_unread_files > 0) {
                log_error("the configuration stays as it was, for what could not be read would be lost");
                configuration_deinit(&next);
                return -EAGAIN;
        }
        configuration_carry_over(current, &next);
        *current = next;
        configuring_apply(current, broker);
        configuration_deinit(&before);
        declared_settle(broker);
        log_notice("read the configuration anew: %u files, %zu complaints", current->n_files, current->n_complaints);
        return 0;
}
