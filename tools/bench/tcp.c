/* SPDX-License-Identifier: MIT */
/*
 * tcp rtt_64B and paced_1000_64B: a message of 64 bytes there and back over the loopback, both ends
 * the same subject, each spinning on a core of its own; one after the other, and at set times.
 */
#include <errno.h>
#include <string.h>

#include "tools/bench/end.h"
#include "tools/bench/frame.h"

/* Turns between two looks at the clock while waiting for an answer. */
#define LOOKS 4096u

/* Between two messages that are sent at set times: 1,000 a second. */
#define PACE_NS 1e6
/* Few messages fit into a slice, so it is long. */
#define PACED_ROUNDS         24u
#define PACED_ROUNDS_QUICK   6u
#define PACED_SLICE_US       200000u
#define PACED_SLICE_US_QUICK 80000u

struct echo {
    struct plx_bench_host host; /* first: plx_bench_host_serve takes it so */
    struct plx_bench_end *client;
    uint64_t sequence;
    char why[400]; /* it could not be set up */
};

static const struct plx_bench_end_ops *const ends[] = {
    &plx_bench_end_pollux,       &plx_bench_end_pollux_ring, &plx_bench_end_pollux_queued,
    &plx_bench_end_pollux_epoll, &plx_bench_end_raw,         &plx_bench_end_epoll,
    &plx_bench_end_liburing,
#ifdef PLX_BENCH_LIBUV
    &plx_bench_end_libuv,
#endif
};
#define END_COUNT (sizeof(ends) / sizeof(*ends))

static int failed(const struct echo *echo, int rc, const char *what, struct plx_diag *diag)
{
    return plx_diag_set(diag, rc, echo->host.ops->subject, "the %s client %s: %s",
                        echo->host.ops->subject, what, strerror(-rc));
}

/* Waits for the whole answer. */
static int await(struct plx_bench_slice *slice, struct echo *echo, struct plx_diag *diag)
{
    struct plx_bench_end *client = echo->client;
    void (*turn)(struct plx_bench_end * end) = client->ops->turn;
    uint32_t looks = 0;
    while (client->answer_bytes < PLX_BENCH_MESSAGE_BYTES) {
        turn(client);
        if (PLX_UNLIKELY(client->error != 0))
            return failed(echo, client->error, "met", diag);
        if (PLX_UNLIKELY(++looks % LOOKS == 0) && plx_bench_in_vain(slice))
            return failed(echo, -ETIMEDOUT, "waited for an answer", diag);
    }
    return 0;
}

/* Each message differs from the last in every word. */
static void fill(struct echo *echo, uint64_t *message)
{
    echo->sequence++;
    for (size_t i = 0; i < PLX_BENCH_MESSAGE_BYTES / sizeof(*message); i++)
        message[i] = echo->sequence + ((uint64_t)i << 56);
    echo->client->answer_bytes = 0;
}

/* Whether the answer is what was sent. */
static int check(const struct echo *echo, const uint64_t *message, struct plx_diag *diag)
{
    const struct plx_bench_end *client = echo->client;
    if (client->answer_bytes != PLX_BENCH_MESSAGE_BYTES ||
        memcmp(client->answer, message, PLX_BENCH_MESSAGE_BYTES) != 0)
        return failed(echo, -EBADMSG, "got another answer than it sent", diag);
    return 0;
}

static int run(struct plx_bench_slice *slice, void *ctx, struct plx_diag *diag)
{
    struct echo *echo = ctx;
    struct plx_bench_end *client = echo->client;
    uint64_t message[PLX_BENCH_MESSAGE_BYTES / sizeof(uint64_t)];
    uint64_t before;
    do {
        fill(echo, message);
        before = plx_ticks();
        client->ops->send(client, message, sizeof(message));
        int rc = await(slice, echo, diag);
        if (PLX_UNLIKELY(rc != 0))
            return rc;
        plx_bench_sample(slice, plx_ticks() - before);
        rc = check(echo, message, diag);
        if (rc != 0)
            return rc;
    } while (before < slice->end_ticks);
    return 0;
}

/*
 * At times set beforehand, and timed from these: a message that could not be sent when it was due,
 * since an answer was late, has waited as whoever wanted to send it would have.
 */
