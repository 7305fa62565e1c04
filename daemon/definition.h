#pragma once

#include "daemon/broker.h"

/* Is the name of an environment, region or schema one that we take? 0, or REFUSED_NAME. */
int definition_check_name(const char *name, struct refusal *refusal);
/* May the caller give this name? 0, or REFUSED_NAME. */
int definition_check_reserved(const struct broker *broker, struct request *request, const char *name);
/* What it does not ask for is as the administrator decided. */
void definition_fill_in(const struct broker *broker, struct definition *definition);
/* Is the definition whole and within the limits? 0, or a refusal. */
int definition_check(struct broker *broker, struct request *request, const struct definition *definition);
/* The same for one more region of an environment that exists. */
int definition_check_region(struct broker *broker, struct request *request, const struct environment *environment,
                            const struct spec *spec);

/* Whole pages; `hugetlb`: of the pool of huge ones. */
int64_t definition_round_size(const struct broker *broker, bool hugetlb, int64_t size);
/* REFUSED_INVALID_PARAMETER, naming the parameter at fault. */
int definition_refuse(struct refusal *refusal, const char *parameter);
