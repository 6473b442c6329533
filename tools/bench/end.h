/* SPDX-License-Identifier: MIT */
/*
 * What the TCP benchmarks measure: one end of an echo, made by each subject in its own way.
 *
 * Words. An *end* is what one thread owns: a *server* sends back all that comes in on its
 * connections, a *client* has one connection and keeps the answer. A *turn* is one look at
 * everything, without blocking. A *host* is a server on the peer thread, with what it runs on.
 *
 * An end is opened, used and closed by one thread. The order: the server opens and tells its
 * address, the client opens and so connects, the server accepts, both turn, the client closes, the
 * server closes.
 *
 * All sockets are on the loopback, without Nagle's delay, under Reno, which every kernel has: what
 * a host may have chosen instead (BBR) delays sends by timers of its own.
 */
#ifndef POLLUX_TOOLS_BENCH_END_H
#define POLLUX_TOOLS_BENCH_END_H

#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "tools/bench/bench.h"

#define PLX_BENCH_MESSAGE_BYTES 64u
/* Room for what one receive may bring. */
#define PLX_BENCH_CHUNK_BYTES 4096u

struct plx_bench_end_ops;

/* The part that all ends have; each subject's own begins with it. */
struct plx_bench_end {
    const struct plx_bench_end_ops *ops;
    bool echoes;           /* a server */
    uint32_t accepted;     /* connections of a server */
    uint32_t answer_bytes; /* of a client: came in since this was last set to 0 */
    int error;             /* the first that was met: negative errno; 0 none */
    uint8_t answer[PLX_BENCH_CHUNK_BYTES];
};

/* What an end is made with. */
struct plx_bench_end_config {
    bool server;
    uint32_t connections;        /* that a server is to take; 1 for a client */
    struct sockaddr_in address;  /* the server's; an opening server fills it */
    struct plx_runtime *runtime; /* for Pollux's subjects, else NULL */
    uint32_t reactor;            /* which of the runtime's is this thread's */
    struct plx_diag diag;        /* why a reactor could not be had; empty: the code says it */
};

struct plx_bench_end_ops {
    const char *subject;
    /* 0 or negative errno, with nothing left open. */
    int (*open)(const struct plx_bench_end_ops *ops, struct plx_bench_end_config *config,
                struct plx_bench_end **out);
    /* Server: takes all the connections that it was opened for. 0 or negative errno. */
    int (*accept)(struct plx_bench_end *end);
    /* Client: all of the message, at once or with the next turns; errors go to the end. */
    void (*send)(struct plx_bench_end *end, const void *message, size_t bytes);
    void (*turn)(struct plx_bench_end *end);
    void (*close)(struct plx_bench_end *end);
    unsigned mode;       /* the subject's own */
    const char *backend; /* Pollux's subjects: what POLLUX_BACKEND is; else NULL */
    bool by_uring;       /* it needs io_uring */
};

/*
 * Pollux for the few: `pollux` is hot and sends inline, `pollux/epoll` the same without io_uring,
 * `pollux/ring` receives by the ring and sends inline, `pollux/queued` does both by the ring.
 */
extern const struct plx_bench_end_ops plx_bench_end_pollux;
extern const struct plx_bench_end_ops plx_bench_end_pollux_epoll;
extern const struct plx_bench_end_ops plx_bench_end_pollux_ring;
extern const struct plx_bench_end_ops plx_bench_end_pollux_queued;
/* Pollux for the many: as `pollux/ring`. */
extern const struct plx_bench_end_ops plx_bench_end_pollux_many;
extern const struct plx_bench_end_ops plx_bench_end_raw;
extern const struct plx_bench_end_ops plx_bench_end_epoll;
extern const struct plx_bench_end_ops plx_bench_end_liburing;
extern const struct plx_bench_end_ops plx_bench_end_libuv; /* only if PLX_BENCH_LIBUV */

/* Whether an end did not open since the host refuses io_uring: no failure of ours. */
bool plx_bench_end_is_refused(const struct plx_bench_end_ops *ops, int rc);

/* Keeps the first error of an end. */
static inline void plx_bench_end_failed(struct plx_bench_end *end, int error)
{
    if (end->error == 0)
        end->error = error;
}

/* What a client's end has received. More than there is room for is an error of the end. */
void plx_bench_end_answer(struct plx_bench_end *end, const void *data, size_t bytes);

/* --- plain sockets: what the ends of all but Pollux begin with; negative errno on failure ----- */

/* A socket that listens on a free port of 127.0.0.1, told in `address`. */
int plx_bench_plain_listen(struct sockaddr_in *address, uint32_t backlog);
/* A connected socket, non-blocking and tuned. */
int plx_bench_plain_connect(const struct sockaddr_in *address);
/* The next connection of `listener`, waited for; non-blocking and tuned. */
int plx_bench_plain_accept(int listener);
/* Nagle's delay off, Reno on. A listener's connections inherit both. */
int plx_bench_plain_tune(int fd);
/* Sends all, asking the kernel anew as long as it has no room. 0 on success. */
int plx_bench_plain_send(int fd, const void *data, size_t bytes);
/* The one socket of an end by its config: a server's listener, a client's connection. */
int plx_bench_plain_open(struct plx_bench_end_config *config);

/* --- hosts: called by the bench thread -------------------------------------------------------- */

struct plx_bench_host {
    struct plx_bench *bench;
    const struct plx_bench_end_ops *ops;
    struct plx_bench_end_config config; /* of the server */
    struct plx_bench_end *server;
    uint32_t client_reactor; /* the runtime's on the bench thread's core */
    int rc;                  /* of what the peer thread was asked to do */
};

/* Opens the server and, for Pollux, the runtime that it is in. 0 or negative errno with `diag`. */
int plx_bench_host_open(struct plx_bench_host *host, struct plx_bench *bench,
                        const struct plx_bench_end_ops *ops, uint32_t connections,
                        struct plx_diag *diag) PLX_MUST_CHECK;
/* Once the connections are made, or being made: takes them. */
int plx_bench_host_accept(struct plx_bench_host *host, struct plx_diag *diag) PLX_MUST_CHECK;
/* Closes the server; the clients are closed before, the runtime after it. */
void plx_bench_host_close(struct plx_bench_host *host);
/* A subject's peer: turns until run has ended. `ctx` is one that begins with a host. */
int plx_bench_host_serve(struct plx_bench_slice *slice, void *ctx, struct plx_diag *diag);

#endif
