/* SPDX-License-Identifier: MIT */
/* The loop: the order and the bounds of a turn, pollers, deferred calls, stoppers, counters. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "runtime/reactor_internal.h"
#include "test/runtime/rt_fixture.h"

static struct plx_runtime *runtime;
static struct plx_reactor *reactor;

/* What ran, a letter each. */
static char trace[4096];
static size_t traced;

static void mark(char letter)
{
    assert_true(traced < sizeof(trace) - 1);
    trace[traced++] = letter;
    trace[traced] = '\0';
}

static void clear_trace(void)
{
    traced = 0;
    trace[0] = '\0';
}

static int open_with(const char *words)
{
    runtime = rt_create(words, NULL);
    reactor = rt_adopt(runtime, 0);
    clear_trace();
    return 0;
}

static int set_up(void **state)
{
    (void)state;
    return open_with("idle=spin");
}

static int set_up_two(void **state)
{
    (void)state;
    return open_with("reactors=2");
}

static int set_up_stalls(void **state)
{
    (void)state;
    return open_with("stall_threshold=1us");
}

static int tear_down(void **state)
{
    (void)state;
    if (reactor != NULL)
        rt_abandon(reactor);
    plx_runtime_destroy(runtime);
    return 0;
}

static struct plx_reactor_stats stats_of(const struct plx_reactor *r)
{
    struct plx_reactor_stats stats;
    plx_reactor_read_stats(r, &stats);
    return stats;
}

/* --- callbacks that leave a mark ------------------------------------------------------------- */

static void on_op(struct plx_op *op, const struct plx_event *event, void *ctx)
{
    (void)op;
    (void)ctx;
    assert_int_equal(event->result, 0);
    mark('o');
}

static void on_post(struct plx_reactor *here, const void *body)
{
    (void)body;
    assert_ptr_equal(plx_reactor_self(), here);
    mark('m');
}

static uint32_t on_poller(struct plx_poller *poller, void *ctx)
{
    (void)poller;
    mark(ctx != NULL ? *(const char *)ctx : 'p');
    return 0;
}

static void on_timer(struct plx_timer *timer, void *ctx)
{
    (void)ctx;
    assert_false(plx_timer_is_armed(timer));
    mark('t');
}

static void on_deferred(struct plx__deferred *deferred, void *ctx)
{
    (void)deferred;
    mark(ctx != NULL ? *(const char *)ctx : 'd');
}

static void submit(struct plx_op *op)
{
    assert_int_equal(plx_op_submit(reactor, op), 0);
}

/* --- turns ------------------------------------------------------------------------------------ */

static void turn_with_all_kinds_of_work_runs_them_in_order(void **state)
{
    (void)state;
    struct plx_op op;
    struct plx_timer timer = {0};
    struct plx_poller poller = {0};
    struct plx__deferred deferred = {0};

    /* Its completion is there before the turn that is looked at. */
    plx_op_nop(&op, on_op, NULL);
    submit(&op);
    plx_reactor_flush(reactor);
    assert_string_equal(trace, "");

    plx__reactor_defer(reactor, &deferred, on_deferred, NULL);
    plx_timer_arm(reactor, &timer, 1, on_timer, NULL);
    plx_poller_arm(reactor, &poller, on_poller, NULL);
    assert_int_equal(plx_mesh_post(reactor, 0, on_post, NULL, 0), 0);
    assert_string_equal(trace, "");
    assert_int_equal(plx_reactor_poll(reactor), 4);
    assert_string_equal(trace, "moptd");

    clear_trace();
    assert_int_equal(plx_reactor_poll(reactor), 0);
    assert_string_equal(trace, "p");
    plx_poller_disarm(reactor, &poller);
}

static void submit_last(struct plx__deferred *deferred, void *ctx)
{
    (void)deferred;
    submit(ctx);
}

static void turn_shows_what_its_last_callback_submitted(void **state)
{
    (void)state;
    struct plx_op op;
    struct plx__deferred deferred = {0};
    plx_op_nop(&op, on_op, NULL);
    plx__reactor_defer(reactor, &deferred, submit_last, &op);
    /* The call and the entry shown. */
    assert_int_equal(plx_reactor_poll(reactor), 2);
    assert_string_equal(trace, "");
    RT_TURN_UNTIL(reactor, traced != 0);
    assert_string_equal(trace, "o");
}

static struct plx_timer deadlock_timer;
static struct plx_poller deadlock_poller;
static struct plx__deferred deadlock_deferred;

