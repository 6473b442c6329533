/* SPDX-License-Identifier: MIT */
/* Receiving: by the ring into a group's buffers, or hot; holding back what a paused stream got. */
#include <errno.h>

#include "net/tcp_internal.h"

static void on_received(struct plx_op *op, const struct plx_event *event, void *ctx);

/* --- held buffers, and streams that wait for buffers ------------------------------------------ */

/* Streams that found no buffer receive again. */
static void rearm_starved(struct plx__deferred *deferred, void *ctx)
{
    (void)deferred;
    struct plx__net *net = ctx;
    /* Those that starve again meanwhile come to the list's end: count, rather than run until empty.
     */
    struct plx__link *last = net->starved.prev;
    while (!plx__list_is_empty(&net->starved)) {
        struct plx__link *link = net->starved.next;
        plx__list_remove(link);
        plx__tcp_touch(PLX_CONTAINER(link, struct plx_tcp, for_buffer));
        if (link == last)
            break;
    }
}

static void rearm_soon(struct plx__net *net)
{
    /* With every buffer held there is nothing to receive into: the next release comes here. */
    if (net->held_count < net->buffer_count)
        plx__reactor_defer(net->reactor, &net->rearm, rearm_starved, net);
}

static void hold(struct plx_tcp *stream, const struct plx_event *event)
{
    struct plx__net *net = stream->net;
    uint16_t id = event->buffer_id;
    net->held[id] = (struct plx__held){
        .data = event->data,
        .len = (uint32_t)event->result,
        .next = PLX__NO_BUFFER,
    };
    if (stream->held_last != PLX__NO_BUFFER)
        net->held[stream->held_last].next = id;
    else
        stream->held_first = id;
    stream->held_last = id;
    net->held_count++;
}

/* Takes the first held buffer off the list; it is not given back yet. */
static uint16_t unhold(struct plx_tcp *stream)
{
    struct plx__net *net = stream->net;
    uint16_t id = stream->held_first;
    stream->held_first = net->held[id].next;
    if (stream->held_first == PLX__NO_BUFFER)
        stream->held_last = PLX__NO_BUFFER;
    net->held_count--;
    return id;
}

static void release(struct plx__net *net, uint16_t id)
{
    plx_group_release(net->reactor, net->group, id);
    if (PLX_UNLIKELY(!plx__list_is_empty(&net->starved)))
        rearm_soon(net);
}

static void drop_held(struct plx_tcp *stream)
{
    while (stream->held_first != PLX__NO_BUFFER)
        release(stream->net, unhold(stream));
}

static inline bool takes_data(const struct plx_tcp *stream)
{
    return stream->phase == PLX__TCP_OPEN && !stream->paused;
}

static inline void deliver(struct plx_tcp *stream, const void *data, size_t len)
{
    stream->net->stats.bytes_in += len;
    if (PLX_LIKELY(stream->handler->on_data != NULL))
        stream->handler->on_data(stream, data, len, stream->ctx);
}

void plx__recv_deliver_held(struct plx_tcp *stream)
{
    struct plx__net *net = stream->net;
    if (stream->phase == PLX__TCP_CLOSING)
        drop_held(stream);
    while (stream->held_first != PLX__NO_BUFFER && takes_data(stream)) {
        uint16_t id = unhold(stream);
        deliver(stream, net->held[id].data, net->held[id].len);
        release(net, id);
    }
    bool reads_on = !stream->paused || stream->phase == PLX__TCP_CLOSING;
    if (stream->eof_held && reads_on && stream->held_first == PLX__NO_BUFFER) {
        stream->eof_held = false;
        stream->eof = true;
    }
}

/* --- by the ring ------------------------------------------------------------------------------ */

static void take_buffer(struct plx_tcp *stream, const struct plx_event *event)
{
    if (PLX_UNLIKELY(stream->held_first != PLX__NO_BUFFER || !takes_data(stream))) {
        if (stream->phase == PLX__TCP_OPEN) {
            hold(stream, event);
            return;
        }
        stream->net->stats.bytes_in += (uint64_t)event->result;
    } else {
        deliver(stream, event->data, (size_t)event->result);
    }
    release(stream->net, event->buffer_id);
}

static void take_end(struct plx_tcp *stream)
{
    if (stream->phase == PLX__TCP_OPEN && (stream->paused || stream->held_first != PLX__NO_BUFFER))
        stream->eof_held = true;
    else
        stream->eof = true;
    plx__tcp_touch(stream);
}

static void take_error(struct plx_tcp *stream, int result)
{
    switch (result) {
    case -ENOBUFS:
        stream->net->stats.recv_starved++;
        if (stream->phase < PLX__TCP_DYING && !plx__link_is_in(&stream->for_buffer)) {
            plx__list_append(&stream->net->starved, &stream->for_buffer);
            rearm_soon(stream->net);
        }
        break;
    case -ECANCELED: /* settling asked for it, and knows what comes next */
    case -EAGAIN:
    case -EINTR:
    case -ENOMEM:
        break;
    default:
        plx__tcp_end(stream, result, false);
    }
}

