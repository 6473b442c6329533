/* SPDX-License-Identifier: MIT */
/*
 * Two reactors on threads of their own echo what one blocking client sends over many connections,
 * in pieces drawn from a seed; the client checks every byte. The client sleeps while the reactors
 * work, so that two cores suffice. POLLUX_TEST_SEED repeats a run, POLLUX_TEST_SOAK makes it long.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include "net/tcp.h"
#include "test/net/net_world.h"
#include "test/runtime/rt_fixture.h"

#define PAIR        2u
#define CONNECTIONS 8u
#define PIECE_MAX   20000u

/* What a reactor's thread counts; read by the test once it has ended. */
struct half {
    uint64_t accepts;
    uint64_t closes;
    uint64_t bytes;
    uint64_t troubles;
} PLX_ALIGNED(2 * PLX_CACHE_LINE);

static struct half halves[PAIR];
static int listening[PAIR];
static struct plx_tcp_opts tcp_opts;
static uint32_t write_flags;

/* --- the reactors' side ----------------------------------------------------------------------- */

static struct half *half_of(struct plx_tcp *stream)
{
    return &halves[plx_reactor_index(plx_tcp_reactor(stream))];
}

static void on_accept(struct plx_tcp *stream, void *ctx)
{
    (void)ctx;
    half_of(stream)->accepts++;
}

static void on_data(struct plx_tcp *stream, const void *data, size_t len, void *ctx)
{
    (void)ctx;
    half_of(stream)->bytes += len;
    /* A piece on its way is all that the client has: the queue takes it. */
    if (plx_tcp_write(stream, data, len, write_flags) != (int64_t)len)
        half_of(stream)->troubles++;
}

static void on_close(struct plx_tcp *stream, int reason, void *ctx)
{
    (void)ctx;
    half_of(stream)->closes++;
    half_of(stream)->troubles += reason != 0 && reason != -ESHUTDOWN;
}

static const struct plx_tcp_handler echo = {
    .on_accept = on_accept, .on_data = on_data, .on_close = on_close};

static int listen_here(struct plx_reactor *reactor, void *ctx)
{
    (void)ctx;
    struct plx_tcp_listener *listener = NULL;
    return plx_tcp_listen_fd(reactor, listening[plx_reactor_index(reactor)], &tcp_opts, &listener,
                             NULL, &echo, NULL);
}

/* --- the client ------------------------------------------------------------------------------- */

static uint64_t seed;

static uint32_t draw(uint32_t below)
{
    seed = seed * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(seed >> 33) % below;
}

static int dial_blocking(const struct plx_addr *addr)
{
    int fd = socket(addr->sock.any.sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_true(fd >= 0);
    assert_int_equal(connect(fd, &addr->sock.any, addr->bytes), 0);
    const struct timeval patience = {.tv_sec = 20};
    assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience)), 0);
    assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience)), 0);
    return fd;
}

/*
 * A blocking call with a timeout is not begun again by the kernel when it was interrupted, and it
 * is by the end of a ring that this thread had before.
 */
static bool was_interrupted(ssize_t rc)
{
    return rc < 0 && errno == EINTR;
}

static void send_all(int fd, uint64_t place, size_t len)
{
    static uint8_t piece[PIECE_MAX];
    net_fill(piece, len, place);
    for (size_t sent = 0; sent < len;) {
        ssize_t taken = send(fd, piece + sent, len - sent, MSG_NOSIGNAL);
        if (was_interrupted(taken))
            continue;
        assert_true(taken > 0);
        sent += (size_t)taken;
    }
}

static void expect_back(int fd, uint64_t place, size_t len)
{
    static uint8_t piece[PIECE_MAX];
    for (size_t got = 0; got < len;) {
        ssize_t came = recv(fd, piece, len - got, 0);
        if (was_interrupted(came))
            continue;
        if (came <= 0)
            fail_msg("the echo ended: %zd, %s", came, strerror(errno));
        assert_true(net_matches(piece, (size_t)came, place + got));
        got += (size_t)came;
    }
}

