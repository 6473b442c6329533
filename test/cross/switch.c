/* SPDX-License-Identifier: MIT */
/* The cases of plx_switch, built for another processor and run in an emulator: make cross. */
#include <stdio.h>

#include "test/runtime/sched/switch_cases.h"

int main(void)
{
    size_t failed = 0;
    for (size_t i = 0; i < switch_case_count; i++) {
        const char *wrong = switch_cases[i].run();
        failed += wrong != NULL;
        printf("%s  %s%s%s\n", wrong == NULL ? "pass" : "FAIL", switch_cases[i].name,
               wrong != NULL ? ": " : "", wrong != NULL ? wrong : "");
    }
    printf("%zu passed, %zu failed, 0 skipped\n", switch_case_count - failed, failed);
    return failed != 0;
}
