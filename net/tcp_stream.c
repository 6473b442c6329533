/* SPDX-License-Identifier: MIT */
/* A stream's life: opening, connecting, settling, times, ending. */
#include <errno.h>
#include <netinet/tcp.h>
#include <string.h>

#include "net/tcp_internal.h"

static void settle(struct plx__deferred *deferred, void *ctx);
static void settle_end(struct plx_tcp *stream);
static void on_timer(struct plx_timer *timer, void *ctx);

void plx__tcp_touch(struct plx_tcp *stream)
{
    /* From inside on_close there is nothing left to settle. */
    if (stream->phase != PLX__TCP_CLOSED)
        plx__reactor_defer(stream->net->reactor, &stream->deferred, settle, stream);
}

void plx__tcp_landed(struct plx_tcp *stream)
{
    if (PLX_UNLIKELY(stream->phase == PLX__TCP_DYING))
        settle_end(stream);
    else
        plx__tcp_touch(stream);
}

/* --- opening ---------------------------------------------------------------------------------- */

struct plx_tcp *plx__tcp_open(struct plx__net *net, int fd, const struct plx_tcp_opts *opts,
                              const struct plx_tcp_handler *handler, void *ctx)
{
    struct plx_tcp *stream = plx__stream_take(net);
    if (PLX_UNLIKELY(stream == NULL))
        return NULL;
    stream->handler = handler;
    stream->ctx = ctx;
    stream->fd = fd;
    stream->held_first = PLX__NO_BUFFER;
    stream->held_last = PLX__NO_BUFFER;
    stream->buffers = opts->receive_bytes == PLX__LARGE_BYTES ? &net->large : &net->small;
    stream->queue_max = opts->send_queue_bytes;
    stream->send_timeout_ns = opts->send_timeout_ns;
    stream->close_timeout_ns = opts->close_timeout_ns;
    stream->mode = PLX_RECV_RING;
    if (opts->receive == PLX_RECV_SPIN) {
        stream->hot = plx__reactor_hot_take(net->reactor) == 0;
        if (stream->hot)
            stream->mode = PLX_RECV_SPIN;
        else
            net->stats.hot_refused++;
    }
    if (opts->nodelay) {
        /* What this could meet, a socket that is gone, the first receive will meet as well. */
        const int on = 1;
        (void)net->calls->setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    }
    net->stats.streams++;
    return stream;
}

/* --- connecting ------------------------------------------------------------------------------- */

static void on_connected(struct plx_op *op, const struct plx_event *event, void *ctx)
{
    (void)op;
    struct plx_tcp *stream = ctx;
    stream->flight = PLX__FLIGHT_NONE;
    if (event->result < 0) {
        plx__tcp_end(stream, event->result, false);
    } else if (stream->phase == PLX__TCP_CONNECTING) {
        stream->phase = PLX__TCP_OPEN;
        stream->deadline_ns = UINT64_MAX;
        stream->net->stats.connected++;
        if (stream->handler->on_connect != NULL)
            stream->handler->on_connect(stream, stream->ctx);
    }
    plx__tcp_landed(stream);
}

static void settle_connect(struct plx_tcp *stream)
{
    if (stream->flight != PLX__FLIGHT_NONE)
        return;
    plx_op_connect(&stream->io_op, stream->fd, &stream->addr.sock.any, (uint16_t)stream->addr.bytes,
                   on_connected, stream);
    int rc = plx_op_submit(stream->net->reactor, &stream->io_op);
    if (rc == 0)
        stream->flight = PLX__FLIGHT_CONNECT;
    else if (rc == -EAGAIN)
        plx__tcp_touch(stream); /* the ring is full; the next turn tries again */
    else
        plx__tcp_end(stream, rc, false);
}

int plx_tcp_connect(struct plx_reactor *reactor, const struct plx_addr *addr,
                    const struct plx_tcp_opts *opts, struct plx_tcp **out, struct plx_diag *diag,
                    const struct plx_tcp_handler *handler, void *ctx)
{
    struct plx_tcp_opts defaults;
    struct plx__net *net = NULL;
    *out = NULL;
    if (opts == NULL) {
        plx_tcp_opts_init(&defaults);
        opts = &defaults;
    }
    if (addr->bytes == 0)
        return plx_diag_set(diag, -EINVAL, "address", "there is no address to connect to");
    int rc = plx__net_prepare(reactor, opts, &net, diag);
    if (rc != 0)
        return rc;

    int fd = net->calls->socket(addr->sock.any.sa_family,
                                SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, IPPROTO_TCP);
    if (fd < 0)
        return plx_diag_set(diag, fd, "socket", "no socket could be made: %s", strerror(-fd));
    struct plx_tcp *stream = plx__tcp_open(net, fd, opts, handler, ctx);
    if (stream == NULL) {
        net->calls->close(fd);
        return plx_diag_set(diag, -ENOMEM, "arena", "the reactor's arena is exhausted");
    }
    stream->phase = PLX__TCP_CONNECTING;
    stream->addr = *addr;
    stream->deadline_ns = plx__after(plx_reactor_now_ns(reactor), opts->connect_timeout_ns);
    plx__tcp_wake_at(stream, stream->deadline_ns);
    plx__tcp_touch(stream);
    *out = stream;
    return 0;
}

