#include "daemon/host/record.h"

#include "proto/util.h"

#include <endian.h>
#include <string.h>
#include <sys/param.h>

void record_clear(struct record *record)
{
        free(record->bytes);
        *record = (struct record){};
}

static void put_bytes(struct record *record, const void *bytes, size_t n)
{
        if (record->n + n > record->allocated && !record->failed) {
                size_t wanted = MAX(2 * record->allocated, record->n + n + 256);
                uint8_t *grown = realloc(record->bytes, wanted);

                record->failed = !grown;
                if (grown) {
                        record->bytes = grown;
                        record->allocated = wanted;
                }
        }
        if (record->failed || n == 0)
                return;
        memcpy(record->bytes + record->n, bytes, n);
        record->n += n;
}

void record_put(struct record *record, uint64_t number)
{
        uint64_t bytes = htole64(number);

        put_bytes(record, &bytes, sizeof(bytes));
}

void record_put_signed(struct record *record, int64_t number)
{
        record_put(record, (uint64_t)number);
}

void record_put_text(struct record *record, const char *text)
{
        size_t n = text ? strlen(text) : 0;

        record_put(record, text ? n : UINT64_MAX);
        put_bytes(record, text, n);
}

void record_put_bytes(struct record *record, const void *bytes, size_t n)
{
        record_put(record, n);
        put_bytes(record, bytes, n);
}

void record_put_opt(struct record *record, const struct opt_int *number)
{
        record_put(record, number->given);
        record_put_signed(record, number->value);
}

/* --- reading ----------------------------------------------------------------------------------------------------- */

static const uint8_t *take_bytes(struct reading *reading, size_t n)
{
        const uint8_t *bytes = reading->bytes;

        if (reading->fault || n > reading->n) {
                reading->fault = true;
                return NULL;
        }
        reading->bytes += n;
        reading->n -= n;
        return bytes;
}

uint64_t record_take(struct reading *reading)
{
        const uint8_t *bytes = take_bytes(reading, sizeof(uint64_t));
        uint64_t number = 0;

        if (bytes)
                memcpy(&number, bytes, sizeof(number));
        return le64toh(number);
}

int64_t record_take_signed(struct reading *reading)
{
        return (int64_t)record_take(reading);
}

char *record_take_text(struct reading *reading)
{
        uint64_t n = record_take(reading);
        const uint8_t *bytes;
        char *text;

        if (reading->fault || n == UINT64_MAX)
                return NULL;
        bytes = take_bytes(reading, n);
        if (!bytes)
                return NULL;
        text = strndup((const char *)bytes, n);
        reading->fault = !text || strlen(text) != n;
        return text;
}

char *record_take_bytes(struct reading *reading, size_t *ret_n)
{
        size_t n = record_take(reading);
        const uint8_t *bytes = take_bytes(reading, n);
        char *copy;

        *ret_n = 0;
        if (!bytes || n == 0)
                return NULL;
        copy = malloc(n + 1);
        if (!copy) {
                reading->fault = true;
                return NULL;
        }
        memcpy(copy, bytes, n);
        copy[n] = '\0';
        *ret_n = n;
        return copy;
}

void record_take_opt(struct reading *reading, struct opt_int *ret)
{
        ret->given = record_take(reading);
        ret->value = record_take_signed(reading);
}

bool record_is_read(const struct reading *reading)
{
        return !reading->fault && reading->n == 0;
}
