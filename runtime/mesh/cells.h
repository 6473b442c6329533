/* SPDX-License-Identifier: MIT */
/*
 * A bounded, wait-free queue from one thread to one other, made for latency: the road that a
 * message takes between two reactors.
 *
 * Words. A *slot* is one cache line: a *sequence* word and a *cell* of PLX_CELL_BYTES for the
 * caller. The *index* of a cell counts the cells ever sent; its slot is the index modulo the number
 * of slots. The *producer* reserves the next cell, writes it in place, and commits it; the
 * *consumer* peeks at the next cell, reads it in place, and consumes it. The consumer *publishes*
 * its index now and then, which is how slots return to the producer.
 *
 * A message and the news of it share a line, so that a hop moves one line between the cores; a
 * queue that announces cells by a shared index moves two.
 *
 * Threads: one producer and one consumer at a time. Either role may move to another thread by
 * anything that orders the two threads (joining one, a release and an acquire). What each function
 * says of its caller holds in addition.
 *
 * Why it is right:
 *
 * 1. Only the producer writes slots. It stores index + 1 as the sequence of cell `index`, with
 *    release order, after the cell's bytes [R1]. The consumer reads a cell only after loading
 *    exactly that sequence, with acquire order [A1]: it sees the bytes that the producer wrote for
 *    this index. Sequences of one slot differ by the number of slots, and indexes have 64 bits, so
 *    that an older or newer sequence of the slot is never taken for the awaited one.
 * 2. The producer writes a slot for cell `index` only if index - P < slots, P being an index that
 *    the consumer has published. The consumer stores P with release order after its last look at
 *    each cell before P [R2]; the producer loads it with acquire order [A2]. So the consumer's
 *    reads of cell index - slots, the slot's previous tenant, precede the producer's writes of the
 *    next one. The producer keeps P in a private limit and loads it again only when that says
 *    "full".
 * 3. P lags behind the consumer, which can only delay the return of slots: by fewer than a quarter
 *    of them. A producer whose consumer has drained the queue thus always finds three quarters of
 *    the slots free (and soon all, since a consumer that keeps finding nothing publishes); neither
 *    can wait for the other at the same time.
 *
 * The consumer's words in a slot, a sequence of its own for "free", would make each line travel
 * back dirty: the index published in batches moves one line for many cells instead.
 */
#ifndef POLLUX_CELLS_H
#define POLLUX_CELLS_H

#include "alloc/base.h"

/* Bytes of a cell, the caller's part of a slot. Cells are aligned to 8. */
#define PLX_CELL_BYTES 56

/* Bounds of the number of slots, a power of two. */
#define PLX_CELLS_SLOTS_MIN 8
#define PLX_CELLS_SLOTS_MAX 65536

/* Cells between two publications of the consumer's index, if a quarter of the slots isn't less. */
#define PLX_CELLS_BATCH_MAX 64

/* Fruitless looks after which the consumer publishes what it has consumed. */
#define PLX_CELLS_EMPTY_LOOKS 16

/*
 * Bytes between fields that different threads write. Two lines: the prefetcher of adjacent lines
 * fetches aligned pairs, and would take a line from the core that is writing it because its
 * neighbour was wanted. With this distance no two groups share a pair, however the memory lies.
 */
#define PLX_CELLS_SPACING 128

/* One cache line of the queue. The producer writes it, both read it. */
struct plx__cell {
    PLX_ATOMIC(uint64_t) sequence; /* index + 1 of the cell that `body` holds */
    unsigned char body[PLX_CELL_BYTES];
} PLX_ALIGNED(PLX_CACHE_LINE);

/*
 * The queue; the slots follow it in memory. Its fields are private. The copies of the masks let
 * each side do with its own line and the slot's.
 */
struct plx_cells {
    /* Read-mostly: written by init, read by anybody. */
    uint32_t slots;
    uint32_t batch; /* consumed cells between two publications */
    unsigned char gap_a[PLX_CELLS_SPACING - 8];

    /* The producer's; estimates read `tail`. */
    PLX_ATOMIC(uint64_t) tail; /* index of the next cell to commit */
    uint64_t limit;            /* where tail stops: the published index last seen, plus the slots */
    uint64_t tail_mask;
    unsigned char gap_b[PLX_CELLS_SPACING - 24];