/* --- times ------------------------------------------------------------------------------------ */

void plx__tcp_wake_at(struct plx_tcp *stream, uint64_t at_ns)
{
    if (at_ns == UINT64_MAX)
        return;
    if (!plx_timer_is_armed(&stream->timer) || stream->timer.at_ns > at_ns)
        plx_timer_arm(stream->net->reactor, &stream->timer, at_ns, on_timer, stream);
}

static void on_timer(struct plx_timer *timer, void *ctx)
{
    (void)timer;
    struct plx_tcp *stream = ctx;
    uint64_t now_ns = plx_reactor_now_ns(stream->net->reactor);
    if (stream->phase == PLX__TCP_CONNECTING || stream->phase == PLX__TCP_CLOSING) {
        if (now_ns >= stream->deadline_ns) {
            bool lost = stream->queued != 0 || stream->phase == PLX__TCP_CONNECTING;
            plx__tcp_end(stream, lost ? -ETIMEDOUT : 0, lost);
            return;
        }
        plx__tcp_wake_at(stream, stream->deadline_ns);
    }
    uint64_t next_ns = plx__send_check(stream, now_ns);
    if (stream->phase < PLX__TCP_DYING)
        plx__tcp_wake_at(stream, next_ns);
}

/* --- ending ----------------------------------------------------------------------------------- */

void plx__tcp_end(struct plx_tcp *stream, int reason, bool reset)
{
    if (stream->phase >= PLX__TCP_DYING)
        return;
    stream->phase = PLX__TCP_DYING;
    stream->reason = reason;
    stream->reset = reset;
    plx__tcp_touch(stream);
}

static void count_end(struct plx_tcp_stats *stats, int reason)
{
    stats->streams--;
    switch (reason) {
    case 0:
        stats->closed_orderly++;
        break;
    case -ECONNRESET:
    case -EPIPE:
        stats->closed_reset++;
        break;
    case -ETIMEDOUT:
        stats->closed_timeout++;
        break;
    case -ECONNABORTED:
    case -ECANCELED:
    case -ESHUTDOWN:
        stats->closed_here++;
        break;
    default:
        stats->closed_error++;
    }
}

/* The last of a stream. While a deferred call knows it, that call comes here instead. */
static void finish(struct plx_tcp *stream)
{
    struct plx__net *net = stream->net;
    stream->phase = PLX__TCP_CLOSED;
    if (stream->deferred.queued)
        return;
    count_end(&net->stats, stream->reason);
    if (stream->handler->on_close != NULL)
        stream->handler->on_close(stream, stream->reason, stream->ctx);
    struct plx_tcp_listener *listener = stream->listener;
    plx__stream_give(net, stream);
    if (listener != NULL)
        plx__listener_lost(listener);
    plx__listeners_wake(net);
}

static void on_closed(struct plx_op *op, const struct plx_event *event, void *ctx)
{
    (void)op;
    (void)event; /* the descriptor is gone whatever close(2) says */
    struct plx_tcp *stream = ctx;
    stream->flight = PLX__FLIGHT_NONE;
    stream->fd = -1; /* the number may be another's by now */
    finish(stream);
}

/* Cancels what is in flight; true once nothing is. */
static bool bring_home(struct plx_tcp *stream)
{
    struct plx_reactor *reactor = stream->net->reactor;
    plx__recv_stop(stream);
    plx_timer_disarm(reactor, &stream->timer);
    plx__list_remove(&stream->for_block);
    if (stream->hot) {
        stream->hot = false;
        plx__reactor_hot_give(reactor);
    }
    if (stream->flight == PLX__FLIGHT_CLOSE)
        return false;
    if (stream->flight != PLX__FLIGHT_NONE)
        plx_op_cancel(reactor, &stream->io_op);
    return stream->flight == PLX__FLIGHT_NONE && !stream->receiving;
}

static void settle_end(struct plx_tcp *stream)
{
    struct plx__net *net = stream->net;
    if (!bring_home(stream))
        return;
    plx__send_drop(stream);
    if (stream->reset) {
        const struct linger none = {.l_onoff = 1, .l_linger = 0};
        (void)net->calls->setsockopt(stream->fd, SOL_SOCKET, SO_LINGER, &none, sizeof(none));
    }
    plx_op_close(&stream->io_op, stream->fd, on_closed, stream);
    if (plx_op_submit(net->reactor, &stream->io_op) == 0) {
        stream->flight = PLX__FLIGHT_CLOSE;
        return;
    }
    /* No op names the descriptor any more, so the plain call is as good. */
    net->calls->close(stream->fd);
    stream->fd = -1;
    finish(stream);
}

