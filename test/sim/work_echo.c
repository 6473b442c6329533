/* SPDX-License-Identifier: MIT */
/*
 * Echo over TCP: clients on any reactor send a stream of known bytes to servers on any, and compare
 * what comes back. Every byte comes once and in order on both sides; every stream closes once.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "net/tcp.h"
#include "test/sim/world.h"

#define CLIENTS_MAX 8u
#define TOTAL_MAX   60000u
#define CHUNK_MAX   16384u
#define REST_MAX    65536u
#define HELD_MAX    8u
/* Without a byte for so long a rough world's stream is given up. */
#define PATIENCE_NS (20u * (uint64_t)SIM_SECOND_NS)

struct echo;

struct client {
    struct echo *echo;
    struct plx_tcp *stream;
    uint32_t key;
    uint32_t at;     /* reactor */
    uint64_t begins; /* a step */
    uint64_t total;
    uint64_t sent;
    uint64_t got;
    uint64_t progress_ns;
    uint64_t resume_at; /* a step; 0: it is not paused */
    bool cut;           /* waits for on_writable */
    bool is_up;
    bool begun;
    bool closing;
    bool closed;
    int reason;
};

/* The server's end of a connection. Its first byte tells whose. */
struct peer {
    struct echo *echo;
    struct plx_tcp *stream;
    struct peer *next;
    uint32_t key;
    uint64_t got;
    uint64_t progress_ns;
    uint64_t resume_at; /* a step; 0: it does not wait for memory */
    size_t begin;
    size_t end;
    bool closed;
    uint8_t rest[REST_MAX];
};

struct held {
    struct plx_bytes bytes;
    struct plx_reactor *home;
    uint32_t key;
    uint64_t place;
};

struct echo {
    struct sim_run *run;
    struct plx_tcp_opts opts;
    struct plx_addr addr;
    int fds[SIM_REACTORS_MAX];
    bool bound;
    bool toggles; /* clients change their way of receiving, or write, at any time */
    bool pumps;
    uint32_t listeners; /* how many there are to be */
    uint32_t listening;
    struct client clients[CLIENTS_MAX];
    uint32_t client_count;
    struct peer *peers;
    struct held held[HELD_MAX];
    uint32_t held_count;
};

static struct sim_run *run_of(const struct client *client)
{
    return client->echo->run;
}

/* --- held bytes ------------------------------------------------------------------------------- */

static void release_held(struct echo *echo, uint32_t index)
{
    struct held *held = &echo->held[index];
    const uint8_t *data = held->bytes.ptr;
    for (size_t i = 0; i < held->bytes.len; i++) {
        if (data[i] != sim_pattern(held->key, held->place + i)) {
            sim_fail(echo->run, "echo %u: held bytes have changed at %llu", held->key,
                     (unsigned long long)(held->place + i));
            break;
        }
    }
    plx_bytes_release(plx_reactor_bytes(held->home), &held->bytes);
    *held = echo->held[--echo->held_count];
}

/* Holds a part, from the first on. False: it was refused, and the bytes will be given again. */
static bool hold(struct peer *peer, struct plx_tcp *stream, const uint8_t *data, size_t len)
{
    struct echo *echo = peer->echo;
    if (echo->held_count == HELD_MAX || peer->got == 0)
        return true;
    size_t part = 1 + (size_t)sim_random_below(&echo->run->random, len);
    struct held *held = &echo->held[echo->held_count];
    if (plx_tcp_hold(stream, data, part, &held->bytes) != 0) {
        peer->resume_at = echo->run->step + sim_random_size(&echo->run->random, 1000);
        plx_tcp_pause(stream);
        return false;
    }
    held->home = plx_tcp_reactor(stream);
    held->key = peer->key;
    held->place = peer->got;
    echo->held_count++;
    return true;
}

/* --- servers ---------------------------------------------------------------------------------- */

static void on_accept(struct plx_tcp *stream, void *ctx)
{
    struct echo *echo = ctx;
    struct peer *peer = calloc(1, sizeof(*peer));
    if (peer == NULL) {
        sim_fail(echo->run, "no memory");
        return;
    }
    peer->echo = echo;
    peer->stream = stream;
    peer->progress_ns = sim_now_ns(echo->run);
    peer->next = echo->peers;
    echo->peers = peer;
    plx_tcp_set_ctx(stream, peer);
}

