/* SPDX-License-Identifier: MIT */
/* The reactor's clock: a made-up counter and kernel's clock, and those of this machine. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <string.h>
#include <time.h>

#include "runtime/io/clock_internal.h"

#define MS UINT64_C(1000000)

/* --- a made-up machine ------------------------------------------------------------------------ */

static struct {
    double ns;           /* what the kernel's clock says */
    double ticks;        /* what the counter says */
    double ticks_per_ns; /* of the kernel's */
    uint64_t gap_ticks;  /* that reading both takes */
    uint64_t told_ns;    /* by the clock, last */
    uint64_t marks;      /* that were asked for */
    double worst_ahead;  /* of the clock, beside the kernel's */
    double worst_behind;
    struct plx__clock clock;
} made;

static uint64_t seed = 42;

static double random_part(void)
{
    seed = seed * 6364136223846793005u + 1442695040888963407u;
    return (double)(seed >> 40) / (double)(1 << 24);
}

static void make_machine(void)
{
    memset(&made, 0, sizeof(made));
    made.ns = 5e12;
    made.ticks = 9e12;
    made.ticks_per_ns = 2.1;
    made.gap_ticks = 60;
    made.clock.uses_ticks = true;
}

static void pass(double ns)
{
    made.ns += ns;
    made.ticks += ns * made.ticks_per_ns;
}

/* As plx__clock_ns, of the made-up machine. The mark is off by up to half its gap. */
static void read_clock(void)
{
    uint64_t ticks = (uint64_t)made.ticks;
    uint64_t told;
    if (ticks - made.clock.anchor_ticks >= made.clock.limit_ticks) {
        double off = ((double)made.gap_ticks * (random_part() - 0.5));
        struct plx__clock_mark mark = {(uint64_t)(made.ticks + off), (uint64_t)made.ns,
                                       made.gap_ticks};
        told = plx__clock_take_mark(&made.clock, &mark);
        made.marks++;
    } else {
        told = plx__clock_at(&made.clock, ticks);
    }
    assert_true(told >= made.told_ns);
    made.told_ns = told;
    double ahead = (double)told - made.ns;
    made.worst_ahead = ahead > made.worst_ahead ? ahead : made.worst_ahead;
    made.worst_behind = -ahead > made.worst_behind ? -ahead : made.worst_behind;
}

static void read_for(double ns, double step_ns)
{
    for (double until = made.ns + ns; made.ns < until;) {
        read_clock();
        pass(step_ns * random_part());
    }
}

static void expect_within(double ns)
{
    if (made.worst_ahead > ns || made.worst_behind > ns)
        fail_msg("%.0f ns ahead, %.0f ns behind", made.worst_ahead, made.worst_behind);
    made.worst_ahead = 0;
    made.worst_behind = 0;
}

static void clock_follows_the_kernels_and_asks_it_ever_more_rarely(void **state)
{
    (void)state;
    make_machine();
    read_for(3 * (double)MS, 10000);
    assert_true(made.clock.true_rate != 0);
    read_for(1e9, 20000);
    expect_within(200);
    /* At the usual distance, a mark each 128 ms and no more. */
    made.marks = 0;
    read_for(10e9, 50000);
    expect_within(100);
    assert_in_range(made.marks, 70, 80);
}

static void clock_is_off_by_what_the_kernels_rate_changes_and_no_more(void **state)
{
    (void)state;
    make_machine();
    read_for(1e9, 20000);
    /* As adjtimex does at the most, and all at once. */
    for (int i = 0; i < 30; i++) {
        made.ticks_per_ns = 2.1 * (i % 2 != 0 ? 1 + 500e-6 : 1 - 500e-6);
        read_for(1e9 * random_part(), 20000);
    }
    /* There and back is twice 500 ppm, over 128 ms. */
    expect_within(0.128e9 * 1000e-6 * 1.01 + 200);
    /* When it has learned the rate it is right again. */
    read_for(0.4e9, 20000);
    expect_within(0.128e9 * 1000e-6 * 1.01 + 200);
    read_for(1e9, 20000);
    expect_within(100);
}

static void clock_ahead_of_the_kernels_runs_slower_until_it_is_right(void **state)
{
    (void)state;
    make_machine();
    read_for(1e9, 20000);
    expect_within(200);
    /* The kernel's clock falls behind by 100 us within a moment. */
    made.ns -= 100000;
    read_clock();
    uint64_t from = made.told_ns;
    double from_ns = made.ns;
    read_for(0.2e9, 20000);
    /* It never stood still for long. */
    assert_true((double)(made.told_ns - from) > 0.9 * (made.ns - from_ns) - 100000);
    made.worst_ahead = 0;
    made.worst_behind = 0;
    read_for(0.3e9, 20000);
    made.worst_ahead = 0;
    made.worst_behind = 0;
    read_for(1e9, 20000);
    expect_within(200);
}

static void clock_that_was_not_read_for_long_is_right_at_once(void **state)
{
    (void)state;
    make_machine();
    read_for(1e9, 20000);
    for (int i = 0; i < 20; i++) {
        made.ticks_per_ns = 2.1 * (1 + (random_part() - 0.5) * 1e-4);
        pass(3600e9 * random_part());
        made.worst_ahead = 0;
        made.worst_behind = 0;
        read_clock();
        expect_within(1);
    }
}

