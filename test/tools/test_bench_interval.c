/* SPDX-License-Identifier: MIT */
/* How sure a median is: against tables and counted-out cases. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "tools/bench/interval.h"

static void assert_near(double value, double expected, double distance)
{
    if (!(fabs(value - expected) <= distance))
        fail_msg("%.17g is not %.17g", value, expected);
}

/* `count` values from `first` on, in steps of `step`, in no order. */
static const double *series(double *values, uint32_t count, double first, double step)
{
    for (uint32_t i = 0; i < count; i++)
        values[i * 127 % count] = first + step * i;
    return values;
}

static void interval_of_few_values_is_none(void **state)
{
    (void)state;
    double values[64];
    double low;
    double high;
    for (uint32_t count = 0; count < PLX_BENCH_INTERVAL_MIN; count++)
        assert_false(plx_bench_interval(series(values, count, 1, 1), count, &low, &high));
}

static void interval_has_the_ranks_of_the_binomial_table(void **state)
{
    (void)state;
    static const struct {
        uint32_t count;
        double low;
        double high;
    } rows[] = {{6, 1, 6},   {8, 1, 8},   {9, 2, 8},   {10, 2, 9},
                {16, 4, 13}, {20, 6, 15}, {64, 24, 41}};
    double values[64];
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        double low = 0;
        double high = 0;
        series(values, rows[i].count, 1, 1);
        assert_true(plx_bench_interval(values, rows[i].count, &low, &high));
        assert_near(low, rows[i].low, 0);
        assert_near(high, rows[i].high, 0);
    }
}

static void median_of_two_in_the_middle_is_their_mean(void **state)
{
    (void)state;
    const double four[] = {4, 1, 3, 2};
    assert_near(plx_bench_median(four, 4), 2.5, 0);
    assert_near(plx_bench_median(four, 3), 3, 0);
    assert_near(plx_bench_median(four, 1), 4, 0);
}

static void sets_apart_are_as_improbable_as_counted_out(void **state)
{
    (void)state;
    double a[32];
    double b[32];
    series(a, 5, 1, 1);
    series(b, 5, 10, 1);
    assert_near(plx_bench_same_probability(a, 5, b, 5), 2.0 / 252, 1e-12);
    assert_near(plx_bench_same_probability(b, 5, a, 5), 2.0 / 252, 1e-12);
    /* Three of the 35 pairs are the other way round: 7 of the 792 choices have so few, on a side.
     */
    const double five[] = {1, 2, 3, 4, 7.5};
    const double seven[] = {5, 6, 7, 8, 9, 10, 11};
    assert_near(plx_bench_same_probability(five, 5, seven, 7), 14.0 / 792, 1e-12);
    series(a, 30, 1, 1);
    series(b, 30, 100, 1);
    double p = plx_bench_same_probability(a, 30, b, 30);
    assert_true(p > 1e-11 && p < 1e-10);
}

static void sets_alike_are_probably_the_same(void **state)
{
    (void)state;
    double a[32];
    double b[32];
    for (uint32_t count = 1; count <= 32; count++) {
        series(a, count, 1, 1);
        series(b, count, 1, 1);
        assert_true(plx_bench_same_probability(a, count, b, count) > 0.9);
        series(b, count, 5, 0);
        series(a, count, 5, 0);
        assert_true(plx_bench_same_probability(a, count, b, count) > 0.9);
    }
    assert_near(plx_bench_same_probability(a, 0, b, 5), 1, 0);
    assert_near(plx_bench_same_probability(a, 5, b, 0), 1, 0);
}

/* As often as they occur in either set, equal values make the test less sure. */
static void equal_values_of_one_set_count_as_ties(void **state)
{
    (void)state;
    double a[24];
    double b[24];
    series(a, 24, 1, 1);
    series(b, 24, 7.5, 0);
    double p = plx_bench_same_probability(a, 24, b, 24);
    assert_near(plx_bench_same_probability(b, 24, a, 24), p, 1e-12);
    /* 7 of the 24 are below: u is 168, and the variance 48 (49 - (24^3 - 24) / (48 * 47)). */
    double z = (288 - 168 - 0.5) / sqrt(48 * (49 - 13800.0 / (48 * 47)));
    assert_near(p, erfc(z / sqrt(2)), 1e-12);
    /* Half pairs of small sets speak for chance: 4.5 is counted as 5. */
    const double three[] = {1, 2, 4};
    const double others[] = {4, 5, 0};
    assert_near(plx_bench_same_probability(three, 3, others, 3), 1, 1e-12);
}

