/* SPDX-License-Identifier: MIT */
/*
 * Sends with PLX_ZERO_COPY, in every mode: the bytes arrive, the result comes once, and the last
 * event, and only that, says that the memory is the caller's again; also where the kernel, or the
 * socket, can but copy.
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
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "test/runtime/io/calls.h"

#define LARGE   (256u * 1024u)
#define BEYOND  (32u * 1024u) /* what SO_SNDBUF is to be too small for */
#define PAIRS   10u
#define PATTERN 251u

/* Waits for the last event; returns the result, wherever it came. */
static int32_t released(struct world *world, const struct seen *seen)
{
    WORLD_UNTIL(world, seen->terminals == 1);
    const struct plx_event *last = &seen->event[seen->events - 1];
    assert_int_equal(last->flags, PLX_EV_RELEASED);
    if (seen->events == 1)
        return last->result;
    assert_int_equal(seen->events, 2);
    assert_int_equal(seen->event[0].flags, PLX_EV_MORE);
    assert_int_equal(last->result, 0);
    return seen->event[0].result;
}

/* Whether this mode's kernel is asked for zero copy. */
static bool asks(const struct world *world)
{
    return world_has(world, PLX_CAP_SEND_ZC);
}

static void take_exactly(int fd, const unsigned char *expected, size_t len)
{
    static unsigned char buf[LARGE];
    size_t got = 0;
    while (got < len) {
        ssize_t more = recv(fd, buf, len - got, 0);
        assert_true(more > 0);
        assert_memory_equal(buf, expected + got, (size_t)more);
        got += (size_t)more;
    }
}

static const unsigned char *pattern(void)
{
    static unsigned char data[LARGE];
    for (unsigned i = 0; i < LARGE; i++)
        data[i] = (unsigned char)(i % PATTERN);
    return data;
}

static void small_and_large_sends_arrive_and_release_once(void **state)
{
    struct world *world = *state;
    const unsigned char *data = pattern();
    static const uint32_t sizes[] = {0, 1, 4096, 65536};
    int pair[2];
    make_tcp_pair(pair);
    for (unsigned i = 0; i < 4; i++) {
        struct seen seen = {0};
        plx_op_send_zc(&seen.op, pair[0], data, sizes[i], 0, seen_note, &seen);
        world_submit(world, &seen);
        WORLD_UNTIL(world, seen.events >= 1);
        assert_in_range(seen.event[0].result, 0, sizes[i]);
        take_exactly(pair[1], data, (size_t)seen.event[0].result);
        assert_true(released(world, &seen) >= 0);
        if (sizes[i] != 0)
            assert_int_equal(seen.events, asks(world) ? 2 : 1);
    }
    world_close_fd(world, pair[0]);
    world_close_fd(world, pair[1]);
}

/* From the arena, which may be registered: by its chunk. */
static void block_of_the_pool_is_sent(void **state)
{
    struct world *world = *state;
    int pair[2];
    make_tcp_pair(pair);
    struct plx_pool *pool = plx_reactor_pool(world->reactor);
    unsigned char *block = plx_pool_acquire(pool, 16384);
    assert_non_null(block);
    memcpy(block, pattern(), 16384);
    struct seen seen = {0};
    plx_op_send_zc(&seen.op, pair[0], block, 16384, MSG_WAITALL, seen_note, &seen);
    world_submit(world, &seen);
    WORLD_UNTIL(world, seen.events >= 1);
    assert_int_equal(seen.event[0].result, 16384);
    take_exactly(pair[1], pattern(), 16384);
    assert_int_equal(released(world, &seen), 16384);
    plx_pool_release(pool, block);
    world_close_fd(world, pair[0]);
    world_close_fd(world, pair[1]);
}

