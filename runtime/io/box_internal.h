/* SPDX-License-Identifier: MIT */
/*
 * A box: how a thread that never sleeps gives jobs, one at a time, to one that does.
 *
 * Words. The *giver* writes a job into memory of its choice and *posts*; the *taker* takes it, does
 * it, writes its result and *finishes*; the giver sees that it *has finished*, reads the result,
 * and may post again. Until the job is taken the giver may *take it back*. A taker that finds
 * nothing *dozes*: it says so in the box and lets the kernel put it to sleep for as long as the box
 * says it. `ask` is the one word that both change; `done` counts what was finished.
 *
 *     ask     FREE -post-> FULL -take-> FREE       FULL -take back-> FREE
 *             FREE -doze-> ASLEEP -post-> FULL     any -leave-> LEAVE, for good
 *
 * A box is a queue of one in each direction. More jobs in it would wait for the one before them
 * even when that hangs, and another taker is free.
 *
 * Threads: one giver and one taker; each function says whose it is.
 *
 * Why it is right:
 *
 * 1. The job. It is written before the post, which stores FULL with release order [R1]; it is read
 *    after the take, whose compare-exchange of FULL has acquire order [A1]. The compare-exchange,
 *    rather than the look before it, must acquire: the job that was seen may have been taken back,
 *    and another one posted, in between.
 * 2. Once. Taking and taking back both exchange FULL for FREE, so that exactly one of them gets a
 *    job. After taking it back the giver may write the next one: the taker reads none that it has
 *    not taken.
 * 3. The result. It is written before `done` is stored with release order [R2], and read after
 *    `done` was loaded with acquire order [A2] and found equal to what was posted. The taker's last
 *    look at the job comes before [R2] too, so the giver may write the next one.
 * 4. No wake-up is lost. Everything is decided by the one word `ask`, all of whose changes are
 *    read-modify-writes, which see the newest value whatever their order. The kernel puts the taker
 *    to sleep only while `ask` is ASLEEP, which it looks at under a lock that a wake takes too.
 *    ASLEEP is left by a post or a leave alone, and both tell their caller to wake. So: either the
 *    change comes before the kernel's look, and the taker does not sleep; or after it, and then so
 *    does the wake, which finds it asleep. After a post was taken back `ask` is FREE with the taker
 *    on its way up from the wake that the post sent; a post that finds FREE thus needs to wake
 *    nobody.
 */
#ifndef POLLUX_BOX_INTERNAL_H
#define POLLUX_BOX_INTERNAL_H

#include "alloc/base.h"

enum plx__box_ask { PLX__BOX_FREE, PLX__BOX_ASLEEP, PLX__BOX_FULL, PLX__BOX_LEAVE };

/* All zero: nothing posted, nothing finished. */
struct plx__box {
    PLX_ATOMIC(uint32_t) ask; /* enum plx__box_ask; the taker sleeps on it */
    uint32_t given;           /* the giver's: jobs posted and not taken back */
    unsigned char gap[2 * PLX_CACHE_LINE - 8];
    PLX_ATOMIC(uint32_t) done; /* written by the taker; its own line, as the giver polls it */
    unsigned char gap_after[2 * PLX_CACHE_LINE - 4];
};

PLX_STATIC_ASSERT(offsetof(struct plx__box, done) == 2 * PLX_CACHE_LINE, "the taker's line");

/* Giver: the job is written, the one before has finished. True: wake the taker. */
PLX_MUST_CHECK static inline bool plx__box_post(struct plx__box *box)
{
    uint32_t was = PLX__BOX_FREE;
    box->given++;
    /* Release [R1], pairs with acquire [A1] of plx__box_take(): the job comes first. */
    while (!plx_cas_release(&box->ask, &was, PLX__BOX_FULL))
        PLX_ASSERT_HOT(was == PLX__BOX_FREE || was == PLX__BOX_ASLEEP);
    return was == PLX__BOX_ASLEEP;
}

/* Giver: undoes the last post, if nobody has taken the job. Returns whether it has. */
PLX_MUST_CHECK static inline bool plx__box_take_back(struct plx__box *box)
{
    uint32_t was = PLX__BOX_FULL;
    /* Relaxed: nothing is read on the strength of it; see 2. */
    while (!plx_cas_relaxed(&box->ask, &was, PLX__BOX_FREE)) {
        if (was != PLX__BOX_FULL)
            return false;
    }
    box->given--;
    return true;
}

/* Giver: whether all that was posted has been finished; then the result may be read. */
PLX_MUST_CHECK static inline bool plx__box_finished(const struct plx__box *box)
{
    /* Acquire [A2], pairs with release [R2] of plx__box_finish(): the result is there. */
    return plx_load_acquire(&box->done) == box->given;
}

/*
 * Giver: the taker is to end once it has finished. Returns what `ask` was: with FULL the job will
 * never be taken, with ASLEEP the taker is to be woken.
 */
PLX_MUST_CHECK static inline enum plx__box_ask plx__box_leave(struct plx__box *box)
{
    uint32_t was = PLX__BOX_FREE;
    /* Relaxed: the taker reads nothing on the strength of it. */
    while (!plx_cas_relaxed(&box->ask, &was, PLX__BOX_LEAVE))
        continue;
    return (enum plx__box_ask)was;
}

/* Taker: whether there was a job, which it then has. */
PLX_MUST_CHECK static inline bool plx__box_take(struct plx__box *box)
{
    uint32_t was = PLX__BOX_FULL;
    /* Relaxed: a look that keeps the line in this core's cache while there is nothing. */
    if (plx_load_relaxed(&box->ask) != PLX__BOX_FULL)
        return false;
    /* Acquire [A1], pairs with release [R1] of plx__box_post(): the job is there. */
    while (!plx_cas_acquire(&box->ask, &was, PLX__BOX_FREE)) {
        if (was != PLX__BOX_FULL)
            return false;
    }
    return true;
}

/* Taker: nothing was there. True: sleep while `ask` is PLX__BOX_ASLEEP, then look again. */
PLX_MUST_CHECK static inline bool plx__box_doze(struct plx__box *box)
{
    uint32_t was = PLX__BOX_FREE;
    /* Relaxed: nothing is read on the strength of it; see 4. */
    while (!plx_cas_relaxed(&box->ask, &was, PLX__BOX_ASLEEP)) {
        if (was != PLX__BOX_FREE)
            return was == PLX__BOX_ASLEEP;
    }
    return true;
}

/* Taker: the result is written. */
static inline void plx__box_finish(struct plx__box *box)
{
    uint32_t done = plx_load_relaxed(&box->done); /* relaxed: this thread alone stores it */
    /* Release [R2], pairs with acquire [A2] of plx__box_finished(): the result comes first. */
    plx_store_release(&box->done, done + 1);
}

#endif
