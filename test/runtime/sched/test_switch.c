/* SPDX-License-Identifier: MIT */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "test/runtime/sched/switch_cases.h"

static void run_case(void **state)
{
    const struct switch_case *one = *state;
    const char *wrong = one->run();
    if (wrong != NULL)
        fail_msg("%s", wrong);
}

int main(void)
{
    struct CMUnitTest tests[16] = {{0}};
    for (size_t i = 0; i < switch_case_count; i++)
        tests[i] = (struct CMUnitTest){
            .name = switch_cases[i].name,
            .test_func = run_case,
            .initial_state = (void *)(uintptr_t)&switch_cases[i],
        };
    return _cmocka_run_group_tests("switch", tests, switch_case_count, NULL, NULL);
}