/* More than the socket holds: what was told to have gone is what comes, in order. */
static void send_beyond_the_sockets_room_is_short_or_goes_on(void **state)
{
    struct world *world = *state;
    const unsigned char *data = pattern();
    int pair[2];
    make_tcp_pair(pair);
    int small = 4096;
    assert_int_equal(setsockopt(pair[0], SOL_SOCKET, SO_SNDBUF, &small, sizeof(small)), 0);
    uint32_t sent = 0;
    size_t got = 0;
    while (sent < BEYOND) {
        struct seen seen = {0};
        plx_op_send_zc(&seen.op, pair[0], data + sent, BEYOND - sent, 0, seen_note, &seen);
        world_submit(world, &seen);
        while (seen.terminals == 0) {
            unsigned char buf[4096];
            world_turn(world);
            ssize_t more = recv(pair[1], buf, sizeof(buf), MSG_DONTWAIT);
            if (more > 0) {
                assert_memory_equal(buf, data + got, (size_t)more);
                got += (size_t)more;
            }
        }
        int32_t taken = released(world, &seen);
        assert_in_range(taken, 1, BEYOND - sent);
        sent += (uint32_t)taken;
    }
    take_exactly(pair[1], data + got, BEYOND - got);
    world_close_fd(world, pair[0]);
    world_close_fd(world, pair[1]);
}

static void unix_socket_gets_a_copy_and_one_event(void **state)
{
    struct world *world = *state;
    int pair[2];
    make_pair(SOCK_STREAM, pair);
    struct seen seen = {0};
    plx_op_send_zc(&seen.op, pair[0], pattern(), 4096, 0, seen_note, &seen);
    world_submit(world, &seen);
    assert_int_equal(released(world, &seen), 4096);
    take_exactly(pair[1], pattern(), 4096);
    world_close_fd(world, pair[0]);
    world_close_fd(world, pair[1]);
}

static void failed_send_releases_in_its_last_event(void **state)
{
    struct world *world = *state;
    int pair[2];
    make_pair(SOCK_STREAM, pair);
    close(pair[1]);
    struct seen dead = {0};
    plx_op_send_zc(&dead.op, pair[0], "x", 1, 0, seen_note, &dead);
    world_submit(world, &dead);
    assert_int_equal(released(world, &dead), -EPIPE);
    world_close_fd(world, pair[0]);

    int ends[2];
    assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
    struct seen none = {0};
    plx_op_send_zc(&none.op, ends[1], "x", 1, 0, seen_note, &none);
    world_submit(world, &none);
    assert_int_equal(released(world, &none), -ENOTSOCK);
    struct seen odd = {0};
    plx_op_send_zc(&odd.op, ends[1], "x", 1, 0, seen_note, &odd);
    odd.op.flags |= PLX_INLINE;
    assert_int_equal(world_try_submit(world, &odd.op), -EINVAL);
    world_close_fd(world, ends[0]);
    world_close_fd(world, ends[1]);
}

/* Sends until one waits: a socket that was full may find room after all when its peer is slow. */
static void send_until_one_waits(struct world *world, struct seen *seen, int fd)
{
    do {
        *seen = (struct seen){0};
        plx_op_send_zc(&seen->op, fd, pattern(), 4096, 0, seen_note, seen);
        world_submit(world, seen);
        world_settle(world);
        if (seen->events != 0)
            assert_true(released(world, seen) > 0);
    } while (seen->events != 0);
}

static void waiting_send_is_cancelled_and_released(void **state)
{
    struct world *world = *state;
    void (*const make[])(int pair[2]) = {make_tcp_pair, NULL};
    for (unsigned i = 0; i < 2; i++) {
        int pair[2];
        if (make[i] != NULL)
            make[i](pair);
        else
            make_pair(SOCK_STREAM, pair);
        (void)fill_socket(pair[0]);
        struct seen seen;
        send_until_one_waits(world, &seen, pair[0]);
        world_cancel(world, &seen);
        assert_int_equal(released(world, &seen), -ECANCELED);
        world_close_fd(world, pair[0]);
        world_close_fd(world, pair[1]);
    }
}

/* Cancelled before the kernel has seen it, or while it goes out once more as a plain send. */
static void cancelled_at_once_ends_once(void **state)
{
    struct world *world = *state;
    for (unsigned turns = 0; turns < 4; turns++) {
        int pair[2];
        make_pair(SOCK_STREAM, pair);
        (void)fill_socket(pair[0]);
        struct seen seen = {0};
        plx_op_send_zc(&seen.op, pair[0], pattern(), 4096, 0, seen_note, &seen);
        world_submit(world, &seen);
        for (unsigned i = 0; i < turns; i++)
            world_turn(world);
        world_cancel(world, &seen);
        world_cancel(world, &seen);
        assert_int_equal(released(world, &seen), -ECANCELED);
        world_close_fd(world, pair[0]);
        world_close_fd(world, pair[1]);
    }
}

