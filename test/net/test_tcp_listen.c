/* SPDX-License-Identifier: MIT */
/* Listeners and reactors: limits reached and recovered from, several reactors, the end. */
#include "net/tcp.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "net/tcp_internal.h"
#include "test/net/net_echo.h"
#include "test/net/net_probe.h"
#include "test/net/net_world.h"

static void close_all(const int *fds, size_t count)
{
    for (size_t i = 0; i < count; i++)
        close(fds[i]);
}

static struct plx_tcp_stats stats_of(struct net_world *world)
{
    struct plx_tcp_stats stats;
    plx_tcp_read_stats(world->reactor, &stats);
    return stats;
}

/* Each peer sends one byte and gets it back. */
static void each_echoes_a_byte(struct net_world *world, const int *peers, size_t count)
{
    uint64_t until_ns = net_now_ns() + NET_PATIENCE_NS;
    for (size_t i = 0; i < count; i++) {
        uint8_t byte = net_pattern(i);
        while (net_peer_send(peers[i], &byte, 1) != 1) {
            net_turn(world);
            assert_true(net_now_ns() < until_ns);
        }
    }
    for (size_t i = 0; i < count; i++) {
        uint8_t byte = 0;
        while (net_peer_recv(peers[i], &byte, 1) != 1) {
            net_turn(world);
            assert_true(net_now_ns() < until_ns);
        }
        assert_int_equal(byte, net_pattern(i));
    }
}

/* --- many, and again and again ---------------------------------------------------------------- */

static void listener_serves_thousands_with_a_byte_each(void **state)
{
    struct net_world world;
    struct rlimit limit;
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &limit), 0);
    limit.rlim_cur = limit.rlim_max;
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);
    /* Ten thousand once, a fifth of it in the other modes: each takes two descriptors. */
    size_t count = *state == &net_modes[0] ? 10000 : 2000;
    if (limit.rlim_cur < 2 * count + 100)
        count = (size_t)(limit.rlim_cur - 100) / 2;
    net_world_open(&world, *state, 1, "32M");
    struct net_echo echo = {.flags = PLX_INLINE};
    struct plx_addr addr = net_listen(&world, &net_echo_handler, &echo);
    int *peers = calloc(count, sizeof(*peers));
    assert_non_null(peers);
    for (size_t i = 0; i < count; i++) {
        peers[i] = net_dial(&addr);
        if (i % 64 == 0)
            net_turn(&world);
    }
    NET_UNTIL(&world, echo.accepts == count);
    each_echoes_a_byte(&world, peers, count);
    assert_int_equal(stats_of(&world).streams, count);
    close_all(peers, count);
    NET_UNTIL(&world, echo.closes == count);
    assert_int_equal(stats_of(&world).closed_orderly, count);
    assert_int_equal(stats_of(&world).refused, 0);
    net_world_close(&world);
    assert_false(echo.late_call);
    free(peers);
}

static void listener_reuses_the_memory_of_ended_streams(void **state)
{
    struct net_world world;
    net_world_open(&world, *state, 1, "4M");
    struct net_echo echo = {.flags = PLX_QUEUED};
    struct plx_addr addr = net_listen(&world, &net_echo_handler, &echo);
    size_t left = 0;
    for (uint32_t round = 0; round < 15; round++) {
        int peers[20];
        for (int i = 0; i < 20; i++)
            peers[i] = net_dial(&addr);
        each_echoes_a_byte(&world, peers, 20);
        for (int i = 0; i < 20; i++) {
            if (i % 2 != 0)
                net_peer_reset(peers[i]);
            else
                close(peers[i]);
        }
        NET_UNTIL(&world, echo.closes == 20 * (round + 1));
        size_t now = plx_arena_left(plx_reactor_arena(world.reactor));
        if (round > 0)
            assert_int_equal(now, left);
        left = now;
    }
    assert_int_equal(stats_of(&world).accepted, 300);
    net_world_close(&world);
    assert_false(echo.late_call);
}

