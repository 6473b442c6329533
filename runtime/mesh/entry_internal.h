/* SPDX-License-Identifier: MIT */
/*
 * How a reactor comes to know a ring that was made after it: a port's.
 *
 * Words. An *entry* is the reactor's place for the ring of one producer; NULL while there is none.
 *
 * Threads: publish by the producer; ring by the reactor that takes.
 *
 * Why it is right. The ring is initialised before its address is stored with release order [R1];
 * the taker reads in the ring after it has loaded that with acquire order [A1]. A later port at the
 * same place publishes the same ring again, which changes nothing.
 */
#ifndef POLLUX_ENTRY_INTERNAL_H
#define POLLUX_ENTRY_INTERNAL_H

#include "alloc/base.h"

struct plx_cells;

static inline void plx__entry_publish(PLX_ATOMIC(struct plx_cells *) * entry,
                                      struct plx_cells *ring)
{
    plx_store_release(entry, ring); /* [R1] */
}

/* NULL: nobody has one yet. */
static inline struct plx_cells *plx__entry_ring(PLX_ATOMIC(struct plx_cells *) const *entry)
{
    return plx_load_acquire(entry); /* [A1] */
}

#endif
