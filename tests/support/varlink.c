/* A reply is taken apart once, into pairs of a path and a value; a test then looks its facts up by path. */

#include "tests/support/varlink.h"

#include "proto/util.h"
#include "tests/support/check.h"
#include "tests/support/raw.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/un.h>

struct varlink_member {
        char *path;
        char *value;
};

/* --- bytes ------------------------------------------------------------------------------------------------------- */

int varlink_connect(const char *path)
{
        struct sockaddr_un address = { .sun_family = AF_UNIX };
        int peer = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

        ck_assert_int_ge(peer, 0);
        ck_assert_uint_lt(strlen(path), sizeof(address.sun_path));
        strcpy(address.sun_path, path);
        ck_assert_msg(connect(peer, (const struct sockaddr *)&address, sizeof(address)) == 0, "%s: %s", path,
                      strerror(errno));
        return peer;
}

static bool is_closed(int error)
{
        return error == EPIPE || error == ECONNRESET;
}

bool varlink_send(int peer, const void *bytes, size_t n, const int *fds, size_t n_fds)
{
        const char *rest = bytes;
        ssize_t sent;

        while (n > 0) {
                ck_assert_msg(check_wait(peer, POLLOUT), "the broker does not read");
                sent = raw_send(peer, rest, n < 65536 ? n : 65536, fds, n_fds);
                if (sent < 0 && is_closed(errno))
                        return false;
                ck_assert_msg(sent > 0, "sendmsg: %s", strerror(errno));
                rest += sent;
                n -= (size_t)sent;
                n_fds = 0;
        }
        return true;
}

__attribute__((format(printf, 1, 0))) static char *format_json(const char *format, va_list args)
{
        char *json;

        ck_assert_int_ge(vasprintf(&json, format, args), 0);
        for (char *c = json; *c; c++)
                if (*c == '\'')
                        *c = '"';
        return json;
}

bool varlink_say(int peer, const char *format, ...)
{
        owned(freep) char *json = NULL;
        va_list args;

        va_start(args, format);
        json = format_json(format, args);
        va_end(args);
        return varlink_send(peer, json, strlen(json) + 1, NULL, 0);
}

__attribute__((format(printf, 3, 0))) static bool call(int peer, const char *method, const char *format, va_list args)
{
        owned(freep) char *parameters = format ? format_json(format, args) : NULL;
        owned(freep) char *json = NULL;

        ck_assert_int_ge(asprintf(&json, "{\"method\":\"%s%s\"%s%s}", strchr(method, '.') ? "" : BROKER, method,
                                  parameters ? ",\"parameters\":" : "", parameters ? parameters : ""),
                         0);
        return varlink_send(peer, json, strlen(json) + 1, NULL, 0);
}

bool varlink_call(int peer, const char *method, const char *format, ...)
{
        va_list args;
        bool sent;

        va_start(args, format);
        sent = call(peer, method, format, args);
        va_end(args);
        return sent;
}

/* Never past the end of a message, or the descriptors of the next would come along. */
static char *receive_text(int peer, struct fdset *fds)
{
        owned(freep) char *text = NULL;
        char some[65536], *end;
        size_t n = 0;
        ssize_t got;

        do {
                ck_assert_msg(check_wait(peer, POLLIN), "the broker does not answer");
                got = recv(peer, some, sizeof(some), MSG_PEEK);
                if (got == 0 || (got < 0 && is_closed(errno)))
                        return NULL;
                ck_assert_msg(got > 0, "recv: %s", strerror(errno));
                end = memchr(some, '\0', (size_t)got);
                text = realloc(text, n + (size_t)got);
                got = raw_receive(peer, text + n, end ? (size_t)(end + 1 - some) : (size_t)got, fds);
                ck_assert_msg(got > 0, "recvmsg: %s", strerror(errno));
                n += (size_t)got;
        } while (!end);
        return take_ptr(text);
}

/* --- taking apart ------------------------------------------------------------------------------------------------ */

/* Paths are told without the envelope's part of them. */
static void add(struct varlink_reply *reply, const char *path, const char *value, size_t n)
{
        static const char envelope[] = "parameters.";
        struct varlink_member *member;

        if (strncmp(path, envelope, sizeof(envelope) - 1) == 0)
                path += sizeof(envelope) - 1;
        reply->members = realloc(reply->members, (reply->n_members + 1) * sizeof(*reply->members));
        member = &reply->members[reply->n_members++];
        member->path = strdup(path);
        member->value = strndup(value, n);
}

static char *read_escape(const char **at, char *to)
{
        static const char escapes[] = "\"\"\\\\//b\bf\fn\nr\rt\t";
        unsigned code;
        int n;

        if (**at != 'u') {
                for (const char *c = escapes; *c; c += 2)
                        if (*c == **at)
                                *to++ = c[1];
                ++*at;
                return to;
        }
        ck_assert_int_eq(sscanf(*at, "u%4x%n", &code, &n), 1);
        *at += n;
        if (code >= 0x800)
                *to++ = (char)(0xe0 | code >> 12);
        if (code >= 0x80)
                *to++ = (char)(code >= 0x800 ? 0x80 | (code >> 6 & 0x3f) : 0xc0 | code >> 6);
        *to++ = (char)(code >= 0x80 ? 0x80 | (code & 0x3f) : code);
        return to;
}

