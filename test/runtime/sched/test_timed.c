/* SPDX-License-Identifier: MIT */
/* Ops with a deadline, in every mode: cut off, in time, cancelled, refused, and armed anew. */
#include "runtime/sched/timed.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "test/runtime/io/op_fixture.h"

#include "test/runtime/io/calls.h"

#define SOON_NS  1000000u
#define NEVER_NS UINT64_C(3600000000000)

/* A timed op and its events. */
struct watched {
    struct plx_op_timed timed;
    struct world *world;
    unsigned events;
    unsigned terminals;
    struct plx_event first;
    struct plx_event last;
    unsigned rounds; /* how often it is to be submitted anew */
};

static int pair[2];
static char byte;

static void open_pair(void)
{
    make_pair(SOCK_STREAM, pair);
}

static void close_pair(struct world *world)
{
    world_close_fd(world, pair[0]);
    world_close_fd(world, pair[1]);
}

static void note(struct plx_op *op, const struct plx_event *event, void *ctx)
{
    struct watched *watched = ctx;
    assert_ptr_equal(op, &watched->timed.op);
    assert_int_equal(watched->terminals, 0);
    if (watched->events++ == 0)
        watched->first = *event;
    watched->last = *event;
    if ((event->flags & PLX_EV_MORE) != 0)
        return;
    /* The op is the caller's again as it was prepared, and its timer at rest. */
    assert_ptr_equal(op->fn, note);
    assert_ptr_equal(op->ctx, watched);
    assert_false(plx_timer_is_armed(&watched->timed.timer));
    watched->terminals++;
}

static void receive(struct watched *watched, struct world *world, uint64_t in_ns)
{
    watched->world = world;
    plx_op_recv(&watched->timed.op, pair[0], &byte, 1, 0, note, watched);
    uint64_t at_ns = plx_reactor_now_ns(world->reactor) + in_ns;
    assert_int_equal(plx_op_submit_timed(world->reactor, &watched->timed, at_ns), 0);
}

static void expect(struct watched *watched, int32_t result, uint16_t flags)
{
    WORLD_UNTIL(watched->world, watched->terminals == 1);
    assert_int_equal(watched->last.result, result);
    assert_int_equal(watched->last.flags, flags);
}

static void op_past_its_deadline_is_cut_off(void **state)
{
    struct world *world = *state;
    struct watched watched = {0};
    open_pair();
    receive(&watched, world, SOON_NS);
    expect(&watched, -ECANCELED, PLX_EV_TIMED_OUT);
    /* Nothing was taken from the socket. */
    assert_int_equal(send(pair[1], "x", 1, 0), 1);
    struct watched next = {0};
    receive(&next, world, NEVER_NS);
    expect(&next, 1, 0);
    close_pair(world);
}

static void deadline_in_the_past_cuts_off_at_once(void **state)
{
    struct world *world = *state;
    struct watched watched = {.world = world};
    open_pair();
    plx_op_recv(&watched.timed.op, pair[0], &byte, 1, 0, note, &watched);
    assert_int_equal(plx_op_submit_timed(world->reactor, &watched.timed, 0), 0);
    assert_int_equal(watched.events, 0);
    expect(&watched, -ECANCELED, PLX_EV_TIMED_OUT);
    close_pair(world);
}

static void op_in_time_disarms_its_deadline(void **state)
{
    struct world *world = *state;
    struct watched watched = {0};
    open_pair();
    receive(&watched, world, NEVER_NS);
    assert_true(plx_timer_is_armed(&watched.timed.timer));
    assert_int_equal(send(pair[1], "x", 1, 0), 1);
    expect(&watched, 1, 0);
    close_pair(world);
}

static void op_that_fails_is_not_taken_for_cut_off(void **state)
{
    struct world *world = *state;
    struct watched watched = {.world = world};
    int fd = dup(0);
    close(fd);
    plx_op_recv(&watched.timed.op, fd, &byte, 1, 0, note, &watched);
    uint64_t at_ns = plx_reactor_now_ns(world->reactor) + NEVER_NS;
    assert_int_equal(plx_op_submit_timed(world->reactor, &watched.timed, at_ns), 0);
    expect(&watched, -EBADF, 0);
}

static void cancel_by_the_caller_is_not_taken_for_cut_off(void **state)
{
    struct world *world = *state;
    struct watched watched = {0};
    open_pair();
    receive(&watched, world, NEVER_NS);
    world_settle(world);
    plx_op_cancel(world->reactor, &watched.timed.op);
    expect(&watched, -ECANCELED, 0);

    /* Also when the deadline passes between the cancel and its event. */
    struct watched late = {.world = world};
    plx_op_recv(&late.timed.op, pair[0], &byte, 1, 0, note, &late);
    uint64_t at_ns = plx_reactor_now_ns(world->reactor);
    assert_int_equal(plx_op_submit_timed(world->reactor, &late.timed, at_ns), 0);
    plx_op_cancel(world->reactor, &late.timed.op);
    expect(&late, -ECANCELED, 0);
    close_pair(world);
}

