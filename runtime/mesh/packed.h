/* SPDX-License-Identifier: MIT */
/*
 * A bounded, wait-free queue from one thread to one other, made for throughput: small elements lie
 * side by side, so that a cache line that moves between the cores carries several of them.
 *
 * Words. An *element* is 8 to 64 bytes of the caller's; a *run* is elements that follow each other
 * in memory. The *index* of an element counts the elements ever sent; its place is the index modulo
 * the *capacity*. The *producer* reserves a run, writes it in place, and commits as much of it as
 * is written; the *consumer* peeks at a run, reads it in place, and consumes as much as it likes.
 * A side *publishes* its index to tell the other how far it has come: the producer with each
 * commit, the consumer now and then. Each keeps a private copy of the other's index as last seen,
 * and looks again only when that leaves it nothing to do.
 *
 * Against cells (cells.h): a message there takes one line, the news of it included, and arrives
 * sooner; here it takes its part of a line and its part of a commit. Committing many at once is
 * what makes this one fast: the line of the producer's index then moves once for all of them.
 *
 * Threads: one producer and one consumer at a time. Either role may move to another thread by
 * anything that orders the two threads (joining one, a release and an acquire). What each function
 * says of its caller holds in addition.
 *
 * Why it is right:
 *
 * 1. Only the producer writes elements. It stores T, the index up to which it has committed, with
 *    release order after the elements' bytes [R1]. The consumer touches an element only if its
 *    index lies below a T that it has loaded with acquire order [A1]: it sees all of its bytes.
 * 2. The producer writes the element of an index only if index - H < capacity, H being an index
 *    that the consumer has published. The consumer stores H with release order after its last look
 *    at each element before H [R2]; the producer loads it with acquire order [A2]. So the reads of
 *    the element that was in this place one lap before precede the writes of the next one.
 * 3. T and H grow only, by what was committed and consumed. A copy of either that is out of date is
 *    lower than the index itself, and makes its holder see less than there is: never more.
 * 4. H lags behind the consumer by less than a quarter of the capacity, and not at all once the
 *    consumer keeps finding nothing. A drained queue thus always has room for three quarters of its
 *    capacity; neither side can wait for the other at the same time.
 */
#ifndef POLLUX_PACKED_H
#define POLLUX_PACKED_H

#include "alloc/base.h"

/* Bounds of an element's size in bytes, a multiple of 8. */
#define PLX_PACKED_ELEMENT_MIN 8
#define PLX_PACKED_ELEMENT_MAX 64

/* Bounds of the capacity in elements, a power of two. */
#define PLX_PACKED_CAPACITY_MIN 8
#define PLX_PACKED_CAPACITY_MAX 1048576

/* Consumed elements after which the consumer publishes, if a quarter of the capacity isn't less. */
#define PLX_PACKED_BATCH_MAX 256

/* Fruitless looks after which the consumer publishes what it has consumed. */
#define PLX_PACKED_EMPTY_LOOKS 16

/*
 * Bytes that the producer fetches ahead of what it commits, at most half of the elements'. They lie
 * in the consumer's cache, from a lap ago; four lines are back in time even between two cores that
 * are far from each other. Cells do not do so: there a lone message would pay for it.
 */
#define PLX_PACKED_AHEAD 256

/*
 * Bytes between fields that different threads write. Two lines: the prefetcher of adjacent lines
 * fetches aligned pairs, and would take a line from the core that is writing it because its
 * neighbour was wanted.
 */
#define PLX_PACKED_SPACING 128

/* The queue; the elements follow it in memory. Its fields are private. */
struct plx_packed {
    /* Read-mostly: written by init, read by anybody. */
    uint32_t capacity;
    uint32_t element_bytes;
    unsigned char gap_a[PLX_PACKED_SPACING - 8];

    /* The producer's alone. */
    uint64_t tail;  /* index of the next element to commit */
    uint64_t limit; /* where tail stops: the consumer's index last seen, plus the capacity */
    uint64_t tail_mask;
    uint64_t tail_bytes; /* of an element */
    uint64_t tail_ahead; /* elements from the tail to the one that is fetched */
    unsigned char gap_b[PLX_PACKED_SPACING - 40];

    /* Written by the producer; read by a consumer that has nothing left. */
    PLX_ATOMIC(uint64_t) committed;
    unsigned char gap_c[PLX_PACKED_SPACING - 8];

    /* The consumer's alone. */
    uint64_t head; /* index of the next element to consume */
    uint64_t end;  /* the producer's index last seen */
    uint64_t head_mask;
    uint64_t head_bytes;     /* of an element */
    uint64_t head_published; /* what `consumed` holds */
    uint64_t batch;
    uint64_t empty_looks; /* with something unpublished, since they last led to publishing */
    unsigned char gap_d[PLX_PACKED_SPACING - 56];

