/* SPDX-License-Identifier: MIT */
/* Receiving: by the ring into a group's buffers, or hot; holding back what a paused stream got. */
#include <errno.h>
#include <poll.h>
#include <string.h>

#include "net/tcp_internal.h"

static void on_received(struct plx_op *op, const struct plx_event *event, void *ctx);

/* --- streams that wait for buffers ------------------------------------------------------------ */

static void rearm_soon(struct plx__buffers *buffers);

/* Of the streams that found no buffer as many receive again as there are buffers by now. */
static void rearm_starved(struct plx__deferred *deferred, void *ctx)
{
    (void)deferred;
    struct plx__buffers *buffers = ctx;
    uint32_t count = plx_group_left(buffers->net->reactor, buffers->group);
    if (count > PLX__BATCH_MAX)
        count = PLX__BATCH_MAX;
    for (; count != 0 && !plx__list_is_empty(&buffers->starved); count--) {
        struct plx__link *link = buffers->starved.next;
        plx__list_remove(link);
        plx__tcp_touch(PLX_CONTAINER(link, struct plx_tcp, for_buffer));
    }
    /* Others go on: a buffer may come home without a release, when the pool makes up for it. */
    if (!plx__list_is_empty(&buffers->starved))
        rearm_soon(buffers);
}

static void rearm_soon(struct plx__buffers *buffers)
{
    /* With every buffer held back there is nothing to receive into: the next release comes here. */
    if (buffers->held_count < buffers->count)
        plx__reactor_defer(buffers->net->reactor, &buffers->rearm, rearm_starved, buffers);
}

/* The group has one more buffer. */
static inline void wake_starved(struct plx__buffers *buffers)
{
    if (PLX_UNLIKELY(!plx__list_is_empty(&buffers->starved)))
        rearm_soon(buffers);
}

static inline void release(struct plx__buffers *buffers, uint16_t id)
{
    plx_group_release(buffers->net->reactor, buffers->group, id);
    wake_starved(buffers);
}

/* --- handing over, and holding ---------------------------------------------------------------- */

static inline bool takes_data(const struct plx_tcp *stream)
{
    return stream->phase == PLX__TCP_OPEN && !stream->paused;
}

/*
 * Gives bytes of a buffer with `room` for more to the stream. Returns how many of them, from the
 * end, it is to be given again; given.taken says whether the buffer now belongs to who holds them.
 */
static inline size_t deliver(struct plx_tcp *stream, enum plx__origin origin, uint16_t id,
                             uint32_t room, const uint8_t *data, size_t len)
{
    struct plx__net *net = stream->net;
    struct plx__given *given = &net->given;
    net->stats.bytes_in += len;
    given->taken = false;
    if (PLX_UNLIKELY(stream->handler->on_data == NULL))
        return 0;
    given->stream = stream;
    given->data = data;
    given->len = len;
    given->refused = NULL;
    given->room = room;
    given->id = id;
    given->origin = (uint8_t)origin;
    stream->handler->on_data(stream, data, len, stream->ctx);
    given->stream = NULL;
    if (PLX_UNLIKELY(given->taken))
        plx_bytes_release(net->home, &given->whole);
    if (PLX_LIKELY(given->refused == NULL || !stream->paused || stream->phase != PLX__TCP_OPEN))
        return 0;
    size_t left = len - (size_t)(given->refused - data);
    net->stats.bytes_in -= left;
    return left;
}

/* Makes the whole of what is given counted, its buffer no longer its origin's. */
static int take_given(struct plx__net *net)
{
    struct plx__given *given = &net->given;
    size_t room = 0;
    void *block = plx_pool_block_of(net->pool, given->data, &room);
    /* With nothing to take its place the group would shrink, and others starve. */
    if (given->origin != PLX__FROM_KEPT && plx_pool_available(net->pool, room) == 0)
        return -ENOMEM;
    if (given->origin == PLX__FROM_RING) {
        struct plx__buffers *buffers = given->stream->buffers;
        void *taken = plx_group_take(net->reactor, buffers->group, given->id);
        PLX_ASSERT(taken == block);
    } else if (given->origin == PLX__FROM_HOT) {
        net->hot_block = NULL;
    }
    given->whole = plx_bytes_freeze(net->home, block, given->data, given->len);
    given->taken = true;
    return 0;
}

static int keep(struct plx__net *net, const uint8_t *data, size_t len, struct plx_bytes *out)
{
    struct plx__given *given = &net->given;
    bool small = len < PLX_BYTES_PACK_MAX;
    if (small || (!given->taken && given->len < given->room / PLX__PIN_PART)) {
        if (plx_bytes_copy(net->home, data, len, out) == 0)
            return 0;
        /* A buffer is not pinned for so little, unless it is anyway. */
        if (small && !given->taken)
            return -ENOMEM;
    }
    int rc = given->taken ? 0 : take_given(net);
    if (rc == 0)
        rc = plx_bytes_slice(&given->whole, (size_t)(data - given->data), len, out);
    return rc;
}

