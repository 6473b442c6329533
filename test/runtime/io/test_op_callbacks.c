/* SPDX-License-Identifier: MIT */
/*
 * What callbacks may do, and floods of completions, in every mode: an op's memory freed in its own
 * terminal callback or by that of the next one, rings filled from inside callbacks, more
 * completions than the completion ring holds, cancels between the two events of a zero-copy send
 * and in the midst of what a worker does.
 */
#include "test/runtime/io/op_fixture.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#define OPS         100u
#define FLOOD       400u
#define CLIENTS     90u
#define FROM_WITHIN 200u
#define BIG         (24u << 20)
#define ZC_BYTES    (32u << 10)

/* --- memory ----------------------------------------------------------------------------------- */

struct own {
    struct plx_op op;
    struct owner *owner;
    char byte;
};

struct owner {
    unsigned ended;
    struct own *last;
};

static void free_self(struct plx_op *op, const struct plx_event *event, void *ctx)
{
    struct own *own = ctx;
    assert_ptr_equal(op, &own->op);
    assert_int_equal(event->flags & PLX_EV_MORE, 0);
    own->owner->ended++;
    memset(own, 0xa5, sizeof(*own));
    free(own);
}

static void free_last(struct plx_op *op, const struct plx_event *event, void *ctx)
{
    struct own *own = ctx;
    struct owner *owner = own->owner;
    assert_ptr_equal(op, &own->op);
    assert_int_equal(event->flags & PLX_EV_MORE, 0);
    owner->ended++;
    if (owner->last != NULL) {
        memset(owner->last, 0xa5, sizeof(*owner->last));
        free(owner->last);
    }
    owner->last = own;
}

static void run_owned(struct world *world, plx_op_fn fn, struct owner *owner)
{
    int pair[2];
    make_pair(SOCK_STREAM, pair);
    for (unsigned i = 0; i < OPS; i++) {
        struct own *own = calloc(1, sizeof(*own));
        assert_non_null(own);
        own->owner = owner;
        switch (i % 3) {
        case 0:
            plx_op_nop(&own->op, fn, own);
            break;
        case 1:
            plx_op_send(&own->op, pair[1], "x", 1, 0, PLX_INLINE, fn, own);
            break;
        default:
            plx_op_recv(&own->op, pair[0], &own->byte, 1, 0, fn, own);
            break;
        }
        while (world_try_submit(world, &own->op) != 0)
            world_turn(world);
        if (i % 4 == 3)
            plx_op_cancel(world->reactor, &own->op);
    }
    /* Of the receives some may wait for ever: as many bytes again as there were ops. */
    for (unsigned i = 0; i < OPS; i++)
        put_text(pair[1], "y");
    WORLD_UNTIL(world, owner->ended == OPS);
    world_close_fd(world, pair[0]);
    world_close_fd(world, pair[1]);
}

static void memory_freed_in_its_own_callback_is_not_touched_again(void **state)
{
    struct owner owner = {0};
    run_owned(*state, free_self, &owner);
}

static void memory_freed_in_the_next_ones_callback_is_not_touched_again(void **state)
{
    struct owner owner = {0};
    run_owned(*state, free_last, &owner);
    free(owner.last);
}

/* --- a full ring ------------------------------------------------------------------------------ */

struct spring {
    struct world *world;
    struct seen ops[FROM_WITHIN];
    unsigned next;
    unsigned refused;
};

static struct spring the_spring;

/* From inside a callback, until the ring is full. */
static void submit_many(struct plx_op *op, const struct plx_event *event, void *ctx)
{
    struct spring *spring = ctx;
    (void)event;
    (void)op;
    while (spring->next < FROM_WITHIN) {
        struct seen *seen = &spring->ops[spring->next];
        plx_op_nop(&seen->op, seen_note, seen);
        int rc = world_try_submit(spring->world, &seen->op);
        if (rc != 0) {
            assert_int_equal(rc, -EAGAIN);
            assert_int_equal(plx_op_state(&seen->op), PLX_OP_IDLE);
            /* A cancel finds room where a submit finds none. */
            if (spring->next > 0)
                world_cancel(spring->world, &spring->ops[spring->next - 1]);
            spring->refused++;
            return;
        }
        spring->next++;
    }
}

