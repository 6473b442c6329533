/* SPDX-License-Identifier: MIT */
/*
 * Ports: how threads that are no reactors post to reactors and call them.
 *
 * A port is one producer to each reactor that it uses, with a ring on that reactor's node; reactors
 * find what ports sent by a byte for each, 64 to a cache line, so that idle ports cost a turn a few
 * loads together and what has never been used costs one. There are at most POLLUX_PORTS at a time.
 *
 * Threads: a port is used by one thread at a time, which need not be pinned and may change in any
 * way that orders the two; each thread has its own. Create and destroy by any thread that is no
 * reactor's, between plx_runtime_create and plx_runtime_destroy.
 */
#ifndef POLLUX_PORT_H
#define POLLUX_PORT_H

#include "alloc/base.h"
#include "runtime/mesh/call.h"
#include "runtime/mesh/mesh.h"

PLX_EXTERN_C_BEGIN

struct plx_port;
struct plx_runtime;

/*
 * Makes a port to all reactors of the plan, running or not.
 * Ownership: the memory is the runtime's and is kept for the next port. Cost: set-up; the first
 * time it maps two rings for each reactor. Errors, *out being NULL: -ENOSPC there are POLLUX_PORTS
 * already; -ENOMEM; -ESHUTDOWN the runtime is stopping; with POLLUX_PIN=require also what binding
 * the rings' memory to their nodes met. `diag` names it.
 */
PLX_API PLX_COLD PLX_MUST_CHECK int plx_port_create(struct plx_runtime *runtime,
                                                    struct plx_port **out, struct plx_diag *diag);

/*
 * Gives the port up. What was posted is still called. Calls in flight are waited for, their
 * completions running in here, up to `within_ns` (0: they are looked at once). Returns 0, or
 * -ETIMEDOUT: those that remained ended as PLX_CALL_LOST, since their functions may yet run, and
 * the place among POLLUX_PORTS is not used again. NULL is harmless. Not from a completion.
 */
PLX_API PLX_COLD PLX_MUST_CHECK int plx_port_destroy(struct plx_port *port, uint64_t within_ns);

/*
 * plx_mesh_post from a thread that is no reactor. Posts and calls of one port to one reactor arrive
 * in the order sent. Cost: hot; a copy and two stores that the reactor sees; wait-free; a system
 * call where it wakes a reactor that sleeps, else none. Errors: -EAGAIN the ring is full or the
 * reactor has not started; -EINVAL `to` or `bytes`; -ESHUTDOWN the runtime is stopping, or the
 * reactor has ended. What is posted in the very moment in which the reactor ends is taken, and
 * lost.
 */
PLX_API PLX_MUST_CHECK int plx_port_post(struct plx_port *port, uint32_t to, plx_post_fn fn,
                                         const void *body, size_t bytes);

/*
 * plx_mesh_call from a thread that is no reactor; `done` is called inside plx_port_poll on it. A
 * quarter of POLLUX_MESH_SLOTS calls may be in flight to each reactor. Errors: as plx_port_post.
 */
PLX_API PLX_MUST_CHECK int plx_port_call(struct plx_port *port, struct plx_call *call, uint32_t to,
                                         plx_call_fn fn, const void *body, size_t bytes,
                                         plx_call_done_fn done, void *ctx);

/*
 * Enters the completions of calls that have ended, up to 64 of each reactor, and returns how many;
 * never blocks. Cost: hot; a load for each reactor that a call is in flight to, and none else; no
 * system call. Errors: -EDEADLK from a completion.
 */
PLX_API int plx_port_poll(struct plx_port *port);

/* Calls in flight. By the port's thread. */
PLX_API uint32_t plx_port_in_flight(const struct plx_port *port);

PLX_EXTERN_C_END

#endif
