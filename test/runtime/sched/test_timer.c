/* SPDX-License-Identifier: MIT */
/* Timers on a reactor that the test polls: their order, their bounds, their times. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <string.h>

#include "runtime/reactor_internal.h"
#include "test/runtime/rt_fixture.h"

#define NEVER  (UINT64_MAX)
#define SECOND UINT64_C(1000000000)

static struct plx_runtime *runtime;
static struct plx_reactor *reactor;

/* The timers that fired, in order. */
static struct plx_timer *fired[4096];
static unsigned fired_count;

static int set_up(void **state)
{
    (void)state;
    runtime = rt_create("idle=spin", NULL);
    reactor = rt_adopt(runtime, 0);
    fired_count = 0;
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    rt_abandon(reactor);
    plx_runtime_destroy(runtime);
    return 0;
}

static void on_time(struct plx_timer *timer, void *ctx)
{
    assert_false(plx_timer_is_armed(timer));
    assert_true(plx_reactor_now_ns(reactor) >= timer->at_ns);
    assert_ptr_equal(plx_reactor_self(), ctx);
    fired[fired_count++] = timer;
}

static void arm(struct plx_timer *timer, uint64_t at_ns)
{
    plx_timer_arm(reactor, timer, at_ns, on_time, reactor);
    assert_true(plx_timer_is_armed(timer));
}

static uint64_t fired_by_stats(void)
{
    struct plx_reactor_stats stats;
    plx_reactor_read_stats(reactor, &stats);
    return stats.timers_fired;
}

static void timers_in_the_past_fire_in_the_next_turn(void **state)
{
    (void)state;
    struct plx_timer timers[3] = {0};
    arm(&timers[0], 0);
    arm(&timers[1], 1);
    arm(&timers[2], plx_reactor_now_ns(reactor) - 1);
    assert_int_equal(fired_count, 0);
    assert_int_equal(plx_reactor_poll(reactor), 3);
    for (unsigned i = 0; i < 3; i++)
        assert_ptr_equal(fired[i], &timers[i]);
    assert_int_equal(plx_reactor_poll(reactor), 0);
    assert_int_equal(fired_by_stats(), 3);
}

static void timers_of_different_times_fire_in_their_order(void **state)
{
    (void)state;
    static const uint64_t at[] = {50, 10, 40, 20, 60, 30};
    static const unsigned order[] = {1, 3, 5, 2, 0, 4};
    struct plx_timer timers[6] = {0};
    for (unsigned i = 0; i < 6; i++)
        arm(&timers[i], at[i]);
    assert_int_equal(plx_reactor_poll(reactor), 6);
    for (unsigned i = 0; i < 6; i++)
        assert_ptr_equal(fired[i], &timers[order[i]]);
}

static void timers_of_equal_time_fire_in_order_of_arming(void **state)
{
    (void)state;
    struct plx_timer timers[6] = {0};
    for (unsigned i = 0; i < 6; i++)
        arm(&timers[i], i < 3 ? 7 : 5);
    /* Armed again, it is the last of its time. */
    arm(&timers[3], 5);
    assert_int_equal(plx_reactor_poll(reactor), 6);
    static const unsigned order[] = {4, 5, 3, 0, 1, 2};
    for (unsigned i = 0; i < 6; i++)
        assert_ptr_equal(fired[i], &timers[order[i]]);
}

static void timer_of_a_later_time_does_not_fire_early(void **state)
{
    (void)state;
    struct plx_timer never = {0};
    struct plx_timer hour = {0};
    struct plx_timer soon = {0};
    arm(&never, NEVER);
    arm(&hour, plx_reactor_now_ns(reactor) + 3600 * SECOND);
    arm(&soon, plx_reactor_now_ns(reactor) + 3000000);
    RT_TURN_UNTIL(reactor, fired_count != 0);
    assert_ptr_equal(fired[0], &soon);
    for (int i = 0; i < 1000; i++)
        assert_int_equal(plx_reactor_poll(reactor), 0);
    assert_int_equal(fired_count, 1);
    assert_true(plx_timer_is_armed(&never));
    plx_timer_disarm(reactor, &never);
    plx_timer_disarm(reactor, &hour);
    assert_false(plx_timer_is_armed(&hour));
}

static void timer_due_after_a_pause_fires_in_the_first_turn(void **state)
{
    (void)state;
    struct plx_timer timer = {0};
    for (int i = 0; i < 20; i++) {
        uint64_t at = plx_reactor_now_ns(reactor) + 2000000;
        arm(&timer, at);
        /* From this turn the loop knows when to look at the clock again. */
        plx_reactor_poll(reactor);
        while (plx_reactor_now_ns(reactor) < at)
            continue;
        fired_count = 0;
        plx_reactor_poll(reactor);
        if (!plx_timer_is_armed(&timer) && fired_count == 0)
            continue; /* this thread was kept off its core so long that the turn above fired it */
        assert_int_equal(fired_count, 1);
    }
}

