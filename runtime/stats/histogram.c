/* SPDX-License-Identifier: MIT */
#include "runtime/stats/histogram.h"

#include <errno.h>
#include <string.h>

/* Percentiles are computed in whole parts, so that a decimal like 99.9 isn't a hair too high. */
#define PARTS_PER_PERCENT 1e7
#define PARTS_OF_ALL UINT64_C(1000000000)

size_t plx_histogram_bytes(void)
{
    return sizeof(struct plx_histogram);
}

int plx_histogram_init(void *memory, struct plx_histogram **out)
{
    *out = NULL;
    if (memory == NULL || (uintptr_t)memory % PLX_CACHE_LINE != 0)
        return -EINVAL;

    *out = memory;
    plx_histogram_reset(*out);
    return 0;
}

void plx_histogram_reset(struct plx_histogram *histogram)
{
    memset(histogram, 0, sizeof(*histogram));
    histogram->min = UINT64_MAX;
}

static size_t bucket_of_any(uint64_t value)
{
    return plx__histogram_bucket(value < PLX_HISTOGRAM_MAX ? value : PLX_HISTOGRAM_MAX);
}

/* The highest value that falls into a bucket. */
static uint64_t highest_of_bucket(size_t bucket)
{
    const size_t half = (size_t)1 << PLX_HISTOGRAM_BITS;
    if (bucket < 2 * half)
        return bucket;
    size_t shift = (bucket >> PLX_HISTOGRAM_BITS) - 1;
    uint64_t leading = (bucket & (half - 1)) + half;
    return ((leading + 1) << shift) - 1;
}

void plx_histogram_merge(struct plx_histogram *into, const struct plx_histogram *from)
{
    if (from->count == 0)
        return;

    size_t last = bucket_of_any(from->max);
    for (size_t i = bucket_of_any(from->min); i <= last; i++)
        into->buckets[i] += from->buckets[i];

    uint64_t low = from->sum_low; /* `into` may be `from` */
    into->sum_low += low;
    into->sum_high += from->sum_high + (into->sum_low < low);
    into->count += from->count;
    into->clamped += from->clamped;
    into->min = from->min < into->min ? from->min : into->min;
    into->max = from->max > into->max ? from->max : into->max;
}

/* How many of the values, in order, must have passed for the percentile: 1 to count. */
static uint64_t rank_of(double percentile, uint64_t count)
{
    /* Negated comparisons, so that a NaN is taken for 0. */
    if (!(percentile > 0))
        return 1;
    if (!(percentile < 100))
        return count;

    uint64_t parts = (uint64_t)(percentile * PARTS_PER_PERCENT + 0.5);
    unsigned __int128 product = (unsigned __int128)parts * count;
    uint64_t rank = (uint64_t)((product + PARTS_OF_ALL - 1) / PARTS_OF_ALL);
    return rank > 0 ? rank : 1;
}

uint64_t plx_histogram_percentile(const struct plx_histogram *histogram, double percentile)
{
    if (histogram->count == 0)
        return 0;

    uint64_t rank = rank_of(percentile, histogram->count);
    size_t bucket = bucket_of_any(histogram->min);
    uint64_t passed = histogram->buckets[bucket];
    while (passed < rank) {
        bucket++;
        PLX_ASSERT(bucket < PLX_HISTOGRAM_BUCKETS);
        passed += histogram->buckets[bucket];
    }
    return highest_of_bucket(bucket);
}

double plx_histogram_mean(const struct plx_histogram *histogram)
{
    if (histogram->count == 0)
        return 0;
    double sum = (double)histogram->sum_high * 0x1p64 + (double)histogram->sum_low;
    return sum / (double)histogram->count;
}
