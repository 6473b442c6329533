/* SPDX-License-Identifier: MIT */
/*
 * The mesh: how reactors speak to each other. One lock-free ring of cells for each ordered pair of
 * reactors, in the memory of the one that reads.
 *
 * Words. A *post* is a function and up to 48 bytes, carried to another reactor and called there.
 *
 * Threads: the one that polls the sending reactor.
 */
#ifndef POLLUX_MESH_H
#define POLLUX_MESH_H

#include "alloc/base.h"

PLX_EXTERN_C_BEGIN

struct plx_reactor;

/* The most bytes that a post carries. */
#define PLX_POST_BYTES 48

/*
 * Called on the receiving reactor, inside a turn. `body` is PLX_POST_BYTES bytes aligned to 8, of
 * which the sender wrote the first; borrowed until return.
 */
typedef void (*plx_post_fn)(struct plx_reactor *here, const void *body);

/*
 * Calls `fn` on the reactor with index `to`, with a copy of `body`.
 * Shapes: `bytes` <= PLX_POST_BYTES; `body` may be NULL when it is 0; `to` may be the sender
 * itself: it is then called in a later turn too. Posts between one pair of reactors arrive in the
 * order sent, all of them, unless the receiver stops. Cost: hot; a copy and one store that the
 * receiver sees; wait-free; no system call. Errors: -EAGAIN the ring is full or the receiver has
 * not started: try again in a later turn (counted); -EINVAL `to` or `bytes` out of range;
 * -ESHUTDOWN the sender has stopped, or the receiver has: as the sender does not look, what still
 * fits into the ring of a receiver that has just ended is taken, and lost.
 */
PLX_API PLX_MUST_CHECK int plx_mesh_post(struct plx_reactor *from, uint32_t to, plx_post_fn fn,
                                         const void *body, size_t bytes);

PLX_EXTERN_C_END

#endif
