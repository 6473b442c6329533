/* SPDX-License-Identifier: MIT */
/*
 * A stream's send queue: a chain of blocks with at most one send in flight, of bytes of the first
 * block. Blocks never move and bytes in flight are never written to, so that the kernel's view of
 * them holds; new bytes go behind the last ones.
 */
#include <errno.h>
#include <string.h>

#include "net/tcp_internal.h"

/* Looks at a queue without progress after which the stream is given up, each half the timeout. */
#define STALLED_MAX 2

/* What a send meets when the kernel is short of something for the moment. */
static inline bool is_transient(int64_t result)
{
    return result == -EAGAIN || result == -EINTR || result == -ENOBUFS || result == -ENOMEM;
}

/* --- the queue -------------------------------------------------------------------------------- */

/* The queue gets its first bytes: from here on progress is watched. */
static void begin_queue(struct plx_tcp *stream)
{
    stream->tick_sent = UINT64_MAX; /* the first look finds progress */
    stream->stalled = 0;
    if (stream->tick_ns != 0 || stream->send_timeout_ns == UINT64_MAX)
        return;
    /* Left armed when the queue empties, so that the clock is read once a period, not per write. */
    stream->tick_ns =
        plx__after(plx_reactor_now_ns(stream->net->reactor), stream->send_timeout_ns / 2 + 1);
    plx__tcp_wake_at(stream, stream->tick_ns);
}

/* Copies up to `len` bytes behind the last ones; returns how many blocks had room for. */
static size_t append(struct plx_tcp *stream, const uint8_t *data, size_t len)
{
    size_t done = 0;
    while (done < len) {
        struct plx__block *block = stream->last;
        if (block == NULL || block->end == PLX__BLOCK_ROOM) {
            block = plx__block_take(stream->net);
            if (block == NULL)
                break;
            if (stream->last != NULL)
                stream->last->next = block;
            else
                stream->first = block;
            stream->last = block;
        }
        size_t part = PLX__BLOCK_ROOM - block->end;
        if (part > len - done)
            part = len - done;
        memcpy(block->data + block->end, data + done, part);
        block->end += (uint32_t)part;
        done += part;
    }
    if (done != 0) {
        if (stream->queued == 0)
            begin_queue(stream);
        stream->queued += (uint32_t)done;
    }
    return done;
}

/* The first `len` bytes have left the queue. */
static void advance(struct plx_tcp *stream, size_t len)
{
    PLX_ASSERT(len <= stream->queued);
    stream->queued -= (uint32_t)len;
    stream->sent += len;
    while (len != 0) {
        struct plx__block *block = stream->first;
        size_t part = block->end - block->begin;
        if (part > len)
            part = len;
        block->begin += (uint32_t)part;
        len -= part;
        if (block->begin != block->end)
            break;
        stream->first = block->next;
        if (stream->first == NULL)
            stream->last = NULL;
        plx__block_give(stream->net, block);
    }
    /* None waits any more; with nothing queued nobody would come to see that. */
    if (PLX_UNLIKELY(stream->dated != NULL) && stream->queued == 0) {
        plx__block_give(stream->net, stream->dated);
        stream->dated = NULL;
    }
}

static uint32_t blocks_for(size_t len)
{
    return (uint32_t)((len + PLX__BLOCK_ROOM - 1) / PLX__BLOCK_ROOM);
}

void plx__send_offer_room(struct plx_tcp *stream)
{
    if (stream->queued > stream->queue_max / 2)
        return; /* the sends in the queue come here again */
    bool last_has_room = stream->last != NULL && stream->last->end < PLX__BLOCK_ROOM;
    if (!last_has_room && !plx__block_has(stream->net, 1)) {
        plx__block_wait(stream);
        return;
    }
    stream->want_writable = false;
    if (stream->handler->on_writable != NULL)
        stream->handler->on_writable(stream, stream->ctx);
}

void plx__send_drop(struct plx_tcp *stream)
{
    if (stream->queued != 0)
        advance(stream, stream->queued);
    if (stream->dated != NULL)
        plx__block_give(stream->net, stream->dated);
    stream->dated = NULL;
}

/* --- messages with a not-after time ----------------------------------------------------------- */

static inline struct plx__dated_ring *dated_of(const struct plx_tcp *stream)
{
    return (struct plx__dated_ring *)(void *)stream->dated->data;
}

static inline struct plx__dated *dated_at(struct plx__dated_ring *ring, uint32_t index)
{
    return &ring->at[(ring->head + index) % PLX_TCP_DATED_MAX];
}

