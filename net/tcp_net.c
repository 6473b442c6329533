/* SPDX-License-Identifier: MIT */
/* What the streams of one reactor share: slabs, the pool's blocks, and the reactor's stop. */
#include <errno.h>
#include <string.h>

#include "net/tcp_internal.h"

/* --- options ---------------------------------------------------------------------------------- */

void plx_tcp_opts_init(struct plx_tcp_opts *opts)
{
    const uint64_t second = 1000000000u;
    *opts = (struct plx_tcp_opts){
        .receive = PLX_RECV_RING,
        .receive_bytes = PLX__SMALL_BYTES,
        .nodelay = true,
        .backlog = 4096,
        .streams_max = 65536,
        .send_queue_bytes = 256 * 1024,
        .send_timeout_ns = 30 * second,
        .close_timeout_ns = 5 * second,
        .connect_timeout_ns = 10 * second,
    };
}

static PLX_COLD int check_opts(const struct plx_tcp_opts *opts, struct plx_diag *diag)
{
    const char *what = NULL;
    if (opts->receive != PLX_RECV_RING && opts->receive != PLX_RECV_SPIN)
        what = "receive";
    else if (opts->receive_bytes != PLX__SMALL_BYTES && opts->receive_bytes != PLX__LARGE_BYTES)
        what = "receive_bytes";
    else if (opts->backlog == 0 || opts->backlog > INT32_MAX)
        what = "backlog";
    else if (opts->streams_max == 0)
        what = "streams_max";
    else if (opts->send_queue_bytes == 0 || opts->send_queue_bytes > PLX_TCP_QUEUE_BYTES_MAX)
        what = "send_queue_bytes";
    else if (opts->send_timeout_ns == 0)
        what = "send_timeout_ns";
    else if (opts->close_timeout_ns == 0)
        what = "close_timeout_ns";
    else if (opts->connect_timeout_ns == 0)
        what = "connect_timeout_ns";
    if (what == NULL)
        return 0;
    return plx_diag_set(diag, -EINVAL, what, "the option %s is out of its range", what);
}

/* --- the net of a reactor --------------------------------------------------------------------- */

static void follow_stop(struct plx__stopper *stopper, enum plx__stop_phase phase, void *ctx)
{
    (void)stopper;
    struct plx__net *net = ctx;
    net->stopping = true;
    if (phase == PLX__STOP_ADMITTING) {
        for (struct plx__link *at = net->listeners.next; at != &net->listeners; at = at->next)
            plx__listener_end(PLX_CONTAINER(at, struct plx_tcp_listener, link));
        return;
    }
    plx__tcp_end_all(net);
}

static PLX_COLD struct plx__net *net_of(struct plx_reactor *reactor)
{
    void **slot = plx__reactor_net(reactor);
    if (*slot != NULL)
        return *slot;

    struct plx_arena *arena = plx_reactor_arena(reactor);
    struct plx__net *net = plx_arena_carve(arena, sizeof(*net), PLX_CACHE_LINE);
    if (net == NULL)
        return NULL;
    memset(net, 0, sizeof(*net));
    net->reactor = reactor;
    net->calls = plx__reactor_io(reactor)->plain;
    net->pool = plx_reactor_pool(reactor);
    net->home = plx_reactor_bytes(reactor);
    net->small.net = net;
    net->small.bytes = PLX__SMALL_BYTES;
    plx__list_init(&net->small.starved);
    net->large.net = net;
    net->large.bytes = PLX__LARGE_BYTES;
    plx__list_init(&net->large.starved);
    plx__list_init(&net->cut);
    plx__list_init(&net->listeners);
    plx__stopper_add(reactor, &net->stopper, follow_stop, net);
    *slot = net;
    return net;
}