/* A string, from behind its first quote to behind its last. */
static char *read_string(const char **at)
{
        char *string = malloc(strlen(*at) + 1), *to = string;

        while (**at != '"') {
                ck_assert_msg(**at, "a string has no end");
                if (**at != '\\') {
                        *to++ = *(*at)++;
                        continue;
                }
                ++*at;
                to = read_escape(at, to);
        }
        ++*at;
        *to = '\0';
        return string;
}

static void read_value(struct varlink_reply *reply, const char *path, const char **at);

/* An array or object, from behind its bracket. */
static void read_elements(struct varlink_reply *reply, const char *path, const char **at, char close)
{
        char count[16];
        size_t n = 0;

        while (**at != close) {
                owned(freep) char *name = NULL;
                owned(freep) char *element = NULL;

                *at += **at == ',';
                if (close == '}') {
                        ++*at;
                        name = read_string(at);
                        ck_assert_int_eq(*(*at)++, ':');
                } else {
                        ck_assert_int_ge(asprintf(&name, "%zu", n), 0);
                }
                ck_assert_int_ge(asprintf(&element, "%s%s%s", path, path[0] ? "." : "", name), 0);
                read_value(reply, element, at);
                n++;
        }
        ++*at;
        snprintf(count, sizeof(count), "%zu", n);
        add(reply, path, count, strlen(count));
}

static void read_value(struct varlink_reply *reply, const char *path, const char **at)
{
        owned(freep) char *string = NULL;
        const char *from = *at;
        char first = *(*at)++;

        if (first == '{' || first == '[') {
                read_elements(reply, path, at, first == '{' ? '}' : ']');
        } else if (first == '"') {
                string = read_string(at);
                add(reply, path, string, strlen(string));
        } else {
                *at = from + strcspn(from, ",]}");
                ck_assert_msg(*at > from && **at, "what is no JSON at: %s", from);
                if (strncmp(from, "null", 4) != 0)
                        add(reply, path, from, (size_t)(*at - from));
        }
}

static const char *find(const struct varlink_reply *reply, const char *path)
{
        for (size_t i = 0; i < reply->n_members; i++)
                if (strcmp(reply->members[i].path, path) == 0)
                        return reply->members[i].value;
        return NULL;
}

static void drop_members(struct varlink_reply *reply)
{
        for (size_t i = 0; i < reply->n_members; i++) {
                free(reply->members[i].path);
                free(reply->members[i].value);
        }
        free(reply->members);
        reply->members = NULL;
        reply->n_members = 0;
}

void varlink_clear(struct varlink_reply *reply)
{
        drop_members(reply);
        fdset_clear(&reply->fds);
        free(reply->error);
        free(reply->text);
        *reply = (struct varlink_reply){};
}

bool varlink_receive(int peer, struct varlink_reply *reply)
{
        const char *at, *error, *continues;

        varlink_clear(reply);
        reply->text = receive_text(peer, &reply->fds);
        if (!reply->text)
                return false;
        at = reply->text;
        read_value(reply, "", &at);
        ck_assert_msg(!*at, "something behind the object: %s", reply->text);
        error = find(reply, "error");
        continues = find(reply, "continues");
        reply->error = error ? strdup(error) : NULL;
        reply->continues = continues && strcmp(continues, "true") == 0;
        return true;
}

void varlink_ask(int peer, struct varlink_reply *reply, const char *method, const char *format, ...)
{
        va_list args;

        va_start(args, format);
        call(peer, method, format, args); /* who was turned away finds the reason waiting */
        va_end(args);
        ck_assert_msg(varlink_receive(peer, reply), "the broker closed the connection on %s", method);
}

/* --- looking up -------------------------------------------------------------------------------------------------- */

__attribute__((format(printf, 2, 0))) static const char *look_up(const struct varlink_reply *reply, const char *format,
                                                                 va_list args)
{
        owned(freep) char *path = NULL;

        ck_assert_int_ge(vasprintf(&path, format, args), 0);
        return find(reply, path);
}

const char *varlink_value(const struct varlink_reply *reply, const char *path, ...)
{
        const char *value;
        va_list args;

        va_start(args, path);
        value = look_up(reply, path, args);
        va_end(args);
        return value;
}

int64_t varlink_number(const struct varlink_reply *reply, const char *path, ...)
{
        const char *value;
        char *end;
        int64_t number;
        va_list args;

        va_start(args, path);
        value = look_up(reply, path, args);
        va_end(args);
        ck_assert_msg(value, "no %s: %s", path, reply->text);
        number = strtoll(value, &end, 10);
        ck_assert_msg(end > value && !*end, "%s is no number: %s", path, reply->text);
        return number;
}

bool varlink_is(const struct varlink_reply *reply, const char *error)
{
        const char *found = reply->error;

        if (!error || !found)
                return error == found;
        if (!strchr(error, '.') && strncmp(found, BROKER, strlen(BROKER)) == 0)
                found += strlen(BROKER);
        return strcmp(found, error) == 0;
}

bool varlink_has(const struct varlink_reply *reply, const char *path, const char *value)
{
        const char *found = find(reply, path);

        return found && strcmp(found, value) == 0;
}
