/* SPDX-License-Identifier: MIT */
/*
 * Posts: a function and a few bytes, carried to another reactor and called there.
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
 * order sent, and in order with the calls of that pair (runtime/mesh/call.h), all of them, unless
 * the receiver stops. A ring of POLLUX_MESH_SLOTS holds five eighths as many posts; the rest is
 * kept for the answers to calls. Cost: hot; a copy and one store that the receiver sees (two where
 * it has more than eight peers); wait-free; no system call. A receiver that sleeps is woken when
 * the sender's turn ends, or before it sleeps itself, by a system call for all that it was sent.
 * Errors: -EAGAIN the ring is full or the receiver has not started: try again in a later turn
 * (counted); -EINVAL `to` or `bytes` out of range; -ESHUTDOWN the sender has stopped, or the
 * receiver has. What is posted in the very moment in which the receiver ends is taken, and lost.
 */
PLX_API PLX_MUST_CHECK int plx_mesh_post(struct plx_reactor *from, uint32_t to, plx_post_fn fn,
                                         const void *body, size_t bytes);

/*
 * Posts to every other reactor of the runtime, to all or to none: room is looked for in all rings
 * before the first is written, and only this thread can use it up.
 * Shapes: as plx_mesh_post. Returns how many reactors were posted to: all but this one and those
 * that have ended, who have nobody to tell; below plx_runtime_count() - 1 it says so.
 * Cost: a post for each. Errors, after which nothing was sent: -EAGAIN the ring of one is full, or
 * one has not started (counted once); -EINVAL `bytes`; -ESHUTDOWN the sender has stopped.
 */
PLX_API PLX_MUST_CHECK int plx_mesh_broadcast(struct plx_reactor *from, plx_post_fn fn,
                                              const void *body, size_t bytes);

PLX_EXTERN_C_END

#endif
