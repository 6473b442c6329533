/* SPDX-License-Identifier: MIT */
/*
 * An errand: how one thread has others write something down for it, one after the other, and can
 * give up waiting.
 *
 * Words. The *sender* posts a *ticket*, a number that it uses once, and tells a *runner* of it, by
 * a signal say, which may come late or never. A runner that *claims* the ticket has the paper for
 * itself, writes, and *finishes*. A sender that waits no longer claims the ticket too: then nobody
 * writes. Where a runner was faster it may wait no longer either, and the errand is *lost*: until
 * that runner has finished there is no other. 0 is no ticket.
 *
 * Threads: one sender; any number of runners, each with the ticket that it was told of.
 *
 * Why it is right:
 *
 * 1. The paper's writer. A ticket is exchanged for 0 once: by its runner, or by the sender that
 * gives up. A runner that comes late finds 0 or another ticket, and does nothing.
 * 2. The paper's reader. The runner writes before it stores `done` with release order [R2]; the
 *    sender reads after it has loaded that with acquire order [A2].
 * 3. The paper again. The sender has read it before it posts the next ticket with release order
 *    [R1]; the next runner writes after it has claimed that with acquire order [A1].
 * 4. A paper that was lost. The sender never reads it, but has seen it finished [A2] before it
 *    posts the next ticket [R1], so that the next runner's writing [A1] comes behind the late
 *    one's.
 */
#ifndef POLLUX_ERRAND_INTERNAL_H
#define POLLUX_ERRAND_INTERNAL_H

#include "alloc/base.h"

/* All zero: none. */
struct plx__errand {
    PLX_ATOMIC(uint32_t) ticket;
    PLX_ATOMIC(uint32_t) done; /* the last ticket that was finished */
};

/* Sender: the ticket before was finished, if late, or given up. */
static inline void plx__errand_post(struct plx__errand *errand, uint32_t ticket)
{
    plx_store_release(&errand->ticket, ticket); /* release [R1], pairs with [A1] */
}

/* Runner, or a sender that gives up: whether it has got the ticket. Safe in signal handlers. */
PLX_MUST_CHECK static inline bool plx__errand_claim(struct plx__errand *errand, uint32_t ticket)
{
    uint32_t seen = ticket;
    /* The exchange may fail for no reason. */
    while (seen == ticket) {
        /* Acquire [A1], pairs with [R1] of plx__errand_post(): the paper was read. */
        if (plx_cas_acquire(&errand->ticket, &seen, 0))
            return true;
    }
    return false;
}

/* Runner: it is written. */
static inline void plx__errand_finish(struct plx__errand *errand, uint32_t ticket)
{
    plx_store_release(&errand->done, ticket); /* release [R2], pairs with [A2] */
}

/* Sender: whether it is written. */
PLX_MUST_CHECK static inline bool plx__errand_finished(const struct plx__errand *errand,
                                                       uint32_t ticket)
{
    /* Acquire [A2], pairs with [R2] of plx__errand_finish(): the paper can be read. */
    return plx_load_acquire(&errand->done) == ticket;
}

#endif
