/* SPDX-License-Identifier: MIT */
/*
 * Two reactors on threads of their own, whose tasks spawn tasks on each other, join and cancel
 * them, and pass items through channels in both directions; at last the runtime stops in the
 * middle.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/sched/await.h"
#include "runtime/sched/far.h"
#include "runtime/sched/xchan.h"
#include "test/runtime/rt_fixture.h"

#define FARS  6u
#define SLOTS 7u

/* One reactor's, but for what the channels' threads share by their own rules. */
struct side {
    struct plx_reactor *reactor;
    uint32_t index;
    uint64_t random;
    uint64_t far_done;
    uint64_t far_refused;
    uint64_t sent;
    uint64_t received;
    struct plx_xchan *out;
    struct plx_xchan *in;
    PLX_ATOMIC(uint64_t) progress;
} PLX_ALIGNED(2 * PLX_CACHE_LINE);

static struct side sides[2];
static struct plx_xchan chans[2] PLX_ALIGNED(PLX_CACHE_LINE);
static uint64_t memory[2][SLOTS];

static uint64_t draw(struct side *side, uint64_t below)
{
    side->random = side->random * 6364136223846793005u + 1442695040888963407u;
    return (side->random >> 33) % below;
}

static void step(struct side *side)
{
    plx_store_relaxed(&side->progress, plx_load_relaxed(&side->progress) + 1);
}

/* On the other reactor. What it is given is the spawner's until it has ended. */
static int64_t work_away(void *ctx)
{
    uint64_t *value = ctx;
    uint64_t naps = *value % 4;
    int64_t rc = 0;
    for (uint64_t i = 0; i < naps && rc == 0; i++)
        rc = i % 2 == 0 ? plx_task_yield() : plx_task_sleep(20000);
    if (rc == 0)
        rc = plx_await_nop();
    *value += 1;
    return rc == 0 ? (int64_t)*value : rc;
}

static int64_t send_away(void *ctx)
{
    struct side *side = ctx;
    struct plx_far_task fars[FARS];
    uint64_t values[FARS];
    memset(fars, 0, sizeof(fars));
    while (!plx_task_is_cancelled(plx_task_self())) {
        uint32_t began = 0;
        for (; began < FARS; began++) {
            values[began] = draw(side, 1000);
            int rc = plx_far_spawn(side->reactor, &fars[began], 1 - side->index, NULL, work_away,
                                   &values[began]);
            if (rc != 0)
                break;
        }
        if (draw(side, 3) == 0 && began != 0)
            plx_far_cancel(&fars[draw(side, began)]);
        for (uint32_t i = 0; i < began; i++) {
            int64_t result = 0;
            int rc = plx_far_join(&fars[i], &result);
            side->far_done += rc == 0;
            side->far_refused += rc != 0;
            /* Cancelled, or what it has written is seen here. */
            if (rc == 0 && result != -ECANCELED && result != (int64_t)values[i])
                abort();
        }
        step(side);
        (void)plx_task_yield();
    }
    return 0;
}

static int64_t send_items(void *ctx)
{
    struct side *side = ctx;
    int rc = plx_xchan_open_send(side->out, side->reactor);
    while (rc == -EAGAIN && plx_task_yield() == 0)
        rc = plx_xchan_open_send(side->out, side->reactor);
    while (rc == 0) {
        rc = plx_xchan_send(side->out, &side->sent);
        side->sent += rc == 0;
        step(side);
    }
    plx_xchan_close_send(side->out);
    return rc;
}

static int64_t receive_items(void *ctx)
{
    struct side *side = ctx;
    uint64_t item;
    int rc = plx_xchan_open_recv(side->in, side->reactor);
    while (rc == -EAGAIN && plx_task_yield() == 0)
        rc = plx_xchan_open_recv(side->in, side->reactor);
    while (rc == 0) {
        rc = plx_xchan_recv(side->in, &item);
        if (rc == 0 && item != side->received++)
            abort();
    }
    plx_xchan_close_recv(side->in);
    return rc;
}

static int begin(struct plx_reactor *reactor, void *ctx)
{
    (void)ctx;
    static const plx_task_fn fns[] = {send_away, send_away, send_items, receive_items};
    struct side *side = &sides[plx_reactor_index(reactor)];
    side->reactor = reactor;
    struct plx_task_opts opts;
    plx_task_opts_init(&opts);
    opts.detached = true;
    int rc = 0;
    for (unsigned i = 0; i < sizeof(fns) / sizeof(fns[0]) && rc == 0; i++)
        rc = plx_task_spawn(reactor, &opts, fns[i], side, NULL);
    return rc;
}

static void run_round(const char *words, uint64_t seed, uint64_t steps)
{
    memset(sides, 0, sizeof(sides));
    for (uint32_t i = 0; i < 2; i++) {
        sides[i].index = i;
        sides[i].random = seed + i;
        sides[i].out = &chans[i];
        sides[i].in = &chans[1 - i];
        int rc = plx_xchan_init(&chans[i], i, 1 - i, memory[i], SLOTS, sizeof(uint64_t));
        assert_int_equal(rc, 0);
    }
    struct plx_runtime_opts opts;
    plx_runtime_opts_init(&opts);
    opts.on_start = begin;
    struct plx_runtime *rt = rt_create(words, &opts);
    rt_start(rt);
    for (unsigned i = 0; i < 2; i++)
        RT_UNTIL(plx_load_relaxed(&sides[i].progress) >= steps);
    rt_finish(rt);
    for (unsigned i = 0; i < 2; i++) {
        assert_true(sides[i].far_done > 0);
        assert_true(sides[i].received <= sides[1 - i].sent);
        assert_true(sides[i].received + SLOTS >= sides[1 - i].sent);
    }
}

static void tasks_of_two_reactors_agree_until_the_stop(void **state)
{
    (void)state;
    uint64_t seed = rt_now_ns();
    print_message("seed %llu\n", (unsigned long long)seed);
    uint64_t steps = getenv("POLLUX_TEST_SOAK") != NULL ? 100000 : 500;
    run_round("reactors=2", seed, steps);
    run_round("reactors=2 mesh_slots=16 backend=epoll", seed, steps);
    for (unsigned i = 0; i < 10; i++)
        run_round("reactors=2 tasks_max=7", seed + i, 3);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tasks_of_two_reactors_agree_until_the_stop),
    };
    return cmocka_run_group_tests_name("stress_tasks", tests, NULL, NULL);
}
