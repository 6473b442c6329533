/* SPDX-License-Identifier: MIT */
/* libuv, never sleeping: a read callback that tries to write at once, as its documentation says. */
#include "tools/bench/end.h"

#ifdef PLX_BENCH_LIBUV

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>
#include <uv.h>

struct libuv_end {
    struct plx_bench_end end;
    uv_loop_t loop;
    int listener;
    uint32_t connections;
    uint32_t count;
    char data[65536]; /* one for all: a read's data are used up in its callback */
    uv_tcp_t tcp[];
};

static void libuv_close(struct plx_bench_end *end)
{
    struct libuv_end *u = (struct libuv_end *)end;
    for (uint32_t i = 0; i < u->count; i++)
        uv_close((uv_handle_t *)&u->tcp[i], NULL);
    while (uv_run(&u->loop, UV_RUN_NOWAIT) != 0)
        continue;
    (void)uv_loop_close(&u->loop);
    if (u->listener >= 0)
        close(u->listener);
    free(u);
}

static void give_room(uv_handle_t *handle, size_t suggested, uv_buf_t *out)
{
    struct libuv_end *u = handle->data;
    (void)suggested;
    *out = uv_buf_init(u->data, sizeof(u->data));
}

static void write_now(struct libuv_end *u, uv_stream_t *stream, const char *data, size_t bytes)
{
    while (bytes != 0) {
        uv_buf_t buf = uv_buf_init((char *)(uintptr_t)data, (unsigned)bytes);
        int taken = uv_try_write(stream, &buf, 1);
        if (taken < 0 && taken != UV_EAGAIN) {
            plx_bench_end_failed(&u->end, taken);
            return;
        }
        if (taken > 0) {
            data += taken;
            bytes -= (size_t)taken;
        }
    }
}

static void have_read(uv_stream_t *stream, ssize_t got, const uv_buf_t *buf)
{
    struct libuv_end *u = stream->data;
    if (got < 0)
        plx_bench_end_failed(&u->end, (int)got);
    else if (got > 0 && u->end.echoes)
        write_now(u, stream, buf->base, (size_t)got);
    else if (got > 0)
        plx_bench_end_answer(&u->end, buf->base, (size_t)got);
}

static int add_fd(struct libuv_end *u, int fd)
{
    uv_tcp_t *tcp = &u->tcp[u->count];
    int rc = uv_tcp_init(&u->loop, tcp);
    if (rc != 0) {
        close(fd);
        return rc;
    }
    u->count++;
    tcp->data = u;
    rc = uv_tcp_open(tcp, fd);
    if (rc != 0) {
        close(fd);
        return rc;
    }
    (void)uv_tcp_nodelay(tcp, 1);
    return uv_read_start((uv_stream_t *)tcp, give_room, have_read);
}

static int libuv_open(const struct plx_bench_end_ops *ops, struct plx_bench_end_config *config,
                      struct plx_bench_end **out)
{
    struct libuv_end *u = calloc(1, sizeof(*u) + config->connections * sizeof(uv_tcp_t));
    if (u == NULL)
        return -ENOMEM;
    u->end.ops = ops;
    u->end.echoes = config->server;
    u->connections = config->connections;
    u->listener = -1;
    int rc = uv_loop_init(&u->loop);
    if (rc != 0) {
        free(u);
        return rc;
    }
    rc = plx_bench_plain_open(config);
    if (rc >= 0 && config->server)
        u->listener = rc;
    else if (rc >= 0)
        rc = add_fd(u, rc);
    if (rc < 0) {
        libuv_close(&u->end);
        return rc;
    }
    *out = &u->end;
    return 0;
}

static int libuv_accept(struct plx_bench_end *end)
{
    struct libuv_end *u = (struct libuv_end *)end;
    while (end->accepted < u->connections) {
        int fd = plx_bench_plain_accept(u->listener);
        int rc = fd >= 0 ? add_fd(u, fd) : fd;
        if (rc < 0)
            return rc;
        end->accepted++;
    }
    return 0;
}

static void libuv_send(struct plx_bench_end *end, const void *message, size_t bytes)
{
    struct libuv_end *u = (struct libuv_end *)end;
    write_now(u, (uv_stream_t *)&u->tcp[0], message, bytes);
}

static void libuv_turn(struct plx_bench_end *end)
{
    (void)uv_run(&((struct libuv_end *)end)->loop, UV_RUN_NOWAIT);
}

const struct plx_bench_end_ops plx_bench_end_libuv = {
    .subject = "libuv",
    .open = libuv_open,
    .accept = libuv_accept,
    .send = libuv_send,
    .turn = libuv_turn,
    .close = libuv_close,
};

#endif
