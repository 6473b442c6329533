/* SPDX-License-Identifier: MIT */
/*
 * What only the uring backend does: what its entries say, in every mode, and that each capability
 * can be denied alone. Other suites see that ops behave the same whatever was denied.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "runtime/io/uring_internal.h"
#include "runtime/reactor_internal.h"
#include "test/runtime/io/op_fixture.h"
#include "test/runtime/rt_fixture.h"

/* --- capabilities ----------------------------------------------------------------------------- */

static void every_capability_has_a_name_and_a_mode_that_denies_it_alone(void **state)
{
    (void)state;
    for (unsigned i = 0; i < PLX_CAP_COUNT; i++) {
        uint32_t cap = 1u << i;
        unsigned found = 0;
        assert_string_not_equal(plx_cap_name(cap), "?");
        for (const struct mode *mode = modes; mode->name != NULL; mode++)
            found += mode->deny == cap;
        if (found != 1)
            fail_msg("%s is denied alone by %u modes", plx_cap_name(cap), found);
    }
    assert_string_equal(plx_cap_name(1u << PLX_CAP_COUNT), "?");
    assert_string_equal(plx_cap_name(0), "?");
    assert_string_equal(plx_cap_name(3), "?");
}

/* One that is asked for and denied is noted, once, with what is done instead. */
static void denied_capability_is_noted_once(void **state)
{
    (void)state;
    rt_need_uring();
    static const uint32_t asked[] = {
        PLX_CAP_SINGLE_ISSUER,     PLX_CAP_DEFER_TASKRUN,    PLX_CAP_TASKRUN_FLAG,
        PLX_CAP_BUFFER_RING,       PLX_CAP_MULTISHOT_ACCEPT, PLX_CAP_MULTISHOT_RECV,
        PLX_CAP_REGISTERED_RING,   PLX_CAP_CANCEL_ANY,       PLX_CAP_FIXED_BUFFERS,
        PLX_CAP_MULTISHOT_RECVMSG, PLX_CAP_SEND_ZC,          PLX_CAP_SENDMSG_ZC,
        PLX_CAP_REGISTERED_FILES,  PLX_CAP_MSG_RING,
    };
    static struct rt_lines lines;
    for (size_t i = 0; i < sizeof(asked) / sizeof(*asked); i++) {
        struct plx_runtime_opts opts;
        char told[64];
        plx_runtime_opts_init(&opts);
        opts.machine = rt_four_cpus();
        opts.deny = asked[i];
        struct plx_runtime *rt = rt_create("backend=uring", &opts);
        struct plx_reactor *reactor = rt_adopt(rt, 0);
        assert_int_equal(plx_reactor_caps(reactor) & asked[i], 0);
        memset(&lines, 0, sizeof(lines));
        plx_reactor_explain(reactor, rt_keep_line, &lines);
        snprintf(told, sizeof(told), "%s: ", plx_cap_name(asked[i]));
        if (rt_lines_with(&lines, told) != 1)
            fail_msg("%s is noted %u times", told, rt_lines_with(&lines, told));
        rt_abandon(reactor);
        plx_runtime_destroy(rt);
    }
}

/* --- entries ---------------------------------------------------------------------------------- */

static struct uring *uring_of(const struct world *world)
{
    return PLX_CONTAINER(world->reactor->io, struct uring, io);
}

static const struct io_uring_sqe *last_entry(const struct world *world)
{
    const struct uring *u = uring_of(world);
    return &u->ring.sq.sqes[(u->sq_tail - 1) & u->sq_mask];
}

static bool is_uring(const struct world *world)
{
    return world_has(world, PLX_CAP_URING);
}

