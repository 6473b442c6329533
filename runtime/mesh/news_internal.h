/* SPDX-License-Identifier: MIT */
/*
 * How a consumer of many cell queues finds those in which something is new, by looking at one cache
 * line for 64 of them.
 *
 * Words. A *news line* lies with the consumer and has one byte for each producer: its *generation*,
 * the low eight bits of the number of cells that it has ever committed. The consumer keeps, in a
 * line of its own, the low bits of the number of cells that it has *seen* (consumed) of each. Where
 * the two differ it looks at the queue.
 *
 * Threads: each producer stores its own byte; the consumer alone loads them.
 *
 * Why nothing is missed:
 *
 * 1. A byte has one writer, so that no store can undo another's, and needs no read-modify-write.
 * 2. What is compared is not a copy of the byte but the number of cells consumed: the two are equal
 *    only when the producer's last byte that is visible tells of nothing beyond them, or of exactly
 *    256, 512 … cells more. A queue whose unconsumed cells stay below PLX__NEWS_EXACT never has so
 *    many, however many were sent and consumed between two looks: for those a difference and an
 *    unconsumed cell that was announced are the same thing. Rings with more slots are also looked
 *    at in rotation, one a turn (plx__mesh_take): what a byte hides by having gone round is found
 *    after as many turns as there are producers at the latest, or with the producer's next cell.
 * 3. No order is needed. The byte says when to look, not what is there: the cells' own sequence
 *    words carry that. A byte that is visible before its cell makes the consumer look in vain, and
 *    again in the next turn, since what it has seen has not changed; a cell that is visible before
 *    its byte is taken now or a little later. A consumer that kept a copy of the byte instead would
 *    need the byte's store to be a release and its load an acquire: having looked in vain it would
 *    hold the news to be old.
 *
 * A consumer that goes to sleep must look at the queues themselves, since a byte may still be on
 * its way.
 */
#ifndef POLLUX_NEWS_INTERNAL_H
#define POLLUX_NEWS_INTERNAL_H

#include <string.h>

#include "alloc/base.h"
#include "runtime/mesh/cells.h"

/* Producers that one line serves. */
#define PLX__NEWS_LINE 64u

/* Unconsumed cells from which on a byte alone may hide some. */
#define PLX__NEWS_EXACT 256u

/* What is compared at once; a test on a simulated memory takes bytes. */
#ifndef PLX__NEWS_WORD
#define PLX__NEWS_WORD uint64_t
#endif

/* Producers store bytes of it, the consumer loads words: any mixture of bytes will do for it. */
struct plx__news {
    PLX_ATOMIC(PLX__NEWS_WORD)
    words[PLX__NEWS_LINE / sizeof(PLX__NEWS_WORD)];
} PLX_ALIGNED(2 * PLX_CACHE_LINE);

/* The consumer's alone. */
struct plx__seen {
    uint8_t low[PLX__NEWS_LINE];
} PLX_ALIGNED(PLX_CACHE_LINE);

PLX_STATIC_ASSERT(sizeof(struct plx__seen) == PLX_CACHE_LINE, "a byte for each producer");
PLX_STATIC_ASSERT(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "the lowest byte comes first");

/* The byte of producer `index` in `lines`. */
static inline PLX_ATOMIC(uint8_t) * plx__news_byte(struct plx__news *lines, uint32_t index)
{
    char *line = (char *)&lines[index / PLX__NEWS_LINE];
    return (PLX_ATOMIC(uint8_t) *)(void *)(line + index % PLX__NEWS_LINE);
}

/* The producer, after a commit. */
static inline void plx__news_tell(PLX_ATOMIC(uint8_t) * byte, const struct plx_cells *q)
{
    /* Relaxed, both: `tail` is this thread's own; the byte orders nothing (3 above). */
    plx_store_relaxed(byte, (uint8_t)plx_load_relaxed(&q->tail));
}

/* The consumer, after having taken from the queue of producer `index`. */
static inline void plx__news_see(struct plx__seen *seen, uint32_t index, const struct plx_cells *q)
{
    seen[index / PLX__NEWS_LINE].low[index % PLX__NEWS_LINE] = (uint8_t)q->head;
}

/* Where the bytes of word `w` of a line differ from what was seen: those bytes are not zero. */
static inline PLX__NEWS_WORD plx__news_differ(struct plx__news *line, const struct plx__seen *seen,
                                              uint32_t w)
{
    PLX__NEWS_WORD old;
    memcpy(&old, &seen->low[w * sizeof(old)], sizeof(old));
    return (PLX__NEWS_WORD)(plx_load_relaxed(&line->words[w]) ^ old); /* relaxed: 3 above */
}

#endif
