/* SPDX-License-Identifier: MIT */
/*
 * A histogram of durations that keeps three significant digits over the whole range from a
 * nanosecond to a quarter of an hour, at a few nanoseconds for each value recorded.
 *
 * Words. Values fall into *buckets*: one for each value below 2048, then 1024 for each doubling, so
 * that a bucket is never wider than a thousandth of what it holds. All values of a bucket are
 * *equivalent*. A value above PLX_HISTOGRAM_MAX is *clamped*: counted in the last bucket, and
 * counted as clamped.
 *
 * The value at a percentile has HdrHistogram's meaning: the highest equivalent value of the bucket
 * in which the cumulated count reaches that percentage of all, rounded up to whole values; at least
 * so much of what was recorded is less or equal. It may thus lie above the exact maximum, by less
 * than the bucket's width.
 *
 * What is recorded is what is counted: nothing is added for work that a stalled measurement
 * omitted to start ("coordinated omission"). Who measures at a pace takes the time from when an
 * operation was due, not from when it got to start; then the histogram is free of it.
 *
 * Threads: a histogram belongs to one thread at a time.
 */
#ifndef POLLUX_HISTOGRAM_H
#define POLLUX_HISTOGRAM_H

#include "alloc/base.h"

/* The greatest value with a bucket of its own: 2^40 - 1, 18 minutes in nanoseconds. */
#define PLX_HISTOGRAM_MAX ((UINT64_C(1) << 40) - 1)

/* Each doubling has 2^PLX_HISTOGRAM_BITS buckets. */
#define PLX_HISTOGRAM_BITS 10

#define PLX_HISTOGRAM_BUCKETS ((size_t)(40 - PLX_HISTOGRAM_BITS + 1) << PLX_HISTOGRAM_BITS)

/* 248 KiB, of which recording touches the first line and the lines of the buckets that occur. */
struct plx_histogram {
    uint64_t count;
    uint64_t min; /* UINT64_MAX as long as nothing is recorded */
    uint64_t max;
    uint64_t sum_low; /* the sum of the values, 128 bits */
    uint64_t sum_high;
    uint64_t clamped;
    uint64_t reserved[2];
    uint64_t buckets[PLX_HISTOGRAM_BUCKETS];
};

PLX_STATIC_ASSERT(offsetof(struct plx_histogram, buckets) == PLX_CACHE_LINE, "totals in one line");

PLX_EXTERN_C_BEGIN

/* --- lifecycle ------------------------------------------------------------------------------- */

/* Bytes of memory that a histogram takes. Any thread. */
PLX_API size_t plx_histogram_bytes(void);

/*
 * Makes an empty histogram in `memory`.
 * Shapes: plx_histogram_bytes() bytes, aligned to PLX_CACHE_LINE.
 * Ownership: `memory` is borrowed until the last use; nothing is to be undone. *out points into it.
 * Cost: set-up only; touches all of the memory, so that recording meets no page fault.
 * Errors: -EINVAL: `memory` is NULL or misaligned; *out is NULL.
 */
PLX_API PLX_COLD PLX_MUST_CHECK int plx_histogram_init(void *memory, struct plx_histogram **out);

/* Forgets all that was recorded. Cost: writes all of the memory. */
PLX_API void plx_histogram_reset(struct plx_histogram *histogram);

/* --- operations ------------------------------------------------------------------------------ */

/* Adds to `into` all that `from` holds, as if it had been recorded there. `from` stays as it is. */
PLX_API void plx_histogram_merge(struct plx_histogram *into, const struct plx_histogram *from);

/* --- inspection ------------------------------------------------------------------------------ */

/*
 * The value at a percentile, as said above. Units: `percentile` in percent, 0 to 100, what lies
 * outside being taken for the nearer end; seven decimals count. At 0 it is that of the least
 * value. PLX_HISTOGRAM_MAX may stand for clamped values.
 * Cost: a walk over the buckets that occur, microseconds. 0 if nothing was recorded.
 */
PLX_API uint64_t plx_histogram_percentile(const struct plx_histogram *histogram, double percentile);

/* The mean of the values recorded, clamped ones as they were; 0 if nothing was recorded. */
PLX_API double plx_histogram_mean(const struct plx_histogram *histogram);

/* How many values were recorded, clamped ones included. */
static inline uint64_t plx_histogram_count(const struct plx_histogram *histogram)
{
    return histogram->count;
}

/* The least value recorded, exactly; 0 if nothing was recorded. */
static inline uint64_t plx_histogram_min(const struct plx_histogram *histogram)
{
    return histogram->count != 0 ? histogram->min : 0;
}

/* The greatest value recorded, exactly, clamped or not; 0 if nothing was recorded. */
static inline uint64_t plx_histogram_max(const struct plx_histogram *histogram)
{
    return histogram->max;
}

/* How many values were above PLX_HISTOGRAM_MAX. */
static inline uint64_t plx_histogram_clamped(const struct plx_histogram *histogram)
{
    return histogram->clamped;
}

/* --- hot ------------------------------------------------------------------------------------- */

/* The bucket of a value up to PLX_HISTOGRAM_MAX. */
static inline size_t plx__histogram_bucket(uint64_t value)
{
    /* The leading bits of the value stay; the doublings below the first share its buckets. */
    uint64_t raised = value | (UINT64_C(1) << PLX_HISTOGRAM_BITS);
    unsigned shift = (unsigned)(63 - PLX_HISTOGRAM_BITS) - (unsigned)__builtin_clzll(raised);
    return ((size_t)shift << PLX_HISTOGRAM_BITS) + (size_t)(value >> shift);
}

/* Records one value. Cost: hot; no branch depends on the value; touches two lines. */
static inline void plx_histogram_record(struct plx_histogram *histogram, uint64_t value)
{
    uint64_t bounded = value < PLX_HISTOGRAM_MAX ? value : PLX_HISTOGRAM_MAX;
    histogram->buckets[plx__histogram_bucket(bounded)]++;
    histogram->clamped += value > PLX_HISTOGRAM_MAX;
    histogram->count++;
    histogram->min = value < histogram->min ? value : histogram->min;
    histogram->max = value > histogram->max ? value : histogram->max;
    histogram->sum_low += value;
    histogram->sum_high += histogram->sum_low < value;
}

PLX_EXTERN_C_END

#endif
