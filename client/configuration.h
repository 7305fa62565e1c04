#pragma once

/* The file of settings in a home. Here it is read and trusted or not; what it means is override.h's business. */

#include "client/libregion.h"

#include "proto/arena.h"

#define CONFIGURATION_NAME "region-environment.conf"

enum section { SECTION_NONE, SECTION_ENVIRONMENT, SECTION_SUBSYSTEMS, SECTION_REGION };

/* NAME = VALUE, and where it stands. */
struct setting {
        enum section section;
        const char *region; /* of SECTION_REGION: its name */
        const char *name;
        const char *value;
        unsigned line;
};

struct configuration {
        const char *path;
        struct setting *settings;
        size_t n_settings;
};

/* Reads the file of that home, all in the arena. No settings at all where there is none, where `home` is no absolute
 * path (NULL too), and in a program that runs with more rights than its caller. REGION_E_INVALID: it cannot be
 * trusted, or a line cannot be read; the message says what to do. REGION_E_RESOURCE, REGION_E_MEMORY. */
enum region_result configuration_read(struct configuration *configuration, const char *home, struct arena *arena);

/* Notes what is wrong with a line, and returns REGION_E_INVALID. */
#define configuration_wrong(configuration, line, format, ...) \
        failure_note(REGION_E_INVALID, "%s:%u: " format, (configuration)->path, line, ##__VA_ARGS__)