static void submit_refused_leaves_the_op_as_it_was(void **state)
{
    struct world *world = *state;
    struct watched watched = {0};
    plx_op_recv(&watched.timed.op, -1, &byte, 1, 0, note, &watched);
    assert_int_equal(plx_op_submit_timed(world->reactor, &watched.timed, 0), -EBADF);
    assert_ptr_equal(watched.timed.op.fn, note);
    assert_ptr_equal(watched.timed.op.ctx, &watched);
    assert_int_equal(plx_op_state(&watched.timed.op), PLX_OP_IDLE);
    assert_false(plx_timer_is_armed(&watched.timed.timer));
    world_settle(world);
    assert_int_equal(watched.events, 0);
}

/* The deadline is that of the whole life, and events before it pass through. */
static void multishot_is_cut_off_after_its_events(void **state)
{
    struct world *world = *state;
    struct watched watched = {.world = world};
    struct sockaddr_in addr;
    int listener = make_listener(&addr, 4);
    plx_op_accept(&watched.timed.op, listener, 0, PLX_MULTISHOT, note, &watched);
    uint64_t at_ns = plx_reactor_now_ns(world->reactor) + 50 * SOON_NS;
    assert_int_equal(plx_op_submit_timed(world->reactor, &watched.timed, at_ns), 0);
    int client = make_client(&addr);
    WORLD_UNTIL(world, watched.events >= 1);
    /* On a slow machine the deadline may have come first; single shots end with the connection. */
    if (watched.first.result < 0 || (watched.first.flags & PLX_EV_MORE) != 0)
        expect(&watched, -ECANCELED, PLX_EV_TIMED_OUT);
    if (watched.first.result >= 0)
        world_close_fd(world, watched.first.result);
    world_close_fd(world, client);
    world_close_fd(world, listener);
}

static void submit_again(struct plx_op *op, const struct plx_event *event, void *ctx)
{
    struct watched *watched = ctx;
    assert_int_equal(event->result, -ECANCELED);
    assert_int_equal(event->flags, PLX_EV_TIMED_OUT);
    watched->events++;
    if (watched->events == watched->rounds) {
        watched->terminals++;
        return;
    }
    plx_op_recv(op, pair[0], &byte, 1, 0, submit_again, watched);
    uint64_t at_ns = plx_reactor_now_ns(watched->world->reactor) + SOON_NS / 10;
    assert_int_equal(plx_op_submit_timed(watched->world->reactor, &watched->timed, at_ns), 0);
}

static void op_submitted_anew_in_its_callback_gets_another_deadline(void **state)
{
    struct world *world = *state;
    struct watched watched = {.world = world, .rounds = 20};
    open_pair();
    plx_op_recv(&watched.timed.op, pair[0], &byte, 1, 0, submit_again, &watched);
    uint64_t at_ns = plx_reactor_now_ns(world->reactor);
    assert_int_equal(plx_op_submit_timed(world->reactor, &watched.timed, at_ns), 0);
    WORLD_UNTIL(world, watched.terminals == 1);
    assert_int_equal(watched.events, 20);
    close_pair(world);
}

/* Many with deadlines in any order; each ends once, in time or cut off. */
static void many_with_deadlines_end_once_each(void **state)
{
    struct world *world = *state;
    static struct watched watched[64];
    static int pairs[64][2];
    memset(watched, 0, sizeof(watched));
    for (unsigned i = 0; i < 64; i++) {
        make_pair(SOCK_STREAM, pairs[i]);
        pair[0] = pairs[i][0];
        receive(&watched[i], world, i % 2 != 0 ? NEVER_NS : (uint64_t)(i * 7 % 64) * SOON_NS / 8);
    }
    for (unsigned i = 1; i < 64; i += 2)
        assert_int_equal(send(pairs[i][1], "x", 1, 0), 1);
    for (unsigned i = 0; i < 64; i++) {
        if (i % 2 != 0)
            expect(&watched[i], 1, 0);
        else
            expect(&watched[i], -ECANCELED, PLX_EV_TIMED_OUT);
        world_close_fd(world, pairs[i][0]);
        world_close_fd(world, pairs[i][1]);
    }
}

int main(void)
{
    const struct CMUnitTest cases[] = {
        WORLD_CASE(op_past_its_deadline_is_cut_off),
        WORLD_CASE(deadline_in_the_past_cuts_off_at_once),
        WORLD_CASE(op_in_time_disarms_its_deadline),
        WORLD_CASE(op_that_fails_is_not_taken_for_cut_off),
        WORLD_CASE(cancel_by_the_caller_is_not_taken_for_cut_off),
        WORLD_CASE(submit_refused_leaves_the_op_as_it_was),
        WORLD_CASE(multishot_is_cut_off_after_its_events),
        WORLD_CASE(op_submitted_anew_in_its_callback_gets_another_deadline),
        WORLD_CASE(many_with_deadlines_end_once_each),
    };
    return run_modes(cases, sizeof(cases) / sizeof(*cases));
}
