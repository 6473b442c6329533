/* SPDX-License-Identifier: MIT */
/*
 * How sure a median is, and whether two differ.
 *
 * A slice has a median of its own. Those of a case, the *round medians*, are what these functions
 * look at: samples within a slice follow each other within nanoseconds and are no independent
 * witnesses, so however many there are, they say little about the next slice.
 */
#ifndef POLLUX_TOOLS_BENCH_INTERVAL_H
#define POLLUX_TOOLS_BENCH_INTERVAL_H

#include "alloc/base.h"

/* With fewer no interval covers the median in 95 of 100 runs, not even from the least to the most.
 */
#define PLX_BENCH_INTERVAL_MIN 6u

/* Round medians in order of time. Zeroed is empty. */
struct plx_bench_rounds {
    double *p50;
    uint32_t count;
    uint32_t room;
};

/* Appends one. Returns 0, or -ENOMEM. */
int plx_bench_rounds_add(struct plx_bench_rounds *rounds, double p50) PLX_MUST_CHECK;
void plx_bench_rounds_fini(struct plx_bench_rounds *rounds);

/*
 * The interval that covers the median of what `values` are drawn from in 95 of 100 runs, whatever
 * their distribution: two of them, by their rank. False: there are too few, or memory ran out.
 */
bool plx_bench_interval(const double *values, uint32_t count, double *low, double *high);

/* A median and the interval in which it lies, as above. */
struct plx_bench_ratio {
    double low;
    double mid;
    double high;
    uint32_t rounds;
};

/*
 * The median of a[i] / b[i], where both are numbers and b[i] is above 0. The interval is NAN to NAN
 * where there are too few. False: there are none, or memory ran out, and *out is not set.
 */
bool plx_bench_ratio_of(const double *a, const double *b, uint32_t count,
                        struct plx_bench_ratio *out);

/* The median; of two in the middle their mean. `values` are not empty. NAN: memory ran out. */
double plx_bench_median(const double *values, uint32_t count);

/*
 * The probability that two such sets differ as much as these, or more, though they are drawn from
 * the same: Mann and Whitney's test by ranks, on both sides, exact where both have up to 20 values.
 * 1 if one is empty, or memory ran out. All are numbers. It takes n log n steps, however many are
 * equal.
 */
double plx_bench_same_probability(const double *a, uint32_t a_count, const double *b,
                                  uint32_t b_count);

/*
 * How far the medians of the quarters of a run lie apart, as a part of the median of all: what the
 * machine drifted while the case was measured. 0 of fewer than 8.
 */
double plx_bench_drift(const double *values, uint32_t count);

#endif