/* Any way of writing; how much was taken. */
static int64_t write_some(struct sim_run *run, struct plx_tcp *stream, const void *data, size_t len)
{
    switch (sim_random_below(&run->random, 4)) {
    case 0:
        return plx_tcp_write(stream, data, len, PLX_INLINE);
    case 1: {
        int rc = plx_tcp_send_now(stream, data, len);
        if (rc == 0)
            return (int64_t)len;
        return rc == -EAGAIN || rc == -EMSGSIZE ? plx_tcp_write(stream, data, len, PLX_QUEUED) : rc;
    }
    case 2: {
        /* It never expires. */
        int rc = plx_tcp_write_before(stream, data, len, UINT64_MAX);
        if (rc == 0)
            return (int64_t)len;
        return rc == -EAGAIN || rc == -EMSGSIZE ? plx_tcp_write(stream, data, len, PLX_QUEUED) : rc;
    }
    default:
        return plx_tcp_write(stream, data, len, PLX_QUEUED);
    }
}

static void check_bytes(struct sim_run *run, const char *who, uint32_t key, uint64_t place,
                        const uint8_t *data, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        if (data[i] == (place + i == 0 ? (uint8_t)key : sim_pattern(key, place + i)))
            continue;
        sim_fail(run, "echo %u: %s got a wrong byte at %llu", key, who,
                 (unsigned long long)(place + i));
        return;
    }
}

static void server_data(struct plx_tcp *stream, const void *data, size_t len, void *ctx)
{
    struct peer *peer = ctx;
    struct sim_run *run = peer->echo->run;
    if (peer->closed || peer->begin != peer->end || peer->resume_at != 0)
        sim_fail(run, "echo %u: data for a server that is %s", peer->key,
                 peer->closed ? "closed" : "paused");
    if (peer->got == 0)
        peer->key = *(const uint8_t *)data;
    check_bytes(run, "a server", peer->key, peer->got, data, len);
    peer->progress_ns = sim_now_ns(run);
    if (sim_random_once(&run->random, 8) && !hold(peer, stream, data, len))
        return;
    peer->got += len;
    int64_t taken = write_some(run, stream, data, len);
    if (taken < 0 || (size_t)taken == len)
        return;
    if (len > REST_MAX) {
        sim_fail(run, "echo %u: %zu bytes at once", peer->key, len);
        return;
    }
    peer->begin = (size_t)taken;
    peer->end = len;
    memcpy(peer->rest + peer->begin, (const uint8_t *)data + peer->begin, len - peer->begin);
    plx_tcp_pause(stream);
}

static void server_writable(struct plx_tcp *stream, void *ctx)
{
    struct peer *peer = ctx;
    peer->progress_ns = sim_now_ns(peer->echo->run);
    if (peer->begin == peer->end)
        return;
    int64_t taken =
        plx_tcp_write(stream, peer->rest + peer->begin, peer->end - peer->begin, PLX_QUEUED);
    if (taken > 0)
        peer->begin += (size_t)taken;
    if (peer->begin == peer->end)
        plx_tcp_resume(stream);
}

static void server_close(struct plx_tcp *stream, int reason, void *ctx)
{
    struct peer *peer = ctx;
    struct sim_run *run = peer->echo->run;
    (void)stream;
    if (peer->closed)
        sim_fail(run, "echo %u: a server was closed twice", peer->key);
    if (sim_must_succeed(run) && !run->stopping && reason != 0)
        sim_fail(run, "echo %u: a server ended with %d in a harmless world", peer->key, reason);
    peer->closed = true;
    peer->stream = NULL;
}

static const struct plx_tcp_handler server_handler = {
    .on_accept = on_accept,
    .on_data = server_data,
    .on_writable = server_writable,
    .on_close = server_close,
};

/* --- clients ---------------------------------------------------------------------------------- */

/* Writes until it is cut. */
static void pump(struct client *client)
{
    struct sim_run *run = run_of(client);
    uint8_t chunk[CHUNK_MAX];
    while (client->sent < client->total && !client->cut && !client->closing) {
        uint64_t left = client->total - client->sent;
        size_t len = (size_t)sim_random_size(&run->random, left < CHUNK_MAX ? left : CHUNK_MAX);
        for (size_t i = 0; i < len; i++)
            chunk[i] = sim_pattern(client->key, client->sent + i);
        if (client->sent == 0)
            chunk[0] = (uint8_t)client->key;
        int64_t taken = write_some(run, client->stream, chunk, len);
        if (taken < 0)
            return;
        client->sent += (uint64_t)taken;
        client->cut = (size_t)taken < len;
        client->progress_ns = sim_now_ns(run);
        if (sim_random_once(&run->random, 3))
            return;
    }
}

static void client_connect(struct plx_tcp *stream, void *ctx)
{
    struct client *client = ctx;
    (void)stream;
    if (client->is_up || client->closed)
        sim_fail(run_of(client), "echo %u: connected out of order", client->key);
    client->is_up = true;
    pump(client);
}

