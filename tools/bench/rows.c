/* SPDX-License-Identifier: MIT */
/* The rows: their memory, and what is kept of how their samples spread. */
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "tools/bench/frame.h"

/* HdrHistogram's choice: so many points on the way to each next halving of what lies beyond. */
#define POINTS_PER_HALF 5.0

struct plx_bench_row *plx_bench_row_add(struct plx_bench *bench)
{
    if (bench->row_count == bench->row_room) {
        uint32_t room = bench->row_room != 0 ? 2 * bench->row_room : 64;
        struct plx_bench_row *rows = realloc(bench->rows, room * sizeof(*rows));
        if (rows == NULL)
            return NULL;
        bench->rows = rows;
        bench->row_room = room;
    }
    struct plx_bench_row *row = &bench->rows[bench->row_count++];
    memset(row, 0, sizeof(*row));
    row->ci_low = NAN;
    row->ci_high = NAN;
    return row;
}

void plx_bench_rows_fini(struct plx_bench *bench)
{
    for (uint32_t i = 0; i < bench->row_count; i++) {
        plx_bench_rounds_fini(&bench->rows[i].rounds);
        plx_bench_rounds_fini(&bench->rows[i].speeds);
        plx_bench_rounds_fini(&bench->rows[i].lines);
        free(bench->rows[i].points);
        free(bench->rows[i].paired);
        free(bench->rows[i].samples);
    }
    free(bench->rows);
    bench->rows = NULL;
    bench->row_count = 0;
    bench->row_room = 0;
}

int plx_bench_node_of(const struct plx_bench *bench, int cpu)
{
    const struct plx_machine_cpu *found =
        cpu >= 0 ? plx_machine_cpu(bench->machine, (uint32_t)cpu) : NULL;
    return found != NULL ? (int)found->node : -1;
}

/* --- doubts ---------------------------------------------------------------------------------- */

static int append(struct plx_bench_rounds *rounds, const struct plx_bench_rounds *more)
{
    int rc = 0;
    for (uint32_t i = 0; i < more->count && rc == 0; i++)
        rc = plx_bench_rounds_add(rounds, more->p50[i]);
    return rc;
}

int plx_bench_row_seen(struct plx_bench_row *row, const struct plx_bench_rounds *speeds,
                       const struct plx_bench_rounds *lines)
{
    int rc = append(&row->speeds, speeds);
    if (rc == 0)
        rc = append(&row->lines, lines);
    if (rc != 0)
        return rc;
    /* Within each pass, and from one to the next. */
    row->core_drift = fmax(row->core_drift, plx_bench_drift(speeds->p50, speeds->count));
    row->core_drift = fmax(row->core_drift, plx_bench_drift(row->speeds.p50, row->speeds.count));
    row->drifted = row->core_drift > PLX_BENCH_DRIFT;
    if (row->speeds.count != 0)
        row->core_ns = plx_bench_median(row->speeds.p50, row->speeds.count);
    if (row->lines.count != 0)
        row->line_ns = plx_bench_median(row->lines.p50, row->lines.count);
    return 0;
}

bool plx_bench_rounds_part(const struct plx_bench_rounds *rounds, double *part)
{
    double low, high;
    if (!plx_bench_interval(rounds->p50, rounds->count, &low, &high))
        return false;
    /* One that is always the same, nothing among them, is as certain as can be. */
    *part = high > low ? (high - low) / 2 / plx_bench_median(rounds->p50, rounds->count) : 0;
    return true;
}

bool plx_bench_is_unsure(const struct plx_bench *bench, const struct plx_bench_rounds *rounds)
{
    double part;
    return bench->precision > 0 &&
           !(plx_bench_rounds_part(rounds, &part) && part <= bench->precision);
}

/* --- how samples spread ---------------------------------------------------------------------- */

/* The greatest value of a bucket. */
static uint64_t highest_of(size_t bucket)
{
    uint64_t doubling = UINT64_C(1) << PLX_HISTOGRAM_BITS;
    if (bucket < 2 * doubling)
        return bucket;
    unsigned shift = (unsigned)(bucket >> PLX_HISTOGRAM_BITS) - 1;
    uint64_t lead = (bucket & (doubling - 1)) + doubling;
    return ((lead + 1) << shift) - 1;
}

/* The percentage after `percent` at which a point is due. */
static double next_percent(double percent)
{
    double halvings = floor(log2(100 / (100 - percent))) + 1;
    return percent + 100 / (POINTS_PER_HALF * pow(2, halvings));
}

/* Without what reading the clock took. */
static double in_unit(const struct plx_bench_row *row, double figure)
{
    return fmax(0, figure - row->overhead_ns);
}

static void walk(struct plx_bench_row *row, const struct plx_histogram *samples, double scale)
{
    double total = (double)samples->count;
    double mean = plx_histogram_mean(samples);
    double percent = 0;
    double squares = 0;
    uint64_t count = 0;
    for (size_t i = 0; i < PLX_HISTOGRAM_BUCKETS; i++) {
        if (samples->buckets[i] == 0)
            continue;
        double value = (double)highest_of(i);
        count += samples->buckets[i];
        squares += (double)samples->buckets[i] * (value - mean) * (value - mean);
        for (; row->point_count + 1 < PLX_BENCH_POINTS_MAX &&
               100 * (double)count / total >= percent && count < samples->count;
             percent = next_percent(percent))
            row->points[row->point_count++] =
                (struct plx_bench_point){in_unit(row, scale * value), percent / 100, count};
    }
    double max = (double)plx_histogram_percentile(samples, 100);
    row->points[row->point_count++] = (struct plx_bench_point){in_unit(row, scale * max), 1, count};
    row->deviation = scale * sqrt(squares / total);
}

int plx_bench_row_spread(struct plx_bench_row *row, const struct plx_histogram *samples,
                         const struct plx_bench_rounds *rounds, double scale)
{
    if (row->points == NULL)
        row->points = malloc(PLX_BENCH_POINTS_MAX * sizeof(*row->points));
    row->point_count = 0;
    row->rounds.count = 0;
    row->ci_low = NAN;
    row->ci_high = NAN;
    if (row->points == NULL)
        return -ENOMEM;
    walk(row, samples, scale);
    for (uint32_t i = 0; i < rounds->count; i++) {
        if (plx_bench_rounds_add(&row->rounds, in_unit(row, scale * rounds->p50[i])) != 0)
            return -ENOMEM;
    }
    /* The median of all samples is what rows show, and lies in its own interval. */
    if (plx_bench_interval(row->rounds.p50, row->rounds.count, &row->ci_low, &row->ci_high)) {
        row->ci_low = fmin(row->ci_low, row->p50);
        row->ci_high = fmax(row->ci_high, row->p50);
    }
    return 0;
}