static void pop_dated(struct plx_tcp *stream)
{
    struct plx__dated_ring *ring = dated_of(stream);
    ring->head = (ring->head + 1) % PLX_TCP_DATED_MAX;
    if (--ring->count == 0) {
        plx__block_give(stream->net, stream->dated);
        stream->dated = NULL;
    }
}

/* Drops expired messages that have come to the front; no send is in flight. */
static void drop_expired(struct plx_tcp *stream)
{
    uint64_t now_ns = plx_reactor_now_ns(stream->net->reactor);
    while (stream->dated != NULL && stream->phase < PLX__TCP_DYING) {
        struct plx__dated message = *dated_at(dated_of(stream), 0);
        if (message.start > stream->sent)
            return;
        if (message.start == stream->sent && now_ns <= message.not_after_ns)
            return;
        pop_dated(stream);
        if (message.start < stream->sent)
            continue; /* its first byte had left in time */
        advance(stream, message.len);
        stream->net->stats.expired++;
        /* The room it leaves may be what a writer waits for. */
        plx__tcp_touch(stream);
        if (stream->handler->on_expired != NULL)
            stream->handler->on_expired(stream, message.len, stream->ctx);
    }
}

/*
 * How much of `len` may go as one send: a dated message only goes as the first of its send, so
 * that cancelling the send drops it whole. Sees to it that somebody looks when its time has come.
 */
static uint32_t limit_by_dated(struct plx_tcp *stream, uint32_t len)
{
    struct plx__dated_ring *ring = dated_of(stream);
    for (uint32_t i = 0; i < 2 && i < ring->count; i++) {
        struct plx__dated *message = dated_at(ring, i);
        if (message->start > stream->sent) {
            uint64_t before = message->start - stream->sent;
            return before < len ? (uint32_t)before : len;
        }
        plx__tcp_wake_at(stream, plx__after(message->not_after_ns, 1));
    }
    return len;
}

/* --- sending ---------------------------------------------------------------------------------- */

static void on_sent(struct plx_op *op, const struct plx_event *event, void *ctx)
{
    (void)op;
    struct plx_tcp *stream = ctx;
    int32_t result = event->result;
    stream->flight = PLX__FLIGHT_NONE;
    if (PLX_LIKELY(result > 0)) {
        advance(stream, (size_t)result);
        stream->net->stats.bytes_out += (uint64_t)result;
    } else if (result == 0) {
        /* send(2) of some bytes never takes none; were it to, asking again would be for ever. */
        plx__tcp_end(stream, -EIO, true);
    } else if (!is_transient(result) && result != -ECANCELED) {
        plx__tcp_end(stream, result, false);
    }
    plx__tcp_landed(stream);
}

void plx__send_settle(struct plx_tcp *stream)
{
    if (stream->flight != PLX__FLIGHT_NONE)
        return;
    if (PLX_UNLIKELY(stream->dated != NULL))
        drop_expired(stream);
    if (stream->queued == 0 || stream->phase >= PLX__TCP_DYING)
        return;

    struct plx__block *block = stream->first;
    uint32_t len = block->end - block->begin;
    if (PLX_UNLIKELY(stream->dated != NULL))
        len = limit_by_dated(stream, len);
    plx_op_send(&stream->io_op, stream->fd, block->data + block->begin, len, 0, PLX_QUEUED, on_sent,
                stream);
    int rc = plx_op_submit(stream->net->reactor, &stream->io_op);
    if (PLX_LIKELY(rc == 0))
        stream->flight = PLX__FLIGHT_SEND;
    else if (rc == -EAGAIN)
        plx__tcp_touch(stream); /* the ring is full; the next turn tries again */
    else
        plx__tcp_end(stream, rc, false);
}

/* Whether the peer has taken nothing for the whole of the timeout. */
static bool has_stalled(struct plx_tcp *stream)
{
    if (stream->queued == 0 || stream->tick_sent != stream->sent ||
        stream->phase == PLX__TCP_CONNECTING)
        stream->stalled = 0;
    else
        stream->stalled++;
    stream->tick_sent = stream->queued != 0 ? stream->sent : UINT64_MAX;
    return stream->stalled >= STALLED_MAX;
}

uint64_t plx__send_check(struct plx_tcp *stream, uint64_t now_ns)
{
    uint64_t next_ns = UINT64_MAX;
    if (stream->tick_ns != 0 && now_ns >= stream->tick_ns) {
        if (has_stalled(stream)) {
            plx__tcp_end(stream, -ETIMEDOUT, true);
            return UINT64_MAX;
        }
        stream->tick_ns =
            stream->queued != 0 ? plx__after(now_ns, stream->send_timeout_ns / 2 + 1) : 0;
    }
    if (stream->tick_ns != 0)
        next_ns = stream->tick_ns;

    if (stream->dated != NULL && stream->flight == PLX__FLIGHT_SEND) {
        const struct plx__dated *message = dated_at(dated_of(stream), 0);
        if (message->start == stream->sent && now_ns > message->not_after_ns)
            plx_op_cancel(stream->net->reactor, &stream->io_op);
        else if (message->start == stream->sent && message->not_after_ns < next_ns)
            next_ns = plx__after(message->not_after_ns, 1);
    }
    return next_ns;
}

