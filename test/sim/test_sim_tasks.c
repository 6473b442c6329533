/* SPDX-License-Identifier: MIT */
/* Tasks in the simulator. See seeds.h for the environment. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "test/sim/seeds.h"
#include "test/sim/world.h"

static const struct sim_counts counts = {.plain = 1000, .sanitized = 200, .soak = 50000};

static void tasks_run_twice_give_equal_hashes(void **state)
{
    (void)state;
    sim_seeds_run_twice(20);
}

static void tasks_in_any_order_and_stopped_anywhere_add_up(void **state)
{
    (void)state;
    sim_seeds_run_row(&counts);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tasks_run_twice_give_equal_hashes),
        cmocka_unit_test(tasks_in_any_order_and_stopped_anywhere_add_up),
    };
    int code = sim_seeds_init(sim_tasks_seed, "test/sim/test_sim_tasks");
    return code >= 0 ? code : cmocka_run_group_tests_name("sim tasks", tests, NULL, NULL);
}