/* Many at once that the socket refuses zero copy to, on a ring that is about full; some cancelled.
 */
static void many_refused_on_a_small_ring_end_once_each(void **state)
{
    struct world *world = *state;
    int pairs[PAIRS][2];
    static struct seen seen[PAIRS];
    memset(seen, 0, sizeof(seen));
    for (unsigned i = 0; i < PAIRS; i++) {
        make_pair(SOCK_STREAM, pairs[i]);
        plx_op_send_zc(&seen[i].op, pairs[i][0], pattern(), 100 + i, 0, seen_note, &seen[i]);
        world_submit(world, &seen[i]);
    }
    world_turn(world);
    for (unsigned i = 0; i < PAIRS; i += 3)
        world_cancel(world, &seen[i]);
    for (unsigned i = 0; i < PAIRS; i++) {
        int32_t result = released(world, &seen[i]);
        if (i % 3 != 0 || result != -ECANCELED)
            assert_int_equal(result, 100 + i);
        if (result >= 0)
            take_exactly(pairs[i][1], pattern(), (size_t)result);
        world_close_fd(world, pairs[i][0]);
        world_close_fd(world, pairs[i][1]);
    }
}

static void message_goes_without_a_copy_and_releases(void **state)
{
    struct world *world = *state;
    for (unsigned i = 0; i < 2; i++) {
        int pair[2];
        if (i == 0)
            make_tcp_pair(pair);
        else
            make_pair(SOCK_STREAM, pair);
        struct plx_op_msg out;
        plx_op_msg_init(&out);
        plx_op_msg_add(&out, pattern(), 5000);
        plx_op_msg_add(&out, pattern() + 5000, 3000);
        struct seen seen = {0};
        plx_op_sendmsg(&seen.op, pair[0], &out.msg, MSG_WAITALL, PLX_ZERO_COPY, seen_note, &seen);
        world_submit(world, &seen);
        WORLD_UNTIL(world, seen.events >= 1);
        assert_int_equal(seen.event[0].result, 8000);
        take_exactly(pair[1], pattern(), 8000);
        assert_int_equal(released(world, &seen), 8000);
        if (i == 0)
            assert_int_equal(seen.events, world_has(world, PLX_CAP_SENDMSG_ZC) ? 2 : 1);
        world_close_fd(world, pair[0]);
        world_close_fd(world, pair[1]);
    }
}

/* The flag stays with the op, so what came before must not. */
static void op_prepared_anew_is_asked_for_zero_copy_again(void **state)
{
    struct world *world = *state;
    int tcp[2];
    int local[2];
    make_tcp_pair(tcp);
    make_pair(SOCK_STREAM, local);
    struct seen seen = {0};
    plx_op_send_zc(&seen.op, local[0], pattern(), 64, 0, seen_note, &seen);
    world_submit(world, &seen);
    assert_int_equal(released(world, &seen), 64);
    seen.events = seen.terminals = 0;
    plx_op_send_zc(&seen.op, tcp[0], pattern(), 64, 0, seen_note, &seen);
    world_submit(world, &seen);
    WORLD_UNTIL(world, seen.events >= 1);
    take_exactly(tcp[1], pattern(), 64);
    assert_int_equal(released(world, &seen), 64);
    assert_int_equal(seen.events, asks(world) ? 2 : 1);
    for (unsigned i = 0; i < 2; i++) {
        world_close_fd(world, tcp[i]);
        world_close_fd(world, local[i]);
    }
}

int main(void)
{
    const struct CMUnitTest cases[] = {
        WORLD_CASE(small_and_large_sends_arrive_and_release_once),
        WORLD_CASE(block_of_the_pool_is_sent),
        WORLD_CASE(send_beyond_the_sockets_room_is_short_or_goes_on),
        WORLD_CASE(unix_socket_gets_a_copy_and_one_event),
        WORLD_CASE(failed_send_releases_in_its_last_event),
        WORLD_CASE(waiting_send_is_cancelled_and_released),
        WORLD_CASE(cancelled_at_once_ends_once),
        WORLD_CASE_SMALL(many_refused_on_a_small_ring_end_once_each),
        WORLD_CASE(message_goes_without_a_copy_and_releases),
        WORLD_CASE(op_prepared_anew_is_asked_for_zero_copy_again),
    };
    return run_modes(cases, sizeof(cases) / sizeof(*cases));
}
