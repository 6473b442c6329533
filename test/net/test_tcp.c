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

#include "net/tcp_internal.h"
#include "test/net/net_echo.h"
#include "test/net/net_probe.h"
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

static void echo_of_single_bytes_comes_back(void **state)
{
    struct net_world world;
    net_world_open(&world, *state, 1, "8M");
    struct net_echo echo = {.flags = PLX_INLINE};
    struct plx_addr addr = net_listen(&world, &net_echo_handler, &echo);
    int peer = net_dial(&addr);
    for (uint64_t place = 0; place < 500; place++)
        send_and_verify(&world, peer, place, 1);
    close(peer);
    NET_UNTIL(&world, echo.closes == 1);
    net_world_close(&world);
}

/* Much more than queue and kernel hold, so that back-pressure works in both directions. */
static void echo_of_many_megabytes_stays_within_its_queue(void **state)
{
    /* 100 MB, and less where each send waits for another thread to run. */
    const struct net_mode *mode = *state;
    const size_t len = (mode->sqpoll == PLX_SQPOLL_ON ? 10 : 100) * 1000 * 1000;
    struct net_world world;
    net_world_open(&world, *state, 1, "8M");
    struct net_echo echo = {.flags = PLX_INLINE};
    struct plx_addr addr = net_listen(&world, &net_echo_handler, &echo);
    int peer = net_dial(&addr);
    size_t left_before = plx_arena_left(plx_reactor_arena(world.reactor));
    send_and_verify(&world, peer, 0, len);
    assert_true(echo.queue_max <= world.opts.send_queue_bytes);
    /* What a stream takes is its slab, its queue's blocks and perhaps the scratch of hot ones. */
    size_t taken = left_before - plx_arena_left(plx_reactor_arena(world.reactor));
    assert_true(taken < 512 * 1024);
    close(peer);
    NET_UNTIL(&world, echo.closes == 1);
    net_world_close(&world);
}

static void peer_end_after_sending_gets_all_echoed_first(void **state)
{
    static uint8_t data[200000];
    struct net_world world;
    net_world_open(&world, *state, 1, "8M");
    world.opts.send_queue_bytes = 16384; /* so that the end comes while writes are cut */
    struct net_echo echo = {.flags = PLX_QUEUED};
    struct plx_addr addr = net_listen(&world, &net_echo_handler, &echo);
    int peer = net_dial(&addr);
    size_t sent = 0;
    uint64_t got = 0;
    bool ended = false;
    net_fill(data, sizeof(data), 0);
    NET_UNTIL(&world, echo.accepts == 1);
    /* Sends all without reading, as far as that goes, then ends its side, then reads. */
    uint64_t until_ns = net_now_ns() + NET_PATIENCE_NS;
    while (!ended || got < sizeof(data)) {
        static uint8_t in[4096];
        int64_t n = net_peer_send(peer, data + sent, sizeof(data) - sent);
        sent += n > 0 ? (size_t)n : 0;
        if (sent == sizeof(data) && !ended) {
            assert_int_equal(shutdown(peer, SHUT_WR), 0);
            ended = true;
        }
        net_turn(&world);
        n = net_peer_recv(peer, in, sizeof(in));
        assert_true(n > 0 || n == -EAGAIN);
        if (n > 0)
            assert_true(net_matches(in, (size_t)n, got));
        got += n > 0 ? (uint64_t)n : 0;
        assert_true(net_now_ns() < until_ns);
    }
    uint8_t more;
    NET_UNTIL(&world, echo.closes == 1);
    assert_int_equal(echo.reason, 0);
    NET_UNTIL(&world, net_peer_recv(peer, &more, 1) == 0);
    assert_true(echo.writables > 0);
    close(peer);
    net_world_close(&world);
}

/* --- close ------------------------------------------------------------------------------------ */

