/* SPDX-License-Identifier: MIT */
/* Semaphores, gates and channels within a reactor. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/sched/sync.h"
#include "runtime/sched/timer.h"
#include "test/runtime/rt_fixture.h"
#include "test/runtime/sched/task_fixture.h"

/* --- semaphores ------------------------------------------------------------------------------- */

struct wish {
    struct plx_sem *sem;
    uint64_t units;
    bool has;
};

static int64_t take_units(void *ctx)
{
    struct wish *wish = ctx;
    int rc = plx_sem_acquire(wish->sem, wish->units);
    wish->has = rc == 0;
    return rc;
}

static void semaphore_serves_in_order_of_coming(void **state)
{
    (void)state;
    struct task_world world = task_world_open("");
    struct plx_sem sem;
    plx_sem_init(&sem, 3);
    struct wish wishes[4] = {{&sem, 2, false}, {&sem, 5, false}, {&sem, 1, false}, {&sem, 1, 0}};
    struct plx_task *tasks[4];
    for (unsigned i = 0; i < 4; i++)
        tasks[i] = task_start(&world, take_units, &wishes[i]);
    task_turn(&world, 3);
    /* One unit is there, and the third does not pass the second. */
    assert_true(wishes[0].has && !wishes[1].has && !wishes[2].has);
    assert_int_equal(plx_sem_try_acquire(&sem, 1), -EAGAIN);
    plx_sem_release(&sem, 3);
    task_turn(&world, 3);
    assert_false(wishes[1].has || wishes[2].has);
    plx_sem_release(&sem, 2);
    task_turn(&world, 3);
    assert_true(wishes[1].has && wishes[2].has && !wishes[3].has);
    plx_sem_release(&sem, 2);
    for (unsigned i = 0; i < 4; i++)
        assert_int_equal(task_finish(&world, tasks[i]), 0);
    assert_int_equal(plx_sem_try_acquire(&sem, 2), -EAGAIN);
    assert_int_equal(plx_sem_try_acquire(&sem, 1), 0);
    assert_int_equal(plx_sem_acquire(&sem, 1), -EDEADLK);
    task_world_close(&world);
}

static void semaphore_whose_first_waiter_is_cancelled_serves_the_next(void **state)
{
    (void)state;
    struct task_world world = task_world_open("");
    struct plx_sem sem;
    plx_sem_init(&sem, 1);
    struct wish wishes[3] = {{&sem, 5, false}, {&sem, 1, false}, {&sem, 1, false}};
    struct plx_task *tasks[3];
    for (unsigned i = 0; i < 3; i++)
        tasks[i] = task_start(&world, take_units, &wishes[i]);
    task_turn(&world, 2);
    plx_task_cancel(tasks[0]);
    assert_int_equal(task_finish(&world, tasks[0]), -ECANCELED);
    assert_int_equal(task_finish(&world, tasks[1]), 0);
    assert_false(wishes[2].has);
    plx_task_cancel(tasks[2]);
    assert_int_equal(task_finish(&world, tasks[2]), -ECANCELED);
    plx_sem_release(&sem, 1);
    assert_int_equal(plx_sem_try_acquire(&sem, 1), 0);
    task_world_close(&world);
}

/* --- gates ------------------------------------------------------------------------------------ */

static int64_t close_gate(void *ctx)
{
    return plx_gate_close(ctx);
}

