/* SPDX-License-Identifier: MIT */
/* What the files of `mem` share: buffers on a node, and what is done with them. */
#ifndef POLLUX_TOOLS_BENCH_MEM_H
#define POLLUX_TOOLS_BENCH_MEM_H

#include "tools/bench/frame.h"

/* Hops in a sample of the chase. */
#define PLX_BENCH_HOPS 256u

/* 16 bytes, which every processor of the two kinds moves at once. */
typedef uint64_t plx_bench_vector __attribute__((vector_size(16), may_alias));

struct plx_bench_hop {
    struct plx_bench_hop *next;
    uint64_t words[PLX_CACHE_LINE / 8 - 1];
};

PLX_STATIC_ASSERT(sizeof(struct plx_bench_hop) == PLX_CACHE_LINE, "a hop goes to another line");

enum plx_bench_pages { PLX_BENCH_4K, PLX_BENCH_2M, PLX_BENCH_1G, PLX_BENCH_PAGE_KINDS };

/* Memory of one node, used by the cores of all nodes in turn. */
struct plx_bench_buffer {
    struct plx_arena arena;
    size_t bytes; /* of which are used; a multiple of two chunks */
    const char *name;
    uint32_t node; /* that was asked for */
    int mem_node;  /* on which all pages were seen, or there is no other; -1: not seen */
    bool made;
    char why[200];             /* not empty: no figure, for this reason */
    struct plx_bench_hop *hop; /* where the chase has come to */
    size_t offset;             /* where the next chunk begins */
};

/* The nodes with cores that are measured on, each by its first. */
struct plx_bench_node_cores {
    int cpu[PLX_MACHINE_NODES_MAX];
    uint32_t node[PLX_MACHINE_NODES_MAX];
    uint32_t count;
};

/* Memory of `bytes` on a node; what cannot be had leaves the reason in the buffer. */
void plx_bench_buffer_make(struct plx_bench *bench, struct plx_bench_buffer *buffer, uint32_t node,
                           size_t bytes, enum plx_bench_pages pages);
/* One cycle through all lines of the buffer, in random order. */
void plx_bench_buffer_chain(struct plx_bench_buffer *buffer, uint64_t seed);
/* Each word holds its own number. */
void plx_bench_buffer_fill(struct plx_bench_buffer *buffer);
/* Reads so many bytes from the word number `at` on: whether they are what was filled in. */
bool plx_bench_buffer_read(const struct plx_bench_buffer *buffer, size_t offset, size_t bytes);
/* The chase along the cycle, in blocks of PLX_BENCH_HOPS; `ctx` is the buffer. */
int plx_bench_chase_run(struct plx_bench_slice *slice, void *ctx, struct plx_diag *diag);
/* How large a buffer is, unless told. */
size_t plx_bench_buffer_bytes(const struct plx_bench *bench);

/*
 * mem_loaded.c: the CPUs that read beside `cpu`, which chases: those of its node; where it has one
 * core only, another node's. No sibling, which would take from the core and not from the memory,
 * and no more than the quota leaves. `cpus` has room for all of the plan. Returns how many.
 */
uint32_t plx_bench_readers(const struct plx_machine *machine, const struct plx_plan *plan, int cpu,
                           uint32_t node, int *cpus);

/* mem_loaded.c: the latency beside cores that read. Returns 0, or -ENOMEM. */
int plx_bench_mem_loaded(struct plx_bench *bench, const struct plx_bench_node_cores *cores);

#endif