int plx_tcp_hold(struct plx_tcp *stream, const void *data, size_t len, struct plx_bytes *out)
{
    struct plx__net *net = stream->net;
    struct plx__given *given = &net->given;
    *out = (struct plx_bytes){0};
    PLX_ASSERT(given->stream == stream);
    /* Wraps, and is too large, for what lies before. */
    size_t offset = (uintptr_t)data - (uintptr_t)given->data;
    PLX_ASSERT(offset <= given->len && len <= given->len - offset);
    if (len == 0)
        return 0;
    /* Once refused, it would be out of order to hold what follows. */
    int rc = given->refused == NULL ? keep(net, data, len, out) : -ENOMEM;
    if (PLX_UNLIKELY(rc != 0)) {
        if (given->refused == NULL)
            given->refused = data;
        net->stats.holds_refused++;
    }
    return rc;
}

/* --- holding back what a paused stream got ---------------------------------------------------- */

/* Bytes that the buffer of a held one has behind them. */
static size_t room_behind(const struct plx__net *net, const struct plx__held *held)
{
    size_t bytes = 0;
    const uint8_t *block = plx_pool_block_of(net->pool, held->data, &bytes);
    return (size_t)(block + bytes - (held->data + held->len));
}

static void hold_back(struct plx_tcp *stream, const struct plx_event *event)
{
    struct plx__buffers *buffers = stream->buffers;
    uint16_t id = event->buffer_id;
    uint32_t len = (uint32_t)event->result;
    if (stream->held_last != PLX__NO_BUFFER) {
        /* Little bytes go behind those before them, so that they keep no buffer by themselves. */
        struct plx__held *last = &buffers->held[stream->held_last];
        if (len < buffers->bytes / PLX__PIN_PART && len <= room_behind(stream->net, last)) {
            memcpy(last->data + last->len, event->data, len);
            last->len += len;
            release(buffers, id);
            return;
        }
        last->next = id;
    } else {
        stream->held_first = id;
    }
    buffers->held[id] = (struct plx__held){.data = event->data, .len = len, .next = PLX__NO_BUFFER};
    stream->held_last = id;
    buffers->held_count++;
}

/* Takes the first held buffer off the list; it is not given back yet. */
static uint16_t unhold(struct plx_tcp *stream)
{
    struct plx__buffers *buffers = stream->buffers;
    uint16_t id = stream->held_first;
    stream->held_first = buffers->held[id].next;
    if (stream->held_first == PLX__NO_BUFFER)
        stream->held_last = PLX__NO_BUFFER;
    buffers->held_count--;
    return id;
}

/* The last `left` bytes of a buffer that was given come first again. */
static void hold_again(struct plx_tcp *stream, uint16_t id, uint8_t *data, size_t left)
{
    struct plx__buffers *buffers = stream->buffers;
    buffers->held[id] =
        (struct plx__held){.data = data, .len = (uint32_t)left, .next = stream->held_first};
    stream->held_first = id;
    if (stream->held_last == PLX__NO_BUFFER)
        stream->held_last = id;
    buffers->held_count++;
}

static inline void give_buffer(struct plx_tcp *stream, uint16_t id, uint8_t *data, size_t len)
{
    struct plx__buffers *buffers = stream->buffers;
    size_t left = deliver(stream, PLX__FROM_RING, id, buffers->bytes, data, len);
    if (PLX_UNLIKELY(left != 0))
        hold_again(stream, id, data + (len - left), left);
    else if (PLX_UNLIKELY(stream->net->given.taken))
        wake_starved(buffers);
    else
        release(buffers, id);
}

/* What is left of a block that was read while hot. */
static void give_kept(struct plx_tcp *stream)
{
    struct plx__net *net = stream->net;
    uint8_t *data = stream->kept_data;
    size_t len = stream->kept_len;
    size_t room = 0;
    void *block = plx_pool_block_of(net->pool, data, &room);
    stream->kept_len = 0;
    size_t left = deliver(stream, PLX__FROM_KEPT, 0, (uint32_t)room, data, len);
    if (left != 0) {
        stream->kept_data = data + (len - left);
        stream->kept_len = (uint32_t)left;
    } else if (!net->given.taken) {
        plx_pool_release(net->pool, block);
    }
}

