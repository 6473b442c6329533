/* SPDX-License-Identifier: MIT */
/* The peer rte_ring, of DPDK: its own memory copy in and out, one producer and one consumer. */
#ifdef PLX_BENCH_RTE_RING
#include "tools/bench/queues.h"

#include <rte_ring.h>
#include <rte_ring_elem.h>

/* What is handed over at once is gathered here, as the ring copies from and to an array. */
#define ITEMS(size)                                                                                \
    PLX_BENCH_INLINE uint32_t put_##size(void *queue, uint64_t number, uint32_t count)             \
    {                                                                                              \
        uint64_t items[PLX_BENCH_BATCH_MAX * (size)];                                              \
        for (uint32_t i = 0; i < count; i++)                                                       \
            plx_bench_words_fill(items + i * (size), size, number + i);                            \
        return rte_ring_sp_enqueue_burst_elem(queue, items, 8 * (size), count, NULL);              \
    }                                                                                              \
    PLX_BENCH_INLINE uint32_t take_##size(void *queue, uint64_t number, uint32_t count,            \
                                          uint64_t *wrong)                                         \
    {                                                                                              \
        uint64_t items[PLX_BENCH_BATCH_MAX * (size)];                                              \
        count = rte_ring_sc_dequeue_burst_elem(queue, items, 8 * (size), count, NULL);             \
        for (uint32_t i = 0; i < count; i++)                                                       \
            *wrong |= plx_bench_words_check(items + i * (size), size, number + i);                 \
        return count;                                                                              \
    }                                                                                              \
    PLX_BENCH_LOOPS(size)

ITEMS(1)
ITEMS(2)
ITEMS(6)
ITEMS(8)

static void *make(struct plx_bench *bench, const struct plx_bench_shape *shape, int cpu,
                  int *mem_node)
{
    ssize_t bytes = rte_ring_get_memsize_elem(8 * shape->words, shape->capacity);
    if (bytes < 0)
        return NULL;
    struct rte_ring *ring = plx_bench_memory(bench, (size_t)bytes, cpu, mem_node);
    if (ring == NULL ||
        rte_ring_init(ring, "bench", shape->capacity, RING_F_SP_ENQ | RING_F_SC_DEQ))
        return NULL;
    return ring;
}

struct plx_bench_subject plx_bench_rte_ring(struct plx_bench *bench,
                                            const struct plx_bench_shape *shape)
{
    const struct plx_bench_loops *loops = shape->words == 1   ? &loops_1
                                          : shape->words == 2 ? &loops_2
                                          : shape->words == 6 ? &loops_6
                                                              : &loops_8;
    return plx_bench_queue_subject(bench, "rte_ring", shape, loops, make);
}
#else
/* A file without a declaration is no C. */
typedef int plx_bench_no_rte_ring;
#endif
