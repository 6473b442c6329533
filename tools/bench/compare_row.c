/* SPDX-License-Identifier: MIT */
/* Two rows: how much they differ, how sure that is, and what it means. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "tools/bench/compare.h"
#include "tools/bench/document.h"
#include "tools/bench/interval.h"

/* The round medians of a row, to be freed; NULL: none, or no memory. */
static double *rounds_of(const json_t *row, uint32_t *count)
{
    const json_t *array = json_object_get(row, "round_p50");
    *count = (uint32_t)json_array_size(array);
    double *values = *count != 0 ? malloc(*count * sizeof(*values)) : NULL;
    if (values == NULL)
        *count = 0;
    for (uint32_t i = 0; i < *count; i++)
        values[i] = json_number_value(json_array_get(array, i));
    return values;
}

bool plx_compare_is_rate(const json_t *row)
{
    return strcmp(plx_bench_text(row, "better"), "higher") == 0;
}

static void bound(struct plx_compare_change *change, const json_t *a, const json_t *b)
{
    const json_t *above = plx_compare_is_rate(a) ? a : b;
    const json_t *below = plx_compare_is_rate(a) ? b : a;
    change->low = plx_bench_number(above, "ci_low") / plx_bench_number(below, "ci_high");
    change->high = plx_bench_number(above, "ci_high") / plx_bench_number(below, "ci_low");
}

/* The quotient of a figure of the machine; 1: it is not known of both. */
static double quotient(const json_t *a, const json_t *b, const char *key)
{
    double value = plx_bench_number(b, key) / plx_bench_number(a, key);
    return value > 0 && isfinite(value) ? value : 1;
}

static int by_value(const void *a, const void *b)
{
    double left = *(const double *)a;
    double right = *(const double *)b;
    return (left > right) - (left < right);
}

/* Values nearer than this part to each other differ by how they were written. */
#define ALIKE 1e-5

/*
 * The least step between two values of a row; NAN: all are the same. Of a counter that moves in
 * steps all of them lie in such, and the next one may be a hair away.
 */
static double step_of(const json_t *row, const double *rounds, uint32_t count)
{
    static const char *const also[] = {"min", "p50", "p90", "p99"};
    const size_t also_count = sizeof(also) / sizeof(also[0]);
    double *all = malloc((count + also_count) * sizeof(*all));
    double least = INFINITY;
    size_t used = 0;
    if (all == NULL)
        return NAN;
    for (size_t i = 0; i < count + also_count; i++) {
        double value = i < count ? rounds[i] : plx_bench_number(row, also[i - count]);
        if (isfinite(value))
            all[used++] = value;
    }
    qsort(all, used, sizeof(*all), by_value);
    for (size_t i = 1; i < used; i++) {
        double step = all[i] - all[i - 1];
        least = step > ALIKE * all[i] ? fmin(least, step) : least;
    }
    free(all);
    return isfinite(least) ? least : NAN;
}

/* That of two rows, neither of which is coarser than what is seen of it, as a part. */
static double least_step(double a, double b, const struct plx_compare_change *change)
{
    /* Of NAN and a number it is the number. */
    double least = fmin(a, b) / fmin(change->before, change->after);
    return least > 0 && isfinite(least) ? least : 0;
}

static double square(double value)
{
    return value * value;
}

static enum plx_compare_verdict judge(const struct plx_compare_change *change, double peers)
{
    bool overlap = change->low <= 1 && change->high >= 1; /* false where they are not known */
    double step = log1p(change->noise);
    if (change->probability >= PLX_COMPARE_PROBABILITY || overlap ||
        fabs(log(change->slowdown)) <= step)
        return PLX_COMPARE_SAME;
    const double excuses[] = {change->core, peers};
    for (size_t i = 0; i < sizeof(excuses) / sizeof(excuses[0]); i++) {
        double own = log(change->slowdown / excuses[i]);
        if (fabs(own) <= step || (own > 0) != (change->slowdown > 1))
            return PLX_COMPARE_MOVED;
    }
    return change->slowdown > 1 ? PLX_COMPARE_SLOWER : PLX_COMPARE_FASTER;
}

static bool is_busy(const json_t *row)
{
    return json_is_true(json_object_get(row, "busy"));
}

struct plx_compare_change plx_compare_change_of(const json_t *a, const json_t *b)
{
    struct plx_compare_change change = {.before = plx_bench_number(a, "p50"),
                                        .after = plx_bench_number(b, "p50"),
                                        .slowdown = NAN,
                                        .core = quotient(a, b, "core_ns"),
                                        .probability = 1,
                                        .verdict = PLX_COMPARE_UNKNOWN};
    uint32_t a_count;
    uint32_t b_count;
    double *a_rounds = rounds_of(a, &a_count);
    double *b_rounds = rounds_of(b, &b_count);
    double line = quotient(a, b, "line_ns");
    if (change.before > 0 && change.after > 0) {
        /* p50 is that of samples, of which a slice has the more the faster it was. */
        change.before = a_count != 0 ? plx_bench_median(a_rounds, a_count) : change.before;
        change.after = b_count != 0 ? plx_bench_median(b_rounds, b_count) : change.after;
        change.slowdown =
            plx_compare_is_rate(a) ? change.before / change.after : change.after / change.before;
    }
    bound(&change, a, b);
    double drift_a = plx_bench_drift(a_rounds, a_count);
    double drift_b = plx_bench_drift(b_rounds, b_count);
    change.noise = sqrt(
        square(fmax(drift_a, plx_bench_number(a, "core_drift"))) +
        square(fmax(drift_b, plx_bench_number(b, "core_drift"))) +
        square(least_step(step_of(a, a_rounds, a_count), step_of(b, b_rounds, b_count), &change)) +
        square(fmax(line, 1 / line) - 1));
    if (change.slowdown > 0 && isfinite(change.slowdown) && a_count >= PLX_COMPARE_ROUNDS_MIN &&
        b_count >= PLX_COMPARE_ROUNDS_MIN && !is_busy(a) && !is_busy(b)) {
        bool away = fmax(line, 1 / line) > PLX_COMPARE_ELSEWHERE;
        change.verdict = away ? PLX_COMPARE_AWAY : PLX_COMPARE_SAME;
        change.probability = plx_bench_same_probability(a_rounds, a_count, b_rounds, b_count);
    }
    free(a_rounds);
    free(b_rounds);
    return change;
}

void plx_compare_conclude(struct plx_compare_change *change,
                          const struct plx_compare_others *others)
{
    change->noise = hypot(change->noise, fmax(PLX_COMPARE_NOISE, others->between));
    if (change->verdict == PLX_COMPARE_SAME)
        change->verdict = judge(change, others->peers);
}
