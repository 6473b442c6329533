/* SPDX-License-Identifier: MIT */
/* Ops with a deadline: the event passes through here, where the timer is put to rest. */
#include "runtime/sched/timed.h"

#include <errno.h>

static void cut_off(struct plx_timer *timer, void *ctx)
{
    struct plx_op_timed *timed = ctx;
    (void)timer;
    /* Not one that its caller cancelled, or that ended, before. */
    enum plx_op_state state = plx_op_state(&timed->op);
    timed->cut_off = state == PLX_OP_QUEUED || state == PLX_OP_SUBMITTED;
    plx_op_cancel(timed->reactor, &timed->op);
}

static void pass_on(struct plx_op *op, const struct plx_event *event, void *ctx)
{
    struct plx_op_timed *timed = ctx;
    if ((event->flags & PLX_EV_MORE) != 0) {
        timed->fn(op, event, timed->ctx);
        return;
    }
    plx_timer_disarm(timed->reactor, &timed->timer);
    op->fn = timed->fn;
    op->ctx = timed->ctx;
    struct plx_event told = *event;
    if (timed->cut_off && event->result == -ECANCELED)
        told.flags |= PLX_EV_TIMED_OUT;
    op->fn(op, &told, op->ctx);
}

int plx_op_submit_timed(struct plx_reactor *reactor, struct plx_op_timed *timed, uint64_t at_ns)
{
    struct plx_op *op = &timed->op;
    timed->reactor = reactor;
    timed->fn = op->fn;
    timed->ctx = op->ctx;
    timed->cut_off = false;
    op->fn = pass_on;
    op->ctx = timed;
    int rc = plx_op_submit(reactor, op);
    if (rc != 0) {
        op->fn = timed->fn;
        op->ctx = timed->ctx;
        return rc;
    }
    plx_timer_arm(reactor, &timed->timer, at_ns, cut_off, timed);
    return 0;
}
