/* SPDX-License-Identifier: MIT */
/* How sure a median is, and whether two differ. */
#include "tools/bench/interval.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Half of what the interval may miss. */
#define TAIL 0.025
/* Up to so many values the distribution of the test is counted out. */
#define EXACT_MAX 20u
#define QUARTERS  4u

int plx_bench_rounds_add(struct plx_bench_rounds *rounds, double p50)
{
    if (rounds->count == rounds->room) {
        uint32_t room = rounds->room != 0 ? 2 * rounds->room : 64;
        double *values = realloc(rounds->p50, room * sizeof(*values));
        if (values == NULL)
            return -ENOMEM;
        rounds->p50 = values;
        rounds->room = room;
    }
    rounds->p50[rounds->count++] = p50;
    return 0;
}

void plx_bench_rounds_fini(struct plx_bench_rounds *rounds)
{
    free(rounds->p50);
    memset(rounds, 0, sizeof(*rounds));
}

static int by_value(const void *a, const void *b)
{
    double left = *(const double *)a;
    double right = *(const double *)b;
    return (left > right) - (left < right);
}

/* A sorted copy, to be freed; NULL: no memory. */
static double *sorted(const double *values, uint32_t count)
{
    double *copy = malloc((count != 0 ? count : 1) * sizeof(*copy));
    if (copy == NULL)
        return NULL;
    memcpy(copy, values, count * sizeof(*copy));
    qsort(copy, count, sizeof(*copy), by_value);
    return copy;
}

static double middle(const double *in_order, uint32_t count)
{
    return (in_order[(count - 1) / 2] + in_order[count / 2]) / 2;
}

double plx_bench_median(const double *values, uint32_t count)
{
    double *in_order = sorted(values, count);
    double median = in_order != NULL ? middle(in_order, count) : (double)NAN;
    free(in_order);
    return median;
}

/*
 * How many values may be left out at each end. The number of values below the true median is that
 * of heads among `count` tosses, so the sum over the tail of its distribution is what is risked.
 */
static uint32_t left_out(uint32_t count)
{
    double sum = 0;
    uint32_t rank = 0;
    for (; rank < count / 2; rank++) {
        double log_ways = lgamma(count + 1.0) - lgamma(rank + 1.0) - lgamma(count - rank + 1.0);
        sum += exp(log_ways - count * log(2));
        if (sum > TAIL)
            break;
    }
    return rank;
}

bool plx_bench_interval(const double *values, uint32_t count, double *low, double *high)
{
    uint32_t skip = count >= PLX_BENCH_INTERVAL_MIN ? left_out(count) : 0;
    double *in_order = skip != 0 ? sorted(values, count) : NULL;
    if (in_order == NULL)
        return false;
    *low = in_order[skip - 1];
    *high = in_order[count - skip];
    free(in_order);
    return true;
}

bool plx_bench_ratio_of(const double *a, const double *b, uint32_t count,
                        struct plx_bench_ratio *out)
{
    struct plx_bench_rounds ratios = {.p50 = NULL};
    bool known = true;
    for (uint32_t i = 0; i < count && known; i++) {
        if (isfinite(a[i]) && b[i] > 0) /* NAN is not */
            known = plx_bench_rounds_add(&ratios, a[i] / b[i]) == 0;
    }
    known = known && ratios.count != 0;
    if (known) {
        *out = (struct plx_bench_ratio){.low = NAN, .high = NAN, .rounds = ratios.count};
        out->mid = plx_bench_median(ratios.p50, ratios.count);
        (void)plx_bench_interval(ratios.p50, ratios.count, &out->low, &out->high);
    }
    plx_bench_rounds_fini(&ratios);
    return known;
}

/*
 * Twice the probability of a sum `u` or less, of sets without equal values. ways[i][s]: how many
 * subsets of i of the first values have the sum s above the least possible; one value after the
 * other is let in.
 */
