/* SPDX-License-Identifier: MIT */
/* The wheel by itself, with times that the test tells: order, bounds, what is moved when. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/sched/timers_internal.h"

#define LATE_NS   UINT64_C(500000)
#define MOVES_MAX (PLX__TURN_MOVES_MAX + PLX__TURN_AHEAD_MAX)
#define BEGIN     UINT64_C(7777777777777)

/* A timer, and what the model knows of it. */
struct probe {
    struct plx_timer timer;
    uint64_t order; /* of arming */
    uint64_t at_ns;
    uint32_t position; /* in `expected` */
    uint32_t calls;
};

static struct plx__timers *timers;
static uint64_t seed;
static uint64_t armings;
static uint64_t now_ns;

/* What fired, in order. */
static struct probe **fired;
static uint32_t fired_count;
static uint32_t fired_room;

static uint64_t random_below(uint64_t limit)
{
    seed += 0x9e3779b97f4a7c15u;
    uint64_t z = (seed ^ (seed >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return (z ^ (z >> 31)) % limit;
}

static void begin_at(uint64_t time_ns)
{
    memset(timers, 0, sizeof(*timers));
    now_ns = time_ns;
    plx__timers_init(timers, now_ns, LATE_NS);
    armings = 0;
    fired_count = 0;
}

static int set_up(void **state)
{
    (void)state;
    seed = 20261;
    timers = malloc(sizeof(*timers));
    fired_room = 1u << 20;
    fired = malloc(fired_room * sizeof(*fired));
    assert_non_null(timers);
    assert_non_null(fired);
    begin_at(BEGIN);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    free(timers);
    free(fired);
    return 0;
}

static void on_time(struct plx_timer *timer, void *ctx)
{
    struct probe *probe = ctx;
    assert_ptr_equal(timer, &probe->timer);
    assert_false(timer->armed);
    assert_true(probe->at_ns <= now_ns);
    assert_true(fired_count < fired_room);
    fired[fired_count++] = probe;
    probe->calls++;
}

static void arm(struct probe *probe, uint64_t at_ns)
{
    probe->at_ns = at_ns;
    probe->order = armings++;
    probe->timer.fn = on_time;
    probe->timer.ctx = probe;
    uint64_t next = plx__timers_next(timers);
    bool less = plx__timers_arm(timers, &probe->timer, at_ns, 0);
    assert_int_equal(less, plx__timers_next(timers) < next);
    assert_true(plx__timers_next(timers) <= at_ns);
}

static uint32_t run_at(uint64_t time_ns)
{
    assert_true(time_ns >= now_ns);
    now_ns = time_ns;
    uint32_t count = plx__timers_run(timers, now_ns);
    assert_true(count <= PLX__TURN_TIMERS_MAX);
    return count;
}

/* Turns at one time, until nothing is left to do then. */
static void settle_at(uint64_t time_ns)
{
    uint32_t idle = 0;
    while (plx__timers_next(timers) <= time_ns) {
        idle = run_at(time_ns) == 0 ? idle + 1 : 0;
        assert_true(idle < 100000);
    }
}

/* --- one timer -------------------------------------------------------------------------------- */

static void timer_at_any_distance_fires_at_its_time_and_not_before(void **state)
{
    (void)state;
    for (unsigned bits = 0; bits < 64; bits++) {
        for (int off = -1; off <= 1; off++) {
            struct probe probe = {.calls = 0};
            uint64_t ahead = (UINT64_C(1) << bits) + (uint64_t)(int64_t)off;
            uint64_t from = bits < 62 ? BEGIN : 0;
            begin_at(from);
            uint64_t at = from + ahead;
            arm(&probe, at);
            if (at > from)
                settle_at(at - 1);
            assert_int_equal(probe.calls, 0);
            assert_int_equal(plx__timers_check(timers), 1);
            run_at(at);
            assert_int_equal(probe.calls, 1);
            assert_int_equal(plx__timers_check(timers), 0);
        }
    }
}

/* As a loop does that sleeps until it is told to look. */
static void looks_at_the_times_told_lead_to_the_timer(void **state)
{
    (void)state;
    for (uint32_t i = 0; i < 1000; i++) {
        struct probe probe = {.calls = 0};
        begin_at(BEGIN + random_below(1u << 30));
        arm(&probe, now_ns + random_below(UINT64_C(1) << (1 + random_below(62))));
        uint32_t looks = 0;
        while (probe.calls == 0) {
            uint64_t next = plx__timers_next(timers);
            assert_true(next <= probe.at_ns);
            (void)run_at(next > now_ns ? next : now_ns);
            looks++;
        }
        assert_int_equal(now_ns, probe.at_ns);
        assert_true(looks <= PLX__WHEEL_LEVELS + 1);
        (void)run_at(now_ns);
        assert_true(plx__timers_next(timers) == UINT64_MAX);
    }
}

static void timer_at_the_end_of_time_never_fires(void **state)
{
    (void)state;
    struct probe probe = {.calls = 0};
    arm(&probe, UINT64_MAX);
    settle_at(UINT64_MAX - 1);
    assert_int_equal(probe.calls, 0);
    assert_int_equal(plx__timers_check(timers), 1);
    plx__timers_disarm(timers, &probe.timer);
    assert_int_equal(plx__timers_check(timers), 0);
}

/* --- beside a model --------------------------------------------------------------------------- */

#define MODEL_MAX 3000u

static struct probe *model[MODEL_MAX];
static uint32_t model_count;

static void model_add(struct probe *probe)
{
    probe->position = model_count;
    model[model_count++] = probe;
}

static void model_remove(struct probe *probe)
{
    model[probe->position] = model[--model_count];
    model[probe->position]->position = probe->position;
}

static int by_time(const void *a, const void *b)
{
    const struct probe *x = *(struct probe *const *)a;
    const struct probe *y = *(struct probe *const *)b;
    if (x->at_ns != y->at_ns)
        return x->at_ns < y->at_ns ? -1 : 1;
    return x->order < y->order ? -1 : x->order > y->order;
}

/* What fired since is what the model has as due, in its order. */
static void compare_with_model(void)
{
    static struct probe *due[MODEL_MAX];
    uint32_t count = 0;
    for (uint32_t i = 0; i < model_count;) {
        if (model[i]->at_ns > now_ns) {
            i++;
            continue;
        }
        due[count++] = model[i];
        model_remove(model[i]);
    }
    qsort(due, count, sizeof(due[0]), by_time);
    assert_int_equal(fired_count, count);
    for (uint32_t i = 0; i < count; i++)
        assert_ptr_equal(fired[i], due[i]);
    fired_count = 0;
    assert_int_equal(plx__timers_check(timers), model_count);
}

/* Of all scales, with many of equal times, some in the past. */
static uint64_t random_time(void)
{
    uint64_t span = UINT64_C(1) << random_below(44);
    uint64_t at = now_ns + random_below(span);
    switch (random_below(8)) {
    case 0:
        return now_ns - random_below(span < now_ns ? span : now_ns);
    case 1:
    case 2:
        return at & ~UINT64_C(0xffff); /* shared by many */
    default:
        return at;
    }
}

static void timers_at_random_fire_as_the_model_says(void **state)
{
    (void)state;
    static struct probe probes[MODEL_MAX];
    memset(probes, 0, sizeof(probes));
    model_count = 0;
    for (uint32_t step = 0; step < 4000; step++) {
        for (uint32_t i = (uint32_t)random_below(60); i > 0; i--) {
            struct probe *probe = &probes[random_below(MODEL_MAX)];
            if (probe->timer.armed)
                model_remove(probe);
            if (random_below(4) != 0) {
                arm(probe, random_time());
                model_add(probe);
            } else {
                plx__timers_disarm(timers, &probe->timer);
            }
        }
        uint64_t ahead = random_below(UINT64_C(1) << random_below(40));
        /* Sometimes as told, so that every slot is met at its start. */
        uint64_t next = plx__timers_next(timers);
        if (random_below(3) == 0 && next != UINT64_MAX)
            ahead = next > now_ns ? next - now_ns : 0;
        settle_at(now_ns + ahead);
        compare_with_model();
    }
    assert_true(timers->fired > 10000);
}

/* Slots of more timers than a turn opens, met early, late and never. */
static void timers_in_heavy_slots_fire_as_the_model_says(void **state)
{
    (void)state;
    static struct probe probes[MODEL_MAX];
    memset(probes, 0, sizeof(probes));
    for (uint32_t round = 0; round < 60; round++) {
        model_count = 0;
        begin_at(BEGIN + random_below(UINT64_C(1) << 40));
        uint64_t span = UINT64_C(1) << (4 + random_below(36));
        uint64_t about = now_ns + random_below(8 * span);
        uint64_t grain = random_below(span) / (1 + random_below(300)) + 1;
        uint32_t count = 0;
        while (count < MODEL_MAX) {
            for (uint32_t i = (uint32_t)random_below(700); i > 0 && count < MODEL_MAX; i--) {
                struct probe *probe = &probes[count++];
                uint64_t at = about + random_below(span) / grain * grain;
                arm(probe, at > now_ns ? at : now_ns);
                model_add(probe);
            }
            /* Not settled: what is being moved meets what is being armed. */
            for (uint32_t i = (uint32_t)random_below(6); i > 0; i--) {
                uint64_t next = plx__timers_next(timers);
                (void)run_at(next > now_ns && next < about ? next : now_ns);
            }
            assert_int_equal(plx__timers_check(timers), count - fired_count);
            for (uint32_t i = (uint32_t)random_below(50); i > 0; i--) {
                struct probe *probe = &probes[random_below(count)];
                if (!probe->timer.armed)
                    continue;
                /* Armed anew for the same time it is the last of that. */
                arm(probe, probe->at_ns);
            }
        }
        settle_at(about + span);
        compare_with_model();
        assert_int_equal(model_count, 0);
    }
}

/* --- the past --------------------------------------------------------------------------------- */

static void timers_of_the_past_fire_in_order_in_as_few_turns_as_can_be(void **state)
{
    (void)state;
    enum { MANY = 640 };
    static struct probe probes[MANY];
    model_count = 0;
    /* The second time its times lie before those of the first. */
    for (uint32_t grain = 40; grain != 0; grain -= 20) {
        memset(probes, 0, sizeof(probes));
        for (uint32_t i = 0; i < MANY; i++) {
            arm(&probes[i], (i % 3 == 0 ? 1 : grain) * ((i * 7) % MANY));
            model_add(&probes[i]);
        }
        struct probe soon = {.calls = 0};
        arm(&soon, now_ns);
        model_add(&soon);
        for (uint32_t i = 0; i < MANY / PLX__TURN_TIMERS_MAX; i++)
            assert_int_equal(run_at(now_ns), PLX__TURN_TIMERS_MAX);
        assert_int_equal(run_at(now_ns), 1);
        compare_with_model();
    }
    assert_true(plx__timers_next(timers) == UINT64_MAX);
}

/* A whole turn's share at whatever times of the past is due in the next turn. */
static void share_of_a_turn_armed_in_the_past_fires_in_the_next_turn(void **state)
{
    (void)state;
    struct probe probes[PLX__TURN_TIMERS_MAX];
    for (uint32_t round = 0; round < 500; round++) {
        uint64_t span = UINT64_C(1) << (1 + random_below(42));
        memset(probes, 0, sizeof(probes));
        for (uint32_t i = 0; i < PLX__TURN_TIMERS_MAX; i++)
            arm(&probes[i], now_ns - random_below(span));
        assert_int_equal(run_at(now_ns), PLX__TURN_TIMERS_MAX);
        now_ns += 1000;
    }
}

static void timer_before_one_already_fired_counts_as_of_that_among_the_past(void **state)
{
    (void)state;
    enum { MANY = 100 };
    static struct probe probes[MANY];
    memset(probes, 0, sizeof(probes));
    for (uint32_t i = 0; i < MANY; i++)
        arm(&probes[i], 1000 + i);
    assert_int_equal(run_at(now_ns), PLX__TURN_TIMERS_MAX);
    struct probe before[2] = {{.calls = 0}};
    arm(&before[0], 20);
    arm(&before[1], 10);
    plx__timers_check(timers);
    assert_int_equal(run_at(now_ns), MANY - PLX__TURN_TIMERS_MAX + 2);
    /* In one turn all go by their times. */
    assert_ptr_equal(fired[PLX__TURN_TIMERS_MAX], &before[1]);
    assert_ptr_equal(fired[PLX__TURN_TIMERS_MAX + 1], &before[0]);
    assert_ptr_equal(fired[PLX__TURN_TIMERS_MAX + 2], &probes[PLX__TURN_TIMERS_MAX]);
}

/* --- a million -------------------------------------------------------------------------------- */

/* A turn moves few, whatever is armed: what is not looked at keeps its place. */
static uint64_t count_moved(const struct probe *probes, uint16_t *places, uint32_t count)
{
    uint64_t moved = 0;
    for (uint32_t i = 0; i < count; i++) {
        moved += probes[i].timer.armed && probes[i].timer.place != places[i];
        places[i] = probes[i].timer.place;
    }
    return moved;
}

static void million_timers_make_no_turn_long_and_fire_in_order(void **state)
{
    (void)state;
    enum { MANY = 1000000, LOOKED_AT = 40 };
    struct probe *probes = calloc(MANY, sizeof(*probes));
    uint16_t *places = calloc(MANY, sizeof(*places));
    assert_non_null(probes);
    assert_non_null(places);
    /* Within a second, which is one slot of the level where they all lie. */
    uint64_t second = UINT64_C(1) << 30;
    uint64_t from = (BEGIN / second + 20) * second;
    uint64_t first_ns = UINT64_MAX;
    for (uint32_t i = 0; i < MANY; i++) {
        uint64_t at = from + random_below(second);
        first_ns = at < first_ns ? at : first_ns;
        arm(&probes[i], at);
    }
    assert_int_equal(plx__timers_check(timers), MANY);
    (void)count_moved(probes, places, MANY);

    /* In the slot before theirs they are moved ahead, few at a time, and none is due. */
    (void)run_at(now_ns);
    assert_true(plx__timers_next(timers) == from - second);
    now_ns = from - second;
    uint32_t turns = 0;
    for (; plx__timers_next(timers) <= now_ns; turns++) {
        assert_int_equal(run_at(now_ns), 0);
        if (turns < LOOKED_AT)
            assert_true(count_moved(probes, places, MANY) <= MOVES_MAX);
    }
    assert_true(turns >= MANY / MOVES_MAX);
    assert_int_equal(plx__timers_check(timers), MANY);

    /* So are the finer slots, each before its time: the first timer is called at its own. */
    while (now_ns < first_ns) {
        uint64_t next = plx__timers_next(timers);
        (void)run_at(next < now_ns ? now_ns : next < first_ns ? next : first_ns);
    }
    assert_int_equal(fired_count, 1);
    (void)count_moved(probes, places, MANY);
    for (uint32_t i = 0; i < LOOKED_AT; i++) {
        (void)run_at(now_ns + 50000);
        assert_true(count_moved(probes, places, MANY) <= MOVES_MAX);
    }
    while (fired_count < MANY)
        (void)run_at(now_ns + 50000);
    for (uint32_t i = 1; i < MANY; i++)
        assert_true(by_time(&fired[i - 1], &fired[i]) < 0);
    assert_int_equal(plx__timers_check(timers), 0);
    free(places);
    free(probes);
}

/* Found only when all are due: nothing was moved ahead. */
static void million_timers_met_too_late_fire_in_order_by_bounded_turns(void **state)
{
    (void)state;
    enum { MANY = 1000000 };
    struct probe *probes = calloc(MANY, sizeof(*probes));
    assert_non_null(probes);
    for (uint32_t i = 0; i < MANY; i++)
        arm(&probes[i], now_ns + random_below(UINT64_C(100000000)));
    now_ns += UINT64_C(200000000);
    uint32_t turns = 0;
    for (; fired_count < MANY; turns++)
        (void)run_at(now_ns);
    assert_true(turns >= MANY / PLX__TURN_TIMERS_MAX);
    for (uint32_t i = 1; i < MANY; i++)
        assert_true(by_time(&fired[i - 1], &fired[i]) < 0);
    assert_int_equal(timers->late, MANY);
    free(probes);
}

static void timers_of_one_time_by_the_thousand_fire_in_order_of_arming(void **state)
{
    (void)state;
    enum { MANY = 100000 };
    struct probe *probes = calloc(MANY, sizeof(*probes));
    assert_non_null(probes);
    uint64_t at = now_ns + 123456789;
    for (uint32_t i = 0; i < MANY; i++) {
        arm(&probes[i], at);
        if (i % 1000 == 0)
            (void)run_at(now_ns + (at - now_ns) / 20);
    }
    settle_at(at - 1);
    assert_int_equal(fired_count, 0);
    settle_at(at);
    assert_int_equal(fired_count, MANY);
    for (uint32_t i = 0; i < MANY; i++)
        assert_ptr_equal(fired[i], &probes[i]);
    free(probes);
}

/* A slot that becomes heavy after the wheel has looked is opened ahead all the same. */
static void slot_that_becomes_heavy_is_looked_at_at_once(void **state)
{
    (void)state;
    static struct probe probes[200];
    memset(probes, 0, sizeof(probes));
    struct probe sentry = {.calls = 0};
    uint64_t slot = UINT64_C(1) << 20;
    begin_at(BEGIN / slot * slot);
    arm(&sentry, now_ns + slot);
    (void)run_at(now_ns);
    assert_true(plx__timers_next(timers) > now_ns);
    for (uint32_t i = 0; i < 200; i++)
        arm(&probes[i], now_ns + slot + 1 + i * 100);
    assert_true(plx__timers_next(timers) <= now_ns);
    settle_at(now_ns);
    (void)run_at(now_ns + slot + 1);
    assert_int_equal(fired_count, 2);
    assert_ptr_equal(fired[0], &sentry);
}

/* --- periodic --------------------------------------------------------------------------------- */

static struct {
    uint32_t calls;
    uint32_t missed;
    uint32_t ends_after; /* 0: not in its function */
    uint64_t next_ns;
} beat;

static void on_beat(struct plx_timer *timer, void *ctx)
{
    (void)ctx;
    assert_true(timer->armed);
    beat.calls++;
    beat.missed = plx_timer_missed(timer);
    beat.next_ns = timer->at_ns;
    if (beat.calls == beat.ends_after)
        plx__timers_disarm(timers, timer);
}

static void beat_every(struct plx_timer *timer, uint64_t first_ns, uint64_t period_ns)
{
    memset(&beat, 0, sizeof(beat));
    timer->fn = on_beat;
    (void)plx__timers_arm(timers, timer, first_ns, period_ns);
}

static void periodic_timer_fires_once_a_period_and_keeps_its_times(void **state)
{
    (void)state;
    struct plx_timer timer = {0};
    uint64_t first = now_ns + 10;
    beat_every(&timer, first, 1000);
    for (uint32_t i = 0; i < 500; i++) {
        settle_at(first + i * 1000 - 1);
        assert_int_equal(beat.calls, i);
        settle_at(first + i * 1000 + random_below(999));
        assert_int_equal(beat.calls, i + 1);
        assert_int_equal(beat.missed, 0);
        assert_int_equal(beat.next_ns, first + (i + 1) * 1000);
    }
    assert_int_equal(timers->missed, 0);
    plx__timers_disarm(timers, &timer);
    settle_at(now_ns + 10000);
    assert_int_equal(beat.calls, 500);
}

static void periodic_timer_called_late_fires_once_and_tells_what_it_missed(void **state)
{
    (void)state;
    struct plx_timer timer = {0};
    uint64_t first = now_ns + 10;
    beat_every(&timer, first, 1000);
    settle_at(first + 7500);
    assert_int_equal(beat.calls, 1);
    assert_int_equal(beat.missed, 7);
    assert_int_equal(beat.next_ns, first + 8000);
    settle_at(first + 8000);
    assert_int_equal(beat.calls, 2);
    assert_int_equal(beat.missed, 0);
    /* Just in time for two at once: the second is now, and not fired again for it. */
    settle_at(first + 10000);
    assert_int_equal(beat.calls, 3);
    assert_int_equal(beat.missed, 1);
    assert_int_equal(timers->missed, 8);
    plx__timers_disarm(timers, &timer);
}

static void periodic_timer_of_the_past_and_of_short_periods_fires_once_a_turn(void **state)
{
    (void)state;
    struct plx_timer timer = {0};
    beat_every(&timer, 0, 1);
    for (uint32_t i = 0; i < 10; i++)
        assert_int_equal(run_at(now_ns + 1), 1);
    assert_int_equal(beat.calls, 10);
    assert_int_equal(timers->late, 0);
    /* More than can be counted. */
    plx__timers_disarm(timers, &timer);
    beat_every(&timer, 0, 1);
    assert_int_equal(run_at(now_ns), 1);
    assert_int_equal(beat.missed, UINT32_MAX);
    /* No time after the last one. */
    plx__timers_disarm(timers, &timer);
    beat_every(&timer, now_ns, UINT64_MAX - 1);
    assert_int_equal(run_at(now_ns), 1);
    assert_true(beat.next_ns == UINT64_MAX);
    plx__timers_disarm(timers, &timer);
}

static void periodic_timer_disarmed_in_its_function_ends(void **state)
{
    (void)state;
    struct plx_timer timer = {0};
    beat_every(&timer, now_ns + 5, 10);
    beat.ends_after = 3;
    for (uint32_t i = 0; i < 10; i++)
        (void)run_at(now_ns + 10);
    assert_int_equal(beat.calls, 3);
    assert_false(timer.armed);
    assert_int_equal(plx__timers_check(timers), 0);
}

/* --- late ------------------------------------------------------------------------------------- */

static void timers_fired_after_the_threshold_are_counted_as_late(void **state)
{
    (void)state;
    struct probe probes[4];
    memset(probes, 0, sizeof(probes));
    uint64_t at = now_ns + 1000;
    arm(&probes[0], at);
    settle_at(at + LATE_NS);
    assert_int_equal(timers->late, 0);
    at = now_ns + 1000;
    arm(&probes[1], at);
    arm(&probes[2], at + 1);
    /* Long past when it is armed: nobody is late. */
    arm(&probes[3], 1);
    settle_at(at + LATE_NS + 1);
    assert_int_equal(fired_count, 4);
    assert_int_equal(timers->late, 1);
    assert_int_equal(timers->fired, 4);
}

int main(void)
{
#define CASE(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        CASE(timer_at_any_distance_fires_at_its_time_and_not_before),
        CASE(looks_at_the_times_told_lead_to_the_timer),
        CASE(timer_at_the_end_of_time_never_fires),
        CASE(timers_at_random_fire_as_the_model_says),
        CASE(timers_in_heavy_slots_fire_as_the_model_says),
        CASE(timers_of_the_past_fire_in_order_in_as_few_turns_as_can_be),
        CASE(share_of_a_turn_armed_in_the_past_fires_in_the_next_turn),
        CASE(timer_before_one_already_fired_counts_as_of_that_among_the_past),
        CASE(million_timers_make_no_turn_long_and_fire_in_order),
        CASE(million_timers_met_too_late_fire_in_order_by_bounded_turns),
        CASE(timers_of_one_time_by_the_thousand_fire_in_order_of_arming),
        CASE(slot_that_becomes_heavy_is_looked_at_at_once),
        CASE(periodic_timer_fires_once_a_period_and_keeps_its_times),
        CASE(periodic_timer_called_late_fires_once_and_tells_what_it_missed),
        CASE(periodic_timer_of_the_past_and_of_short_periods_fires_once_a_turn),
        CASE(periodic_timer_disarmed_in_its_function_ends),
        CASE(timers_fired_after_the_threshold_are_counted_as_late),
    };
    return cmocka_run_group_tests_name("wheel", tests, NULL, NULL);
}