static void write_some_and_close(struct net_probe *probe, enum net_event event)
{
    static uint8_t data[100000];
    if (event != NET_DATA)
        return;
    net_fill(data, sizeof(data), 0);
    probe->sent = (uint64_t)plx_tcp_write(probe->stream, data, sizeof(data), PLX_QUEUED);
    plx_tcp_close(probe->stream);
    assert_int_equal(plx_tcp_write(probe->stream, data, 1, PLX_QUEUED), -EPIPE);
    assert_int_equal(plx_tcp_write(probe->stream, data, 1, PLX_INLINE), -EPIPE);
    assert_int_equal(plx_tcp_send_now(probe->stream, data, 1), -EPIPE);
    assert_int_equal(plx_tcp_write_before(probe->stream, data, 1, UINT64_MAX), -EPIPE);
    assert_int_equal(plx_tcp_set_receive(probe->stream, PLX_RECV_RING), -EPIPE);
    plx_tcp_close(probe->stream);
}

static void close_with_a_full_queue_lets_all_arrive(void **state)
{
    static uint8_t in[65536];
    struct net_world world;
    net_world_open(&world, *state, 1, "8M");
    struct net_probe probe = {.act = write_some_and_close};
    struct plx_addr addr = net_listen(&world, &net_probe_handler, &probe);
    int peer = net_dial(&addr);
    NET_UNTIL(&world, net_peer_send(peer, "x", 1) == 1);
    uint64_t got = 0;
    int64_t n = 1;
    uint64_t until_ns = net_now_ns() + NET_PATIENCE_NS;
    while (n != 0) {
        /* Goes on sending what is not read any more: no reset may come of it. */
        (void)net_peer_send(peer, in, 1000);
        net_turn(&world);
        n = net_peer_recv(peer, in, 5000);
        assert_true(n >= 0 || n == -EAGAIN);
        if (n > 0)
            assert_true(net_matches(in, (size_t)n, got));
        got += n > 0 ? (uint64_t)n : 0;
        assert_true(net_now_ns() < until_ns);
    }
    assert_int_equal(got, 100000);
    assert_int_equal(got, probe.sent);
    assert_int_equal(probe.told[NET_CLOSE], 0); /* it waits for our end */
    uint32_t data_calls = probe.told[NET_DATA];
    close(peer);
    NET_UNTIL(&world, probe.told[NET_CLOSE] == 1);
    assert_int_equal(data_calls, 1);
    assert_int_equal(probe.told[NET_DATA], 1);
    net_world_close(&world);
    assert_false(probe.broken);
}

static void answer_and_close(struct net_probe *probe, enum net_event event)
{
    if (event != NET_DATA)
        return;
    assert_int_equal(plx_tcp_write(probe->stream, "bye", 3, PLX_INLINE), 3);
    plx_tcp_close(probe->stream);
}

static void close_while_the_peer_stays_ends_by_its_timeout(void **state)
{
    struct net_world world;
    net_world_open(&world, *state, 1, "8M");
    world.opts.close_timeout_ns = 20000000;
    struct net_probe probe = {.act = answer_and_close};
    struct plx_addr addr = net_listen(&world, &net_probe_handler, &probe);
    int peer = net_dial(&addr);
    NET_UNTIL(&world, net_peer_send(peer, "x", 1) == 1);
    NET_UNTIL(&world, probe.told[NET_CLOSE] == 1);
    assert_int_equal(probe.reason, 0); /* the kernel took all of the queue */
    close(peer);
    net_world_close(&world);
    assert_false(probe.broken);
}

static void fill_and_close(struct net_probe *probe, enum net_event event)
{
    static uint8_t data[65536];
    if (event == NET_ACCEPT) {
        const int small = 4096;
        assert_int_equal(
            setsockopt(plx_tcp_fd(probe->stream), SOL_SOCKET, SO_SNDBUF, &small, sizeof(small)), 0);
    }
    if (event == NET_ACCEPT || event == NET_WRITABLE) {
        for (int64_t n = 1; n > 0;)
            n = plx_tcp_write(probe->stream, data, sizeof(data), PLX_INLINE);
    }
    if (event == NET_DATA)
        plx_tcp_close(probe->stream);
}