static void op_on_a_registered_file_says_so(void **state)
{
    struct world *world = *state;
    if (!world_has(world, PLX_CAP_REGISTERED_FILES))
        return;
    int pair[2];
    char byte;
    struct seen seen[3] = {0};
    make_pair(SOCK_STREAM, pair);
    assert_int_equal(plx_fd_register(world->reactor, pair[0]), 0);
    plx_op_send(&seen[0].op, pair[0], "x", 1, 0, PLX_QUEUED, seen_note, &seen[0]);
    world_submit(world, &seen[0]);
    assert_int_equal(last_entry(world)->flags & IOSQE_FIXED_FILE, IOSQE_FIXED_FILE);
    assert_int_equal(last_entry(world)->fd, pair[0]);
    world_expect(world, &seen[0], 1);
    plx_op_recv(&seen[1].op, pair[1], &byte, 1, 0, seen_note, &seen[1]);
    world_submit(world, &seen[1]);
    assert_int_equal(last_entry(world)->flags & IOSQE_FIXED_FILE, 0);
    world_expect(world, &seen[1], 1);
    assert_int_equal(uring_of(world)->file_count, 1);
    plx_op_close(&seen[2].op, pair[0], seen_note, &seen[2]);
    world_submit(world, &seen[2]);
    assert_int_equal(last_entry(world)->flags & IOSQE_FIXED_FILE, 0);
    assert_int_equal(uring_of(world)->file_count, 0);
    world_expect(world, &seen[2], 0);
    world_close_fd(world, pair[1]);
}

static void zero_copy_send_is_asked_for_once(void **state)
{
    struct world *world = *state;
    if (!is_uring(world))
        return;
    int pair[2];
    struct seen seen = {0};
    make_pair(SOCK_STREAM, pair);
    plx_op_send_zc(&seen.op, pair[0], "x", 1, 0, seen_note, &seen);
    world_submit(world, &seen);
    bool asks = world_has(world, PLX_CAP_SEND_ZC);
    assert_int_equal(last_entry(world)->opcode, asks ? IORING_OP_SEND_ZC : IORING_OP_SEND);
    WORLD_UNTIL(world, seen.terminals == 1);
    /* Either the socket can, or the entry was written once more, as a plain send. */
    if (seen.events == 1)
        assert_int_equal(last_entry(world)->opcode, IORING_OP_SEND);
    assert_int_equal(seen.event[0].result, 1);
    assert_int_equal(last_entry(world)->msg_flags, MSG_NOSIGNAL);
    world_close_fd(world, pair[0]);
    world_close_fd(world, pair[1]);
}

static void turn_enters_the_kernel_once_for_all_its_ops(void **state)
{
    struct world *world = *state;
    if (!is_uring(world) || world_has(world, PLX_CAP_SQPOLL))
        return;
    static struct seen seen[100];
    memset(seen, 0, sizeof(seen));
    world_settle(world);
    uint64_t before = world->reactor->io->kernel_entries;
    for (unsigned i = 0; i < 100; i++) {
        plx_op_nop(&seen[i].op, seen_note, &seen[i]);
        world_submit(world, &seen[i]);
    }
    assert_int_equal(world->reactor->io->kernel_entries, before);
    world_turn(world);
    assert_int_equal(world->reactor->io->kernel_entries, before + 1);
    for (unsigned i = 0; i < 100; i++)
        world_expect(world, &seen[i], 0);
}

/* One turn; it delivers so many and no more, the rest waits for the next ones. */
static void take_bounded_turn(struct world *world)
{
    uint32_t before = world->reactor->io->in_flight;
    world_turn(world);
    assert_in_range(before - world->reactor->io->in_flight, 0, PLX__BATCH_MAX);
}

