/* SPDX-License-Identifier: MIT */
/* How reactors end: with work in flight, with one that hangs, alone, and twice. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "runtime/runtime_internal.h"
#include "test/runtime/io/seen.h"
#include "test/runtime/rt_fixture.h"

#define SHORT_NS 500000000u

/* What a reactor has of a test's things; its thread's until stop has returned. */
struct charge {
    struct plx_op ops[8];
    int32_t results[8];
    unsigned events[8];
    unsigned count;
    int fds[6];
    uint8_t room[64];
    struct plx_poller poller;
    struct plx_timer timer;
    struct plx__deferred deferred;
    struct plx__stopper stopper;
    unsigned stops;
    int rc;
} PLX_ALIGNED(2 * PLX_CACHE_LINE);

static struct charge charges[2];

static void on_stop(struct plx_reactor *reactor, void *ctx)
{
    (void)ctx;
    charges[plx_reactor_index(reactor)].stops++;
}

static struct plx_runtime_opts noting(int (*on_start)(struct plx_reactor *, void *))
{
    struct plx_runtime_opts opts;
    plx_runtime_opts_init(&opts);
    opts.on_start = on_start;
    opts.on_stop = on_stop;
    memset(charges, 0, sizeof(charges));
    return opts;
}

static struct charge *charge_of(struct plx_reactor *reactor)
{
    return &charges[plx_reactor_index(reactor)];
}

/* --- with work in flight ---------------------------------------------------------------------- */

static void note(struct plx_op *op, const struct plx_event *event, void *ctx)
{
    struct charge *charge = ctx;
    size_t i = (size_t)(op - charge->ops);
    charge->results[i] = event->result;
    charge->events[i]++;
}

static int submit_what_never_ends(struct plx_reactor *reactor, void *ctx)
{
    (void)ctx;
    struct charge *c = charge_of(reactor);
    plx_op_recv(&c->ops[0], c->fds[0], c->room, sizeof(c->room), 0, note, c);
    plx_op_recv(&c->ops[1], c->fds[0], c->room, sizeof(c->room), 0, note, c);
    plx_op_poll(&c->ops[2], c->fds[1], POLLPRI, note, c);
    plx_op_accept(&c->ops[3], c->fds[2], SOCK_CLOEXEC, PLX_MULTISHOT, note, c);
    plx_op_accept(&c->ops[4], c->fds[2], SOCK_CLOEXEC, 0, note, c);
    for (c->count = 0; c->count < 5; c->count++) {
        int rc = plx_op_submit(reactor, &c->ops[c->count]);
        if (rc != 0)
            return rc;
    }
    return 0;
}

static void expect_stopped_in_flight(const char *words)
{
    struct rt_things before = rt_count_things();
    struct plx_runtime_opts opts = noting(submit_what_never_ends);
    struct sockaddr_in addr;
    for (unsigned i = 0; i < 2; i++) {
        make_pair(SOCK_STREAM, charges[i].fds);
        charges[i].fds[2] = make_listener(&addr, 8);
    }
    struct plx_runtime *rt = rt_create(words, &opts);
    rt_start(rt);
    rt_finish(rt);
    for (unsigned i = 0; i < 2; i++) {
        assert_int_equal(charges[i].count, 5);
        assert_int_equal(charges[i].stops, 1);
        for (unsigned k = 0; k < 5; k++) {
            assert_int_equal(charges[i].events[k], 1);
            assert_int_equal(charges[i].results[k], -ECANCELED);
            assert_int_equal(plx_op_state(&charges[i].ops[k]), PLX_OP_DONE);
        }
        for (unsigned k = 0; k < 3; k++)
            close(charges[i].fds[k]);
    }
    rt_expect_things(&before);
}

static void stop_with_ops_in_flight_cancels_each_once(void **state)
{
    (void)state;
    expect_stopped_in_flight("reactors=2");
}

