/* SPDX-License-Identifier: MIT */
/*
 * Remote submission: an op that another reactor carries out, and whose terminal event comes back
 * here. It is a call (runtime/mesh/call.h) that is answered when the op ends.
 *
 * The memory of all is the asker's: the op, what it points to, and the struct plx_remote stay where
 * they are, untouched, from a plx_op_submit_on that returned 0 until the op's callback is entered,
 * which happens on the asker. The descriptor is the target's, as of any op submitted there: it is
 * opened for, used on, and closed on that reactor.
 *
 * Threads: the one that polls the asker.
 */
#ifndef POLLUX_REMOTE_H
#define POLLUX_REMOTE_H

#include "alloc/base.h"
#include "runtime/io/op.h"
#include "runtime/mesh/call.h"

PLX_EXTERN_C_BEGIN

/* Zeroed is one that is not in flight. `call.not_after_ns` is the caller's; the rest is not. */
struct plx_remote {
    struct plx_call call;
    struct plx_call cancel;
    struct plx_op *op;
    /* What the op's own hold again when it has ended. */
    plx_op_fn fn;
    void *ctx;
    /* The asker's. */
    struct plx_reactor *from;
    struct plx_remote *next; /* of those whose cancel waits for room */
    struct plx_event event;  /* the terminal one, while the cancel's answer is awaited */
    bool cancelling;
    bool waiting; /* on the list */
    bool ended;
    bool lost;
    /* The target's. */
    struct plx_reactor *there;
    struct plx_call_token token;
    int32_t first_result;
    bool has_first;
};

/*
 * Submits `op` on reactor `to`. Its callback gets exactly one event, on this reactor in a later
 * turn, with the op's result and flags.
 * Shapes: single-shot ops that name their buffers: one taken from a group would be the target's to
 * release. `to` may be this reactor. Of an op that gives a first event and a terminal one (a send
 * whose buffer comes back later) the event has the first one's result and comes with the terminal
 * one. Deadline: with `call.not_after_ns` set the op is not begun later
 * than that: -ETIMEDOUT. Cost: hot; a message there and one back, and the op's line moves with
 * them. Errors, nothing having been taken: -EINVAL multishot, a buffer from a group, or no reactor
 * `to`; -EAGAIN and -ESHUTDOWN as of plx_mesh_call. In the event, beside the op's own: what
 * plx_op_submit answered there (-EAGAIN its ring is full, -EBADF, -EFAULT …); -ESHUTDOWN it was
 * stopping, or has ended; -EOWNERDEAD it was given up, and may still carry the op out: that memory
 * must never be reused.
 */
PLX_API PLX_MUST_CHECK int plx_op_submit_on(struct plx_reactor *from, struct plx_remote *remote,
                                            uint32_t to, struct plx_op *op);

/*
 * Asks that the op end soon, as plx_op_cancel does: a request, which never fails. Where there is no
 * room for it, it is sent in a later turn. The event comes when the target has seen both. On one
 * that is not in flight it does nothing.
 */
PLX_API void plx_op_cancel_on(struct plx_reactor *from, struct plx_remote *remote);

/*
 * plx_op_submit_on in a task: waits for the event and returns its result, as plx_await does of an
 * op here (runtime/sched/await.h). The memory of both is the caller's as above; it may lie on the
 * task's stack where reactors are not given up (-EOWNERDEAD).
 */
PLX_API PLX_MUST_CHECK int64_t plx_await_on(struct plx_remote *remote, uint32_t to,
                                            struct plx_op *op);

PLX_EXTERN_C_END

#endif