    /* The consumer's alone. */
    uint64_t head; /* index of the next cell to consume */
    uint64_t head_mask;
    uint64_t batch_mask;
    uint64_t head_published; /* what `published` holds */
    uint64_t empty_looks;    /* with something unpublished, since they last led to publishing */
    unsigned char gap_c[PLX_CELLS_SPACING - 40];

    /*
     * Written by the consumer; read by a producer that has reached its limit. Apart from the
     * consumer's own fields, so that a producer looking for room doesn't slow every consume.
     */
    PLX_ATOMIC(uint64_t) published;
    unsigned char gap_d[PLX_CELLS_SPACING - 8];
};

PLX_STATIC_ASSERT(sizeof(struct plx__cell) == PLX_CACHE_LINE, "a slot is a cache line");
PLX_STATIC_ASSERT(offsetof(struct plx__cell, body) == 8, "the body follows the sequence");
PLX_STATIC_ASSERT(offsetof(struct plx_cells, tail) == 1 * PLX_CELLS_SPACING, "producer's line");
PLX_STATIC_ASSERT(offsetof(struct plx_cells, head) == 2 * PLX_CELLS_SPACING, "consumer's line");
PLX_STATIC_ASSERT(offsetof(struct plx_cells, published) == 3 * PLX_CELLS_SPACING, "published line");
PLX_STATIC_ASSERT(sizeof(struct plx_cells) == 4 * PLX_CELLS_SPACING, "slots start on a line");

PLX_EXTERN_C_BEGIN

/* --- lifecycle ------------------------------------------------------------------------------- */

/*
 * Bytes of memory that a queue of `slots` takes: 64 for each slot, and its control block. 0 if
 * `slots` isn't a power of two from PLX_CELLS_SLOTS_MIN to PLX_CELLS_SLOTS_MAX.
 * Any thread. Cost: set-up only.
 */
PLX_API PLX_COLD size_t plx_cells_bytes(uint32_t slots);

/*
 * Makes an empty queue in `memory`.
 * Shapes: plx_cells_bytes(slots) bytes, aligned to PLX_CACHE_LINE. Best on the consumer's node.
 * Ownership: `memory` is borrowed until the last use of the queue; nothing is to be undone. *out
 * points into it.
 * Affinity: any thread; the threads that then use the queue must be ordered after this call.
 * Cost: set-up only; touches all of the memory.
 * Errors: -EINVAL: `memory` is NULL or misaligned, or `slots` is out of range; *out is NULL.
 */
PLX_API PLX_COLD PLX_MUST_CHECK int plx_cells_init(void *memory, uint32_t slots,
                                                   struct plx_cells **out);

/*
 * For tests: init without bounds on `slots` (a power of two), publishing after each `batch` cells
 * (a power of two, at most `slots`), the first cell having index `first`.
 */
PLX_COLD struct plx_cells *plx__cells_setup(void *memory, uint32_t slots, uint32_t batch,
                                            uint64_t first);

/* --- inspection ------------------------------------------------------------------------------ */

/* Number of slots. Any thread. */
static inline uint32_t plx_cells_slots(const struct plx_cells *q)
{
    return q->slots;
}

/*
 * Cells that a producer may find still taken though they have been consumed: who knows that at most
 * slots - lag cells are unconsumed knows that a reserve will succeed. Any thread.
 */
static inline uint32_t plx_cells_lag(const struct plx_cells *q)
{
    return q->batch - 1;
}

/*
 * Cells committed and not yet seen to be consumed: 0 to slots, and too high by up to
 * plx_cells_lag(). Any thread; exact in nothing unless both sides rest. Cost: takes the producer's
 * line from its core: for statistics, not for a loop.
 */
static inline uint32_t plx_cells_count_estimate(const struct plx_cells *q)
{
    /* Relaxed: nothing is read on the strength of the result. The older index is loaded first. */
    uint64_t published = plx_load_relaxed(&q->published);
    uint64_t count = plx_load_relaxed(&q->tail) - published;
    return count < q->slots ? (uint32_t)count : q->slots;
}

/* --- producer, hot --------------------------------------------------------------------------- */

static inline struct plx__cell *plx__cells_slot(struct plx_cells *q, uint64_t slot)
{
    return (struct plx__cell *)(void *)((char *)q + sizeof(*q)) + slot;
}

