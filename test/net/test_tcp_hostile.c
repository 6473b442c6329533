/* SPDX-License-Identifier: MIT */
/* Peers that behave badly: resets at every moment, never reading, coming and going at random. */
#include "net/tcp.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "net/tcp_internal.h"
#include "test/net/net_echo.h"
#include "test/net/net_probe.h"
#include "test/net/net_world.h"

static void peer_reset_when_idle_closes_with_it(void **state)
{
    struct net_world world;
    net_world_open(&world, *state, 1, "2M");
    struct net_echo echo = {.flags = PLX_INLINE};
    struct plx_addr addr = net_listen(&world, &net_echo_handler, &echo);
    int peer = net_dial(&addr);
    NET_UNTIL(&world, echo.accepts == 1);
    for (int turn = 0; turn < 10; turn++)
        net_turn(&world);
    net_peer_reset(peer);
    NET_UNTIL(&world, echo.closes == 1);
    assert_int_equal(echo.reason, -ECONNRESET);
    struct plx_tcp_stats stats;
    plx_tcp_read_stats(world.reactor, &stats);
    assert_int_equal(stats.closed_reset, 1);
    net_world_close(&world);
    assert_false(echo.late_call);
}

static void peer_reset_before_the_accept_does_no_harm(void **state)
{
    struct net_world world;
    net_world_open(&world, *state, 1, "2M");
    struct net_echo echo = {.flags = PLX_INLINE};
    struct plx_addr addr = net_listen(&world, &net_echo_handler, &echo);
    for (int i = 0; i < 20; i++)
        net_peer_reset(net_dial(&addr));
    int peer = net_dial(&addr);
    uint8_t byte;
    NET_UNTIL(&world, net_peer_send(peer, "x", 1) == 1);
    NET_UNTIL(&world, net_peer_recv(peer, &byte, 1) == 1);
    close(peer);
    NET_UNTIL(&world, echo.closes == echo.accepts);
    net_world_close(&world);
}

static void peer_reset_in_mid_send_ends_the_stream(void **state)
{
    static uint8_t data[400000];
    static const uint32_t flags[] = {PLX_INLINE, PLX_QUEUED};
    for (int i = 0; i < 2; i++) {
        struct net_world world;
        net_world_open(&world, *state, 1, "8M");
        struct net_echo echo = {.flags = flags[i]};
        struct plx_addr addr = net_listen(&world, &net_echo_handler, &echo);
        int peer = net_dial(&addr);
        /* Sends and never reads, until the echo is stuck in sending. */
        uint32_t stuck = 0;
        NET_UNTIL(&world, echo.accepts == 1);
        uint64_t until_ns = net_now_ns() + NET_PATIENCE_NS;
        while (stuck < 200 || plx_tcp_queued(echo.last) == 0) {
            int64_t n = net_peer_send(peer, data, sizeof(data));
            assert_true(n >= 0);
            stuck = n > 0 ? 0 : stuck + 1;
            net_turn(&world);
            assert_true(net_now_ns() < until_ns);
        }
        net_peer_reset(peer);
        NET_UNTIL(&world, echo.closes == 1);
        assert_true(echo.reason == -ECONNRESET || echo.reason == -EPIPE);
        assert_true(echo.queue_max <= world.opts.send_queue_bytes);
        net_world_close(&world);
        assert_false(echo.late_call);
    }
}

static void peer_that_never_reads_is_closed_within_bounds(void **state)
{
    static uint8_t data[400000];
    struct net_world world;
    net_world_open(&world, *state, 1, "8M");
    world.opts.send_timeout_ns = 200000000;
    struct net_echo echo = {.flags = PLX_INLINE};
    struct plx_addr addr = net_listen(&world, &net_echo_handler, &echo);
    int peer = net_dial(&addr);
    int quiet = net_dial(&addr);
    uint64_t until_ns = net_now_ns() + NET_PATIENCE_NS;
    while (echo.closes == 0) {
        (void)net_peer_send(peer, data, sizeof(data));
        net_turn(&world);
        assert_true(net_now_ns() < until_ns);
    }
    assert_int_equal(echo.reason, -ETIMEDOUT);
    assert_true(echo.queue_max <= world.opts.send_queue_bytes);
    struct plx_tcp_stats stats;
    plx_tcp_read_stats(world.reactor, &stats);
    assert_int_equal(stats.closed_timeout, 1);
    /* One with nothing queued is none of the timeout's business. */
    uint8_t byte;
    assert_int_equal(net_peer_send(quiet, "x", 1), 1);
    NET_UNTIL(&world, net_peer_recv(quiet, &byte, 1) == 1);
    close(peer);
    close(quiet);
    NET_UNTIL(&world, echo.closes == 2);
    net_world_close(&world);
    assert_false(echo.late_call);
}