    /* Written by the consumer; read by a producer that has reached its limit. */
    PLX_ATOMIC(uint64_t) consumed;
    unsigned char gap_e[PLX_PACKED_SPACING - 8];
};

PLX_STATIC_ASSERT(offsetof(struct plx_packed, tail) == 1 * PLX_PACKED_SPACING, "producer's line");
PLX_STATIC_ASSERT(offsetof(struct plx_packed, committed) == 2 * PLX_PACKED_SPACING, "its index");
PLX_STATIC_ASSERT(offsetof(struct plx_packed, head) == 3 * PLX_PACKED_SPACING, "consumer's line");
PLX_STATIC_ASSERT(offsetof(struct plx_packed, consumed) == 4 * PLX_PACKED_SPACING, "its index");
PLX_STATIC_ASSERT(sizeof(struct plx_packed) == 5 * PLX_PACKED_SPACING, "elements start on a line");

PLX_EXTERN_C_BEGIN

/* --- lifecycle ------------------------------------------------------------------------------- */

/*
 * Bytes of memory that a queue takes: its elements', and its control block's. 0 if `capacity` isn't
 * a power of two from PLX_PACKED_CAPACITY_MIN to PLX_PACKED_CAPACITY_MAX, or `element_bytes` no
 * multiple of 8 from PLX_PACKED_ELEMENT_MIN to PLX_PACKED_ELEMENT_MAX.
 * Any thread. Cost: set-up only.
 */
PLX_API PLX_COLD size_t plx_packed_bytes(uint32_t capacity, uint32_t element_bytes);

/*
 * Makes an empty queue in `memory`.
 * Shapes: plx_packed_bytes(capacity, element_bytes) bytes, aligned to PLX_CACHE_LINE. Best on the
 * consumer's node.
 * Ownership: `memory` is borrowed until the last use of the queue; nothing is to be undone. *out
 * points into it.
 * Affinity: any thread; the threads that then use the queue must be ordered after this call.
 * Cost: set-up only; touches all of the memory.
 * Errors: -EINVAL: `memory` is NULL or misaligned, or a number is out of its range; *out is NULL.
 */
PLX_API PLX_COLD PLX_MUST_CHECK int
plx_packed_init(void *memory, uint32_t capacity, uint32_t element_bytes, struct plx_packed **out);

/*
 * For tests: init without bounds on `capacity` (a power of two), the consumer publishing after
 * `batch` elements, the first of which has index `first`.
 */
PLX_COLD struct plx_packed *plx__packed_setup(void *memory, uint32_t capacity,
                                              uint32_t element_bytes, uint64_t batch,
                                              uint64_t first);

/* --- inspection ------------------------------------------------------------------------------ */

/* Number of elements that the queue can hold. Any thread. */
static inline uint32_t plx_packed_capacity(const struct plx_packed *q)
{
    return q->capacity;
}

/* Bytes of an element. Any thread. */
static inline uint32_t plx_packed_element_bytes(const struct plx_packed *q)
{
    return q->element_bytes;
}

/*
 * Elements that a producer may find still taken though they have been consumed: who knows that at
 * most capacity - lag are unconsumed knows that a reserve will give one. Any thread.
 */
static inline uint32_t plx_packed_lag(const struct plx_packed *q)
{
    return (uint32_t)q->batch - 1;
}

/*
 * Elements committed and not yet seen to be consumed: 0 to capacity, and too high by up to
 * plx_packed_lag(). Any thread; exact in nothing unless both sides rest. Cost: takes the producer's
 * index from its core: for statistics, not for a loop.
 */
static inline uint32_t plx_packed_count_estimate(const struct plx_packed *q)
{
    /* Relaxed: nothing is read on the strength of the result. The older index is loaded first. */
    uint64_t consumed = plx_load_relaxed(&q->consumed);
    uint64_t count = plx_load_relaxed(&q->committed) - consumed;
    return count < q->capacity ? (uint32_t)count : q->capacity;
}

/* --- producer, hot --------------------------------------------------------------------------- */

/* Of `most` elements wanted from `slot` on, those of `room` that lie before the memory's end. */
static inline uint32_t plx__packed_run(uint64_t most, uint64_t room, uint64_t mask, uint64_t slot)
{
    uint64_t straight = mask + 1 - slot;
    uint64_t run = most < room ? most : room;
    return (uint32_t)(run < straight ? run : straight);
}

