/* SPDX-License-Identifier: MIT */
/* What one turn does at the most for streams that wait: for receive buffers, for send blocks. */
#include "net/tcp.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "net/tcp_internal.h"
#include "test/net/net_echo.h"
#include "test/net/net_world.h"

/* More than a batch, by so many that it shows. */
#define STREAMS (2 * PLX__BATCH_MAX + 30)

/* Streams of a listener with raw peers; none of them does anything. */
struct crowd {
    struct net_world world;
    struct plx__net *net;
    struct net_echo echo;
    struct plx_tcp *streams[STREAMS];
    int peers[STREAMS];
    uint32_t served; /* on_writable came */
};

static struct crowd crowd;

static void crowd_accept(struct plx_tcp *stream, void *ctx)
{
    (void)ctx;
    crowd.streams[crowd.echo.accepts++] = stream;
}

/* Whoever waits for a block wants room for a byte. */
static void crowd_writable(struct plx_tcp *stream, void *ctx)
{
    (void)ctx;
    crowd.served += plx_tcp_write(stream, "x", 1, PLX_QUEUED) == 1;
}

static void crowd_close(struct plx_tcp *stream, int reason, void *ctx)
{
    (void)stream;
    (void)reason;
    (void)ctx;
    crowd.echo.closes++;
}

static const struct plx_tcp_handler crowd_handler = {
    .on_accept = crowd_accept,
    .on_writable = crowd_writable,
    .on_close = crowd_close,
};

static void open_crowd(const void *mode, enum plx_recv_mode receive)
{
    memset(&crowd, 0, sizeof(crowd));
    net_world_open(&crowd.world, mode, 1, "32M");
    crowd.world.opts.receive = receive;
    struct plx_addr addr = net_listen(&crowd.world, &crowd_handler, NULL);
    for (uint32_t i = 0; i < STREAMS; i++) {
        crowd.peers[i] = net_dial(&addr);
        NET_UNTIL(&crowd.world, crowd.echo.accepts == i + 1);
    }
    for (unsigned turn = 0; turn < 5; turn++)
        net_turn(&crowd.world);
    crowd.net = *plx__reactor_net(crowd.world.reactor);
}

static void close_crowd(void)
{
    for (uint32_t i = 0; i < STREAMS; i++)
        close(crowd.peers[i]);
    NET_UNTIL(&crowd.world, crowd.echo.closes == STREAMS);
    net_world_close(&crowd.world);
}

static uint32_t count_links(const struct plx__link *list)
{
    uint32_t count = 0;
    for (const struct plx__link *at = list->next; at != list; at = at->next)
        count++;
    return count;
}

/* --- receive buffers -------------------------------------------------------------------------- */

/* As if its receive had found no buffer; it stays armed. */
static void starve(struct plx_tcp *stream)
{
    const struct plx_event event = {.result = -ENOBUFS, .flags = PLX_EV_MORE};
    assert_true(stream->receiving);
    stream->recv_op.fn(&stream->recv_op, &event, stream->recv_op.ctx);
}

static void starved_streams_are_woken_by_as_many_as_buffers_are_left(void **state)
{
    open_crowd(*state, PLX_RECV_RING);
    struct plx__buffers *buffers = &crowd.net->small;
    struct plx__group *group = &plx__reactor_io(crowd.world.reactor)->groups[buffers->group];
    uint32_t lent = group->lent;
    for (uint32_t i = 0; i < STREAMS; i++)
        starve(crowd.streams[i]);
    uint32_t waiting = STREAMS;
    assert_int_equal(count_links(&buffers->starved), waiting);
    /* None is left, then three; then more than one turn is good for. */
    static const uint32_t left[] = {0, 0, 3, 3, PLX__BATCH_MAX + 1, PLX__BATCH_MAX + 1};
    for (unsigned turn = 0; turn < 6; turn++) {
        group->lent = group->count - left[turn];
        assert_int_equal(plx_group_left(crowd.world.reactor, buffers->group), left[turn]);
        net_turn(&crowd.world);
        uint32_t most = left[turn] < PLX__BATCH_MAX ? left[turn] : PLX__BATCH_MAX;
        uint32_t woken = most < waiting ? most : waiting;
        assert_int_equal(count_links(&buffers->starved), waiting - woken);
        waiting -= woken;
    }
    group->lent = lent;
    NET_UNTIL(&crowd.world, count_links(&buffers->starved) == 0);
    close_crowd();
}