static void gate_that_is_closed_waits_for_all_inside(void **state)
{
    (void)state;
    struct task_world world = task_world_open("");
    struct plx_gate gate;
    plx_gate_init(&gate);
    assert_int_equal(plx_gate_enter(&gate), 0);
    assert_int_equal(plx_gate_enter(&gate), 0);
    struct plx_task *first = task_start(&world, close_gate, &gate);
    struct plx_task *second = task_start(&world, close_gate, &gate);
    struct plx_task *third = task_start(&world, close_gate, &gate);
    task_turn(&world, 2);
    assert_int_equal(plx_gate_enter(&gate), -ESHUTDOWN);
    plx_gate_leave(&gate);
    task_turn(&world, 2);
    assert_int_equal(plx_task_try_join(first, NULL), -EAGAIN);
    assert_int_equal(plx_gate_close(&gate), -EDEADLK);
    plx_task_cancel(second);
    assert_int_equal(task_finish(&world, second), -ECANCELED);
    plx_gate_leave(&gate);
    assert_int_equal(task_finish(&world, first), 0);
    assert_int_equal(task_finish(&world, third), 0);
    assert_int_equal(plx_gate_close(&gate), 0);
    task_world_close(&world);
}

static void gate_that_is_shut_lets_nothing_in(void **state)
{
    (void)state;
    struct plx_gate gate;
    plx_gate_init(&gate);
    plx_gate_shut(&gate);
    assert_int_equal(plx_gate_enter(&gate), -ESHUTDOWN);
    assert_int_equal(plx_gate_close(&gate), 0);
}

/* --- channels --------------------------------------------------------------------------------- */

struct line {
    struct plx_chan chan;
    uint32_t memory[4];
    uint32_t sent;
    uint32_t received;
    uint32_t limit;
    int64_t ended;
};

static void make_line(struct line *line, uint32_t slots, uint32_t limit)
{
    memset(line, 0, sizeof(*line));
    line->limit = limit;
    assert_int_equal(plx_chan_init(&line->chan, line->memory, slots, sizeof(uint32_t)), 0);
}

static int64_t send_all(void *ctx)
{
    struct line *line = ctx;
    while (line->sent < line->limit) {
        int rc = plx_chan_send(&line->chan, &line->sent);
        if (rc != 0)
            return rc;
        line->sent++;
    }
    plx_chan_close_send(&line->chan);
    return 0;
}

static int64_t receive_all(void *ctx)
{
    struct line *line = ctx;
    uint32_t item;
    int rc;
    while ((rc = plx_chan_recv(&line->chan, &item)) == 0) {
        assert_int_equal(item, line->received);
        line->received++;
    }
    return rc;
}

static void channel_passes_all_items_in_order(void **state)
{
    (void)state;
    struct task_world world = task_world_open("");
    for (uint32_t slots = 1; slots <= 4; slots++) {
        for (unsigned first = 0; first < 2; first++) {
            struct line line;
            make_line(&line, slots, 100);
            struct plx_task *tasks[2];
            tasks[first] = task_start(&world, first == 0 ? send_all : receive_all, &line);
            tasks[1 - first] = task_start(&world, first == 0 ? receive_all : send_all, &line);
            assert_int_equal(task_finish(&world, tasks[0]), 0);
            assert_int_equal(task_finish(&world, tasks[1]), -EPIPE);
            assert_int_equal(line.received, 100);
            assert_int_equal(plx_chan_count(&line.chan), 0);
        }
    }
    task_world_close(&world);
}

static void channel_that_is_full_or_empty_makes_wait(void **state)
{
    (void)state;
    struct task_world world = task_world_open("");
    struct line line;
    make_line(&line, 3, 10);
    uint32_t item = 0;
    assert_int_equal(plx_chan_recv(&line.chan, &item), -EDEADLK);
    struct plx_task *sender = task_start(&world, send_all, &line);
    task_turn(&world, 3);
    assert_int_equal(line.sent, 3);
    assert_int_equal(plx_chan_count(&line.chan), 3);
    assert_int_equal(plx_chan_try_send(&line.chan, &item), -EAGAIN);
    assert_int_equal(plx_chan_send(&line.chan, &item), -EDEADLK);
    for (uint32_t i = 0; i < 10; i++) {
        assert_int_equal(plx_chan_try_recv(&line.chan, &item), 0);
        assert_int_equal(item, i);
        task_turn(&world, 2);
    }
    assert_int_equal(task_finish(&world, sender), 0);
    assert_int_equal(plx_chan_try_recv(&line.chan, &item), -EPIPE);
    assert_int_equal(plx_chan_try_send(&line.chan, &item), -EPIPE);
    task_world_close(&world);
}

