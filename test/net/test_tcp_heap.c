/* SPDX-License-Identifier: MIT */
/* After warm-up no message costs a call of the system's allocator: all of them are counted here. */
#include "net/tcp.h"

#include <dlfcn.h>
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "runtime/reactor.h"
#include "test/net/net_world.h"
#include "test/runtime/heap_calls.h"

/* Of each way to send; fewer where each send waits for another thread to run. */
#define MESSAGES        1000000
#define MESSAGES_SQPOLL 100000
#define WARM_UP  2000
#define BYTES    64

/* --- the echo --------------------------------------------------------------------------------- */

/* What came is held for a while, beyond its echo. */
#define HELD 16u

struct plain {
    uint32_t flags;
    struct plx_tcp *stream;
    struct plx_bytes held[HELD];
    uint32_t held_next;
    bool closed;
};

static void on_accept(struct plx_tcp *stream, void *ctx)
{
    struct plain *plain = ctx;
    plain->stream = stream;
}

static void on_data(struct plx_tcp *stream, const void *data, size_t len, void *ctx)
{
    struct plain *plain = ctx;
    assert_int_equal(plx_tcp_write(stream, data, len, plain->flags), len);
    struct plx_bytes *held = &plain->held[plain->held_next++ % HELD];
    plx_bytes_release(plx_reactor_bytes(plx_tcp_reactor(stream)), held);
    assert_int_equal(plx_tcp_hold(stream, data, len, held), 0);
}

static void on_close(struct plx_tcp *stream, int reason, void *ctx)
{
    (void)stream;
    (void)reason;
    struct plain *plain = ctx;
    plain->closed = true;
}

static const struct plx_tcp_handler plain_echo = {
    .on_accept = on_accept,
    .on_data = on_data,
    .on_close = on_close,
};

/* Messages at a time: many where each send waits for another thread to run. */
#define AT_ONCE        50
#define AT_ONCE_SQPOLL 400

static void echo_messages(struct net_world *world, int peer, uint32_t count)
{
    static uint8_t out[AT_ONCE_SQPOLL * BYTES];
    static uint8_t in[AT_ONCE_SQPOLL * BYTES];
    uint32_t at_once = world->mode->sqpoll == PLX_SQPOLL_ON ? AT_ONCE_SQPOLL : AT_ONCE;
    size_t len = at_once * BYTES;
    for (uint32_t done = 0; done < count; done += at_once) {
        size_t got = 0;
        net_fill(out, len, done);
        assert_int_equal(net_peer_send(peer, out, len), len);
        uint64_t until_ns = net_now_ns() + NET_PATIENCE_NS;
        while (got < len) {
            net_turn(world);
            int64_t n = net_peer_recv(peer, in + got, len - got);
            got += n > 0 ? (size_t)n : 0;
            assert_true(net_now_ns() < until_ns);
        }
        assert_memory_equal(in, out, len);
    }
}

static void echo_after_warm_up_calls_no_allocator(void **state)
{
    skip_unless_counting();
    static const uint32_t flags[] = {PLX_INLINE, PLX_QUEUED};
    /* That the counter counts. */
    uint64_t before = heap_calls();
    void *volatile memory = malloc(10);
    free(memory);
    assert_int_equal(heap_calls() - before, 2);

    struct net_world world;
    net_world_open(&world, *state, 1, "8M");
    for (int i = 0; i < 2; i++) {
        struct plain plain = {.flags = flags[i]};
        struct plx_addr addr = net_listen(&world, &plain_echo, &plain);
        int peer = net_dial(&addr);
        NET_UNTIL(&world, plain.stream != NULL);
        echo_messages(&world, peer, WARM_UP);
        uint32_t count =
            world.mode->sqpoll == PLX_SQPOLL_ON ? MESSAGES_SQPOLL : MESSAGES;
        before = heap_calls();
        echo_messages(&world, peer, count);
        uint64_t calls = heap_calls() - before;
        print_message("%s, %s sends: %u messages echoed, %llu heap calls\n", world.mode->name,
                      flags[i] == PLX_INLINE ? "inline" : "queued", count,
                      (unsigned long long)calls);
        assert_int_equal(calls, 0);
        for (uint32_t k = 0; k < HELD; k++)
            plx_bytes_release(plx_reactor_bytes(world.reactor), &plain.held[k]);
        close(peer);
        NET_UNTIL(&world, plain.closed);
    }
    net_world_close(&world);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(echo_after_warm_up_calls_no_allocator),
    };
    return net_run("tcp_heap", tests, sizeof(tests) / sizeof(tests[0]));
}
