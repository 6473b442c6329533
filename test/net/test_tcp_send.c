/* SPDX-License-Identifier: MIT */
/* The send queue: order, bounds, send-now, not-after times, what happens when blocks run out. */
#include "net/tcp.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "net/tcp_internal.h"
#include "test/net/net_probe.h"
#include "test/net/net_world.h"

/* A stream of ours, a raw peer of it, both with buffers as small as the kernel makes them. */
struct pair {
    struct net_world world;
    struct net_probe probe;
    struct plx_tcp *stream;
    int peer;
    uint64_t got; /* by the peer */
};

static void shrink(int fd, int name)
{
    const int small = 2048;
    assert_int_equal(setsockopt(fd, SOL_SOCKET, name, &small, sizeof(small)), 0);
}

static void join_pair(struct pair *pair, struct plx_addr *addr)
{
    pair->peer = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    shrink(pair->peer, SO_RCVBUF);
    if (connect(pair->peer, &addr->sock.any, addr->bytes) != 0)
        assert_int_equal(errno, EINPROGRESS);
    NET_UNTIL(&pair->world, pair->probe.told[NET_ACCEPT] == 1);
    pair->stream = pair->probe.stream;
    shrink(plx_tcp_fd(pair->stream), SO_SNDBUF);
}

static void open_pair(struct pair *pair, const void *mode, uint32_t queue_bytes, const char *arena)
{
    memset(pair, 0, sizeof(*pair));
    net_world_open(&pair->world, mode, 1, arena);
    pair->world.opts.send_queue_bytes = queue_bytes;
    struct plx_addr addr = net_listen(&pair->world, &net_probe_handler, &pair->probe);
    join_pair(pair, &addr);
}

static void close_pair(struct pair *pair)
{
    close(pair->peer);
    if (pair->probe.told[NET_CLOSE] == 0)
        plx_tcp_abort(pair->stream);
    NET_UNTIL(&pair->world, pair->probe.told[NET_CLOSE] == 1);
    net_world_close(&pair->world);
    assert_false(pair->probe.broken);
}

/* The peer reads up to `len` bytes, which must be the pattern where the last read ended. */
static void peer_reads(struct pair *pair, size_t len)
{
    static uint8_t in[65536];
    while (len != 0) {
        int64_t n = net_peer_recv(pair->peer, in, len < sizeof(in) ? len : sizeof(in));
        if (n == -EAGAIN)
            return;
        assert_true(n > 0);
        assert_true(net_matches(in, (size_t)n, pair->got));
        pair->got += (uint64_t)n;
        len -= (size_t)n;
    }
}

/* Writes of the pattern until the queue and the kernel take no more; gives the next place. */
static uint64_t write_until_full(struct pair *pair, uint64_t place)
{
    static uint8_t data[8192];
    for (;;) {
        net_fill(data, sizeof(data), place);
        int64_t n = plx_tcp_write(pair->stream, data, sizeof(data), PLX_INLINE);
        assert_true(n >= 0);
        place += (uint64_t)n;
        if (n < (int64_t)sizeof(data))
            return place;
    }
}

static void let_turns_pass(struct pair *pair)
{
    for (int turn = 0; turn < 50; turn++)
        net_turn(&pair->world);
}

/* The same, and on as long as the kernel takes a little more. */
static uint64_t write_until_stuck(struct pair *pair, uint64_t place)
{
    for (uint64_t before = UINT64_MAX; before != place;) {
        let_turns_pass(pair);
        before = place;
        place = write_until_full(pair, place);
    }
    return place;
}

/* --- order ------------------------------------------------------------------------------------ */

