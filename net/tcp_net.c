/* SPDX-License-Identifier: MIT */
/* What the streams of one reactor share: memory in slabs and blocks, and the reactor's stop. */
#include <errno.h>
#include <string.h>

#include "net/tcp_internal.h"

#define BLOCKS_A_STEP 8u

/* --- options ---------------------------------------------------------------------------------- */

void plx_tcp_opts_init(struct plx_tcp_opts *opts)
{
    const uint64_t second = 1000000000u;
    *opts = (struct plx_tcp_opts){
        .receive = PLX_RECV_RING,
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
    net->calls = plx__reactor_io(reactor)->net;
    /* A quarter of the arena: the other parts of a program want memory too. */
    size_t blocks = arena->bytes / 4 / PLX__BLOCK_BYTES;
    net->block_max = blocks < UINT32_MAX ? (uint32_t)blocks : UINT32_MAX;
    plx__list_init(&net->cut);
    plx__list_init(&net->starved);
    plx__list_init(&net->listeners);
    plx__stopper_add(reactor, &net->stopper, follow_stop, net);
    *slot = net;
    return net;
}

static PLX_COLD int prepare_ring(struct plx__net *net)
{
    if (net->buffer_count != 0)
        return 0;
    struct plx_arena *arena = plx_reactor_arena(net->reactor);
    uint32_t count = PLX__BUFFERS_MIN;
    while (count < PLX__BUFFERS_MAX && (size_t)count * 2 * PLX__BUFFER_BYTES <= arena->bytes / 16)
        count *= 2;

    if (net->held == NULL)
        net->held = plx_arena_carve(arena, count * sizeof(*net->held), PLX_CACHE_LINE);
    if (net->held == NULL)
        return -ENOMEM;
    int rc = plx_group_create(net->reactor, count, PLX__BUFFER_BYTES, &net->group);
    if (rc == 0)
        net->buffer_count = count;
    return rc;
}

PLX_COLD int plx__net_prepare_spin(struct plx__net *net)
{
    if (net->scratch == NULL)
        net->scratch =
            plx_arena_carve(plx_reactor_arena(net->reactor), PLX__SCRATCH_BYTES, PLX_PAGE);
    return net->scratch != NULL ? 0 : -ENOMEM;
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
    rc = prepare_ring(net);
    if (rc == 0 && opts->receive == PLX_RECV_SPIN)
        rc = plx__net_prepare_spin(net);
    if (rc != 0)
        return plx_diag_set(diag, rc, "arena",
                            "the reactor's arena has no room for receive buffers");
    *out = net;
    return 0;
}

/* --- blocks of send queues -------------------------------------------------------------------- */

static PLX_COLD bool carve_blocks(struct plx__net *net)
{
    uint32_t count = net->block_max - net->block_count;
    if (count > BLOCKS_A_STEP)
        count = BLOCKS_A_STEP;
    if (count == 0)
        return false;
    struct plx__block *blocks = plx_arena_carve(plx_reactor_arena(net->reactor),
                                                (size_t)count * sizeof(*blocks), PLX_CACHE_LINE);
    if (blocks == NULL)
        return false;
    for (uint32_t i = 0; i < count; i++) {
        blocks[i].next = net->block_free;
        net->block_free = &blocks[i];
    }
    net->block_free_count += count;
    net->block_count += count;
    return true;
}

bool plx__block_has(struct plx__net *net, uint32_t count)
{
    while (PLX_UNLIKELY(net->block_free_count < count)) {
        if (!carve_blocks(net))
            return false;
    }
    return true;
}

struct plx__block *plx__block_take(struct plx__net *net)
{
    if (PLX_UNLIKELY(net->block_free == NULL) && !carve_blocks(net))
        return NULL;
    struct plx__block *block = net->block_free;
    net->block_free = block->next;
    net->block_free_count--;
    block->next = NULL;
    block->begin = 0;
    block->end = 0;
    return block;
}

void plx__block_give(struct plx__net *net, struct plx__block *block)
{
    block->next = net->block_free;
    net->block_free = block;
    net->block_free_count++;
    /* All who wait: the first may want no block any more. Who still gets none waits anew. */
    while (PLX_UNLIKELY(!plx__list_is_empty(&net->cut))) {
        struct plx_tcp *waiter = PLX_CONTAINER(net->cut.next, struct plx_tcp, for_block);
        plx__list_remove(&waiter->for_block);
        plx__tcp_touch(waiter);
    }
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
    PLX_ASSERT(stream->held_first == PLX__NO_BUFFER);
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