/* The orderly way: flush, tell the end, wait for the peer's. */
static void settle_closing(struct plx_tcp *stream)
{
    if (stream->queued != 0)
        return;
    if (stream->eof) {
        plx__tcp_end(stream, 0, false);
        return;
    }
    if (!stream->ended_peer) {
        stream->ended_peer = true;
        int rc = stream->net->calls->shutdown(stream->fd, SHUT_WR);
        if (rc < 0)
            plx__tcp_end(stream, rc, false);
    }
}

/* --- settling --------------------------------------------------------------------------------- */

static void settle_open(struct plx_tcp *stream)
{
    if (plx__recv_holds_back(stream) || stream->eof_held)
        plx__recv_deliver_held(stream);
    if (stream->want_writable && stream->phase == PLX__TCP_OPEN)
        plx__send_offer_room(stream);
    if (stream->queued != 0 && stream->phase < PLX__TCP_DYING)
        plx__send_settle(stream);
    /* Who was told to wait for on_writable still has something to say: the end waits for it. */
    if (stream->phase == PLX__TCP_OPEN && stream->eof && stream->queued == 0 &&
        !stream->want_writable)
        plx__tcp_end(stream, 0, false);
    if (stream->phase == PLX__TCP_CLOSING)
        settle_closing(stream);
}

/*
 * Callbacks of this stream run in here. What they ask for is mostly done before it returns; as they
 * also touch the stream, the rest is done in the next turn.
 */
static void settle(struct plx__deferred *deferred, void *ctx)
{
    (void)deferred;
    struct plx_tcp *stream = ctx;
    if (stream->phase == PLX__TCP_CLOSED) {
        finish(stream);
        return;
    }
    if (stream->phase == PLX__TCP_CONNECTING)
        settle_connect(stream);
    else if (stream->phase < PLX__TCP_DYING)
        settle_open(stream);
    if (stream->phase == PLX__TCP_OPEN || stream->phase == PLX__TCP_CLOSING)
        plx__recv_settle(stream);
    if (stream->phase == PLX__TCP_DYING)
        settle_end(stream);
}

PLX_COLD void plx__tcp_end_all(struct plx__net *net)
{
    for (struct plx__slab *slab = net->slabs; slab != NULL; slab = slab->next) {
        for (uint32_t i = 0; i < PLX__STREAMS_A_SLAB; i++) {
            struct plx_tcp *stream = &slab->streams[i];
            if (stream->phase == PLX__TCP_FREE || stream->phase == PLX__TCP_CLOSED)
                continue;
            plx__tcp_end(stream, -ESHUTDOWN, true);
            settle_end(stream);
        }
    }
}

/* --- the public face -------------------------------------------------------------------------- */

void plx_tcp_close(struct plx_tcp *stream)
{
    if (stream->phase == PLX__TCP_CONNECTING) {
        plx__tcp_end(stream, -ECANCELED, true);
        return;
    }
    if (stream->phase != PLX__TCP_OPEN)
        return;
    stream->phase = PLX__TCP_CLOSING;
    stream->want_writable = false;
    stream->deadline_ns =
        plx__after(plx_reactor_now_ns(stream->net->reactor), stream->close_timeout_ns);
    plx__tcp_wake_at(stream, stream->deadline_ns);
    plx__tcp_touch(stream);
}

void plx_tcp_abort(struct plx_tcp *stream)
{
    plx__tcp_end(stream, -ECONNABORTED, true);
}

void plx_tcp_set_ctx(struct plx_tcp *stream, void *ctx)
{
    stream->ctx = ctx;
}

void *plx_tcp_ctx(const struct plx_tcp *stream)
{
    return stream->ctx;
}

struct plx_reactor *plx_tcp_reactor(const struct plx_tcp *stream)
{
    return stream->net->reactor;
}

int plx_tcp_fd(const struct plx_tcp *stream)
{
    return stream->fd;
}

PLX_COLD int plx_tcp_peer(struct plx_tcp *stream, struct plx_addr *out)
{
    struct plx_addr now = {0};
    socklen_t bytes = sizeof(now.sock);
    int rc = -EBADF;
    if (stream->fd >= 0 && !stream->knows_peer)
        rc = stream->net->calls->getpeername(stream->fd, &now.sock.any, &bytes);
    if (rc == 0) {
        now.bytes = bytes;
        /* While it connects the kernel may still read the address. */
        if (stream->flight != PLX__FLIGHT_CONNECT) {
            stream->addr = now;
            stream->knows_peer = true;
        }
    } else if (stream->addr.bytes != 0) {
        now = stream->addr;
        rc = 0;
    }
    *out = now;
    return rc;
}