/* One write of a random kind and size; gives how many bytes were taken. */
static uint64_t write_somehow(struct pair *pair, unsigned *seed, uint64_t place)
{
    static uint8_t data[40000];
    size_t len = (size_t)rand_r(seed) % (rand_r(seed) % 4 == 0 ? sizeof(data) : 600) + 1;
    int64_t n = 0;
    net_fill(data, len, place);
    switch (rand_r(seed) % 5) {
    case 0:
        n = plx_tcp_send_now(pair->stream, data, len);
        assert_true(n == 0 || n == -EAGAIN || (n == -EMSGSIZE && len > 20000));
        n = n == 0 ? (int64_t)len : 0;
        break;
    case 1:
        n = plx_tcp_write_before(pair->stream, data, len, UINT64_MAX);
        assert_true(n == 0 || n == -EAGAIN || (n == -EMSGSIZE && len > 20000));
        n = n == 0 ? (int64_t)len : 0;
        break;
    case 2:
    case 3:
        n = plx_tcp_write(pair->stream, data, len, PLX_INLINE);
        break;
    default:
        n = plx_tcp_write(pair->stream, data, len, PLX_QUEUED);
    }
    assert_true(n >= 0 && n <= (int64_t)len);
    assert_true(plx_tcp_queued(pair->stream) <= 20000);
    /* What is refilled now must not be what leaves: the queue has its copy. */
    memset(data, 0xee, len);
    return (uint64_t)n;
}

static void writes_of_all_kinds_mixed_leave_once_and_in_order(void **state)
{
    /* Less where each send waits for another thread to run. */
    const struct net_mode *mode = *state;
    const uint64_t total = mode->sqpoll == PLX_SQPOLL_ON ? 300000 : 1500000;
    for (unsigned first = 1; first <= 3; first++) {
        unsigned seed = first * 7919;
        struct pair pair;
        open_pair(&pair, *state, 20000, "4M");
        print_message("seed %u\n", seed);
        uint64_t written = 0;
        uint64_t until_ns = net_now_ns() + NET_PATIENCE_NS;
        while (written < total) {
            for (int i = rand_r(&seed) % 6; i > 0; i--)
                written += write_somehow(&pair, &seed, written);
            if (rand_r(&seed) % 3 != 0)
                net_turn(&pair.world);
            if (rand_r(&seed) % 2 != 0)
                peer_reads(&pair, (size_t)rand_r(&seed) % 30000);
            assert_true(net_now_ns() < until_ns);
        }
        plx_tcp_close(pair.stream);
        while (pair.got < written) {
            net_turn(&pair.world);
            peer_reads(&pair, (size_t)(written - pair.got));
            assert_true(net_now_ns() < until_ns);
        }
        uint8_t more;
        NET_UNTIL(&pair.world, net_peer_recv(pair.peer, &more, 1) == 0);
        close(pair.peer);
        NET_UNTIL(&pair.world, pair.probe.told[NET_CLOSE] == 1);
        assert_int_equal(pair.probe.reason, 0);
        struct plx_tcp_stats stats;
        plx_tcp_read_stats(pair.world.reactor, &stats);
        assert_int_equal(stats.bytes_out, written);
        assert_int_equal(pair.probe.told[NET_EXPIRED], 0);
        net_world_close(&pair.world);
        assert_false(pair.probe.broken);
    }
}

/* --- bounds ----------------------------------------------------------------------------------- */

