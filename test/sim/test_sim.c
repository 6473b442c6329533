/* SPDX-License-Identifier: MIT */
/*
 * The simulator: thousands of seeds, each a world of its own with reactors, sockets, files and
 * faults. The same seed is the same run.
 *
 * POLLUX_SIM_SEED=N runs one seed and prints its trace; POLLUX_SIM_SEEDS=N runs N of them.
 */
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "test/runtime/rt_fixture.h"
#include "test/sim/world.h"

#define SEEDS           4000u
#define SEEDS_SANITIZED 2000u
#define SEEDS_SOAK      100000u
#define REPLAYS         40u

/* Seeds that once failed, and what they showed. */
static const struct {
    uint64_t seed;
    const char *showed;
} kept[] = {
    {1, "the first of all"},
};

static uint64_t current_seed;

/* --- one seed --------------------------------------------------------------------------------- */

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
    if (!sim_run_seed(seed, NULL, &hash, why, sizeof(why)))
        fail_msg("seed %llu: %s (replay: POLLUX_SIM_SEED=%llu test/sim/test_sim)",
                 (unsigned long long)seed, why, (unsigned long long)seed);
    return hash;
}

static uint64_t seeds_wanted(void)
{
    const char *text = getenv("POLLUX_SIM_SEEDS");
    if (text != NULL)
        return strtoull(text, NULL, 10);
    if (getenv("POLLUX_TEST_SOAK") != NULL)
        return rt_is_sanitized() ? SEEDS_SOAK / 10 : SEEDS_SOAK;
    return rt_is_sanitized() ? SEEDS_SANITIZED : SEEDS;
}

/* --- cases ------------------------------------------------------------------------------------ */

static void seeds_that_once_failed_run_well(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(kept) / sizeof(*kept); i++)
        run_seed(kept[i].seed);
}

static void seed_run_twice_gives_equal_hashes(void **state)
{
    (void)state;
    uint64_t different = 0;
    uint64_t first = run_seed(1000000);
    for (uint64_t seed = 1000000; seed < 1000000 + REPLAYS; seed++) {
        uint64_t hash = run_seed(seed);
        uint64_t again = run_seed(seed);
        if (hash != again)
            fail_msg("seed %llu: hashes %016llx and %016llx", (unsigned long long)seed,
                     (unsigned long long)hash, (unsigned long long)again);
        different += hash != first;
    }
    /* It would be a poor hash that says the same of all. */
    assert_int_equal(different, REPLAYS - 1);
    print_message("%u seeds replayed with equal hashes, the first %016llx\n", REPLAYS,
                  (unsigned long long)first);
}

static void seeds_in_a_row_run_well(void **state)
{
    (void)state;
    uint64_t count = seeds_wanted();
    for (uint64_t seed = 1; seed <= count; seed++)
        run_seed(seed);
    print_message("%llu seeds\n", (unsigned long long)count);
}

static void faults_of_all_kinds_have_fired(void **state)
{
    (void)state;
    uint32_t never = sim_faults_print();
    assert_true(sim_faults_kinds() >= 25);
    if (seeds_wanted() >= SEEDS_SANITIZED)
        assert_int_equal(never, 0);
}

static int replay(const char *text)
{
    char why[256] = "";
    uint64_t hash = 0;
    current_seed = strtoull(text, NULL, 10);
    bool well = sim_run_seed(current_seed, stdout, &hash, why, sizeof(why));
    printf("seed %llu: %s, hash %016llx\n", (unsigned long long)current_seed, well ? "well" : why,
           (unsigned long long)hash);
    return well ? 0 : 1;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(seeds_that_once_failed_run_well),
        cmocka_unit_test(seed_run_twice_gives_equal_hashes),
        cmocka_unit_test(seeds_in_a_row_run_well),
        cmocka_unit_test(faults_of_all_kinds_have_fired),
    };
    signal(SIGABRT, on_abort);
    const char *seed = getenv("POLLUX_SIM_SEED");
    if (seed != NULL)
        return replay(seed);
    return cmocka_run_group_tests_name("sim", tests, NULL, NULL);
}
