/* SPDX-License-Identifier: MIT */
/* The histogram beside a sorted array of the same values. POLLUX_TEST_SEED replays a run. */
#include "runtime/stats/histogram.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define VALUES_MAX 20000

static uint64_t seed;
static uint64_t state_of_random;

static uint64_t random_next(void)
{
    state_of_random += 0x9e3779b97f4a7c15u;
    uint64_t z = state_of_random;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

static struct plx_histogram *make(void)
{
    void *memory = aligned_alloc(PLX_CACHE_LINE, plx_histogram_bytes());
    assert_non_null(memory);
    memset(memory, 0xa5, plx_histogram_bytes());
    struct plx_histogram *h = NULL;
    assert_int_equal(plx_histogram_init(memory, &h), 0);
    assert_ptr_equal(h, memory);
    return h;
}

static int by_value(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a;
    uint64_t y = *(const uint64_t *)b;
    return x < y ? -1 : x > y;
}

/* The highest value equivalent to `value`, by halving rather than by bits. */
static uint64_t highest_equivalent(uint64_t value)
{
    uint64_t width = 1;
    while (value / width >= 2048)
        width *= 2;
    return value / width * width + width - 1;
}

/* The exact value of rank ceil(hundredths of a percent * n), at least the first. */
static uint64_t exact_percentile(const uint64_t *sorted, uint64_t n, uint64_t hundredths)
{
    uint64_t rank = (hundredths * n + 9999) / 10000;
    return sorted[rank > 0 ? rank - 1 : 0];
}

static void check_against_array(const struct plx_histogram *h, uint64_t *values, uint64_t n)
{
    qsort(values, n, sizeof(*values), by_value);
    uint64_t clamped = 0;
    long double sum = 0;
    for (uint64_t i = 0; i < n; i++) {
        clamped += values[i] > PLX_HISTOGRAM_MAX;
        sum += values[i];
    }
    assert_int_equal(plx_histogram_count(h), n);
    assert_int_equal(plx_histogram_clamped(h), clamped);
    assert_int_equal(plx_histogram_min(h), values[0]);
    assert_int_equal(plx_histogram_max(h), values[n - 1]);
    double mean = (double)(sum / n);
    assert_true(plx_histogram_mean(h) <= mean * (1 + 1e-12));
    assert_true(plx_histogram_mean(h) >= mean * (1 - 1e-12));

    /* Coarsely, and the tail finely. */
    for (uint64_t hundredths = 0; hundredths <= 10000; hundredths += hundredths < 9900 ? 20 : 1) {
        uint64_t exact = exact_percentile(values, n, hundredths);
        uint64_t expected = highest_equivalent(exact);
        if (exact > PLX_HISTOGRAM_MAX)
            expected = PLX_HISTOGRAM_MAX;
        uint64_t got = plx_histogram_percentile(h, (double)hundredths / 100);
        if (got != expected)
            print_error("seed %llu: %llu values, percentile %llu/100\n", (unsigned long long)seed,
                        (unsigned long long)n, (unsigned long long)hundredths);
        assert_int_equal(got, expected);
        if (exact <= PLX_HISTOGRAM_MAX)
            assert_true(got >= exact && (got - exact) * 1000 <= exact);
    }
}

static void init_invalid_memory_is_refused(void **state)
{
    (void)state;
    char *memory = aligned_alloc(PLX_CACHE_LINE, plx_histogram_bytes() + PLX_CACHE_LINE);
    assert_non_null(memory);
    struct plx_histogram *h = (struct plx_histogram *)(void *)memory;
    assert_int_equal(plx_histogram_init(NULL, &h), -EINVAL);
    assert_null(h);
    assert_int_equal(plx_histogram_init(memory + 8, &h), -EINVAL);
    assert_null(h);
    free(memory);
}

static void histogram_empty_is_all_zero(void **state)
{
    (void)state;
    struct plx_histogram *h = make();
    assert_int_equal(plx_histogram_count(h), 0);
    assert_int_equal(plx_histogram_min(h), 0);
    assert_int_equal(plx_histogram_max(h), 0);
    assert_int_equal(plx_histogram_clamped(h), 0);
    assert_true(plx_histogram_mean(h) == 0);
    assert_int_equal(plx_histogram_percentile(h, 0), 0);
    assert_int_equal(plx_histogram_percentile(h, 50), 0);
    assert_int_equal(plx_histogram_percentile(h, 100), 0);
    free(h);
}

static void buckets_cover_the_range_in_order(void **state)
{
    (void)state;
    uint64_t value = 0;
    for (size_t bucket = 0; bucket < PLX_HISTOGRAM_BUCKETS; bucket++) {
        uint64_t last = highest_equivalent(value);
        assert_int_equal(plx__histogram_bucket(value), bucket);
        assert_int_equal(plx__histogram_bucket(last), bucket);
        assert_true((last - value) * 1000 <= value);
        value = last + 1;
    }
    assert_int_equal(value, PLX_HISTOGRAM_MAX + 1);
}

static void record_single_value_is_every_percentile(void **state)
{
    (void)state;
    struct plx_histogram *h = make();
    for (unsigned bit = 0; bit < 40; bit++) {
        for (uint64_t delta = 0; delta < 3; delta++) {
            uint64_t value = (UINT64_C(1) << bit) + delta - 1;
            plx_histogram_reset(h);
            plx_histogram_record(h, value);
            check_against_array(h, &value, 1);
        }
    }
    free(h);
}

static void record_every_distribution_agrees_with_array(void **state)
{
    (void)state;
    uint64_t *values = malloc(VALUES_MAX * sizeof(*values));
    assert_non_null(values);
    struct plx_histogram *h = make();
    const uint64_t counts[] = {1, 2, 3, 7, 10, 99, 100, 101, 1000, 9999, 10000, VALUES_MAX};
    for (size_t c = 0; c < sizeof(counts) / sizeof(counts[0]); c++) {
        for (unsigned kind = 0; kind < 4; kind++) {
            plx_histogram_reset(h);
            for (uint64_t i = 0; i < counts[c]; i++) {
                uint64_t random = random_next();
                if (kind == 0)
                    values[i] = random % 3000;
                else if (kind == 1)
                    values[i] = random >> (24 + random % 40);
                else if (kind == 2)
                    values[i] = 211 + (random % 1000 == 0 ? random % 1000000000 : random % 40);
                else
                    values[i] = random >> (random % 64);
                plx_histogram_record(h, values[i]);
            }
            check_against_array(h, values, counts[c]);
        }
    }
    free(h);
    free(values);
}

static void percentile_decimals_are_taken_as_written(void **state)
{
    (void)state;
    struct plx_histogram *h = make();
    for (uint64_t i = 1; i <= 1000; i++)
        plx_histogram_record(h, i);
    /* In binary 99.9 % of 1000 is a little more than 999. */
    assert_int_equal(plx_histogram_percentile(h, 99.9), 999);
    assert_int_equal(plx_histogram_percentile(h, 99.90001), 1000);
    assert_int_equal(plx_histogram_percentile(h, 0.1), 1);
    assert_int_equal(plx_histogram_percentile(h, 0.1000001), 2);
    assert_int_equal(plx_histogram_percentile(h, 1e-9), 1);
    assert_int_equal(plx_histogram_percentile(h, 99.99999999), 1000);
    free(h);
}

static void percentile_outside_is_the_nearer_end(void **state)
{
    (void)state;
    struct plx_histogram *h = make();
    plx_histogram_record(h, 5);
    plx_histogram_record(h, 7);
    assert_int_equal(plx_histogram_percentile(h, -1), 5);
    assert_int_equal(plx_histogram_percentile(h, 101), 7);
    assert_int_equal(plx_histogram_percentile(h, 1e300), 7);
    assert_int_equal(plx_histogram_percentile(h, (double)__builtin_nanf("")), 5);
    free(h);
}

static void record_beyond_the_range_is_clamped_and_counted(void **state)
{
    (void)state;
    struct plx_histogram *h = make();
    plx_histogram_record(h, PLX_HISTOGRAM_MAX);
    assert_int_equal(plx_histogram_clamped(h), 0);
    plx_histogram_record(h, PLX_HISTOGRAM_MAX + 1);
    assert_int_equal(plx_histogram_clamped(h), 1);
    plx_histogram_record(h, UINT64_MAX);
    assert_int_equal(plx_histogram_clamped(h), 2);
    assert_int_equal(plx_histogram_count(h), 3);
    assert_int_equal(plx_histogram_max(h), UINT64_MAX);
    assert_int_equal(plx_histogram_min(h), PLX_HISTOGRAM_MAX);
    assert_int_equal(plx_histogram_percentile(h, 100), PLX_HISTOGRAM_MAX);
    assert_int_equal(plx_histogram_percentile(h, 0), PLX_HISTOGRAM_MAX);
    free(h);
}

static void mean_of_huge_values_does_not_overflow(void **state)
{
    (void)state;
    struct plx_histogram *h = make();
    for (int i = 0; i < 100; i++)
        plx_histogram_record(h, UINT64_MAX - 1);
    assert_true(plx_histogram_mean(h) > 0x1p64 * 0.999999);
    assert_true(plx_histogram_mean(h) < 0x1p64 * 1.000001);
    struct plx_histogram *sum = make();
    plx_histogram_merge(sum, h);
    plx_histogram_merge(sum, h);
    assert_true(plx_histogram_mean(sum) > 0x1p64 * 0.999999);
    assert_true(plx_histogram_mean(sum) < 0x1p64 * 1.000001);
    free(sum);
    free(h);
}

static void merge_parts_is_the_whole(void **state)
{
    (void)state;
    struct plx_histogram *parts[3] = {make(), make(), make()};
    struct plx_histogram *whole = make();
    struct plx_histogram *merged = make();
    for (int i = 0; i < 5000; i++) {
        uint64_t value = random_next() >> (random_next() % 64);
        plx_histogram_record(parts[random_next() % 2], value);
        plx_histogram_record(whole, value);
    }
    for (int i = 0; i < 3; i++) /* the third is empty */
        plx_histogram_merge(merged, parts[i]);
    assert_memory_equal(merged, whole, sizeof(*whole));

    plx_histogram_merge(parts[2], whole); /* into an empty one */
    assert_memory_equal(parts[2], whole, sizeof(*whole));
    for (int i = 0; i < 3; i++)
        free(parts[i]);
    free(merged);
    free(whole);
}

static void merge_with_itself_doubles(void **state)
{
    (void)state;
    struct plx_histogram *once = make();
    struct plx_histogram *twice = make();
    for (int i = 0; i < 1000; i++) {
        uint64_t value = random_next() >> (random_next() % 64);
        plx_histogram_record(once, value);
        plx_histogram_record(twice, value);
        plx_histogram_record(twice, value);
    }
    plx_histogram_merge(once, once);
    assert_memory_equal(once, twice, sizeof(*once));
    free(once);
    free(twice);
}

static void reset_used_is_as_new(void **state)
{
    (void)state;
    struct plx_histogram *h = make();
    struct plx_histogram *fresh = make();
    for (int i = 0; i < 1000; i++)
        plx_histogram_record(h, random_next());
    plx_histogram_reset(h);
    assert_memory_equal(h, fresh, sizeof(*h));
    free(h);
    free(fresh);
}

int main(void)
{
    const char *text = getenv("POLLUX_TEST_SEED");
    seed = text != NULL ? strtoull(text, NULL, 0) : (uint64_t)time(NULL) ^ plx_ticks();
    state_of_random = seed;
    printf("POLLUX_TEST_SEED=%llu\n", (unsigned long long)seed);
    fflush(stdout);

    const struct CMUnitTest tests[] = {
        cmocka_unit_test(init_invalid_memory_is_refused),
        cmocka_unit_test(histogram_empty_is_all_zero),
        cmocka_unit_test(buckets_cover_the_range_in_order),
        cmocka_unit_test(record_single_value_is_every_percentile),
        cmocka_unit_test(record_every_distribution_agrees_with_array),
        cmocka_unit_test(percentile_decimals_are_taken_as_written),
        cmocka_unit_test(percentile_outside_is_the_nearer_end),
        cmocka_unit_test(record_beyond_the_range_is_clamped_and_counted),
        cmocka_unit_test(mean_of_huge_values_does_not_overflow),
        cmocka_unit_test(merge_parts_is_the_whole),
        cmocka_unit_test(merge_with_itself_doubles),
        cmocka_unit_test(reset_used_is_as_new),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
