/* SPDX-License-Identifier: MIT */
/*
 * Times by themselves: what of a case's is left to each of the batches that it is measured in, what
 * is said of that, and what of a sample's is the counter's. Pure.
 */
#ifndef POLLUX_TOOLS_BENCH_TIMING_H
#define POLLUX_TOOLS_BENCH_TIMING_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "tools/bench/bench.h"

#define PLX_BENCH_TIMING_BYTES 128

/* Where a case is. Times are of the whole case, since its first batch began. */
struct plx_bench_timing {
    uint32_t part; /* the batch, from 0, of so many */
    uint32_t parts;
    uint32_t round;       /* of the batch, from 0 */
    uint32_t rounds;      /* that are meant */
    uint32_t rounds_most; /* that there may be, as others are discarded */
    bool precise;         /* a precision is asked for: rounds go on until it is there */
    uint64_t took_ns;
    uint64_t limit_ns; /* that it may take; 0: what it takes */
};

/* What batch `part` may take where `limit_ns` are for all, `used_ns` of which are gone. */
uint64_t plx_bench_share_ns(uint64_t limit_ns, uint64_t used_ns, uint32_t part, uint32_t parts);

/* Fills `text` with the batch, the round, and how long the case goes on if it goes on like this. */
const char *plx_bench_timing_text(const struct plx_bench_timing *timing,
                                  char text[PLX_BENCH_TIMING_BYTES]);

/* A time for a person who waits: "40 s", "7 min", "2.5 h". */
const char *plx_bench_wait_text(uint64_t ns, char text[PLX_BENCH_TIMING_BYTES]);

/*
 * What the readings of the counter add to an operation's time, one of them taking `clock_ns`, or
 * `fenced_ns` between fences.
 */
double plx_bench_overhead_ns(const struct plx_bench_case *what, double clock_ns, double fenced_ns);

#endif
