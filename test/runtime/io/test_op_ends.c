/* SPDX-License-Identifier: MIT */
/*
 * How ops end other than by doing their work, in every mode: closed, cancelled, refused at a full
 * ring, stopped with the reactor. Each has exactly one terminal event.
 */
#include "test/runtime/io/op_fixture.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "test/runtime/io/calls.h"

#define RACES 300u
#define PAIRS 24u

static void submit_recv(struct world *world, struct seen *seen, int fd, char *byte)
{
    plx_op_recv(&seen->op, fd, byte, 1, 0, seen_note, seen);
    world_submit(world, seen);
}

/* --- close ------------------------------------------------------------------------------------ */

static void close_of_an_idle_descriptor_closes_it(void **state)
{
    struct world *world = *state;
    int pair[2];
    char byte;
    make_pair(SOCK_STREAM, pair);
    struct seen seen = {0};
    plx_op_close(&seen.op, pair[0], seen_note, &seen);
    world_run(world, &seen, 0);
    assert_false(is_open(pair[0]));
    assert_int_equal(read(pair[1], &byte, 1), 0);
    close(pair[1]);
}

static void close_waits_for_the_ops_that_name_the_descriptor(void **state)
{
    struct world *world = *state;
    int pair[2];
    char byte;
    make_pair(SOCK_STREAM, pair);
    struct seen first = {0};
    struct seen second = {0};
    submit_recv(world, &first, pair[0], &byte);
    submit_recv(world, &second, pair[0], &byte);
    struct seen closing = {0};
    plx_op_close(&closing.op, pair[0], seen_note, &closing);
    world_submit(world, &closing);
    world_settle(world);
    assert_int_equal(closing.events, 0);
    assert_true(is_open(pair[0]));

    /* Nothing new is admitted meanwhile, and a close cannot be cancelled. */
    struct seen late = {0};
    plx_op_send(&late.op, pair[0], "x", 1, 0, PLX_INLINE, seen_note, &late);
    assert_int_equal(world_try_submit(world, &late.op), -EBADF);
    plx_op_close(&late.op, pair[0], seen_note, &late);
    assert_int_equal(world_try_submit(world, &late.op), -EBADF);
    world_cancel(world, &closing);

    world_cancel(world, &first);
    world_expect(world, &first, -ECANCELED);
    world_settle(world);
    assert_int_equal(closing.events, 0);
    put_text(pair[1], "x");
    world_expect(world, &second, 1);
    world_expect(world, &closing, 0);
    assert_true(closing.order > second.order);
    assert_false(is_open(pair[0]));
    assert_int_equal(late.events, 0);
    close(pair[1]);
}

static void number_closed_is_used_again(void **state)
{
    struct world *world = *state;
    char byte = 0;
    int number = -1;
    for (unsigned i = 0; i < 20; i++) {
        int pair[2];
        make_pair(SOCK_STREAM, pair);
        if (number >= 0)
            assert_int_equal(pair[0], number);
        number = pair[0];
        struct seen seen = {0};
        submit_recv(world, &seen, pair[0], &byte);
        world_turn(world);
        char sent[] = {(char)('a' + i), '\0'};
        put_text(pair[1], sent);
        world_expect(world, &seen, 1);
        assert_int_equal(byte, 'a' + (char)i);
        world_close_fd(world, pair[0]);
        close(pair[1]);
    }
}

/* The kernel has closed, and the event that says so is not delivered: the number is anybody's. */
static void number_given_anew_before_the_close_is_reported_works_a_turn_later(void **state)
{
    struct world *world = *state;
    int old[2];
    int fresh[2];
    make_pair(SOCK_STREAM, old);
    struct seen closing = {0};
    plx_op_close(&closing.op, old[0], seen_note, &closing);
    world_submit(world, &closing);
    plx_reactor_flush(world->reactor);
    /* epoll closes in the turn that reports it. */
    uint64_t deadline = plx_reactor_now_ns(world->reactor) + 10000000000u;
    while (!world->is_epoll && is_open(old[0])) {
        sched_yield();
        assert_true(plx_reactor_now_ns(world->reactor) < deadline);
    }
    make_pair(SOCK_STREAM, fresh);
    assert_int_equal(fresh[0] == old[0], !world->is_epoll);

    struct seen seen = {0};
    char byte = 0;
    plx_op_recv(&seen.op, fresh[0], &byte, 1, 0, seen_note, &seen);
    int rc = world_try_submit(world, &seen.op);
    assert_int_equal(rc, world->is_epoll ? 0 : -EAGAIN);
    world_expect(world, &closing, 0);
    if (rc != 0)
        world_submit(world, &seen);
    put_text(fresh[1], "x");
    world_expect(world, &seen, 1);
    world_close_fd(world, fresh[0]);
    close(fresh[1]);
    close(old[1]);
}

