/* SPDX-License-Identifier: MIT */
/*
 * Subjects that carry messages between the two threads by something plainer than the mesh. Each
 * takes its memory by plx_bench_memory; where there is none, or one core only, the subject says so
 * as missing.
 *
 * A round trip carries 8 bytes there and back, one at a time. Items are 48 bytes each, one way,
 * timed by the producer in blocks of PLX_BENCH_ITEMS. All of them check what arrives, and pause
 * after a look that found nothing.
 */
#ifndef POLLUX_TOOLS_BENCH_QUEUES_H
#define POLLUX_TOOLS_BENCH_QUEUES_H

#include "tools/bench/bench.h"

#define PLX_BENCH_ITEMS      1024u
#define PLX_BENCH_ITEM_WORDS 6u

/* The bare line. */
struct plx_bench_subject plx_bench_raw_rtt(struct plx_bench *bench);

/* Two queues of cells, and one. */
struct plx_bench_subject plx_bench_cells_rtt(struct plx_bench *bench, uint32_t slots);
struct plx_bench_subject plx_bench_cells_items(struct plx_bench *bench, uint32_t slots);

/*
 * The same in memory of the caller's: an arena that has plx_bench_cells_arena_bytes left. Where it
 * has not, the subject is missing. `mem_node` and the cores are the caller's to fill in.
 */
size_t plx_bench_cells_arena_bytes(uint32_t slots);
struct plx_bench_subject plx_bench_cells_rtt_in(struct plx_arena *arena, uint32_t slots);
struct plx_bench_subject plx_bench_cells_items_in(struct plx_arena *arena, uint32_t slots);

#ifdef PLX_BENCH_CK
/* ck_ring of Concurrency Kit, its functions for one producer and one consumer. */
struct plx_bench_subject plx_bench_ck_rtt(struct plx_bench *bench, uint32_t slots);
struct plx_bench_subject plx_bench_ck_items(struct plx_bench *bench, uint32_t slots);
#endif

/* The item with a number. */
static inline void plx_bench_item_fill(uint64_t *words, uint64_t number)
{
    for (uint32_t i = 0; i < PLX_BENCH_ITEM_WORDS; i++)
        words[i] = number + i;
}

/* 0 if it is the item with that number; bits that differ may be gathered over many items. */
static inline uint64_t plx_bench_item_check(const uint64_t *words, uint64_t number)
{
    uint64_t wrong = 0;
    for (uint32_t i = 0; i < PLX_BENCH_ITEM_WORDS; i++)
        wrong |= words[i] ^ (number + i);
    return wrong;
}

#endif