static void stop_with_ops_in_flight_on_sqpoll_cancels_each_once(void **state)
{
    (void)state;
    rt_need_uring();
    if (rt_cpus_allowed() < 2) {
        print_message("skipped: an SQ thread needs a CPU of its own\n");
        skip();
    }
    expect_stopped_in_flight("reactors=2 sqpoll=on sqpoll_cpus=1 sqpoll_idle=5ms");
}

static void stop_with_ops_in_flight_on_epoll_cancels_each_once(void **state)
{
    (void)state;
    expect_stopped_in_flight("reactors=2 backend=epoll");
}

static uint32_t stay_busy(struct plx_poller *poller, void *ctx)
{
    (void)poller;
    (void)ctx;
    return 1;
}

static void rearm(struct plx_timer *timer, void *ctx)
{
    plx_timer_arm(ctx, timer, 1, rearm, ctx);
}

/* Closes its descriptor from a deferred call, as the net layer does, once it is told of the end. */
static void close_deferred(struct plx__deferred *deferred, void *ctx)
{
    struct plx_reactor *reactor = ctx;
    struct charge *c = PLX_CONTAINER(deferred, struct charge, deferred);
    plx_op_close(&c->ops[1], c->fds[0], note, c);
    c->rc = plx_op_submit(reactor, &c->ops[1]);
}

/* The receive's end, while the reactor drains. */
static void defer_at_last(struct plx_op *op, const struct plx_event *event, void *ctx)
{
    struct charge *c = ctx;
    note(op, event, ctx);
    plx__reactor_defer(plx_reactor_self(), &c->deferred, close_deferred, plx_reactor_self());
}

static int work_without_end(struct plx_reactor *reactor, void *ctx)
{
    (void)ctx;
    struct charge *c = charge_of(reactor);
    plx_poller_arm(reactor, &c->poller, stay_busy, NULL);
    plx_timer_arm(reactor, &c->timer, 1, rearm, reactor);
    plx_op_recv(&c->ops[0], c->fds[0], c->room, sizeof(c->room), 0, defer_at_last, c);
    return plx_op_submit(reactor, &c->ops[0]);
}

static void stop_sees_closes_of_deferred_calls_through(void **state)
{
    (void)state;
    static const char *const words[] = {"reactors=2", "reactors=2 backend=epoll"};
    for (unsigned i = 0; i < 2; i++) {
        struct rt_things before = rt_count_things();
        struct plx_runtime_opts opts = noting(work_without_end);
        make_pair(SOCK_STREAM, charges[0].fds);
        make_pair(SOCK_STREAM, charges[1].fds);
        struct plx_runtime *rt = rt_create(words[i], &opts);
        rt_start(rt);
        rt_finish(rt);
        for (unsigned k = 0; k < 2; k++) {
            assert_int_equal(charges[k].results[0], -ECANCELED);
            assert_int_equal(charges[k].rc, 0);
            assert_int_equal(charges[k].events[1], 1);
            assert_int_equal(charges[k].results[1], 0);
            assert_int_equal(close(charges[k].fds[1]), 0);
        }
        /* Neither closed nor left: the descriptors are as many as before. */
        rt_expect_things(&before);
    }
}

static void submit_at_the_end(struct plx_reactor *reactor, void *ctx)
{
    (void)ctx;
    struct charge *c = charge_of(reactor);
    plx_op_nop(&c->ops[0], note, c);
    c->results[0] = plx_op_submit(reactor, &c->ops[0]);
    plx_op_close(&c->ops[1], c->fds[0], note, c);
    c->results[1] = plx_op_submit(reactor, &c->ops[1]);
    c->results[2] = plx_mesh_post(reactor, 0, NULL, NULL, 0);
}