struct chain {
    struct world *world;
    struct seen closing;
    int fd;
};

static void close_next(struct plx_op *op, const struct plx_event *event, void *ctx)
{
    (void)op;
    (void)event;
    struct chain *chain = ctx;
    plx_op_close(&chain->closing.op, chain->fd, seen_note, &chain->closing);
    world_submit(chain->world, &chain->closing);
}

static void close_from_the_callback_of_the_last_op_works(void **state)
{
    struct world *world = *state;
    int pair[2];
    char byte;
    make_pair(SOCK_STREAM, pair);
    struct chain chain = {.world = world, .fd = pair[0]};
    struct plx_op op;
    plx_op_recv(&op, pair[0], &byte, 1, 0, close_next, &chain);
    assert_int_equal(plx_op_submit(world->reactor, &op), 0);
    world_turn(world);
    put_text(pair[1], "x");
    WORLD_UNTIL(world, chain.closing.terminals == 1);
    seen_expect(&chain.closing, 0);
    assert_false(is_open(pair[0]));
    close(pair[1]);
}

/* --- cancel ----------------------------------------------------------------------------------- */

static void cancel_of_what_is_not_in_flight_does_nothing(void **state)
{
    struct world *world = *state;
    struct seen seen = {0};
    plx_op_nop(&seen.op, seen_note, &seen);
    world_cancel(world, &seen);
    world_settle(world);
    assert_int_equal(seen.events, 0);
    assert_int_equal(plx_op_state(&seen.op), PLX_OP_IDLE);
    world_run(world, &seen, 0);
    world_cancel(world, &seen);
    world_settle(world);
    seen_expect(&seen, 0);
}

static void cancel_ends_what_waits(void **state)
{
    struct world *world = *state;
    int pair[2];
    int ends[2];
    char byte;
    make_pair(SOCK_STREAM, pair);
    assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
    fill_socket(pair[0]);
    struct sockaddr_in addr;
    int listener = make_listener(&addr, 8);
    struct seen seen[5] = {0};
    plx_op_recv(&seen[0].op, pair[0], &byte, 1, 0, seen_note, &seen[0]);
    plx_op_send(&seen[1].op, pair[0], "x", 1, 0, PLX_QUEUED, seen_note, &seen[1]);
    plx_op_read(&seen[2].op, ends[0], &byte, 1, PLX_OFFSET_CURRENT, seen_note, &seen[2]);
    plx_op_accept(&seen[3].op, listener, 0, 0, seen_note, &seen[3]);
    plx_op_poll(&seen[4].op, pair[0], POLLIN, seen_note, &seen[4]);
    for (unsigned i = 0; i < 5; i++)
        world_submit(world, &seen[i]);
    world_settle(world);
    for (unsigned i = 0; i < 5; i++) {
        assert_int_equal(seen[i].events, 0);
        world_cancel(world, &seen[i]);
        /* Once more, before and after the kernel has heard of it. */
        world_cancel(world, &seen[i]);
        world_turn(world);
        world_cancel(world, &seen[i]);
    }
    for (unsigned i = 0; i < 5; i++)
        world_expect(world, &seen[i], -ECANCELED);
    world_settle(world);
    for (unsigned i = 0; i < 5; i++)
        seen_expect(&seen[i], -ECANCELED);
    world_close_fd(world, pair[0]);
    world_close_fd(world, ends[0]);
    world_close_fd(world, listener);
    close(pair[1]);
    close(ends[1]);
}

static void cancel_before_anything_happened_ends_the_op(void **state)
{
    struct world *world = *state;
    int pair[2];
    char byte;
    make_pair(SOCK_STREAM, pair);
    struct seen seen = {0};
    submit_recv(world, &seen, pair[0], &byte);
    world_cancel(world, &seen);
    assert_int_equal(
        plx_op_state(&seen.op) == PLX_OP_CANCELLING || plx_op_state(&seen.op) == PLX_OP_ENDING, 1);
    world_expect(world, &seen, -ECANCELED);
    world_close_fd(world, pair[0]);
    close(pair[1]);
}

