/* SPDX-License-Identifier: MIT */
/* Streams that behave: echo, closing, connecting, pausing, switching. */
#include "net/tcp.h"

#include <errno.h>
#include <netinet/tcp.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "test/net/net_echo.h"
#include "test/net/net_world.h"

/* Sends `len` bytes of the pattern and reads them back, verifying each; the peer stays open. */
static void send_and_verify(struct net_world *world, int peer, uint64_t from, size_t len)
{
    static uint8_t out[65536];
    static uint8_t in[65536];
    uint64_t sent = 0;
    uint64_t got = 0;
    uint64_t until_ns = net_now_ns() + NET_PATIENCE_NS;
    while (got < len) {
        if (sent < len) {
            size_t part = len - sent < sizeof(out) ? len - sent : sizeof(out);
            net_fill(out, part, from + sent);
            int64_t n = net_peer_send(peer, out, part);
            assert_true(n >= 0 || n == -ENOTCONN);
            sent += n > 0 ? (uint64_t)n : 0;
        }
        net_turn(world);
        int64_t n = net_peer_recv(peer, in, sizeof(in));
        if (n > 0) {
            assert_true(net_matches(in, (size_t)n, from + got));
            got += (uint64_t)n;
        } else {
            assert_true(n == -EAGAIN || n == -ENOTCONN);
        }
        assert_true(net_now_ns() < until_ns);
    }
}

static void echo_sizes(void **state, uint32_t flags)
{
    static const size_t sizes[] = {1,     2,     64,    4095,   4096,   4097,
                                   16368, 16369, 65536, 300000, 2000000};
    struct net_world world;
    net_world_open(&world, *state, 1, "8M");
    struct net_echo echo = {.flags = flags};
    struct plx_addr addr = net_listen(&world, &net_echo_handler, &echo);
    int peer = net_dial(&addr);
    uint64_t total = 0;
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        send_and_verify(&world, peer, total, sizes[i]);
        total += sizes[i];
    }
    struct plx_tcp_stats stats;
    NET_UNTIL(&world, plx_tcp_queued(echo.last) == 0);
    plx_tcp_read_stats(world.reactor, &stats);
    assert_int_equal(stats.accepted, 1);
    assert_int_equal(stats.streams, 1);
    assert_int_equal(stats.bytes_in, total);
    assert_int_equal(stats.bytes_out, total);
    close(peer);
    NET_UNTIL(&world, echo.closes == 1);
    assert_int_equal(echo.reason, 0);
    plx_tcp_read_stats(world.reactor, &stats);
    assert_int_equal(stats.closed_orderly, 1);
    assert_int_equal(stats.streams, 0);
    net_world_close(&world);
    assert_false(echo.late_call);
}

static void echo_of_many_sizes_inline_comes_back(void **state)
{
    echo_sizes(state, PLX_INLINE);
}

static void echo_of_many_sizes_queued_comes_back(void **state)
{
    echo_sizes(state, PLX_QUEUED);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(echo_of_many_sizes_inline_comes_back),
        cmocka_unit_test(echo_of_many_sizes_queued_comes_back),
    };
    return net_run("tcp", tests, sizeof(tests) / sizeof(tests[0]));
}