static void turn_delivers_a_bounded_batch(void **state)
{
    struct world *world = *state;
    if (!is_uring(world))
        return;
    static struct seen seen[6 * PLX__BATCH_MAX];
    const unsigned all = sizeof(seen) / sizeof(*seen);
    memset(seen, 0, sizeof(seen));
    for (unsigned i = 0; i < all; i++) {
        plx_op_nop(&seen[i].op, seen_note, &seen[i]);
        while (world_try_submit(world, &seen[i].op) == -EAGAIN)
            take_bounded_turn(world);
    }
    uint64_t until_ns = rt_now_ns() + RT_PATIENCE_NS;
    while (world->reactor->io->in_flight != 0) {
        assert_true(rt_now_ns() < until_ns);
        take_bounded_turn(world);
    }
    for (unsigned i = 0; i < all; i++)
        seen_expect(&seen[i], 0);
}

/* --- with the arena registered ---------------------------------------------------------------- */

static void zero_copy_send_from_the_arena_names_its_chunk(void **state)
{
    (void)state;
    rt_need_uring();
    struct plx_runtime *rt = rt_create("backend=uring prefault=yes", NULL);
    struct plx_reactor *reactor = rt_adopt(rt, 0);
    uint32_t caps = plx_reactor_caps(reactor);
    if ((caps & PLX_CAP_FIXED_BUFFERS) == 0 || (caps & PLX_CAP_SEND_ZC) == 0) {
        print_message("skipped: no fixed buffers, or no zero copy, here\n");
        rt_abandon(reactor);
        plx_runtime_destroy(rt);
        skip();
    }
    int pair[2];
    make_tcp_pair(pair);
    struct world world = {.reactor = reactor};
    char *block = plx_pool_acquire(plx_reactor_pool(reactor), 4096);
    assert_non_null(block);
    memset(block, 'z', 4096);
    struct seen seen = {0};
    plx_op_send_zc(&seen.op, pair[0], block, 4096, 0, seen_note, &seen);
    assert_int_equal(plx_op_submit(reactor, &seen.op), 0);
    assert_int_equal(last_entry(&world)->opcode, IORING_OP_SEND_ZC);
    assert_int_equal(last_entry(&world)->ioprio, IORING_RECVSEND_FIXED_BUF);
    assert_int_equal(last_entry(&world)->buf_index, 0);
    RT_TURN_UNTIL(reactor, seen.events >= 1);
    assert_int_equal(seen.event[0].result, 4096);
    static char got[4096];
    assert_int_equal(recv(pair[1], got, sizeof(got), MSG_WAITALL), 4096);
    assert_memory_equal(got, block, 4096);
    RT_TURN_UNTIL(reactor, seen.terminals == 1);
    /* Elsewhere, none is named. */
    struct seen outside = {0};
    plx_op_send_zc(&outside.op, pair[0], got, sizeof(got), 0, seen_note, &outside);
    assert_int_equal(plx_op_submit(reactor, &outside.op), 0);
    assert_int_equal(last_entry(&world)->ioprio, 0);
    RT_TURN_UNTIL(reactor, outside.events >= 1);
    assert_int_equal(recv(pair[1], got, sizeof(got), MSG_WAITALL), 4096);
    RT_TURN_UNTIL(reactor, outside.terminals == 1);
    plx_pool_release(plx_reactor_pool(reactor), block);
    close(pair[0]);
    close(pair[1]);
    rt_abandon(reactor);
    plx_runtime_destroy(rt);
}

int main(void)
{
    const struct CMUnitTest once[] = {
        cmocka_unit_test(every_capability_has_a_name_and_a_mode_that_denies_it_alone),
        cmocka_unit_test(denied_capability_is_noted_once),
        cmocka_unit_test(zero_copy_send_from_the_arena_names_its_chunk),
    };
    const struct CMUnitTest cases[] = {
        WORLD_CASE(op_on_a_registered_file_says_so),
        WORLD_CASE(zero_copy_send_is_asked_for_once),
        WORLD_CASE(turn_enters_the_kernel_once_for_all_its_ops),
        WORLD_CASE(turn_delivers_a_bounded_batch),
    };
    int failed = cmocka_run_group_tests(once, NULL, NULL);
    return failed + run_modes(cases, sizeof(cases) / sizeof(*cases));
}