struct canceller {
    struct world *world;
    struct seen *victims;
    unsigned count;
};

static void cancel_victims(struct plx_op *op, const struct plx_event *event, void *ctx)
{
    (void)op;
    (void)event;
    struct canceller *canceller = ctx;
    for (unsigned i = 0; i < canceller->count; i++)
        world_cancel(canceller->world, &canceller->victims[i]);
}

static void cancel_between_completion_and_delivery_leaves_one_event(void **state)
{
    struct world *world = *state;
    int pair[2];
    char byte[4];
    make_pair(SOCK_SEQPACKET, pair);
    struct seen victims[4] = {0};
    struct canceller canceller = {.world = world, .victims = victims, .count = 4};
    struct plx_op first;
    for (unsigned i = 0; i < 2; i++)
        put_text(pair[1], "x");
    /* All are there at the same time: the first one's callback cancels the rest of its batch. */
    plx_op_nop(&first, cancel_victims, &canceller);
    assert_int_equal(plx_op_submit(world->reactor, &first), 0);
    plx_op_nop(&victims[0].op, seen_note, &victims[0]);
    plx_op_nop(&victims[1].op, seen_note, &victims[1]);
    world_submit(world, &victims[0]);
    world_submit(world, &victims[1]);
    submit_recv(world, &victims[2], pair[0], &byte[2]);
    submit_recv(world, &victims[3], pair[0], &byte[3]);
    for (unsigned i = 0; i < 4; i++) {
        WORLD_UNTIL(world, victims[i].terminals == 1);
        int32_t result = victims[i].event[0].result;
        assert_true(result == -ECANCELED || result == (i < 2 ? 0 : 1));
    }
    world_settle(world);
    for (unsigned i = 0; i < 4; i++)
        assert_int_equal(victims[i].events, 1);
    world_close_fd(world, pair[0]);
    close(pair[1]);
}

/* Whether data or cancel comes first: one event, and the byte is in the op or in the socket. */
static void race_once(struct world *world, const int pair[2], unsigned round)
{
    struct seen seen = {0};
    char byte = 0;
    char sent[] = {(char)('a' + round % 26), '\0'};
    submit_recv(world, &seen, pair[0], &byte);
    if (round % 3 != 0)
        world_turn(world);
    if (round % 2 != 0)
        put_text(pair[1], sent);
    world_cancel(world, &seen);
    if (round % 2 == 0)
        put_text(pair[1], sent);
    WORLD_UNTIL(world, seen.terminals == 1);
    assert_int_equal(seen.events, 1);
    if (seen.event[0].result == -ECANCELED)
        assert_int_equal(plx_recv_now(world->reactor, pair[0], &byte, 1), 1);
    else
        assert_int_equal(seen.event[0].result, 1);
    assert_int_equal(byte, sent[0]);
}

static void cancel_racing_with_data_loses_neither(void **state)
{
    struct world *world = *state;
    int pair[2];
    make_pair(SOCK_STREAM, pair);
    for (unsigned i = 0; i < RACES; i++)
        race_once(world, pair, i);
    assert_int_equal(plx_recv_now(world->reactor, pair[0], pair, 1), -EAGAIN);
    world_close_fd(world, pair[0]);
    close(pair[1]);
}

struct self_canceller {
    struct world *world;
    struct plx_op op;
    unsigned events;
    unsigned terminals;
    int fds[8];
    unsigned count;
};

static void cancel_self(struct plx_op *op, const struct plx_event *event, void *ctx)
{
    struct self_canceller *self = ctx;
    assert_int_equal(self->terminals, 0);
    self->events++;
    if (event->result >= 0)
        self->fds[self->count++] = event->result;
    if ((event->flags & PLX_EV_MORE) == 0)
        self->terminals++;
    plx_op_cancel(self->world->reactor, op);
}