static void poll_within(void)
{
    assert_int_equal(plx_reactor_poll(reactor), -EDEADLK);
    assert_ptr_equal(plx_reactor_self(), reactor);
    mark('!');
}

static void poll_from_deferred(struct plx__deferred *deferred, void *ctx)
{
    (void)deferred;
    (void)ctx;
    poll_within();
}

static void poll_from_timer(struct plx_timer *timer, void *ctx)
{
    (void)timer;
    (void)ctx;
    poll_within();
}

static uint32_t poll_from_poller(struct plx_poller *poller, void *ctx)
{
    (void)ctx;
    poll_within();
    plx_poller_disarm(reactor, poller);
    return 1;
}

static void poll_from_op(struct plx_op *op, const struct plx_event *event, void *ctx)
{
    (void)op;
    (void)event;
    (void)ctx;
    poll_within();
}

static void poll_from_post(struct plx_reactor *here, const void *body)
{
    (void)here;
    (void)body;
    poll_within();
}

static void poll_from_any_callback_is_refused(void **state)
{
    (void)state;
    struct plx_op op;
    plx_op_nop(&op, poll_from_op, NULL);
    submit(&op);
    plx__reactor_defer(reactor, &deadlock_deferred, poll_from_deferred, NULL);
    plx_timer_arm(reactor, &deadlock_timer, 1, poll_from_timer, NULL);
    plx_poller_arm(reactor, &deadlock_poller, poll_from_poller, NULL);
    assert_int_equal(plx_mesh_post(reactor, 0, poll_from_post, NULL, 0), 0);
    RT_TURN_UNTIL(reactor, traced == 5);
    assert_int_equal(plx_reactor_poll(reactor), 0);
}

static void turn_with_many_completions_delivers_a_batch(void **state)
{
    (void)state;
    enum { MANY = 300 };
    static struct plx_op ops[MANY];
    for (unsigned i = 0; i < MANY; i++) {
        plx_op_nop(&ops[i], on_op, NULL);
        submit(&ops[i]);
    }
    plx_reactor_flush(reactor);
    size_t before = 0;
    while (traced < MANY) {
        plx_reactor_poll(reactor);
        assert_true(traced - before <= PLX__BATCH_MAX);
        before = traced;
    }
    assert_int_equal(stats_of(reactor).ops_submitted, MANY);
    assert_int_equal(stats_of(reactor).ops_completed, MANY);
}

static void turn_with_many_own_posts_calls_a_share(void **state)
{
    (void)state;
    for (unsigned i = 0; i < 150; i++)
        assert_int_equal(plx_mesh_post(reactor, 0, on_post, NULL, 0), 0);
    for (unsigned left = 150; left != 0;) {
        unsigned share = left < PLX__TURN_POSTS_MAX ? left : PLX__TURN_POSTS_MAX;
        clear_trace();
        assert_int_equal(plx_reactor_poll(reactor), share);
        assert_int_equal(traced, share);
        left -= share;
    }
    assert_int_equal(plx_reactor_poll(reactor), 0);
    assert_int_equal(stats_of(reactor).posts_in, 150);
}

/* --- whose turn it is ------------------------------------------------------------------------- */

static uint32_t poll_other(struct plx_poller *poller, void *ctx)
{
    (void)poller;
    struct plx_reactor *other = ctx;
    assert_ptr_equal(plx_reactor_self(), reactor);
    assert_true(plx_reactor_poll(other) >= 0);
    assert_ptr_equal(plx_reactor_self(), reactor);
    mark('s');
    return 0;
}

static void self_outside_of_turns_is_null(void **state)
{
    (void)state;
    assert_null(plx_reactor_self());
    assert_int_equal(plx_mesh_post(reactor, 0, on_post, NULL, 0), 0);
    plx_reactor_poll(reactor);
    assert_string_equal(trace, "m");
    assert_null(plx_reactor_self());
}

static void self_in_nested_turns_is_the_innermost(void **state)
{
    (void)state;
    struct plx_reactor *other = rt_adopt(runtime, 1);
    struct plx_poller poller = {0};
    plx_poller_arm(reactor, &poller, poll_other, other);
    assert_int_equal(plx_mesh_post(other, 1, on_post, NULL, 0), 0);
    plx_reactor_poll(reactor);
    assert_string_equal(trace, "ms");
    assert_null(plx_reactor_self());
    plx_poller_disarm(reactor, &poller);
    rt_abandon(other);
}

/* --- pollers ---------------------------------------------------------------------------------- */

/* What a poller does to others, or to itself, when it is called. */
struct meddler {
    struct plx_poller poller;
    struct plx_poller *disarms[3];
    struct plx_poller *arms;
    char letter;
    uint32_t work;
};