static void full_ring_delays_and_loses_nothing(void **state)
{
    struct net_world world;
    int peers[300];
    net_world_open_ring(&world, *state, 1, "16M", "16");
    struct net_echo echo = {.flags = PLX_QUEUED};
    struct plx_addr addr = net_listen(&world, &net_echo_handler, &echo);
    for (int i = 0; i < 300; i++)
        peers[i] = net_dial(&addr);
    NET_UNTIL(&world, echo.accepts == 300);
    for (uint32_t round = 0; round < 3; round++)
        each_echoes_a_byte(&world, peers, 300);
    /* Connections of ours need entries, too. */
    struct net_probe probes[40];
    memset(probes, 0, sizeof(probes));
    for (int i = 0; i < 40; i++) {
        struct plx_tcp *stream;
        assert_int_equal(plx_tcp_connect(world.reactor, &addr, &world.opts, &stream, NULL,
                                         &net_probe_handler, &probes[i]),
                         0);
        assert_int_equal(plx_tcp_write(stream, "x", 1, PLX_QUEUED), 1);
    }
    for (int i = 0; i < 40; i++) {
        NET_UNTIL(&world, probes[i].bytes == 1);
        plx_tcp_abort(probes[i].stream);
    }
    close_all(peers, 300);
    NET_UNTIL(&world, echo.closes == 340);
    for (int i = 0; i < 40; i++)
        NET_UNTIL(&world, probes[i].told[NET_CLOSE] == 1);
    struct plx_reactor_stats stats;
    plx_reactor_read_stats(world.reactor, &stats);
    if (((const struct net_mode *)*state)->backend == PLX_BACKEND_URING)
        assert_true(stats.ops_refused > 0);
    net_world_close(&world);
}

/* --- limits ----------------------------------------------------------------------------------- */

static void listener_at_its_bound_waits_until_a_stream_ends(void **state)
{
    struct net_world world;
    int peers[6];
    net_world_open(&world, *state, 1, "4M");
    world.opts.streams_max = 3;
    struct net_echo echo = {.flags = PLX_INLINE};
    struct plx_addr addr = net_listen(&world, &net_echo_handler, &echo);
    for (int i = 0; i < 6; i++)
        peers[i] = net_dial(&addr);
    NET_UNTIL(&world, echo.accepts == 3);
    for (int turn = 0; turn < 200; turn++)
        net_turn(&world);
    assert_int_equal(echo.accepts, 3);
    for (uint32_t ended = 0; ended < 6; ended++) {
        close(peers[ended]);
        NET_UNTIL(&world, echo.closes == ended + 1);
        assert_true(echo.live <= 3);
    }
    NET_UNTIL(&world, echo.accepts == 6 && echo.closes == 6);
    assert_int_equal(stats_of(&world).refused, 0);
    net_world_close(&world);
}

static void listener_out_of_descriptors_pauses_and_recovers(void **state)
{
    struct net_world world;
    struct rlimit before;
    struct rlimit low;
    int peers[12];
    net_world_open(&world, *state, 1, "4M");
    for (int i = 0; i < 12; i++)
        peers[i] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    /* Room for the listener and five streams. */
    int top = dup(peers[11]);
    close(top);
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
    low = before;
    low.rlim_cur = (rlim_t)top + 6;
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &low), 0);

    struct net_echo echo = {.flags = PLX_INLINE};
    struct plx_addr addr = net_listen(&world, &net_echo_handler, &echo);
    for (int i = 0; i < 12; i++)
        (void)!connect(peers[i], &addr.sock.any, addr.bytes);
    NET_UNTIL(&world, stats_of(&world).accept_pauses > 0);
    assert_int_equal(echo.accepts, 5);
    struct plx_tcp *stream = NULL;
    struct plx_diag diag = {0};
    assert_int_equal(plx_tcp_connect(world.reactor, &addr, &world.opts, &stream, &diag,
                                     &net_echo_handler, &echo),
                     -EMFILE);
    assert_string_equal(diag.what, "socket");
    struct plx_tcp_listener *other;
    struct plx_addr any = net_loopback(0);
    assert_int_equal(
        plx_tcp_listen(world.reactor, &any, &world.opts, &other, &diag, &net_echo_handler, &echo),
        -EMFILE);

    /* What is accepted works meanwhile; each end lets another one in. */
    each_echoes_a_byte(&world, peers, 5);
    for (uint32_t i = 0; i < 12; i++) {
        NET_UNTIL(&world, echo.accepts > i);
        close(peers[i]);
        NET_UNTIL(&world, echo.closes == i + 1);
    }
    assert_int_equal(echo.accepts, 12);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
    net_world_close(&world);
}