static void multishot_cancelled_in_its_own_callback_ends_once(void **state)
{
    struct world *world = *state;
    struct sockaddr_in addr;
    int listener = make_listener(&addr, 8);
    int client[4];
    struct self_canceller self = {.world = world};
    plx_op_accept(&self.op, listener, SOCK_CLOEXEC, PLX_MULTISHOT, cancel_self, &self);
    for (unsigned i = 0; i < 4; i++)
        client[i] = make_client(&addr);
    assert_int_equal(plx_op_submit(world->reactor, &self.op), 0);
    WORLD_UNTIL(world, self.terminals == 1);
    world_settle(world);
    assert_in_range(self.count, 1, 4);
    for (unsigned i = 0; i < self.count; i++)
        close(self.fds[i]);
    for (unsigned i = 0; i < 4; i++)
        close(client[i]);
    world_close_fd(world, listener);
}

/* --- a full ring ------------------------------------------------------------------------------ */

static void submits_refused_at_a_full_ring_go_through_later(void **state)
{
    struct world *world = *state;
    static struct seen seen[200];
    memset(seen, 0, sizeof(seen));
    struct plx_reactor_stats before;
    struct plx_reactor_stats after;
    plx_reactor_read_stats(world->reactor, &before);
    unsigned refused = 0;
    for (unsigned i = 0; i < 200; i++) {
        plx_op_nop(&seen[i].op, seen_note, &seen[i]);
        int rc = world_try_submit(world, &seen[i].op);
        while (rc != 0) {
            refused++;
            assert_int_equal(rc, -EAGAIN);
            assert_int_equal(plx_op_state(&seen[i].op), PLX_OP_IDLE);
            world_turn(world);
            rc = world_try_submit(world, &seen[i].op);
        }
    }
    for (unsigned i = 0; i < 200; i++)
        world_expect(world, &seen[i], 0);
    if (!world->is_epoll)
        assert_true(refused > 0);
    plx_reactor_read_stats(world->reactor, &after);
    assert_int_equal(after.ops_refused - before.ops_refused, refused);
    assert_int_equal(after.ops_submitted - before.ops_submitted, 200);
}

/* Fills the ring with nops that are not shown to the kernel yet; returns how many went in. */
static unsigned fill_ring(struct world *world, struct seen *nops, unsigned max)
{
    unsigned count = 0;
    for (; count < max; count++) {
        plx_op_nop(&nops[count].op, seen_note, &nops[count]);
        if (world_try_submit(world, &nops[count].op) != 0)
            break;
    }
    return count;
}

/* The op is the caller's again, who may write into it. */
static void note_and_reuse(struct plx_op *op, const struct plx_event *event, void *ctx)
{
    seen_note(op, event, ctx);
    plx_op_nop(op, seen_note, ctx);
}

static void cancel_at_a_full_ring_is_not_lost(void **state)
{
    struct world *world = *state;
    static struct seen nops[64];
    memset(nops, 0, sizeof(nops));
    int pair[PAIRS][2];
    struct seen seen[PAIRS] = {0};
    char byte;
    for (unsigned i = 0; i < PAIRS; i++) {
        make_pair(SOCK_STREAM, pair[i]);
        plx_op_recv(&seen[i].op, pair[i][0], &byte, 1, 0, note_and_reuse, &seen[i]);
        while (world_try_submit(world, &seen[i].op) == -EAGAIN)
            world_turn(world);
    }
    world_settle(world);
    unsigned count = fill_ring(world, nops, 64);
    for (unsigned i = 0; i < PAIRS; i++) {
        world_cancel(world, &seen[i]);
        world_cancel(world, &seen[i]);
    }
    /* One of them completes while its cancel waits for room. */
    put_text(pair[PAIRS - 1][1], "x");
    for (unsigned i = 0; i < PAIRS; i++) {
        WORLD_UNTIL(world, seen[i].terminals == 1);
        int32_t result = seen[i].event[0].result;
        assert_true(result == -ECANCELED || (i == PAIRS - 1 && result == 1));
    }
    for (unsigned i = 0; i < count; i++)
        world_expect(world, &nops[i], 0);
    world_settle(world);
    for (unsigned i = 0; i < PAIRS; i++) {
        assert_int_equal(seen[i].events, 1);
        world_close_fd(world, pair[i][0]);
        close(pair[i][1]);
    }
}

static void close_at_a_full_ring_waits_and_is_done(void **state)
{
    struct world *world = *state;
    static struct seen nops[64];
    memset(nops, 0, sizeof(nops));
    int pair[2];
    make_pair(SOCK_STREAM, pair);
    unsigned count = fill_ring(world, nops, 64);
    struct seen closing = {0};
    plx_op_close(&closing.op, pair[0], seen_note, &closing);
    world_run(world, &closing, 0);
    assert_false(is_open(pair[0]));
    for (unsigned i = 0; i < count; i++)
        world_expect(world, &nops[i], 0);
    close(pair[1]);
}