/* Half of the blocks that are free now: the other half makes up for those that are taken. */
static PLX_COLD int prepare_ring(struct plx__buffers *buffers)
{
    struct plx__net *net = buffers->net;
    if (buffers->count != 0)
        return 0;
    uint32_t half = plx_pool_available(net->pool, buffers->bytes) / 2;
    uint32_t most = buffers->held != NULL ? buffers->held_room : PLX__BUFFERS_MAX;
    uint32_t count = 1;
    if (half == 0)
        return -ENOMEM;
    while (count * 2 <= half && count * 2 <= most)
        count *= 2;

    if (buffers->held == NULL) {
        buffers->held = plx_arena_carve(plx_reactor_arena(net->reactor),
                                        count * sizeof(*buffers->held), PLX_CACHE_LINE);
        buffers->held_room = count;
    }
    if (buffers->held == NULL)
        return -ENOMEM;
    int rc = plx_group_create(net->reactor, count, buffers->bytes, &buffers->group);
    if (rc == 0)
        buffers->count = count;
    return rc;
}

int plx__net_prepare_spin(struct plx__net *net)
{
    /* A small arena may have no block so large. */
    uint32_t bytes = net->hot_bytes != 0 ? net->hot_bytes : PLX__HOT_BYTES;
    while (net->hot_block == NULL && bytes >= PLX_POOL_BLOCK_MIN) {
        net->hot_block = plx_pool_acquire(net->pool, bytes);
        if (net->hot_block != NULL)
            net->hot_bytes = bytes;
        bytes /= 2;
    }
    return net->hot_block != NULL ? 0 : -ENOMEM;
}

static PLX_COLD int tell_ring_error(int rc, struct plx_diag *diag)
{
    if (rc == -ENOMEM)
        return plx_diag_set(diag, rc, "arena",
                            "the reactor's arena, or its pool, has no room for receive buffers");
    if (rc == -ENOSPC)
        return plx_diag_set(diag, rc, "groups",
                            "the reactor has %u groups already, and none is for receive buffers",
                            PLX_GROUPS_MAX);
    return plx_diag_set(diag, rc, "groups", "no group for receive buffers could be made: %s",
                        strerror(-rc));
}

PLX_COLD int plx__net_prepare(struct plx_reactor *reactor, const struct plx_tcp_opts *opts,
                              struct plx__net **out, struct plx_diag *diag)
{
    int rc = check_opts(opts, diag);
    if (rc != 0)
        return rc;
    struct plx__net *net = net_of(reactor);
    if (net == NULL)
        return plx_diag_set(diag, -ENOMEM, "arena", "the reactor's arena is exhausted");
    if (net->stopping)
        return plx_diag_set(diag, -ESHUTDOWN, "reactor", "the reactor is stopping");
    /* For hot streams too: beyond POLLUX_HOT_MAX they receive by ring. */
    rc = prepare_ring(opts->receive_bytes == PLX__LARGE_BYTES ? &net->large : &net->small);
    if (rc == 0 && opts->receive == PLX_RECV_SPIN)
        rc = plx__net_prepare_spin(net);
    if (rc != 0)
        return tell_ring_error(rc, diag);
    /* All out is for waiting; but a pool that never had one is too small. */
    if (!plx_pool_fits(net->pool, PLX__BLOCK_BYTES))
        return plx_diag_set(diag, -ENOMEM, "arena",
                            "the reactor's pool has no blocks of %u bytes, for send queues",
                            PLX__BLOCK_BYTES);
    *out = net;
    return 0;
}

/* --- blocks of send queues -------------------------------------------------------------------- */

bool plx__block_has(const struct plx__net *net, uint32_t count)
{
    return plx_pool_available(net->pool, PLX__BLOCK_BYTES) >= count;
}

struct plx__block *plx__block_take(struct plx__net *net)
{
    struct plx__block *block = plx_pool_acquire(net->pool, PLX__BLOCK_BYTES);
    if (PLX_UNLIKELY(block == NULL))
        return NULL;
    block->next = NULL;
    block->begin = 0;
    block->end = 0;
    return block;
}

void plx__block_give(struct plx__net *net, struct plx__block *block)
{
    plx_pool_release(net->pool, block);
}