static void channel_closed_by_its_receiver_refuses_senders(void **state)
{
    (void)state;
    struct task_world world = task_world_open("");
    struct line line;
    make_line(&line, 2, 10);
    struct plx_task *senders[2];
    for (unsigned i = 0; i < 2; i++)
        senders[i] = task_start(&world, send_all, &line);
    task_turn(&world, 3);
    plx_chan_close_recv(&line.chan);
    for (unsigned i = 0; i < 2; i++)
        assert_int_equal(task_finish(&world, senders[i]), -EPIPE);
    uint32_t item;
    assert_int_equal(plx_chan_try_recv(&line.chan, &item), -EPIPE);
    assert_int_equal(plx_chan_count(&line.chan), 0);
    task_world_close(&world);
}

static void channel_closed_by_its_receiver_wakes_receivers(void **state)
{
    (void)state;
    struct task_world world = task_world_open("");
    struct line line;
    make_line(&line, 2, 10);
    struct plx_task *receiver = task_start(&world, receive_all, &line);
    task_turn(&world, 3);
    plx_chan_close_recv(&line.chan);
    assert_int_equal(task_finish(&world, receiver), -EPIPE);
    task_world_close(&world);
}

static void channel_waits_that_are_cancelled_lose_no_item(void **state)
{
    (void)state;
    struct task_world world = task_world_open("");
    struct line line;
    make_line(&line, 2, 10);
    struct plx_task *receiver = task_start(&world, receive_all, &line);
    task_turn(&world, 2);
    plx_task_cancel(receiver);
    assert_int_equal(task_finish(&world, receiver), -ECANCELED);
    struct plx_task *sender = task_start(&world, send_all, &line);
    task_turn(&world, 2);
    plx_task_cancel(sender);
    assert_int_equal(task_finish(&world, sender), -ECANCELED);
    assert_int_equal(line.sent, 2);
    uint32_t item = 9;
    for (uint32_t i = 0; i < 2; i++) {
        assert_int_equal(plx_chan_try_recv(&line.chan, &item), 0);
        assert_int_equal(item, i);
    }
    assert_int_equal(plx_chan_try_recv(&line.chan, &item), -EAGAIN);
    task_world_close(&world);
}

static void channel_of_nothing_is_refused(void **state)
{
    (void)state;
    struct plx_chan chan;
    uint32_t memory[1];
    assert_int_equal(plx_chan_init(&chan, memory, 0, 4), -EINVAL);
    assert_int_equal(plx_chan_init(&chan, memory, 1, 0), -EINVAL);
}

/* --- promises --------------------------------------------------------------------------------- */

struct waited {
    struct plx_promise promise;
    unsigned cancels;
    bool keeps; /* when it is cancelled */
};

static void ask_to_end(void *ctx)
{
    struct waited *waited = ctx;
    waited->cancels++;
    if (waited->keeps)
        plx_promise_keep(&waited->promise, -5);
}

static int64_t await_promise(void *ctx)
{
    struct waited *waited = ctx;
    return plx_promise_await(&waited->promise, ask_to_end, waited);
}

static void promise_that_is_kept_wakes_its_task(void **state)
{
    (void)state;
    struct task_world world = task_world_open("");
    struct waited waited = {.cancels = 0};
    plx_promise_init(&waited.promise);
    assert_int_equal(plx_promise_await(&waited.promise, NULL, NULL), -EDEADLK);
    struct plx_task *task = task_start(&world, await_promise, &waited);
    task_turn(&world, 3);
    assert_int_equal(plx_task_try_join(task, NULL), -EAGAIN);
    plx_promise_keep(&waited.promise, 77);
    assert_int_equal(task_finish(&world, task), 77);
    /* Kept before, it is no wait. */
    assert_int_equal(plx_promise_await(&waited.promise, NULL, NULL), 77);
    assert_int_equal(task_do(&world, await_promise, &waited), 77);
    assert_int_equal(waited.cancels, 0);
    task_world_close(&world);
}