static void listener_out_of_descriptors_tries_again_by_itself(void **state)
{
    struct net_world world;
    struct rlimit before;
    struct rlimit low;
    int peers[2];
    net_world_open(&world, *state, 1, "4M");
    for (int i = 0; i < 2; i++)
        peers[i] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    int top = dup(peers[1]);
    int spare = dup(peers[1]);
    close(top);
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
    low = before;
    low.rlim_cur = (rlim_t)spare + 1; /* the listener, and none for a stream */
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &low), 0);
    struct net_echo echo = {.flags = PLX_INLINE};
    struct plx_addr addr = net_listen(&world, &net_echo_handler, &echo);
    for (int i = 0; i < 2; i++)
        (void)!connect(peers[i], &addr.sock.any, addr.bytes);
    NET_UNTIL(&world, stats_of(&world).accept_pauses >= 3);
    assert_int_equal(echo.accepts, 0);
    close(spare); /* nothing of the reactor's: it finds out by its timer */
    NET_UNTIL(&world, echo.accepts == 1);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
    NET_UNTIL(&world, echo.accepts == 2);
    close_all(peers, 2);
    NET_UNTIL(&world, echo.closes == 2);
    net_world_close(&world);
}

static void hot_streams_beyond_the_limit_receive_by_ring(void **state)
{
    struct net_world world;
    int peers[6];
    struct net_probe probes[6];
    struct plx_addr addr = {0};
    net_world_open(&world, *state, 1, "4M");
    world.opts.receive = PLX_RECV_SPIN;
    memset(probes, 0, sizeof(probes));
    for (int i = 0; i < 6; i++) {
        addr = net_listen(&world, &net_probe_handler, &probes[i]);
        peers[i] = net_dial(&addr);
        NET_UNTIL(&world, probes[i].told[NET_ACCEPT] == 1);
        assert_int_equal(plx_tcp_receive(probes[i].stream), i < 4 ? PLX_RECV_SPIN : PLX_RECV_RING);
    }
    assert_int_equal(stats_of(&world).hot_refused, 2);
    assert_int_equal(plx_tcp_set_receive(probes[4].stream, PLX_RECV_SPIN), -ENOSPC);
    assert_int_equal(plx_tcp_receive(probes[4].stream), PLX_RECV_RING);
    assert_int_equal(stats_of(&world).hot_refused, 3);
    for (int i = 0; i < 6; i++) {
        assert_int_equal(net_peer_send(peers[i], "x", 1), 1);
        NET_UNTIL(&world, probes[i].bytes == 1);
    }
    /* A place is free again when a hot stream ends, and when one becomes a plain one. */
    close(peers[0]);
    NET_UNTIL(&world, probes[0].told[NET_CLOSE] == 1);
    assert_int_equal(plx_tcp_set_receive(probes[4].stream, PLX_RECV_SPIN), 0);
    assert_int_equal(plx_tcp_set_receive(probes[4].stream, PLX_RECV_SPIN), 0);
    assert_int_equal(plx_tcp_set_receive(probes[1].stream, PLX_RECV_RING), 0);
    net_turn(&world);
    assert_int_equal(plx_tcp_set_receive(probes[5].stream, PLX_RECV_SPIN), 0);
    for (int i = 1; i < 6; i++) {
        assert_int_equal(net_peer_send(peers[i], "y", 1), 1);
        NET_UNTIL(&world, probes[i].bytes == 2);
        close(peers[i]);
        NET_UNTIL(&world, probes[i].told[NET_CLOSE] == 1);
        assert_false(probes[i].broken);
    }
    net_world_close(&world);
}

/* --- memory ----------------------------------------------------------------------------------- */

/* More than one, as a backend may give one stream only a part of the buffers in one turn. */
#define HOLDERS 4

