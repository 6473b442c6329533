/* SPDX-License-Identifier: MIT */
/*
 * An op with a deadline: one timer beside it, that cancels it.
 *
 * Words. The op is *cut off* when its deadline passes before it ends: it is cancelled, and its
 * terminal event, when that says -ECANCELED, carries PLX_EV_TIMED_OUT.
 *
 * Threads: the one that polls the reactor.
 */
#ifndef POLLUX_TIMED_H
#define POLLUX_TIMED_H

#include "runtime/io/op.h"
#include "runtime/sched/timer.h"

PLX_EXTERN_C_BEGIN

/* `op` is the caller's to prepare, the rest is the runtime's. Zeroed is one at rest. */
struct plx_op_timed {
    struct plx_op op;
    struct plx_timer timer;
    struct plx_reactor *reactor;
    plx_op_fn fn; /* of the op, while it is in flight */
    void *ctx;
    bool cut_off;
};

/*
 * Submits `timed->op`, prepared before by any of the preparing functions, and cancels it at `at_ns`
 * of the reactor's clock. Shapes: the op may still complete after its deadline; then its event says
 * what it came to and is not flagged. The deadline of a multishot op is that of its whole life. A
 * time in the past cancels in the next turn. Ownership: `timed` stays in place until the terminal
 * event, in whose callback it may be prepared and submitted anew. Cost: hot; of the op and of a
 * timer armed and disarmed; no allocation. Errors: as plx_op_submit; nothing was armed then.
 * plx_op_cancel of `&timed->op` works as for any op.
 */
PLX_API PLX_MUST_CHECK int plx_op_submit_timed(struct plx_reactor *reactor,
                                               struct plx_op_timed *timed, uint64_t at_ns);

PLX_EXTERN_C_END

#endif
