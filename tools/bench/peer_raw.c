/* SPDX-License-Identifier: MIT */
/* The floor: one socket, asked again and again. */
#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tools/bench/end.h"

struct raw_end {
    struct plx_bench_end end;
    int listener;
    int fd;
};

static int raw_open(const struct plx_bench_end_ops *ops, struct plx_bench_end_config *config,
                    struct plx_bench_end **out)
{
    struct raw_end *raw = calloc(1, sizeof(*raw));
    if (raw == NULL)
        return -ENOMEM;
    int fd = plx_bench_plain_open(config);
    if (fd < 0) {
        free(raw);
        return fd;
    }
    raw->end.ops = ops;
    raw->end.echoes = config->server;
    raw->listener = config->server ? fd : -1;
    raw->fd = config->server ? -1 : fd;
    *out = &raw->end;
    return 0;
}

static int raw_accept(struct plx_bench_end *end)
{
    struct raw_end *raw = (struct raw_end *)end;
    raw->fd = plx_bench_plain_accept(raw->listener);
    end->accepted = raw->fd >= 0;
    return raw->fd >= 0 ? 0 : raw->fd;
}

static void raw_send(struct plx_bench_end *end, const void *message, size_t bytes)
{
    int rc = plx_bench_plain_send(((struct raw_end *)end)->fd, message, bytes);
    if (rc != 0)
        plx_bench_end_failed(end, rc);
}

static void raw_turn(struct plx_bench_end *end)
{
    struct raw_end *raw = (struct raw_end *)end;
    uint8_t data[PLX_BENCH_CHUNK_BYTES];
    ssize_t got = recv(raw->fd, data, sizeof(data), MSG_DONTWAIT);
    if (got > 0) {
        if (end->echoes)
            raw_send(end, data, (size_t)got);
        else
            plx_bench_end_answer(end, data, (size_t)got);
    } else if (got == 0) {
        plx_bench_end_failed(end, -ECONNRESET);
    } else if (errno != EAGAIN && errno != EINTR) {
        plx_bench_end_failed(end, -errno);
    }
}

static void raw_close(struct plx_bench_end *end)
{
    struct raw_end *raw = (struct raw_end *)end;
    if (raw->fd >= 0)
        close(raw->fd);
    if (raw->listener >= 0)
        close(raw->listener);
    free(raw);
}

const struct plx_bench_end_ops plx_bench_end_raw = {
    .subject = "raw",
    .open = raw_open,
    .accept = raw_accept,
    .send = raw_send,
    .turn = raw_turn,
    .close = raw_close,
};
