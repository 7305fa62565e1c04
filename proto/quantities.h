#pragma once

/* Sizes, durations and the like as people write them, on a command line or in a file. A parser takes a word as a whole
 * or not at all: 0; -EINVAL it is not of the form; -ERANGE it is, but names too little or too much. */

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* Above zero, with K, M, G or T for powers of 1024: 4096, 64K, 12M */
int size_parse(const char *word, size_t *ret);
/* With us, ms, s, min, h or d; without a unit it is seconds: 500ms, 2min, 0 */
int duration_parse(const char *word, int64_t *ret_usec);
/* Permission bits, octal, at least one of them: 660, 0660 */
int mode_parse(const char *word, mode_t *ret);
/* A System V key, decimal or after 0x hexadecimal: 1 to 0x7fffffff */
int key_parse(const char *word, int32_t *ret);
/* From 1 to `most`, decimal */
int count_parse(const char *word, unsigned most, unsigned *ret);
/* Decimal, from 0 */
int number_parse(const char *word, int64_t *ret);

/* What the parsers take, and what words of the contract there are, for the sentence that refuses a word. */
#define SIZE_EXPECTED "a whole number above zero, with K, M, G or T for powers of 1024, as in 64K"
#define DURATION_EXPECTED "a whole number with us, ms, s, min, h or d, as in 500ms"
#define MODE_EXPECTED "octal permission bits from 1 to 777, as in 0660"
#define BACKING_EXPECTED "memfd, sysv, posix, file or private"
#define LIFETIME_EXPECTED "creator, attached or persistent"
#define KEY_EXPECTED "a System V key from 1 to 0x7fffffff, decimal or hexadecimal"
#define SEQUENCE_EXPECTED "the number of an event, or 0 for all that are remembered"

enum { VALUE_TEXT_MAX = 32 };

/* Each fills `text`, of VALUE_TEXT_MAX bytes, and returns it: exact, in the largest unit that is, and a word that the
 * parser takes. */
const char *bytes_text(uint64_t bytes, char *text);  /* 64K, 12M */
const char *duration_text(int64_t usec, char *text); /* 500ms, 2min */
