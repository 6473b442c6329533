/* SPDX-License-Identifier: MIT */
/* Listeners: accepting, pausing when something has run out, ending. */
#include <errno.h>
#include <string.h>

#include "net/tcp_internal.h"

#define RETRY_FIRST_NS 10000000u
#define RETRY_LAST_NS  1000000000u

static void settle(struct plx__deferred *deferred, void *ctx);
static void settle_end(struct plx_tcp_listener *listener);

static void touch(struct plx_tcp_listener *listener)
{
    plx__reactor_defer(listener->net->reactor, &listener->deferred, settle, listener);
}

/* --- accepting -------------------------------------------------------------------------------- */

static void take_connection(struct plx_tcp_listener *listener, int fd)
{
    struct plx__net *net = listener->net;
    listener->retry_after_ns = 0;
    if (listener->ended) {
        net->calls->close(fd);
        return;
    }
    /* The bound first: a multishot may bring more than was room for when it was armed. */
    struct plx_tcp *stream = NULL;
    if (listener->streams < listener->opts.streams_max)
        stream = plx__tcp_open(net, fd, &listener->opts, listener->handler, listener->ctx);
    if (PLX_UNLIKELY(stream == NULL)) {
        net->calls->close(fd);
        net->stats.refused++;
        return;
    }
    stream->phase = PLX__TCP_OPEN;
    stream->listener = listener;
    listener->streams++;
    net->stats.accepted++;
    if (listener->handler->on_accept != NULL)
        listener->handler->on_accept(stream, stream->ctx);
    plx__tcp_touch(stream);
}

static void on_retry(struct plx_timer *timer, void *ctx)
{
    (void)timer;
    struct plx_tcp_listener *listener = ctx;
    listener->net->waiting_listeners--;
    touch(listener);
}

/* Something has run out, or is wrong: not again before some time has passed or something closed. */
static PLX_COLD void wait_a_while(struct plx_tcp_listener *listener)
{
    struct plx__net *net = listener->net;
    uint64_t after_ns = listener->retry_after_ns * 2;
    if (after_ns == 0)
        after_ns = RETRY_FIRST_NS;
    if (after_ns > RETRY_LAST_NS)
        after_ns = RETRY_LAST_NS;
    listener->retry_after_ns = after_ns;
    net->stats.accept_pauses++;
    if (!plx_timer_is_armed(&listener->timer))
        net->waiting_listeners++;
    plx_timer_arm(net->reactor, &listener->timer, plx_reactor_now_ns(net->reactor) + after_ns,
                  on_retry, listener);
}

static void stop_waiting(struct plx_tcp_listener *listener)
{
    if (!plx_timer_is_armed(&listener->timer))
        return;
    plx_timer_disarm(listener->net->reactor, &listener->timer);
    listener->net->waiting_listeners--;
}

static void take_error(struct plx_tcp_listener *listener, int error)
{
    switch (error) {
    case -ECANCELED:
        break;
    /* Of one connection, which is gone; accept(2) lists them. The next may be well. */
    case -ECONNABORTED:
    case -EINTR:
    case -EPERM:
    case -EPROTO:
    case -ENETDOWN:
    case -ENOPROTOOPT:
    case -EHOSTDOWN:
    case -ENONET:
    case -EHOSTUNREACH:
    case -ENETUNREACH:
        listener->net->stats.accept_errors++;
        break;
    default:
        /* EMFILE and its like; also what is unknown: not to be asked for without end. */
        if (!listener->ended)
            wait_a_while(listener);
    }
}

static void on_accepted(struct plx_op *op, const struct plx_event *event, void *ctx)
{
    (void)op;
    struct plx_tcp_listener *listener = ctx;
    bool last = (event->flags & PLX_EV_MORE) == 0;
    if (last)
        listener->in_flight = false;
    if (PLX_LIKELY(event->result >= 0))
        take_connection(listener, event->result);
    else
        take_error(listener, event->result);
    /* Ending goes on at once, so that a reactor that drains finds the close in flight. */
    if (last && listener->ended)
        settle_end(listener);
    else if (last)
        touch(listener);
    else if (listener->opts.streams_max - listener->streams <= listener->opts.backlog)
        touch(listener);
}

/* --- settling --------------------------------------------------------------------------------- */

static void finish(struct plx_tcp_listener *listener)
{
    struct plx__net *net = listener->net;
    if (listener->fd >= 0 || listener->streams != 0 || listener->deferred.queued)
        return;
    if (!plx__link_is_in(&listener->link))
        return;
    plx__list_remove(&listener->link);
    listener->next_free = net->listener_free;
    net->listener_free = listener;
}

static void on_closed(struct plx_op *op, const struct plx_event *event, void *ctx)
{
    (void)op;
    (void)event; /* the descriptor is gone whatever close(2) says */
    struct plx_tcp_listener *listener = ctx;
    listener->fd = -1;
    finish(listener);
}

static void settle_end(struct plx_tcp_listener *listener)
{
    struct plx__net *net = listener->net;
    if (listener->in_flight) {
        plx_op_cancel(net->reactor, &listener->op);
        return;
    }
    if (listener->closing) {
        finish(listener);
        return;
    }
    listener->closing = true;
    plx_op_close(&listener->op, listener->fd, on_closed, listener);
    if (plx_op_submit(net->reactor, &listener->op) == 0)
        return;
    /* No op names the descriptor any more, so the plain call is as good. */
    net->calls->close(listener->fd);
    listener->fd = -1;
    finish(listener);
}

