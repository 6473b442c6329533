/* SPDX-License-Identifier: MIT */
/*
 * The loop does not use the system's allocator: this program stands in for it and counts the calls
 * of a million turns with ops, timers, posts and tasks, and those of an op of each kind in each
 * mode.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/sched/await.h"
#include "runtime/sched/far.h"
#include "runtime/sched/sync.h"
#include "test/runtime/heap_calls.h"
#include "test/runtime/io/op_kinds.h"
#include "test/runtime/rt_fixture.h"

#define TURNS  1000000u
#define OPS    4u
#define PASSES 3u

/* What goes round and round in two reactors, polled by this thread. */
struct round {
    struct plx_reactor *reactors[2];
    struct plx_op ops[OPS];
    struct plx_timer timers[2];
    uint64_t ops_done;
    uint64_t timers_fired;
    uint64_t posts_called;
    uint64_t tasks_joined;
    bool ends; /* nothing goes on any more */
};

static struct round the_round;

static void again(struct plx_op *op, const struct plx_event *event, void *ctx)
{
    (void)event;
    struct round *round = ctx;
    round->ops_done++;
    if (round->ends)
        return;
    plx_op_nop(op, again, round);
    if (plx_op_submit(round->reactors[0], op) != 0)
        abort();
}

static void tick(struct plx_timer *timer, void *ctx)
{
    struct round *round = ctx;
    round->timers_fired++;
    plx_timer_arm(round->reactors[0], timer, timer->at_ns + 1000, tick, round);
}

static void pass_on(struct plx_reactor *here, const void *body)
{
    the_round.posts_called++;
    if (the_round.ends)
        return;
    if (plx_mesh_post(here, 1 - plx_reactor_index(here), pass_on, body, 8) != 0)
        abort();
}

static int64_t give_nothing(void *ctx)
{
    (void)ctx;
    return 0;
}

static int64_t give(void *ctx)
{
    return plx_chan_send(ctx, &the_round.ops_done) == 0 ? plx_await_nop() : -1;
}

/* Begins others, here and on the other reactor, and waits for each in some way. */
static int64_t run_tasks(void *ctx)
{
    struct round *round = ctx;
    uint64_t memory[2];
    uint64_t item;
    struct plx_chan chan;
    if (plx_chan_init(&chan, memory, 2, sizeof(memory[0])) != 0)
        abort();
    while (!round->ends) {
        struct plx_task *task;
        struct plx_far_task far = {.ended = false};
        if (plx_task_spawn(round->reactors[0], NULL, give, &chan, &task) != 0 ||
            plx_far_spawn(round->reactors[0], &far, 1, NULL, give_nothing, NULL) != 0)
            abort();
        int rc = plx_chan_recv(&chan, &item);
        rc = rc == 0 ? plx_task_join(task, NULL) : rc;
        rc = plx_far_join(&far, NULL) == 0 && rc == 0 ? plx_task_sleep(1000) : rc;
        round->tasks_joined += 2;
        if (rc != 0)
            break;
    }
    return 0;
}

static void turn(struct round *round, unsigned times)
{
    for (unsigned i = 0; i < times; i++) {
        (void)plx_reactor_poll(round->reactors[0]);
        (void)plx_reactor_poll(round->reactors[1]);
    }
}

static void expect_no_heap_calls(const char *words)
{
    struct round *round = &the_round;
    memset(round, 0, sizeof(*round));
    struct plx_runtime *rt = rt_create(words, NULL);
    /* The stand-in is in place. */
    assert_true(heap_calls() > 0);
    for (uint32_t i = 0; i < 2; i++)
        round->reactors[i] = rt_adopt(rt, i);
    for (unsigned i = 0; i < OPS; i++) {
        plx_op_nop(&round->ops[i], again, round);
        assert_int_equal(plx_op_submit(round->reactors[0], &round->ops[i]), 0);
    }
    for (unsigned i = 0; i < 2; i++)
        plx_timer_arm(round->reactors[0], &round->timers[i], i, tick, round);
    uint64_t body = 0;
    for (unsigned i = 0; i < 3; i++)
        assert_int_equal(plx_mesh_post(round->reactors[0], 1, pass_on, &body, sizeof(body)), 0);

    struct plx_task *tasks;
    assert_int_equal(plx_task_spawn(round->reactors[0], NULL, run_tasks, round, &tasks), 0);
    turn(round, 1000);
    uint64_t before = heap_calls();
    turn(round, TURNS / 2);
    assert_int_equal(heap_calls() - before, 0);
    assert_true(round->ops_done >= TURNS / 4);
    assert_true(round->timers_fired >= 1000);
    assert_true(round->posts_called >= TURNS / 4);
    assert_true(round->tasks_joined >= 1000);

    round->ends = true;
    RT__UNTIL(plx_task_try_join(tasks, NULL) == 0, turn(round, 1));
    for (unsigned i = 0; i < 2; i++) {
        plx_timer_disarm(round->reactors[0], &round->timers[i]);
        rt_abandon(round->reactors[i]);
    }
    plx_runtime_destroy(rt);
}

static void loop_on_rings_makes_no_heap_call(void **state)
{
    (void)state;
    skip_unless_counting();
    rt_need_uring();
    expect_no_heap_calls("reactors=2 backend=uring");
}

static void loop_on_epoll_makes_no_heap_call(void **state)
{
    (void)state;
    skip_unless_counting();
    expect_no_heap_calls("reactors=2 backend=epoll");
}

/* --- ops of all kinds ------------------------------------------------------------------------- */

static void run_life(struct life *life)
{
    life_submit(life);
    if (life->kind->let != NULL)
        life_let(life);
    LIFE_UNTIL(life, life->events > 0);
    life_cancel(life);
    life_await(life, 1);
}

static void run_all_kinds(struct world *world)
{
    static struct life life;
    for (const struct kind *kind = kinds; kind->name != NULL; kind++) {
        if ((kind->traits & KIND_NO_LET) != 0)
            continue;
        life_open(&life, kind, world);
        run_life(&life);
        life_close(&life);
    }
}

static void op_of_any_kind_makes_no_heap_call(void **state)
{
    skip_unless_counting();
    run_all_kinds(*state);
    uint64_t before = heap_calls();
    for (unsigned i = 0; i < PASSES; i++)
        run_all_kinds(*state);
    assert_int_equal(heap_calls() - before, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(loop_on_rings_makes_no_heap_call),
        cmocka_unit_test(loop_on_epoll_makes_no_heap_call),
    };
    const struct CMUnitTest kinds_tests[] = {
        KINDS_CASE(op_of_any_kind_makes_no_heap_call),
    };
    int failed = cmocka_run_group_tests_name("heap", tests, NULL, NULL);
    return failed + run_kernel_modes(kinds_tests, 1);
}