/*
 * plx_cells_reserve() that leaves at least `keep` slots to others: NULL unless more than that many
 * are free, by the index that the consumer has published.
 */
PLX_MUST_CHECK static inline void *plx__cells_reserve_above(struct plx_cells *q, uint64_t keep)
{
    uint64_t tail = plx_load_relaxed(&q->tail); /* relaxed: this thread alone stores it */
    if (PLX_UNLIKELY(q->limit - tail <= keep)) {
        /* Acquire [A2], pairs with release [R2] of plx__cells_publish(): the consumer is done. */
        uint64_t published = plx_load_acquire(&q->published);
        q->limit = published + q->tail_mask + 1;
        if (q->limit - tail <= keep)
            return NULL;
    }
    return plx__cells_slot(q, tail & q->tail_mask)->body;
}

/*
 * The next cell to fill, PLX_CELL_BYTES aligned to 8, or NULL if the queue is full: an ordinary
 * result. Its bytes are what an earlier cell left there. Until the commit, asking again gives the
 * same cell.
 * Ownership: the caller's to write until plx_cells_commit().
 * Affinity: the producer. Cost: hot, wait-free; no line moves unless the queue looks full.
 */
PLX_MUST_CHECK static inline void *plx_cells_reserve(struct plx_cells *q)
{
    return plx__cells_reserve_above(q, 0);
}

/*
 * Hands the reserved cell to the consumer, at once.
 * Shapes: the last plx_cells_reserve() gave a cell. Affinity: the producer. Cost: hot, wait-free.
 */
static inline void plx_cells_commit(struct plx_cells *q)
{
    uint64_t tail = plx_load_relaxed(&q->tail); /* relaxed: this thread alone stores it */
    PLX_ASSERT_HOT(tail != q->limit);
    struct plx__cell *slot = plx__cells_slot(q, tail & q->tail_mask);
    /* Release [R1], pairs with acquire [A1] of plx_cells_peek(): the cell's bytes come first. */
    plx_store_release(&slot->sequence, tail + 1);
    plx_store_relaxed(&q->tail, tail + 1); /* relaxed: others only estimate by it */
}

/* --- consumer, hot --------------------------------------------------------------------------- */

/* Gives all consumed slots back to the producer. */
static inline void plx__cells_publish(struct plx_cells *q)
{
    q->head_published = q->head;
    /* Release [R2], pairs with acquire [A2] of plx_cells_reserve(): our reads come first. */
    plx_store_release(&q->published, q->head);
}

/*
 * The oldest cell not yet consumed, PLX_CELL_BYTES aligned to 8, or NULL if there is none: an
 * ordinary result. Until the consume, asking again gives the same cell.
 * Ownership: borrowed until plx_cells_consume(). Affinity: the consumer.
 * Cost: hot, wait-free; a fruitless look costs two loads of lines that stay in this core's cache.
 */
PLX_MUST_CHECK static inline const void *plx_cells_peek(struct plx_cells *q)
{
    struct plx__cell *slot = plx__cells_slot(q, q->head & q->head_mask);
    /* Acquire [A1], pairs with release [R1] of plx_cells_commit(): the cell's bytes are there. */
    uint64_t sequence = plx_load_acquire(&slot->sequence);
    if (PLX_LIKELY(sequence == q->head + 1))
        return slot->body;
    /*
     * Not at the first fruitless look: a consumer a little faster than its producer would publish
     * each cell by itself, and move the line of the index for each.
     */
    if (q->head != q->head_published && ++q->empty_looks >= PLX_CELLS_EMPTY_LOOKS) {
        q->empty_looks = 0;
        plx__cells_publish(q);
    }
    return NULL;
}

/*
 * Gives the peeked cell back; the producer learns of it with a whole batch, or when the queue stays
 * empty.
 * Shapes: the last plx_cells_peek() gave a cell. Affinity: the consumer. Cost: hot, wait-free.
 */
static inline void plx_cells_consume(struct plx_cells *q)
{
    /* Relaxed: the peek has acquired this very sequence. */
    PLX_ASSERT_HOT(plx_load_relaxed(&plx__cells_slot(q, q->head & q->head_mask)->sequence) ==
                   q->head + 1);
    q->head++;
    if ((q->head & q->batch_mask) == 0)
        plx__cells_publish(q);
}

PLX_EXTERN_C_END

#endif
