/* SPDX-License-Identifier: MIT */
#include "test/net/net_probe.h"

#include "test/net/net_world.h"

static void tell(struct plx_tcp *stream, struct net_probe *probe, enum net_event event)
{
    bool first = event == NET_ACCEPT || event == NET_CONNECT;
    if (first && probe->told[event] == 0)
        probe->stream = stream;
    if (probe->told[NET_CLOSE] != 0 || (event != NET_CLOSE && probe->stream != stream))
        probe->broken = true;
    probe->told[event]++;
    if (probe->act != NULL)
        probe->act(probe, event);
    if (event == NET_CLOSE)
        probe->stream = NULL;
}

static void on_accept(struct plx_tcp *stream, void *ctx)
{
    tell(stream, ctx, NET_ACCEPT);
}

static void on_connect(struct plx_tcp *stream, void *ctx)
{
    tell(stream, ctx, NET_CONNECT);
}

static void on_data(struct plx_tcp *stream, const void *data, size_t len, void *ctx)
{
    struct net_probe *probe = ctx;
    if (len == 0 || (probe->checks_pattern && !net_matches(data, len, probe->bytes)))
        probe->broken = true;
    probe->bytes += len;
    tell(stream, probe, NET_DATA);
}

static void on_writable(struct plx_tcp *stream, void *ctx)
{
    tell(stream, ctx, NET_WRITABLE);
}

static void on_expired(struct plx_tcp *stream, size_t len, void *ctx)
{
    struct net_probe *probe = ctx;
    probe->expired_bytes += len;
    tell(stream, probe, NET_EXPIRED);
}

static void on_close(struct plx_tcp *stream, int reason, void *ctx)
{
    struct net_probe *probe = ctx;
    probe->reason = reason;
    tell(stream, probe, NET_CLOSE);
}

const struct plx_tcp_handler net_probe_handler = {
    .on_accept = on_accept,
    .on_connect = on_connect,
    .on_data = on_data,
    .on_writable = on_writable,
    .on_expired = on_expired,
    .on_close = on_close,
};
