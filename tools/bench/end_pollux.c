/* SPDX-License-Identifier: MIT */
/* Pollux's own ends: a stream of each way to receive and to send, on an adopted reactor. */
#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#include "net/tcp.h"
#include "runtime/runtime.h"
#include "tools/bench/end.h"

#define MODE_SPIN   1u
#define MODE_INLINE 2u

#define SETUP_NS UINT64_C(5000000000)

struct pollux_end {
    struct plx_bench_end end;
    struct plx_reactor *reactor;
    struct plx_tcp_listener *listener;
    struct plx_tcp *stream; /* of a client */
    uint32_t send_flags;
    uint32_t connections;
    bool connected;
    bool ending;
};

static inline void write_all(struct pollux_end *p, struct plx_tcp *stream, const void *data,
                             size_t bytes)
{
    int64_t taken = plx_tcp_write(stream, data, bytes, p->send_flags);
    if (taken != (int64_t)bytes)
        plx_bench_end_failed(&p->end, taken < 0 ? (int)taken : -ENOBUFS);
}

static void on_accept(struct plx_tcp *stream, void *ctx)
{
    struct pollux_end *p = ctx;
    (void)stream;
    p->end.accepted++;
}

static void on_connect(struct plx_tcp *stream, void *ctx)
{
    struct pollux_end *p = ctx;
    (void)stream;
    p->connected = true;
}

static void on_data(struct plx_tcp *stream, const void *data, size_t bytes, void *ctx)
{
    struct pollux_end *p = ctx;
    if (p->end.echoes)
        write_all(p, stream, data, bytes);
    else
        plx_bench_end_answer(&p->end, data, bytes);
}

static void on_close(struct plx_tcp *stream, int reason, void *ctx)
{
    struct pollux_end *p = ctx;
    (void)stream;
    p->stream = NULL;
    if (!p->ending)
        plx_bench_end_failed(&p->end, reason != 0 ? reason : -ECONNRESET);
}

static const struct plx_tcp_handler handler = {
    .on_accept = on_accept,
    .on_connect = on_connect,
    .on_data = on_data,
    .on_close = on_close,
};

static void pollux_close(struct plx_bench_end *end)
{
    struct pollux_end *p = (struct pollux_end *)end;
    p->ending = true;
    if (p->reactor != NULL)
        (void)!plx_reactor_abandon(p->reactor, SETUP_NS);
    free(p);
}

static int listen_here(struct pollux_end *p, struct plx_bench_end_config *config,
                       const struct plx_tcp_opts *opts)
{
    struct plx_addr address = {.bytes = sizeof(address.sock.in4)};
    struct plx_addr bound;
    int fd = -1;
    address.sock.in4 = (struct sockaddr_in){
        .sin_family = AF_INET,
        .sin_addr = {htonl(INADDR_LOOPBACK)},
    };
    int rc = plx_tcp_bind(config->runtime, &address, 1, opts, &fd, &bound, NULL);
    if (rc != 0)
        return rc;
    rc = plx_bench_plain_tune(fd);
    if (rc == 0)
        rc = plx_tcp_listen_fd(p->reactor, fd, opts, &p->listener, NULL, &handler, p);
    if (rc != 0)
        close(fd);
    config->address = bound.sock.in4;
    return rc;
}

static int connect_there(struct pollux_end *p, const struct plx_bench_end_config *config,
                         const struct plx_tcp_opts *opts)
{
    struct plx_addr address = {.bytes = sizeof(address.sock.in4)};
    address.sock.in4 = config->address;
    int rc = plx_tcp_connect(p->reactor, &address, opts, &p->stream, NULL, &handler, p);
    if (rc != 0)
        return rc;
    rc = plx_bench_plain_tune(plx_tcp_fd(p->stream));
    if (rc != 0)
        return rc;
    uint64_t limit_ns = plx_reactor_now_ns(p->reactor) + SETUP_NS;
    while (!p->connected && p->end.error == 0) {
        (void)plx_reactor_poll(p->reactor);
        if (plx_reactor_now_ns(p->reactor) > limit_ns)
            return -ETIMEDOUT;
    }
    return p->end.error;
}

static int pollux_open(const struct plx_bench_end_ops *ops, struct plx_bench_end_config *config,
                       struct plx_bench_end **out)
{
    struct pollux_end *p = calloc(1, sizeof(*p));
    if (p == NULL)
        return -ENOMEM;
    p->end.ops = ops;
    p->end.echoes = config->server;
    p->connections = config->connections;
    p->send_flags = (ops->mode & MODE_INLINE) != 0 ? PLX_INLINE : PLX_QUEUED;

    struct plx_tcp_opts opts;
    plx_tcp_opts_init(&opts);
    opts.receive = (ops->mode & MODE_SPIN) != 0 ? PLX_RECV_SPIN : PLX_RECV_RING;
    int rc = plx_reactor_adopt(config->runtime, config->reactor, &p->reactor, &config->diag);
    if (rc == 0)
        rc = config->server ? listen_here(p, config, &opts) : connect_there(p, config, &opts);
    if (rc != 0) {
        pollux_close(&p->end);
        return rc;
    }
    *out = &p->end;
    return 0;
}

static int pollux_accept(struct plx_bench_end *end)
{
    struct pollux_end *p = (struct pollux_end *)end;
    uint64_t limit_ns = plx_reactor_now_ns(p->reactor) + SETUP_NS;
    while (end->accepted < p->connections && end->error == 0) {
        (void)plx_reactor_poll(p->reactor);
        if (plx_reactor_now_ns(p->reactor) > limit_ns)
            return -ETIMEDOUT;
    }
    return end->error;
}

static void pollux_send(struct plx_bench_end *end, const void *message, size_t bytes)
{
    struct pollux_end *p = (struct pollux_end *)end;
    if (p->stream != NULL)
        write_all(p, p->stream, message, bytes);
}

static void pollux_turn(struct plx_bench_end *end)
{
    (void)plx_reactor_poll(((struct pollux_end *)end)->reactor);
}

#define POLLUX_OPS(name, how, uring)                                                               \
    {                                                                                              \
        .subject = (name), .open = pollux_open, .accept = pollux_accept, .send = pollux_send,      \
        .turn = pollux_turn, .close = pollux_close, .mode = (how),                                 \
        .backend = (uring) ? "uring" : "epoll", .by_uring = (uring),                               \
    }

const struct plx_bench_end_ops plx_bench_end_pollux =
    POLLUX_OPS("pollux", MODE_SPIN | MODE_INLINE, true);
const struct plx_bench_end_ops plx_bench_end_pollux_ring =
    POLLUX_OPS("pollux/ring", MODE_INLINE, true);
const struct plx_bench_end_ops plx_bench_end_pollux_queued = POLLUX_OPS("pollux/queued", 0, true);
const struct plx_bench_end_ops plx_bench_end_pollux_epoll =
    POLLUX_OPS("pollux/epoll", MODE_SPIN | MODE_INLINE, false);
const struct plx_bench_end_ops plx_bench_end_pollux_many = POLLUX_OPS("pollux", MODE_INLINE, true);