static void promise_whose_task_is_cancelled_is_waited_for(void **state)
{
    (void)state;
    struct task_world world = task_world_open("");
    for (unsigned i = 0; i < 4; i++) {
        /* Cancelled before it waits, or while it does; kept at once, or later. */
        struct waited waited = {.keeps = i / 2 == 0};
        plx_promise_init(&waited.promise);
        struct plx_task *task = task_start(&world, await_promise, &waited);
        if (i % 2 == 0)
            plx_task_cancel(task);
        task_turn(&world, 2);
        if (i % 2 == 1)
            plx_task_cancel(task);
        task_turn(&world, 2);
        assert_int_equal(waited.cancels, 1);
        if (!waited.keeps) {
            assert_int_equal(plx_task_try_join(task, NULL), -EAGAIN);
            plx_promise_keep(&waited.promise, -5);
        }
        assert_int_equal(task_finish(&world, task), -5);
    }
    task_world_close(&world);
}

/* --- deadlines -------------------------------------------------------------------------------- */

#define SOON_NS  1000000u
#define NEVER_NS 3600000000000u

struct late {
    struct plx_sem sem;
    struct plx_gate gate;
    struct plx_chan chan;
    uint32_t memory[1];
    uint64_t within_ns;
    int rc;
    uint32_t item;
    struct plx_timer timer;
};

static void make_late(struct late *late, uint64_t within_ns)
{
    memset(late, 0, sizeof(*late));
    plx_sem_init(&late->sem, 1);
    plx_gate_init(&late->gate);
    assert_int_equal(plx_chan_init(&late->chan, late->memory, 1, sizeof(uint32_t)), 0);
    late->within_ns = within_ns;
}

static uint64_t in(const struct late *late)
{
    return plx_reactor_now_ns(plx_reactor_self()) + late->within_ns;
}

static int64_t wait_for_each(void *ctx)
{
    struct late *late = ctx;
    uint32_t item = 7;
    uint64_t began = plx_reactor_now_ns(plx_reactor_self());
    assert_int_equal(plx_sem_acquire_until(&late->sem, 2, in(late)), -ETIMEDOUT);
    assert_int_equal(plx_gate_enter(&late->gate), 0);
    assert_int_equal(plx_gate_close_until(&late->gate, in(late)), -ETIMEDOUT);
    assert_int_equal(plx_chan_recv_until(&late->chan, &item, in(late)), -ETIMEDOUT);
    assert_int_equal(plx_chan_send_until(&late->chan, &item, in(late)), 0);
    assert_int_equal(plx_chan_send_until(&late->chan, &item, in(late)), -ETIMEDOUT);
    assert_true(plx_reactor_now_ns(plx_reactor_self()) - began >= 4 * late->within_ns);
    /* Nothing was taken or given, and what needs no wait comes whatever the time. */
    assert_int_equal(plx_sem_acquire_until(&late->sem, 1, 1), 0);
    assert_int_equal(plx_chan_recv_until(&late->chan, &item, 1), 0);
    assert_int_equal(item, 7);
    assert_int_equal(plx_chan_try_recv(&late->chan, &item), -EAGAIN);
    assert_int_equal(plx_gate_enter(&late->gate), -ESHUTDOWN);
    plx_gate_leave(&late->gate);
    assert_int_equal(plx_gate_close_until(&late->gate, 1), 0);
    return 0;
}

static void waits_beyond_their_deadlines_end(void **state)
{
    (void)state;
    struct task_world world = task_world_open("");
    struct late late;
    make_late(&late, SOON_NS);
    assert_int_equal(task_do(&world, wait_for_each, &late), 0);
    /* Of a time that has passed, too. */
    make_late(&late, 0);
    assert_int_equal(task_do(&world, wait_for_each, &late), 0);
    assert_int_equal(plx_sem_acquire_until(&late.sem, 2, 1), -EDEADLK);
    task_world_close(&world);
}