static uint32_t meddle(struct plx_poller *poller, void *ctx)
{
    struct meddler *meddler = ctx;
    assert_ptr_equal(poller, &meddler->poller);
    mark(meddler->letter);
    for (unsigned i = 0; i < 3; i++) {
        if (meddler->disarms[i] != NULL)
            plx_poller_disarm(reactor, meddler->disarms[i]);
        meddler->disarms[i] = NULL;
    }
    if (meddler->arms != NULL)
        plx_poller_arm(reactor, meddler->arms, meddle,
                       PLX_CONTAINER(meddler->arms, struct meddler, poller));
    meddler->arms = NULL;
    return meddler->work;
}

/* Three of them, armed so that they run as a, b, c. */
static void arm_three(struct meddler *three)
{
    memset(three, 0, 3 * sizeof(*three));
    for (int i = 2; i >= 0; i--) {
        three[i].letter = (char)('a' + i);
        plx_poller_arm(reactor, &three[i].poller, meddle, &three[i]);
    }
}

static void expect_turn(const char *letters)
{
    clear_trace();
    plx_reactor_poll(reactor);
    assert_string_equal(trace, letters);
}

static void disarm_three(struct meddler *three)
{
    for (int i = 0; i < 3; i++)
        plx_poller_disarm(reactor, &three[i].poller);
    expect_turn("");
}

static void pollers_armed_run_once_a_turn_and_count_as_work(void **state)
{
    (void)state;
    struct meddler three[3];
    arm_three(three);
    three[0].work = 2;
    three[2].work = 3;
    assert_int_equal(plx_reactor_poll(reactor), 5);
    expect_turn("abc");
    disarm_three(three);
    /* Once more does nothing. */
    plx_poller_disarm(reactor, &three[0].poller);
}

