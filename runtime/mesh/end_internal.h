/* SPDX-License-Identifier: MIT */
/*
 * How it becomes known that a reactor runs, and that it has ended, to peers and ports that look at
 * nothing but one count.
 *
 * Words. A *life* is a word of each reactor, which it sets to running, and it (or a stop that gives
 * it up) to ended. A *count*, one for the runtime, is raised behind each end. A *looker* keeps the
 * count that it knows of.
 *
 * Threads: begin by the owner, tell by any; a looker's `known` is its own.
 *
 * Why no reactor is seen half made: it sets its life to running with release order [R3], when all
 * that others may look at was written; they acquire its life first [A2].
 *
 * Why none that has just begun sleeps through a stop, whose thread rouses only those that it sees
 * running: it stores the phase, and then, behind the fence F2 of wake_internal.h, reads the lives;
 * the reactor stores its life, and then, behind the fence F1 of its announcement, reads the phase.
 * At least one of them sees the other's store. test/model/wake_stop.pml is this, walked by spin.
 *
 * Why no end is missed. Whoever acquires a count sees all lives that were set before it was raised
 * so far, whoever raised it last: the raise is a release [R1], read-modify-writes continue the
 * release sequences of those before them, and the look acquires [A1]. So a looker that takes a
 * count for known has seen each life that it counts. A life may be seen before its own raise, at a
 * look that another one caused; its release [R2] and the acquire of whoever reads it [A2] then say
 * that all the reactor wrote to its peers' rings before is there: a looker that finds a ring empty
 * behind that knows that no answer will come.
 */
#ifndef POLLUX_END_INTERNAL_H
#define POLLUX_END_INTERNAL_H

#include "alloc/base.h"

static inline void plx__life_begin(PLX_ATOMIC(uint32_t) * life, uint32_t running)
{
    plx_store_release(life, running); /* [R3] */
}

/* What it is; all is seen that was written before it became so. */
static inline uint32_t plx__life_of(const PLX_ATOMIC(uint32_t) * life)
{
    return plx_load_acquire(life); /* [A2], pairs with [R2] and [R3] */
}

static inline void plx__end_tell(PLX_ATOMIC(uint32_t) * life, uint32_t ended,
                                 PLX_ATOMIC(uint32_t) * count)
{
    plx_store_release(life, ended);        /* [R2] */
    (void)plx_fetch_add_release(count, 1); /* [R1] */
}

/* Whether the count is another than `known`. Relaxed: the looker goes on to plx__end_learn. */
static inline bool plx__end_is_news(const PLX_ATOMIC(uint32_t) * count, uint32_t known)
{
    return plx_load_relaxed(count) != known;
}

/* The count that is known from now on: each life that it counts is seen behind this. */
static inline uint32_t plx__end_learn(const PLX_ATOMIC(uint32_t) * count)
{
    return plx_load_acquire(count); /* [A1] */
}

#endif