static void arm(struct plx_tcp_listener *listener, bool multishot)
{
    plx_op_accept(&listener->op, listener->fd, SOCK_NONBLOCK | SOCK_CLOEXEC,
                  multishot ? PLX_MULTISHOT : 0, on_accepted, listener);
    int rc = plx_op_submit(listener->net->reactor, &listener->op);
    listener->in_flight = rc == 0;
    listener->multishot = rc == 0 && multishot;
    if (rc == -EAGAIN)
        touch(listener); /* the ring is full; the next turn tries again */
    else if (rc != 0 && rc != -ESHUTDOWN)
        wait_a_while(listener);
}

static void settle(struct plx__deferred *deferred, void *ctx)
{
    (void)deferred;
    struct plx_tcp_listener *listener = ctx;
    if (listener->ended) {
        settle_end(listener);
        return;
    }
    uint32_t room = listener->opts.streams_max > listener->streams
                        ? listener->opts.streams_max - listener->streams
                        : 0;
    /* Near the bound one by one: a multishot brings all that wait in the kernel's queue. */
    bool multishot = room > listener->opts.backlog;
    if (listener->in_flight) {
        if (listener->multishot && !multishot)
            plx_op_cancel(listener->net->reactor, &listener->op);
    } else if (room != 0 && !plx_timer_is_armed(&listener->timer)) {
        arm(listener, multishot);
    }
}

void plx__listeners_wake(struct plx__net *net)
{
    if (PLX_LIKELY(net->waiting_listeners == 0))
        return;
    for (struct plx__link *at = net->listeners.next; at != &net->listeners; at = at->next) {
        struct plx_tcp_listener *listener = PLX_CONTAINER(at, struct plx_tcp_listener, link);
        if (!plx_timer_is_armed(&listener->timer))
            continue;
        stop_waiting(listener);
        touch(listener);
    }
}

void plx__listener_lost(struct plx_tcp_listener *listener)
{
    listener->streams--;
    touch(listener);
}

PLX_COLD void plx__listener_end(struct plx_tcp_listener *listener)
{
    if (listener->ended)
        return;
    listener->ended = true;
    listener->net->stats.listeners--;
    stop_waiting(listener);
    settle_end(listener);
}

/* --- the public face -------------------------------------------------------------------------- */

static PLX_COLD struct plx_tcp_listener *take_listener(struct plx__net *net)
{
    struct plx_tcp_listener *listener = net->listener_free;
    if (listener != NULL)
        net->listener_free = listener->next_free;
    else
        listener =
            plx_arena_carve(plx_reactor_arena(net->reactor), sizeof(*listener), PLX_CACHE_LINE);
    if (listener != NULL)
        memset(listener, 0, sizeof(*listener));
    return listener;
}

PLX_COLD int plx_tcp_listen_fd(struct plx_reactor *reactor, int fd, const struct plx_tcp_opts *opts,
                               struct plx_tcp_listener **out, struct plx_diag *diag,
                               const struct plx_tcp_handler *handler, void *ctx)
{
    struct plx_tcp_opts defaults;
    struct plx__net *net = NULL;
    *out = NULL;
    if (opts == NULL) {
        plx_tcp_opts_init(&defaults);
        opts = &defaults;
    }
    int rc = plx__net_prepare(reactor, opts, &net, diag);
    if (rc != 0)
        return rc;
    struct plx_tcp_listener *listener = take_listener(net);
    if (listener == NULL)
        return plx_diag_set(diag, -ENOMEM, "arena", "the reactor's arena is exhausted");
    listener->net = net;
    listener->handler = handler;
    listener->ctx = ctx;
    listener->fd = fd;
    listener->opts = *opts;
    plx__list_append(&net->listeners, &listener->link);
    net->stats.listeners++;
    touch(listener);
    *out = listener;
    return 0;
}

PLX_COLD int plx_tcp_listen(struct plx_reactor *reactor, const struct plx_addr *addr,
                            const struct plx_tcp_opts *opts, struct plx_tcp_listener **out,
                            struct plx_diag *diag, const struct plx_tcp_handler *handler, void *ctx)
{
    struct plx_tcp_opts defaults;
    int fd = -1;
    *out = NULL;
    if (opts == NULL) {
        plx_tcp_opts_init(&defaults);
        opts = &defaults;
    }
    const struct plx__plain_calls *calls = plx__reactor_io(reactor)->plain;
    int rc = plx__tcp_bind(calls, addr, 1, opts->backlog, &fd, NULL, diag);
    if (rc != 0)
        return rc;
    rc = plx_tcp_listen_fd(reactor, fd, opts, out, diag, handler, ctx);
    if (rc != 0)
        calls->close(fd);
    return rc;
}

PLX_COLD void plx_tcp_unlisten(struct plx_tcp_listener *listener)
{
    plx__listener_end(listener);
}

PLX_COLD void plx_tcp_listener_addr(const struct plx_tcp_listener *listener, struct plx_addr *out)
{
    memset(out, 0, sizeof(*out));
    socklen_t bytes = sizeof(out->sock);
    if (listener->net->calls->getsockname(listener->fd, &out->sock.any, &bytes) == 0)
        out->bytes = bytes;
}