/* The looks of the timer, made by hand: how long they are apart must not depend on the machine. */
static void peer_that_reads_slowly_is_kept_until_it_stops(void **state)
{
    static uint8_t data[400000];
    static uint8_t in[65536];
    struct net_world world;
    net_world_open(&world, *state, 1, "8M");
    world.opts.send_timeout_ns = PLX_INFINITE - 1;
    struct net_echo echo = {.flags = PLX_INLINE};
    struct plx_addr addr = net_listen(&world, &net_echo_handler, &echo);
    int peer = net_dial(&addr);
    NET_UNTIL(&world, echo.accepts == 1);
    NET_UNTIL(&world,
              net_peer_send(peer, data, sizeof(data)) == 0 && plx_tcp_queued(echo.last) > 0);
    uint64_t now_ns = echo.last->tick_ns;
    assert_int_not_equal(now_ns, 0);
    for (int look = 0; look < 6; look++) {
        uint64_t sent = echo.last->sent;
        NET_UNTIL(&world, (net_peer_send(peer, data, sizeof(data)),
                           net_peer_recv(peer, in, sizeof(in)), echo.last->sent != sent));
        NET_UNTIL(&world, (net_peer_send(peer, data, sizeof(data)), plx_tcp_queued(echo.last) > 0));
        echo.last->tick_ns = now_ns;
        (void)plx__send_check(echo.last, now_ns);
        assert_int_equal(echo.last->phase, PLX__TCP_OPEN);
    }
    for (int look = 0; look < 2; look++) {
        assert_int_equal(echo.last->phase, PLX__TCP_OPEN);
        echo.last->tick_ns = now_ns;
        (void)plx__send_check(echo.last, now_ns);
    }
    assert_int_equal(echo.last->phase, PLX__TCP_DYING);
    NET_UNTIL(&world, echo.closes == 1);
    assert_int_equal(echo.reason, -ETIMEDOUT);
    close(peer);
    net_world_close(&world);
}

/* --- at random -------------------------------------------------------------------------------- */

#define PEERS 24

struct crowd {
    struct net_world world;
    struct plx_addr addr;
    struct net_echo echo;
    int peers[PEERS];
    uint64_t sent[PEERS];
    uint64_t got[PEERS];
    bool ended[PEERS];
    uint32_t dialled;
};

static void forget(struct crowd *crowd, int i)
{
    crowd->peers[i] = -1;
    crowd->sent[i] = 0;
    crowd->got[i] = 0;
    crowd->ended[i] = false;
}

static void peer_reads(struct crowd *crowd, int i, size_t len)
{
    static uint8_t in[65536];
    int64_t n = net_peer_recv(crowd->peers[i], in, len < sizeof(in) ? len : sizeof(in));
    if (n > 0) {
        assert_true(net_matches(in, (size_t)n, crowd->got[i]));
        crowd->got[i] += (uint64_t)n;
    } else if (n != -EAGAIN && n != -ENOTCONN) {
        /* The end comes after the last byte, or the server has aborted. */
        assert_true(n == -ECONNRESET || n == -EPIPE || crowd->got[i] == crowd->sent[i]);
        close(crowd->peers[i]);
        forget(crowd, i);
    }
}