static double exact_probability(uint32_t a_count, uint32_t b_count, double u)
{
    uint32_t sums = a_count * b_count + 1;
    double *ways = calloc((size_t)(a_count + 1) * sums, sizeof(*ways));
    if (ways == NULL)
        return 1;
    ways[0] = 1;
    for (uint32_t rank = 0; rank < a_count + b_count; rank++) {
        for (uint32_t i = a_count; i >= 1; i--) {
            /* As the i-th chosen it has `rank` - (i - 1) of the others below it. */
            if (rank + 1 < i || rank + 1 - i > b_count)
                continue;
            uint32_t above = rank + 1 - i;
            for (uint32_t s = sums - 1; s + 1 > above; s--)
                ways[i * sums + s] += ways[(i - 1) * sums + s - above];
        }
    }
    double all = 0;
    double tail = 0;
    for (uint32_t s = 0; s < sums; s++) {
        all += ways[a_count * sums + s];
        tail += s <= u ? ways[a_count * sums + s] : 0;
    }
    free(ways);
    return fmin(1, 2 * tail / all);
}

/* The same of large sets, where the sum is as good as normal. `ties`: sum of t^3 - t. */
static double normal_probability(uint32_t a_count, uint32_t b_count, double u, double ties)
{
    double n = (double)a_count + b_count;
    double pairs = (double)a_count * b_count;
    double variance = pairs / 12 * (n + 1 - ties / (n * (n - 1)));
    if (variance <= 0)
        return 1;
    double z = (pairs / 2 - u - 0.5) / sqrt(variance);
    return z <= 0 ? 1 : erfc(z / sqrt(2));
}

/* The sum of t^3 - t over the groups of t equal values of both sets, which are in order. */
static double ties_of(const double *a, uint32_t a_count, const double *b, uint32_t b_count)
{
    double ties = 0;
    for (uint32_t i = 0, j = 0; i < a_count || j < b_count;) {
        double least = i < a_count && (j == b_count || a[i] < b[j]) ? a[i] : b[j];
        double t = 0;
        for (; i < a_count && a[i] <= least; i++)
            t++;
        for (; j < b_count && b[j] <= least; j++)
            t++;
        ties += t * t * t - t;
    }
    return ties;
}

/* Pairs in which the value of `a` is less, equal ones by half; both are in order. */
static double wins_of(const double *a, uint32_t a_count, const double *b, uint32_t b_count)
{
    double wins = 0;
    uint32_t below = 0;
    uint32_t equal_end = 0;
    for (uint32_t i = 0; i < a_count; i++) {
        while (below < b_count && b[below] < a[i])
            below++;
        while (equal_end < b_count && b[equal_end] <= a[i])
            equal_end++;
        wins += b_count - equal_end + 0.5 * (equal_end - below);
    }
    return wins;
}

double plx_bench_same_probability(const double *a, uint32_t a_count, const double *b,
                                  uint32_t b_count)
{
    double *left = sorted(a, a_count);
    double *right = sorted(b, b_count);
    double probability = 1;
    if (left != NULL && right != NULL && a_count != 0 && b_count != 0) {
        double wins = wins_of(left, a_count, right, b_count);
        double u = fmin(wins, (double)a_count * b_count - wins);
        /* Half a pair is an equal one: as exact ways know none, it speaks for chance. */
        probability =
            a_count <= EXACT_MAX && b_count <= EXACT_MAX
                ? exact_probability(a_count, b_count, ceil(u))
                : normal_probability(a_count, b_count, u, ties_of(left, a_count, right, b_count));
    }
    free(left);
    free(right);
    return probability;
}

double plx_bench_drift(const double *values, uint32_t count)
{
    double least = INFINITY;
    double most = 0;
    if (count < 2 * QUARTERS)
        return 0;
    for (uint32_t i = 0; i < QUARTERS; i++) {
        uint32_t from = count * i / QUARTERS;
        uint32_t to = count * (i + 1) / QUARTERS;
        double median = plx_bench_median(values + from, to - from);
        least = fmin(least, median);
        most = fmax(most, median);
    }
    double all = plx_bench_median(values, count);
    return all > 0 ? (most - least) / all : 0;
}