static void many_more_ops_than_entries_are_in_flight_at_once(void **state)
{
    struct world *world = *state;
    static struct seen seen[150];
    static int pair[150][2];
    memset(seen, 0, sizeof(seen));
    char byte;
    for (unsigned i = 0; i < 150; i++) {
        make_pair(SOCK_STREAM, pair[i]);
        plx_op_recv(&seen[i].op, pair[i][0], &byte, 1, 0, seen_note, &seen[i]);
        while (world_try_submit(world, &seen[i].op) == -EAGAIN)
            world_turn(world);
    }
    world_settle(world);
    /* More completions at once than the completion ring has entries, where there is one. */
    for (unsigned i = 0; i < 150; i++)
        put_text(pair[i][1], "x");
    for (unsigned i = 0; i < 150; i++)
        world_expect(world, &seen[i], 1);
    for (unsigned i = 0; i < 150; i++) {
        world_close_fd(world, pair[i][0]);
        close(pair[i][1]);
    }
}

/* --- the reactor's end ------------------------------------------------------------------------ */

static int submit_after_stop_rc;

static void submit_after_stop(struct plx_op *op, const struct plx_event *event, void *ctx)
{
    struct world *world = ctx;
    assert_int_equal(event->result, -ECANCELED);
    struct plx_op fresh;
    plx_op_nop(&fresh, submit_after_stop, NULL);
    submit_after_stop_rc = plx_op_submit(world->reactor, &fresh);
    (void)op;
}

static void stop_with_ops_in_flight_ends_each_once(void **state)
{
    struct world *world = *state;
    int pair[3][2];
    for (unsigned i = 0; i < 3; i++)
        make_pair(SOCK_STREAM, pair[i]);
    struct sockaddr_in addr[2];
    int filler;
    int full = make_full_listener(&addr[0], &filler);
    int listener = make_listener(&addr[1], 8);
    int client = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    uint16_t group = 0;
    assert_int_equal(plx_group_create(world->reactor, 4, PLX_PAGE, &group), 0);
    fill_socket(pair[1][0]);

    char byte;
    struct seen seen[6] = {0};
    plx_op_recv(&seen[0].op, pair[0][0], &byte, 1, 0, seen_note, &seen[0]);
    plx_op_accept(&seen[1].op, listener, SOCK_CLOEXEC, PLX_MULTISHOT, seen_note, &seen[1]);
    plx_op_poll(&seen[2].op, pair[0][0], POLLIN, seen_note, &seen[2]);
    plx_op_send(&seen[3].op, pair[1][0], &byte, 1, 0, PLX_QUEUED, seen_note, &seen[3]);
    plx_op_recv_group(&seen[4].op, pair[1][0], group, seen_note, &seen[4]);
    plx_op_connect(&seen[5].op, client, (struct sockaddr *)&addr[0], sizeof(addr[0]), seen_note,
                   &seen[5]);
    for (unsigned i = 0; i < 6; i++)
        world_submit(world, &seen[i]);
    struct plx_op resubmits;
    plx_op_recv(&resubmits, pair[2][0], &byte, 1, 0, submit_after_stop, world);
    assert_int_equal(plx_op_submit(world->reactor, &resubmits), 0);
    /* This close waits for the receive and the poll. */
    struct seen closing = {0};
    plx_op_close(&closing.op, pair[0][0], seen_note, &closing);
    world_submit(world, &closing);
    world_settle(world);

    submit_after_stop_rc = 0;
    assert_int_equal(plx_reactor_abandon(world->reactor, 10000000000u), 0);
    for (unsigned i = 0; i < 6; i++)
        seen_expect(&seen[i], -ECANCELED);
    seen_expect(&closing, 0);
    assert_false(is_open(pair[0][0]));
    assert_int_equal(submit_after_stop_rc, -ESHUTDOWN);
    world->reactor = NULL;
    close(pair[0][1]);
    for (unsigned i = 1; i < 3; i++) {
        close(pair[i][0]);
        close(pair[i][1]);
    }
    close(full);
    close(filler);
    close(listener);
    close(client);
}