static int64_t wish_in_time(void *ctx)
{
    struct late *late = ctx;
    return plx_sem_acquire_until(&late->sem, 2, in(late));
}

static void wait_that_times_out_lets_the_next_pass(void **state)
{
    (void)state;
    struct task_world world = task_world_open("");
    struct late late;
    make_late(&late, SOON_NS);
    struct wish small = {.sem = &late.sem, .units = 1};
    struct plx_task *large = task_start(&world, wish_in_time, &late);
    struct plx_task *next = task_start(&world, take_units, &small);
    assert_int_equal(task_finish(&world, large), -ETIMEDOUT);
    assert_int_equal(task_finish(&world, next), 0);
    task_world_close(&world);
}

static void wait_with_a_deadline_is_served_or_cancelled_before(void **state)
{
    (void)state;
    struct task_world world = task_world_open("");
    struct late late;
    make_late(&late, NEVER_NS);
    struct plx_task *task = task_start(&world, wish_in_time, &late);
    task_turn(&world, 2);
    plx_sem_release(&late.sem, 1);
    assert_int_equal(task_finish(&world, task), 0);
    task = task_start(&world, wish_in_time, &late);
    task_turn(&world, 2);
    plx_task_cancel(task);
    assert_int_equal(task_finish(&world, task), -ECANCELED);
    task_world_close(&world);
}

static void send_late(struct plx_timer *timer, void *ctx)
{
    struct late *late = ctx;
    const uint32_t item = 5;
    (void)timer;
    assert_int_equal(plx_chan_try_send(&late->chan, &item), 0);
}

static int64_t receive_at_the_last_moment(void *ctx)
{
    struct late *late = ctx;
    uint64_t at_ns = in(late);
    plx_timer_arm(plx_reactor_self(), &late->timer, at_ns, send_late, late);
    return plx_chan_recv_until(&late->chan, &late->item, at_ns);
}

/* Both are due in one turn: the item is there when the deadline passes, and its task has yet to
 * run. */
static void wait_served_at_its_deadline_has_what_it_was_given(void **state)
{
    (void)state;
    struct task_world world = task_world_open("");
    struct late late;
    make_late(&late, SOON_NS);
    assert_int_equal(task_do(&world, receive_at_the_last_moment, &late), 0);
    assert_int_equal(late.item, 5);
    task_world_close(&world);
}

/* --- all at random ---------------------------------------------------------------------------- */

#define MIX_TASKS 24u
#define MIX_STEPS 400u

struct mix {
    struct plx_sem sem;
    struct plx_gate gate;
    struct plx_chan chan;
    uint64_t memory[5];
    uint64_t random;
    uint64_t units; /* that tasks hold */
    uint64_t sent_sum;
    uint64_t received_sum;
    uint32_t living;
};

static uint64_t draw(struct mix *mix, uint64_t below)
{
    mix->random = mix->random * 6364136223846793005u + 1442695040888963407u;
    return (mix->random >> 33) % below;
}

static void do_one(struct mix *mix)
{
    uint64_t item = 1 + draw(mix, 1000);
    uint64_t at_ns = UINT64_MAX;
    if (draw(mix, 3) == 0)
        at_ns = plx_reactor_now_ns(plx_reactor_self()) + draw(mix, 3000);
    switch (draw(mix, 6)) {
    case 0:
        if (plx_sem_acquire_until(&mix->sem, 2, at_ns) == 0) {
            mix->units += 2;
            assert_true(mix->units <= 4);
            (void)plx_task_yield();
            mix->units -= 2;
            plx_sem_release(&mix->sem, 2);
        }
        break;
    case 1:
    case 2:
        if (plx_chan_send_until(&mix->chan, &item, at_ns) == 0)
            mix->sent_sum += item;
        break;
    case 3:
    case 4:
        if (plx_chan_recv_until(&mix->chan, &item, at_ns) == 0)
            mix->received_sum += item;
        break;
    default:
        (void)plx_task_sleep(draw(mix, 3000));
        break;
    }
}