static void ring_filled_from_callbacks_takes_all_in_time(void **state)
{
    struct spring *spring = &the_spring;
    memset(spring, 0, sizeof(*spring));
    spring->world = *state;
    struct plx_op first;
    while (spring->next < FROM_WITHIN) {
        plx_op_nop(&first, submit_many, spring);
        while (world_try_submit(spring->world, &first) != 0)
            world_turn(spring->world);
        WORLD_UNTIL(spring->world, plx_op_state(&first) == PLX_OP_DONE);
    }
    for (unsigned i = 0; i < FROM_WITHIN; i++) {
        struct seen *seen = &spring->ops[i];
        WORLD_UNTIL(spring->world, seen->terminals == 1);
        assert_true(seen->event[0].result == 0 || seen->event[0].result == -ECANCELED);
    }
    if (!spring->world->is_epoll)
        assert_true(spring->refused > 0);
}

/* --- more completions than there is room for -------------------------------------------------- */

static void flood_of_completions_loses_none(void **state)
{
    struct world *world = *state;
    static struct seen seen[FLOOD];
    memset(seen, 0, sizeof(seen));
    int pair[2];
    make_pair(SOCK_STREAM, pair);
    for (unsigned i = 0; i < FLOOD; i++) {
        plx_op_poll(&seen[i].op, pair[0], POLLIN, seen_note, &seen[i]);
        while (world_try_submit(world, &seen[i].op) == -EAGAIN)
            world_turn(world);
    }
    world_settle(world);
    /* One byte makes all of them end, in a completion ring of 64 entries. */
    put_text(pair[1], "x");
    for (unsigned i = 0; i < FLOOD; i += 7)
        world_cancel(world, &seen[i]);
    for (unsigned i = 0; i < FLOOD; i++) {
        WORLD_UNTIL(world, seen[i].terminals == 1);
        int32_t result = seen[i].event[0].result;
        assert_true(result == POLLIN || (i % 7 == 0 && result == -ECANCELED));
    }
    world_settle(world);
    world_close_fd(world, pair[0]);
    close(pair[1]);
}

struct taker {
    struct world *world;
    struct plx_op op;
    int listener;
    unsigned taken;
    bool flying;
};

static void take(struct plx_op *op, const struct plx_event *event, void *ctx)
{
    struct taker *taker = ctx;
    assert_ptr_equal(op, &taker->op);
    assert_true(taker->flying);
    if (event->result >= 0) {
        assert_int_equal(close(event->result), 0);
        taker->taken++;
    }
    taker->flying = (event->flags & PLX_EV_MORE) != 0;
}

static void flood_of_connections_is_taken_to_the_last(void **state)
{
    struct taker taker = {.world = *state};
    struct sockaddr_in addr;
    int clients[CLIENTS];
    taker.listener = make_listener(&addr, CLIENTS + 8);
    uint64_t deadline = plx_reactor_now_ns(taker.world->reactor) + 10000000000u;
    for (unsigned i = 0; i < CLIENTS / 2; i++)
        clients[i] = make_client(&addr);
    while (taker.taken < CLIENTS) {
        assert_true(plx_reactor_now_ns(taker.world->reactor) < deadline);
        if (!taker.flying) {
            plx_op_accept(&taker.op, taker.listener, SOCK_CLOEXEC, PLX_MULTISHOT, take, &taker);
            taker.flying = true;
            assert_int_equal(world_try_submit(taker.world, &taker.op), 0);
            plx_reactor_flush(taker.world->reactor);
        }
        if (taker.taken == 0) {
            for (unsigned i = CLIENTS / 2; i < CLIENTS; i++)
                clients[i] = make_client(&addr);
        }
        do
            world_turn(taker.world);
        while (taker.taken == 0);
    }
    plx_op_cancel(taker.world->reactor, &taker.op);
    WORLD_UNTIL(taker.world, !taker.flying);
    assert_int_equal(taker.taken, CLIENTS);
    for (unsigned i = 0; i < CLIENTS; i++)
        close(clients[i]);
    world_close_fd(taker.world, taker.listener);
}