static void close_while_the_peer_reads_nothing_times_out(void **state)
{
    struct net_world world;
    net_world_open(&world, *state, 1, "8M");
    world.opts.close_timeout_ns = 30000000;
    world.opts.send_queue_bytes = 4 << 20;
    struct net_probe probe = {.act = fill_and_close};
    struct plx_addr addr = net_listen(&world, &net_probe_handler, &probe);
    int peer = net_dial(&addr);
    NET_UNTIL(&world, probe.told[NET_ACCEPT] == 1 && net_peer_send(peer, "x", 1) == 1);
    NET_UNTIL(&world, probe.told[NET_CLOSE] == 1);
    assert_int_equal(probe.reason, -ETIMEDOUT);
    close(peer);
    net_world_close(&world);
    assert_false(probe.broken);
}

/* --- ending in callbacks ---------------------------------------------------------------------- */

static enum net_event end_at;
static bool end_by_abort;

static void end_in_callback(struct net_probe *probe, enum net_event event)
{
    static uint8_t data[65536];
    if (event == end_at) {
        if (end_by_abort)
            plx_tcp_abort(probe->stream);
        else
            plx_tcp_close(probe->stream);
    }
    if (event == NET_ACCEPT && end_at == NET_WRITABLE) {
        while (plx_tcp_write(probe->stream, data, sizeof(data), PLX_INLINE) == sizeof(data))
            continue;
    }
    if (event == NET_ACCEPT && end_at == NET_EXPIRED)
        assert_true(plx_tcp_write_before(probe->stream, data, 10, 1) >= -EPIPE);
    if (event == NET_CLOSE) {
        /* All harmless now, and all without effect. */
        plx_tcp_pause(probe->stream);
        plx_tcp_resume(probe->stream);
        plx_tcp_close(probe->stream);
        plx_tcp_abort(probe->stream);
        assert_int_equal(plx_tcp_write(probe->stream, data, 1, PLX_QUEUED), -EPIPE);
    }
}

static void ending_in_any_callback_is_legal_and_closes_once(void **state)
{
    static uint8_t in[65536];
    static const enum net_event at[] = {NET_ACCEPT, NET_DATA, NET_WRITABLE, NET_EXPIRED};
    for (size_t i = 0; i < 8; i++) {
        struct net_world world;
        net_world_open(&world, *state, 1, "4M");
        end_at = at[i / 2];
        end_by_abort = i % 2 != 0;
        struct net_probe probe = {.act = end_in_callback};
        struct plx_addr addr = net_listen(&world, &net_probe_handler, &probe);
        int peer = net_dial(&addr);
        bool closed = false;
        uint64_t until_ns = net_now_ns() + NET_PATIENCE_NS;
        while (probe.told[NET_CLOSE] == 0) {
            if (!closed)
                (void)net_peer_send(peer, in, 100);
            net_turn(&world);
            int64_t n = closed ? 1 : net_peer_recv(peer, in, sizeof(in));
            if (n == 0 || n == -ECONNRESET) {
                close(peer);
                closed = true;
            }
            assert_true(net_now_ns() < until_ns);
        }
        for (int turn = 0; turn < 10; turn++)
            net_turn(&world);
        if (!closed)
            close(peer);
        assert_int_equal(probe.told[end_at], 1);
        assert_int_equal(probe.told[NET_CLOSE], 1);
        assert_int_equal(probe.reason, end_by_abort ? -ECONNABORTED : 0);
        net_world_close(&world);
        assert_false(probe.broken);
    }
}

/* --- connecting ------------------------------------------------------------------------------- */

static void write_on_connect(struct net_probe *probe, enum net_event event)
{
    static uint8_t data[50000];
    if (event == NET_CONNECT) {
        /* Behind the 5 bytes that were written before. */
        net_fill(data, sizeof(data), 5);
        assert_int_equal(plx_tcp_write(probe->stream, data, sizeof(data), PLX_INLINE),
                         sizeof(data));
    }
    if (event == NET_DATA && probe->bytes == 50005)
        plx_tcp_close(probe->stream);
}