/* Pieces go out on all connections, then their echoes are read; some are dialled anew. */
static uint64_t talk(const struct plx_addr *addr, uint64_t span_ns, uint64_t *dialled)
{
    int fds[CONNECTIONS];
    uint64_t places[CONNECTIONS] = {0};
    uint64_t bytes = 0;
    for (uint32_t i = 0; i < CONNECTIONS; i++)
        fds[i] = dial_blocking(addr);
    *dialled = CONNECTIONS;
    uint64_t until = rt_now_ns() + span_ns;
    for (uint32_t round = 0; round < 20 || rt_now_ns() < until; round++) {
        uint32_t pieces[CONNECTIONS];
        if (draw(10) == 0) {
            uint32_t i = draw(CONNECTIONS);
            close(fds[i]);
            fds[i] = dial_blocking(addr);
            places[i] = 0;
            ++*dialled;
        }
        for (uint32_t i = 0; i < CONNECTIONS; i++) {
            pieces[i] = 1 + draw(draw(4) == 0 ? PIECE_MAX : 200);
            send_all(fds[i], places[i], pieces[i]);
        }
        for (uint32_t i = 0; i < CONNECTIONS; i++) {
            expect_back(fds[i], places[i], pieces[i]);
            places[i] += pieces[i];
            bytes += pieces[i];
        }
    }
    for (uint32_t i = 0; i < CONNECTIONS; i++)
        close(fds[i]);
    return bytes;
}

static void echo_pair(const char *words, enum plx_recv_mode receive, uint32_t flags)
{
    const char *given = getenv("POLLUX_TEST_SEED");
    seed = given != NULL ? strtoull(given, NULL, 0) : rt_now_ns();
    print_message("seed %llu\n", (unsigned long long)seed);
    bool soak = getenv("POLLUX_TEST_SOAK") != NULL;
    struct rt_things before = rt_count_things();
    memset(halves, 0, sizeof(halves));
    plx_tcp_opts_init(&tcp_opts);
    tcp_opts.receive = receive;
    write_flags = flags;

    struct plx_addr any = net_loopback(0);
    struct plx_addr bound;
    struct plx_diag diag = {0};
    if (plx_tcp_bind(NULL, &any, PAIR, NULL, listening, &bound, &diag) != 0)
        fail_msg("%s", diag.text);
    struct plx_runtime_opts opts;
    plx_runtime_opts_init(&opts);
    opts.on_start = listen_here;
    struct plx_runtime *rt = rt_create(words, &opts);
    rt_start(rt);
    uint64_t dialled = 0;
    uint64_t bytes = talk(&bound, soak ? UINT64_C(20000000000) : UINT64_C(300000000), &dialled);
    rt_finish(rt);

    assert_int_equal(halves[0].troubles + halves[1].troubles, 0);
    assert_int_equal(halves[0].bytes + halves[1].bytes, bytes);
    assert_int_equal(halves[0].accepts + halves[1].accepts, dialled);
    assert_int_equal(halves[0].closes + halves[1].closes, dialled);
    print_message("%llu bytes, %llu and %llu connections\n", (unsigned long long)bytes,
                  (unsigned long long)halves[0].accepts, (unsigned long long)halves[1].accepts);
    rt_expect_things(&before);
}

static void echo_pair_by_rings_returns_every_byte(void **state)
{
    (void)state;
    rt_need_uring();
    echo_pair("reactors=2 arena_size=8M backend=uring", PLX_RECV_RING, PLX_QUEUED);
}

static void echo_pair_by_rings_with_inline_sends_returns_every_byte(void **state)
{
    (void)state;
    rt_need_uring();
    echo_pair("reactors=2 arena_size=8M backend=uring", PLX_RECV_RING, PLX_INLINE);
}

static void echo_pair_by_hot_sockets_returns_every_byte(void **state)
{
    (void)state;
    echo_pair("reactors=2 arena_size=8M hot_max=64", PLX_RECV_SPIN, PLX_INLINE);
}

static void echo_pair_by_epoll_returns_every_byte(void **state)
{
    (void)state;
    echo_pair("reactors=2 arena_size=8M backend=epoll", PLX_RECV_RING, PLX_QUEUED);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(echo_pair_by_rings_returns_every_byte),
        cmocka_unit_test(echo_pair_by_rings_with_inline_sends_returns_every_byte),
        cmocka_unit_test(echo_pair_by_hot_sockets_returns_every_byte),
        cmocka_unit_test(echo_pair_by_epoll_returns_every_byte),
    };
    return cmocka_run_group_tests_name("echo pair", tests, NULL, NULL);
}
