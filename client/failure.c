/* One note per thread. It holds copies, for what went wrong is often freed before anybody asks. */

#include "client/failure.h"

#include "proto/util.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static _Thread_local struct {
        struct region_error error;
        char message[512];
        char command[64];
        char operation[32];
        int hushed;
} note;

static const char *const result_names[] = {
        [REGION_OK] = "REGION_OK",
        [REGION_E_ABSENT] = "REGION_E_ABSENT",
        [REGION_E_DISCONNECTED] = "REGION_E_DISCONNECTED",
        [REGION_E_TIMEOUT] = "REGION_E_TIMEOUT",
        [REGION_E_FORKED] = "REGION_E_FORKED",
        [REGION_E_PROTOCOL] = "REGION_E_PROTOCOL",
        [REGION_E_UNSUPPORTED] = "REGION_E_UNSUPPORTED",
        [REGION_E_INVALID] = "REGION_E_INVALID",
        [REGION_E_MEMORY] = "REGION_E_MEMORY",
        [REGION_E_DENIED] = "REGION_E_DENIED",
        [REGION_E_NOT_FOUND] = "REGION_E_NOT_FOUND",
        [REGION_E_EXISTS] = "REGION_E_EXISTS",
        [REGION_E_NO_REGION] = "REGION_E_NO_REGION",
        [REGION_E_REGION_EXISTS] = "REGION_E_REGION_EXISTS",
        [REGION_E_NOT_READY] = "REGION_E_NOT_READY",
        [REGION_E_RECOVERY] = "REGION_E_RECOVERY",
        [REGION_E_ROLE] = "REGION_E_ROLE",
        [REGION_E_NOT_ATTACHED] = "REGION_E_NOT_ATTACHED",
        [REGION_E_BUSY] = "REGION_E_BUSY",
        [REGION_E_SCHEMA] = "REGION_E_SCHEMA",
        [REGION_E_KEY_IN_USE] = "REGION_E_KEY_IN_USE",
        [REGION_E_QUOTA] = "REGION_E_QUOTA",
        [REGION_E_RESOURCE] = "REGION_E_RESOURCE",
        [REGION_E_NAMESPACE] = "REGION_E_NAMESPACE",
        [REGION_E_NAME] = "REGION_E_NAME",
        [REGION_E_OWNER_DIED] = "REGION_E_OWNER_DIED",
        [REGION_E_NOT_RECOVERABLE] = "REGION_E_NOT_RECOVERABLE",
        [REGION_E_SIZE] = "REGION_E_SIZE",
};

const char *region_result_name(enum region_result result)
{
        return (size_t)result < array_size(result_names) ? result_names[result] : "?";
}

const struct region_error *region_last_error(void)
{
        if (!note.error.message)
                note.error.message = "no call of this thread has failed";
        return &note.error;
}

const char *region_error_message(void)
{
        return region_last_error()->message;
}

const char *errno_text(int errnum)
{
        const char *text = strerrordesc_np(errnum);

        return text ? text : "an unknown error";
}

static void blank_control_characters(char *text)
{
        for (; *text; text++)
                if ((unsigned char)*text < ' ' || *text == 0x7f)
                        *text = '?';
}

/* Copies what fits; NULL stays NULL. */
static const char *keep(char *buffer, size_t size, const char *text)
{
        if (!text)
                return NULL;
        snprintf(buffer, size, "%s", text);
        blank_control_characters(buffer);
        return buffer;
}

__attribute__((format(printf, 2, 0))) static enum region_result note_sentence(enum region_result code,
                                                                              const char *format, va_list arguments)
{
        if (note.hushed)
                return code;
        vsnprintf(note.message, sizeof(note.message), format, arguments);
        blank_control_characters(note.message);
        note.error = (struct region_error){ .code = code, .message = note.message };
        return code;
}

enum region_result failure_note(enum region_result code, const char *format, ...)
{
        va_list arguments;

        va_start(arguments, format);
        note_sentence(code, format, arguments);
        va_end(arguments);
        return code;
}

enum region_result failure_note_system(enum region_result code, const char *operation, int errnum, const char *format,
                                       ...)
{
        va_list arguments;

        va_start(arguments, format);
        note_sentence(code, format, arguments);
        va_end(arguments);
        failure_add_facts(0, NULL, operation, errnum);
        return code;
}

enum region_result failure_note_memory(void)
{
        return failure_note_system(REGION_E_MEMORY, NULL, ENOMEM, "this process is out of memory");
}

void failure_add_facts(int64_t pid, const char *command, const char *operation, int errnum)
{
        if (note.hushed)
                return;
        note.error.pid = pid > 0 && pid <= INT32_MAX ? (pid_t)pid : 0;
        note.error.command = keep(note.command, sizeof(note.command), command);
        note.error.operation = keep(note.operation, sizeof(note.operation), operation);
        note.error.errnum = errnum;
}

void failure_hush(void)
{
        note.hushed++;
}

void failure_unhush(void)
{
        note.hushed--;
}
