/* SPDX-License-Identifier: MIT */
/* The peer ck_ring, of Concurrency Kit. */
#ifdef PLX_BENCH_CK
#include "tools/bench/queues.h"

#include <ck_ring.h>

/* A ring keeps its slots apart. */
struct ck {
    ck_ring_t ring;
    void *slots PLX_ALIGNED(PLX_CACHE_LINE);
};

struct item_2 {
    uint64_t words[2];
};
struct item_6 {
    uint64_t words[6];
};
struct item_8 {
    uint64_t words[8];
};

CK_RING_PROTOTYPE(item_2, item_2)
CK_RING_PROTOTYPE(item_6, item_6)
CK_RING_PROTOTYPE(item_8, item_8)

/* Of 8 bytes are the ring's own, which carries pointers. */
PLX_BENCH_INLINE uint32_t put_1(void *queue, uint64_t number, uint32_t count)
{
    struct ck *ck = queue;
    for (uint32_t i = 0; i < count; i++) {
        if (!ck_ring_enqueue_spsc(&ck->ring, ck->slots, (void *)(uintptr_t)(number + i)))
            return i;
    }
    return count;
}

PLX_BENCH_INLINE uint32_t take_1(void *queue, uint64_t number, uint32_t count, uint64_t *wrong)
{
    struct ck *ck = queue;
    for (uint32_t i = 0; i < count; i++) {
        void *in;
        if (!ck_ring_dequeue_spsc(&ck->ring, ck->slots, &in))
            return i;
        *wrong |= (uintptr_t)in ^ (number + i);
    }
    return count;
}

#define ITEMS(size)                                                                                \
    PLX_BENCH_INLINE uint32_t put_##size(void *queue, uint64_t number, uint32_t count)             \
    {                                                                                              \
        struct ck *ck = queue;                                                                     \
        for (uint32_t i = 0; i < count; i++) {                                                     \
            struct item_##size item;                                                               \
            plx_bench_words_fill(item.words, size, number + i);                                    \
            if (!ck_ring_enqueue_spsc_item_##size(&ck->ring, ck->slots, &item))                    \
                return i;                                                                          \
        }                                                                                          \
        return count;                                                                              \
    }                                                                                              \
    PLX_BENCH_INLINE uint32_t take_##size(void *queue, uint64_t number, uint32_t count,            \
                                          uint64_t *wrong)                                         \
    {                                                                                              \
        struct ck *ck = queue;                                                                     \
        for (uint32_t i = 0; i < count; i++) {                                                     \
            struct item_##size item;                                                               \
            if (!ck_ring_dequeue_spsc_item_##size(&ck->ring, ck->slots, &item))                    \
                return i;                                                                          \
            *wrong |= plx_bench_words_check(item.words, size, number + i);                         \
        }                                                                                          \
        return count;                                                                              \
    }                                                                                              \
    PLX_BENCH_LOOPS(size)

PLX_BENCH_LOOPS(1)
ITEMS(2)
ITEMS(6)
ITEMS(8)

static void *make(struct plx_bench *bench, const struct plx_bench_shape *shape, int cpu,
                  int *mem_node)
{
    struct ck *ck = plx_bench_memory(bench, sizeof(*ck), cpu, NULL);
    size_t bytes = (size_t)shape->capacity * shape->words * sizeof(uint64_t);
    if (ck == NULL)
        return NULL;
    ck->slots = plx_bench_memory(bench, bytes, cpu, mem_node);
    if (ck->slots == NULL)
        return NULL;
    ck_ring_init(&ck->ring, shape->capacity);
    return ck;
}

struct plx_bench_subject plx_bench_ck(struct plx_bench *bench, const struct plx_bench_shape *shape)
{
    const struct plx_bench_loops *loops = shape->words == 1   ? &loops_1
                                          : shape->words == 2 ? &loops_2
                                          : shape->words == 6 ? &loops_6
                                                              : &loops_8;
    return plx_bench_queue_subject(bench, "ck", shape, loops, make);
}
#else
/* A file without a declaration is no C. */
typedef int plx_bench_no_ck;
#endif