static void connect_to_an_echo_of_ours_gets_it_all_back(void **state)
{
    uint8_t first[5];
    struct net_world world;
    net_world_open(&world, *state, 1, "8M");
    struct net_echo echo = {.flags = PLX_QUEUED};
    struct net_probe probe = {.act = write_on_connect, .checks_pattern = true};
    struct plx_addr addr = net_listen(&world, &net_echo_handler, &echo);
    struct plx_addr peer;
    struct plx_tcp *stream = NULL;
    assert_int_equal(plx_tcp_connect(world.reactor, &addr, &world.opts, &stream, NULL,
                                     &net_probe_handler, &probe),
                     0);
    assert_int_equal(probe.told[NET_CONNECT], 0);
    net_fill(first, sizeof(first), 0);
    assert_int_equal(plx_tcp_send_now(stream, first, sizeof(first)), -ENOTCONN);
    assert_int_equal(plx_tcp_write(stream, first, sizeof(first), PLX_INLINE), sizeof(first));
    assert_int_equal(plx_tcp_queued(stream), sizeof(first));
    assert_ptr_equal(plx_tcp_reactor(stream), world.reactor);
    assert_ptr_equal(plx_tcp_ctx(stream), &probe);
    NET_UNTIL(&world, probe.told[NET_CONNECT] == 1);
    assert_int_equal(plx_tcp_peer(stream, &peer), 0);
    assert_memory_equal(&peer, &addr, sizeof(addr));
    NET_UNTIL(&world, probe.told[NET_CLOSE] == 1 && echo.closes == 1);
    assert_int_equal(probe.reason, 0);
    assert_int_equal(probe.bytes, 50005);
    assert_int_equal(echo.reason, 0);
    struct plx_tcp_stats stats;
    plx_tcp_read_stats(world.reactor, &stats);
    assert_int_equal(stats.connected, 1);
    assert_int_equal(stats.closed_orderly, 2);
    net_world_close(&world);
    assert_false(probe.broken);
}

static void connect_refused_closes_with_it(void **state)
{
    struct net_world world;
    net_world_open(&world, *state, 1, "4M");
    /* A port that was bound and is not listened on refuses. */
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct plx_addr addr = net_loopback(0);
    assert_int_equal(bind(fd, &addr.sock.any, addr.bytes), 0);
    assert_int_equal(getsockname(fd, &addr.sock.any, &addr.bytes), 0);
    struct net_probe probe = {0};
    struct plx_tcp *stream;
    assert_int_equal(plx_tcp_connect(world.reactor, &addr, &world.opts, &stream, NULL,
                                     &net_probe_handler, &probe),
                     0);
    NET_UNTIL(&world, probe.told[NET_CLOSE] == 1);
    assert_int_equal(probe.reason, -ECONNREFUSED);
    assert_int_equal(probe.told[NET_CONNECT], 0);
    struct plx_tcp_stats stats;
    plx_tcp_read_stats(world.reactor, &stats);
    assert_int_equal(stats.closed_error, 1);
    close(fd);
    net_world_close(&world);
}

/* A listener whose queue is full answers nothing: a connection to it hangs. */
static int make_deaf(struct plx_addr *addr, int *first)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    *addr = net_loopback(0);
    assert_int_equal(bind(fd, &addr->sock.any, addr->bytes), 0);
    assert_int_equal(getsockname(fd, &addr->sock.any, &addr->bytes), 0);
    assert_int_equal(listen(fd, 0), 0);
    *first = net_dial(addr);
    return fd;
}

