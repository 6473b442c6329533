/* SPDX-License-Identifier: MIT */
/*
 * A count of the threads that may touch a piece of memory, the last of which gives it back.
 *
 * Threads: enter by a user, for a thread that it makes afterwards; leave by each user once.
 *
 * Why it is right. The count falls to 0 once, at the leave of the last one. Whatever a user did to
 * the memory comes before its own leave, a release; leaves are read-modify-writes, which continue
 * the release sequences of those before them; and the last one's acquires: all that the others did
 * comes before what it does then.
 */
#ifndef POLLUX_USERS_INTERNAL_H
#define POLLUX_USERS_INTERNAL_H

#include "alloc/base.h"

static inline void plx__users_enter(PLX_ATOMIC(uint32_t) * users)
{
    /* Relaxed: making the thread orders it after this. */
    (void)plx_fetch_add_relaxed(users, 1);
}

/* By who made no thread after all, and stays one itself. Relaxed: nobody touched anything. */
static inline void plx__users_take_back(PLX_ATOMIC(uint32_t) * users)
{
    (void)plx_fetch_add_relaxed(users, UINT32_MAX);
}

/* Whether this was the last one, which gives the memory back. */
PLX_MUST_CHECK static inline bool plx__users_leave(PLX_ATOMIC(uint32_t) * users)
{
    /* Acquire and release: what the others did there comes before the free. */
    return plx_fetch_add_acq_rel(users, UINT32_MAX) == 1;
}

#endif