static void write_to_a_full_queue_is_cut_and_told_when_to_go_on(void **state)
{
    struct pair pair;
    open_pair(&pair, *state, 10000, "4M");
    uint64_t written = write_until_full(&pair, 0);
    let_turns_pass(&pair);
    written = write_until_full(&pair, written);
    assert_int_equal(plx_tcp_queued(pair.stream), 10000);
    assert_int_equal(plx_tcp_write(pair.stream, "x", 1, PLX_QUEUED), 0);
    assert_int_equal(plx_tcp_write(pair.stream, "x", 1, PLX_INLINE), 0);
    assert_int_equal(plx_tcp_write(pair.stream, "x", 0, PLX_INLINE), 0);
    assert_int_equal(plx_tcp_send_now(pair.stream, "x", 1), -EAGAIN);
    assert_int_equal(plx_tcp_write_before(pair.stream, "x", 1, UINT64_MAX), -EAGAIN);
    uint32_t before = pair.probe.told[NET_WRITABLE];
    let_turns_pass(&pair);
    assert_int_equal(pair.probe.told[NET_WRITABLE], before);
    uint64_t until_ns = net_now_ns() + NET_PATIENCE_NS;
    while (pair.probe.told[NET_WRITABLE] == before) {
        peer_reads(&pair, 1000);
        net_turn(&pair.world);
        assert_true(net_now_ns() < until_ns);
    }
    assert_true(plx_tcp_queued(pair.stream) <= 5000);
    while (pair.got < written) {
        peer_reads(&pair, (size_t)(written - pair.got));
        net_turn(&pair.world);
        assert_true(net_now_ns() < until_ns);
    }
    assert_int_equal(pair.probe.told[NET_WRITABLE], before + 1);
    close_pair(&pair);
}

static void send_now_takes_all_or_nothing(void **state)
{
    static uint8_t data[30000];
    struct pair pair;
    open_pair(&pair, *state, 30000, "4M");
    assert_int_equal(plx_tcp_send_now(pair.stream, data, 0), 0);
    assert_int_equal(plx_tcp_send_now(pair.stream, data, sizeof(data) + 1), -EMSGSIZE);
    uint64_t written = 0;
    int rc = 0;
    bool partial = false;
    while (rc == 0) {
        net_fill(data, sizeof(data), written);
        rc = plx_tcp_send_now(pair.stream, data, sizeof(data));
        if (rc == 0) {
            written += sizeof(data);
            partial |= plx_tcp_queued(pair.stream) > 0;
        }
    }
    assert_int_equal(rc, -EAGAIN);
    assert_true(partial);
    uint64_t until_ns = net_now_ns() + NET_PATIENCE_NS;
    while (pair.got < written) {
        peer_reads(&pair, (size_t)(written - pair.got));
        net_turn(&pair.world);
        assert_true(net_now_ns() < until_ns);
    }
    uint8_t more;
    assert_int_equal(net_peer_recv(pair.peer, &more, 1), -EAGAIN);
    close_pair(&pair);
}

static void send_after_the_peer_reset_is_its_error_and_ends(void **state)
{
    static const uint32_t flags[] = {PLX_INLINE, PLX_QUEUED};
    for (int i = 0; i < 2; i++) {
        struct pair pair;
        open_pair(&pair, *state, 30000, "4M");
        /* Paused, so that it is the send that meets the reset. */
        plx_tcp_pause(pair.stream);
        let_turns_pass(&pair);
        net_peer_reset(pair.peer);
        pair.peer = -1;
        int64_t n = plx_tcp_write(pair.stream, "x", 1, flags[i]);
        if (flags[i] == PLX_INLINE) {
            assert_true(n == -ECONNRESET || n == -EPIPE);
            assert_int_equal(plx_tcp_write(pair.stream, "x", 1, PLX_INLINE), -EPIPE);
            assert_int_equal(pair.probe.told[NET_CLOSE], 0);
        }
        NET_UNTIL(&pair.world, pair.probe.told[NET_CLOSE] == 1);
        assert_true(pair.probe.reason == -ECONNRESET || pair.probe.reason == -EPIPE);
        struct plx_tcp_stats stats;
        plx_tcp_read_stats(pair.world.reactor, &stats);
        assert_int_equal(stats.closed_reset, 1);
        net_world_close(&pair.world);
        assert_false(pair.probe.broken);
    }
}

/* --- not-after times -------------------------------------------------------------------------- */