static void drop_held(struct plx_tcp *stream)
{
    if (stream->kept_len != 0)
        plx_pool_release(stream->net->pool,
                         plx_pool_block_of(stream->net->pool, stream->kept_data, NULL));
    stream->kept_len = 0;
    while (stream->held_first != PLX__NO_BUFFER)
        release(stream->buffers, unhold(stream));
}

void plx__recv_deliver_held(struct plx_tcp *stream)
{
    if (stream->phase == PLX__TCP_CLOSING)
        drop_held(stream);
    while (plx__recv_holds_back(stream) && takes_data(stream)) {
        if (stream->kept_len != 0) {
            give_kept(stream);
        } else {
            uint16_t id = unhold(stream);
            const struct plx__held *held = &stream->buffers->held[id];
            give_buffer(stream, id, held->data, held->len);
        }
    }
    bool reads_on = !stream->paused || stream->phase == PLX__TCP_CLOSING;
    if (stream->eof_held && reads_on && !plx__recv_holds_back(stream)) {
        stream->eof_held = false;
        stream->eof = true;
    }
}

/* --- by the ring ------------------------------------------------------------------------------ */

static void take_buffer(struct plx_tcp *stream, const struct plx_event *event)
{
    if (PLX_LIKELY(!plx__recv_holds_back(stream) && takes_data(stream))) {
        give_buffer(stream, event->buffer_id, event->data, (size_t)event->result);
    } else if (stream->phase == PLX__TCP_OPEN) {
        hold_back(stream, event);
    } else {
        stream->net->stats.bytes_in += (uint64_t)event->result;
        release(stream->buffers, event->buffer_id);
    }
}

static void take_end(struct plx_tcp *stream)
{
    if (stream->phase == PLX__TCP_OPEN && (stream->paused || plx__recv_holds_back(stream)))
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
            plx__list_append(&stream->buffers->starved, &stream->for_buffer);
            rearm_soon(stream->buffers);
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
    plx_op_recv_group(&stream->recv_op, stream->fd, stream->buffers->group, on_received, stream);
    int rc = plx_op_submit(net->reactor, &stream->recv_op);
    if (PLX_LIKELY(rc == 0))
        stream->receiving = true;
    else if (rc == -EAGAIN)
        plx__tcp_touch(stream); /* the ring is full; the next turn tries again */
    else
        plx__tcp_end(stream, rc, false);
}

/* --- hot -------------------------------------------------------------------------------------- */

/* Without a block nothing is read; the pool is asked each turn. */
static PLX_COLD bool has_hot_block(struct plx__net *net)
{
    bool dry = plx__net_prepare_spin(net) != 0;
    net->stats.recv_starved += dry && !net->hot_dry;
    net->hot_dry = dry;
    return !dry;
}

static inline void give_hot(struct plx_tcp *stream, size_t len)
{
    struct plx__net *net = stream->net;
    uint8_t *data = net->hot_block;
    size_t left = deliver(stream, PLX__FROM_HOT, 0, net->hot_bytes, data, len);
    if (PLX_UNLIKELY(left != 0)) {
        /* The block is the stream's until it takes the rest. */
        stream->kept_data = data + (len - left);
        stream->kept_len = (uint32_t)left;
        net->hot_block = NULL;
    }
}

static uint32_t look(struct plx_poller *poller, void *ctx)
{
    (void)poller;
    struct plx_tcp *stream = ctx;
    struct plx__net *net = stream->net;
    if (PLX_UNLIKELY(!takes_data(stream) && stream->phase != PLX__TCP_CLOSING))
        return 0;
    if (PLX_UNLIKELY(net->hot_block == NULL) && !has_hot_block(net))
        return 0;

    int64_t got = plx_recv_now(net->reactor, stream->fd, net->hot_block, net->hot_bytes);
    if (got == -EAGAIN)
        return 0;
    if (PLX_LIKELY(got > 0)) {
        if (stream->phase == PLX__TCP_OPEN)
            give_hot(stream, (size_t)got);
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
    struct plx_reactor *reactor = stream->net->reactor;
    if (!armed) {
        plx_poller_disarm(reactor, &stream->poller);
        return;
    }
    plx_poller_arm(reactor, &stream->poller, look, stream);
    /* There are as many watches as hot sockets; without one the reactor would not sleep. */
    int rc = plx_poller_watch(reactor, &stream->poller, stream->fd, POLLIN);
    (void)rc;
}

void plx__recv_settle(struct plx_tcp *stream)
{
    struct plx_reactor *reactor = stream->net->reactor;
    bool wanted = !stream->eof && !stream->eof_held && !plx__recv_holds_back(stream) &&
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
        int rc = net->hot_bytes != 0 ? 0 : plx__net_prepare_spin(net);
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
