/* SPDX-License-Identifier: MIT */
/* What a stream still tells in its on_close, when its descriptor's number may be another's. */
#include "net/tcp.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "net/tcp_internal.h"
#include "test/net/net_probe.h"
#include "test/net/net_world.h"

/* What a stream answered in its on_close. */
struct answers {
    struct net_probe probe;
    bool asks_early;
    int fd;
    int peer_rc;
    struct plx_addr peer;
};

static void ask_at_close(struct net_probe *probe, enum net_event event)
{
    struct answers *answers = PLX_CONTAINER(probe, struct answers, probe);
    if (event == NET_ACCEPT && answers->asks_early)
        assert_int_equal(plx_tcp_peer(probe->stream, &answers->peer), 0);
    if (event != NET_CLOSE)
        return;
    memset(&answers->peer, 0xff, sizeof(answers->peer));
    answers->fd = plx_tcp_fd(probe->stream);
    answers->peer_rc = plx_tcp_peer(probe->stream, &answers->peer);
}

static void on_close_has_no_descriptor_and_the_peer_that_was_asked_for(void **state)
{
    for (int asks = 0; asks < 2; asks++) {
        struct net_world world;
        net_world_open(&world, *state, 1, "4M");
        struct answers answers = {.probe.act = ask_at_close, .asks_early = asks != 0};
        struct plx_addr addr = net_listen(&world, &net_probe_handler, &answers.probe);
        struct plx_addr own = net_loopback(0);
        int peer = net_dial(&addr);
        assert_int_equal(getsockname(peer, &own.sock.any, &own.bytes), 0);
        NET_UNTIL(&world, answers.probe.told[NET_ACCEPT] == 1);
        net_peer_reset(peer);
        NET_UNTIL(&world, answers.probe.told[NET_CLOSE] == 1);
        assert_int_equal(answers.fd, -1);
        if (answers.asks_early) {
            assert_int_equal(answers.peer_rc, 0);
            assert_int_equal(plx_addr_port(&answers.peer), plx_addr_port(&own));
        } else {
            assert_int_equal(answers.peer_rc, -EBADF);
            assert_int_equal(answers.peer.bytes, 0);
        }
        net_world_close(&world);
    }
}

static void on_close_of_a_refused_connection_has_its_address(void **state)
{
    struct net_world world;
    net_world_open(&world, *state, 1, "4M");
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct plx_addr addr = net_loopback(0);
    assert_int_equal(bind(fd, &addr.sock.any, addr.bytes), 0);
    assert_int_equal(getsockname(fd, &addr.sock.any, &addr.bytes), 0);
    struct answers answers = {.probe.act = ask_at_close};
    struct plx_tcp *stream;
    assert_int_equal(plx_tcp_connect(world.reactor, &addr, &world.opts, &stream, NULL,
                                     &net_probe_handler, &answers.probe),
                     0);
    answers.probe.stream = stream; /* no on_connect will say so */
    assert_int_equal(plx_tcp_peer(stream, &answers.peer), 0);
    assert_memory_equal(&answers.peer, &addr, sizeof(addr));
    NET_UNTIL(&world, answers.probe.told[NET_CLOSE] == 1);
    assert_int_equal(answers.probe.reason, -ECONNREFUSED);
    assert_int_equal(answers.fd, -1);
    assert_int_equal(answers.peer_rc, 0);
    assert_memory_equal(&answers.peer, &addr, sizeof(addr));
    close(fd);
    net_world_close(&world);
}

/* The plain close, of a reactor that takes no more ops: the number is given up there as well. */
static void on_close_behind_a_plain_close_has_no_descriptor(void **state)
{
    struct net_world world;
    net_world_open(&world, *state, 1, "4M");
    struct answers answers = {.probe.act = ask_at_close};
    struct plx_addr addr = net_listen(&world, &net_probe_handler, &answers.probe);
    int peer = net_dial(&addr);
    NET_UNTIL(&world, answers.probe.told[NET_ACCEPT] == 1);
    struct plx__io *io = plx__reactor_io(world.reactor);
    plx_tcp_abort(answers.probe.stream);
    io->refuses = true;
    io->drained = true;
    NET_UNTIL(&world, answers.probe.told[NET_CLOSE] == 1);
    io->refuses = false;
    io->drained = false;
    assert_int_equal(answers.fd, -1);
    assert_int_equal(answers.peer_rc, -EBADF);
    close(peer);
    net_world_close(&world);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(on_close_has_no_descriptor_and_the_peer_that_was_asked_for),
        cmocka_unit_test(on_close_of_a_refused_connection_has_its_address),
        cmocka_unit_test(on_close_behind_a_plain_close_has_no_descriptor),
    };
    return net_run("tcp_on_close", tests, sizeof(tests) / sizeof(tests[0]));
}