static void ops_and_posts_of_a_drained_reactor_are_refused(void **state)
{
    (void)state;
    struct plx_runtime_opts opts = noting(NULL);
    opts.on_stop = submit_at_the_end;
    make_pair(SOCK_STREAM, charges[0].fds);
    struct plx_runtime *rt = rt_create("", &opts);
    rt_start(rt);
    rt_finish(rt);
    for (unsigned i = 0; i < 3; i++) {
        assert_int_equal(charges[0].results[i], -ESHUTDOWN);
        assert_int_equal(charges[0].events[i], 0);
    }
    assert_int_equal(close(charges[0].fds[0]), 0);
    assert_int_equal(close(charges[0].fds[1]), 0);
}

/* --- with one that hangs ---------------------------------------------------------------------- */

/*
 * What did not end is never freed. That it stays reachable tells a leak detector that it is meant.
 */
static struct plx_runtime *never_freed[8];
static unsigned never_freed_count;

static sem_t release;
static PLX_ATOMIC(uint32_t) hanging;

/*
 * Lets a thread that was given up go on, and sees it leave. The look orders what it did before what
 * this thread does next, as joining would have: the kernel gives its ring's addresses out again.
 */
static void let_leave(struct plx_runtime *rt, uint32_t index)
{
    assert_int_equal(sem_post(&release), 0);
    RT_UNTIL(plx_load_acquire(&rt->slots[index].left) == 1);
}

static void hang(struct plx_reactor *here, const void *body)
{
    (void)here;
    (void)body;
    plx_store_release(&hanging, 1);
    while (sem_wait(&release) != 0)
        continue;
}

static int hang_the_second(struct plx_reactor *reactor, void *ctx)
{
    (void)ctx;
    if (plx_reactor_index(reactor) != 1)
        return 0;
    return plx_mesh_post(reactor, 1, hang, NULL, 0);
}

static void stop_with_a_reactor_that_hangs_names_it_and_ends_the_others(void **state)
{
    (void)state;
    struct rt_things before = rt_count_things();
    struct plx_runtime_opts opts = noting(hang_the_second);
    assert_int_equal(sem_init(&release, 0, 0), 0);
    plx_store_relaxed(&hanging, 0);
    struct plx_runtime *rt = rt_create("reactors=2", &opts);
    never_freed[never_freed_count++] = rt;
    rt_start(rt);
    RT_UNTIL(plx_load_acquire(&hanging) == 1);

    struct plx_diag diag = {0};
    uint64_t began = rt_now_ns();
    assert_int_equal(plx_runtime_stop(rt, SHORT_NS, &diag), -ETIMEDOUT);
    assert_true(rt_now_ns() - began >= SHORT_NS);
    assert_true(rt_now_ns() - began < RT_PATIENCE_NS);
    assert_string_equal(diag.what, "reactor");
    assert_non_null(strstr(diag.text, "reactor 1"));
    /* The first has ended as it should. */
    assert_int_equal(charges[0].stops, 1);
    assert_null(plx_runtime_reactor(rt, 0));
    assert_null(plx_runtime_reactor(rt, 1));
    /* Asked again, it has not ended any better. */
    struct plx_diag again = {0};
    assert_int_equal(plx_runtime_stop(rt, RT_PATIENCE_NS, &again), -ETIMEDOUT);
    assert_string_equal(again.what, "reactor");
    assert_string_equal(again.text, diag.text);
    plx_runtime_destroy(rt);

    /* It comes back to a world that has gone on, and leaves. */
    let_leave(rt, 1);
    rt_expect_things(&before);
    assert_int_equal(charges[1].stops, 0);
    assert_int_equal(sem_destroy(&release), 0);
}

/* Never at rest: what is put off to the end of the turn is put off again. */
static void put_off(struct plx__deferred *deferred, void *ctx)
{
    plx__reactor_defer(ctx, deferred, put_off, ctx);
}

static int put_off_the_first(struct plx_reactor *reactor, void *ctx)
{
    (void)ctx;
    if (plx_reactor_index(reactor) == 0)
        plx__reactor_defer(reactor, &charges[0].deferred, put_off, reactor);
    return 0;
}

