/* SPDX-License-Identifier: MIT */
/*
 * The simulator: thousands of seeds, each a world of its own with reactors, sockets, files and
 * faults. The same seed is the same run. See seeds.h for the environment.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "test/sim/seeds.h"
#include "test/sim/world.h"

static const struct sim_counts counts = {.plain = 4000, .sanitized = 2000, .soak = 200000};

/* The first two showed what a workload had not read in tcp.h. */
static const struct sim_kept kept[] = {
    {3124, "accepts beyond streams_max, which a multishot brings and which are refused"},
    {3571, "bytes given again to who could not hold them and paused"},
};

static void seeds_that_once_failed_run_well(void **state)
{
    (void)state;
    sim_seeds_run_kept(kept, sizeof(kept) / sizeof(*kept));
}

static void seed_run_twice_gives_equal_hashes(void **state)
{
    (void)state;
    sim_seeds_run_twice(40);
}

static void seeds_in_a_row_run_well(void **state)
{
    (void)state;
    sim_seeds_run_row(&counts);
}

static void faults_of_all_kinds_have_fired(void **state)
{
    (void)state;
    uint32_t never = sim_faults_print();
    assert_true(sim_faults_kinds() >= 25);
    if (sim_seeds_wanted(&counts) >= counts.sanitized)
        assert_int_equal(never, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(seeds_that_once_failed_run_well),
        cmocka_unit_test(seed_run_twice_gives_equal_hashes),
        cmocka_unit_test(seeds_in_a_row_run_well),
        cmocka_unit_test(faults_of_all_kinds_have_fired),
    };
    int code = sim_seeds_init(sim_run_seed, "test/sim/test_sim");
    return code >= 0 ? code : cmocka_run_group_tests_name("sim", tests, NULL, NULL);
}