static void timer_disarmed_does_not_fire(void **state)
{
    (void)state;
    struct plx_timer timers[5] = {0};
    for (unsigned i = 0; i < 5; i++)
        arm(&timers[i], i);
    plx_timer_disarm(reactor, &timers[0]);
    plx_timer_disarm(reactor, &timers[2]);
    plx_timer_disarm(reactor, &timers[4]);
    plx_timer_disarm(reactor, &timers[4]);
    assert_int_equal(plx_reactor_poll(reactor), 2);
    assert_ptr_equal(fired[0], &timers[1]);
    assert_ptr_equal(fired[1], &timers[3]);
}

static void timer_moved_fires_at_its_new_time_only(void **state)
{
    (void)state;
    struct plx_timer timer = {0};
    arm(&timer, 5);
    arm(&timer, NEVER);
    assert_int_equal(plx_reactor_poll(reactor), 0);
    arm(&timer, 6);
    assert_int_equal(plx_reactor_poll(reactor), 1);
    assert_int_equal(plx_reactor_poll(reactor), 0);
    assert_int_equal(fired_count, 1);
}

/* What a timer does when it fires. */
struct actor {
    struct plx_timer timer;
    struct plx_timer *disarms;
    struct plx_timer *arms;
    uint64_t arms_at;
};

static void act(struct plx_timer *timer, void *ctx)
{
    struct actor *actor = ctx;
    fired[fired_count++] = timer;
    if (actor->disarms != NULL)
        plx_timer_disarm(reactor, actor->disarms);
    if (actor->arms == timer)
        plx_timer_arm(reactor, timer, actor->arms_at, act, actor);
    else if (actor->arms != NULL)
        arm(actor->arms, actor->arms_at);
}

static void timer_rearming_itself_in_the_past_fires_once_a_turn(void **state)
{
    (void)state;
    struct actor actor = {.arms = &actor.timer, .arms_at = 1};
    struct plx_timer other = {0};
    plx_timer_arm(reactor, &actor.timer, 1, act, &actor);
    arm(&other, 2);
    assert_int_equal(plx_reactor_poll(reactor), 2);
    for (int i = 0; i < 10; i++)
        assert_int_equal(plx_reactor_poll(reactor), 1);
    assert_true(plx_timer_is_armed(&actor.timer));
    plx_timer_disarm(reactor, &actor.timer);
    assert_int_equal(plx_reactor_poll(reactor), 0);
}

static void timer_disarmed_by_another_of_its_turn_does_not_fire(void **state)
{
    (void)state;
    /* The next one, the last one, the only other one. */
    for (unsigned whom = 0; whom < 3; whom++) {
        struct plx_timer rest[3] = {0};
        struct actor actor = {.disarms = &rest[whom]};
        fired_count = 0;
        plx_timer_arm(reactor, &actor.timer, 1, act, &actor);
        for (unsigned i = whom == 2 ? 2 : 0; i < 3; i++)
            arm(&rest[i], 2 + i);
        plx_reactor_poll(reactor);
        assert_int_equal(fired_count, whom == 2 ? 1 : 3);
        for (unsigned i = 0; i < fired_count; i++)
            assert_ptr_not_equal(fired[i], &rest[whom]);
        assert_int_equal(plx_reactor_poll(reactor), 0);
    }
}

static void timer_moved_by_another_of_its_turn_fires_at_its_new_time(void **state)
{
    (void)state;
    struct plx_timer other = {0};
    struct plx_timer far = {0};
    struct actor actor = {.arms = &other, .arms_at = NEVER};
    arm(&far, NEVER);
    arm(&other, 2);
    plx_timer_arm(reactor, &actor.timer, 1, act, &actor);
    assert_int_equal(plx_reactor_poll(reactor), 1);
    assert_true(plx_timer_is_armed(&other));
    /* Moved within the past it waits for the next turn. */
    arm(&other, 2);
    actor.arms_at = 3;
    plx_timer_arm(reactor, &actor.timer, 1, act, &actor);
    assert_int_equal(plx_reactor_poll(reactor), 1);
    assert_int_equal(plx_reactor_poll(reactor), 1);
    assert_ptr_equal(fired[fired_count - 1], &other);
    plx_timer_disarm(reactor, &far);
}