static void do_something(struct crowd *crowd, unsigned *seed)
{
    static uint8_t out[30000];
    int i = rand_r(seed) % PEERS;
    if (crowd->peers[i] < 0) {
        crowd->peers[i] = net_dial(&crowd->addr);
        crowd->dialled++;
        return;
    }
    switch (rand_r(seed) % 12) {
    case 0:
        if (rand_r(seed) % 4 == 0) {
            net_peer_reset(crowd->peers[i]);
            forget(crowd, i);
        }
        break;
    case 1:
        if (rand_r(seed) % 4 == 0) {
            close(crowd->peers[i]);
            forget(crowd, i);
        }
        break;
    case 2:
        if (rand_r(seed) % 2 == 0 && shutdown(crowd->peers[i], SHUT_WR) == 0)
            crowd->ended[i] = true;
        break;
    case 3:
        if (crowd->echo.last != NULL && rand_r(seed) % 6 == 0)
            plx_tcp_abort(crowd->echo.last);
        break;
    case 4:
        if (crowd->echo.last != NULL)
            (void)!plx_tcp_set_receive(crowd->echo.last,
                                       rand_r(seed) % 2 == 0 ? PLX_RECV_SPIN : PLX_RECV_RING);
        break;
    case 5:
    case 6:
    case 7:
    case 8:
        if (!crowd->ended[i]) {
            size_t len = (size_t)rand_r(seed) % sizeof(out) + 1;
            net_fill(out, len, crowd->sent[i]);
            int64_t n = net_peer_send(crowd->peers[i], out, len);
            crowd->sent[i] += n > 0 ? (uint64_t)n : 0;
            if (n == -ECONNRESET || n == -EPIPE) {
                /* Told once: a read would take it for the end. */
                close(crowd->peers[i]);
                forget(crowd, i);
            }
        }
        break;
    default:
        peer_reads(crowd, i, (size_t)rand_r(seed) % 60000 + 1);
    }
}

static void peers_coming_and_going_at_random_leave_nothing(void **state)
{
    static struct crowd crowd;
    const struct net_mode *mode = *state;
    const int steps = mode->sqpoll == PLX_SQPOLL_ON ? 8000 : 30000;
    unsigned first = 31337;
    unsigned seed = first;
    memset(&crowd, 0, sizeof(crowd));
    print_message("seed %u\n", first);
    net_world_open(&crowd.world, *state, 1, "4M");
    crowd.world.opts.send_queue_bytes = 30000;
    crowd.addr = net_listen(&crowd.world, &net_echo_handler, &crowd.echo);
    for (int i = 0; i < PEERS; i++)
        crowd.peers[i] = -1;
    for (int step = 0; step < steps; step++) {
        crowd.echo.flags = rand_r(&seed) % 2 == 0 ? PLX_INLINE : PLX_QUEUED;
        do_something(&crowd, &seed);
        if (rand_r(&seed) % 3 == 0)
            net_turn(&crowd.world);
    }
    for (int i = 0; i < PEERS; i++) {
        if (crowd.peers[i] >= 0)
            close(crowd.peers[i]);
    }
    NET_UNTIL(&crowd.world, crowd.echo.live == 0);
    struct plx_tcp_stats stats;
    plx_tcp_read_stats(crowd.world.reactor, &stats);
    assert_int_equal(stats.streams, 0);
    assert_int_equal(stats.accepted, crowd.echo.accepts);
    assert_int_equal(crowd.echo.closes, crowd.echo.accepts);
    assert_int_equal(stats.closed_orderly + stats.closed_reset + stats.closed_here +
                         stats.closed_error + stats.closed_timeout,
                     stats.accepted);
    const struct plx__net *net = *plx__reactor_net(crowd.world.reactor);
    assert_int_equal(net->small.held_count, 0);
    assert_int_equal(net_blocks_out(crowd.world.reactor), 0);
    assert_true(crowd.dialled > 50);
    net_world_close(&crowd.world);
    assert_false(crowd.echo.late_call);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(peer_reset_when_idle_closes_with_it),
        cmocka_unit_test(peer_reset_before_the_accept_does_no_harm),
        cmocka_unit_test(peer_reset_in_mid_send_ends_the_stream),
        cmocka_unit_test(peer_that_never_reads_is_closed_within_bounds),
        cmocka_unit_test(peer_that_reads_slowly_is_kept_until_it_stops),
        cmocka_unit_test(peers_coming_and_going_at_random_leave_nothing),
    };
    return net_run("tcp_hostile", tests, sizeof(tests) / sizeof(tests[0]));
}