/* --- writing ---------------------------------------------------------------------------------- */

/* Queues what the bound and the blocks allow; a writer that gets less is told when to go on. */
static size_t queue(struct plx_tcp *stream, const uint8_t *data, size_t len)
{
    size_t room = stream->queue_max - stream->queued;
    size_t taken = append(stream, data, len < room ? len : room);
    if (PLX_UNLIKELY(taken < len)) {
        stream->want_writable = true;
        if (taken < room) {
            stream->net->stats.send_starved++;
            plx__block_wait(stream);
        }
    }
    plx__tcp_touch(stream);
    return taken;
}

/* Asks the kernel at once. Bytes taken, 0 when it is full, or what ends the stream. */
static inline int64_t send_at_once(struct plx_tcp *stream, const void *data, size_t len)
{
    int64_t sent = plx_send_now(stream->net->reactor, stream->fd, data, len);
    if (PLX_LIKELY(sent > 0)) {
        stream->sent += (uint64_t)sent;
        stream->net->stats.bytes_out += (uint64_t)sent;
        return sent;
    }
    if (sent == 0 || is_transient(sent))
        return 0;
    plx__tcp_end(stream, (int)sent, false);
    return sent;
}

int64_t plx_tcp_write(struct plx_tcp *stream, const void *data, size_t len, uint32_t flags)
{
    if (PLX_UNLIKELY(stream->phase > PLX__TCP_OPEN))
        return -EPIPE;
    if (PLX_UNLIKELY(len == 0))
        return 0;
    int64_t sent = 0;
    if ((flags & PLX_INLINE) != 0 && stream->queued == 0 && stream->phase == PLX__TCP_OPEN) {
        sent = send_at_once(stream, data, len);
        if (PLX_LIKELY(sent == (int64_t)len) || sent < 0)
            return sent;
    }
    return sent + (int64_t)queue(stream, (const uint8_t *)data + sent, len - (size_t)sent);
}

int plx_tcp_send_now(struct plx_tcp *stream, const void *data, size_t len)
{
    if (PLX_UNLIKELY(stream->phase != PLX__TCP_OPEN))
        return stream->phase == PLX__TCP_CONNECTING ? -ENOTCONN : -EPIPE;
    if (PLX_UNLIKELY(len > stream->queue_max))
        return -EMSGSIZE;
    if (PLX_UNLIKELY(len == 0))
        return 0;
    /* Room for a rest first: once the kernel has taken a part there is no way back. */
    if (stream->queued != 0 || !plx__block_has(stream->net, blocks_for(len)))
        return -EAGAIN;

    int64_t sent = send_at_once(stream, data, len);
    if (PLX_LIKELY(sent == (int64_t)len))
        return 0;
    if (sent <= 0)
        return sent == 0 ? -EAGAIN : (int)sent;
    (void)queue(stream, (const uint8_t *)data + sent, len - (size_t)sent);
    return 0;
}

int plx_tcp_write_before(struct plx_tcp *stream, const void *data, size_t len,
                         uint64_t not_after_ns)
{
    PLX_ASSERT(len > 0);
    if (stream->phase > PLX__TCP_OPEN)
        return -EPIPE;
    if (len > stream->queue_max)
        return -EMSGSIZE;
    if (len > stream->queue_max - stream->queued)
        return -EAGAIN;
    uint32_t blocks = blocks_for(len) + (stream->dated == NULL);
    if (!plx__block_has(stream->net, blocks))
        return -EAGAIN;

    if (stream->dated == NULL) {
        stream->dated = plx__block_take(stream->net);
        dated_of(stream)->head = 0;
        dated_of(stream)->count = 0;
    }
    struct plx__dated_ring *ring = dated_of(stream);
    if (ring->count == PLX_TCP_DATED_MAX)
        return -EAGAIN;
    *dated_at(ring, ring->count++) = (struct plx__dated){
        .start = stream->sent + stream->queued,
        .not_after_ns = not_after_ns,
        .len = (uint32_t)len,
    };
    (void)queue(stream, data, len);
    return 0;
}

size_t plx_tcp_queued(const struct plx_tcp *stream)
{
    return stream->queued;
}