static void client_data(struct plx_tcp *stream, const void *data, size_t len, void *ctx)
{
    struct client *client = ctx;
    struct sim_run *run = run_of(client);
    if (client->closed || client->closing || !client->is_up || client->resume_at != 0)
        sim_fail(run, "echo %u: data for a client that is closed or paused", client->key);
    check_bytes(run, "a client", client->key, client->got, data, len);
    client->got += len;
    client->progress_ns = sim_now_ns(run);
    if (client->got > client->sent)
        sim_fail(run, "echo %u: more came back than was sent", client->key);
    if (sim_fault_strikes(&run->faults, SIM_FAULT_PEER_PAUSES)) {
        client->resume_at = run->step + sim_random_size(&run->random, 3000);
        plx_tcp_pause(stream);
    }
    if (client->got == client->total || sim_fault_strikes(&run->faults, SIM_FAULT_PEER_ENDS)) {
        client->closing = true;
        plx_tcp_close(stream);
    } else if (sim_fault_strikes(&run->faults, SIM_FAULT_PEER_ABORTS)) {
        client->closing = true;
        plx_tcp_abort(stream);
    } else {
        pump(client);
    }
}

static void client_writable(struct plx_tcp *stream, void *ctx)
{
    struct client *client = ctx;
    (void)stream;
    if (!client->cut)
        sim_fail(run_of(client), "echo %u: writable without a cut", client->key);
    client->cut = false;
    pump(client);
}

static void client_close(struct plx_tcp *stream, int reason, void *ctx)
{
    struct client *client = ctx;
    struct sim_run *run = run_of(client);
    (void)stream;
    if (client->closed)
        sim_fail(run, "echo %u: a client was closed twice", client->key);
    client->closed = true;
    client->reason = reason;
    client->stream = NULL;
    if (sim_must_succeed(run) && !run->stopping && (reason != 0 || client->got != client->total))
        sim_fail(run, "echo %u: ended with %d after %llu of %llu bytes in a harmless world",
                 client->key, reason, (unsigned long long)client->got,
                 (unsigned long long)client->total);
}

static const struct plx_tcp_handler client_handler = {
    .on_connect = client_connect,
    .on_data = client_data,
    .on_writable = client_writable,
    .on_close = client_close,
};

/* --- the workload ----------------------------------------------------------------------------- */

static void *begin(struct sim_run *run)
{
    struct echo *echo = calloc(1, sizeof(*echo));
    struct sim_random *random = &run->random;
    if (echo == NULL)
        return NULL;
    echo->run = run;
    echo->toggles = sim_random_once(random, 3);
    echo->pumps = sim_random_once(random, 2);
    plx_tcp_opts_init(&echo->opts);
    echo->opts.send_queue_bytes = 1 + (uint32_t)sim_random_size(random, 200000);
    echo->opts.backlog = 1 + (uint32_t)sim_random_size(random, 100);
    /* A bound that is reached needs accepts one by one: a multishot may bring more, which are
     * refused. */
    echo->opts.streams_max = sim_random_once(random, 2)
                                 ? 1 + (uint32_t)sim_random_below(random, echo->opts.backlog)
                                 : echo->opts.backlog + CLIENTS_MAX + 1;
    echo->opts.send_timeout_ns =
        run->faults.temper == SIM_ROUGH ? 10u * (uint64_t)SIM_SECOND_NS : UINT64_MAX;
    echo->opts.connect_timeout_ns = echo->opts.send_timeout_ns;
    echo->opts.close_timeout_ns =
        run->faults.temper == SIM_ROUGH ? 5u * (uint64_t)SIM_SECOND_NS : UINT64_MAX;
    const char *addr = sim_random_once(random, 4) ? "[::1]:0" : "127.0.0.1:0";
    if (plx_addr_parse(&echo->addr, addr, NULL) != 0)
        sim_fail(run, "no address");
    echo->listeners = sim_random_once(random, 2) ? 1 : run->count;
    echo->client_count = 1 + (uint32_t)sim_random_below(random, CLIENTS_MAX);
    for (uint32_t i = 0; i < echo->client_count; i++) {
        echo->clients[i] = (struct client){
            .echo = echo,
            .key = i,
            .at = (uint32_t)sim_random_below(random, run->count),
            .begins = sim_random_size(random, 4000),
            .total = sim_random_size(random, TOTAL_MAX),
        };
    }
    return echo;
}

/* Whatever is short for the moment is asked for again at the next step. */
static void open_listeners(struct sim_run *run, struct echo *echo)
{
    struct plx_diag diag = {0};
    if (!echo->bound) {
        struct plx_addr bound;
        int rc = plx_tcp_bind(run->runtime, &echo->addr, echo->listeners, &echo->opts, echo->fds,
                              &bound, &diag);
        if (rc != 0 && rc != -EMFILE)
            sim_fail(run, "bind: %s", diag.text);
        echo->bound = rc == 0;
        if (rc == 0)
            echo->addr = bound;
    }
    while (echo->bound && echo->listening < echo->listeners) {
        struct plx_tcp_listener *listener = NULL;
        struct plx_tcp_opts opts = echo->opts;
        opts.receive = sim_random_once(&run->random, 3) ? PLX_RECV_SPIN : PLX_RECV_RING;
        int rc = plx_tcp_listen_fd(run->reactors[echo->listening], echo->fds[echo->listening],
                                   &opts, &listener, &diag, &server_handler, echo);
        if (rc != 0 && rc != -ENOMEM)
            sim_fail(run, "listen: %s", diag.text);
        if (rc != 0)
            return;
        echo->listening++;
    }
}