static void buffers_all_held_others_wait_and_go_on_when_released(void **state)
{
    static uint8_t data[300000];
    struct net_world world;
    struct net_probe holders[HOLDERS];
    struct net_probe other = {.checks_pattern = true};
    int peers[HOLDERS];
    uint64_t sent[HOLDERS];
    if (((const struct net_mode *)*state)->sqpoll == PLX_SQPOLL_ON) {
        print_message("skipped: the SQ thread decides how much it takes before the pause\n");
        skip();
    }
    net_world_open(&world, *state, 1, "2M");
    world.opts.receive = PLX_RECV_RING;
    memset(holders, 0, sizeof(holders));
    for (int i = 0; i < HOLDERS; i++) {
        holders[i].checks_pattern = true;
        struct plx_addr addr = net_listen(&world, &net_probe_handler, &holders[i]);
        peers[i] = net_dial(&addr);
        NET_UNTIL(&world, holders[i].told[NET_ACCEPT] == 1);
    }
    struct plx_addr addr = net_listen(&world, &net_probe_handler, &other);
    int last = net_dial(&addr);
    NET_UNTIL(&world, other.told[NET_ACCEPT] == 1);
    for (int turn = 0; turn < 20; turn++)
        net_turn(&world);

    /* What came before the pause is collected after it, and held. */
    net_fill(data, sizeof(data), 0);
    for (int i = 0; i < HOLDERS; i++) {
        sent[i] = (uint64_t)net_peer_send(peers[i], data, sizeof(data));
        plx_tcp_pause(holders[i].stream);
    }
    const struct plx__net *net = *plx__reactor_net(world.reactor);
    NET_UNTIL(&world, net->small.held_count == net->small.count);

    uint64_t starved = stats_of(&world).recv_starved;
    assert_int_equal(net_peer_send(last, data, 10), 10);
    NET_UNTIL(&world, stats_of(&world).recv_starved > starved);
    for (int turn = 0; turn < 100; turn++)
        net_turn(&world);
    assert_int_equal(other.bytes, 0);
    assert_true(stats_of(&world).recv_starved < starved + 10); /* it waits, it does not spin */

    /* One that holds buffers and is aborted gives them back. Which do is the kernel's affair: what
     * came to several sockets, 6.1 collects from the last of them on, 6.18 from the first. */
    int gone = 0;
    while (gone < HOLDERS - 1 && holders[gone].stream->held_first == PLX__NO_BUFFER)
        gone++;
    plx_tcp_abort(holders[gone].stream);
    NET_UNTIL(&world, holders[gone].told[NET_CLOSE] == 1 && other.bytes == 10);
    assert_int_equal(holders[gone].bytes, 0);
    for (int i = 0; i < HOLDERS; i++) {
        if (i == gone)
            continue;
        plx_tcp_resume(holders[i].stream);
        NET_UNTIL(&world, holders[i].bytes == sent[i]);
    }
    assert_int_equal(net->small.held_count, 0);
    close_all(peers, HOLDERS);
    close(last);
    for (int i = 0; i < HOLDERS; i++) {
        NET_UNTIL(&world, holders[i].told[NET_CLOSE] == 1);
        assert_false(holders[i].broken);
    }
    NET_UNTIL(&world, other.told[NET_CLOSE] == 1);
    net_world_close(&world);
    assert_false(other.broken);
}

static void arena_exhausted_connections_are_closed_and_counted(void **state)
{
    struct net_world world;
    struct plx_diag diag = {0};
    net_world_open(&world, *state, 1, "2M");
    struct net_echo echo = {.flags = PLX_QUEUED};
    struct plx_addr addr = net_listen(&world, &net_echo_handler, &echo);
    while (plx_arena_carve(plx_reactor_arena(world.reactor), 64, 1) != NULL)
        continue;
    int peer = net_dial(&addr);
    uint8_t byte;
    NET_UNTIL(&world, net_peer_recv(peer, &byte, 1) == 0);
    NET_UNTIL(&world, stats_of(&world).refused == 1);
    assert_int_equal(echo.accepts, 0);
    close(peer);
    struct plx_tcp *stream;
    assert_int_equal(plx_tcp_connect(world.reactor, &addr, &world.opts, &stream, &diag,
                                     &net_echo_handler, &echo),
                     -ENOMEM);
    assert_string_equal(diag.what, "arena");
    net_world_close(&world);
}

static void arena_with_little_left_fails_cleanly(void **state)
{
    static const size_t left[] = {0, 600, 2000, 8000, 12000, 40000, 120000, 180000, 400000};
    uint32_t failures = 0;
    for (size_t i = 0; i < sizeof(left) / sizeof(left[0]); i++) {
        struct net_world world;
        struct plx_tcp_listener *listener;
        struct plx_diag diag = {0};
        struct plx_addr addr = net_loopback(0);
        net_world_open(&world, *state, 1, "2M");
        struct plx_arena *arena = plx_reactor_arena(world.reactor);
        assert_non_null(plx_arena_carve(arena, plx_arena_left(arena) - left[i] - 1, 1));
        int before = net_count_fds();
        struct net_echo echo = {.flags = PLX_QUEUED};
        world.opts.receive = PLX_RECV_SPIN;
        int rc = plx_tcp_listen(world.reactor, &addr, &world.opts, &listener, &diag,
                                &net_echo_handler, &echo);
        if (rc != 0) {
            failures++;
            assert_int_equal(rc, -ENOMEM);
            assert_string_equal(diag.what, "arena");
            assert_null(listener);
            assert_int_equal(net_count_fds(), before);
        }
        net_world_close(&world);
    }
    assert_in_range(failures, 4, sizeof(left) / sizeof(left[0]) - 1);
}

