/* SPDX-License-Identifier: MIT */
/*
 * A spinning epoll loop, edge-triggered, as that is the faster way: a receive that brings less than
 * was asked for has emptied the socket (epoll(7)), so one receive for each event suffices.
 */
#include <errno.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tools/bench/end.h"

#define EVENTS_MAX 256

struct epoll_end {
    struct plx_bench_end end;
    int listener;
    int epoll;
    uint32_t connections;
    uint32_t fd_count;
    struct epoll_event ready[EVENTS_MAX];
    int fds[];
};

static void epoll_end_close(struct plx_bench_end *end)
{
    struct epoll_end *e = (struct epoll_end *)end;
    for (uint32_t i = 0; i < e->fd_count; i++)
        close(e->fds[i]);
    if (e->listener >= 0)
        close(e->listener);
    if (e->epoll >= 0)
        close(e->epoll);
    free(e);
}

static int add_fd(struct epoll_end *e, int fd)
{
    struct epoll_event event = {.events = EPOLLIN | EPOLLET, .data = {.fd = fd}};
    e->fds[e->fd_count++] = fd;
    return epoll_ctl(e->epoll, EPOLL_CTL_ADD, fd, &event) == 0 ? 0 : -errno;
}

static int epoll_end_open(const struct plx_bench_end_ops *ops, struct plx_bench_end_config *config,
                          struct plx_bench_end **out)
{
    struct epoll_end *e = calloc(1, sizeof(*e) + config->connections * sizeof(int));
    if (e == NULL)
        return -ENOMEM;
    e->end.ops = ops;
    e->end.echoes = config->server;
    e->connections = config->connections;
    e->listener = -1;
    e->epoll = epoll_create1(EPOLL_CLOEXEC);
    int rc = e->epoll >= 0 ? plx_bench_plain_open(config) : -errno;
    if (rc >= 0 && config->server)
        e->listener = rc;
    else if (rc >= 0)
        rc = add_fd(e, rc);
    if (rc < 0) {
        epoll_end_close(&e->end);
        return rc;
    }
    *out = &e->end;
    return 0;
}

static int epoll_end_accept(struct plx_bench_end *end)
{
    struct epoll_end *e = (struct epoll_end *)end;
    while (end->accepted < e->connections) {
        int fd = plx_bench_plain_accept(e->listener);
        int rc = fd >= 0 ? add_fd(e, fd) : fd;
        if (rc < 0)
            return rc;
        end->accepted++;
    }
    return 0;
}

static void epoll_end_send(struct plx_bench_end *end, const void *message, size_t bytes)
{
    int rc = plx_bench_plain_send(((struct epoll_end *)end)->fds[0], message, bytes);
    if (rc != 0)
        plx_bench_end_failed(end, rc);
}

static void epoll_end_read(struct epoll_end *e, int fd)
{
    uint8_t data[PLX_BENCH_CHUNK_BYTES];
    ssize_t got = recv(fd, data, sizeof(data), MSG_DONTWAIT);
    if (got > 0 && e->end.echoes) {
        int rc = plx_bench_plain_send(fd, data, (size_t)got);
        if (rc != 0)
            plx_bench_end_failed(&e->end, rc);
    } else if (got > 0) {
        plx_bench_end_answer(&e->end, data, (size_t)got);
    } else if (got == 0) {
        plx_bench_end_failed(&e->end, -ECONNRESET);
    } else if (errno != EAGAIN && errno != EINTR) {
        plx_bench_end_failed(&e->end, -errno);
    }
}

static void epoll_end_turn(struct plx_bench_end *end)
{
    struct epoll_end *e = (struct epoll_end *)end;
    int count = epoll_wait(e->epoll, e->ready, EVENTS_MAX, 0);
    for (int i = 0; i < count; i++)
        epoll_end_read(e, e->ready[i].data.fd);
}

const struct plx_bench_end_ops plx_bench_end_epoll = {
    .subject = "epoll",
    .open = epoll_end_open,
    .accept = epoll_end_accept,
    .send = epoll_end_send,
    .turn = epoll_end_turn,
    .close = epoll_end_close,
};