static void write_before_expired_messages_are_dropped_whole(void **state)
{
    static uint8_t data[3000];
    struct pair pair;
    open_pair(&pair, *state, 60000, "4M");
    let_turns_pass(&pair);
    /* A stuck head of plain bytes, then dated ones between plain ones; only the latter arrive. */
    uint64_t written = write_until_full(&pair, 0);
    let_turns_pass(&pair);
    peer_reads(&pair, 60000);
    uint64_t until_ns = net_now_ns() + NET_PATIENCE_NS;
    while (plx_tcp_queued(pair.stream) > 20000) {
        net_turn(&pair.world);
        peer_reads(&pair, 500);
        assert_true(net_now_ns() < until_ns);
    }
    uint64_t now_ns = plx_reactor_now_ns(pair.world.reactor);
    for (int i = 0; i < 5; i++) {
        memset(data, 0xdd, sizeof(data));
        assert_int_equal(plx_tcp_write_before(pair.stream, data, sizeof(data), now_ns), 0);
        net_fill(data, 1000, written);
        assert_int_equal(plx_tcp_write(pair.stream, data, 1000, PLX_INLINE), 1000);
        written += 1000;
        net_fill(data, 500, written);
        assert_int_equal(plx_tcp_write_before(pair.stream, data, 500, UINT64_MAX), 0);
        written += 500;
    }
    while (pair.got < written || pair.probe.told[NET_EXPIRED] < 5) {
        net_turn(&pair.world);
        peer_reads(&pair, (size_t)(written - pair.got));
        assert_true(net_now_ns() < until_ns);
    }
    assert_int_equal(pair.probe.expired_bytes, 5 * sizeof(data));
    struct plx_tcp_stats stats;
    plx_tcp_read_stats(pair.world.reactor, &stats);
    assert_int_equal(stats.expired, 5);
    close_pair(&pair);
}

static void write_before_expires_though_its_send_is_in_flight(void **state)
{
    static uint8_t data[2000];
    struct pair pair;
    open_pair(&pair, *state, 100000, "4M");
    /* The kernel takes no more and nothing is queued: the dated message's own send waits. */
    uint64_t written = 0;
    for (int64_t n = 1; n > 0;) {
        net_fill(data, sizeof(data), written);
        n = plx_send_now(pair.world.reactor, plx_tcp_fd(pair.stream), data, sizeof(data));
        written += n > 0 ? (uint64_t)n : 0;
        if (n <= 0)
            for (int turn = 0; turn < 50 && n <= 0; turn++) { /* the peer's kernel takes a little */
                net_turn(&pair.world);
                n = plx_send_now(pair.world.reactor, plx_tcp_fd(pair.stream), data, sizeof(data));
                written += n > 0 ? (uint64_t)n : 0;
            }
    }
    memset(data, 0xdd, sizeof(data));
    uint64_t now_ns = plx_reactor_now_ns(pair.world.reactor);
    assert_int_equal(plx_tcp_write_before(pair.stream, data, sizeof(data), now_ns + 20000000), 0);
    net_fill(data, 700, written);
    assert_int_equal(plx_tcp_write(pair.stream, data, 700, PLX_QUEUED), 700);
    written += 700;
    NET_UNTIL(&pair.world, pair.probe.told[NET_EXPIRED] == 1);
    assert_true(plx_reactor_now_ns(pair.world.reactor) > now_ns + 20000000);
    uint64_t until_ns = net_now_ns() + NET_PATIENCE_NS;
    while (pair.got < written) {
        net_turn(&pair.world);
        peer_reads(&pair, (size_t)(written - pair.got));
        assert_true(net_now_ns() < until_ns);
    }
    close_pair(&pair);
}

static void write_before_in_time_is_sent(void **state)
{
    struct pair pair;
    open_pair(&pair, *state, 10000, "4M");
    uint8_t data[100];
    for (uint64_t place = 0; place < 10000; place += sizeof(data)) {
        net_fill(data, sizeof(data), place);
        uint64_t later = plx_reactor_now_ns(pair.world.reactor) + 2 * (uint64_t)NET_PATIENCE_NS;
        assert_int_equal(plx_tcp_write_before(pair.stream, data, sizeof(data), later), 0);
    }
    assert_int_equal(plx_tcp_write_before(pair.stream, data, 10001, UINT64_MAX), -EMSGSIZE);
    uint64_t until_ns = net_now_ns() + NET_PATIENCE_NS;
    while (pair.got < 10000) {
        net_turn(&pair.world);
        peer_reads(&pair, 10000);
        assert_true(net_now_ns() < until_ns);
    }
    assert_int_equal(pair.probe.told[NET_EXPIRED], 0);
    close_pair(&pair);
}