static void pool_without_buffers_fails_cleanly(void **state)
{
    struct net_world world;
    struct plx_tcp_listener *listener = NULL;
    struct plx_diag diag = {0};
    struct plx_addr addr = net_loopback(0);
    net_world_open(&world, *state, 1, "2M");
    struct plx_pool *pool = plx_reactor_pool(world.reactor);
    void *blocks[512];
    uint32_t count = 0;
    while (plx_pool_available(pool, 4096) > 1)
        blocks[count++] = plx_pool_acquire(pool, 4096);
    int before = net_count_fds();
    struct net_echo echo = {.flags = PLX_QUEUED};
    assert_int_equal(plx_tcp_listen(world.reactor, &addr, &world.opts, &listener, &diag,
                                    &net_echo_handler, &echo),
                     -ENOMEM);
    assert_string_equal(diag.what, "arena");
    assert_null(listener);
    assert_int_equal(net_count_fds(), before);
    while (count > 0)
        plx_pool_release(pool, blocks[--count]);
    world.opts.receive_bytes = 8192;
    assert_int_equal(plx_tcp_listen(world.reactor, &addr, &world.opts, &listener, &diag,
                                    &net_echo_handler, &echo),
                     -EINVAL);
    assert_string_equal(diag.what, "receive_bytes");
    world.opts.receive_bytes = 4096;
    addr = net_listen(&world, &net_echo_handler, &echo);
    int peer = net_dial(&addr);
    each_echoes_a_byte(&world, &peer, 1);
    close(peer);
    NET_UNTIL(&world, echo.closes == 1);
    net_world_close(&world);
}

/* --- what the kernel seldom says, said by the test -------------------------------------------- */

static void say(struct plx_op *op, int32_t result, uint16_t flags)
{
    struct plx_event event = {.result = result, .flags = flags};
    op->fn(op, &event, op->ctx);
}

static int refuse_group(struct plx__io *io, uint16_t index)
{
    (void)io;
    (void)index;
    return -EPERM;
}

/* No place for a group, or the kernel refuses its ring: the diagnosis does not blame the arena. */
static void groups_that_cannot_be_made_are_named(void **state)
{
    struct net_world world;
    struct plx_tcp_listener *listener;
    struct plx_tcp *stream;
    struct plx_diag diag = {0};
    struct plx_addr addr = net_loopback(0);
    uint16_t group;
    net_world_open(&world, *state, 1, "2M");
    struct plx__io *io = plx__reactor_io(world.reactor);
    const struct plx__io_ops *ops = io->ops;
    struct plx__io_ops refusing = *ops;
    refusing.group_open = refuse_group;
    io->ops = &refusing;
    assert_int_equal(plx_tcp_listen(world.reactor, &addr, &world.opts, &listener, &diag,
                                    &net_echo_handler, NULL),
                     -EPERM);
    assert_string_equal(diag.what, "groups");
    assert_non_null(strstr(diag.text, strerror(EPERM)));
    io->ops = ops;

    uint32_t groups = 0;
    while (plx_group_create(world.reactor, 1, PLX_PAGE, &group) == 0)
        groups++;
    assert_int_equal(groups, PLX_GROUPS_MAX);
    diag = (struct plx_diag){0};
    assert_int_equal(plx_tcp_listen(world.reactor, &addr, &world.opts, &listener, &diag,
                                    &net_echo_handler, NULL),
                     -ENOSPC);
    assert_string_equal(diag.what, "groups");
    addr = net_loopback(9);
    assert_int_equal(plx_tcp_connect(world.reactor, &addr, &world.opts, &stream, &diag,
                                     &net_echo_handler, NULL),
                     -ENOSPC);
    assert_null(stream);
    /* Nobody receives into them; as the world's end wants all blocks home. */
    for (uint32_t i = 0; i < PLX_GROUPS_MAX; i++)
        plx_pool_release(plx_reactor_pool(world.reactor), io->groups[i].blocks[0]);
    net_world_close(&world);
}

