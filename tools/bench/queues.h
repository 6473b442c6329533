/* SPDX-License-Identifier: MIT */
/*
 * Subjects that carry messages between the two threads by something plainer than the mesh.
 *
 * Words. A *shape* says what a queue carries: items of so many *words* of 8 bytes, a capacity, and
 * how many items are handed over at once, a *batch*. A *queue* is a subject's own way; the loops
 * here are the same for all, and each subject is compiled into them, with no call in between.
 *
 * A round trip carries one item there and back, one at a time. One way, the producer times blocks
 * of PLX_BENCH_ITEMS. All items are checked where they arrive, and a look that found nothing, or no
 * room, is followed by a pause.
 *
 * Memory comes from plx_bench_memory, but for queues that insist on their own; where there is none,
 * or one core only, the subject says so as missing.
 *
 * For C and C++: from C++ to be included as extern "C", after what it includes.
 */
#ifndef POLLUX_TOOLS_BENCH_QUEUES_H
#define POLLUX_TOOLS_BENCH_QUEUES_H

#include <errno.h>

#include "tools/bench/bench.h"

#define PLX_BENCH_ITEMS      1024u
#define PLX_BENCH_ITEM_WORDS 6u
/* The largest item, and the largest batch. */
#define PLX_BENCH_WORDS_MAX 8u
#define PLX_BENCH_BATCH_MAX 32u

#define PLX_BENCH_INLINE static inline __attribute__((always_inline))

struct plx_bench_shape {
    uint32_t words; /* 1, 2, 6 or 8 */
    uint32_t capacity;
    uint32_t batch; /* 1 to PLX_BENCH_BATCH_MAX */
    bool both;      /* there and back; the batch is 1 */
};

/* A subject's queues, and what each thread counts. */
struct plx_bench_queues {
    const char *name;
    void *there; /* near the peer thread, which consumes */
    void *back;  /* near the bench thread; NULL one way */
    struct plx_bench_shape shape;
    uint64_t sent PLX_ALIGNED(2 * PLX_CACHE_LINE);
    uint64_t taken PLX_ALIGNED(2 * PLX_CACHE_LINE);
};

/*
 * What a queue can do. Put: at most `count` items, numbered from `number` on. Take: at most `count`
 * items, checked to be those, differing bits gathered in *wrong. Both return how many it was.
 */
typedef uint32_t (*plx_bench_put_fn)(void *queue, uint64_t number, uint32_t count);
typedef uint32_t (*plx_bench_take_fn)(void *queue, uint64_t number, uint32_t count,
                                      uint64_t *wrong);

/* The item with a number. */
PLX_BENCH_INLINE void plx_bench_words_fill(uint64_t *words, uint32_t count, uint64_t number)
{
    for (uint32_t i = 0; i < count; i++)
        words[i] = number + i;
}

/* 0 if it is the item with that number; bits that differ may be gathered over many items. */
PLX_BENCH_INLINE uint64_t plx_bench_words_check(const uint64_t *words, uint32_t count,
                                                uint64_t number)
{
    uint64_t wrong = 0;
    for (uint32_t i = 0; i < count; i++)
        wrong |= words[i] ^ (number + i);
    return wrong;
}

static inline void plx_bench_item_fill(uint64_t *words, uint64_t number)
{
    plx_bench_words_fill(words, PLX_BENCH_ITEM_WORDS, number);
}

static inline uint64_t plx_bench_item_check(const uint64_t *words, uint64_t number)
{
    return plx_bench_words_check(words, PLX_BENCH_ITEM_WORDS, number);
}

/* --- the loops ------------------------------------------------------------------------------- */

/* Looks between two looks at the clock. */
#define PLX_BENCH_QUEUE_LOOKS 4096u

