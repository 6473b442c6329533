/* SPDX-License-Identifier: MIT */
/* What the parts of `pollux bench pool` share. */
#ifndef POLLUX_TOOLS_BENCH_POOL_H
#define POLLUX_TOOLS_BENCH_POOL_H

#include "alloc/pool.h"
#include "alloc/shared_pool.h"
#include "runtime/mesh/cells.h"
#include "tools/bench/bench.h"
#include "tools/bench/heap.h"
#include "tools/cli.h"

/* Of slices on one thread: enough for a hundred thousand operations and more. */
#define PLX_BENCH_POOL_SLICE_US 6000u

/* Slots of the rings by which blocks change hands, as many as the mesh has for each pair. */
#define PLX_BENCH_HANDS 256u

/*
 * The pools measured, in an arena near the bench thread. Not at the begin of a page, where every
 * block begins: some processors hold up a load whose address equals that of a store just before it
 * in the low bits, here those of a pool's first line and of a block's first word.
 */
struct plx_bench_pools {
    unsigned char gap[1024];
    struct plx_pool own PLX_ALIGNED(2 * PLX_CACHE_LINE);           /* the bench thread's */
    struct plx_pool away PLX_ALIGNED(2 * PLX_CACHE_LINE);          /* the peer thread's */
    struct plx_shared_pool shared PLX_ALIGNED(2 * PLX_CACHE_LINE); /* any thread's */
    struct plx_cells *back; /* by which the peer thread sends blocks home */
    int mem_node;
};

/* pool.c: whether one of the cases in which the heaps are peers is among these; empty: all are. */
bool plx_bench_pool_has(const struct plx_cli_texts *only);

/* pool_remote.c. */
extern const struct plx_bench_case plx_bench_pool_remote_case;
/* `pools` NULL: there was no memory for them. */
int plx_bench_pool_remote(struct plx_bench *bench, struct plx_bench_pools *pools,
                          const struct plx_bench_heap *heaps, uint32_t heap_count);

#endif
