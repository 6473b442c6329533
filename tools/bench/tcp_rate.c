/* SPDX-License-Identifier: MIT */
/*
 * tcp rate_1, rate_50, rate_300: messages of 64 bytes that a server echoes in a second, with so
 * many connections and one message on its way on each.
 *
 * The *load* is the same for every server: plain sockets, asked in turn, on the bench thread's
 * core. That costs less than any loop that waits for events, and, as nobody waits for the load's
 * sockets, nothing in the server's sends.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tools/bench/end.h"

#define WORDS (PLX_BENCH_MESSAGE_BYTES / sizeof(uint64_t))
/* Connections asked between two looks at the clock. */
#define LOOKS 16u
/* Descriptors beside those of the connections. */
#define OTHER_FDS    128u
#define SUBJECTS_MAX 8
/* A slice is one sample, so there are more of them, and shorter ones, than where each has many. */
#define QUICK_ROUNDS 32u
#define FULL_ROUNDS  128u
#define SLICE_US     8000u

struct connection {
    int fd;
    uint32_t got; /* bytes of the answer that have come */
    uint64_t sequence;
    uint64_t answer[WORDS];
};

struct load {
    struct plx_bench_host host; /* first: plx_bench_host_serve takes it so */
    struct connection *connections;
    uint32_t count; /* connected */
    uint32_t wanted;
    uint32_t out; /* messages on their way */
    char why[400];
};

static int failed(const struct load *load, int rc, const char *what, struct plx_diag *diag)
{
    return plx_diag_set(diag, rc, load->host.ops->subject, "connection to the %s server %s: %s",
                        load->host.ops->subject, what, strerror(-rc));
}

/* --- the load -------------------------------------------------------------------------------- */

static inline uint64_t word_of(const struct connection *connection, size_t index)
{
    return connection->sequence + ((uint64_t)index << 56) + ((uint64_t)connection->fd << 40);
}

static int send_next(struct load *load, struct connection *connection, struct plx_diag *diag)
{
    uint64_t message[WORDS];
    connection->sequence++;
    for (size_t i = 0; i < WORDS; i++)
        message[i] = word_of(connection, i);
    int rc = plx_bench_plain_send(connection->fd, message, sizeof(message));
    if (PLX_UNLIKELY(rc != 0))
        return failed(load, rc, "could not send", diag);
    load->out++;
    return 0;
}

/* 1 the answer is here, 0 not yet, negative errno. */
static int receive(struct load *load, struct connection *connection, struct plx_diag *diag)
{
    uint8_t *at = (uint8_t *)connection->answer + connection->got;
    ssize_t got =
        recv(connection->fd, at, sizeof(connection->answer) - connection->got, MSG_DONTWAIT);
    if (got < 0 && (errno == EAGAIN || errno == EINTR))
        return 0;
    if (PLX_UNLIKELY(got <= 0))
        return failed(load, got < 0 ? -errno : -ECONNRESET, "ended", diag);
    connection->got += (uint32_t)got;
    if (PLX_UNLIKELY(connection->got < sizeof(connection->answer)))
        return 0;
    connection->got = 0;
    load->out--;
    for (size_t i = 0; i < WORDS; i++) {
        if (PLX_UNLIKELY(connection->answer[i] != word_of(connection, i)))
            return failed(load, -EBADMSG, "got another answer than was sent", diag);
    }
    return 1;
}

/* Receives what is still on its way. */
static int drain(struct plx_bench_slice *slice, struct load *load, struct plx_diag *diag)
{
    while (load->out != 0) {
        for (uint32_t i = 0; i < load->count; i++) {
            int rc = receive(load, &load->connections[i], diag);
            if (rc < 0)
                return rc;
        }
        if (load->out != 0 && plx_bench_in_vain(slice))
            return failed(load, -ETIMEDOUT, "waited for an answer", diag);
    }
    return 0;
}

static int run(struct plx_bench_slice *slice, void *ctx, struct plx_diag *diag)
{
    struct load *load = ctx;
    int rc;
    for (uint32_t i = 0; i < load->count; i++) {
        rc = send_next(load, &load->connections[i], diag);
        if (rc != 0)
            return rc;
    }
    uint64_t begin = plx_ticks();
    uint64_t now = begin;
    uint64_t done = 0;
    uint32_t index = 0;
    for (uint32_t looks = 0; now < slice->end_ticks; looks++) {
        struct connection *connection = &load->connections[index];
        index = index + 1 == load->count ? 0 : index + 1;
        rc = receive(load, connection, diag);
        if (rc > 0) {
            done++;
            rc = send_next(load, connection, diag);
        }
        if (PLX_UNLIKELY(rc < 0))
            return rc;
        if (looks % LOOKS == 0)
            now = plx_ticks();
        if (PLX_UNLIKELY(plx_load_relaxed(&slice->peer_failed)))
            return failed(load, -ECONNABORTED, "has no server any more", diag);
    }
    slice->done = done;
    slice->elapsed_ticks = now - begin;
    return drain(slice, load, diag);
}

/* --- set-up ---------------------------------------------------------------------------------- */

