#pragma once

#include "daemon/broker.h"

/* Making environments and regions: all of one or nothing. */

/* Makes the environment with its control page and the memory of all its regions, charged to nobody and known to nobody
 * yet. 0, a refusal, or -ENOMEM; then nothing is left. */
int creation_make(struct broker *broker, struct request *request, const char *name, const struct definition *definition,
                  struct environment **ret);
/* Gives back all that creation_make() made, and frees it; for one that is not in the registry. Takes NULL. */
void creation_undo(struct broker *broker, struct environment *environment);

/* What it made stays in the world, for another broker to find; the environment is left with its books alone. */
void creation_let_be(struct broker *broker, struct environment *environment);

/* Its files are where those of `like` are: 0, a refusal, or -ENOMEM. */
int creation_share_directory(struct refusal *refusal, struct environment *environment, const struct environment *like);
/* Makes its control page: 0, a refusal, or -ENOMEM. */
int creation_make_control(struct broker *broker, struct refusal *refusal, struct environment *environment);
/* Where the page is, for the caller to free; NULL where it is in no file. -ENOMEM. */
int creation_control_path(const struct broker *broker, const struct environment *environment, char **ret);
/* Writes its reference anew, in our name. -errno, of no consequence for the environment. */
int creation_renew_reference(struct broker *broker, struct environment *environment);

/* Where a broker begins to look for free System V keys; another for each instance, to keep out of each other's way. */
int32_t creation_first_key(uint64_t instance);

/* Its name or home, as the caller called it, is taken: REFUSED_ENVIRONMENT_EXISTS, which tells what else it is called to those
 * alone who may see it. */
int creation_refuse_taken(struct request *request, struct environment *environment, const char *called);

/* Makes one more region, not yet part of the environment. */
int creation_make_region(struct broker *broker, struct request *request, struct environment *environment,
                         const struct spec *spec, struct region **ret);