static void wake_cut(struct plx_pool_waiter *waiter, void *block, void *ctx);

static void wait_for_block(struct plx__net *net)
{
    if (plx_pool_waiter_is_armed(&net->block_waiter))
        return;
    int rc = plx_pool_waiter_arm(net->pool, &net->block_waiter, PLX__BLOCK_BYTES, wake_cut, net);
    /* plx__net_prepare has looked whether the pool has such blocks. */
    PLX_ASSERT(rc == 0);
}

/* Those who were woken have taken what they want: are there blocks left, others are next. */
static void wake_more(struct plx__deferred *deferred, void *ctx)
{
    (void)deferred;
    struct plx__net *net = ctx;
    if (!plx__list_is_empty(&net->cut))
        wait_for_block(net);
}

/*
 * As many as there are blocks. Who was woken may want none any more, so the rest waits on; not at
 * once, since a waiter would be given a block before those who were woken for it.
 */
static void wake_cut(struct plx_pool_waiter *waiter, void *block, void *ctx)
{
    (void)waiter;
    struct plx__net *net = ctx;
    plx_pool_release(net->pool, block);
    uint32_t count = plx_pool_available(net->pool, PLX__BLOCK_BYTES);
    if (count > PLX__BATCH_MAX)
        count = PLX__BATCH_MAX;
    for (; count != 0 && !plx__list_is_empty(&net->cut); count--) {
        struct plx_tcp *stream = PLX_CONTAINER(net->cut.next, struct plx_tcp, for_block);
        plx__list_remove(&stream->for_block);
        plx__tcp_touch(stream);
    }
    if (!plx__list_is_empty(&net->cut))
        plx__reactor_defer(net->reactor, &net->cut_rest, wake_more, net);
}

void plx__block_wait(struct plx_tcp *stream)
{
    struct plx__net *net = stream->net;
    if (plx__link_is_in(&stream->for_block))
        return;
    plx__list_append(&net->cut, &stream->for_block);
    wait_for_block(net);
}

/* --- streams ---------------------------------------------------------------------------------- */

struct plx_tcp *plx__stream_take(struct plx__net *net)
{
    struct plx_tcp *stream = net->stream_free;
    if (PLX_UNLIKELY(stream == NULL)) {
        struct plx__slab *slab =
            plx_arena_carve(plx_reactor_arena(net->reactor), sizeof(*slab), PLX_CACHE_LINE);
        if (slab == NULL)
            return NULL;
        memset(slab, 0, sizeof(*slab));
        slab->next = net->slabs;
        net->slabs = slab;
        for (uint32_t i = 0; i < PLX__STREAMS_A_SLAB; i++) {
            slab->streams[i].next_free = net->stream_free;
            net->stream_free = &slab->streams[i];
        }
        stream = net->stream_free;
    }
    net->stream_free = stream->next_free;
    memset(stream, 0, sizeof(*stream));
    stream->net = net;
    return stream;
}

void plx__stream_give(struct plx__net *net, struct plx_tcp *stream)
{
    /* Nothing that could come back to it later. */
    PLX_ASSERT(stream->flight == PLX__FLIGHT_NONE && !stream->receiving);
    PLX_ASSERT(!stream->timer.armed && !stream->poller.armed && !stream->deferred.queued);
    PLX_ASSERT(!plx__link_is_in(&stream->for_block) && !plx__link_is_in(&stream->for_buffer));
    PLX_ASSERT(stream->first == NULL && stream->dated == NULL && !stream->hot);
    PLX_ASSERT(stream->held_first == PLX__NO_BUFFER && stream->kept_len == 0);
    stream->phase = PLX__TCP_FREE;
    stream->next_free = net->stream_free;
    net->stream_free = stream;
}

void plx_tcp_read_stats(struct plx_reactor *reactor, struct plx_tcp_stats *out)
{
    const struct plx__net *net = *plx__reactor_net(reactor);
    if (net != NULL)
        *out = net->stats;
    else
        memset(out, 0, sizeof(*out));
}
