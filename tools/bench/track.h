/* SPDX-License-Identifier: MIT */
/* Between slices.c, which measures, and rows.c, which makes rows of it. */
#ifndef POLLUX_TOOLS_BENCH_TRACK_H
#define POLLUX_TOOLS_BENCH_TRACK_H

#include "tools/bench/frame.h"

/* The medians of rounds, as they were recorded; 0: none in this round. */
struct plx_bench_medians {
    uint64_t kept;
    uint64_t spare;
    uint64_t also;
    bool has_also;
    bool good; /* its slice was kept */
};

/* A subject under measurement. */
struct plx_bench_track {
    const struct plx_bench_subject *subject;
    struct plx_histogram *kept;
    struct plx_histogram *spare; /* of slices in which others ran, for when there are no better */
    struct plx_histogram *round; /* of this round, until that is known to be good */
    struct plx_histogram *also;  /* the case's second figure, a value a slice; made for its rows */
    struct plx_bench_medians *medians; /* of each round */
    uint32_t round_count;
    uint32_t round_room;
    uint64_t round_also; /* of this round, if there is one */
    bool has_also;
    int cpu_a;
    int cpu_b;
    uint32_t slices;
    uint32_t discarded;
    uint32_t close;                 /* of them, as its two CPUs were one core */
    double close_ns;                /* the line's round trip in the last of these */
    uint32_t good;                  /* slices that were kept */
    uint32_t in_round;              /* slices that `round` holds: 0 or 1 */
    bool busy;                      /* others ran on its cores in that slice */
    struct plx_bench_rounds speeds; /* how long cpu_a took for an addition, after each slice */
    struct plx_bench_rounds lines;  /* the guard's round trips, in ns */
    int rc;
    struct plx_diag diag;
};

/* What belongs to all tracks of a case. */
struct plx_bench_round_facts {
    uint32_t group;
    bool first;      /* the case's own figure is wanted */
    bool also;       /* its second one */
    uint64_t end_ns; /* when the time is over; 0: there is enough of it */
};

/*
 * Half of the interval of the median so far (`also`: of the second figure's), as a part of it.
 * False: there are too few rounds, or memory ran out.
 */
bool plx_bench_track_part(const struct plx_bench_track *track, bool also, double *part);

/* Rows of all tracks, printed if this is the last time that the case is measured. */
int plx_bench_add_rows(struct plx_bench *bench, const struct plx_bench_case *what,
                       const struct plx_bench_track *tracks, uint32_t count,
                       const struct plx_bench_round_facts *facts) PLX_MUST_CHECK;

/* The same of the case's second figure. */
int plx_bench_add_also_rows(struct plx_bench *bench, const struct plx_bench_case *what,
                            struct plx_bench_track *tracks, uint32_t count,
                            const struct plx_bench_round_facts *facts) PLX_MUST_CHECK;

#endif
