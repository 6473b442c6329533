/* SPDX-License-Identifier: MIT */
/* What is chosen on the command line: cases by pattern, pairs of cores, precisions. Pure. */
#ifndef POLLUX_TOOLS_BENCH_SELECT_H
#define POLLUX_TOOLS_BENCH_SELECT_H

#include <stdbool.h>
#include <stdint.h>

#define PLX_BENCH_PAIRS_MAX 256u

struct plx_bench_cores {
    int a;
    int b;
};

/*
 * Whether a case is meant by a pattern with the shell's *, ? and [...]: by its name, or, where the
 * pattern has a slash, by BENCH/CASE.
 */
bool plx_bench_matches(const char *pattern, const char *bench, const char *name);

/*
 * Reads "0:1,4:5" into `pairs`, room for PLX_BENCH_PAIRS_MAX. Returns how many; -1: it is no such
 * list, or has too many; -2: a pair is one core twice.
 */
int plx_bench_read_pairs(const char *text, struct plx_bench_cores *pairs);

/* Reads "2%" or "0.5%", from 0.01 to 50, as a part of one. */
bool plx_bench_read_percent(const char *text, double *part);

#endif
