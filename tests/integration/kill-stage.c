#include "tests/integration/kill-stage.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

const char *step_word(enum step step)
{
        static const char *const words[N_STEPS] = { "nothing",
#define STEP_WORD(name, word) word,
                                                    STEPS(STEP_WORD)
#undef STEP_WORD
        };

        return words[step];
}

/* One write(2), so that lines of several processes do not mix. */
void stage_complain(const struct stage *stage, const char *format, ...)
{
        char line[1024];
        size_t n = (size_t)snprintf(line, sizeof(line), "seed %" PRIu64 ", pid %d: ", stage->seed, (int)getpid());
        va_list args;

        va_start(args, format);
        vsnprintf(line + n, sizeof(line) - n - 1, format, args);
        va_end(args);
        strcat(line, "\n");
        if (write(STDERR_FILENO, line, strlen(line)) < 0)
                return;
}

uint64_t dice_mix(uint64_t value)
{
        value = (value ^ value >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
        value = (value ^ value >> 27) * UINT64_C(0x94d049bb133111eb);
        return value ^ value >> 31;
}

uint64_t dice_throw(struct dice *dice)
{
        dice->state += UINT64_C(0x9e3779b97f4a7c15);
        return dice_mix(dice->state);
}

unsigned dice_below(struct dice *dice, unsigned n)
{
        return (unsigned)(dice_throw(dice) % n);
}

bool dice_one_in(struct dice *dice, unsigned n)
{
        return dice_below(dice, n) == 0;
}