static void on_received(struct plx_op *op, const struct plx_event *event, void *ctx)
{
    (void)op;
    struct plx_tcp *stream = ctx;
    bool last = (event->flags & PLX_EV_MORE) == 0;
    if (last)
        stream->receiving = false;
    if (PLX_LIKELY(event->result > 0))
        take_buffer(stream, event);
    else if (event->result == 0)
        take_end(stream);
    else
        take_error(stream, event->result);
    if (last)
        plx__tcp_landed(stream);
}

static void arm_ring(struct plx_tcp *stream)
{
    struct plx__net *net = stream->net;
    plx_op_recv_group(&stream->recv_op, stream->fd, net->group, on_received, stream);
    int rc = plx_op_submit(net->reactor, &stream->recv_op);
    if (PLX_LIKELY(rc == 0))
        stream->receiving = true;
    else if (rc == -EAGAIN)
        plx__tcp_touch(stream); /* the ring is full; the next turn tries again */
    else
        plx__tcp_end(stream, rc, false);
}

/* --- hot -------------------------------------------------------------------------------------- */

static uint32_t look(struct plx_poller *poller, void *ctx)
{
    (void)poller;
    struct plx_tcp *stream = ctx;
    struct plx__net *net = stream->net;
    if (PLX_UNLIKELY(!takes_data(stream) && stream->phase != PLX__TCP_CLOSING))
        return 0;

    int64_t got = plx_recv_now(net->reactor, stream->fd, net->scratch, PLX__SCRATCH_BYTES);
    if (got == -EAGAIN)
        return 0;
    if (PLX_LIKELY(got > 0)) {
        if (stream->phase == PLX__TCP_OPEN)
            deliver(stream, net->scratch, (size_t)got);
        else
            net->stats.bytes_in += (uint64_t)got;
        return 1;
    }
    plx_poller_disarm(net->reactor, &stream->poller);
    if (got == 0)
        take_end(stream);
    else
        take_error(stream, (int)got);
    plx__tcp_touch(stream);
    return 1;
}

/* --- settling --------------------------------------------------------------------------------- */

static void set_poller(struct plx_tcp *stream, bool armed)
{
    if (armed == stream->poller.armed)
        return;
    if (armed)
        plx_poller_arm(stream->net->reactor, &stream->poller, look, stream);
    else
        plx_poller_disarm(stream->net->reactor, &stream->poller);
}

void plx__recv_settle(struct plx_tcp *stream)
{
    struct plx_reactor *reactor = stream->net->reactor;
    bool wanted = !stream->eof && !stream->eof_held && stream->held_first == PLX__NO_BUFFER &&
                  (takes_data(stream) || stream->phase == PLX__TCP_CLOSING);
    bool hot = stream->mode == PLX_RECV_SPIN;

    set_poller(stream, wanted && hot && !stream->receiving);
    if (stream->hot && !hot) {
        stream->hot = false;
        plx__reactor_hot_give(reactor);
    }
    if (stream->receiving) {
        /* What the multishot has taken until it ends is delivered, or held, before all else. */
        if (!wanted || hot)
            plx_op_cancel(reactor, &stream->recv_op);
    } else if (wanted && !hot && !plx__link_is_in(&stream->for_buffer)) {
        arm_ring(stream);
    }
}

void plx__recv_stop(struct plx_tcp *stream)
{
    plx_poller_disarm(stream->net->reactor, &stream->poller);
    plx__list_remove(&stream->for_buffer);
    drop_held(stream);
    if (stream->receiving)
        plx_op_cancel(stream->net->reactor, &stream->recv_op);
}

/* --- the public face -------------------------------------------------------------------------- */

void plx_tcp_pause(struct plx_tcp *stream)
{
    stream->paused = true;
    plx__tcp_touch(stream);
}

void plx_tcp_resume(struct plx_tcp *stream)
{
    stream->paused = false;
    plx__tcp_touch(stream);
}

int plx_tcp_set_receive(struct plx_tcp *stream, enum plx_recv_mode mode)
{
    struct plx__net *net = stream->net;
    if (stream->phase > PLX__TCP_OPEN)
        return -EPIPE;
    if (mode == PLX_RECV_SPIN && !stream->hot) {
        int rc = plx__net_prepare_spin(net);
        if (rc == 0)
            rc = plx__reactor_hot_take(net->reactor);
        if (rc != 0) {
            net->stats.hot_refused += rc == -ENOSPC;
            return rc;
        }
        stream->hot = true;
    }
    stream->mode = (uint8_t)mode;
    plx__tcp_touch(stream);
    return 0;
}

enum plx_recv_mode plx_tcp_receive(const struct plx_tcp *stream)
{
    return (enum plx_recv_mode)stream->mode;
}