static void accept_errors_are_counted_or_waited_out(void **state)
{
    static const int gone[] = {-ECONNABORTED, -EINTR,     -EPERM,  -EPROTO,       -ENETDOWN,
                               -ENOPROTOOPT,  -EHOSTDOWN, -ENONET, -EHOSTUNREACH, -ENETUNREACH};
    static const int lacking[] = {-EMFILE, -ENFILE, -ENOBUFS, -ENOMEM, -EBADF};
    struct net_world world;
    net_world_open(&world, *state, 1, "2M");
    struct net_echo echo = {.flags = PLX_INLINE};
    struct plx_addr addr = net_listen(&world, &net_echo_handler, &echo);
    net_turn(&world);
    struct plx__net *net = *plx__reactor_net(world.reactor);
    struct plx_tcp_listener *listener =
        PLX_CONTAINER(net->listeners.next, struct plx_tcp_listener, link);
    size_t count = sizeof(gone) / sizeof(gone[0]);
    for (size_t i = 0; i < count; i++)
        say(&listener->op, gone[i], PLX_EV_MORE);
    assert_int_equal(stats_of(&world).accept_errors, count);
    assert_int_equal(stats_of(&world).accept_pauses, 0);
    uint64_t pause_ns = 0;
    for (size_t i = 0; i < sizeof(lacking) / sizeof(lacking[0]); i++) {
        say(&listener->op, lacking[i], PLX_EV_MORE);
        assert_int_equal(stats_of(&world).accept_pauses, i + 1);
        assert_int_equal(net->waiting_listeners, 1);
        assert_true(listener->retry_after_ns > pause_ns);
        pause_ns = listener->retry_after_ns;
    }
    for (int i = 0; i < 10; i++)
        say(&listener->op, -EMFILE, PLX_EV_MORE);
    assert_int_equal(listener->retry_after_ns, 1000000000);
    int peer = net_dial(&addr);
    each_echoes_a_byte(&world, &peer, 1);
    assert_int_equal(listener->retry_after_ns, 0);
    close(peer);
    NET_UNTIL(&world, echo.closes == 1);
    assert_int_equal(net->waiting_listeners, 0); /* the end of a stream woke it */
    net_world_close(&world);
}

static void send_that_takes_nothing_ends_rather_than_repeats(void **state)
{
    static const int told[] = {0, -EAGAIN, -ENOBUFS, -EHOSTUNREACH};
    static const int reasons[] = {-EIO, 0, 0, -EHOSTUNREACH};
    for (int i = 0; i < 4; i++) {
        struct net_world world;
        uint8_t byte = 0;
        net_world_open(&world, *state, 1, "2M");
        struct net_probe probe = {0};
        struct plx_addr addr = net_listen(&world, &net_probe_handler, &probe);
        int peer = net_dial(&addr);
        NET_UNTIL(&world, probe.told[NET_ACCEPT] == 1);
        /* One send, so that the op knows its function; then one more, answered by us. */
        assert_int_equal(plx_tcp_write(probe.stream, "x", 1, PLX_QUEUED), 1);
        NET_UNTIL(&world, net_peer_recv(peer, &byte, 1) == 1);
        NET_UNTIL(&world, plx_tcp_queued(probe.stream) == 0);
        assert_int_equal(plx_tcp_write(probe.stream, "y", 1, PLX_QUEUED), 1);
        say(&probe.stream->io_op, told[i], 0);
        if (reasons[i] == 0)
            NET_UNTIL(&world, net_peer_recv(peer, &byte, 1) == 1);
        if (reasons[i] == 0)
            plx_tcp_close(probe.stream);
        close(peer);
        NET_UNTIL(&world, probe.told[NET_CLOSE] == 1);
        assert_int_equal(probe.reason, reasons[i]);
        net_world_close(&world);
    }
}

/* --- options ---------------------------------------------------------------------------------- */

static void listen_with_bad_options_is_refused_by_name(void **state)
{
    static const char *const names[] = {"receive",           "backlog",         "streams_max",
                                        "send_queue_bytes",  "send_timeout_ns", "close_timeout_ns",
                                        "connect_timeout_ns"};
    struct net_world world;
    struct plx_tcp_listener *listener;
    struct plx_addr addr = net_loopback(0);
    net_world_open(&world, *state, 1, "2M");
    int before = net_count_fds();
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        struct plx_tcp_opts opts;
        struct plx_diag diag = {0};
        plx_tcp_opts_init(&opts);
        if (i == 0)
            opts.receive = (enum plx_recv_mode)7;
        if (i == 1)
            opts.backlog = 0;
        if (i == 2)
            opts.streams_max = 0;
        if (i == 3)
            opts.send_queue_bytes = PLX_TCP_QUEUE_BYTES_MAX + 1;
        if (i == 4)
            opts.send_timeout_ns = 0;
        if (i == 5)
            opts.close_timeout_ns = 0;
        if (i == 6)
            opts.connect_timeout_ns = 0;
        assert_int_equal(
            plx_tcp_listen(world.reactor, &addr, &opts, &listener, &diag, &net_echo_handler, NULL),
            -EINVAL);
        assert_string_equal(diag.what, names[i]);
        assert_int_equal(net_count_fds(), before);
    }
    net_world_close(&world);
}