static void connect_without_answer_times_out(void **state)
{
    struct net_world world;
    struct plx_addr addr;
    int first;
    net_world_open(&world, *state, 1, "4M");
    int deaf = make_deaf(&addr, &first);
    /* Long enough for the looks below on a busy machine; the other one has the usual ten seconds.
     */
    struct plx_tcp_opts patient = world.opts;
    world.opts.connect_timeout_ns = 300000000;
    struct net_probe probe = {0};
    struct net_probe cancelled = {0};
    struct plx_tcp *stream;
    struct plx_tcp *other;
    assert_int_equal(plx_tcp_connect(world.reactor, &addr, &world.opts, &stream, NULL,
                                     &net_probe_handler, &probe),
                     0);
    assert_int_equal(plx_tcp_write(stream, "waits", 5, PLX_QUEUED), 5);
    assert_int_equal(plx_tcp_connect(world.reactor, &addr, &patient, &other, NULL,
                                     &net_probe_handler, &cancelled),
                     0);
    for (int turn = 0; turn < 5; turn++)
        net_turn(&world);
    /* What is queued meanwhile is not stuck in sending: that timeout does not run yet. */
    for (int look = 0; look < 5; look++) {
        stream->tick_ns = 1;
        (void)plx__send_check(stream, 1);
        assert_int_equal(stream->phase, PLX__TCP_CONNECTING);
    }
    plx_tcp_close(other);
    NET_UNTIL(&world, probe.told[NET_CLOSE] == 1 && cancelled.told[NET_CLOSE] == 1);
    assert_int_equal(probe.reason, -ETIMEDOUT);
    assert_int_equal(cancelled.reason, -ECANCELED);
    assert_int_equal(probe.told[NET_CONNECT], 0);
    close(first);
    close(deaf);
    net_world_close(&world);
}

static void connect_with_bad_arguments_is_refused(void **state)
{
    struct net_world world;
    struct plx_diag diag = {0};
    net_world_open(&world, *state, 1, "4M");
    struct plx_addr none = {.bytes = 0};
    struct plx_addr foreign = net_loopback(1);
    struct plx_tcp *stream = (void *)&world;
    assert_int_equal(
        plx_tcp_connect(world.reactor, &none, NULL, &stream, &diag, &net_probe_handler, NULL),
        -EINVAL);
    assert_null(stream);
    foreign.sock.any.sa_family = AF_UNSPEC;
    assert_int_equal(
        plx_tcp_connect(world.reactor, &foreign, NULL, &stream, &diag, &net_probe_handler, NULL),
        -EAFNOSUPPORT);
    assert_string_equal(diag.what, "socket");
    world.opts.connect_timeout_ns = 0;
    foreign = net_loopback(1);
    assert_int_equal(plx_tcp_connect(world.reactor, &foreign, &world.opts, &stream, &diag,
                                     &net_probe_handler, NULL),
                     -EINVAL);
    assert_string_equal(diag.what, "connect_timeout_ns");
    net_world_close(&world);
}

static void nodelay_is_set_as_the_option_says(void **state)
{
    struct net_world world;
    net_world_open(&world, *state, 1, "2M");
    for (int wanted = 0; wanted < 2; wanted++) {
        struct net_echo echo = {.flags = PLX_INLINE};
        struct net_probe probe = {0};
        struct plx_tcp *stream;
        world.opts.nodelay = wanted != 0;
        struct plx_addr addr = net_listen(&world, &net_echo_handler, &echo);
        assert_int_equal(plx_tcp_connect(world.reactor, &addr, &world.opts, &stream, NULL,
                                         &net_probe_handler, &probe),
                         0);
        NET_UNTIL(&world, echo.accepts == 1 && probe.told[NET_CONNECT] == 1);
        const int fds[] = {plx_tcp_fd(stream), plx_tcp_fd(echo.last)};
        for (int i = 0; i < 2; i++) {
            int is = -1;
            socklen_t bytes = sizeof(is);
            assert_int_equal(getsockopt(fds[i], IPPROTO_TCP, TCP_NODELAY, &is, &bytes), 0);
            assert_int_equal(is != 0, wanted);
        }
        plx_tcp_close(stream);
        NET_UNTIL(&world, echo.closes == 1 && probe.told[NET_CLOSE] == 1);
    }
    net_world_close(&world);
}

/* --- pause, switching ------------------------------------------------------------------------- */

static void pause_at_once(struct net_probe *probe, enum net_event event)
{
    if (event != NET_DATA || probe->told[NET_DATA] % 3 != 1)
        return;
    plx_tcp_pause(probe->stream);
    probe->paused = true;
}