static void poller_disarming_any_leaves_the_others_running(void **state)
{
    (void)state;
    static const struct {
        int who;
        int whom[3];
        const char *then;
        const char *after;
    } cases[] = {
        {0, {0, -1, -1}, "abc", "bc"}, {1, {1, -1, -1}, "abc", "ac"}, {2, {2, -1, -1}, "abc", "ab"},
        {0, {1, -1, -1}, "ac", "ac"},  {0, {1, 2, -1}, "a", "a"},     {0, {0, 1, 2}, "a", ""},
        {1, {0, -1, -1}, "abc", "bc"}, {1, {2, 0, -1}, "ab", "b"},    {1, {2, 1, 0}, "ab", ""},
        {2, {0, 1, 2}, "abc", ""},     {0, {2, 1, 0}, "a", ""},       {0, {2, -1, -1}, "ab", "ab"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
        struct meddler three[3];
        arm_three(three);
        for (int k = 0; k < 3; k++) {
            if (cases[i].whom[k] >= 0)
                three[cases[i].who].disarms[k] = &three[cases[i].whom[k]].poller;
        }
        expect_turn(cases[i].then);
        expect_turn(cases[i].after);
        disarm_three(three);
    }
}

static void poller_armed_by_a_poller_runs_from_the_next_turn_on(void **state)
{
    (void)state;
    struct meddler three[3];
    arm_three(three);
    plx_poller_disarm(reactor, &three[1].poller);
    three[2].arms = &three[1].poller;
    expect_turn("ac");
    expect_turn("bac");
    disarm_three(three);
}

static void poller_rearming_itself_runs_once_a_turn(void **state)
{
    (void)state;
    struct meddler three[3];
    arm_three(three);
    three[1].disarms[0] = &three[1].poller;
    three[1].arms = &three[1].poller;
    expect_turn("abc");
    expect_turn("bac");
    disarm_three(three);
}

static void poller_replacing_its_successor_skips_it_this_turn(void **state)
{
    (void)state;
    struct meddler three[3];
    arm_three(three);
    three[0].disarms[0] = &three[1].poller;
    three[0].arms = &three[1].poller;
    expect_turn("ac");
    expect_turn("bac");
    disarm_three(three);
}

/* --- deferred calls --------------------------------------------------------------------------- */

static void deferred_twice_runs_once_in_order_of_queueing(void **state)
{
    (void)state;
    struct plx__deferred first = {0};
    struct plx__deferred second = {0};
    plx__reactor_defer(reactor, &first, on_deferred, "1");
    plx__reactor_defer(reactor, &second, on_deferred, "2");
    plx__reactor_defer(reactor, &first, on_deferred, "x");
    assert_true(first.queued);
    expect_turn("12");
    assert_false(first.queued);
    expect_turn("");
    plx__reactor_defer(reactor, &first, on_deferred, "3");
    expect_turn("3");
}

static void defer_again(struct plx__deferred *deferred, void *ctx)
{
    mark('a');
    plx__reactor_defer(reactor, deferred, on_deferred, ctx);
}

static void deferred_by_a_deferred_call_waits_for_the_next_turn(void **state)
{
    (void)state;
    struct plx__deferred one = {0};
    plx__reactor_defer(reactor, &one, defer_again, "n");
    expect_turn("a");
    expect_turn("n");
    expect_turn("");
}

/* --- stoppers --------------------------------------------------------------------------------- */

struct told {
    struct plx__stopper stopper;
    char letter;
};

static void be_told(struct plx__stopper *stopper, enum plx__stop_phase phase, void *ctx)
{
    struct told *told = ctx;
    assert_ptr_equal(stopper, &told->stopper);
    mark(phase == PLX__STOP_ADMITTING ? told->letter : (char)(told->letter - 'a' + 'A'));
    assert_true(phase == PLX__STOP_ADMITTING || phase == PLX__STOP_DRAINING);
}

static void stoppers_at_the_end_are_told_both_phases(void **state)
{
    (void)state;
    struct told told[4] = {{.letter = 'a'}, {.letter = 'b'}, {.letter = 'c'}, {.letter = 'd'}};
    for (int i = 3; i >= 0; i--)
        plx__stopper_add(reactor, &told[i].stopper, be_told, &told[i]);
    expect_turn("");
    rt_abandon(reactor);
    reactor = NULL;
    assert_string_equal(trace, "abcdABCD");
}

/* --- counters and looks ----------------------------------------------------------------------- */

static uint32_t burn(struct plx_poller *poller, void *ctx)
{
    (void)poller;
    const uint32_t *work = ctx;
    uint64_t until = rt_now_ns() + 50000;
    while (rt_now_ns() < until)
        continue;
    return *work;
}

static void stats_of_busy_and_idle_turns_are_kept_apart(void **state)
{
    (void)state;
    struct plx_reactor_stats before = stats_of(reactor);
    assert_int_equal(before.turns, 0);
    assert_int_equal(before.busy_ns, 0);
    assert_int_equal(before.idle_ns, 0);

    struct plx_poller poller = {0};
    uint32_t work = 0;
    plx_poller_arm(reactor, &poller, burn, &work);
    for (int i = 0; i < 10; i++)
        plx_reactor_poll(reactor);
    struct plx_reactor_stats idle = stats_of(reactor);
    assert_int_equal(idle.turns, 10);
    assert_int_equal(idle.busy_ns, 0);
    assert_int_equal(idle.longest_turn_ns, 0);
    assert_int_equal(idle.stalled_turns, 0);
    assert_true(idle.idle_ns >= 10 * 40000);

    work = 1;
    for (int i = 0; i < 10; i++)
        plx_reactor_poll(reactor);
    struct plx_reactor_stats busy = stats_of(reactor);
    assert_int_equal(busy.turns, 20);
    assert_int_equal(busy.idle_ns, idle.idle_ns);
    assert_true(busy.busy_ns >= 10 * 40000);
    assert_true(busy.longest_turn_ns >= 40000);
    assert_true(busy.longest_turn_ns <= busy.busy_ns);
    assert_int_equal(busy.stalled_turns, 10);
    plx_poller_disarm(reactor, &poller);
}

static void stats_of_refusals_are_counted(void **state)
{
    (void)state;
    static struct plx_op ops[1100];
    unsigned taken = 0;
    while (taken < 1100) {
        plx_op_nop(&ops[taken], on_op, NULL);
        int rc = plx_op_submit(reactor, &ops[taken]);
        if (rc != 0) {
            assert_int_equal(rc, -EAGAIN);
            assert_int_equal(plx_op_state(&ops[taken]), PLX_OP_IDLE);
            break;
        }
        taken++;
    }
    RT_TURN_UNTIL(reactor, traced == taken);
    struct plx_reactor_stats stats = stats_of(reactor);
    assert_int_equal(stats.ops_submitted, taken);
    assert_int_equal(stats.ops_completed, taken);
    /* The epoll backend has no ring that could be full. */
    assert_int_equal(stats.ops_refused, taken < 1100);
    if ((plx_reactor_caps(reactor) & PLX_CAP_URING) != 0) {
        assert_true(taken < 1024);
        assert_true(stats.kernel_entries > 0);
    }
}

static void hot_places_beyond_the_setting_are_refused_and_counted(void **state)
{
    (void)state;
    for (int i = 0; i < 4; i++)
        assert_int_equal(plx__reactor_hot_take(reactor), 0);
    assert_int_equal(plx__reactor_hot_take(reactor), -ENOSPC);
    plx__reactor_hot_give(reactor);
    assert_int_equal(plx__reactor_hot_take(reactor), 0);
    for (int i = 0; i < 4; i++)
        plx__reactor_hot_give(reactor);
    assert_int_equal(stats_of(reactor).hot_refused, 1);
}

static void looks_tell_what_the_reactor_is(void **state)
{
    (void)state;
    struct plx_reactor *other = rt_adopt(runtime, 1);
    const struct plx_plan *plan = plx_runtime_plan(runtime);
    assert_int_equal(plx_reactor_index(reactor), 0);
    assert_int_equal(plx_reactor_index(other), 1);
    assert_int_equal(plx_reactor_cpu(other), plan->reactors[1].cpu);
    assert_int_equal(plx_reactor_node(other), plan->reactors[1].node);
    assert_ptr_equal(plx_reactor_runtime(other), runtime);
    assert_ptr_equal(plx_runtime_reactor(runtime, 1), other);
    assert_null(plx_runtime_reactor(runtime, 2));
    assert_ptr_not_equal(plx_reactor_arena(reactor), plx_reactor_arena(other));
    assert_non_null(plx_arena_carve(plx_reactor_arena(other), 100, 8));
    assert_null(*plx__reactor_net(other));
    bool uring = strncmp(plx_reactor_mode(other), "uring", 5) == 0;
    assert_int_equal((plx_reactor_caps(other) & PLX_CAP_URING) != 0, uring);

    /* It is told from the counter, and may be off by a little. */
    uint64_t before = rt_now_ns() - 1000000;
    uint64_t now = plx_reactor_now_ns(reactor);
    assert_in_range(now, before, rt_now_ns() + 1000000);
    /* In whatever way it idles, it comes back. */
    plx_reactor_idle(reactor);
    rt_abandon(other);
    assert_null(plx_runtime_reactor(runtime, 1));
}

static void explanation_names_core_ring_and_memory(void **state)
{
    (void)state;
    static struct rt_lines lines;
    plx_reactor_explain(reactor, rt_keep_line, &lines);
    assert_int_equal(rt_lines_with(&lines, "reactor 0: cpu "), 1);
    assert_int_equal(rt_lines_with(&lines, plx_reactor_mode(reactor)), 1);
    assert_int_equal(rt_lines_with(&lines, "adopted"), 1);
    assert_int_equal(rt_lines_with(&lines, "idle spin, 256 mesh slots"), 1);
    assert_true(rt_lines_with(&lines, "2 MiB") + rt_lines_with(&lines, "2M") >= 1);
}

int main(void)
{
#define CASE(name)            cmocka_unit_test_setup_teardown(name, set_up, tear_down)
#define CASE_WITH(name, with) cmocka_unit_test_setup_teardown(name, with, tear_down)
    const struct CMUnitTest tests[] = {
        CASE(turn_with_all_kinds_of_work_runs_them_in_order),
        CASE(turn_shows_what_its_last_callback_submitted),
        CASE(poll_from_any_callback_is_refused),
        CASE(turn_with_many_completions_delivers_a_batch),
        CASE(turn_with_many_own_posts_calls_a_share),
        CASE(self_outside_of_turns_is_null),
        CASE_WITH(self_in_nested_turns_is_the_innermost, set_up_two),
        CASE(pollers_armed_run_once_a_turn_and_count_as_work),
        CASE(poller_disarming_any_leaves_the_others_running),
        CASE(poller_armed_by_a_poller_runs_from_the_next_turn_on),
        CASE(poller_rearming_itself_runs_once_a_turn),
        CASE(poller_replacing_its_successor_skips_it_this_turn),
        CASE(deferred_twice_runs_once_in_order_of_queueing),
        CASE(deferred_by_a_deferred_call_waits_for_the_next_turn),
        CASE(stoppers_at_the_end_are_told_both_phases),
        CASE_WITH(stats_of_busy_and_idle_turns_are_kept_apart, set_up_stalls),
        CASE(stats_of_refusals_are_counted),
        CASE(hot_places_beyond_the_setting_are_refused_and_counted),
        CASE_WITH(looks_tell_what_the_reactor_is, set_up_two),
        CASE(explanation_names_core_ring_and_memory),
    };
    return cmocka_run_group_tests_name("reactor", tests, NULL, NULL);
}