static void stop_at_once_ends_what_the_kernel_has_not_seen(void **state)
{
    struct world *world = *state;
    int pair[2];
    char byte;
    make_pair(SOCK_STREAM, pair);
    struct seen seen = {0};
    struct seen nop = {0};
    plx_op_nop(&nop.op, seen_note, &nop);
    world_submit(world, &nop);
    submit_recv(world, &seen, pair[0], &byte);
    assert_int_equal(plx_reactor_abandon(world->reactor, 10000000000u), 0);
    seen_expect(&seen, -ECANCELED);
    assert_int_equal(nop.terminals, 1);
    world->reactor = NULL;
    close(pair[0]);
    close(pair[1]);
}

static void stop_after_ops_ended_in_any_order_ends_the_rest(void **state)
{
    struct world *world = *state;
    static const unsigned ended[] = {0, 5, 2, 4};
    int pair[6][2];
    struct seen seen[6] = {0};
    char byte;
    for (unsigned i = 0; i < 6; i++) {
        make_pair(SOCK_STREAM, pair[i]);
        submit_recv(world, &seen[i], pair[i][0], &byte);
    }
    world_settle(world);
    for (unsigned i = 0; i < 4; i++) {
        put_text(pair[ended[i]][1], "x");
        world_expect(world, &seen[ended[i]], 1);
    }
    assert_int_equal(plx_reactor_abandon(world->reactor, 10000000000u), 0);
    world->reactor = NULL;
    seen_expect(&seen[1], -ECANCELED);
    seen_expect(&seen[3], -ECANCELED);
    for (unsigned i = 0; i < 6; i++) {
        close(pair[i][0]);
        close(pair[i][1]);
    }
}

static void stop_with_a_full_ring_ends_all(void **state)
{
    struct world *world = *state;
    static struct seen nops[64];
    memset(nops, 0, sizeof(nops));
    int pair[PAIRS][2];
    struct seen seen[PAIRS] = {0};
    char byte;
    for (unsigned i = 0; i < PAIRS; i++) {
        make_pair(SOCK_STREAM, pair[i]);
        plx_op_recv(&seen[i].op, pair[i][0], &byte, 1, 0, seen_note, &seen[i]);
        while (world_try_submit(world, &seen[i].op) == -EAGAIN)
            world_turn(world);
    }
    unsigned count = fill_ring(world, nops, 64);
    assert_int_equal(plx_reactor_abandon(world->reactor, 10000000000u), 0);
    for (unsigned i = 0; i < PAIRS; i++) {
        seen_expect(&seen[i], -ECANCELED);
        close(pair[i][0]);
        close(pair[i][1]);
    }
    for (unsigned i = 0; i < count; i++)
        assert_int_equal(nops[i].terminals, 1);
    world->reactor = NULL;
}

int main(void)
{
    const struct CMUnitTest cases[] = {
        WORLD_CASE(close_of_an_idle_descriptor_closes_it),
        WORLD_CASE(close_waits_for_the_ops_that_name_the_descriptor),
        WORLD_CASE(number_closed_is_used_again),
        WORLD_CASE(number_given_anew_before_the_close_is_reported_works_a_turn_later),
        WORLD_CASE(close_from_the_callback_of_the_last_op_works),
        WORLD_CASE(cancel_of_what_is_not_in_flight_does_nothing),
        WORLD_CASE(cancel_ends_what_waits),
        WORLD_CASE(cancel_before_anything_happened_ends_the_op),
        WORLD_CASE(cancel_between_completion_and_delivery_leaves_one_event),
        WORLD_CASE(cancel_racing_with_data_loses_neither),
        WORLD_CASE(multishot_cancelled_in_its_own_callback_ends_once),
        WORLD_CASE_SMALL(submits_refused_at_a_full_ring_go_through_later),
        WORLD_CASE_SMALL(cancel_at_a_full_ring_is_not_lost),
        WORLD_CASE_SMALL(close_at_a_full_ring_waits_and_is_done),
        WORLD_CASE_SMALL(many_more_ops_than_entries_are_in_flight_at_once),
        WORLD_CASE(stop_with_ops_in_flight_ends_each_once),
        WORLD_CASE(stop_at_once_ends_what_the_kernel_has_not_seen),
        WORLD_CASE(stop_after_ops_ended_in_any_order_ends_the_rest),
        WORLD_CASE_SMALL(stop_with_a_full_ring_ends_all),
    };
    return run_modes(cases, sizeof(cases) / sizeof(*cases));
}