static void timers_due_beyond_a_turns_share_wait_in_order(void **state)
{
    (void)state;
    enum { MANY = 200 };
    static struct plx_timer timers[MANY];
    memset(timers, 0, sizeof(timers));
    for (unsigned i = 0; i < MANY; i++)
        arm(&timers[i], 1 + i);
    unsigned turns = 0;
    while (fired_count < MANY) {
        unsigned before = fired_count;
        plx_reactor_poll(reactor);
        assert_true(fired_count - before <= PLX__TURN_TIMERS_MAX);
        turns++;
    }
    assert_int_equal(turns, (MANY + PLX__TURN_TIMERS_MAX - 1) / PLX__TURN_TIMERS_MAX);
    for (unsigned i = 0; i < MANY; i++)
        assert_ptr_equal(fired[i], &timers[i]);
}

static void timers_armed_beside_those_left_keep_their_order(void **state)
{
    (void)state;
    struct plx_timer past = {0};
    struct plx_timer left = {0};
    struct plx_timer beside[2] = {0};
    arm(&past, 1);
    uint64_t base = plx_reactor_now_ns(reactor) + 1000000;
    arm(&left, base + 10);
    while (fired_count == 0)
        plx_reactor_poll(reactor);
    arm(&beside[0], base + 20);
    arm(&beside[1], base);
    RT_TURN_UNTIL(reactor, fired_count == 4);
    assert_ptr_equal(fired[1], &beside[1]);
    assert_ptr_equal(fired[2], &left);
    assert_ptr_equal(fired[3], &beside[0]);
}

static void timers_at_random_are_fired_sorted_or_disarmed(void **state)
{
    (void)state;
    enum { MANY = 2000 };
    static struct plx_timer timers[MANY];
    memset(timers, 0, sizeof(timers));
    uint64_t seed = 20260731;
    unsigned disarmed = 0;
    for (unsigned i = 0; i < MANY; i++) {
        seed = seed * 6364136223846793005u + 1442695040888963407u;
        arm(&timers[i], (seed >> 33) % 500);
        if (seed % 7 == 0) {
            unsigned other = (unsigned)(seed >> 40) % (i + 1);
            disarmed += plx_timer_is_armed(&timers[other]);
            plx_timer_disarm(reactor, &timers[other]);
        }
    }
    RT_TURN_UNTIL(reactor, fired_count == MANY - disarmed);
    for (unsigned i = 1; i < fired_count; i++) {
        assert_true(fired[i - 1]->at_ns <= fired[i]->at_ns);
        if (fired[i - 1]->at_ns == fired[i]->at_ns)
            assert_true(fired[i - 1] < fired[i]); /* armed in the order of their addresses */
    }
    assert_int_equal(plx_reactor_poll(reactor), 0);
    assert_int_equal(fired_by_stats(), MANY - disarmed);
}

/* --- periodic timers -------------------------------------------------------------------------- */

static struct {
    uint32_t calls;
    uint64_t missed;
} beat;

static void on_beat(struct plx_timer *timer, void *ctx)
{
    (void)ctx;
    assert_true(plx_timer_is_armed(timer));
    assert_true(timer->at_ns > plx_reactor_now_ns(reactor) - SECOND);
    beat.calls++;
    beat.missed += plx_timer_missed(timer);
}

static void periodic_timer_fires_until_disarmed_and_its_periods_add_up(void **state)
{
    (void)state;
    struct plx_timer timer = {0};
    memset(&beat, 0, sizeof(beat));
    uint64_t first = plx_reactor_now_ns(reactor) + 1000;
    plx_timer_arm_every(reactor, &timer, first, 100000, on_beat, NULL);
    RT_TURN_UNTIL(reactor, beat.calls >= 50);
    /* Whatever was missed on a busy machine: no period is fired twice or forgotten. */
    assert_int_equal(timer.at_ns, first + (beat.calls + beat.missed) * 100000);
    struct plx_reactor_stats stats;
    plx_reactor_read_stats(reactor, &stats);
    assert_int_equal(stats.timers_fired, beat.calls);
    assert_int_equal(stats.timer_periods_missed, beat.missed);
    plx_timer_disarm(reactor, &timer);
    uint32_t calls = beat.calls;
    uint64_t later = plx_reactor_now_ns(reactor) + 500000;
    while (plx_reactor_now_ns(reactor) < later)
        plx_reactor_poll(reactor);
    assert_int_equal(beat.calls, calls);
}

/* --- a clock of the backend's own ------------------------------------------------------------- */

static uint64_t fake_ns;

static uint64_t tell_fake_time(struct plx__io *io)
{
    (void)io;
    return fake_ns;
}

/* The reactor's backend with another clock. Lives as long as the reactor. */
static void fake_the_clock(uint64_t now_ns)
{
    static struct plx__io_ops ops;
    fake_ns = now_ns;
    ops = *reactor->io->ops;
    ops.clock_ns = tell_fake_time;
    reactor->io->ops = &ops;
    reactor->io->own_clock = true;
}

