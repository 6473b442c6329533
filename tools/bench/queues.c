/* SPDX-License-Identifier: MIT */
/* Queues between two threads that are ours, and the making of all subjects of that kind. */
#include "tools/bench/queues.h"

#include "runtime/mesh/cells.h"
#include "runtime/mesh/packed.h"

struct plx_bench_subject plx_bench_queue_subject(struct plx_bench *bench, const char *name,
                                                 const struct plx_bench_shape *shape,
                                                 const struct plx_bench_loops *loops,
                                                 plx_bench_queue_fn make)
{
    struct plx_bench_subject subject = {
        .name = name,
        .run = shape->both ? loops->trip_run : loops->way_run,
        .peer = shape->both ? loops->trip_peer : loops->way_peer,
        .mem_node = -1,
    };
    if (!plx_bench_has_two(bench))
        return subject;
    int cpu_a = plx_bench_cpu_a(bench);
    struct plx_bench_queues *queues = plx_bench_memory(bench, sizeof(*queues), cpu_a, NULL);
    subject.ctx = queues;
    subject.missing = "no memory";
    if (queues == NULL)
        return subject;
    queues->name = name;
    queues->shape = *shape;
    queues->there = make(bench, shape, plx_bench_cpu_b(bench), &subject.mem_node);
    if (shape->both)
        queues->back = make(bench, shape, cpu_a, NULL);
    if (queues->there != NULL && (!shape->both || queues->back != NULL))
        subject.missing = NULL;
    return subject;
}

/* --- cells ----------------------------------------------------------------------------------- */

PLX_BENCH_INLINE uint32_t put_cells(void *queue, uint64_t number, uint32_t count, uint32_t words)
{
    struct plx_cells *cells = queue;
    for (uint32_t i = 0; i < count; i++) {
        uint64_t *out = plx_cells_reserve(cells);
        if (out == NULL)
            return i;
        plx_bench_words_fill(out, words, number + i);
        plx_cells_commit(cells);
    }
    return count;
}

PLX_BENCH_INLINE uint32_t take_cells(void *queue, uint64_t number, uint32_t count, uint64_t *wrong,
                                     uint32_t words)
{
    struct plx_cells *cells = queue;
    for (uint32_t i = 0; i < count; i++) {
        const uint64_t *in = plx_cells_peek(cells);
        if (in == NULL)
            return i;
        *wrong |= plx_bench_words_check(in, words, number + i);
        plx_cells_consume(cells);
    }
    return count;
}

/* --- packed ---------------------------------------------------------------------------------- */

PLX_BENCH_INLINE uint32_t put_packed(void *queue, uint64_t number, uint32_t count, uint32_t words)
{
    struct plx_packed *packed = queue;
    void *run;
    count = plx_packed_reserve(packed, count, &run);
    uint64_t *out = run;
    for (uint32_t i = 0; i < count; i++)
        plx_bench_words_fill(out + i * words, words, number + i);
    if (count != 0)
        plx_packed_commit(packed, count);
    return count;
}

PLX_BENCH_INLINE uint32_t take_packed(void *queue, uint64_t number, uint32_t count, uint64_t *wrong,
                                      uint32_t words)
{
    struct plx_packed *packed = queue;
    const void *run;
    count = plx_packed_peek(packed, count, &run);
    const uint64_t *in = run;
    for (uint32_t i = 0; i < count; i++)
        *wrong |= plx_bench_words_check(in + i * words, words, number + i);
    if (count != 0)
        plx_packed_consume(packed, count);
    return count;
}

/* --- subjects -------------------------------------------------------------------------------- */

