/* SPDX-License-Identifier: MIT */
#include "test/sim/seeds.h"

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

#include "test/runtime/rt_fixture.h"

/* Apart from those in a row. */
#define TWICE_FIRST 1000000u

static sim_seed_fn run_fn;
static const char *program_name;
static uint64_t current_seed;

/* An assertion of the library ends the process: at least say where. */
static void on_abort(int number)
{
    char text[96];
    int length = snprintf(text, sizeof(text), "aborted in seed %llu: replay by POLLUX_SIM_SEED\n",
                          (unsigned long long)current_seed);
    if (length > 0 && write(STDERR_FILENO, text, (size_t)length) < 0)
        _exit(1);
    signal(number, SIG_DFL);
    raise(number);
}

static uint64_t run_seed(uint64_t seed)
{
    char why[256] = "";
    uint64_t hash = 0;
    current_seed = seed;
    if (!run_fn(seed, NULL, &hash, why, sizeof(why)))
        fail_msg("seed %llu: %s (replay: POLLUX_SIM_SEED=%llu %s)", (unsigned long long)seed, why,
                 (unsigned long long)seed, program_name);
    return hash;
}

int sim_seeds_init(sim_seed_fn run, const char *program)
{
    run_fn = run;
    program_name = program;
    signal(SIGABRT, on_abort);
    const char *text = getenv("POLLUX_SIM_SEED");
    if (text == NULL)
        return -1;
    char why[256] = "";
    uint64_t hash = 0;
    current_seed = strtoull(text, NULL, 10);
    bool well = run_fn(current_seed, stdout, &hash, why, sizeof(why));
    printf("seed %llu: %s, hash %016llx\n", (unsigned long long)current_seed, well ? "well" : why,
           (unsigned long long)hash);
    return well ? 0 : 1;
}

void sim_seeds_run_kept(const struct sim_kept *kept, size_t count)
{
    for (size_t i = 0; i < count; i++)
        run_seed(kept[i].seed);
}

void sim_seeds_run_twice(uint32_t count)
{
    uint64_t different = 0;
    uint64_t first = 0;
    for (uint32_t i = 0; i < count; i++) {
        uint64_t hash = run_seed(TWICE_FIRST + i);
        uint64_t again = run_seed(TWICE_FIRST + i);
        if (hash != again)
            fail_msg("seed %u: hashes %016llx and %016llx", TWICE_FIRST + i,
                     (unsigned long long)hash, (unsigned long long)again);
        first = i == 0 ? hash : first;
        different += hash != first;
    }
    /* It would be a poor hash that says the same of all. */
    assert_int_equal(different, count - 1);
    print_message("%u seeds replayed with equal hashes, the first %016llx\n", count,
                  (unsigned long long)first);
}

uint64_t sim_seeds_wanted(const struct sim_counts *counts)
{
    const char *text = getenv("POLLUX_SIM_SEEDS");
    if (text != NULL)
        return strtoull(text, NULL, 10);
    if (getenv("POLLUX_TEST_SOAK") != NULL)
        return rt_is_sanitized() ? counts->soak / 10 : counts->soak;
    return rt_is_sanitized() ? counts->sanitized : counts->plain;
}

void sim_seeds_run_row(const struct sim_counts *counts)
{
    uint64_t count = sim_seeds_wanted(counts);
    const char *text = getenv("POLLUX_SIM_FIRST");
    uint64_t first = text != NULL ? strtoull(text, NULL, 10) : 1;
    for (uint64_t i = 0; i < count; i++)
        run_seed(first + i);
    print_message("%llu seeds\n", (unsigned long long)count);
}