static void listen_on_a_port_in_use_names_it(void **state)
{
    struct net_world world;
    struct plx_tcp_listener *listener;
    struct plx_diag diag = {0};
    char text[PLX_ADDR_TEXT_BYTES];
    net_world_open(&world, *state, 1, "2M");
    struct net_echo echo = {.flags = PLX_QUEUED};
    struct plx_addr addr = net_listen(&world, &net_echo_handler, &echo);
    plx_addr_format(&addr, text, sizeof(text));
    assert_int_equal(
        plx_tcp_listen(world.reactor, &addr, NULL, &listener, &diag, &net_echo_handler, NULL),
        -EADDRINUSE);
    assert_null(listener);
    assert_string_equal(diag.what, text);
    net_world_close(&world);
}

/* --- unlisten, several reactors, the end ------------------------------------------------------ */

static struct plx_tcp_listener *only_one;

static void unlisten_at_accept(struct net_probe *probe, enum net_event event)
{
    if (event == NET_ACCEPT)
        plx_tcp_unlisten(only_one);
    if (event == NET_DATA)
        assert_int_equal(plx_tcp_write(probe->stream, "y", 1, PLX_INLINE), 1);
}

static void unlisten_in_on_accept_keeps_the_stream_and_frees_the_port(void **state)
{
    struct net_world world;
    net_world_open(&world, *state, 1, "2M");
    struct plx_addr addr = net_loopback(0);
    for (int round = 0; round < 3; round++) {
        struct net_probe probe = {.act = unlisten_at_accept};
        assert_int_equal(plx_tcp_listen(world.reactor, &addr, &world.opts, &only_one, NULL,
                                        &net_probe_handler, &probe),
                         0);
        plx_tcp_listener_addr(only_one, &addr);
        int peers[3];
        for (int i = 0; i < 3; i++)
            peers[i] = net_dial(&addr);
        NET_UNTIL(&world, probe.told[NET_ACCEPT] == 1 && stats_of(&world).listeners == 0);
        /* The port is free as soon as the close is through. */
        int fd = -1;
        NET_UNTIL(&world, plx_tcp_bind(NULL, &addr, 1, NULL, &fd, NULL, NULL) == 0);
        close(fd);
        assert_int_equal(probe.told[NET_ACCEPT], 1);
        uint8_t byte = 0;
        for (int i = 0; i < 3; i++) {
            (void)net_peer_send(peers[i], "x", 1);
        }
        NET_UNTIL(&world, probe.told[NET_DATA] == 1);
        int answered = 0;
        for (int i = 0; i < 3; i++) {
            answered += net_peer_recv(peers[i], &byte, 1) == 1;
            close(peers[i]);
        }
        assert_int_equal(answered, 1);
        NET_UNTIL(&world, probe.told[NET_CLOSE] == 1);
        assert_false(probe.broken);
    }
    net_world_close(&world);
}

static void two_reactors_share_a_port_and_both_serve(void **state)
{
    struct net_world world;
    struct plx_addr any = net_loopback(0);
    struct plx_addr addr;
    struct plx_tcp_listener *listeners[2];
    struct net_echo echoes[2] = {{.flags = PLX_INLINE}, {.flags = PLX_INLINE}};
    int fds[2];
    int peers[64];
    net_world_open(&world, *state, 2, "4M");
    assert_int_equal(plx_tcp_bind(world.runtime, &any, 2, &world.opts, fds, &addr, NULL), 0);
    for (int i = 0; i < 2; i++)
        assert_int_equal(plx_tcp_listen_fd(world.reactors[i], fds[i], &world.opts, &listeners[i],
                                           NULL, &net_echo_handler, &echoes[i]),
                         0);
    for (int i = 0; i < 64; i++)
        peers[i] = net_dial(&addr);
    each_echoes_a_byte(&world, peers, 64);
    assert_int_equal(echoes[0].accepts + echoes[1].accepts, 64);
    assert_true(echoes[0].accepts > 0 && echoes[1].accepts > 0);
    int more;
    assert_int_equal(plx_tcp_bind(world.runtime, &addr, 1, NULL, &more, NULL, NULL), -EADDRINUSE);
    close_all(peers, 64);
    NET_UNTIL(&world, echoes[0].closes + echoes[1].closes == 64);
    net_world_close(&world);
}