static void pause_holds_data_until_resume_in_order(void **state)
{
    static uint8_t data[2000000];
    struct net_world world;
    net_world_open(&world, *state, 1, "8M");
    struct net_probe probe = {.act = pause_at_once, .checks_pattern = true};
    struct plx_addr addr = net_listen(&world, &net_probe_handler, &probe);
    int peer = net_dial(&addr);
    net_fill(data, sizeof(data), 0);
    size_t sent = 0;
    bool ended = false;
    uint64_t until_ns = net_now_ns() + NET_PATIENCE_NS;
    while (probe.told[NET_CLOSE] == 0) {
        if (sent < sizeof(data)) {
            int64_t n = net_peer_send(peer, data + sent, sizeof(data) - sent);
            sent += n > 0 ? (size_t)n : 0;
        } else if (!ended) {
            shutdown(peer, SHUT_WR);
            ended = true;
        }
        net_turn(&world);
        if (probe.paused) {
            uint32_t calls = probe.told[NET_DATA];
            /* None, and what the ring still brings comes behind what is held; or enough of them
             * for the receive to end first. */
            for (uint32_t turn = 0; turn < calls % 4; turn++)
                net_turn(&world);
            assert_int_equal(probe.told[NET_DATA], calls);
            assert_int_equal(probe.told[NET_CLOSE], 0);
            probe.paused = false;
            plx_tcp_resume(probe.stream);
            plx_tcp_resume(probe.stream);
            assert_int_equal(probe.told[NET_DATA], calls);
            net_turn(&world);
        }
        assert_true(net_now_ns() < until_ns);
    }
    assert_int_equal(probe.bytes, sizeof(data));
    assert_int_equal(probe.reason, 0);
    close(peer);
    net_world_close(&world);
    assert_false(probe.broken);
}

/* After a resume the held bytes wait for the turn's end; an event before that must not pass them.
 */
static void data_between_resume_and_delivery_comes_behind_what_is_held(void **state)
{
    static uint8_t data[2 * PLX__SMALL_BYTES];
    const struct net_mode *mode = *state;
    struct net_world world;
    if (mode->sqpoll == PLX_SQPOLL_ON) {
        print_message("skipped: the SQ thread decides how much it takes before the pause\n");
        skip();
    }
    net_world_open(&world, *state, 1, "4M");
    world.opts.receive = PLX_RECV_RING;
    struct net_probe probe = {.checks_pattern = true};
    struct plx_addr addr = net_listen(&world, &net_probe_handler, &probe);
    int peer = net_dial(&addr);
    NET_UNTIL(&world, probe.told[NET_ACCEPT] == 1);
    net_turn(&world);
    struct plx_tcp *stream = probe.stream;
    struct plx__net *net = stream->net;
    net_fill(data, sizeof(data), 0);
    assert_int_equal(net_peer_send(peer, data, sizeof(data)), sizeof(data));
    plx_tcp_pause(stream);
    NET_UNTIL(&world, net->small.held_count == 2 && !stream->receiving);

    /* The second is taken off the list again, to come as the ring would bring it. */
    uint16_t id = stream->held_last;
    stream->held_last = stream->held_first;
    net->small.held[stream->held_first].next = PLX__NO_BUFFER;
    net->small.held_count--;
    plx_tcp_resume(stream);
    struct plx_event event = {.result = (int32_t)net->small.held[id].len,
                              .flags = PLX_EV_MORE | PLX_EV_BUFFER,
                              .buffer_id = id,
                              .data = net->small.held[id].data};
    stream->recv_op.fn(&stream->recv_op, &event, stream->recv_op.ctx);
    assert_int_equal(probe.bytes, 0);
    NET_UNTIL(&world, probe.bytes == sizeof(data));
    assert_int_equal(net->small.held_count, 0);
    close(peer);
    NET_UNTIL(&world, probe.told[NET_CLOSE] == 1);
    net_world_close(&world);
    assert_false(probe.broken);
}

