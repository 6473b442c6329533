/* SPDX-License-Identifier: MIT */
/* What a reading of the counter costs, and whether the core's speed moves. */
#include <math.h>
#include <stdio.h>

#include "tools/bench/frame.h"

#define READINGS 101u
/* Readings in a block, as the counter moves in steps on some processors. */
#define BLOCK 64u
/* Additions, each waiting for the last: a cycle each, some 5 us in all. */
#define ADDITIONS 16384u
/* The shortest of so many counts: an interrupt lengthens one of them. */
#define TRIES 3u

static double median_of(uint64_t (*block)(void), const struct plx_bench *bench)
{
    double values[READINGS];
    for (uint32_t i = 0; i < READINGS; i++)
        values[i] = (double)block();
    return plx_bench_median(values, READINGS) * plx_bench_ns_per_tick(bench) / BLOCK;
}

static uint64_t plain_block(void)
{
    uint64_t last = 0;
    uint64_t first = plx_ticks();
    for (uint32_t i = 0; i < BLOCK; i++) {
        last = plx_ticks();
        __asm__ __volatile__("" : : "r"(last));
    }
    return last - first;
}

static uint64_t fenced_block(void)
{
    uint64_t last = 0;
    uint64_t first = plx_bench_fenced_ticks();
    for (uint32_t i = 0; i < BLOCK; i++)
        last = plx_bench_fenced_ticks();
    return last - first;
}

void plx_bench_time_clock(struct plx_bench *bench)
{
    bench->clock_ns = median_of(plain_block, bench);
    bench->fenced_ns = median_of(fenced_block, bench);
}

double plx_bench_core_ns(const struct plx_bench *bench)
{
    uint64_t least = UINT64_MAX;
    for (uint32_t i = 0; i < TRIES; i++) {
        uint64_t sum = i;
        uint64_t before = plx_bench_fenced_ticks();
        for (uint32_t j = 0; j < ADDITIONS; j++) {
            sum += j;
            /* The sum is wanted after each addition, so that none is left out or put together. */
            __asm__ __volatile__("" : "+r"(sum));
        }
        uint64_t took = plx_bench_fenced_ticks() - before;
        least = took < least ? took : least;
    }
    return (double)least * plx_bench_ns_per_tick(bench) / ADDITIONS;
}

void plx_bench_speed_print(const struct plx_bench *bench)
{
    fprintf(bench->tables,
            "reading the counter takes %.1f ns, %.1f between fences: taken off what it times\n",
            bench->clock_ns, bench->fenced_ns);
    fprintf(bench->tables, "%llu slices were preceded by %.1f ms that do not count, to warm up\n",
            (unsigned long long)bench->warm_slices, PLX_BENCH_WARM_US / 1e3);
    if (bench->rows_unsure != 0)
        fprintf(bench->tables,
                "%u rows did not come to %g %%, marked u: more --time, or a quieter machine\n",
                bench->rows_unsure, 100 * bench->precision);
    if (bench->speeds.count == 0)
        return;
    double least = bench->speeds.p50[0];
    double most = least;
    for (uint32_t i = 1; i < bench->speeds.count; i++) {
        least = fmin(least, bench->speeds.p50[i]);
        most = fmax(most, bench->speeds.p50[i]);
    }
    fprintf(bench->tables,
            "speed of the cores: an addition took %.3f to %.3f ns, after slices (%.1f %%)", least,
            most, 100 * (most / least - 1));
    if (bench->rows_drifted != 0)
        fprintf(bench->tables, "; in %u rows, marked d, it moved by more than %.0f %% meanwhile",
                bench->rows_drifted, 100 * PLX_BENCH_DRIFT);
    fputc('\n', bench->tables);
}
