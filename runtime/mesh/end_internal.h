/* SPDX-License-Identifier: MIT */
/*
 * How it becomes known that a reactor has ended, to peers and ports that look at nothing but one
 * count.
 *
 * Words. A *life* is a word of each reactor, which it (or a stop that gives it up) sets to ended. A
 * *count*, one for the runtime, is raised behind each such change. A *looker* keeps the count that
 * it knows of.
 *
 * Threads: tell by any; a looker's `known` is its own.
 *
 * Why it is right. Whoever acquires a count sees all lives that were set before it was raised so
 * far, whoever raised it last: the raise is a release [R1], read-modify-writes continue the release
 * sequences of those before them, and the look acquires [A1]. So no end is missed: a looker that
 * takes a count for known has seen each life that it counts. A life may be seen before its own
 * raise, at a look that another one caused; its release [R2] and the acquire of whoever reads it
 * [A2, in plx__runtime_find and the ports' connect] then say that all the reactor wrote to its
 * peers' rings before is there: a looker that finds a ring empty behind that knows that no answer
 * will come.
 */
#ifndef POLLUX_END_INTERNAL_H
#define POLLUX_END_INTERNAL_H

#include "alloc/base.h"

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