static int run_paced(struct plx_bench_slice *slice, void *ctx, struct plx_diag *diag)
{
    struct echo *echo = ctx;
    struct plx_bench_end *client = echo->client;
    uint64_t message[PLX_BENCH_MESSAGE_BYTES / sizeof(uint64_t)];
    uint64_t interval = (uint64_t)(PACE_NS / plx_bench_ns_per_tick(slice->bench));
    for (uint64_t due = plx_ticks() + interval; due < slice->end_ticks; due += interval) {
        fill(echo, message);
        while (plx_ticks() < due)
            client->ops->turn(client);
        client->ops->send(client, message, sizeof(message));
        int rc = await(slice, echo, diag);
        uint64_t now = plx_ticks();
        if (rc == 0)
            rc = check(echo, message, diag);
        if (rc != 0)
            return rc;
        plx_bench_sample(slice, now - due);
    }
    return 0;
}

/* --- set-up ---------------------------------------------------------------------------------- */

static int open_pair(struct echo *echo, struct plx_bench *bench,
                     const struct plx_bench_end_ops *ops, struct plx_diag *diag)
{
    struct plx_bench_host *host = &echo->host;
    int rc = plx_bench_host_open(host, bench, ops, 1, diag);
    if (rc != 0)
        return rc;
    struct plx_bench_end_config config = host->config;
    config.server = false;
    config.reactor = host->client_reactor;
    rc = ops->open(ops, &config, &echo->client);
    if (rc != 0)
        (void)failed(echo, rc, "did not open", diag);
    else
        rc = plx_bench_host_accept(host, diag);
    return rc;
}

static void close_pair(struct echo *echo)
{
    if (echo->client != NULL)
        echo->client->ops->close(echo->client);
    echo->client = NULL;
    plx_bench_host_close(&echo->host);
}

static const struct plx_bench_case cases[] = {
    {.bench = "tcp",
     .name = "rtt_64B",
     .what = "64 bytes there and back over the loopback, both ends spinning",
     .unit = PLX_BENCH_NS,
     .block = 1,
     .two_cores = true},
    {.bench = "tcp",
     .name = "paced_1000_64B",
     .what = "64 bytes there and back, due 1,000 times a second; from when it was due",
     .unit = PLX_BENCH_NS,
     .block = 1,
     .two_cores = true},
};

/* The same pairs, at set times; of ours those that receive hot and by the ring. */
static int measure_paced(struct plx_bench *bench, const struct plx_bench_subject *subjects)
{
    bool quick = plx_bench_is_quick(bench);
    struct plx_bench_case paced = cases[1];
    paced.rounds = quick ? PACED_ROUNDS_QUICK : PACED_ROUNDS;
    paced.slice_us = quick ? PACED_SLICE_US_QUICK : PACED_SLICE_US;
    static const struct plx_bench_end_ops *const chosen[] = {
        &plx_bench_end_pollux, &plx_bench_end_pollux_ring, &plx_bench_end_epoll,
        &plx_bench_end_raw};
    struct plx_bench_subject some[sizeof(chosen) / sizeof(*chosen)];
    uint32_t count = 0;
    for (size_t c = 0; c < sizeof(chosen) / sizeof(*chosen); c++) {
        for (size_t i = 0; i < END_COUNT; i++) {
            if (ends[i] != chosen[c])
                continue;
            some[count] = subjects[i];
            some[count++].run = run_paced;
        }
    }
    return plx_bench_measure(bench, &paced, some, count);
}

int plx_bench_tcp(struct plx_bench *bench)
{
    struct echo echoes[END_COUNT] = {0};
    struct plx_bench_subject subjects[END_COUNT] = {0};
    struct plx_diag diag;
#ifndef PLX_BENCH_LIBUV
    plx_bench_missing_peer(bench, "libuv", "libuv1-dev");
#endif
    bool opens = plx_bench_has_two(bench) && plx_bench_is_one_wanted(bench, cases, 2);
    for (size_t i = 0; i < END_COUNT; i++) {
        subjects[i] = (struct plx_bench_subject){
            .name = ends[i]->subject,
            .run = run,
            .peer = plx_bench_host_serve,
            .ctx = &echoes[i],
            .mem_node = -1,
        };
        int rc = opens ? open_pair(&echoes[i], bench, ends[i], &diag) : 0;
        if (rc != 0) {
            if (!plx_bench_end_is_refused(ends[i], rc))
                plx_bench_failed(bench, "tcp", &diag);
            memcpy(echoes[i].why, diag.text, sizeof(diag.text));
            subjects[i].missing = echoes[i].why;
        }
    }
    int rc = plx_bench_measure(bench, &cases[0], subjects, (uint32_t)END_COUNT);
    if (rc == 0)
        rc = measure_paced(bench, subjects);
    for (size_t i = 0; i < END_COUNT; i++)
        close_pair(&echoes[i]);
    return rc;
}
