/* SPDX-License-Identifier: MIT */
#include "tools/bench/timing.h"

#include <stdio.h>

#define SECOND_NS UINT64_C(1000000000)
/* Up to so many of a unit are told in it. */
#define FEW 120u

uint64_t plx_bench_share_ns(uint64_t limit_ns, uint64_t used_ns, uint32_t part, uint32_t parts)
{
    uint64_t left_ns = used_ns < limit_ns ? limit_ns - used_ns : 0;
    return part + 1 < parts ? left_ns / (parts - part) : left_ns;
}

const char *plx_bench_wait_text(uint64_t ns, char text[PLX_BENCH_TIMING_BYTES])
{
    uint64_t seconds = (ns + SECOND_NS - 1) / SECOND_NS;
    uint64_t minutes = (seconds + 59) / 60;
    if (seconds < FEW)
        snprintf(text, PLX_BENCH_TIMING_BYTES, "%llu s", (unsigned long long)seconds);
    else if (minutes < FEW)
        snprintf(text, PLX_BENCH_TIMING_BYTES, "%llu min", (unsigned long long)minutes);
    else
        snprintf(text, PLX_BENCH_TIMING_BYTES, "%.1f h", (double)minutes / 60);
    return text;
}

/* How long the case still takes; 0: nobody knows. */
static uint64_t left_ns(const struct plx_bench_timing *timing)
{
    uint64_t most_ns = timing->limit_ns > timing->took_ns ? timing->limit_ns - timing->took_ns : 0;
    if (timing->precise)
        return most_ns;
    /* Rounds that are added are past what was meant: they say nothing of the end. */
    uint32_t round = timing->round < timing->rounds ? timing->round : timing->rounds;
    double done = timing->part + (double)round / timing->rounds;
    if (!(done > 0))
        return 0;
    uint64_t ns = (uint64_t)((double)timing->took_ns / done * (timing->parts - done));
    return timing->limit_ns != 0 && most_ns < ns ? most_ns : ns;
}

const char *plx_bench_timing_text(const struct plx_bench_timing *timing,
                                  char text[PLX_BENCH_TIMING_BYTES])
{
    char batch[40] = "";
    char of[40] = "";
    char left[PLX_BENCH_TIMING_BYTES];
    uint64_t ns = left_ns(timing);
    if (timing->parts > 1)
        snprintf(batch, sizeof(batch), "batch %u of %u, ", timing->part + 1, timing->parts);
    if (!timing->precise && timing->round < timing->rounds)
        snprintf(of, sizeof(of), " of %u", timing->rounds);
    else if (!timing->precise)
        snprintf(of, sizeof(of), " of at most %u", timing->rounds_most);
    int length =
        snprintf(text, PLX_BENCH_TIMING_BYTES, "%sround %u%s", batch, timing->round + 1, of);
    if (ns != 0)
        snprintf(text + length, PLX_BENCH_TIMING_BYTES - (size_t)length, ", %s%s left",
                 timing->precise ? "at most " : "", plx_bench_wait_text(ns, left));
    return text;
}

double plx_bench_overhead_ns(const struct plx_bench_case *what, double clock_ns, double fenced_ns)
{
    double readings = what->readings != 0 ? what->readings : 1;
    double block = what->block != 0 ? what->block : 1;
    /* Beside what sleepers wait for it is nothing; rates are of a whole slice. */
    if (what->unit != PLX_BENCH_NS || what->sleeps)
        return 0;
    return (what->fenced ? fenced_ns : clock_ns) * readings / block;
}