/* By looking back at each equal one it takes an hour. */
static void millions_of_equal_values_take_a_moment(void **state)
{
    (void)state;
    const uint32_t count = 2000000;
    double *values = malloc(count * sizeof(*values));
    assert_non_null(values);
    for (uint32_t i = 0; i < count; i++)
        values[i] = 7;
    assert_near(plx_bench_same_probability(values, count, values, count), 1, 0);
    free(values);
}

static void drift_is_the_distance_of_the_quarters(void **state)
{
    (void)state;
    const double steps[] = {100, 100, 102, 102, 104, 104, 110, 110};
    assert_near(plx_bench_drift(steps, 8), 10.0 / 103, 1e-12);
    assert_near(plx_bench_drift(steps, 7), 0, 0);
}

static void rounds_grow_and_are_freed(void **state)
{
    (void)state;
    struct plx_bench_rounds rounds = {0};
    for (uint32_t i = 0; i < 1000; i++)
        assert_int_equal(plx_bench_rounds_add(&rounds, i), 0);
    assert_int_equal(rounds.count, 1000);
    assert_near(rounds.p50[999], 999, 0);
    plx_bench_rounds_fini(&rounds);
    assert_int_equal(rounds.count, 0);
    assert_null(rounds.p50);
}

/* Two speeds, of which the slower takes twice the time: the ratio of rounds does not see it. */
static void ratio_of_rounds_stays_where_medians_jump(void **state)
{
    (void)state;
    double a[12], b[12];
    struct plx_bench_ratio ratio;
    for (uint32_t i = 0; i < 12; i++) {
        double mode = i < 6 ? 100 : 200;
        a[i] = 1.1 * mode;
        b[i] = mode;
    }
    a[0] = NAN;
    b[11] = NAN;
    b[10] = 0;
    assert_true(plx_bench_ratio_of(a, b, 12, &ratio));
    assert_int_equal(ratio.rounds, 9);
    assert_true(fabs(ratio.mid - 1.1) < 1e-9);
    assert_true(fabs(ratio.low - 1.1) < 1e-9);
    assert_true(fabs(ratio.high - 1.1) < 1e-9);
}

static void ratio_of_few_rounds_has_no_interval_and_of_none_is_none(void **state)
{
    (void)state;
    const double a[] = {2, 4, NAN};
    const double b[] = {1, 1, 1};
    const double none[] = {NAN, NAN, 0};
    struct plx_bench_ratio ratio;
    assert_true(plx_bench_ratio_of(a, b, 3, &ratio));
    assert_int_equal(ratio.rounds, 2);
    assert_true(fabs(ratio.mid - 3) < 1e-9);
    assert_true(isnan(ratio.low) && isnan(ratio.high));
    assert_false(plx_bench_ratio_of(a, none, 3, &ratio));
    assert_false(plx_bench_ratio_of(a, b, 0, &ratio));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ratio_of_rounds_stays_where_medians_jump),
        cmocka_unit_test(ratio_of_few_rounds_has_no_interval_and_of_none_is_none),
        cmocka_unit_test(interval_of_few_values_is_none),
        cmocka_unit_test(interval_has_the_ranks_of_the_binomial_table),
        cmocka_unit_test(median_of_two_in_the_middle_is_their_mean),
        cmocka_unit_test(sets_apart_are_as_improbable_as_counted_out),
        cmocka_unit_test(sets_alike_are_probably_the_same),
        cmocka_unit_test(equal_values_of_one_set_count_as_ties),
        cmocka_unit_test(millions_of_equal_values_take_a_moment),
        cmocka_unit_test(drift_is_the_distance_of_the_quarters),
        cmocka_unit_test(rounds_grow_and_are_freed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