static void timers_on_a_clock_of_the_backends_own_go_by_it_alone(void **state)
{
    (void)state;
    fake_the_clock(plx_reactor_now_ns(reactor) + 3600 * SECOND);
    struct plx_timer timers[3] = {0};
    assert_int_equal(plx_reactor_now_ns(reactor), fake_ns);
    arm(&timers[0], fake_ns + 1);
    arm(&timers[1], fake_ns + 1000);
    arm(&timers[2], fake_ns + 3600 * SECOND);
    /* It stands still, however much time goes by. */
    for (int i = 0; i < 10000; i++)
        assert_int_equal(plx_reactor_poll(reactor), 0);
    fake_ns += 1;
    assert_int_equal(plx_reactor_poll(reactor), 1);
    fake_ns += 998;
    assert_int_equal(plx_reactor_poll(reactor), 0);
    fake_ns += 1;
    assert_int_equal(plx_reactor_poll(reactor), 1);
    /* And it leaps. */
    fake_ns += 3600 * SECOND - 1001;
    assert_int_equal(plx_reactor_poll(reactor), 0);
    fake_ns += 1;
    assert_int_equal(plx_reactor_poll(reactor), 1);
    assert_int_equal(fired_count, 3);
    static struct rt_lines lines;
    plx_reactor_explain(reactor, rt_keep_line, &lines);
    assert_int_equal(rt_lines_with(&lines, "clock: the backend's own"), 1);
}

static void timers_fired_late_are_counted(void **state)
{
    (void)state;
    uint64_t threshold = plx_runtime_settings(runtime)->stall_threshold;
    fake_the_clock(plx_reactor_now_ns(reactor) + SECOND);
    struct plx_timer timers[3] = {0};
    arm(&timers[0], fake_ns + 10);
    arm(&timers[1], fake_ns + 11);
    arm(&timers[2], 1); /* of the past, so that nobody is late */
    fake_ns += 11 + threshold;
    assert_int_equal(plx_reactor_poll(reactor), 3);
    struct plx_reactor_stats stats;
    plx_reactor_read_stats(reactor, &stats);
    assert_int_equal(stats.timers_fired, 3);
    assert_int_equal(stats.timers_late, 1);
}

/* --- without the counter ---------------------------------------------------------------------- */

static void timers_on_the_kernels_clock_fire_at_their_times(void **state)
{
    (void)state;
    struct plx_runtime_opts opts;
    plx_runtime_opts_init(&opts);
    opts.deny = PLX_CAP_TICK_CLOCK;
    struct plx_runtime *usual_runtime = runtime;
    struct plx_reactor *usual = reactor;
    runtime = rt_create("idle=spin", &opts);
    reactor = rt_adopt(runtime, 0);
    struct plx_timer timers[2] = {0};
    uint64_t now = plx_reactor_now_ns(reactor);
    arm(&timers[0], now + 300000);
    arm(&timers[1], now + 200000);
    RT_TURN_UNTIL(reactor, fired_count == 2);
    assert_ptr_equal(fired[0], &timers[1]);
    static struct rt_lines lines;
    plx_reactor_explain(reactor, rt_keep_line, &lines);
    assert_int_equal(rt_lines_with(&lines, "clock: clock_gettime (the counter is denied)"), 1);
    rt_abandon(reactor);
    plx_runtime_destroy(runtime);
    runtime = usual_runtime;
    reactor = usual;
}

int main(void)
{
#define CASE(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        CASE(timers_in_the_past_fire_in_the_next_turn),
        CASE(timers_of_different_times_fire_in_their_order),
        CASE(timers_of_equal_time_fire_in_order_of_arming),
        CASE(timer_of_a_later_time_does_not_fire_early),
        CASE(timer_due_after_a_pause_fires_in_the_first_turn),
        CASE(timer_disarmed_does_not_fire),
        CASE(timer_moved_fires_at_its_new_time_only),
        CASE(timer_rearming_itself_in_the_past_fires_once_a_turn),
        CASE(timer_disarmed_by_another_of_its_turn_does_not_fire),
        CASE(timer_moved_by_another_of_its_turn_fires_at_its_new_time),
        CASE(timers_due_beyond_a_turns_share_wait_in_order),
        CASE(timers_armed_beside_those_left_keep_their_order),
        CASE(timers_at_random_are_fired_sorted_or_disarmed),
        CASE(periodic_timer_fires_until_disarmed_and_its_periods_add_up),
        CASE(timers_on_a_clock_of_the_backends_own_go_by_it_alone),
        CASE(timers_fired_late_are_counted),
        CASE(timers_on_the_kernels_clock_fire_at_their_times),
    };
    return cmocka_run_group_tests_name("timers", tests, NULL, NULL);
}
