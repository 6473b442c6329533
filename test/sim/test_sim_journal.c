/* SPDX-License-Identifier: MIT */
/*
 * The journal in the simulator: each seed kills it several times, by the end of the process or of
 * the power, and opens it again. See seeds.h for the environment.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "test/sim/seeds.h"
#include "test/sim/world.h"

static const struct sim_counts counts = {.plain = 2000, .sanitized = 500, .soak = 50000};

static const struct sim_kept kept[] = {
    {11, "a group whose fdatasync had failed counted as durable after the next opening"},
    {42, "a group, again"},
    {64, "the same of a segment's header"},
    {116, "a header, again"},
    {300, "a group, again"},
};

static void journals_that_once_failed_are_whole(void **state)
{
    (void)state;
    sim_seeds_run_kept(kept, sizeof(kept) / sizeof(*kept));
}

static void journal_run_twice_gives_equal_hashes(void **state)
{
    (void)state;
    sim_seeds_run_twice(10);
}

static void journal_gives_back_what_it_acknowledged(void **state)
{
    (void)state;
    sim_seeds_run_row(&counts);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(journals_that_once_failed_are_whole),
        cmocka_unit_test(journal_run_twice_gives_equal_hashes),
        cmocka_unit_test(journal_gives_back_what_it_acknowledged),
    };
    int code = sim_seeds_init(sim_journal_seed, "test/sim/test_sim_journal");
    return code >= 0 ? code : cmocka_run_group_tests_name("sim journal", tests, NULL, NULL);
}
