/* SPDX-License-Identifier: MIT */
/*
 * Two runs, row by row.
 *
 * What is compared is the median of the slices' medians, by logarithms, so that twice and half are
 * alike. A difference is *significant* if all of this holds:
 *   - both rows have at least 5 slices in which no other programs ran, and Mann and Whitney's test
 *     of their medians finds less than one chance in a hundred that they are of one kind;
 *   - the intervals of the two medians, where rows have them, do not overlap;
 *   - it is greater than the *noise*, see below;
 *   - it is greater than that, and in the same direction, also when the change of the core's speed
 *     is taken off it, and when that of the peers of the same case is, which were measured in
 *     between and whose code is the same.
 *
 * Slices of one run follow each other within seconds, so that the first two say nothing about what
 * differs from one run to the next: where memory came to lie, who else uses the host. Noise is what
 * is seen of that. Its parts, squared and summed as those of independent causes are:
 *   - what rows of others in the same benchmark changed by, whose code did not, the core's speed
 *     taken off: of the median over subjects (of two the lower) of the median of their changes so
 *     many times as only one in a hundred passes where changes are normally distributed; at least
 *     PLX_COMPARE_NOISE. It needs PLX_COMPARE_OTHERS rows, else those of all benchmarks are taken.
 *     Rows of the same subject are left out, so that one that changed throughout does not hide
 *     that, nor, having one voice among others, of which there are two or more, that they did;
 *   - of each run, what the medians of its quarters differ by, or the core's speed did;
 *   - the least step in which the medians lie, as a counter has them that moves in steps;
 *   - the change of the round trip of the guard's line.
 *
 * Where the latter changed by more than PLX_COMPARE_ELSEWHERE, a hypervisor put the cores
 * elsewhere, and the rows are of two machines: there is no verdict.
 */
#ifndef POLLUX_TOOLS_BENCH_COMPARE_H
#define POLLUX_TOOLS_BENCH_COMPARE_H

#include <jansson.h>
#include <stdio.h>

#include "alloc/base.h"

#define PLX_COMPARE_ROUNDS_MIN  5u
#define PLX_COMPARE_PROBABILITY 0.01
#define PLX_COMPARE_NOISE       0.02
#define PLX_COMPARE_OTHERS      8u
/* The next way between two cores is at least so much longer; no frequency does that. */
#define PLX_COMPARE_ELSEWHERE 1.5

enum plx_compare_verdict {
    PLX_COMPARE_SAME,
    PLX_COMPARE_SLOWER, /* of a rate: less */
    PLX_COMPARE_FASTER,
    PLX_COMPARE_MOVED,  /* by no more than the core or the peers did */
    PLX_COMPARE_AWAY,   /* the cores were other ones */
    PLX_COMPARE_UNKNOWN /* too few rounds, or no figures */
};

/* How a row changed. */
struct plx_compare_change {
    double before, after; /* the medians that are compared; NAN: there is none */
    double slowdown;      /* above 1: worse, as after over before, or its inverse for rates */
    double low, high;     /* what it is at least and at most by the intervals; NAN: not known */
    double core;          /* the slowdown of the core; 1: nobody knows */
    double probability;
    double noise;
    enum plx_compare_verdict verdict;
};

/* What is known of others: their slowdown. */
struct plx_compare_others {
    double peers;   /* of the same case; 1: nobody knows */
    double between; /* what they change by from run to run: a part */
};

/* compare_row.c: whether more is better. */
bool plx_compare_is_rate(const json_t *row);
/* What is known of two rows by themselves: all but what others say, the verdict provisional. */
struct plx_compare_change plx_compare_change_of(const json_t *a, const json_t *b);
/* Puts in what others did, and the verdict. */
void plx_compare_conclude(struct plx_compare_change *change,
                          const struct plx_compare_others *others);

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