static void write_before_too_many_waiting_is_eagain(void **state)
{
    struct pair pair;
    open_pair(&pair, *state, 100000, "4M");
    for (uint32_t i = 0; i < PLX_TCP_DATED_MAX; i++)
        assert_int_equal(plx_tcp_write_before(pair.stream, "d", 1, UINT64_MAX), 0);
    assert_int_equal(plx_tcp_write_before(pair.stream, "d", 1, UINT64_MAX), -EAGAIN);
    assert_int_equal(plx_tcp_write(pair.stream, "p", 1, PLX_QUEUED), 1);
    uint8_t in[64];
    NET_UNTIL(&pair.world,
              net_peer_recv(pair.peer, in, sizeof(in)) != 0 && plx_tcp_queued(pair.stream) == 0);
    assert_int_equal(plx_tcp_write_before(pair.stream, "d", 1, UINT64_MAX), 0);
    close_pair(&pair);
}

/* However it ends: sent, or dropped with a queue that is empty then, or with one that is not. */
static void write_before_leaves_no_block_behind(void **state)
{
    static const uint64_t not_after_ns[] = {UINT64_MAX, 1};
    struct pair pair;
    open_pair(&pair, *state, 10000, "4M");
    uint64_t written = 0;
    for (unsigned round = 0; round < 8; round++) {
        uint32_t expired = pair.probe.told[NET_EXPIRED];
        bool late = (round & 1) != 0;
        uint8_t data[2] = {net_pattern(written), net_pattern(written + 1)};
        assert_int_equal(plx_tcp_write_before(pair.stream, data, 1, not_after_ns[late]), 0);
        if ((round & 2) != 0)
            assert_int_equal(plx_tcp_write(pair.stream, &data[!late], 1, PLX_QUEUED), 1);
        NET_UNTIL(&pair.world, plx_tcp_queued(pair.stream) == 0);
        assert_int_equal(pair.probe.told[NET_EXPIRED] - expired, late);
        assert_int_equal(net_blocks_out(pair.world.reactor), 0);
        written += (late ? 0u : 1u) + ((round & 2) != 0 ? 1u : 0u);
        NET_UNTIL(&pair.world, (peer_reads(&pair, 10), pair.got == written));
    }
    close_pair(&pair);
}

/* --- blocks ----------------------------------------------------------------------------------- */

