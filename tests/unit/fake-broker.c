#include "tests/unit/fake-broker.h"

#include "proto/control.h"
#include "proto/fdset.h"
#include "proto/util.h"
#include "tests/support/check.h"
#include "tests/support/raw.h"

#include <fcntl.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/un.h>

enum manner { ANSWER, ADD, LATER, SAY_AND_CLOSE, CLOSE, HANG_UP, SILENT };

struct answer {
        enum manner manner;
        const char *text;
        int fds[8];
        size_t n_fds;
};

char fake_socket[64];

static char directory[32];
static int listener = -1;
static pthread_t thread;
static bool running;
static unsigned n_connections = 1;
static struct answer answers[32];
static size_t n_answers;
static char *asked[512];
static size_t n_asked;
static sem_t later_asked, later_released;

void fake_setup(void)
{
        struct sockaddr_un address = { .sun_family = AF_UNIX };

        strcpy(directory, "/tmp/fake-broker-XXXXXX");
        ck_assert_ptr_nonnull(mkdtemp(directory));
        snprintf(fake_socket, sizeof(fake_socket), "%s/socket", directory);
        strcpy(address.sun_path, fake_socket);
        listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
        ck_assert_int_eq(bind(listener, (const struct sockaddr *)&address, sizeof(address)), 0);
        ck_assert_int_eq(listen(listener, 4), 0);
        sem_init(&later_asked, 0, 0);
        sem_init(&later_released, 0, 0);
}

void fake_teardown(void)
{
        fake_finish();
        listener = close_fd(listener);
        unlink(fake_socket);
        rmdir(directory);
        for (size_t i = 0; i < n_asked; i++)
                free(asked[i]);
}

static struct answer *next_answer(enum manner manner, const char *text)
{
        ck_assert_uint_lt(n_answers, array_size(answers));
        answers[n_answers] = (struct answer){ .manner = manner, .text = text };
        return &answers[n_answers++];
}

void fake_answers_fds(const char *reply, const int *fds, size_t n)
{
        struct answer *answer = next_answer(ANSWER, reply);

        for (size_t i = 0; i < n; i++)
                answer->fds[answer->n_fds++] = fds[i];
}

void fake_answers(const char *reply)
{
        fake_answers_fds(reply, NULL, 0);
}

void fake_answers_fd(const char *reply, int fd)
{
        fake_answers_fds(reply, &fd, 1);
}

void fake_adds(const char *reply)
{
        next_answer(ADD, reply);
}

void fake_answers_later(const char *reply)
{
        next_answer(LATER, reply);
}

void fake_wait_until_asked(void)
{
        sem_wait(&later_asked);
}

void fake_answer_now(void)
{
        sem_post(&later_released);
}

void fake_says_and_closes(const char *reply)
{
        next_answer(SAY_AND_CLOSE, reply);
}

void fake_closes(void)
{
        next_answer(CLOSE, NULL);
}

void fake_hangs_up(void)
{
        next_answer(HANG_UP, NULL);
}

void fake_is_silent(void)
{
        next_answer(SILENT, NULL);
}

static void exchange_quotes(char *text, char from, char to)
{
        for (; *text; text++)
                if (*text == from)
                        *text = to;
}

/* The text, with the control page that it wants added to the descriptors. */
static char *make_text(const struct answer *answer, int *fds, size_t *n)
{
        char *found = strstr(answer->text, "CONTROL"), *text;

        if (!found)
                return strdup(answer->text);
        if (asprintf(&text, "%.*s%zu%s", (int)(found - answer->text), answer->text, *n, found + strlen("CONTROL")) < 0)
                abort();
        fds[(*n)++] = fake_control(STATE_READY);
        return text;
}

static void say(int connection, const struct answer *answer)
{
        size_t n = answer->n_fds;
        int fds[array_size(answer->fds) + 1];
        char *text;

        memcpy(fds, answer->fds, sizeof(answer->fds));
        text = make_text(answer, fds, &n);
        exchange_quotes(text, '\'', '"');
        raw_send(connection, text, strlen(text) + 1, fds, n);
        free(text);
        for (size_t i = 0; i < n; i++)
                close(fds[i]);
}

/* One call, byte by byte; false at the end of the connection. */
static bool hear(int connection)
{
        char text[16384];
        size_t n = 0;

        do
                if (n == sizeof(text) || recv(connection, text + n, 1, 0) != 1)
                        return false;
        while (text[n++] != '\0');
        exchange_quotes(text, '"', '\'');
        if (n_asked < array_size(asked))
                asked[n_asked++] = strdup(text);
        return true;
}

/* False when it closes. */
static bool play(int connection, const struct answer *answer)
{
        bool unasked = answer->manner == SAY_AND_CLOSE || answer->manner == ADD;

        if (answer->manner == HANG_UP)
                return false;
        if (!unasked && !hear(connection))
                return false;
        if (answer->manner == LATER) {
                sem_post(&later_asked);
                sem_wait(&later_released);
        }
        if (answer->text)
                say(connection, answer);
        return answer->manner != SAY_AND_CLOSE && answer->manner != CLOSE;
}

static bool is_an_end(const struct answer *answer)
{
        return answer->manner == SAY_AND_CLOSE || answer->manner == HANG_UP;
}

/* Goes on with the answers where the connection before ended; the one that was not asked for is the next one's. */
static size_t serve_one(int connection, size_t next)
{
        static const struct answer fine = { .text = "{}" };
        size_t heard;

        do {
                heard = n_asked;
                if (!play(connection, next < n_answers ? &answers[next] : &fine))
                        break;
                next++;
        } while (true);
        close_fd(connection);
        return n_asked > heard || (next < n_answers && is_an_end(&answers[next])) ? next + 1 : next;
}

static void *serve(void *unused)
{
        size_t next = 0;

        for (unsigned i = 0; i < n_connections; i++)
                next = serve_one(accept4(listener, NULL, NULL, SOCK_CLOEXEC), next);
        listener = close_fd(listener); /* who connects now is refused */
        return unused;
}

void fake_expects(unsigned connections)
{
        n_connections = connections;
}

void fake_start(void)
{
        ck_assert_int_eq(pthread_create(&thread, NULL, serve, NULL), 0);
        running = true;
}

void fake_finish(void)
{
        if (running)
                pthread_join(thread, NULL);
        running = false;
}

const char *fake_asked(size_t index)
{
        return index < n_asked ? asked[index] : NULL;
}

int fake_control(enum state state)
{
        struct control_page page = {
                .magic = CONTROL_MAGIC,
                .version = CONTROL_VERSION,
        };
        int fd = memfd_create("control", MFD_CLOEXEC | MFD_ALLOW_SEALING);

        ck_assert_int_ge(fd, 0);
        control_page_write(&page, (struct control_shown){ .state = state, .generation = 1 });
        ck_assert_int_eq(write(fd, &page, sizeof(page)), sizeof(page));
        ck_assert_int_eq(ftruncate(fd, CONTROL_SIZE), 0);
        ck_assert_int_eq(fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW), 0);
        return fd;
}

int fake_memory(size_t size)
{
        int fd = memfd_create("region", MFD_CLOEXEC | MFD_ALLOW_SEALING);

        ck_assert_int_ge(fd, 0);
        ck_assert_int_eq(ftruncate(fd, (off_t)size), 0);
        ck_assert_int_eq(fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW), 0);
        return fd;
}