static void counter_that_leaps_or_begins_anew_is_borne(void **state)
{
    (void)state;
    make_machine();
    read_for(1e9, 20000);
    expect_within(200);
    /* The machine was suspended: the counter ran on, the kernel's clock did not. */
    made.ticks += 2.1 * 3600e9;
    read_for(0.1e9, 20000);
    read_for(1e9, 20000);
    expect_within(200);
    /* Or began anew. */
    made.ticks = 1e6;
    read_for(1e9, 20000);
    expect_within(200);
}

static void counter_of_another_rate_from_now_on_is_learned(void **state)
{
    (void)state;
    static const double rates[] = {2.6, 1.2, 30, 3};
    make_machine();
    read_for(1e9, 20000);
    for (size_t i = 0; i < sizeof(rates) / sizeof(rates[0]); i++) {
        made.ticks_per_ns = rates[i];
        read_for(3e9, 20000);
        made.worst_ahead = 0;
        made.worst_behind = 0;
        read_for(1e9, 20000);
        expect_within(200);
    }
}

static void counters_of_two_cores_a_little_apart_never_let_the_clock_fall(void **state)
{
    (void)state;
    make_machine();
    for (int i = 0; i < 200000; i++) {
        made.ticks += i % 2 != 0 ? 400 : -400;
        read_clock();
        pass(5000 * random_part());
    }
    expect_within(1000);
}

static void marks_too_wide_are_told_but_not_relied_on(void **state)
{
    (void)state;
    make_machine();
    /* Not for the first rate: read again and again, until one is good. */
    made.gap_ticks = 20000;
    read_for(10 * (double)MS, 10000);
    assert_true(made.clock.true_rate == 0);
    expect_within(1);
    made.gap_ticks = 60;
    read_for(10 * (double)MS, 10000);
    assert_true(made.clock.true_rate != 0);
    read_for(1e9, 20000);
    expect_within(200);
    /* And not for an anchor. */
    made.gap_ticks = 100000;
    pass(0.2e9);
    uint64_t anchor = made.clock.anchor_ticks;
    for (int i = 0; i < 10; i++) {
        pass(1000);
        read_clock();
    }
    assert_int_equal(made.clock.anchor_ticks, anchor);
    expect_within(1);
    made.gap_ticks = 60;
    read_clock();
    assert_true(made.clock.anchor_ticks != anchor);
}

/* --- this machine ----------------------------------------------------------------------------- */

static uint64_t kernel_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

/* Read between two readings of the kernel's, so that an interruption makes no difference. */
static void clock_of_this_machine_stays_beside_the_kernels(void **state)
{
    (void)state;
    struct plx__clock clock;
    plx__clock_init(&clock, false);
    if (!clock.uses_ticks) {
        print_message("skipped: %s\n", clock.why);
        skip();
    }
    uint64_t bound = 128000; /* 500 ppm, there and back */
    uint64_t end = kernel_ns() + 700 * MS;
    uint64_t last = 0;
    uint64_t anchors = 0;
    uint64_t anchor = 0;
    for (uint64_t before = 0; before < end;) {
        before = kernel_ns();
        uint64_t told = plx__clock_ns(&clock);
        uint64_t after = kernel_ns();
        assert_true(told >= last);
        assert_true(told + bound >= before && told <= after + bound);
        last = told;
        anchors += clock.anchor_ticks != anchor;
        anchor = clock.anchor_ticks;
    }
    assert_true(anchors >= 3);
}

static void clock_denied_the_counter_is_the_kernels(void **state)
{
    (void)state;
    struct plx__clock clock;
    plx__clock_init(&clock, true);
    assert_false(clock.uses_ticks);
    assert_string_equal(clock.why, "the counter is denied");
    for (int i = 0; i < 1000; i++) {
        uint64_t before = kernel_ns();
        uint64_t told = plx__clock_ns(&clock);
        assert_in_range(told, before, kernel_ns());
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(clock_follows_the_kernels_and_asks_it_ever_more_rarely),
        cmocka_unit_test(clock_is_off_by_what_the_kernels_rate_changes_and_no_more),
        cmocka_unit_test(clock_ahead_of_the_kernels_runs_slower_until_it_is_right),
        cmocka_unit_test(clock_that_was_not_read_for_long_is_right_at_once),
        cmocka_unit_test(counter_that_leaps_or_begins_anew_is_borne),
        cmocka_unit_test(counter_of_another_rate_from_now_on_is_learned),
        cmocka_unit_test(counters_of_two_cores_a_little_apart_never_let_the_clock_fall),
        cmocka_unit_test(marks_too_wide_are_told_but_not_relied_on),
        cmocka_unit_test(clock_of_this_machine_stays_beside_the_kernels),
        cmocka_unit_test(clock_denied_the_counter_is_the_kernels),
    };
    return cmocka_run_group_tests_name("clock", tests, NULL, NULL);
}