static void blocks_run_out_writers_are_cut_and_served_when_they_return(void **state)
{
    struct pair pair;
    struct net_probe second = {0};
    uint8_t byte = net_pattern(0);
    memset(&pair, 0, sizeof(pair));
    net_world_open(&pair.world, *state, 1, "2M");
    pair.world.opts.send_queue_bytes = 4 << 20;
    struct plx_addr addr = net_listen(&pair.world, &net_probe_handler, &second);
    int peer = net_dial(&addr);
    NET_UNTIL(&pair.world, second.told[NET_ACCEPT] == 1);
    addr = net_listen(&pair.world, &net_probe_handler, &pair.probe);
    join_pair(&pair, &addr);

    /* The first takes every block there is, long before its bound, and gets stuck. */
    uint64_t written = write_until_stuck(&pair, 0);
    assert_true(plx_tcp_queued(pair.stream) < 1 << 20);
    assert_int_equal(plx_tcp_send_now(second.stream, &byte, 1), -EAGAIN);
    assert_int_equal(plx_tcp_write(second.stream, &byte, 1, PLX_QUEUED), 0);
    assert_int_equal(plx_tcp_write_before(second.stream, &byte, 1, UINT64_MAX), -EAGAIN);
    struct plx_tcp_stats stats;
    plx_tcp_read_stats(pair.world.reactor, &stats);
    assert_true(stats.send_starved >= 2);

    uint64_t until_ns = net_now_ns() + NET_PATIENCE_NS;
    while (second.told[NET_WRITABLE] == 0) {
        peer_reads(&pair, 4000);
        net_turn(&pair.world);
        assert_true(net_now_ns() < until_ns);
    }
    assert_int_equal(plx_tcp_write(second.stream, &byte, 1, PLX_QUEUED), 1);
    uint8_t got;
    NET_UNTIL(&pair.world, net_peer_recv(peer, &got, 1) == 1);
    assert_int_equal(got, byte);
    NET_UNTIL(&pair.world, plx_tcp_queued(second.stream) == 0);

    /* One that waits for blocks and goes away leaves no trace. */
    write_until_stuck(&pair, written);
    assert_int_equal(plx_tcp_write(second.stream, &byte, 1, PLX_QUEUED), 0);
    close(peer);
    plx_tcp_abort(second.stream);
    NET_UNTIL(&pair.world, second.told[NET_CLOSE] == 1);
    close_pair(&pair);
    assert_false(second.broken);
}

/* The pool is everybody's: a block that the application gives back serves a writer, too. */
static void blocks_of_the_application_serve_cut_writers_when_released(void **state)
{
    struct net_world world;
    struct net_probe probe = {0};
    void *blocks[512];
    uint32_t count = 0;
    uint8_t byte = net_pattern(0);
    net_world_open(&world, *state, 1, "2M");
    struct plx_pool *pool = plx_reactor_pool(world.reactor);
    struct plx_addr addr = net_listen(&world, &net_probe_handler, &probe);
    int peer = net_dial(&addr);
    NET_UNTIL(&world, probe.told[NET_ACCEPT] == 1);
    while ((blocks[count] = plx_pool_acquire(pool, PLX__BLOCK_BYTES)) != NULL)
        count++;
    assert_int_equal(plx_tcp_write(probe.stream, &byte, 1, PLX_QUEUED), 0);
    for (int turn = 0; turn < 50; turn++)
        net_turn(&world);
    assert_int_equal(probe.told[NET_WRITABLE], 0);
    plx_pool_release(pool, blocks[--count]);
    NET_UNTIL(&world, probe.told[NET_WRITABLE] == 1);
    assert_int_equal(plx_tcp_write(probe.stream, &byte, 1, PLX_QUEUED), 1);
    uint8_t got;
    NET_UNTIL(&world, net_peer_recv(peer, &got, 1) == 1);
    assert_int_equal(got, byte);
    while (count > 0)
        plx_pool_release(pool, blocks[--count]);
    close(peer);
    NET_UNTIL(&world, probe.told[NET_CLOSE] == 1);
    net_world_close(&world);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(writes_of_all_kinds_mixed_leave_once_and_in_order),
        cmocka_unit_test(write_to_a_full_queue_is_cut_and_told_when_to_go_on),
        cmocka_unit_test(send_now_takes_all_or_nothing),
        cmocka_unit_test(send_after_the_peer_reset_is_its_error_and_ends),
        cmocka_unit_test(write_before_expired_messages_are_dropped_whole),
        cmocka_unit_test(write_before_expires_though_its_send_is_in_flight),
        cmocka_unit_test(write_before_in_time_is_sent),
        cmocka_unit_test(write_before_too_many_waiting_is_eagain),
        cmocka_unit_test(write_before_leaves_no_block_behind),
        cmocka_unit_test(blocks_run_out_writers_are_cut_and_served_when_they_return),
        cmocka_unit_test(blocks_of_the_application_serve_cut_writers_when_released),
    };
    return net_run("tcp_send", tests, sizeof(tests) / sizeof(tests[0]));
}
