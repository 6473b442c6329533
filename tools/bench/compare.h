/* SPDX-License-Identifier: MIT */
/*
 * Two runs, row by row.
 *
 * A difference is *significant* if all of this holds:
 *   - both rows have at least 5 round medians, of slices in which no other programs ran, and Mann
 *     and Whitney's test finds less than one chance in a hundred that they are of one kind;
 *   - the intervals of the two medians, where rows have them, do not overlap;
 *   - it is greater than the *noise*: what the medians of the quarters of either run differ by, how
 *     far the speed of the core moved in either or from one to the other, and the round trip of the
 *     guard's line, which shows that a hypervisor put the cores elsewhere; at least
 *     PLX_COMPARE_NOISE. Rounds of one run follow each other within seconds, so that the
 *     first two say nothing about what a machine does from one minute to the next;
 *   - it is greater than that noise also when what the peers of the same case moved by, which were
 *     measured in between and whose code is the same, is taken off it.
 */
#ifndef POLLUX_TOOLS_BENCH_COMPARE_H
#define POLLUX_TOOLS_BENCH_COMPARE_H

#include <jansson.h>
#include <stdio.h>

#include "alloc/base.h"

#define PLX_COMPARE_ROUNDS_MIN  5u
#define PLX_COMPARE_PROBABILITY 0.01
#define PLX_COMPARE_NOISE       0.02

enum plx_compare_verdict {
    PLX_COMPARE_SAME,
    PLX_COMPARE_SLOWER, /* of a rate: less */
    PLX_COMPARE_FASTER,
    PLX_COMPARE_MOVED,  /* by no more than its peers did */
    PLX_COMPARE_UNKNOWN /* too few rounds, or no figures */
};

/* How a row changed. */
struct plx_compare_change {
    double slowdown;  /* above 1: worse, as p50 over p50, or its inverse for rates */
    double low, high; /* what it is at least and at most by the intervals; NAN: not known */
    double probability;
    double noise;
    enum plx_compare_verdict verdict;
};

/* Of two rows of documents. `peers`: the slowdown of the case's other peers; 1: nobody knows. */
struct plx_compare_change plx_compare_rows(const json_t *a, const json_t *b, double peers);

struct plx_compare_opts {
    const char *name_a; /* how the two are called */
    const char *name_b;
    double fail_above;   /* a part: 0.05; negative: nothing fails */
    const char *subject; /* whose rows may fail: it, and what begins with it and a slash; "all" */
};

/*
 * Prints the comparison of two documents to `out`, warnings to standard error. Returns the exit
 * status.
 */
int plx_compare_documents(const json_t *a, const json_t *b, const struct plx_compare_opts *opts,
                          FILE *out);

/* Reads "5%" or "5" into 0.05. */
bool plx_compare_read_limit(const char *text, double *limit);

/* The command `pollux bench compare`. */
int plx_cmd_bench_compare(int argc, char **argv);

#endif