static int connect_load(struct load *load, struct plx_diag *diag)
{
    load->connections = calloc(load->wanted, sizeof(*load->connections));
    if (load->connections == NULL)
        return failed(load, -ENOMEM, "was not made", diag);
    while (load->count < load->wanted) {
        int fd = plx_bench_plain_connect(&load->host.config.address);
        if (fd < 0)
            return failed(load, fd, "was not made", diag);
        load->connections[load->count++].fd = fd;
    }
    return plx_bench_host_accept(&load->host, diag);
}

static void close_load(struct load *load)
{
    for (uint32_t i = 0; i < load->count; i++)
        close(load->connections[i].fd);
    free(load->connections);
    plx_bench_host_close(&load->host);
}

/* 0, or what the limit is when it is too low. */
static uint64_t raise_descriptors(uint64_t wanted, struct rlimit *before)
{
    if (getrlimit(RLIMIT_NOFILE, before) != 0)
        return 0;
    struct rlimit limit = *before;
    if (limit.rlim_cur >= wanted)
        return 0;
    if (limit.rlim_max < wanted)
        return limit.rlim_max;
    limit.rlim_cur = wanted;
    return setrlimit(RLIMIT_NOFILE, &limit) == 0 ? 0 : before->rlim_cur;
}

static int measure(struct plx_bench *bench, const struct plx_bench_case *what, uint32_t connections,
                   const struct plx_bench_end_ops *const *ends)
{
    struct load loads[SUBJECTS_MAX] = {0};
    struct plx_bench_subject subjects[SUBJECTS_MAX] = {0};
    struct plx_diag diag;
    struct rlimit before;
    uint32_t count = 0;
    if (!plx_bench_is_wanted(bench, what->bench, what->name))
        return plx_bench_measure(bench, what, NULL, 0);
    while (count < SUBJECTS_MAX && ends[count] != NULL)
        count++;
    uint64_t wanted = 2u * count * connections + OTHER_FDS;
    uint64_t limit = raise_descriptors(wanted, &before);
    for (uint32_t i = 0; i < count; i++) {
        struct load *load = &loads[i];
        load->wanted = connections;
        subjects[i] = (struct plx_bench_subject){
            .name = ends[i]->subject,
            .run = run,
            .peer = plx_bench_host_serve,
            .ctx = load,
            .mem_node = -1,
        };
        if (!plx_bench_has_two(bench))
            continue;
        if (limit != 0) {
            snprintf(load->why, sizeof(load->why),
                     "needs %" PRIu64 " descriptors, and the hard limit is %" PRIu64, wanted,
                     limit);
            subjects[i].missing = load->why;
            continue;
        }
        int rc = plx_bench_host_open(&load->host, bench, ends[i], connections, &diag);
        if (rc == 0)
            rc = connect_load(load, &diag);
        if (rc != 0) {
            if (!plx_bench_end_is_refused(ends[i], rc))
                plx_bench_failed(bench, "tcp", &diag);
            memcpy(load->why, diag.text, sizeof(diag.text));
            subjects[i].missing = load->why;
        }
    }
    int rc = plx_bench_measure(bench, what, subjects, count);
    for (uint32_t i = 0; i < count; i++)
        close_load(&loads[i]);
    (void)setrlimit(RLIMIT_NOFILE, &before);
    return rc;
}

int plx_bench_tcp_rate(struct plx_bench *bench)
{
    static const struct plx_bench_end_ops *const few[] = {
        &plx_bench_end_pollux,
        &plx_bench_end_pollux_ring,
        &plx_bench_end_pollux_queued,
        &plx_bench_end_epoll,
        &plx_bench_end_liburing,
#ifdef PLX_BENCH_LIBUV
        &plx_bench_end_libuv,
#endif
        NULL,
    };
    static const struct plx_bench_end_ops *const many[] = {
        &plx_bench_end_pollux_many,
        &plx_bench_end_pollux_queued,
        &plx_bench_end_epoll,
        &plx_bench_end_liburing,
#ifdef PLX_BENCH_LIBUV
        &plx_bench_end_libuv,
#endif
        NULL,
    };
    static const struct {
        const char *name;
        const char *what;
        const struct plx_bench_end_ops *const *ends;
        uint32_t connections;
    } cases[] = {
        {"rate_1", "64-byte messages echoed on 1 connection", few, 1},
        {"rate_50", "64-byte messages echoed on 50 connections, one on its way on each", many, 50},
        {"rate_300", "64-byte messages echoed on 300 connections, one on its way on each", many,
         300},
    };
    int rc = 0;
    for (size_t i = 0; i < sizeof(cases) / sizeof(*cases) && rc == 0; i++) {
        const struct plx_bench_case rate = {
            .bench = "tcp",
            .name = cases[i].name,
            .what = cases[i].what,
            .unit = PLX_BENCH_RATE,
            .two_cores = true,
            .rounds = plx_bench_is_quick(bench) ? QUICK_ROUNDS : FULL_ROUNDS,
            .slice_us = SLICE_US,
        };
        rc = measure(bench, &rate, cases[i].connections, cases[i].ends);
    }
    return rc;
}