PLX_BENCH_INLINE int plx_bench_trip_run(struct plx_bench_slice *slice, void *ctx,
                                        struct plx_diag *diag, plx_bench_put_fn put,
                                        plx_bench_take_fn take)
{
    struct plx_bench_queues *queues = (struct plx_bench_queues *)ctx;
    uint64_t wrong = 0;
    uint64_t before = plx_ticks();
    while (before < slice->end_ticks) {
        for (uint32_t i = 0; i < PLX_BENCH_TRIPS; i++) {
            if (put(queues->there, queues->sent, 1) == 0)
                return plx_diag_set(diag, -EPROTO, queues->name,
                                    "full with one message on its way");
            for (uint32_t looks = 0; take(queues->back, queues->sent, 1, &wrong) == 0;) {
                plx_cpu_relax();
                if (++looks % PLX_BENCH_QUEUE_LOOKS == 0 && plx_bench_in_vain(slice))
                    return plx_diag_set(diag, -ETIMEDOUT, queues->name, "no answer");
            }
            queues->sent++;
        }
        uint64_t now = plx_ticks();
        plx_bench_sample(slice, now - before);
        before = now;
    }
    return wrong != 0 ? plx_diag_set(diag, -EPROTO, queues->name, "another message came back") : 0;
}

PLX_BENCH_INLINE int plx_bench_trip_peer(struct plx_bench_slice *slice, void *ctx,
                                         struct plx_diag *diag, plx_bench_put_fn put,
                                         plx_bench_take_fn take)
{
    struct plx_bench_queues *queues = (struct plx_bench_queues *)ctx;
    uint64_t wrong = 0;
    for (;;) {
        if (take(queues->there, queues->taken, 1, &wrong) == 0) {
            if (plx_bench_stopped(slice))
                break;
            plx_cpu_relax();
            continue;
        }
        if (put(queues->back, queues->taken, 1) == 0)
            return plx_diag_set(diag, -EPROTO, queues->name, "full with one message on its way");
        queues->taken++;
    }
    return wrong != 0 ? plx_diag_set(diag, -EPROTO, queues->name, "another message arrived") : 0;
}

PLX_BENCH_INLINE int plx_bench_way_run(struct plx_bench_slice *slice, void *ctx,
                                       struct plx_diag *diag, plx_bench_put_fn put, uint32_t batch)
{
    struct plx_bench_queues *queues = (struct plx_bench_queues *)ctx;
    uint64_t before = plx_ticks();
    while (before < slice->end_ticks) {
        for (uint32_t done = 0; done < PLX_BENCH_ITEMS;) {
            /* Blocks are multiples of every batch, but a queue may have had room for less. */
            uint32_t left = PLX_BENCH_ITEMS - done;
            uint32_t count = batch == 1 || batch <= left ? batch : left;
            uint32_t put_count;
            for (uint32_t looks = 0; (put_count = put(queues->there, queues->sent, count)) == 0;) {
                plx_cpu_relax();
                if (++looks % PLX_BENCH_QUEUE_LOOKS == 0 && plx_bench_in_vain(slice))
                    return plx_diag_set(diag, -ETIMEDOUT, queues->name, "it stays full");
            }
            queues->sent += put_count;
            done += put_count;
        }
        uint64_t now = plx_ticks();
        plx_bench_sample(slice, now - before);
        before = now;
    }
    return 0;
}

PLX_BENCH_INLINE int plx_bench_way_peer(struct plx_bench_slice *slice, void *ctx,
                                        struct plx_diag *diag, plx_bench_take_fn take,
                                        uint32_t batch)
{
    struct plx_bench_queues *queues = (struct plx_bench_queues *)ctx;
    uint64_t wrong = 0;
    for (;;) {
        bool last = plx_bench_stopped(slice);
        uint32_t count;
        while ((count = take(queues->there, queues->taken, batch, &wrong)) != 0)
            queues->taken += count;
        if (wrong != 0)
            return plx_diag_set(diag, -EPROTO, queues->name, "items arrived that were not sent so");
        if (last)
            return 0;
        plx_cpu_relax();
    }
}

/* The four loops with one queue and one size of items compiled in. */
struct plx_bench_loops {
    plx_bench_fn trip_run;
    plx_bench_fn trip_peer;
    plx_bench_fn way_run;
    plx_bench_fn way_peer;
};

/*
 * Defines loops_WORDS of two inline functions put_WORDS and take_WORDS. One by one is compiled by
 * itself, so that nothing of a batch is left in it.
 */
