/* SPDX-License-Identifier: MIT */
/*
 * Sleep and wake: how a reactor stops looking, and how whoever brings it something gets it to look
 * again. Nobody pays for a reactor that never sleeps.
 *
 * Words. The *sleeper* is the reactor's thread. It *announces* that it sleeps, looks at everything
 * once more, and only then waits in its backend. A *bringer* is a thread that has written to where
 * the sleeper looks: a peer, a port, a worker, whoever stops the runtime. It *rouses* a sleeper
 * that has announced itself.
 *
 * Threads: the first functions by the sleeper, the last by any bringer.
 *
 * Why no wake-up is lost:
 *
 * 1. The sleeper stores `asleep` and then reads what was brought; the bringer stores what it brings
 *    and then reads `asleep`. Each has a sequentially consistent fence in between, so that at least
 *    one of them sees the other's store [F1, F2]: the sleeper finds the work and does not wait, or
 *    the bringer finds it announced.
 * 2. The bringer that exchanges 1 for 0 writes to the eventfd; of several only one gets the 1. The
 *    backend waits for the eventfd as for any descriptor, and an eventfd stays readable until it is
 *    read, so that the write wakes whether it comes before the wait or in it.
 * 3. A write may come late, after its sleeper woke by something else. It then wakes it once for
 *    nothing, in this sleep or the next.
 * 4. What was brought is seen by the sleeper's ordinary looks after the wait: rings by their
 *    acquire loads. Nothing is read on the strength of `asleep` itself, so it is relaxed.
 *
 * test/model/wake.pml is this protocol, walked in all its states by spin; without F1, without F2,
 * or without the second look, it is rejected.
 */
#ifndef POLLUX_WAKE_INTERNAL_H
#define POLLUX_WAKE_INTERNAL_H

#include "alloc/base.h"

/* Of one reactor, in a line of its own. */
struct plx__wake {
    PLX_ATOMIC(uint32_t) asleep;
    int fd; /* the eventfd; open as long as anybody may rouse. -1: it never sleeps */
} PLX_ALIGNED(PLX_CACHE_LINE);

/* Sleeper: from here on it is roused. Then everything is to be looked at again. */
static inline void plx__wake_announce(struct plx__wake *wake)
{
    plx_store_relaxed(&wake->asleep, 1);
    plx_fence_seq_cst(); /* [F1], pairs with [F2] of plx__wake_bring() */
}

/* Sleeper: it is awake. */
static inline void plx__wake_withdraw(struct plx__wake *wake)
{
    plx_store_relaxed(&wake->asleep, 0);
}

/* Sleeper: its eventfd has shown; makes it quiet again. A system call. */
void plx__wake_quiet(const struct plx__wake *wake);

/* Bringer: what was written before is there for whoever is looked at next. One for many. */
static inline void plx__wake_bring(void)
{
    plx_fence_seq_cst(); /* [F2], pairs with [F1] of plx__wake_announce() */
}

/* Bringer: the way of plx__wake_rouse that is not hot. */
void plx__wake_write(struct plx__wake *wake);

/* Bringer, after plx__wake_bring: wakes it if it has announced that it sleeps. */
static inline void plx__wake_rouse(struct plx__wake *wake)
{
    if (PLX_UNLIKELY(plx_load_relaxed(&wake->asleep) != 0))
        plx__wake_write(wake);
}

#endif
