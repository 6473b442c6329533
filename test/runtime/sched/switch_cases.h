/* SPDX-License-Identifier: MIT */
/*
 * Cases of plx_switch that need no framework, as they run twice: inside test_switch, and in
 * test/cross, built for another processor.
 */
#ifndef POLLUX_TEST_SWITCH_CASES_H
#define POLLUX_TEST_SWITCH_CASES_H

#include <stddef.h>

struct switch_case {
    const char *name;
    const char *(*run)(void); /* NULL: it passed; else what was wrong */
};

extern const struct switch_case switch_cases[];
extern const size_t switch_case_count;

#endif