/* --- between two events ----------------------------------------------------------------------- */

static void drain(int fd)
{
    static char block[ZC_BYTES];
    while (recv(fd, block, sizeof(block), MSG_DONTWAIT) > 0)
        continue;
}

/* Sends until the result of one has come and its notice has not, as its bytes wait for the peer. */
static void zero_copy_send_cancelled_between_its_events_releases_once(void **state)
{
    struct world *world = *state;
    static char data[ZC_BYTES];
    int pair[2];
    make_tcp_pair(pair);
    struct seen seen = {0};
    for (unsigned i = 0; i < 400; i++) {
        memset(&seen, 0, sizeof(seen));
        plx_op_send_zc(&seen.op, pair[0], data, sizeof(data), 0, seen_note, &seen);
        world_submit(world, &seen);
        for (unsigned turns = 0; turns < 50 && seen.events == 0; turns++)
            world_turn(world);
        if (seen.terminals == 0)
            break;
    }
    unsigned before = seen.events;
    world_cancel(world, &seen);
    world_cancel(world, &seen);
    world_settle(world);
    if (seen.terminals == 0)
        assert_true(seen.events <= 1);
    while (seen.terminals == 0) {
        drain(pair[1]);
        WORLD_UNTIL(world, world_turn(world) == 0 || seen.terminals == 1);
    }
    world_settle(world);
    assert_int_equal(seen.terminals, 1);
    assert_true(seen.events >= before && seen.events <= 2);
    assert_int_equal(seen.event[seen.events - 1].flags, PLX_EV_RELEASED);
    if (seen.events == 2) {
        assert_int_equal(seen.event[0].flags, PLX_EV_MORE);
        assert_int_equal(seen.event[1].result, 0);
    }
    world_close_fd(world, pair[0]);
    close(pair[1]);
}

/* --- in the midst ------------------------------------------------------------------------------
 */

/* Under way it runs to its end, or is given up and undone. */
static void fallocate_cancelled_under_way_is_done_or_cancelled(void **state)
{
    struct world *world = *state;
    int fd = memfd_create("midst", MFD_CLOEXEC);
    assert_true(fd >= 0);
    for (unsigned i = 0; i < 4; i++) {
        struct seen seen = {0};
        plx_op_fallocate(&seen.op, fd, 0, 0, BIG, seen_note, &seen);
        world_submit(world, &seen);
        plx_reactor_flush(world->reactor);
        for (unsigned turns = 0; turns < i * 200; turns++)
            (void)plx_reactor_poll(world->reactor);
        world_cancel(world, &seen);
        WORLD_UNTIL(world, seen.terminals == 1);
        int32_t result = seen.event[0].result;
        assert_true(result == 0 || result == -ECANCELED || result == -ENOSPC);
        assert_int_equal(ftruncate(fd, 0), 0);
    }
    world_close_fd(world, fd);
}

int main(void)
{
    const struct CMUnitTest cases[] = {
        WORLD_CASE(memory_freed_in_its_own_callback_is_not_touched_again),
        WORLD_CASE_SMALL(memory_freed_in_the_next_ones_callback_is_not_touched_again),
        WORLD_CASE_SMALL(ring_filled_from_callbacks_takes_all_in_time),
        WORLD_CASE_SMALL(flood_of_completions_loses_none),
        WORLD_CASE_SMALL(flood_of_connections_is_taken_to_the_last),
        WORLD_CASE(zero_copy_send_cancelled_between_its_events_releases_once),
        WORLD_CASE(fallocate_cancelled_under_way_is_done_or_cancelled),
    };
    /* Not in the simulated world: the cases drive real peers by plain calls. The simulator's own
     * workloads, and test_ops, test_op_ends and test_timed, cover it there. */
    return run_kernel_modes(cases, sizeof(cases) / sizeof(*cases));
}