static void stop_with_a_reactor_that_cannot_drain_names_it_and_closes_its_ring(void **state)
{
    (void)state;
    struct rt_things before = rt_count_things();
    struct plx_runtime_opts opts = noting(put_off_the_first);
    struct plx_runtime *rt = rt_create("reactors=2", &opts);
    never_freed[never_freed_count++] = rt;
    rt_start(rt);
    struct plx_diag diag = {0};
    assert_int_equal(plx_runtime_stop(rt, SHORT_NS, &diag), -ETIMEDOUT);
    assert_non_null(strstr(diag.text, "reactor 0"));
    assert_int_equal(charges[0].stops, 0);
    assert_int_equal(charges[1].stops, 1);
    plx_runtime_destroy(rt);
    rt_expect_things(&before);
}

static void hang_at_the_end(struct plx_reactor *reactor, void *ctx)
{
    (void)reactor;
    (void)ctx;
    plx_store_release(&hanging, 1);
    while (sem_wait(&release) != 0)
        continue;
}

static void stop_with_an_on_stop_that_hangs_names_the_reactor(void **state)
{
    (void)state;
    struct rt_things before = rt_count_things();
    struct plx_runtime_opts opts = noting(NULL);
    opts.on_stop = hang_at_the_end;
    assert_int_equal(sem_init(&release, 0, 0), 0);
    struct plx_runtime *rt = rt_create("", &opts);
    never_freed[never_freed_count++] = rt;
    rt_start(rt);
    struct plx_diag diag = {0};
    assert_int_equal(plx_runtime_stop(rt, SHORT_NS, &diag), -ETIMEDOUT);
    assert_non_null(strstr(diag.text, "reactor 0"));
    plx_runtime_destroy(rt);
    let_leave(rt, 0);
    rt_expect_things(&before);
    assert_int_equal(sem_destroy(&release), 0);
}

/* --- adopted ---------------------------------------------------------------------------------- */

static void stop_with_an_adopted_reactor_not_polled_names_it(void **state)
{
    (void)state;
    struct rt_things before = rt_count_things();
    struct plx_runtime_opts opts = noting(NULL);
    struct plx_runtime *rt = rt_create("reactors=2", &opts);
    struct plx_reactor *mine = rt_adopt(rt, 1);
    rt_start(rt);
    struct plx_diag diag = {0};
    assert_int_equal(plx_runtime_stop(rt, SHORT_NS, &diag), -ETIMEDOUT);
    assert_non_null(strstr(diag.text, "reactor 1"));
    assert_int_equal(charges[0].stops, 1);
    /* Its thread may end it yet. */
    rt_abandon(mine);
    plx_runtime_destroy(rt);
    rt_expect_things(&before);
}

static uint32_t request_stop(struct plx_poller *poller, void *ctx)
{
    (void)ctx;
    plx_runtime_request_stop(plx_reactor_runtime(plx_reactor_self()));
    plx_poller_disarm(plx_reactor_self(), poller);
    return 1;
}

static void *stop_when_asked(void *argument)
{
    if (plx_runtime_wait(argument, RT_PATIENCE_NS) != 0)
        return argument;
    return (void *)(intptr_t)plx_runtime_stop(argument, RT_PATIENCE_NS, NULL);
}

static void stop_by_another_thread_takes_a_polled_adopted_reactor_along(void **state)
{
    (void)state;
    struct rt_things before = rt_count_things();
    struct plx_runtime_opts opts = noting(NULL);
    struct plx_runtime *rt = rt_create("reactors=2", &opts);
    struct plx_reactor *mine = rt_adopt(rt, 0);
    rt_start(rt);
    pthread_t stopper;
    assert_int_equal(pthread_create(&stopper, NULL, stop_when_asked, rt), 0);
    struct plx_poller poller = {0};
    plx_poller_arm(mine, &poller, request_stop, NULL);
    RT_TURN_UNTIL(mine, plx_runtime_reactor(rt, 1) == NULL);
    rt_abandon(mine);
    void *rc = rt;
    assert_int_equal(pthread_join(stopper, &rc), 0);
    assert_null(rc);
    assert_int_equal(charges[1].stops, 1);
    plx_runtime_destroy(rt);
    rt_expect_things(&before);
}