static int64_t mix_about(void *ctx)
{
    struct mix *mix = ctx;
    assert_int_equal(plx_gate_enter(&mix->gate), 0);
    for (unsigned i = 0; i < MIX_STEPS && !plx_task_is_cancelled(plx_task_self()); i++)
        do_one(mix);
    mix->living--;
    plx_gate_leave(&mix->gate);
    return 0;
}

static void random_mix_of_waits_and_cancels_adds_up(void **state)
{
    (void)state;
    struct task_world world = task_world_open("");
    static struct mix mix;
    uint64_t seed = rt_now_ns();
    print_message("seed %llu\n", (unsigned long long)seed);
    memset(&mix, 0, sizeof(mix));
    mix.random = seed;
    plx_sem_init(&mix.sem, 4);
    plx_gate_init(&mix.gate);
    assert_int_equal(plx_chan_init(&mix.chan, mix.memory, 5, sizeof(uint64_t)), 0);
    struct plx_task *tasks[MIX_TASKS];
    for (unsigned i = 0; i < MIX_TASKS; i++)
        tasks[i] = task_start(&world, mix_about, &mix);
    mix.living = MIX_TASKS;
    /* Some are cancelled on the way; the rest when no more happens by itself. */
    for (unsigned i = 0; i < 2000; i++) {
        task_turn(&world, 1);
        if (i % 100 == 99)
            plx_task_cancel(tasks[draw(&mix, MIX_TASKS)]);
    }
    for (unsigned i = 0; i < MIX_TASKS; i++)
        plx_task_cancel(tasks[i]);
    for (unsigned i = 0; i < MIX_TASKS; i++)
        assert_int_equal(task_finish(&world, tasks[i]), 0);
    assert_int_equal(mix.living, 0);
    assert_int_equal(plx_gate_close(&mix.gate), 0);
    uint64_t item;
    while (plx_chan_try_recv(&mix.chan, &item) == 0)
        mix.received_sum += item;
    assert_true(mix.sent_sum > 0);
    assert_true(mix.sent_sum == mix.received_sum);
    assert_int_equal(plx_sem_try_acquire(&mix.sem, 4), 0);
    task_world_close(&world);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(semaphore_serves_in_order_of_coming),
        cmocka_unit_test(semaphore_whose_first_waiter_is_cancelled_serves_the_next),
        cmocka_unit_test(gate_that_is_closed_waits_for_all_inside),
        cmocka_unit_test(gate_that_is_shut_lets_nothing_in),
        cmocka_unit_test(channel_passes_all_items_in_order),
        cmocka_unit_test(channel_that_is_full_or_empty_makes_wait),
        cmocka_unit_test(channel_closed_by_its_receiver_refuses_senders),
        cmocka_unit_test(channel_closed_by_its_receiver_wakes_receivers),
        cmocka_unit_test(channel_waits_that_are_cancelled_lose_no_item),
        cmocka_unit_test(channel_of_nothing_is_refused),
        cmocka_unit_test(promise_that_is_kept_wakes_its_task),
        cmocka_unit_test(promise_whose_task_is_cancelled_is_waited_for),
        cmocka_unit_test(waits_beyond_their_deadlines_end),
        cmocka_unit_test(wait_that_times_out_lets_the_next_pass),
        cmocka_unit_test(wait_with_a_deadline_is_served_or_cancelled_before),
        cmocka_unit_test(wait_served_at_its_deadline_has_what_it_was_given),
        cmocka_unit_test(random_mix_of_waits_and_cancels_adds_up),
    };
    return cmocka_run_group_tests_name("sync", tests, NULL, NULL);
}