#define PLX_BENCH_LOOPS(words)                                                                     \
    static int trip_run_##words(struct plx_bench_slice *slice, void *ctx, struct plx_diag *diag)   \
    {                                                                                              \
        return plx_bench_trip_run(slice, ctx, diag, put_##words, take_##words);                    \
    }                                                                                              \
    static int trip_peer_##words(struct plx_bench_slice *slice, void *ctx, struct plx_diag *diag)  \
    {                                                                                              \
        return plx_bench_trip_peer(slice, ctx, diag, put_##words, take_##words);                   \
    }                                                                                              \
    static int way_run_##words(struct plx_bench_slice *slice, void *ctx, struct plx_diag *diag)    \
    {                                                                                              \
        uint32_t batch = ((struct plx_bench_queues *)ctx)->shape.batch;                            \
        return batch == 1 ? plx_bench_way_run(slice, ctx, diag, put_##words, 1)                    \
                          : plx_bench_way_run(slice, ctx, diag, put_##words, batch);               \
    }                                                                                              \
    static int way_peer_##words(struct plx_bench_slice *slice, void *ctx, struct plx_diag *diag)   \
    {                                                                                              \
        uint32_t batch = ((struct plx_bench_queues *)ctx)->shape.batch;                            \
        return batch == 1 ? plx_bench_way_peer(slice, ctx, diag, take_##words, 1)                  \
                          : plx_bench_way_peer(slice, ctx, diag, take_##words, batch);             \
    }                                                                                              \
    static const struct plx_bench_loops loops_##words = {trip_run_##words, trip_peer_##words,      \
                                                         way_run_##words, way_peer_##words};

/* --- subjects -------------------------------------------------------------------------------- */

/* Makes an empty queue near `cpu`, told in *mem_node where that can be; NULL: there is no memory.
 */
typedef void *(*plx_bench_queue_fn)(struct plx_bench *bench, const struct plx_bench_shape *shape,
                                    int cpu, int *mem_node);

/* A subject of one's loops and queues. */
struct plx_bench_subject plx_bench_queue_subject(struct plx_bench *bench, const char *name,
                                                 const struct plx_bench_shape *shape,
                                                 const struct plx_bench_loops *loops,
                                                 plx_bench_queue_fn make);

/* The bare line. */
struct plx_bench_subject plx_bench_raw_rtt(struct plx_bench *bench);

/* Ours. Cells carry no item of 64 bytes. */
struct plx_bench_subject plx_bench_cells(struct plx_bench *bench,
                                         const struct plx_bench_shape *shape);
struct plx_bench_subject plx_bench_packed(struct plx_bench *bench,
                                          const struct plx_bench_shape *shape);

/*
 * Cells of words of 8 bytes there and back, or items of 48 one way, in memory of the caller's: an
 * arena that has plx_bench_cells_arena_bytes left. Where it has not, the subject is missing.
 * `mem_node` and the cores are the caller's to fill in.
 */
size_t plx_bench_cells_arena_bytes(uint32_t slots);
struct plx_bench_subject plx_bench_cells_rtt_in(struct plx_arena *arena, uint32_t slots);
struct plx_bench_subject plx_bench_cells_items_in(struct plx_arena *arena, uint32_t slots);

/* ck_ring of Concurrency Kit, its functions for one producer and one consumer; no batches. */
struct plx_bench_subject plx_bench_ck(struct plx_bench *bench, const struct plx_bench_shape *shape);
/* rte_ring of DPDK, one producer and one consumer. */
struct plx_bench_subject plx_bench_rte_ring(struct plx_bench *bench,
                                            const struct plx_bench_shape *shape);
/* wfcqueue of liburcu: a list of nodes, which come back by a second one. */
struct plx_bench_subject plx_bench_urcu(struct plx_bench *bench,
                                        const struct plx_bench_shape *shape);
/* spsc_queue of Boost.Lockfree. */
struct plx_bench_subject plx_bench_boost(struct plx_bench *bench,
                                         const struct plx_bench_shape *shape);
/* ReaderWriterQueue of moodycamel; no batches. Both keep their memory: on no node that is known. */
struct plx_bench_subject plx_bench_rwqueue(struct plx_bench *bench,
                                           const struct plx_bench_shape *shape);
/* The last two, once the case is over. */
void plx_bench_boost_free(void);
void plx_bench_rwqueue_free(void);

#endif