static void abandon_of_a_reactor_that_cannot_drain_times_out(void **state)
{
    (void)state;
    struct rt_things before = rt_count_things();
    struct plx_runtime_opts opts = noting(NULL);
    struct plx_runtime *rt = rt_create("", &opts);
    never_freed[never_freed_count++] = rt;
    struct plx_reactor *mine = rt_adopt(rt, 0);
    plx__reactor_defer(mine, &charges[0].deferred, put_off, mine);
    assert_int_equal(plx_reactor_abandon(mine, 20000000), -ETIMEDOUT);
    assert_null(plx_runtime_reactor(rt, 0));
    plx_runtime_destroy(rt);
    rt_expect_things(&before);
}

static void abandon_with_ops_in_flight_cancels_and_calls(void **state)
{
    (void)state;
    struct rt_things before = rt_count_things();
    struct plx_runtime_opts opts = noting(NULL);
    struct sockaddr_in addr;
    make_pair(SOCK_STREAM, charges[0].fds);
    charges[0].fds[2] = make_listener(&addr, 8);
    struct plx_runtime *rt = rt_create("reactors=2", &opts);
    struct plx_reactor *mine = rt_adopt(rt, 0);
    assert_int_equal(submit_what_never_ends(mine, NULL), 0);
    rt_abandon(mine);
    for (unsigned k = 0; k < 5; k++) {
        assert_int_equal(charges[0].events[k], 1);
        assert_int_equal(charges[0].results[k], -ECANCELED);
    }
    for (unsigned k = 0; k < 3; k++)
        close(charges[0].fds[k]);
    plx_runtime_destroy(rt);
    rt_expect_things(&before);
}

static void stop_of_what_does_not_run_is_harmless(void **state)
{
    (void)state;
    struct plx_diag diag = {0};
    struct plx_runtime *rt = rt_create("reactors=2", NULL);
    assert_int_equal(plx_runtime_stop(rt, 0, &diag), 0);
    assert_int_equal(plx_runtime_stop(rt, UINT64_MAX, &diag), 0);
    assert_true(plx_runtime_is_stopping(rt));
    plx_runtime_destroy(rt);

    rt = rt_create("reactors=2", NULL);
    rt_start(rt);
    assert_int_equal(plx_runtime_stop(rt, UINT64_MAX, &diag), 0);
    assert_int_equal(plx_runtime_stop(rt, 0, &diag), 0);
    plx_runtime_destroy(rt);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(stop_with_ops_in_flight_cancels_each_once),
        cmocka_unit_test(stop_with_ops_in_flight_on_sqpoll_cancels_each_once),
        cmocka_unit_test(stop_with_ops_in_flight_on_epoll_cancels_each_once),
        cmocka_unit_test(stop_sees_closes_of_deferred_calls_through),
        cmocka_unit_test(ops_and_posts_of_a_drained_reactor_are_refused),
        cmocka_unit_test(stop_with_a_reactor_that_hangs_names_it_and_ends_the_others),
        cmocka_unit_test(stop_with_a_reactor_that_cannot_drain_names_it_and_closes_its_ring),
        cmocka_unit_test(stop_with_an_on_stop_that_hangs_names_the_reactor),
        cmocka_unit_test(stop_with_an_adopted_reactor_not_polled_names_it),
        cmocka_unit_test(stop_by_another_thread_takes_a_polled_adopted_reactor_along),
        cmocka_unit_test(abandon_of_a_reactor_that_cannot_drain_times_out),
        cmocka_unit_test(abandon_with_ops_in_flight_cancels_and_calls),
        cmocka_unit_test(stop_of_what_does_not_run_is_harmless),
    };
    return cmocka_run_group_tests_name("runtime, stopping", tests, NULL, NULL);
}