/* --- send blocks ------------------------------------------------------------------------------ */

/* Takes all blocks of send queues; gives how many. */
static uint32_t drain(struct plx_pool *pool, void **blocks, uint32_t max)
{
    uint32_t count = 0;
    while (count < max && (blocks[count] = plx_pool_acquire(pool, PLX__BLOCK_BYTES)) != NULL)
        count++;
    assert_true(count < max);
    return count;
}

static void cut_streams_are_woken_by_as_many_as_blocks_are_free(void **state)
{
    static void *blocks[4096];
    open_crowd(*state, ((const struct net_mode *)*state)->receive);
    struct plx_pool *pool = plx_reactor_pool(crowd.world.reactor);
    uint32_t count = drain(pool, blocks, 4096);
    /* None has anything to write any more, so that none takes what it is woken for. */
    for (uint32_t i = 0; i < STREAMS; i++)
        plx__block_wait(crowd.streams[i]);
    for (unsigned turn = 0; turn < 5; turn++)
        net_turn(&crowd.world);
    uint32_t waiting = STREAMS;
    assert_int_equal(count_links(&crowd.net->cut), waiting);
    for (unsigned i = 0; i < 3; i++)
        plx_pool_release(pool, blocks[--count]);
    while (waiting > PLX__BATCH_MAX + 20) {
        net_turn(&crowd.world);
        assert_int_equal(count_links(&crowd.net->cut), waiting - 3);
        waiting -= 3;
    }
    while (count > 0)
        plx_pool_release(pool, blocks[--count]);
    net_turn(&crowd.world);
    assert_true(plx_pool_available(pool, PLX__BLOCK_BYTES) > PLX__BATCH_MAX);
    assert_int_equal(count_links(&crowd.net->cut), waiting - PLX__BATCH_MAX);
    NET_UNTIL(&crowd.world, count_links(&crowd.net->cut) == 0);
    NET_UNTIL(&crowd.world, net_blocks_out(crowd.world.reactor) == 0);
    close_crowd();
}

/* One block for all of them: it goes from one to the next. */
static void cut_streams_are_all_served_by_one_block(void **state)
{
    static void *blocks[4096];
    open_crowd(*state, ((const struct net_mode *)*state)->receive);
    struct plx_pool *pool = plx_reactor_pool(crowd.world.reactor);
    uint32_t count = drain(pool, blocks, 4096);
    for (uint32_t i = 0; i < STREAMS; i++)
        assert_int_equal(plx_tcp_write(crowd.streams[i], "x", 1, PLX_QUEUED), 0);
    for (unsigned turn = 0; turn < 5; turn++)
        net_turn(&crowd.world);
    assert_int_equal(crowd.served, 0);
    plx_pool_release(pool, blocks[--count]);
    NET_UNTIL(&crowd.world, crowd.served == STREAMS);
    while (count > 0)
        plx_pool_release(pool, blocks[--count]);
    NET_UNTIL(&crowd.world, net_blocks_out(crowd.world.reactor) == 0);
    close_crowd();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(starved_streams_are_woken_by_as_many_as_buffers_are_left),
        cmocka_unit_test(cut_streams_are_woken_by_as_many_as_blocks_are_free),
        cmocka_unit_test(cut_streams_are_all_served_by_one_block),
    };
    return net_run("tcp_turns", tests, sizeof(tests) / sizeof(tests[0]));
}
