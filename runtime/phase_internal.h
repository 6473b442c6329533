/* SPDX-License-Identifier: MIT */
/*
 * How a runtime's end goes through its phases, and reactors follow.
 *
 * Words. The *phase* is one word of the runtime; who stops it sets it, all reactors look at it.
 * What a reactor has *reached* is a word of each; it sets it itself, its peers and who stops the
 * runtime look at it.
 *
 * Threads: set by the one that stops; reach by the reactor's owner; the rest by any.
 *
 * Why it is right:
 *
 * 1. No post is missed. A reactor's last post is in its ring before it stores that it drains, with
 * release order [R2]. A peer looks at its rings for the last time after it has loaded that of all
 * others with acquire order [A2]: what they sent it is there.
 * 2. No block that went home is missed. Until it has drained a reactor may send blocks home, to
 * peers that have drained before it. Who stops the runtime loads of each that it has drained [A2],
 * and then stores the last phase with release order [R1]; a reactor that loads this with acquire
 * order [A1] knows of all that any reactor had sent, although it looked at none of them.
 */
#ifndef POLLUX_PHASE_INTERNAL_H
#define POLLUX_PHASE_INTERNAL_H

#include "alloc/base.h"

static inline void plx__phase_set(PLX_ATOMIC(uint32_t) * phase, uint32_t to)
{
    plx_store_release(phase, to); /* [R1] */
}

static inline uint32_t plx__phase_of(const PLX_ATOMIC(uint32_t) * phase)
{
    return plx_load_acquire(phase); /* [A1] */
}

static inline void plx__phase_reach(PLX_ATOMIC(uint32_t) * reached, uint32_t to)
{
    plx_store_release(reached, to); /* [R2] */
}

static inline uint32_t plx__phase_reached(const PLX_ATOMIC(uint32_t) * reached)
{
    return plx_load_acquire(reached); /* [A2] */
}

#endif
