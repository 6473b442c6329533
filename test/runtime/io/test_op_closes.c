/* SPDX-License-Identifier: MIT */
/* Many closes that wait for their descriptors: what a turn does about them, and that all end. */
#include "test/runtime/io/op_fixture.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "runtime/reactor_internal.h"

/* More than one turn looks at. */
#define THINGS (2 * PLX__BATCH_MAX + 20)

/* A descriptor, an op that names it and waits, and its close, which waits for that. */
struct thing {
    int fd;
    struct plx_op poll;
    struct plx_op close;
    unsigned polls;
    unsigned closes;
};

static struct thing things[THINGS];
static unsigned closed;

static void note_poll(struct plx_op *op, const struct plx_event *event, void *ctx)
{
    struct thing *thing = ctx;
    (void)op;
    assert_int_equal(event->result, POLLIN);
    thing->polls++;
}

static void note_close(struct plx_op *op, const struct plx_event *event, void *ctx)
{
    struct thing *thing = ctx;
    (void)op;
    assert_int_equal(event->result, 0);
    assert_int_equal(thing->polls, 1);
    thing->closes++;
    closed++;
}

static void submit(struct world *world, struct plx_op *op)
{
    WORLD_UNTIL(world, world_try_submit(world, op) == 0);
}

static void open_things(struct world *world)
{
    memset(things, 0, sizeof(things));
    closed = 0;
    for (unsigned i = 0; i < THINGS; i++) {
        struct thing *thing = &things[i];
        thing->fd = eventfd(0, EFD_CLOEXEC);
        assert_true(thing->fd >= 0);
        plx_op_poll(&thing->poll, thing->fd, POLLIN, note_poll, thing);
        submit(world, &thing->poll);
        plx_op_close(&thing->close, thing->fd, note_close, thing);
        submit(world, &thing->close);
    }
    world_settle(world);
}

static void show(const struct thing *thing)
{
    uint64_t one = 1;
    assert_int_equal(write(thing->fd, &one, sizeof(one)), sizeof(one));
}

/* How many of those that wait come before `op`. */
static unsigned place_of(const struct plx__io *io, const struct plx_op *op)
{
    unsigned place = 0;
    for (const struct plx_op *at = io->closing; at != op; at = at->link) {
        assert_non_null(at);
        place++;
    }
    return place;
}

static void close_that_waits_is_looked_at_only_when_one_is_ready(void **state)
{
    struct world *world = *state;
    const struct plx__io *io = world->reactor->io;
    open_things(world);
    for (unsigned turn = 0; turn < 7; turn++) {
        world_turn(world);
        for (unsigned i = 0; i < THINGS; i += 50)
            assert_int_equal(place_of(io, &things[i].close), i);
    }

    /* The last but one: behind two batches that are not ready, and found all the same. */
    show(&things[THINGS - 2]);
    WORLD_UNTIL(world, things[THINGS - 2].polls == 1);
    assert_int_equal(io->closes_ready, 1);
    for (unsigned turn = 0; io->closes_ready != 0; turn++) {
        assert_true(turn < THINGS / PLX__BATCH_MAX + 1);
        const struct plx_op *first = io->closing;
        world_turn(world);
        if (io->closes_ready != 0)
            assert_int_equal(place_of(io, first), THINGS - PLX__BATCH_MAX);
    }
    WORLD_UNTIL(world, closed == 1);
    assert_int_equal(things[THINGS - 2].closes, 1);

    for (unsigned i = 0; i < THINGS; i++) {
        if (i != THINGS - 2)
            show(&things[i]);
    }
    WORLD_UNTIL(world, closed == THINGS);
    for (unsigned i = 0; i < THINGS; i++) {
        assert_int_equal(things[i].closes, 1);
        assert_false(is_open(things[i].fd));
    }
    assert_null(io->closing);
    assert_null(io->closing_last);
}

/* All at once, with a ring that takes a few of them a turn. */
static void closes_that_become_ready_together_all_go_out(void **state)
{
    struct world *world = *state;
    const struct plx__io *io = world->reactor->io;
    open_things(world);
    for (unsigned i = 0; i < THINGS; i++)
        show(&things[i]);
    WORLD_UNTIL(world, closed == THINGS);
    for (unsigned i = 0; i < THINGS; i++)
        assert_int_equal(things[i].closes, 1);
    assert_null(io->closing);
    assert_int_equal(io->closes_ready, 0);
}

int main(void)
{
    const struct CMUnitTest cases[] = {
        WORLD_CASE(close_that_waits_is_looked_at_only_when_one_is_ready),
        WORLD_CASE_SMALL(closes_that_become_ready_together_all_go_out),
    };
    return run_kernel_modes(cases, sizeof(cases) / sizeof(cases[0]));
}