static void pause_throttles_the_peer(void **state)
{
    static uint8_t data[65536];
    struct net_world world;
    net_world_open(&world, *state, 1, "8M");
    struct net_probe probe = {.act = pause_at_once};
    struct plx_addr addr = net_listen(&world, &net_probe_handler, &probe);
    int peer = net_dial(&addr);
    NET_UNTIL(&world, net_peer_send(peer, data, 1) == 1);
    NET_UNTIL(&world, probe.told[NET_DATA] == 1);
    uint32_t stuck = 0;
    uint64_t sent = 0;
    while (stuck < 2000) {
        int64_t n = net_peer_send(peer, data, sizeof(data));
        assert_true(n >= 0);
        stuck = n == 0 ? stuck + 1 : 0;
        sent += (uint64_t)n;
        net_turn(&world);
        assert_true(sent < 64u << 20);
    }
    assert_int_equal(probe.told[NET_DATA], 1);
    close(peer);
    plx_tcp_abort(probe.stream);
    NET_UNTIL(&world, probe.told[NET_CLOSE] == 1);
    net_world_close(&world);
}

static void switching_under_load_loses_nothing(void **state)
{
    static uint8_t data[4000000];
    struct net_world world;
    net_world_open(&world, *state, 1, "8M");
    struct net_probe probe = {.checks_pattern = true};
    struct plx_addr addr = net_listen(&world, &net_probe_handler, &probe);
    int peer = net_dial(&addr);
    NET_UNTIL(&world, probe.told[NET_ACCEPT] == 1);
    net_fill(data, sizeof(data), 0);
    size_t sent = 0;
    uint32_t switches = 0;
    uint64_t until_ns = net_now_ns() + NET_PATIENCE_NS;
    while (probe.bytes < sizeof(data)) {
        size_t part = sizeof(data) - sent < 30000 ? sizeof(data) - sent : 30000;
        int64_t n = net_peer_send(peer, data + sent, part);
        assert_true(n >= 0);
        sent += (size_t)n;
        if (sent / 100000 > switches) {
            enum plx_recv_mode mode = plx_tcp_receive(probe.stream);
            mode = mode == PLX_RECV_RING ? PLX_RECV_SPIN : PLX_RECV_RING;
            assert_int_equal(plx_tcp_set_receive(probe.stream, mode), 0);
            assert_int_equal(plx_tcp_receive(probe.stream), mode);
            switches++;
        }
        net_turn(&world);
        /* A read would overtake what the ring has taken. */
        assert_false(probe.stream->poller.armed && probe.stream->receiving);
        assert_true(net_now_ns() < until_ns);
    }
    assert_true(switches > 30);
    close(peer);
    NET_UNTIL(&world, probe.told[NET_CLOSE] == 1);
    net_world_close(&world);
    assert_false(probe.broken);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(echo_of_many_sizes_inline_comes_back),
        cmocka_unit_test(echo_of_many_sizes_queued_comes_back),
        cmocka_unit_test(echo_of_single_bytes_comes_back),
        cmocka_unit_test(echo_of_many_megabytes_stays_within_its_queue),
        cmocka_unit_test(peer_end_after_sending_gets_all_echoed_first),
        cmocka_unit_test(close_with_a_full_queue_lets_all_arrive),
        cmocka_unit_test(close_while_the_peer_stays_ends_by_its_timeout),
        cmocka_unit_test(close_while_the_peer_reads_nothing_times_out),
        cmocka_unit_test(ending_in_any_callback_is_legal_and_closes_once),
        cmocka_unit_test(connect_to_an_echo_of_ours_gets_it_all_back),
        cmocka_unit_test(connect_refused_closes_with_it),
        cmocka_unit_test(connect_without_answer_times_out),
        cmocka_unit_test(connect_with_bad_arguments_is_refused),
        cmocka_unit_test(nodelay_is_set_as_the_option_says),
        cmocka_unit_test(pause_holds_data_until_resume_in_order),
        cmocka_unit_test(data_between_resume_and_delivery_comes_behind_what_is_held),
        cmocka_unit_test(pause_throttles_the_peer),
        cmocka_unit_test(switching_under_load_loses_nothing),
    };
    return net_run("tcp", tests, sizeof(tests) / sizeof(tests[0]));
}