static void dial(struct sim_run *run, struct client *client)
{
    struct echo *echo = client->echo;
    struct plx_tcp_opts opts = echo->opts;
    struct plx_diag diag = {0};
    opts.receive = sim_random_once(&run->random, 3) ? PLX_RECV_SPIN : PLX_RECV_RING;
    int rc = plx_tcp_connect(run->reactors[client->at], &echo->addr, &opts, &client->stream, &diag,
                             &client_handler, client);
    if (rc != 0 && rc != -EMFILE && rc != -ENOMEM)
        sim_fail(run, "connect: %s", diag.text);
    client->begun = rc == 0;
    client->progress_ns = sim_now_ns(run);
}

static void step_client(struct sim_run *run, struct client *client)
{
    if (!client->begun) {
        if (run->step >= client->begins)
            dial(run, client);
        return;
    }
    if (client->closed)
        return;
    if (client->resume_at != 0 && run->step >= client->resume_at) {
        client->resume_at = 0;
        client->progress_ns = sim_now_ns(run);
        plx_tcp_resume(client->stream);
    }
    if (run->faults.temper == SIM_ROUGH && client->resume_at == 0 &&
        sim_now_ns(run) - client->progress_ns > PATIENCE_NS) {
        client->closing = true;
        plx_tcp_abort(client->stream);
    } else if (client->echo->toggles && !client->closing && sim_random_once(&run->random, 200)) {
        (void)!plx_tcp_set_receive(
            client->stream, sim_random_once(&run->random, 2) ? PLX_RECV_SPIN : PLX_RECV_RING);
    } else if (client->echo->pumps && client->is_up && !client->closing &&
               sim_random_once(&run->random, 20)) {
        pump(client);
    }
}

static void step_peer(struct sim_run *run, struct peer *peer)
{
    if (peer->closed)
        return;
    if (peer->resume_at != 0 && run->step >= peer->resume_at) {
        peer->resume_at = 0;
        plx_tcp_resume(peer->stream);
    }
    /* Longer than a client pauses or waits. */
    if (run->faults.temper == SIM_ROUGH && sim_now_ns(run) - peer->progress_ns > 5 * PATIENCE_NS)
        plx_tcp_abort(peer->stream);
}

static void step(struct sim_run *run, void *state)
{
    struct echo *echo = state;
    if (echo->listening < echo->listeners) {
        open_listeners(run, echo);
        return;
    }
    for (uint32_t i = 0; i < echo->client_count; i++)
        step_client(run, &echo->clients[i]);
    if (echo->held_count != 0 && sim_random_once(&run->random, 50))
        release_held(echo, (uint32_t)sim_random_below(&run->random, echo->held_count));
    for (struct peer *peer = echo->peers; peer != NULL; peer = peer->next)
        step_peer(run, peer);
}

static bool is_done(const void *state)
{
    const struct echo *echo = state;
    for (uint32_t i = 0; i < echo->client_count; i++) {
        if (!echo->clients[i].closed)
            return false;
    }
    for (const struct peer *peer = echo->peers; peer != NULL; peer = peer->next) {
        if (!peer->closed)
            return false;
    }
    return true;
}

static void check(struct sim_run *run, void *state)
{
    struct echo *echo = state;
    while (echo->held_count != 0)
        release_held(echo, 0);
    for (uint32_t i = 0; i < echo->client_count; i++) {
        const struct client *client = &echo->clients[i];
        if (client->begun && !client->closed)
            sim_fail(run, "echo %u: a client has no on_close", i);
    }
    for (const struct peer *peer = echo->peers; peer != NULL; peer = peer->next) {
        if (!peer->closed)
            sim_fail(run, "echo %u: a server has no on_close", peer->key);
    }
    /* Sockets that no listener had taken over yet are the workload's own. */
    for (uint32_t i = echo->listening; echo->bound && i < echo->listeners; i++)
        (void)plx__sim_plain.close(echo->fds[i]);
}

static void end(struct sim_run *run, void *state)
{
    struct echo *echo = state;
    (void)run;
    while (echo->peers != NULL) {
        struct peer *peer = echo->peers;
        echo->peers = peer->next;
        free(peer);
    }
    free(echo);
}

const struct sim_workload sim_echo = {
    .name = "echo",
    .begin = begin,
    .step = step,
    .is_done = is_done,
    .check = check,
    .end = end,
};