#define OURS(kind, words)                                                                          \
    PLX_BENCH_INLINE uint32_t put_##kind##_##words(void *queue, uint64_t number, uint32_t count)   \
    {                                                                                              \
        return put_##kind(queue, number, count, words);                                            \
    }                                                                                              \
    PLX_BENCH_INLINE uint32_t take_##kind##_##words(void *queue, uint64_t number, uint32_t count,  \
                                                    uint64_t *wrong)                               \
    {                                                                                              \
        return take_##kind(queue, number, count, wrong, words);                                    \
    }                                                                                              \
    PLX_BENCH_LOOPS(kind##_##words)

OURS(cells, 1)
OURS(cells, 2)
OURS(cells, 6)
OURS(packed, 1)
OURS(packed, 2)
OURS(packed, 6)
OURS(packed, 8)

static void *make_cells(struct plx_bench *bench, const struct plx_bench_shape *shape, int cpu,
                        int *mem_node)
{
    struct plx_cells *queue = NULL;
    void *memory = plx_bench_memory(bench, plx_cells_bytes(shape->capacity), cpu, mem_node);
    return memory != NULL && plx_cells_init(memory, shape->capacity, &queue) == 0 ? queue : NULL;
}

static void *make_packed(struct plx_bench *bench, const struct plx_bench_shape *shape, int cpu,
                         int *mem_node)
{
    struct plx_packed *queue = NULL;
    uint32_t bytes = shape->words * (uint32_t)sizeof(uint64_t);
    void *memory = plx_bench_memory(bench, plx_packed_bytes(shape->capacity, bytes), cpu, mem_node);
    return memory != NULL && plx_packed_init(memory, shape->capacity, bytes, &queue) == 0 ? queue
                                                                                          : NULL;
}

struct plx_bench_subject plx_bench_cells(struct plx_bench *bench,
                                         const struct plx_bench_shape *shape)
{
    const struct plx_bench_loops *loops = shape->words == 1   ? &loops_cells_1
                                          : shape->words == 2 ? &loops_cells_2
                                                              : &loops_cells_6;
    return plx_bench_queue_subject(bench, "pollux/cells", shape, loops, make_cells);
}

struct plx_bench_subject plx_bench_packed(struct plx_bench *bench,
                                          const struct plx_bench_shape *shape)
{
    const struct plx_bench_loops *loops = shape->words == 1   ? &loops_packed_1
                                          : shape->words == 2 ? &loops_packed_2
                                          : shape->words == 6 ? &loops_packed_6
                                                              : &loops_packed_8;
    return plx_bench_queue_subject(bench, "pollux/packed", shape, loops, make_packed);
}

size_t plx_bench_cells_arena_bytes(uint32_t slots)
{
    size_t line = 2 * PLX_CACHE_LINE;
    return plx_round_up(sizeof(struct plx_bench_queues), line) +
           2 * plx_round_up(plx_cells_bytes(slots), line);
}

static struct plx_bench_subject cells_in(struct plx_arena *arena, uint32_t slots, bool both)
{
    const struct plx_bench_loops *loops = both ? &loops_cells_1 : &loops_cells_6;
    struct plx_bench_subject subject = {
        .name = "pollux/cells",
        .run = both ? loops->trip_run : loops->way_run,
        .peer = both ? loops->trip_peer : loops->way_peer,
        .missing = "no memory",
        .mem_node = -1,
    };
    struct plx_cells *cells[2] = {NULL, NULL};
    struct plx_bench_queues *queues = plx_arena_carve(arena, sizeof(*queues), 2 * PLX_CACHE_LINE);
    for (size_t i = 0; i < (both ? 2u : 1u); i++) {
        void *memory = plx_arena_carve(arena, plx_cells_bytes(slots), 2 * PLX_CACHE_LINE);
        if (queues == NULL || memory == NULL || plx_cells_init(memory, slots, &cells[i]) != 0)
            return subject;
    }
    uint32_t words = both ? 1 : PLX_BENCH_ITEM_WORDS;
    queues->name = subject.name;
    queues->shape = (struct plx_bench_shape){words, slots, 1, both};
    queues->there = cells[0];
    queues->back = cells[1];
    subject.missing = NULL;
    subject.ctx = queues;
    return subject;
}

struct plx_bench_subject plx_bench_cells_rtt_in(struct plx_arena *arena, uint32_t slots)
{
    return cells_in(arena, slots, true);
}

struct plx_bench_subject plx_bench_cells_items_in(struct plx_arena *arena, uint32_t slots)
{
    return cells_in(arena, slots, false);
}
