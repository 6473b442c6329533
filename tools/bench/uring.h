/* SPDX-License-Identifier: MIT */
/*
 * What the uring benchmark measures of a ring, for us and for the peer that drives the same ring
 * through liburing alone.
 *
 * A ring lives for one slice: two SQ threads on one core would spoil each other.
 */
#ifndef POLLUX_TOOLS_BENCH_URING_H
#define POLLUX_TOOLS_BENCH_URING_H

#include "tools/bench/bench.h"

/*
 * Operations in a timed block. Those of PLX_BENCH_PUBLISH_1 are timed one by one, with the SQ
 * thread at rest again before each, and their times added up: back to back, all but the first would
 * find the ring's lines still here.
 */
#define PLX_BENCH_PUBLISH_1  16u
#define PLX_BENCH_PUBLISH_32 32u
#define PLX_BENCH_IDLE       1024u
#define PLX_BENCH_IDLE_EPOLL 64u
#define PLX_BENCH_POLL       128u
#define PLX_BENCH_CANCEL     32u

/* Looks between two looks at the clock. */
#define PLX_BENCH_LOOKS 4096u

enum plx_bench_ring_kind {
    PLX_BENCH_DEFER,
    PLX_BENCH_SQPOLL,
    PLX_BENCH_EPOLL /* no ring */
};

/* What is done with it. */
enum plx_bench_ring_work {
    PLX_BENCH_WORK_PUBLISH_1,  /* one op is prepared and shown to the kernel */
    PLX_BENCH_WORK_PUBLISH_32, /* 32 are prepared, then shown */
    PLX_BENCH_WORK_IDLE,       /* a look at a ring where nothing happens */
    PLX_BENCH_WORK_POLL,       /* 128 completions are taken, and a function called for each */
    PLX_BENCH_WORK_CANCEL,     /* the cancel of an op in flight is prepared */
    PLX_BENCH_WORK_NOP,        /* an op goes to the kernel and back */
    PLX_BENCH_WORK_PUBLISH,    /* as many as the batch are prepared, then shown */
    PLX_BENCH_WORK_NOPS        /* as many go to the kernel together, and back */
};

/*
 * The peer: bare liburing, or an empty epoll_wait for PLX_BENCH_EPOLL. The settings of its ring are
 * those of a reactor's. Never fails: a peer that cannot be made says so as missing. To be freed by
 * plx_bench_liburing_free. `batch`, at most PLX_BENCH_POLL, is of the last two kinds of work.
 */
struct plx_bench_subject plx_bench_liburing(struct plx_bench *bench, enum plx_bench_ring_kind kind,
                                            enum plx_bench_ring_work work, uint32_t batch);
void plx_bench_liburing_free(const struct plx_bench_subject *subject);

/* In uring_wake.c: a reactor that sleeps in its ring, woken by a completion. */
int plx_bench_uring_wake(struct plx_bench *bench);

/* In record.c: what it costs to record a value in a histogram, beside the costs of a turn. */
int plx_bench_record(struct plx_bench *bench);

#endif