/*
 * A run of elements to fill: up to `most` of them from *elements on, aligned to 8. The result is
 * how many, and 0 if the queue is full: an ordinary result. Fewer than `most` is ordinary, too: the
 * memory ends and the next run begins at its start, or there was no more room at the last look.
 * Their bytes are what earlier elements left there. Until a commit, asking again gives the same
 * elements, of which there may be more by then.
 * Shapes: `most` is at least 1. Ownership: the caller's to write until committed.
 * Affinity: the producer. Cost: hot, wait-free; no line moves unless the queue looks full.
 */
PLX_MUST_CHECK static inline uint32_t plx_packed_reserve(struct plx_packed *q, uint32_t most,
                                                         void **elements)
{
    uint64_t room = q->limit - q->tail;
    if (PLX_UNLIKELY(room == 0)) {
        /* Acquire [A2], pairs with release [R2] of plx__packed_publish(): the consumer is done. */
        q->limit = plx_load_acquire(&q->consumed) + q->tail_mask + 1;
        room = q->limit - q->tail;
    }
    uint64_t slot = q->tail & q->tail_mask;
    *elements = (char *)q + sizeof(*q) + slot * q->tail_bytes;
    return plx__packed_run(most, room, q->tail_mask, slot);
}

/*
 * Hands the first `count` reserved elements to the consumer, at once. What was reserved beyond them
 * can be written and committed next, without a new reserve.
 * Shapes: `count` is at least 1 and at most what is reserved and not committed.
 * Affinity: the producer. Cost: hot, wait-free; moves the line of the index, once for all of them,
 * and begins to fetch a line of elements to come.
 */
static inline void plx_packed_commit(struct plx_packed *q, uint32_t count)
{
    PLX_ASSERT_HOT(count != 0 && count <= q->limit - q->tail);
    q->tail += count;
    /* Release [R1], pairs with acquire [A1] of plx_packed_peek(): the elements' bytes come first.
     */
    plx_store_release(&q->committed, q->tail);
    uint64_t ahead = (q->tail + q->tail_ahead) & q->tail_mask;
    plx_prefetch_write((const char *)q + sizeof(*q) + ahead * q->tail_bytes);
}

/* --- consumer, hot --------------------------------------------------------------------------- */

/* Gives all consumed elements back to the producer. */
static inline void plx__packed_publish(struct plx_packed *q)
{
    q->head_published = q->head;
    /* Release [R2], pairs with acquire [A2] of plx_packed_reserve(): our reads come first. */
    plx_store_release(&q->consumed, q->head);
}

/* Looks for more; where it keeps finding nothing, the producer gets what it may be waiting for. */
static inline void plx__packed_look(struct plx_packed *q)
{
    /* Acquire [A1], pairs with release [R1] of plx_packed_commit(): the elements' bytes are there.
     */
    q->end = plx_load_acquire(&q->committed);
    /*
     * Not at the first fruitless look: a consumer a little faster than its producer would publish
     * each element by itself, and move the line of the index for each.
     */
    if (q->end == q->head && q->head != q->head_published &&
        ++q->empty_looks >= PLX_PACKED_EMPTY_LOOKS) {
        q->empty_looks = 0;
        plx__packed_publish(q);
    }
}

/*
 * A run of the oldest elements not yet consumed: up to `most` of them from *elements on, aligned to
 * 8. The result is how many, and 0 if there is none: an ordinary result. There may be more than it
 * gives: in a run that begins at the memory's start, or committed since the last look.
 * Shapes: `most` is at least 1. Ownership: borrowed until consumed. Affinity: the consumer.
 * Cost: hot, wait-free; looks at the producer's index only when all that it had seen is consumed.
 */
PLX_MUST_CHECK static inline uint32_t plx_packed_peek(struct plx_packed *q, uint32_t most,
                                                      const void **elements)
{
    if (PLX_UNLIKELY(q->end == q->head))
        plx__packed_look(q);
    uint64_t slot = q->head & q->head_mask;
    *elements = (const char *)q + sizeof(*q) + slot * q->head_bytes;
    return plx__packed_run(most, q->end - q->head, q->head_mask, slot);
}

/*
 * Gives the first `count` peeked elements back; the producer learns of it with a whole batch, or
 * when the queue stays empty.
 * Shapes: `count` is at least 1 and at most what was peeked and not consumed.
 * Affinity: the consumer. Cost: hot, wait-free.
 */
static inline void plx_packed_consume(struct plx_packed *q, uint32_t count)
{
    PLX_ASSERT_HOT(count != 0 && count <= q->end - q->head);
    q->head += count;
    if (q->head - q->head_published >= q->batch)
        plx__packed_publish(q);
}

PLX_EXTERN_C_END

#endif
