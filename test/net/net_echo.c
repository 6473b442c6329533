/* SPDX-License-Identifier: MIT */
#include "test/net/net_echo.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* The most that one on_data brings. */
#define REST_MAX 65536

/* What could not be written yet; while there is some, the stream is paused. */
struct one {
    struct net_echo *echo;
    bool closed;
    size_t begin;
    size_t end;
    uint8_t rest[REST_MAX];
};

static void on_accept(struct plx_tcp *stream, void *ctx)
{
    struct net_echo *echo = ctx;
    struct one *one = calloc(1, sizeof(*one));
    assert_non_null(one);
    one->echo = echo;
    echo->accepts++;
    echo->live++;
    echo->last = stream;
    plx_tcp_set_ctx(stream, one);
}

static void watch(struct plx_tcp *stream, struct net_echo *echo)
{
    size_t queued = plx_tcp_queued(stream);
    if (queued > echo->queue_max)
        echo->queue_max = queued;
}

static void on_data(struct plx_tcp *stream, const void *data, size_t len, void *ctx)
{
    struct one *one = ctx;
    one->echo->late_call |= one->closed;
    one->echo->bytes += len;
    int64_t taken = plx_tcp_write(stream, data, len, one->echo->flags);
    watch(stream, one->echo);
    if (taken < 0)
        return;
    assert_int_equal(one->begin, one->end);
    assert_true(len <= REST_MAX);
    one->begin = (size_t)taken;
    one->end = len;
    if (one->begin == one->end)
        return;
    memcpy(one->rest + one->begin, (const uint8_t *)data + one->begin, len - one->begin);
    plx_tcp_pause(stream);
}

static void on_writable(struct plx_tcp *stream, void *ctx)
{
    struct one *one = ctx;
    one->echo->writables++;
    one->echo->late_call |= one->closed;
    int64_t taken =
        plx_tcp_write(stream, one->rest + one->begin, one->end - one->begin, one->echo->flags);
    watch(stream, one->echo);
    if (taken < 0)
        return;
    one->begin += (size_t)taken;
    if (one->begin == one->end)
        plx_tcp_resume(stream);
}

static void on_close(struct plx_tcp *stream, int reason, void *ctx)
{
    (void)stream;
    struct one *one = ctx;
    struct net_echo *echo = one->echo;
    echo->late_call |= one->closed;
    one->closed = true;
    echo->closes++;
    echo->live--;
    echo->reason = reason;
    if (echo->last == stream)
        echo->last = NULL;
    free(one);
}

const struct plx_tcp_handler net_echo_handler = {
    .on_accept = on_accept,
    .on_data = on_data,
    .on_writable = on_writable,
    .on_close = on_close,
};