#define LIVE 24

static void stop_with_live_streams_closes_each_once(void **state)
{
    static uint8_t data[100000];
    struct net_world world;
    struct net_probe probes[LIVE];
    struct net_probe connecting = {0};
    int peers[LIVE];
    net_world_open(&world, *state, 1, "8M");
    memset(probes, 0, sizeof(probes));
    for (int i = 0; i < LIVE; i++) {
        struct plx_addr addr = net_listen(&world, &net_probe_handler, &probes[i]);
        peers[i] = net_dial(&addr);
        NET_UNTIL(&world, probes[i].told[NET_ACCEPT] == 1);
    }
    for (int i = 0; i < LIVE; i++) {
        if (i % 3 == 0) /* stuck in sending */
            assert_true(plx_tcp_write(probes[i].stream, data, sizeof(data), PLX_QUEUED) > 0);
        if (i % 4 == 1) { /* holding what came, or about to */
            assert_true(net_peer_send(peers[i], data, 20000) > 0);
            plx_tcp_pause(probes[i].stream);
        }
        if (i % 5 == 2) /* closing, and the peer stays */
            plx_tcp_close(probes[i].stream);
        if (i % 7 == 3) /* changing how it receives */
            assert_true(plx_tcp_set_receive(probes[i].stream, PLX_RECV_SPIN) <= 0);
    }
    for (int turn = 0; turn < 3; turn++)
        net_turn(&world);
    /* Touched and not yet settled, and one that has only begun to connect. */
    plx_tcp_abort(probes[5].stream);
    assert_true(plx_tcp_write(probes[6].stream, "x", 1, PLX_QUEUED) == 1);
    struct plx_addr addr = net_loopback(1);
    struct plx_tcp *stream;
    assert_int_equal(plx_tcp_connect(world.reactor, &addr, &world.opts, &stream, NULL,
                                     &net_probe_handler, &connecting),
                     0);
    net_world_stop(&world);
    for (int i = 0; i < LIVE; i++) {
        assert_int_equal(probes[i].told[NET_CLOSE], 1);
        assert_false(probes[i].broken);
        if (i != 5)
            assert_int_equal(probes[i].reason, -ESHUTDOWN);
        close(peers[i]);
    }
    assert_int_equal(connecting.told[NET_CLOSE], 1);
    net_world_close(&world);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(listener_serves_thousands_with_a_byte_each),
        cmocka_unit_test(listener_reuses_the_memory_of_ended_streams),
        cmocka_unit_test(full_ring_delays_and_loses_nothing),
        cmocka_unit_test(listener_at_its_bound_waits_until_a_stream_ends),
        cmocka_unit_test(listener_out_of_descriptors_pauses_and_recovers),
        cmocka_unit_test(listener_out_of_descriptors_tries_again_by_itself),
        cmocka_unit_test(hot_streams_beyond_the_limit_receive_by_ring),
        cmocka_unit_test(buffers_all_held_others_wait_and_go_on_when_released),
        cmocka_unit_test(arena_exhausted_connections_are_closed_and_counted),
        cmocka_unit_test(arena_with_little_left_fails_cleanly),
        cmocka_unit_test(pool_without_buffers_fails_cleanly),
        cmocka_unit_test(groups_that_cannot_be_made_are_named),
        cmocka_unit_test(accept_errors_are_counted_or_waited_out),
        cmocka_unit_test(send_that_takes_nothing_ends_rather_than_repeats),
        cmocka_unit_test(listen_with_bad_options_is_refused_by_name),
        cmocka_unit_test(listen_on_a_port_in_use_names_it),
        cmocka_unit_test(unlisten_in_on_accept_keeps_the_stream_and_frees_the_port),
        cmocka_unit_test(two_reactors_share_a_port_and_both_serve),
        cmocka_unit_test(stop_with_live_streams_closes_each_once),
    };
    return net_run("tcp_listen", tests, sizeof(tests) / sizeof(tests[0]));
}
